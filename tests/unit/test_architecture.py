"""The house stands as drawn: rooms, floors and stairs that lead one way.

    shell         pipeline, command line, stored runs: may use everything below
    rooms         one for each stage: use the foundations and themselves
    foundations   what every stage shares: use each other, without circles

A new module must be given its place here. Sources are read as text, imports inside
functions too.
"""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import calibration


def words(text: str) -> list[str]:
    """Split a list that is written as text."""
    return text.split()


FOUNDATIONS = words("""
    errors files splitmix rng rng_numba provenance dataset geography crosswalk engines survey
    targets strata target_database constraints materialise takeup clones measures
    compact compact.factored compact.finest compact.grid compact.sheets compact.stored
    matrix matrix_files h5_layout forest presorted qrf predictors imputer keeping sharing
""")

ROOMS = {
    "engine": words("""engines.toy engines.toy.benefits engines.toy.deductions
                 engines.toy.expenditures engines.toy.income engines.toy.inputs
                 engines.toy.local_tax engines.toy.marketplace engines.toy.medicaid
                 engines.toy.parameters engines.toy.rule engines.toy.snap engines.toy.ssi
                 engines.toy.tax engines.toy.tax_credits engines.taxcalc
                 engines.taxcalc.units engines.taxcalc.variables engines.policyengine
                 engines.policyengine.checking engines.policyengine.dependencies
                 engines.policyengine.model engines.policyengine.translation
                 engines.policyengine.variables"""),
    "puf": words("""puf_impute puf_variables stratify social_security retirement
              unemployment"""),
    "clones": ["blocks", "clone_and_assign", "own_state"],
    "sources": ["source_impute", "source_predictors"],
    "takeup": ["thresholds"],
    "targets": ["level_gaps", "published", "selection", "soi", "uprating"],
    "matrix": ["gather", "matrix_builder"],
    "fit": words("""l0 l0.arguments l0.attended l0.compiled l0.compiled_math l0.controls l0.device
              l0.device_gates l0.device_matrix l0.device_noise l0.forms l0.gates l0.laying_out
              l0.noise l0.objective l0.options l0.passes l0.phases l0.portable l0.problem l0.run
              l0.shared l0.state l0.strips l0.team select"""),
    "files": ["publish_local_area"],
    "diagnostics": words("""evaluate identity checks plain_twins diagnostics diagnostics.causes
              diagnostics.headlines diagnostics.log diagnostics.relative diagnostics.rows
              diagnostics.unified diagnostics.untargeted diagnostics.validation
              diagnostics.weights diagnostics.write"""),
}  # fmt: skip

SHELL = words("""
    run_folder steps inputs starts artifacts run_options workers puf_checks actions fit_stage
    audit preflight pipeline failures.experiment failures.kernel failures.takeup failures.matrix
    failures.files failures.puf failures.targets failures toy report target_commands cli
""")
"""In an order in which each uses only those before it."""

DOORS = {("checks", "thresholds")}  # a check resolves the thresholds again, that is its task
TOPS = {"pipeline": {"cli", "toy_data.generate"}, "toy": {"cli"}, "cli": set()}

HEAVY = {"torch", "sklearn", "pandas", "matplotlib", "policyengine_us", "taxcalc"}


def sources() -> dict[str, ast.Module]:
    """Parse every module of the installed package, by name without `calibration.`."""
    found = {}
    data = importlib.util.find_spec("calibration.toy_data").submodule_search_locations
    for root, prefix in (
        (Path(calibration.__file__).parent, ""),
        (Path(next(iter(data))), "toy_data"),
    ):
        for path in sorted(root.rglob("*.py")):
            parts = [*prefix.split(), *path.relative_to(root).with_suffix("").parts]
            name = ".".join(parts).removesuffix("__init__").removesuffix(".")
            found[name] = ast.parse(path.read_text(encoding="utf-8"), path)
    found.pop("_build_info", None)  # written by the build of a wheel
    return found


SOURCES = sources()
MODULES = {name for name in SOURCES if name}
OURS = sorted(name for name in MODULES if not name.startswith("toy_data"))


