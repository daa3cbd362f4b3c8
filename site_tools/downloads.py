"""A page as a notebook and as a script, one cell a block, from the same Markdown.

The script runs from top to bottom; the notebook carries the outputs that the page shows.
Claims and other hidden blocks stay on the page: a download is what a reader has read.
"""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat.v4 as nb
from nbformat import NotebookNode

from site_tools import excerpts, pages, recorded
from site_tools.blocks import Block, Page, parse

__all__ = ["notebook", "offered", "script"]

_BOX = re.compile(r'(?:!!!|\?\?\?\+?) +\w+(?: +"(?P<title>[^"]*)")?\s*$')


def offered(page: Page) -> bool:
    """Tell whether a page has something to download."""
    return any(b.executed and not b.hidden for b in page.blocks)


def notebook(path: Path) -> str:
    """Give a page as the text of an .ipynb file."""
    return str(jupytext.writes(_cells(parse(path)), fmt="ipynb")) + "\n"


def script(path: Path) -> str:
    """Give a page as a Python script with cells."""
    made = _cells(parse(path))
    for cell in made.cells:
        cell.outputs = [] if cell.cell_type == "code" else None
    return str(jupytext.writes(made, fmt="py:percent"))


def _cells(page: Page) -> NotebookNode:
    found: list[NotebookNode] = []
    lines = _open_boxes(page)
    start = pages.front_matter(page.text)[1].count("\n")
    outputs = {b.line for b in page.visible if b.expected is None and b.kind == "text"}
    prose: list[str] = []
    for block in page.visible:
        prose += lines[start : block.line - 1]
        start = block.end
        if block.executed:
            _add_prose(found, prose)
            prose = []
            found.append(_code(block))
        elif block.kind == "excerpt":
            prose += ["```python", *excerpts.read(block).code.rstrip("\n").split("\n"), "```"]
        elif block.line not in outputs:
            prose += lines[block.line - 1 : block.end]
    _add_prose(found, [*prose, *lines[start:]])
    for number, cell in enumerate(found):
        cell["id"] = f"{Path(page.path).stem}-{number:02d}"[-60:]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nb.new_notebook(cells=found, metadata={"kernelspec": kernel})


def _code(block: Block) -> NotebookNode:
    source = block.body.rstrip("\n")
    if block.kind == "bash":
        source = "%%bash\nset -euo pipefail\n" + source
    out = [nb.new_output("stream", name="stdout", text=block.expected)] if block.expected else []
    return nb.new_code_cell(source, outputs=out)


def _add_prose(found: list[NotebookNode], lines: list[str]) -> None:
    text = _plain("\n".join(lines))
    if text:
        found.append(nb.new_markdown_cell(text))


def _plain(text: str) -> str:
    """Turn the site's Markdown into Markdown that notebooks understand."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = recorded.PATTERN.sub(
        lambda m: recorded.value(m["file"], m["path"], m["format"] or ""), text
    )
    text = re.sub(r"^/// *[\w-]* *.*$", "", text, flags=re.MULTILINE)  # captions
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", r"*Figure: \1*", text)
    text = re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]*\)(\{[^}]*\})?", r"\1", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip()


def _open_boxes(page: Page) -> list[str]:
    """Replace boxes by a bold title and their text, line by line."""
    rows: list[str] = []
    inside = False
    for row in page.text.split("\n"):
        box = _BOX.match(row)
        if box:
            inside = True
            rows.append(f"**{box['title']}**" if box["title"] else "")
        elif inside and row.startswith("    "):
            rows.append(row[4:])
        else:
            inside = inside and not row.strip()
            rows.append(row)
    return rows
