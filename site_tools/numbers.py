"""Every number that a reader sees in the prose of a page, and what accounts for it.

    computed   a claim after its paragraph has it as a literal         (site_tools.claims)
    sourced    its sentence, or its table row, links to a file at a commit or to a DOI
    recorded   it was put in from benchmarks/results                   (site_tools.recorded)
    allowed    it is on the allow list, with a reason                  (tests/docs/numbers.toml)

Not looked at: headings, code, formulas, dates and years, numbers of chapters, figures and
the like, counts up to 12, and whatever a hook has generated. The page is read as it is
rendered, so that nothing depends on how it was written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from bs4 import BeautifulSoup, NavigableString, Tag

from site_tools import claims, pages
from site_tools.blocks import Block, Page

__all__ = [
    "ALLOWED",
    "Allowed",
    "Number",
    "complaints",
    "needed",
    "read_allowed",
    "read_numbers",
    "tokens",
]

ALLOWED = pages.ROOT / "tests" / "docs" / "numbers.toml"

_SOURCE = re.compile(
    r"^https://(doi\.org/10\.\S+|github\.com/[\w.-]+/[\w.-]+/(blob|tree|commit)/[0-9a-f]{7,40}\b)"
)
_LINKED, _PUT_IN = "\uf8f0", "\uf8f1"  # marks of a source and of recorded numbers in the text
_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_EXEMPT = re.compile(
    rf"""
    \b\d{{4}}-\d\d-\d\d\b                                   # dates
    | \b\d{{1,2}}\ (?:{_MONTH})\ \d{{4}} | \b(?:{_MONTH})\ \d{{1,2}},?\ \d{{4}}
    | (?<![\d.,])(?:19|20)\d\d(?![\d%]|[.,]\d|\ ?%)         # years
    | \b(?:[Cc]hapters?|[Ss]tages?|[Ff]igures?|[Tt]ables?|[Ss]ections?|[Ss]teps?|[Ee]quations?
        |[Rr]ows?|[Ll]ines?|[Ee]xercises?|[Qq]uestions?|[Pp]age|[Cc]olumns?|[Vv]ersions?|§)
        [\ \u00a0]?\d+(?:\.\d+)*(?:(?:,|\ and|\ to|–)\ ?\d+)*\b
    | \b\d+(?:\.\d+){{2,}}\b                                # versions
    | \b\d+(?:st|nd|rd|th)\b
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[-−+])?"
    r"(?P<digits>\d{1,3}(?:[,\u2009\u202f]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?P<power>e[-+]?\d+)?"
    r"(?P<rest>\s*(?:%|percent|per\ cent|million|billion|thousand|trillion|bits?\b))?"
)
_SMALL = 12


@dataclass(frozen=True, slots=True)
class Number:
    """A number in the prose.

    Parameters
    ----------
    text : str
        As it stands on the page.
    value : Decimal
        With all decimals that are written.
    context : str
        Words around it.
    line : int
        Where it stands in the page's file.
    how : str or None
        "computed", "sourced", "recorded" or "allowed"; None if nothing accounts for it.
    weak : str
        If a claim has the number, and would hold with another one, where that claim is.
    """

    text: str
    value: Decimal
    context: str
    line: int
    how: str | None
    weak: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """An entry of the allow list.

    Parameters
    ----------
    page : str
        Path of the page, or "*".
    text : str
        Words with the number in them, as they are rendered.
    reason : str
    """

    page: str
    text: str
    reason: str


def read_allowed() -> list[Allowed]:
    """Read the allow list."""
    if not ALLOWED.is_file():
        return []
    entries = tomllib.loads(ALLOWED.read_text(encoding="utf-8")).get("allow", [])
    return [Allowed(**entry) for entry in entries]


