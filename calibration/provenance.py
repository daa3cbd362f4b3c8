"""Which code made a thing: the commit of the package, and the sources a step depends on.

A step must run again when its code changed, and only then. Its code is every module of
this package that its own modules import, directly or through others, read as source text,
and every table of the package that those sources name: a rate in a CSV is code too.

    code(step) = SHA-256 of the sources in the import closure of the step's modules, and
                 of the tables that are named in them

The commit comes from the wheel, which records it when it is built, or from the checkout
that an editable installation points to.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

__all__ = ["code_hash", "commit", "import_closure", "modified"]

_PACKAGE = Path(__file__).parent
_UNKNOWN = "0" * 40


@cache
def commit() -> str:
    """Give the commit that this package was built from, 40 hexadecimal digits.

    All zeros if neither a wheel's record nor a git checkout says it.
    """
    try:
        return str(import_module("calibration._build_info").COMMIT)
    except ModuleNotFoundError:
        pass
    # A package that lies in somebody's repository, installed there, is not of its commit.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return _UNKNOWN
    return _git("rev-parse", "HEAD") or _UNKNOWN


@cache
def modified() -> bool | None:
    """Tell whether the package differs from `commit`; None if nothing says it."""
    try:
        return bool(import_module("calibration._build_info").MODIFIED)
    except ModuleNotFoundError:
        pass
    if commit() == _UNKNOWN:
        return None
    return bool(_git("status", "--porcelain", "."))


def _git(*arguments: str) -> str | None:
    """Ask git about the folder of the package; None if it has no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments],  # noqa: S607  (git is on the path)
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def import_closure(modules: Iterable[str]) -> tuple[str, ...]:
    """List the modules of this package that some modules import, themselves included.

    Parameters
    ----------
    modules : iterable of str
        Full names, such as "calibration.takeup".

    Returns
    -------
    tuple of str
        Sorted.
    """
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += _imports(module)
            waiting += [module.rpartition(".")[0]] if "." in module else []  # runs first
    return tuple(sorted(seen))


@cache
def code_hash(*modules: str, around: tuple[str, ...] = ()) -> str:
    """Hash the sources in the import closure of some modules, and the tables they name.

    Parameters
    ----------
    *modules : str
        Full names.
    around : tuple of str
        Further modules of which only their own text counts, not what they import.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for module in sorted({*import_closure(modules), *around}):
        for path in (_source(module), *_tables(module)):
            digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _source(module: str) -> Path:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(module: str) -> tuple[str, ...]:
    """Modules of this package that a module names in an import, anywhere in its text."""
    return _named(module)[0]


def _tables(module: str) -> tuple[Path, ...]:
    """Tables of the package whose names stand in a module's text, beside it or in `data`."""
    return _named(module)[1]


@cache
def _named(module: str) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Modules and tables that a module names; read once, since most steps ask about most."""
    text = _source(module).read_text(encoding="utf-8")
    modules = {name for name in _imported_names(text) if name.split(".")[0] == "calibration"}
    folders = (_source(module).parent, _PACKAGE / "data")
    tables = {folder / name for name in _TABLE.findall(text) for folder in folders}
    return (
        tuple(sorted(name for name in modules if _source(name).is_file())),
        tuple(sorted(path for path in tables if path.is_file())),
    )


_IMPORT = re.compile(
    r"""^[ \t]*(?: from [ ]+ (?P<package> [\w.]+) [ ]+ import \b
                   (?P<names> [ ]* \( (?: [^)\#] | \#.*+ )*+ \) | .* )
              | import [ ] (?P<modules> .* ) )""",
    re.MULTILINE | re.VERBOSE,
)
_TABLE = re.compile(r"""["']([^"'\n]+\.csv)["']""")
_COMMENT_OR_BRACKET = re.compile(r"#.*|[()\\]")


def _imported_names(text: str) -> Iterator[str]:
    """Find what the import statements of a text name.

    Each statement begins a line, and has no backslash at its end: a test holds the package to
    that. A line that only looks like one, in a text within the text, counts too: a step may then
    run once too often. To parse the package would take a tenth of the time of a small run.
    """
    for found in _IMPORT.finditer(text):
        package = found["package"]
        if package:
            yield package
        names = _COMMENT_OR_BRACKET.sub(" ", found["names"] or found["modules"])
        for name in names.split(";")[0].split(","):
            if words := name.split():  # "name as other"
                yield f"{package}.{words[0]}" if package else words[0]
