"""The code of a step is what it can run, and the commit is this package's own."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from calibration import provenance, toy
from calibration.pipeline import RunOptions, run, steps_of
from calibration.provenance import code_hash, commit, import_closure, modified

SOURCES = {
    "__init__.py": "",
    "low.py": "X = 1\n",
    "middle.py": "from calibration.low import X\n",
    "late.py": "def f():\n    import calibration.low\n",
    "top.py": "import calibration.middle as m\nimport numpy\n",
    "table.py": 'NAME = "rates.csv"\n',
    "alone.py": "Y = 2\n",
    "sub/__init__.py": "from calibration import alone\n",
    "sub/part.py": "Z = 3\nNAME = 'local.csv'\n",
    "sub/local.csv": "a,b\n",
    "data/rates.csv": "year,rate\n",
    "data/other.csv": "year,rate\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Put a small package named calibration in place of the real one."""
    folder = tmp_path / "calibration"
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(provenance, "_PACKAGE", folder)
    monkeypatch.setattr(provenance, "import_module", no_record)  # that of the tested wheel
    forget()
    yield folder
    forget()


def no_record(name):
    """Be a package that no wheel has brought."""
    raise ModuleNotFoundError(name)


def forget():
    """Empty the caches, which hold for one state of the sources."""
    for function in (commit, modified, code_hash, provenance._named, provenance._source):
        function.cache_clear()


@pytest.mark.parametrize(
    ("modules", "closure"),
    [
        (["calibration.low"], ["", ".low"]),
        (["calibration.middle"], ["", ".low", ".middle"]),
        (["calibration.top"], ["", ".low", ".middle", ".top"]),
        (["calibration.late"], ["", ".late", ".low"]),
        (["calibration.sub.part"], ["", ".alone", ".sub", ".sub.part"]),
        (["calibration.low", "calibration.alone"], ["", ".alone", ".low"]),
    ],
)
@pytest.mark.usefixtures("package")
def test_the_closure_has_all_that_is_imported(modules, closure):
    """Directly, through others, inside functions, and the packages around a module."""
    assert import_closure(modules) == tuple(f"calibration{name}" for name in closure)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("low.py", True),
        ("middle.py", True),
        ("top.py", True),
        ("__init__.py", True),
        ("alone.py", False),
        ("data/rates.csv", False),
    ],
)
def test_the_hash_follows_the_closure(package, file, changes):
    """A change of any module in the closure changes the hash; a change elsewhere does not."""
    before = code_hash("calibration.top")
    (package / file).write_text((package / file).read_text() + "# more\n")
    forget()
    assert (code_hash("calibration.top") != before) is changes


@pytest.mark.parametrize(
    ("module", "file", "changes"),
    [
        ("calibration.table", "data/rates.csv", True),
        ("calibration.table", "data/other.csv", False),
        ("calibration.table", "sub/local.csv", False),
        ("calibration.sub.part", "sub/local.csv", True),
    ],
)
def test_a_table_that_is_named_is_code(package, module, file, changes):
    """A table of the package counts for the modules that name it, and for no other."""
    before = code_hash(module)
    (package / file).write_text("year,rate\n2024,1\n")
    forget()
    assert (code_hash(module) != before) is changes


def test_what_lies_around_only_its_own_text_counts(package):
    """A module around the step counts itself, not what it imports."""
    before = code_hash("calibration.alone", around=("calibration.top",))
    assert before != code_hash("calibration.alone")
    (package / "low.py").write_text("X = 2\n")
    forget()
    assert code_hash("calibration.alone", around=("calibration.top",)) == before
    (package / "top.py").write_text("X = 2\n")
    forget()
    assert code_hash("calibration.alone", around=("calibration.top",)) != before


@pytest.mark.usefixtures("package")
def test_the_order_of_modules_means_nothing():
    """A closure is a set."""
    assert code_hash("calibration.top", "calibration.late") == code_hash(
        "calibration.late", "calibration.top"
    )


