"""Claims: hidden code after a paragraph that asserts the numbers in it.

    The imputed file holds the rare event at 4.8 %.

    <!-- claim
    ```python
    from calibration import toy
    share = toy.after("sources").person["event"].mean()
    assert round(100 * share, 1) == 4.8
    ```
    -->

In an assertion, the side that is computed has a name that comes from `calibration`; the
other side has nothing but constants. A number is *proved* by a claim if it stands on such a
constant side, and if the block fails with the number one unit in its last place higher, and
one lower. The tests in tests/docs do that; here is what they need to know about a claim.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from site_tools.blocks import Block, parse_text

__all__ = ["Literal", "faults", "literals", "mark", "mutants", "show"]


@dataclass(frozen=True, slots=True)
class Literal:
    """A number on the constant side of an assertion.

    Parameters
    ----------
    text : str
        As it is written, without a sign.
    value : Decimal
        Its value, with all decimals that are written.
    line, column, end : int
        Where it stands in the block: line from 1, columns from 0.
    """

    text: str
    value: Decimal
    line: int
    column: int
    end: int


def faults(code: str) -> list[tuple[int, str]]:
    """Say what keeps a block from being a claim: line in the block, and why."""
    asserts = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]
    if not asserts:
        return [(1, "it asserts nothing")]
    computed = _computed(ast.parse(code))
    return [
        (node.lineno, "this assertion compares constants: nothing in it comes from calibration")
        for node in asserts
        if not _names(node.test) & computed
    ]


def literals(code: str) -> list[Literal]:
    """Give the numbers that stand alone against something computed."""
    tree = ast.parse(code)
    computed = _computed(tree)
    found = []
    for statement in ast.walk(tree):
        if not isinstance(statement, ast.Assert):
            continue
        for compare in ast.walk(statement.test):
            if not isinstance(compare, ast.Compare):
                continue
            sides = [compare.left, *compare.comparators]
            if any(_names(side) & computed for side in sides):
                constant = [side for side in sides if not _names(side)]
                found += [n for side in constant for n in _numbers(side, code)]
    return found


def mutants(code: str, literal: Literal) -> Iterator[str]:
    """Give the code with a number one unit in its last place higher, and one lower."""
    step = Decimal(1).scaleb(int(literal.value.as_tuple().exponent))
    lines = code.split("\n")
    line = lines[literal.line - 1].encode()
    for value in (literal.value + step, literal.value - step):
        changed = line[: literal.column] + f"{value}".encode() + line[literal.end :]
        yield "\n".join([*lines[: literal.line - 1], changed.decode(), *lines[literal.line :]])


def _numbers(side: ast.expr, code: str) -> Iterator[Literal]:
    for node in ast.walk(side):
        if not isinstance(node, ast.Constant) or isinstance(node.value, bool | str | bytes):
            continue
        if isinstance(node.value, int | float):
            text = ast.get_source_segment(code, node) or ""
            value = Decimal(text.replace("_", ""))
            yield Literal(text, value, node.lineno, node.col_offset, node.end_col_offset or 0)


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _computed(tree: ast.Module) -> set[str]:
    """Give the names whose values depend on something imported from `calibration`."""
    known: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _ours(node.module or ""):
            known |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Import):
            known |= {
                name.asname or name.name.partition(".")[0]
                for name in node.names
                if _ours(name.name)
            }
    size = -1
    while size != len(known):  # until nothing new depends on what is known
        size = len(known)
        for node in ast.walk(tree):
            for targets, source in _bindings(node):
                if _names(source) & known:
                    known |= targets
    return known


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "calibration"


def _bindings(node: ast.AST) -> Iterator[tuple[set[str], ast.AST]]:
    """Give what a node binds, and what the value comes from."""
    if isinstance(node, ast.Assign):
        yield {name for target in node.targets for name in _names(target)}, node.value
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and node.value:
        yield _names(node.target), node.value
    elif isinstance(node, ast.For | ast.comprehension):
        yield _names(node.target), node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield _names(node.optional_vars), node.context_expr
    elif isinstance(node, ast.FunctionDef):
        yield {node.name}, node


# -- on the page -------------------------------------------------------------------------


def mark(text: str, lines: list[int]) -> str:
    """Turn the comments of claims into fences that `show` renders.

    Works on the Markdown before the fence processor, and keeps the number of lines.

    Parameters
    ----------
    text : str
        The page without its front matter.
    lines : list of int
        Line of each of the page's fences in the file.
    """
    rows = text.split("\n")
    for block, line in zip(parse_text(text, "").blocks, lines, strict=True):
        if not block.claim:
            continue
        opened = next(n for n in range(block.line - 2, -1, -1) if "<!--" in rows[n])
        closed = next(n for n in range(block.end, len(rows)) if "-->" in rows[n])
        rows[opened] = re.sub(r"<!--.*", "", rows[opened])
        rows[closed] = rows[closed].replace("-->", "", 1)
        indent = rows[block.line - 1].partition("`")[0]
        rows[block.line - 1] = f'{indent}```{{ .claim data-line="{line}" }}'
    return "\n".join(rows)


def show(  # called by the fence processor
    source: str,
    language: str,  # noqa: ARG001
    css_class: str,  # noqa: ARG001
    options: dict[str, Any],  # noqa: ARG001
    md: Any,
    *,
    attrs: dict[str, str] | None = None,
    **_: Any,
) -> str:
    """Render a claim: a check mark that opens its code."""
    processor = md.preprocessors["fenced_code_block"]
    code = processor.highlight(
        src=source, language="python", options={}, md=md, classes=["copy"], id_value="", attrs={}
    )
    line = (attrs or {}).get("data-line", "")
    return (
        f'<details class="claim" data-line="{line}">'
        '<summary title="Open the code that asserts this"><span>asserted</span></summary>'
        f"{code}</details>"
    )


def of(block: Block) -> set[Decimal]:
    """Give the values that a claim proves."""
    return {literal.value for literal in literals(block.body)}
