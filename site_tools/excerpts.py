"""Excerpts of the package, taken from its sources when the page is made.

    ```python title="calibration/l0/gates.py"
    --8<-- "calibration/l0/gates.py:open_probability"
    ```

Behind the colon stands a function, a class or `Class.method`; its docstring is left out.
With `from "..." to "..."` the excerpt runs from the first line that contains the one text to
the next line that contains the other. What is not found is an error with its line.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass

from site_tools.blocks import Block, parse_text
from site_tools.pages import ROOT

__all__ = ["Excerpt", "ExcerptError", "expand", "read"]

_LINE = re.compile(
    r'--8<--\s+"(?P<file>[^":]+):(?P<name>[\w.]+)"(?:\s+from\s+"(?P<first>.+?)"\s+to\s+"(?P<last>.+)")?'
)


class ExcerptError(Exception):
    """An excerpt that cannot be made."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of the package.

    Parameters
    ----------
    code : str
    name : str
        Full path of the function or class it is from.
    """

    code: str
    name: str


def read(block: Block) -> Excerpt:
    """Take an excerpt from the sources.

    Raises
    ------
    ExcerptError
        If file, name or text are not there.
    """
    match = _LINE.search(block.body)
    if not match:
        raise ExcerptError(f'{block.where}: write --8<-- "calibration/module.py:function"')
    file = ROOT / match["file"]
    if f'title="{match["file"]}"' not in block.info:
        raise ExcerptError(f"{block.where}: the title says another file than the excerpt")
    if not file.is_file():
        raise ExcerptError(f"{block.where}: there is no {match['file']}")
    source = file.read_text(encoding="utf-8")
    node = _find(ast.parse(source), match["name"].split("."))
    if node is None:
        raise ExcerptError(f"{block.where}: {match['file']} has no {match['name']}")
    lines = _without_docstring(source.split("\n"), node)
    if match["first"]:
        lines = _between(lines, match["first"], match["last"], block)
    module = match["file"].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Excerpt(textwrap.dedent("\n".join(lines)) + "\n", f"{module}.{match['name']}")


def expand(text: str, page: str, lines: list[int]) -> str:
    """Replace the snippet lines of a page by code.

    Parameters
    ----------
    text : str
        The page without its front matter.
    page : str
        Its path, for messages.
    lines : list of int
        Line of each of the page's fences in the file.
    """
    rows = text.split("\n")
    for block, line in zip(parse_text(text, page).blocks, lines, strict=True):
        if block.kind != "excerpt":
            continue
        shifted = Block(page, line, line + 2, block.fence, block.info, block.body, block.kind)
        excerpt = read(shifted)
        for n in range(block.line, block.end - 1):
            if "--8<--" in rows[n]:
                indent = rows[n][: len(rows[n]) - len(rows[n].lstrip())]
                rows[n] = textwrap.indent(excerpt.code.rstrip("\n"), indent)
        rows[block.line - 1] = (
            rows[block.line - 1].partition("python")[0]
            + f'{{ .python .excerpt title="{block.info.partition(chr(34))[2][:-1]}"'
            + f' data-name="{excerpt.name}" }}'
        )
    return "\n".join(rows)


def _find(tree: ast.AST, parts: list[str]) -> ast.AST | None:
    for node in ast.iter_child_nodes(tree):
        if getattr(node, "name", None) == parts[0]:
            return node if len(parts) == 1 else _find(node, parts[1:])
    return None


def _without_docstring(lines: list[str], node: ast.AST) -> list[str]:
    body = node.body  # type: ignore[attr-defined]
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])  # type: ignore[attr-defined]
    end: int = node.end_lineno  # type: ignore[attr-defined]
    if ast.get_docstring(node) is None:  # type: ignore[arg-type]
        return lines[start - 1 : end]
    doc = body[0]
    after = [*lines[doc.end_lineno : end]]
    while after and not after[0].strip():
        after.pop(0)
    return lines[start - 1 : doc.lineno - 1] + after


def _between(lines: list[str], first: str, last: str, block: Block) -> list[str]:
    start = next((n for n, line in enumerate(lines) if first in line), None)
    if start is None:
        raise ExcerptError(f"{block.where}: no line of the excerpt contains {first!r}")
    end = next((n for n in range(start, len(lines)) if last in lines[n]), None)
    if end is None:
        raise ExcerptError(f"{block.where}: no later line of the excerpt contains {last!r}")
    return lines[start : end + 1]