def read_numbers(
    page: Page,
    html: str,
    allowed: list[Allowed],
    proved: Mapping[int, set[Decimal]] | None = None,
) -> list[Number]:
    """Give all numbers of a rendered page that need an account, and the account.

    Parameters
    ----------
    page : Page
        Its source, for claims and lines.
    html : str
        The content as rendered, with claims as `site_tools.claims.show` makes them.
    allowed : list of Allowed
    proved : mapping of line to set of Decimal, optional
        What each claim proves, as `site_tools.prove.proved` gives it; by default, whatever
        stands in it.
    """
    soup = BeautifulSoup(html, "html.parser")
    proofs = _proofs(soup, page)
    lines = _Lines(page)
    mine = [entry for entry in allowed if entry.page in {page.path, "*"}]
    found = []
    for unit in _units(soup):
        claimed = [block for tag, block in proofs if _covers(tag, unit)]
        row = unit.find_parent("tr")
        by_row = row is not None and any(_is_source(a) for a in row.find_all("a"))
        for sentence in _sentences(_text(unit, soup)):
            clean = re.sub(f"[{_LINKED}{_PUT_IN}]", "", sentence).strip()
            for token, value, put_in in tokens(sentence):
                having = [b for b in claimed if _written(value, claims.of(b))]
                proving = [
                    b
                    for b in having
                    if proved is None or _written(value, proved.get(b.line, set()))
                ]
                how = None
                if put_in:
                    how = "recorded"
                elif proving:
                    how = "computed"
                elif by_row or _LINKED in sentence:
                    how = "sourced"
                elif any(e.text in clean and token in e.text for e in mine):
                    how = "allowed"
                weak = having[0].where if having and how is None else ""
                line = lines.find(token, clean)
                found.append(Number(token, value, clean, line, how, weak))
    return found


def tokens(text: str) -> Iterator[tuple[str, Decimal, bool]]:
    """Give the numbers of a text that need an account, and whether they were recorded."""
    blank = _EXEMPT.sub(lambda m: " " * len(m.group()), text)
    for match in _NUMBER.finditer(blank):
        after = blank[match.end() : match.end() + 1]
        before = blank[match.start() - 1 : match.start()]
        if before == "_" or (after == "_"):
            continue
        digits = re.sub("[,\u2009\u202f]", "", match["digits"]) + (match["power"] or "")
        value = Decimal(digits)
        whole = "." not in digits and "e" not in digits
        if whole and value <= _SMALL and not match["rest"]:
            continue
        token = match.group().strip()
        yield token, value, after == _PUT_IN


def _written(value: Decimal, proved: set[Decimal]) -> bool:
    """Tell whether a number is proved with all decimals written: 0.50 is not 0.5."""
    exponent = value.as_tuple().exponent
    return any(v == value and v.as_tuple().exponent == exponent for v in proved)


_HOLD = {"p", "li", "td", "dt", "dd", "figcaption", "caption"}
_MAY_HOLD = {"summary", "blockquote", "div", "figure", "details"}
_BLOCKS = _HOLD | _MAY_HOLD | {"ul", "ol", "table", "dl", "pre"}
_NO_TEXT = {"script", "style", "svg", "button"}


def _units(soup: BeautifulSoup) -> Iterator[Tag]:
    """Give the elements that hold prose, each piece of text in exactly one."""
    for tag in soup.find_all([*_HOLD, *_MAY_HOLD]):
        if tag.find_parent(class_="generated") or tag.find_parent("details", class_="claim"):
            continue
        if {"generated", "claim"} & set(tag.get("class", [])):
            continue
        own = any(isinstance(c, NavigableString) and c.strip() for c in tag.children)
        if own or tag.name in _HOLD:
            yield tag


def _text(unit: Tag, soup: BeautifulSoup) -> str:
    """Give the text that belongs to a unit itself, without what is exempt."""
    return re.sub(r"\s+", " ", "".join(_parts(unit, soup)))


def _parts(tag: Tag, soup: BeautifulSoup) -> Iterator[str]:
    for child in tag.children:
        if type(child) is NavigableString:  # and no comment
            yield str(child)
        elif isinstance(child, Tag) and child.name not in _BLOCKS | _NO_TEXT:
            yield from _inline(child, soup)