# -- the commit --------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody, in a folder."""
    somebody = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=m"]
    command = ["git", "-C", folder, *somebody, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(package, monkeypatch) -> Path:
    """Put the small package into a repository with one commit, of a README alone."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    home = package.parent
    (home / "README").write_text("x")
    git(home, "init")
    git(home, "add", "README")
    git(home, "commit", "-m", "first")
    return home


def test_a_checkout_says_its_commit(repository):
    """If the package is part of the repository, the commit is its head."""
    git(repository, "add", ".")
    git(repository, "commit", "-m", "second")
    assert commit() == git(repository, "rev-parse", "HEAD")


def test_a_changed_checkout_says_so(repository, package):
    """A file of the package that differs from the commit, or is new, is a modification."""
    git(repository, "add", ".")
    git(repository, "commit", "-m", "second")
    (repository / "README").write_text("y")  # not the package
    assert modified() is False
    modified.cache_clear()
    (package / "new.py").write_text("")
    assert modified() is True


@pytest.mark.usefixtures("repository")
def test_a_repository_that_only_surrounds_the_package_has_no_say():
    """Installed into somebody's repository, untracked, the package has no commit of theirs."""
    assert commit() == "0" * 40


@pytest.mark.usefixtures("package")
def test_without_git_the_commit_is_unknown(monkeypatch):
    """Where there is no git, the commit is forty zeros."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("git") is None
    assert commit() == "0" * 40


def test_the_record_of_a_wheel_comes_first(package, monkeypatch):
    """What the build wrote into the wheel is the commit."""
    monkeypatch.setattr(
        provenance, "import_module", lambda _: type("Info", (), {"COMMIT": "ab" * 20})
    )
    assert (package / "__init__.py").exists()
    assert commit() == "ab" * 20


STATEMENTS = """\
import calibration.low, numpy as np
from calibration import (
    alone,  # why (and a comma, here)
    middle as m,
)
def f():
    if True: pass
    from calibration.sub import part; part.Z
\timport calibration.top as top
from calibration.low import(X)
imports = "important from nowhere import nothing"
"""


def test_import_statements_are_found_in_every_form():
    """In parentheses, with comments, renamed, several to a line, inside functions."""
    assert set(provenance._imported_names(STATEMENTS)) == {
        *("calibration.low", "numpy", "calibration", "calibration.alone", "calibration.middle"),
        *("calibration.sub", "calibration.sub.part", "calibration.top", "calibration.low.X"),
    }


def parsed(text):
    """Name what is imported, by Python's own parser: the slow twin."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_no_import_of_the_package_is_missed():
    """What the parser finds in every module, the search in its text finds."""
    texts = [path.read_text("utf-8") for path in provenance._PACKAGE.rglob("*.py")]
    assert len(texts) > 100
    for text in texts:
        assert set(parsed(text)) <= set(provenance._imported_names(text))


# -- the real steps ----------------------------------------------------------------------


def test_the_real_closures_are_small_and_whole():
    """Every step hashes modules that exist; no step hashes the pipeline or the command line."""
    for step in steps_of("toy"):
        closure = import_closure(step.modules)
        assert set(step.modules) <= set(closure)
        assert not {"calibration.pipeline", "calibration.cli", "calibration.toy"} & set(closure)
        assert len(code_hash(*step.modules, around=step.around)) == 64


@pytest.mark.parametrize(
    ("step", "table"),
    [
        ("takeup", "takeup_rates.csv"),
        ("targets", "uprating_factors.csv"),
        ("puf", "puf_variables.csv"),
        ("puf", "retirement_limits.csv"),
        ("matrix", "parameters.csv"),
        ("files", "rating_areas.csv"),
    ],
)
def test_steps_depend_on_the_package_s_tables(step, table):
    """A rate, limit or parameter that a step computes with is part of its code."""
    (modules,) = [s.modules for s in steps_of("toy") if s.name == step]
    named = {path.name for m in import_closure(modules) for path in provenance._tables(m)}
    assert table in named


def test_every_table_of_the_package_is_named_by_a_module():
    """No table lies in the package unread, or read under a name that the hash cannot see."""
    root = provenance._PACKAGE
    modules = [
        ".".join(("calibration", *path.relative_to(root).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in root.rglob("*.py")
        if "toy_data" not in path.parts
    ]
    named = {path for module in modules for path in provenance._tables(module)}
    tables = {p for p in root.rglob("*.csv") if "toy_data" not in p.relative_to(root).parts}
    assert named == tables


# What puts steps in order and chunks in their places, and changes no value.
MACHINERY = {"steps", "run_folder", "provenance", "pipeline", "workers", "keeping"}


def test_a_key_covers_all_code_that_its_step_runs(tmp_path):
    """Whatever function of the package a step calls, its module is in the hash of the step."""
    root, ran = f"{provenance._PACKAGE}{os.sep}", {}
    current: set[str] = set()

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            current.add(frame.f_code.co_filename)

    def follow(event):
        if event.kind == "start":
            current.clear()
            sys.settrace(watch)  # a profile would stop at C functions too
        else:
            sys.settrace(None)
            ran[event.step] = {module_of(name.removeprefix(root)) for name in current}

    few = RunOptions(trees=2, households=20, clones=3)
    run(toy.folder(), tmp_path / "run", few, observe=follow)
    assert list(ran) == [step.name for step in steps_of("toy")]
    machinery = {f"calibration.{name}" for name in MACHINERY}
    beyond = {
        step.name: ran[step.name] - {*import_closure(step.modules), *step.around} - machinery
        for step in steps_of("toy")
    }
    assert {name: modules for name, modules in beyond.items() if modules} == {}
    assert all(step.action.__module__ in ran[step.name] for step in steps_of("toy"))


def module_of(path: str) -> str:
    """Give the module that a path below the package belongs to."""
    parts = ("calibration", *Path(path).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")
