"""No fence escapes: what is on a page is run, compared, quoted from the package, or listed.

Each rule below is about a way in which code on a page goes unchecked without anybody
noticing; most were found in pytest-codeblocks or in other sites.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_codeblocks import extract_from_file

from site_tools import excerpts, pages
from site_tools.blocks import EXPECTED, Block, Page

__all__ = ["SKIPS", "Skip", "complaints", "read_skips", "skipped"]

SKIPS = pages.ROOT / "tests" / "docs" / "skips.toml"

_COMMENT = re.compile(r"<!--[-\s]*(pytest-codeblocks:|pytest\.mark)(?P<what>[^>]*?)[-\s]*-->")
_PYTHON_LIKE = {"py", "python3", "pycon", "ipython", "python2", "py3", "sh", "shell", "zsh"}


@dataclass(frozen=True, slots=True)
class Skip:
    """A fence that is not run.

    Parameters
    ----------
    page : str
    starts : str
        Its first line.
    reason : str
    """

    page: str
    starts: str
    reason: str


def read_skips() -> list[Skip]:
    """Read the list of what is not run."""
    entries = tomllib.loads(SKIPS.read_text(encoding="utf-8")).get("skip", [])
    return [Skip(**entry) for entry in entries]


def skipped(page: Page, skips: Sequence[Skip]) -> list[tuple[Block, Skip]]:
    """Give the fences of a page that are on the list."""
    outputs = set(_outputs(page))
    return [
        (block, skip)
        for block in page.blocks
        if block.kind == "other" and block.line not in outputs
        for skip in skips
        if skip.page == page.path and block.body.split("\n")[0] == skip.starts
    ]


def _outputs(page: Page) -> Iterator[int]:
    for before, after in zip(page.blocks, page.blocks[1:], strict=False):
        if before.expected is not None and after.kind == "text":
            yield after.line


def complaints(path: Path, page: Page, skips: Sequence[Skip]) -> list[str]:
    """Say what is wrong with the fences of a page, with lines."""
    found = [*_fences(page, skips), *_comments(page), *_collected(path, page)]
    found += [
        (n, "a line that looks like a fence and is none: its marks or attributes do not parse")
        for n in page.stray
    ]
    shown = len(page.visible)
    if page.code_blocks != shown and not page.stray:
        counts = f"{page.code_blocks} code blocks are rendered, {shown} fences are known"
        found.append((1, f"{counts}: indented code is not allowed, use a fence"))
    return [f"{page.path}:{line}: {what}" for line, what in sorted(found)]


def _fences(page: Page, skips: Sequence[Skip]) -> Iterator[tuple[int, str]]:
    known = {block.line for block, _ in skipped(page, skips)} | set(_outputs(page))
    for block in page.blocks:
        words = re.findall(r"[\w-]+", block.info)
        first = words[0] if words else ""
        if not block.rendered:
            yield block.line, "this fence is not rendered; it stands in indented code"
        elif block.fence.startswith("~"):
            yield block.line, "a fence of ~~~ is not run; write ```"
        elif first in _PYTHON_LIKE or (first in {"python", "bash"} and block.info == f" {first}"):
            yield block.line, f"```{block.info} is not run; write ```python or ```bash"
        elif block.kind == "excerpt":
            try:
                excerpts.read(block)
            except excerpts.ExcerptError as error:
                yield block.line, str(error).partition(": ")[2]
        elif first in {"python", "bash"} and not block.executed:
            why = "only an excerpt may have attributes, and its body is one line,"
            line = '--8<-- "calibration/module.py:name"'
            yield block.line, f"```{block.info} is not run: {why} {line}"
        elif not block.executed and block.line not in known:
            what = f"```{block.info} is not run and not in tests/docs/skips.toml"
            hint = f"is it an output? Then {EXPECTED} stands before it, right after its block"
            yield block.line, f"{what}; {hint}"


def _comments(page: Page) -> Iterator[tuple[int, str]]:
    code = {n for b in page.blocks for n in range(b.line, b.end + 1)}
    attached = {b.end for b in page.blocks if b.expected is not None}
    ends = sorted(b.end for b in page.blocks)
    for n, row in enumerate(page.text.split("\n"), start=1):
        match = _COMMENT.search(row)
        if not match or n in code:
            continue
        if row.strip() != EXPECTED:
            yield n, f"{match.group()} is not allowed: every block runs alone and none is skipped"
        elif not (before := [e for e in ends if e < n]) or before[-1] not in attached:
            yield n, "this output belongs to no block: it stands right after one, as ```text"


def _collected(path: Path, page: Page) -> Iterator[tuple[int, str]]:
    """Compare with what pytest-codeblocks collects."""
    try:
        blocks = extract_from_file(path)
    except RuntimeError as error:
        yield 1, f"pytest-codeblocks cannot read this page: {error}"
        return
    theirs = {b.lineno for b in blocks if b.syntax in {"python", "bash", "sh"}}
    ours = {b.line for b in page.runs}
    for line in sorted(theirs ^ ours):
        who = "pytest-codeblocks" if line in theirs else "the site"
        yield line, f"only {who} takes this for a block to run"