def _inline(child: Tag, soup: BeautifulSoup) -> Iterator[str]:
    classes = child.get("class", [])
    if child.name == "code" or "arithmatex" in classes or "headerlink" in classes:
        yield " code "
    elif child.name == "sup" and child.find("a", class_="footnote-ref"):
        if _footnote_is_source(child, soup):
            yield _LINKED
    elif "recorded" in classes:
        yield re.sub(r"(\d)(?!\d|[.,]\d)", rf"\1{_PUT_IN}", child.get_text())
    else:
        yield from _parts(child, soup)
        if child.name == "a" and _is_source(child):
            yield _LINKED


def _sentences(text: str) -> list[str]:
    return re.split(rf"(?<=[.!?:{_LINKED}])\s+(?=[A-Z“\"(])", text)


def _is_source(link: Tag) -> bool:
    return bool(_SOURCE.match(str(link.get("href") or "")))


def _footnote_is_source(reference: Tag, soup: BeautifulSoup) -> bool:
    link = reference.find("a")
    note = soup.find(id=str(link.get("href") or "").lstrip("#")) if isinstance(link, Tag) else None
    return isinstance(note, Tag) and any(_is_source(a) for a in note.find_all("a"))


def _proofs(soup: BeautifulSoup, page: Page) -> list[tuple[Tag, Block]]:
    """Give what each claim covers, the element before it, with the claim."""
    by_line = {block.line: block for block in page.blocks}
    found = []
    for details in soup.find_all("details", class_="claim"):
        before = details.previous_sibling
        while before is not None and (
            (isinstance(before, NavigableString) and not before.strip())
            or (isinstance(before, Tag) and "claim" in before.get("class", []))
        ):
            before = before.previous_sibling
        covered = before if isinstance(before, Tag) else details.parent
        block = by_line[int(str(details["data-line"]))]
        if isinstance(covered, Tag):
            found.append((covered, block))
    return found


def _covers(tag: Tag, unit: Tag) -> bool:
    return tag is unit or any(parent is tag for parent in unit.parents)


class _Lines:
    """Find the line of a number in the source by the words around it."""

    def __init__(self, page: Page) -> None:
        code = {n for b in page.blocks for n in range(b.line, b.end + 1)}
        self._rows = [
            "" if n in code else row for n, row in enumerate(page.text.split("\n"), start=1)
        ]

    def find(self, token: str, context: str) -> int:
        """Give the line with the number that shares most words with its sentence."""
        words = set(re.findall(r"[A-Za-z]{3,}", context))
        digits = re.search(r"[\d.,]*\d", token)
        wanted = re.compile(
            rf"(?<![\d.,]){re.escape(digits.group() if digits else token)}(?!\d|[.,]\d)"
        )
        best, line = -1, 0
        for n, row in enumerate(self._rows, start=1):
            if wanted.search(row):
                near = " ".join(self._rows[max(0, n - 2) : n + 1])
                shared = 2 * len(words & set(re.findall(r"[A-Za-z]{3,}", row)))
                shared += len(words & set(re.findall(r"[A-Za-z]{3,}", near)))
                if shared > best:
                    best, line = shared, n
        return line


def complaints(page: Page, read: list[Number]) -> list[str]:
    """Give one line for each number that nothing accounts for."""
    return [
        f"{page.path}:{n.line}: {n.text} "
        + (
            f"is not proved: the claim at {n.weak} fails, or holds with another number too"
            if n.weak
            else f"has no claim, source or record: “{n.context}”"
        )
        for n in read
        if n.how is None
    ]


def needed(html: str) -> set[Decimal]:
    """Give the values of all numbers in a rendered page."""
    soup = BeautifulSoup(html, "html.parser")
    return {value for unit in _units(soup) for _, value, _ in tokens(_text(unit, soup))}
