"""Recorded numbers: values from benchmarks/results, put in when the page is made.

    A run takes {{ recorded: toy_run.json run_cpu_seconds.median .1f }} CPU seconds.

File, path inside it (names and list positions, with dots), and, if needed, a format of
Python's. On the page the number links to the file it comes from.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from site_tools.blocks import parse_text
from site_tools.pages import ROOT

__all__ = ["PATTERN", "RecordedError", "insert", "names", "value"]

RESULTS = ROOT / "benchmarks" / "results"
PATTERN = re.compile(
    r"\{\{\s*recorded:\s*(?P<file>\S+)\s+(?P<path>\S+)(?:\s+(?P<format>\S+))?\s*\}\}"
)


class RecordedError(Exception):
    """A recorded number that is not there."""


def insert(text: str, page: str, base: str = "", skipped: int = 0) -> str:
    """Replace the marks of a page by numbers, but for those in code.

    Parameters
    ----------
    text : str
        Markdown.
    page : str
        Its path, for messages.
    base : str
        From the page to the root of the site, such as "../".
    skipped : int
        Lines of front matter before the text.
    """
    code = {n for b in parse_text(text, page).blocks for n in range(b.line, b.end + 1)}

    def put(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        if line in code:
            return match.group()
        try:
            number = value(match["file"], match["path"], match["format"] or "")
        except RecordedError as error:
            raise RecordedError(f"{page}:{line + skipped}: {error}") from error
        title = html.escape(f"Recorded in benchmarks/results/{match['file']}, {match['path']}")
        where = f"{base}recorded/{match['file']}"
        return f'<a class="recorded" href="{where}" title="{title}">{number}</a>'

    return PATTERN.sub(put, text)


def value(file: str, path: str, form: str = "") -> str:
    """Read a number.

    Raises
    ------
    RecordedError
        If the file or the entry does not exist.
    """
    source = RESULTS / file
    if not source.is_file():
        raise RecordedError(f"there is no benchmarks/results/{file}")
    found: Any = json.loads(source.read_text(encoding="utf-8"))
    for part in path.split("."):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError):
            known = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
            raise RecordedError(f"{file} has no {path}: {part!r} is not in {known}") from None
    if isinstance(found, dict | list):
        raise RecordedError(f"{path} of {file} is not a number")
    return format(found, form)


def names(text: str) -> set[str]:
    """Give the files that a page takes numbers from."""
    return {match["file"] for match in PATTERN.finditer(text)}
