"""The notebook runs in an empty folder, asserts what it says, and leaves no trace."""

from __future__ import annotations

import ast
import copy
import os
import re
from datetime import timedelta

import nbformat
import pytest
from nbclient import NotebookClient

from site_tools import claims, notebooks, numbers, pages

PATH = pages.ROOT / "site_src" / "notebooks" / "calibration_internals.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
IDS = [cell.id for cell in CODE]
LINES = 20
SECTIONS = [
    "Stage 3 · PUF clone and tax variables",
    "Stage 1 · Clones and census blocks",
    "Stage 2 · Donor surveys",
    "Stage 6 · Takeup",
    "Foundation · Hierarchical uprating",
    "Stage 4 · Matrix assembly",
    "Foundation · The structure of the matrix",
    "Stage 5 · L0 weight optimization",
    "Stage 7 · Weight expansion",
    "Foundation · build_h5()",
    "Stage 8 · Diagnostics",
    "Stage 9 · Orchestration",
]
_NO_PROSE = re.compile(
    r"^#[^\n]*|<[^>]+>|\$\$.*?\$\$|\$[^$]+\$|`[^`]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Give the notebook after a run, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("empty")
    notebook = copy.deepcopy(NOTEBOOK)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        record_timing=True,
        timeout=300,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})
    return notebook, folder


def _outputs(notebook, kind):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type in kind:
                yield cell, output


def test_it_leaves_nothing_behind(executed) -> None:
    """A run from top to bottom writes nothing into the folder it runs in."""
    assert list(executed[1].iterdir()) == []


def test_every_cell_is_fast(executed) -> None:
    """Every cell was run, and none took as long as the site's build allows."""
    cells = list(notebooks.timed(executed[0]))
    assert len(cells) == len(CODE)
    assert notebooks.slow(cells, PATH.name) == []
    assert timedelta(seconds=sum(cell.seconds for cell in cells)) < timedelta(minutes=2)


def test_nothing_complains(executed) -> None:
    """No cell writes to stderr: no warnings, no traces."""
    said = [
        (cell.id, output.text)
        for cell, output in _outputs(executed[0], {"stream"})
        if output.name == "stderr"
    ]
    assert said == []


def test_figures_have_words(executed) -> None:
    """Every figure says what there is to see, and stands on no background of its own."""
    figures = [
        (cell.id, output.metadata.get("image/png", {}).get("alt", ""))
        for cell, output in _outputs(executed[0], {"display_data", "execute_result"})
        if "image/png" in output.data
    ]
    assert len(figures) >= 5
    assert [where for where, words in figures if len(words.split()) < 8] == []


def test_shown_values_name_no_machine(executed) -> None:
    """No output shows an address in memory or a path of this machine."""
    shown = [
        (cell.id, text)
        for cell, output in _outputs(executed[0], {"stream", "execute_result", "display_data"})
        for text in [output.get("text", ""), output.get("data", {}).get("text/html", "")]
    ]
    assert [where for where, text in shown if re.search(r"0x[0-9a-f]{6,}|/tmp/|/home/", text)] == []


def test_it_is_committed_as_written() -> None:
    """No outputs, counts or times are committed; the kernel is python3; ids are names."""
    assert [c.id for c in CODE if c.outputs or c.execution_count or c.metadata] == []
    assert NOTEBOOK.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in NOTEBOOK.cells]
    assert len(set(ids)) == len(ids)
    assert [i for i in ids if not re.fullmatch(r"[a-z][a-z0-9-]+", i)] == []


def test_every_section_is_there() -> None:
    """Three foundations and nine stages stand in the order of execution, each with assertions."""
    script = "\n".join(
        cell.source
        if cell.cell_type == "code"
        else re.sub("^(?!## )", "# ", cell.source, flags=re.MULTILINE)
        for cell in NOTEBOOK.cells
    )
    _, *parts = re.split(r"^## ", script, flags=re.MULTILINE)
    assert [part.partition("\n")[0] for part in parts] == SECTIONS
    assert [part.partition("\n")[0] for part in parts if part.count("\nassert ") < 3] == []


@pytest.mark.parametrize("cell", CODE, ids=IDS)
def test_a_cell_is_short(cell) -> None:
    """A cell fits a screen."""
    assert len(cell.source.splitlines()) <= LINES


def test_every_assertion_has_a_computed_side() -> None:
    """No assertion compares constants, and each says what is wrong when it fails."""
    script = "\n".join(cell.source for cell in CODE)
    assert claims.faults(script) == []
    asserts = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Assert)]
    assert [node.lineno for node in asserts if node.msg is None] == []


def test_a_constant_assertion_is_noticed() -> None:
    """The check above sees an assertion of constants at the end of the notebook."""
    script = "\n".join([*(cell.source for cell in CODE), "assert 3 * 100 == 300, 'columns'"])
    assert len(claims.faults(script)) == 1


def test_numbers_in_prose_are_asserted() -> None:
    """A number in a text stands in an assertion of the code cell before or after it."""
    script = "\n".join(cell.source for cell in CODE)
    computed = {literal.text for literal in claims.literals(script)}
    unproved = []
    for place, cell in enumerate(NOTEBOOK.cells):
        if cell.cell_type != "markdown":
            continue
        beside = [c.source for c in NOTEBOOK.cells[max(place - 1, 0) : place + 2] if c in CODE]
        literals = {n.replace("_", "") for n in re.findall(r"\b[\d_.]*\d", "\n".join(beside))}
        proved = literals & {text.replace("_", "") for text in computed}
        for token, value, _ in numbers.tokens(_NO_PROSE.sub(" ", cell.source)):
            if str(value) not in proved:
                unproved.append((cell.id, token))
    assert unproved == []


def test_random_numbers_come_from_keys() -> None:
    """No cell uses a random generator."""
    assert [
        c.id for c in CODE if re.search(r"default_rng|np\.random|import random", c.source)
    ] == []
