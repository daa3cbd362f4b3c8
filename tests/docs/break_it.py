"""Break one thing at a time in a copy of the book, and see the right check name its place.

    python tests/docs/break_it.py [WORD...]      all nine; with words, the cases that have one

A check that has never failed proves little. Each case changes one thing in a copy in a
temporary folder, runs the check that is there for it, and requires it to fail with the file
and the line of the change. First all checks have to pass on the copy as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = (
    *("benchmarks", "calibration", "site_src", "site_tools", "tests", "toy_data"),
    *("README.md", "constraints.txt", "mkdocs.yml", "pyproject.toml", "setup.py"),
)
TOUR = "site_src/tour.md"
FIT = "site_src/chapters/05-l0.md"
NOTEBOOK = "site_src/notebooks/calibration_internals.ipynb"

# -P keeps the copy off the import path: the package is the installed one, as in all tests.
PYTEST = (sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short")
CODEBLOCKS = (*PYTEST, "--codeblocks", "tests/docs/test_links.py", TOUR, "-k", "line")
ALONE = (*PYTEST, "tests/docs/test_blocks_alone.py", "-k", f"{TOUR} and file")
GUARD = (*PYTEST, "tests/docs/test_guard.py", "-k", f"test_fences and {TOUR}")
NUMBERS = (*PYTEST, "tests/docs/test_claims.py", "-k", f"accounted and {TOUR}")
COVERAGE = (*PYTEST, "tests/docs/test_coverage.py", "-k", f"test_pages and {FIT}")
LINKS = (*PYTEST, "tests/docs/test_links.py", "-k", f"test_links_of and {TOUR}")
BUILD = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "../site")
CHECKS = (CODEBLOCKS, ALONE, GUARD, NUMBERS, COVERAGE, LINKS, BUILD)


@dataclass(frozen=True)
class Case:
    """One thing to break.

    Parameters
    ----------
    what : str
    break_it : callable
        Changes the copy; gives file and line of the change, as the check has to name it.
    check : tuple of str
        The command that has to fail.
    says : str
        What else has to stand in the line with the place.
    """

    what: str
    break_it: Callable[[Path], str]
    check: tuple[str, ...]
    says: str


def change(copy: Path, name: str, old: str, new: str) -> int:
    """Replace a text that stands once on a page; give its line."""
    path = copy / name
    text = path.read_text(encoding="utf-8")
    found = text.count(old)
    if found != 1:
        raise SystemExit(f"{name} has {old!r} {found} times: mend tests/docs/break_it.py")
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def digit_in_an_output(copy: Path) -> str:
    """Let 300 columns become 301; the check names the block that prints."""
    line = change(copy, TOUR, "targets and columns: (72, 300)", "targets and columns: (72, 301)")
    rows = (copy / TOUR).read_text(encoding="utf-8").split("\n")
    fence = next(n for n in range(line, 0, -1) if rows[n - 1] == "```python")
    return f"{TOUR}:{fence}"


def digit_in_prose(copy: Path) -> str:
    """Let household 42 become 43."""
    return f"{TOUR}:{change(copy, TOUR, 'Household 42, ', 'Household 43, ')}"


def constant_of_a_claim(copy: Path) -> str:
    """Let a claim assert 43; the traceback names the line of the assertion."""
    line = change(copy, TOUR, "assert toy.HOUSEHOLD == 42", "assert toy.HOUSEHOLD == 43")
    return f'File "{TOUR}", line {line}'


def fence_with_a_title(copy: Path) -> str:
    """Put a title on a block, which pytest-codeblocks then passes over in silence."""
    old = "```python\nimport numpy as np\n"
    new = old.replace("python", 'python title="x.py"', 1)
    return f"{TOUR}:{change(copy, TOUR, old, new)}"


def continued_block(copy: Path) -> str:
    """Let a block continue a yaml fence: it would never run."""
    old = "## The state after each stage\n"
    cont = "<!--pytest-codeblocks:cont-->"
    new = f"{old}\n```yaml\na: 1\n```\n\n{cont}\n\n```python\nassert False\n```\n"
    return f"{TOUR}:{change(copy, TOUR, old, new) + 6}"


def renamed_function(copy: Path) -> str:
    """Rename `fit_to_budget` all through the package; a page still imports it."""
    for path in (copy / "calibration").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\bfit_to_budget\b", "fit_to_count", text), encoding="utf-8")
    rows = (copy / FIT).read_text(encoding="utf-8").split("\n")
    line = next(n for n, row in enumerate(rows, 1) if "import fit_to_budget" in row)
    return f"{FIT}:{line}"


def dead_link(copy: Path) -> str:
    """Link to a page that is not there."""
    return f"{TOUR}:{change(copy, TOUR, '(glossary.md)', '(glosary.md)')}"


def dead_anchor(copy: Path) -> str:
    """Link to an anchor that its page does not have."""
    return f"{TOUR}:{change(copy, TOUR, '(glossary.md)', '(glossary.md#leters)')}"


def notebook_cell(copy: Path) -> str:
    """Let a cell of the notebook fail in its last line."""
    path = copy / NOTEBOOK
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = [c for c in notebook["cells"] if c["cell_type"] == "code"][1]
    cell["source"] = f"{''.join(cell['source'])}\nassert 1 == 2".splitlines(keepends=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return f"{NOTEBOOK}:{text[: text.index('assert 1 == 2')].count(chr(10)) + 1}"


CASES = (
    Case("a digit in an output", digit_in_an_output, CODEBLOCKS, "the page shows"),
    Case("a digit in prose", digit_in_prose, NUMBERS, ": 43 has no claim"),
    Case("a claim's constant", constant_of_a_claim, ALONE, "in <module>"),
    Case("a fence with a title", fence_with_a_title, GUARD, "is not run"),
    Case("a cont block after a yaml fence", continued_block, GUARD, "cont--> is not allowed"),
    Case("a renamed public function", renamed_function, COVERAGE, "has no fit_to_budget"),
    Case("a link", dead_link, LINKS, "there is no such page"),
    Case("an anchor", dead_anchor, LINKS, "no such anchor"),
    Case("a notebook cell", notebook_cell, BUILD, "AssertionError"),
)


def make_copy(folder: Path) -> Path:
    """Copy what the checks read."""
    copy = folder / "copy"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    return copy


def run(check: tuple[str, ...], copy: Path) -> tuple[int, str]:
    """Run a check in the copy."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SITE"))}
    done = subprocess.run(
        check,
        cwd=copy,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1", "NO_MKDOCS_2_WARNING": "1"},
    )
    return done.returncode, done.stdout


