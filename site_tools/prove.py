"""Do claims notice a wrong number? Each number is changed, and its block has to fail.

What is changed is every literal of a claim that stands for a number in the prose. `in_place`
asks all the changed assertions of a block in one run of it: what stands before an
assertion is the same in all mutants, so nothing else needs to run again. `by_running` really
runs every mutant; it is slow, and agrees.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from decimal import Decimal

from site_tools.blocks import Block
from site_tools.claims import Literal, literals, mutants
from site_tools.run_blocks import Runner

__all__ = ["Mutant", "by_running", "in_place", "mutants_of", "proved"]

_MARK = "unnoticed mutants:"
_PRELUDE = """
unnoticed__ = set(range({count}))
def notice__(number, test):
    try:
        holds = bool(test())
    except Exception:
        holds = False
    if not holds:
        unnoticed__.discard(number)
"""
_END = f"\nimport json as json__; print({_MARK!r} + json__.dumps(sorted(unnoticed__)))\n"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A claim with one number changed.

    Parameters
    ----------
    block : Block
    literal : Literal
        The number as it stands in the claim.
    code : str
    """

    block: Block
    literal: Literal
    code: str

    @property
    def where(self) -> str:
        """Page and line of the number."""
        return f"{self.block.page}:{self.block.line + self.literal.line}"


def mutants_of(block: Block, needed: AbstractSet[Decimal]) -> list[Mutant]:
    """Give the mutants of a claim that change a needed number."""
    return [
        Mutant(block, literal, code)
        for literal in literals(block.body)
        if literal.value in needed
        for code in mutants(block.body, literal)
    ]


def in_place(runner: Runner, changed: Sequence[Mutant]) -> list[Mutant]:
    """Give the mutants that their blocks do not notice."""
    by_block: dict[Block, list[Mutant]] = {}
    for mutant in changed:
        by_block.setdefault(mutant.block, []).append(mutant)
    jobs = [(_as(b, _instrumented(b.body, ms)), "file") for b, ms in by_block.items()]
    found = []
    for mine, outcome in zip(by_block.values(), runner.run_many(jobs), strict=True):
        if outcome.error is not None:  # a claim that fails as it stands proves nothing
            found += mine
        else:
            found += [mine[n] for n in json.loads(outcome.out.rpartition(_MARK)[2])]
    return found


def by_running(runner: Runner, changed: Sequence[Mutant]) -> list[Mutant]:
    """Give the mutants that run through without an error."""
    outcomes = runner.run_many([(_as(m.block, m.code), "file") for m in changed])
    return [m for m, o in zip(changed, outcomes, strict=True) if o.error is None]


def proved(blocks: Sequence[Block], unnoticed: Sequence[Mutant]) -> dict[int, set[Decimal]]:
    """Give, by line of the claim, the numbers of which a wrong value would be noticed."""
    weak = {(m.block.line, m.literal) for m in unnoticed}
    return {
        block.line: {n.value for n in literals(block.body) if (block.line, n) not in weak}
        for block in blocks
    }


def _as(block: Block, code: str) -> Block:
    return replace(block, body=code, expected=None)


def _instrumented(code: str, changed: Sequence[Mutant]) -> str:
    tree = ast.parse(code)
    tests: dict[tuple[int, int], list[ast.expr]] = {}
    for number, mutant in enumerate(changed):
        for node in _asserts(ast.parse(mutant.code)):
            if _inside(mutant.literal, node):
                call = ast.parse(f"notice__({number}, lambda: None)").body[0]
                assert isinstance(call, ast.Expr)  # noqa: S101
                assert isinstance(call.value, ast.Call)  # noqa: S101
                call.value.args[1].body = node.test  # type: ignore[attr-defined]
                tests.setdefault((node.lineno, node.col_offset), []).append(call.value)
    tree = ast.fix_missing_locations(_Insert(tests).visit(tree))
    return _PRELUDE.format(count=len(changed)) + ast.unparse(tree) + _END


def _asserts(tree: ast.AST) -> list[ast.Assert]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]


def _inside(literal: Literal, node: ast.Assert) -> bool:
    start, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    return start <= (literal.line, literal.column) and (literal.line, literal.column) < end


class _Insert(ast.NodeTransformer):
    """Put the changed tests of an assertion before it."""

    def __init__(self, tests: dict[tuple[int, int], list[ast.expr]]) -> None:
        self.tests = tests

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        calls = self.tests.get((node.lineno, node.col_offset), [])
        return [*(ast.Expr(call) for call in calls), node]
