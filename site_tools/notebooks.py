"""Notebooks of the book: where they run, how long a cell may take, and where links lead.

mkdocs-jupyter starts the kernel in the notebook's own folder, says nothing about time, and
leaves links to Markdown pages as they are. Here a notebook runs in an empty folder, as a
reader's copy does; a cell that takes too long is a fault; links lead to the built pages.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionError

__all__ = ["LIMIT", "Cell", "NotebookError", "links", "run_elsewhere", "slow", "timed"]

LIMIT = 30.0
"""Seconds on the clock that a cell may take, on a busy machine too."""

_LINK = re.compile(r'(<a\b[^>]*?\bhref=")(?P<to>[^":#?]+\.(?:md|ipynb))(?P<anchor>#[^"]*)?(")')


class NotebookError(Exception):
    """A notebook with a failing or slow cell, or a link to nowhere."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell that was run.

    Parameters
    ----------
    number : int
        Of the code cells, from 1.
    first : str
        Its first line.
    seconds : float
    """

    number: int
    first: str
    seconds: float


def timed(notebook: Any) -> Iterator[Cell]:
    """Give the code cells of an executed notebook, with their times."""
    codes = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(codes, start=1):
        marks = cell.metadata.get("execution", {})
        start, end = marks.get("iopub.execute_input"), marks.get("shell.execute_reply")
        if start and end:
            spent = datetime.fromisoformat(end) - datetime.fromisoformat(start)
            yield Cell(number, cell.source.partition("\n")[0], spent.total_seconds())


def slow(cells: list[Cell], name: str) -> list[str]:
    """Say which cells take too long."""
    return [
        f"{name}: code cell {cell.number} ({cell.first}) takes {cell.seconds:.1f} s; "
        f"the limit is {LIMIT:.0f}"
        for cell in cells
        if cell.seconds > LIMIT
    ]


def run_elsewhere(preprocess: Callable[..., Any], report: Callable[[list[Cell]], None]) -> Any:
    """Wrap what executes a notebook: it runs in an empty folder, and its times are reported."""

    def wrapped(self: Any, notebook: Any, resources: Any, *rest: Any) -> Any:
        was = resources["metadata"]["path"]
        with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
            resources["metadata"]["path"] = folder
            try:
                done = preprocess(self, notebook, resources, *rest)
            except CellExecutionError as error:
                file = Path(was) / f"{resources['metadata']['name']}.ipynb"
                raise NotebookError(_failure(notebook, error, file)) from None
        resources["metadata"]["path"] = was
        report(list(timed(done[0])))
        return done

    return wrapped


def _failure(notebook: Any, error: CellExecutionError, file: Path) -> str:
    """Say what failed: line of the file, number of the code cell, line in it, and its text."""
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    number = next(n for n, cell in enumerate(codes, start=1) if _has_error(cell))
    trace = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    found = re.search(r"Cell In\[\d+\], line (\d+)", trace)
    line = int(found[1]) if found else 1
    source = codes[number - 1].source.split("\n")
    text = source[line - 1].strip() if line <= len(source) else ""
    place = _line_in_file(file, codes[number - 1].get("id", ""), line)
    what = f"code cell {number}, line {line}: {error.ename}: {error.evalue}: {text}"
    return f"{place}: {what}"


def _line_in_file(file: Path, cell: str, line: int) -> int:
    rows = file.read_text(encoding="utf-8").split("\n")
    start = next((n for n, row in enumerate(rows) if f'"id": "{cell}"' in row), 0)
    source = (n for n in range(start, len(rows)) if rows[n].strip().startswith('"source": ['))
    return next(source, 0) + line + 1


def _has_error(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


def links(html: str, page: str, address: Callable[[str], str | None]) -> str:
    """Let links to Markdown pages and notebooks lead to the built pages.

    Parameters
    ----------
    html : str
        The notebook's content.
    page : str
        Its path below site_src, for messages and for relative links.
    address : callable
        Gives the link to a page by its path below site_src, or None if there is none.

    Raises
    ------
    NotebookError
        If a page is not there.
    """

    def put(match: re.Match[str]) -> str:
        if "download" in match[1]:
            return match.group()
        path = _normal(f"{Path(page).parent.as_posix()}/{match['to']}")
        to = address(path)
        if to is None:
            raise NotebookError(f"site_src/{page}: there is no page {match['to']}")
        return f"{match[1]}{to}{match['anchor'] or ''}{match[4]}"

    return _LINK.sub(put, html)


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
