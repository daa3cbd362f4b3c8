"""Every number in the prose is accounted for, and claims notice a wrong number."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from site_tools import check, claims, numbers, pages, prove, render, results, run_blocks
from site_tools.blocks import parse, parse_text

BOOK = pages.book()
IDS = [path.relative_to(pages.ROOT).as_posix() for path in BOOK]


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_claims_compare_something_computed(path) -> None:
    """No claim asserts nothing, and none compares constants with constants."""
    faults = [f for b in parse(path).blocks if b.claim for f in check.claim_faults(b)]
    assert not faults, "\n".join(faults)


@pytest.fixture(scope="module")
def proofs(runner, request, selected):
    """Run the changed assertions of the tests' pages once; give mutants, and those unnoticed."""
    changed = []
    whole = any(item.name == "test_counts" for item in request.session.items)
    for path in BOOK if whole else [path for path in BOOK if path in selected("path")]:
        blocks = [b for b in parse(path).blocks if b.claim and not list(check.claim_faults(b))]
        needed = numbers.needed(render.content(path)) if blocks else set()
        changed += [mutant for b in blocks for mutant in prove.mutants_of(b, needed)]
    return changed, prove.in_place(runner, changed)


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_numbers_are_accounted_for(path, proofs) -> None:
    """Each number is computed, and its claim notices another one; or sourced, or recorded."""
    page = parse(path)
    found = numbers.complaints(page, _numbers(path, proofs))
    assert not found, "\n".join(found)


def _numbers(path, proofs) -> list[numbers.Number]:
    page = parse(path)
    mine = [mutant for mutant in proofs[1] if mutant.block.page == page.path]
    proved = prove.proved([b for b in page.blocks if b.claim], mine)
    return numbers.read_numbers(page, render.content(path), numbers.read_allowed(), proved)


def test_the_allow_list_is_used() -> None:
    """Every entry of the allow list is about words that are on its page."""
    allowed = numbers.read_allowed()
    used = set()
    for path in BOOK:
        for number in numbers.read_numbers(parse(path), render.content(path), allowed):
            used |= {e for e in allowed if number.how == "allowed" and e.text in number.context}
    assert [entry for entry in allowed if entry not in used] == []


def test_counts(proofs, state) -> None:
    """The counts on the page of what is verified are those of these tests."""
    counts = Counter(n.how for path in BOOK for n in _numbers(path, proofs))
    changed, unnoticed = proofs
    blocks = [b for path in BOOK for b in parse(path).blocks if b.claim]
    facts = {
        "claims": len(blocks),
        "numbers": counts["computed"],
        "mutants": len(changed) - len(unnoticed),
    }
    results.save("claims", facts, state)
    hows = ("computed", "sourced", "recorded", "allowed")
    results.save("numbers", {how: counts[how] for how in hows}, state)
    assert counts[None] == 0


@pytest.mark.slow
def test_running_every_mutant_agrees(runner, proofs) -> None:
    """Running every changed claim as a whole notices what asking in place notices."""
    changed, unnoticed = proofs
    assert prove.by_running(runner, changed) == unnoticed


CLAIM = """from calibration import toy
state = toy.after("weights")
kept = int((state.weights > 0).sum())
share = kept / len(state.weights)
"""


def _page(assertion: str, prose: str = "It keeps 209 columns, 70 %.") -> str:
    return f"# T\n\n{prose}\n\n<!-- claim\n```python\n{CLAIM}{assertion}\n```\n-->\n"


def _how(text: str, runner) -> list[str | None]:
    page = parse_text(text, "page.md")
    html = pages.markdown().convert(claims.mark(text, [b.line for b in page.blocks]))
    proofs = [b for b in page.blocks if b.claim]
    wanted = numbers.needed(html)
    changed = [m for b in proofs for m in prove.mutants_of(b, wanted)]
    proved = prove.proved(proofs, prove.in_place(runner, changed))
    return [n.how for n in numbers.read_numbers(page, html, [], proved)]


def test_a_claim_proves_its_numbers(runner) -> None:
    """A number that stands alone against something computed is proved."""
    text = _page("assert kept == 209 and round(100 * share) == 70")
    assert _how(text, runner) == ["computed", "computed"]


@pytest.mark.parametrize(
    ("assertion", "expected"),
    [
        ("assert kept == 209", ["computed", None]),
        ("assert kept > 208 and share < 70", [None, None]),
        ("assert kept <= 209", [None, None]),
        ("assert abs(kept - 209) < 5", [None, None]),
        ("assert 209 == 209 and 70 == 70", [None, None]),
        ("assert kept == 209 or True", [None, None]),
        ("assert (kept, round(share, 2)) == (209, 0.7)", ["computed", None]),
        ("for n in (209,):\n    assert kept == n\n", [None, None]),
    ],
)
def test_weak_claims_prove_nothing(assertion, expected, runner) -> None:
    """A number that could be another one is not proved."""
    assert _how(_page(assertion), runner) == expected


def test_decimals_count(runner) -> None:
    """0.7 in a claim does not prove 0.70 in the prose."""
    text = _page("assert round(share, 1) == 0.7", "A share of 0.70 is kept.")
    assert _how(text, runner) == [None]


@pytest.mark.parametrize(
    "code",
    ["x = 1\nassert x == 1", "print(1)", "import math\nassert round(math.pi, 2) == 3.14"],
)
def test_constants_alone_are_refused(code: str) -> None:
    """An assertion in which nothing comes from the package is a fault, with its line."""
    assert claims.faults(code)


def test_mutants_change_the_last_place() -> None:
    """One unit up and one down, in the place that is written last."""
    for text, up, down in (
        ("4.8", "4.9", "4.7"),
        ("12_000", "12001", "11999"),
        ("0.50", "0.51", "0.49"),
    ):
        code = f"from calibration import toy\nassert toy.x == {text}"
        (literal,) = claims.literals(code)
        assert [m.rpartition(" ")[2] for m in claims.mutants(code, literal)] == [up, down]


def test_numbers_that_need_no_account() -> None:
    """Years, dates, versions, references, small counts and names are left alone."""
    text = "In 2024, on 5 May 2027, chapter 15, Figure 13, step 20, the 17th of 12 L0 fits, 3.11.5."
    assert list(numbers.tokens(text)) == []


def test_numbers_that_need_one() -> None:
    """Decimals, percentages, large counts, and units after small counts are found."""
    text = "4.8 %, 13 rows, 5,160,000 columns, 3 million, 12 %, −0.5, 1e-8, 20× more"
    values = [value for _, value, _ in numbers.tokens(text)]
    wanted = ["4.8", "13", "5160000", "3", "12", "0.5", "1e-8", "20"]
    assert values == [Decimal(v) for v in wanted]


def test_a_source_serves_its_sentence_only() -> None:
    """A link to a file at a commit accounts for the numbers of its own sentence."""
    link = "https://github.com/a/b/blob/0123abc/x.py"
    text = f"# T\n\nIt has [430 clones]({link}). It has 431 records.\n"
    html = pages.markdown().convert(text)
    found = numbers.read_numbers(parse_text(text, "page.md"), html, [])
    assert [n.how for n in found] == ["sourced", None]
    assert found[1].line == 3


def test_outcomes_say_where() -> None:
    """A complaint about an output begins with page and line."""
    (block,) = parse_text("# T\n\n```python\nprint(2)\n```\n", "site_src/x.md").blocks
    outcome = run_blocks.Outcome(block, "file", "2\n", None, 0.1)
    assert outcome.complaint.startswith("site_src/x.md:3: it prints")
