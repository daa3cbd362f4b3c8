"""From the Markdown that people write to the Markdown that MkDocs converts, in steps.

    claims      comments become check marks                   site_tools.claims
    excerpts    snippet lines become code of the package      site_tools.excerpts
    copy        executed blocks get a copy button             here
    recorded    marks become numbers                          site_tools.recorded

Each step is a hook of its own in site_tools/hooks. `content` does them all without MkDocs,
for checks that want a page's text in a moment.
"""

from __future__ import annotations

from pathlib import Path

from site_tools import claims, excerpts, pages, recorded
from site_tools.blocks import parse, parse_text

__all__ = ["content", "copyable", "fence_lines"]


def fence_lines(path: Path) -> list[int]:
    """Give the line of each fence of a page in its file."""
    return [block.line for block in parse(path).blocks]


def copyable(text: str, lines: list[int]) -> str:
    """Give executed blocks, and only them, a copy button.

    Parameters
    ----------
    text : str
        The page without its front matter.
    lines : list of int
        Line of each of the page's fences in the file.
    """
    rows = text.split("\n")
    for block, line in zip(parse_text(text, "").blocks, lines, strict=True):
        if block.executed and not block.hidden:
            indent = rows[block.line - 1].partition("`")[0]
            head = f'{{ .{block.kind} .copy data-line="{line}" }}'
            rows[block.line - 1] = f"{indent}```{head}"
    return "\n".join(rows)


def content(path: Path) -> str:
    """Render a page to the HTML of its content, without the theme and its plugins."""
    text, skipped = pages.read(path)
    name = path.resolve().relative_to(pages.ROOT).as_posix()
    lines = fence_lines(path)
    text = claims.mark(text, lines)
    text = excerpts.expand(text, name, lines)
    text = copyable(text, lines)
    text = recorded.insert(text, name, skipped=skipped)
    return pages.markdown().convert(text)