def passes(check: tuple[str, ...]) -> str | None:
    """Run a check on an unbroken copy; give what it said if it fails, or ran nothing."""
    with tempfile.TemporaryDirectory(prefix="break-it-") as folder:
        status, said = run(check, make_copy(Path(folder)))
    return said if status else None


def caught(case: Case) -> tuple[str | None, str]:
    """Break one thing; give the line that names it, or None, and all that was said."""
    with tempfile.TemporaryDirectory(prefix="break-it-") as folder:
        copy = make_copy(Path(folder))
        place = case.break_it(copy)
        status, said = run(case.check, copy)
    named = re.compile(rf"{re.escape(place)}(?!\d)")
    lines = [row.strip() for row in said.split("\n") if named.search(row) and case.says in row]
    return (lines[0] if status and lines else None), f"expected {place}\n{said}"


def main() -> None:
    """Run the cases, print what each check said, and exit with 1 unless all were caught."""
    words = sys.argv[1:]
    cases = [c for c in CASES if not words or any(word in c.what for word in words)]
    for check in [c for c in CHECKS if c in {case.check for case in cases}]:
        if said := passes(check):
            sys.exit(f"unbroken, this fails: {' '.join(check)}\n{said[-6000:]}")
    count = 0
    for case in cases:
        line, said = caught(case)
        count += line is not None
        shown = re.sub(r"^E\s+", "", line) if line else f"NOT CAUGHT\n{said[-6000:]}"
        sys.stdout.write(f"{case.what}\n    {shown}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{count} of {len(cases)} caught, with file and line\n")
    sys.exit(0 if count == len(cases) else 1)


if __name__ == "__main__":
    main()
