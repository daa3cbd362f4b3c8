"""Public names are those of `__all__`, and each is used or explained, or still to come."""

from __future__ import annotations

import re

import pytest

from site_tools import coverage, names, pages, results
from site_tools.blocks import parse, parse_text

PAGES = pages.executed()


def test_all_lists_what_is_public() -> None:
    """Every module's `__all__` has its public functions and classes."""
    exports = names.exports()
    gone = [
        f"{names.where(f'{module}.{name}')}: {name} is public and not in __all__"
        for module, defined in names.definitions().items()
        for name in sorted(defined - exports[module])
    ]
    assert not gone, "\n".join(gone)


def test_every_name_is_used_explained_or_to_come(state) -> None:
    """The list of what is to come is exactly what no page has."""
    missing, listed = coverage.missing(), coverage.listed()
    new = [f"{names.where(n)}: {n}: no page has it" for n in missing if n not in set(listed)]
    done = [n for n in listed if n not in set(missing)]
    assert not new, "\n".join([*new, "explain it, or put it on tests/docs/to_come.toml"])
    assert not done, f"take off tests/docs/to_come.toml, pages have them or they are gone: {done}"
    public = len(names.public())
    facts = {"public": public, "explained": public - len(missing), "to_come": len(missing)}
    results.save("coverage", facts, state)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(pages.ROOT).as_posix())
def test_pages_name_what_exists(path) -> None:
    """What a page imports from the package, or calls by its full name, is there."""
    found = names.unknown(parse(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "`calibration.l0.no_such`",
        "`L0Fit.no_such`",
        "```python\nfrom calibration.l0 import no_such\n```",
        "```python\nfrom calibration import toy\ntoy.no_such()\n```",
    ],
)
def test_an_unknown_name_is_seen(text: str) -> None:
    """Each way to speak of a name that is gone is a complaint, with its line."""
    (found,) = names.unknown(parse_text(f"# T\n\n{text}\n", "page.md"))
    assert found.startswith("page.md:")
    assert "no_such" in found


def test_code_type_finds_names() -> None:
    """Code type in prose is resolved as far as it is unambiguous."""
    assert names.resolve("fit_l0") == "calibration.l0.fit_l0"
    assert names.resolve('toy.after("matrix")') == "calibration.toy.after"
    assert names.resolve("L0Fit.retained") == "calibration.l0.L0Fit.retained"
    assert names.resolve("retained") is None
    assert names.resolve("x > 0") is None


def test_notation_names_exist() -> None:
    """Every letter of the glossary is tied to a name that the package has."""
    text = (pages.DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = [row for row in text.split("\n") if row.startswith("| $")]
    tied = {row: re.findall(r"`([^`]+)`", row.split("|")[3]) for row in rows}
    assert len(rows) > 20
    assert [row for row, codes in tied.items() if not any(map(names.resolve, codes))] == []
