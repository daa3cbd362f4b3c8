"""Links between pages, in the sources: the line of each that leads nowhere.

The strict build and `site_tools.links` find dead links too, in more places; only the source
can say on which line of a page one stands.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from pathlib import Path

from bs4 import BeautifulSoup

from site_tools import pages, render
from site_tools.figures import GENERATED

__all__ = ["faults"]

_LINK = re.compile(r"\]\(<?(?P<to>[^)\s>#]*)(?P<anchor>#[^)\s>]+)?>?(?:\s+\"[^\"]*\")?\)")
_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=\"(?P<to>[^\"#]*)(?P<anchor>#[^\"]+)?\"")
_ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|//")


def faults(path: Path) -> list[str]:
    """Give one line for each link of a page that leads nowhere."""
    page = path.relative_to(pages.ROOT).as_posix()
    rows = path.read_text(encoding="utf-8").split("\n")
    found = []
    for line, row in enumerate(_prose(path, rows), start=1):
        for match in [*_LINK.finditer(row), *_HTML.finditer(row)]:
            fault = _fault(path, match["to"], (match["anchor"] or "")[1:])
            if fault:
                found.append(f"{page}:{line}: {match['to']}{match['anchor'] or ''}: {fault}")
    return found


def _prose(path: Path, rows: list[str]) -> list[str]:
    from site_tools.blocks import parse

    code = {n for b in parse(path).blocks for n in range(b.line, b.end + 1)}
    plain = [re.sub(r"(`+).+?\1", "", row) for row in rows]
    return ["" if n in code else row for n, row in enumerate(plain, start=1)]


def _fault(path: Path, to: str, anchor: str) -> str | None:
    if _ELSEWHERE.match(to) or (not to and not anchor):
        return None
    where = posixpath.normpath(posixpath.join(path.parent.as_posix(), to)) if to else str(path)
    target = Path(where)
    if GENERATED in target.parents or "reference" in target.parts:
        return None  # made by the build, which looks at it
    if not target.is_file():
        return "there is no such page"
    if anchor and target.suffix == ".md" and anchor not in _anchors(target):
        return "that page has no such anchor"
    return None


@cache
def _anchors(path: Path) -> set[str]:
    soup = BeautifulSoup(render.content(path), "html.parser")
    return {str(tag["id"]) for tag in soup.find_all(id=True)} | {
        str(tag["name"]) for tag in soup.find_all("a", attrs={"name": True})
    }
