"""The fences of a page, as the site's own Markdown parser sees them, with their lines.

One parser for the site, its tests and its guard: what is shown, what is run and what is
counted cannot differ. The site's converter does the parsing; its fence processor is asked
where each fence began and ended, and the rendered page tells which of them a reader sees.

    kind       written as                                             run
    python     ```python                                              yes
    bash       ```bash                                                yes, stops at errors
    text       ```text after <!--pytest-codeblocks:expected-output--> compared
    excerpt    ```python title="calibration/x.py" and one --8<-- line no
    other      any other fence; tests/docs/skips.toml says why        no
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from site_tools import pages

__all__ = ["EXPECTED", "Block", "Page", "parse", "parse_text", "with_outputs"]

EXPECTED = "<!--pytest-codeblocks:expected-output-->"

_FENCE = re.compile(r"^(?P<prefix>[\s>]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_SNIPPET = re.compile(r'^\s*--8<--\s+"[^"\s]+"(\s+from\s+".+"\s+to\s+".+")?\s*$')
_TITLE = re.compile(r'^python title="(?P<title>[\w/.]+\.py)"$')


@dataclass(frozen=True, slots=True)
class Block:
    """One fence.

    Parameters
    ----------
    page : str
        Path of the page in the checkout.
    line, end : int
        Lines of the opening and the closing fence, from 1.
    fence, info : str
        The marks that open it, and what stands behind them.
    body : str
        What is between, without the fence's own indent; ends with a newline.
    kind : str
        "python", "bash", "text", "excerpt" or "other".
    hidden : bool
        It stands in a comment: run, not shown as a fence.
    claim : bool
        The comment begins with the word claim.
    rendered : bool
        The page shows it, or the comment hides it. False is a mistake.
    expected : str or None
        What it must print, if the page says so.
    """

    page: str
    line: int
    end: int
    fence: str
    info: str
    body: str
    kind: str
    hidden: bool = False
    claim: bool = False
    rendered: bool = True
    expected: str | None = None

    @property
    def executed(self) -> bool:
        """Whether it is run."""
        return self.kind in {"python", "bash"}

    @property
    def where(self) -> str:
        """Page and line, as editors read them."""
        return f"{self.page}:{self.line}"

    @property
    def key(self) -> str:
        """Fingerprint of what is run and what it must print."""
        parts = (self.kind, self.body, self.expected or "")
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its fences.

    Parameters
    ----------
    path : str
    text : str
        All of it, front matter included.
    blocks : list of Block
        In the order of the page.
    stray : list of int
        Lines that look like fences and are none.
    code_blocks : int
        Number of code blocks in the rendered page, indented ones included.
    """

    path: str
    text: str
    blocks: list[Block]
    stray: list[int] = field(default_factory=list)
    code_blocks: int = 0

    @property
    def visible(self) -> list[Block]:
        """The fences that a reader sees."""
        return [block for block in self.blocks if not block.hidden]

    @property
    def runs(self) -> list[Block]:
        """The blocks that are run, claims and other hidden ones included."""
        return [block for block in self.blocks if block.executed]


def parse(path: Path) -> Page:
    """Parse a page of the checkout."""
    name = path.resolve().relative_to(pages.ROOT).as_posix()
    return parse_text(path.read_text(encoding="utf-8"), name)


def parse_text(text: str, name: str) -> Page:
    """Parse the text of a page, front matter included."""
    skipped = pages.front_matter(text)[1].count("\n")
    lines = text.split("\n")[skipped:]
    found, html = _fences(lines)
    shown = re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)
    blocks: list[Block] = []
    for number, (start, end) in enumerate(found):
        comment = _comment(lines, start)
        block = _block(lines, start, end, name)
        block = replace(
            block,
            line=start + 1 + skipped,
            end=end + skipped,
            hidden=comment is not None,
            claim=comment is not None and comment.split()[:1] == ["claim"],
            rendered=comment is not None or f"fence-{number}-" in shown,
        )
        blocks.append(block)
    _attach_outputs(blocks, text.split("\n"))
    inside = {n for b in blocks for n in range(b.line, b.end + 1)}
    stray = [
        n
        for n, line in enumerate(lines, skipped + 1)
        if n not in inside and _FENCE.match(line.rstrip())
    ]
    return Page(name, text, blocks, stray, len(re.findall(r"<pre\b", shown)))


def with_outputs(page: Page, outputs: Mapping[int, str]) -> str:
    """Give the text of a page with other expected outputs.

    Parameters
    ----------
    page : Page
    outputs : mapping of int to str
        What the blocks that open at these lines print. Only blocks with an output have one
        to replace.
    """
    lines = page.text.split("\n")
    for block, after in reversed(list(pairwise(page.blocks))):
        if block.line in outputs and block.expected is not None:
            prefix = lines[after.line - 1].partition(after.fence)[0]
            printed = outputs[block.line].removesuffix("\n").split("\n")
            lines[after.line : after.end - 1] = [(prefix + text).rstrip() for text in printed]
    return "\n".join(lines)


def _fences(lines: list[str]) -> tuple[list[tuple[int, int]], str]:
    """Convert, and note first line and line after of each fence, from 0."""
    converter = pages.markdown()
    processor: Any = converter.preprocessors["fenced_code_block"]
    store, found = processor._store, []  # noqa: SLF001

    def note(source: str, code: str, start: int, end: int) -> None:  # noqa: ARG001
        # A mark in place of the highlighted code: does the page show it in the end?
        store(source, f'<pre class="fence-{len(found)}-"></pre>', start, end)
        found.append((start, end))

    processor._store = note  # noqa: SLF001
    html = converter.convert("\n".join(lines))
    return found, html


def _block(lines: list[str], start: int, end: int, name: str) -> Block:
    match = _FENCE.match(lines[start].rstrip())
    assert match, lines[start]  # noqa: S101  (the processor has just matched it)
    prefix = match["prefix"]
    body = "".join(_undent(line, len(prefix)) + "\n" for line in lines[start + 1 : end - 1])
    info = match["info"]
    kind = "other"
    if match["fence"].startswith("`"):
        if info in {"python", "bash"}:
            kind = info
        elif _TITLE.match(info) and _SNIPPET.match(body.strip("\n")):
            kind = "excerpt"
    return Block(name, start + 1, end, match["fence"], info, body, kind)


def _undent(line: str, width: int) -> str:
    """Take away the fence's indent, or as much of it as is there."""
    return line[min(width, len(line) - len(line.lstrip(" >"))) :]


def _comment(lines: list[str], start: int) -> str | None:
    """Give the text that opens the comment around a line, or None outside of comments."""
    before = "\n".join(lines[:start])
    opened = before.rfind("<!--")
    return before[opened + 4 :] if opened > before.rfind("-->") else None


def _attach_outputs(blocks: list[Block], lines: list[str]) -> None:
    """Make a text fence the output of the block right before it, if a comment says so."""
    for k in range(1, len(blocks)):
        first, second = blocks[k - 1], blocks[k]
        between = [line.strip() for line in lines[first.end : second.line - 1] if line.strip()]
        if between == [EXPECTED] and first.executed and second.info == "text":
            blocks[k - 1] = replace(first, expected=second.body)
            blocks[k] = replace(second, kind="text")
