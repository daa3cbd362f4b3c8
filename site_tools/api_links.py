"""Links between the book and the API pages, both ways."""

from __future__ import annotations

import html
import re

from site_tools import names

__all__ = ["backlinks", "link"]

_PIECE = re.compile(
    r"<(?P<close>/?)(?P<tag>pre|a|h[1-6]|autoref|summary)\b[^>]*>|<code>(?P<code>[^<]*)</code>"
)
_HEADING = re.compile(
    r'<h(?P<level>[1-6]) id="(?P<name>calibration[\w.]*)"[^>]*>.*?</h(?P=level)>', re.DOTALL
)


def link(page: str, *, qualified: bool = False) -> str:
    """Make names in code type links to their documentation.

    Parameters
    ----------
    page : str
        HTML of a page's content. Code blocks, links and headings stay as they are.
    qualified : bool
        Link only what has a dot or parentheses: on API pages a bare word is as a rule the
        name of a parameter.
    """
    depth = 0

    def put(match: re.Match[str]) -> str:
        nonlocal depth
        if match["tag"]:
            depth += -1 if match["close"] else 1
            return match.group()
        code = html.unescape(match["code"])
        if depth or (qualified and not re.search(r"[.(]", code)):
            return match.group()
        path = names.resolve(code)
        if path is None:
            return match.group()
        return f'<autoref identifier="{path}">{match.group()}</autoref>'

    return _PIECE.sub(put, page)


def backlinks(page: str, where: dict[str, list[tuple[str, str]]]) -> str:
    """Say below each name's heading where the book uses it.

    Parameters
    ----------
    page : str
        HTML of an API page.
    where : mapping of name to list of (title, link)
    """

    def add(match: re.Match[str]) -> str:
        links = where.get(match["name"], [])
        if not links:
            return match.group()
        listed = ", ".join(f'<a href="{to}">{html.escape(title)}</a>' for title, to in links)
        return f'{match.group()}<p class="in-book">In the book: {listed}</p>'

    return _HEADING.sub(add, page)