def imports_of(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Give the full names that are imported anywhere in a tree, each with its statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


GRAPH = {
    name: {
        target.removeprefix("calibration.")
        for target, _ in imports_of(tree)
        if target.removeprefix("calibration.") in MODULES - {name}
        and target.startswith("calibration.")
    }
    for name, tree in SOURCES.items()
    if name
}


# -- floors and stairs -------------------------------------------------------------------


def test_every_module_has_one_place():
    """Foundations, rooms and shell together are the package, each module once."""
    placed = [*FOUNDATIONS, *SHELL, *(m for room in ROOMS.values() for m in room)]
    assert sorted(placed) == OURS


def test_imports_run_in_no_circle():
    """The modules can be put in an order in which each imports only earlier ones."""
    assert set(TopologicalSorter(GRAPH).static_order()) == MODULES


def test_foundations_rest_on_foundations():
    """No foundation knows a stage or the shell."""
    for name in FOUNDATIONS:
        assert GRAPH[name] <= set(FOUNDATIONS), name


@pytest.mark.parametrize("room", ROOMS)
def test_a_stage_knows_itself_and_the_foundations(room):
    """No stage module imports another stage's, nor the shell; doors are listed."""
    allowed = set(FOUNDATIONS) | set(ROOMS[room])
    for name in ROOMS[room]:
        beyond = {target for target in GRAPH[name] - allowed if (name, target) not in DOORS}
        assert not beyond, name


def test_no_door_leads_nowhere():
    """Every listed exception is one that is used."""
    assert {(name, target) for name, target in DOORS if target in GRAPH[name]} == DOORS


def test_the_shell_is_in_its_order():
    """Each module of the shell uses only those before it, and whatever lies below."""
    for i, name in enumerate(SHELL):
        assert not GRAPH[name] & set(SHELL[i:]), name


@pytest.mark.parametrize(("top", "users"), TOPS.items())
def test_nothing_imports_the_top(top, users):
    """Pipeline, toy and command line are entered from outside."""
    assert {name for name in GRAPH if top in GRAPH[name]} == users


def test_the_toy_country_needs_no_more_than_the_foundations():
    """But for the generator, which runs the pipeline, its modules know nothing of the shell."""
    for name in MODULES - set(OURS) - {"toy_data.generate"}:
        assert not GRAPH[name] & set(SHELL), name


def test_the_tour_of_the_package_names_real_modules():
    """Every module in the package's docstring exists, the stages in a room of their own."""
    lines = [line.strip() for line in calibration.__doc__.splitlines() if line.startswith("    ")]
    named = [name for line in lines for name in re.split(r" {2,}", line)[0].split(", ")]
    assert len(named) >= 12
    assert set(named) <= MODULES


# -- what a module looks like --------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SOURCES), ids=lambda name: name or "calibration")
def test_a_module_opens_with_a_sentence(name):
    """The first line of its docstring says in a sentence what it is for."""
    first = (ast.get_docstring(SOURCES[name]) or "").split("\n")[0]
    assert len(first) > 10
    assert first[0].isupper()
    assert first.endswith((".", "?"))


@pytest.mark.parametrize("name", OURS)
def test_all_is_what_is_public(name):
    """`__all__` has every public function and class once, and no name that is not there."""
    tree = SOURCES[name]
    listed, defined = None, set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            defined |= {n.id for n in ast.walk(target or ast.Pass()) if isinstance(n, ast.Name)}
            if isinstance(target, ast.Name) and target.id == "__all__":
                listed = ast.literal_eval(node.value)
    imported = {target.rpartition(".")[2] for target, _ in imports_of(tree)}
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert listed is not None
    assert len(set(listed)) == len(listed)
    assert public <= set(listed) <= defined | imported


@pytest.mark.parametrize("name", sorted(SOURCES), ids=lambda name: name or "calibration")
def test_imports_are_plain_and_heavy_ones_late(name):
    """No relative imports, no stars, no private names of other modules; torch and its like late."""
    tree = SOURCES[name]
    for target, node in imports_of(tree):
        relative = isinstance(node, ast.ImportFrom) and node.level
        assert not relative, f"{name}: relative import"
        module, _, last = target.rpartition(".")
        assert last != "*"
        if module.startswith("calibration"):
            assert not last.startswith("_") or last.startswith("__"), f"{name}: {target}"
        if target.split(".")[0] in HEAVY:
            assert node not in tree.body, f"{name} imports {target} when it is imported"


def lines_of_code(node: ast.AST, text_lines: set[int]) -> int:
    """Count the lines of a node that are neither empty nor part of a docstring."""
    docs: set[int] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            inner
        ):
            docs |= set(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
    own = text_lines
    if not isinstance(node, ast.Module):
        own = text_lines & set(range(node.lineno, node.end_lineno + 1))
    return len(own - docs)


@pytest.mark.parametrize("name", sorted(SOURCES), ids=lambda name: name or "calibration")
def test_rooms_are_small(name):
    """Docstrings aside, no function is longer than 60 lines and no module than 420."""
    tree = SOURCES[name]
    path = importlib.util.find_spec(f"calibration.{name}".rstrip(".")).origin
    text = Path(path).read_text(encoding="utf-8").splitlines()
    filled = {number for number, line in enumerate(text, start=1) if line.strip()}
    assert lines_of_code(tree, filled) <= 420
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert lines_of_code(node, filled) <= 60, node.name


# -- what an import costs ------------------------------------------------------------------

LOADED = "import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"


def loaded_by(module: str) -> set[str]:
    """List what is loaded after importing a module in a new interpreter."""
    command = [sys.executable, "-P", "-c", LOADED.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_little():
    """`import calibration` loads fewer than 20 of its modules and no library at all."""
    loaded = loaded_by("calibration")
    assert len([m for m in loaded if m.split(".")[0] == "calibration"]) < 20
    libraries = HEAVY | {"scipy", "h5py", "numpy", "numba", "typer", "rich"}
    assert not libraries & {m.split(".")[0] for m in loaded}


def test_the_toy_run_is_read_without_heavy_libraries():
    """`import calibration.toy` needs arrays, not forests, tensors or tables."""
    assert not (HEAVY | {"numba"}) & {m.split(".")[0] for m in loaded_by("calibration.toy")}


def test_the_program_answers_before_it_loads():
    """`import calibration.cli` loads no stage: help and usage errors come at once."""
    stages = {f"calibration.{m}" for room in ROOMS.values() for m in room}
    assert not stages & loaded_by("calibration.cli")
