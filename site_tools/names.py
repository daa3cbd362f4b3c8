"""The public names of the package, and where pages use or explain them.

A name is public if no part of it begins with an underscore: functions and classes, methods
and properties of classes, and the commands of the command line. griffe reads them from the
sources; nothing is imported.

A page *uses* a name if an executed block that readers see imports it, reaches it through an
imported module, or (methods, properties) has an attribute that only this class has. A page
*explains* a name if its prose has it in code type: whole, or as far back as is needed to be
unambiguous, methods with their class: `fit_l0`, `l0.fit_l0`, `L0Fit.retained`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import griffe

from site_tools.blocks import Block, Page, parse
from site_tools.pages import ROOT, book

__all__ = [
    "Name",
    "aliases",
    "commands",
    "definitions",
    "explained",
    "exports",
    "package",
    "public",
    "resolve",
    "shorthand",
    "unknown",
    "used",
    "used_in_code",
    "uses",
    "where",
]


@dataclass(frozen=True, slots=True)
class Name:
    """A public name.

    Parameters
    ----------
    path : str
        Where it is defined, such as "calibration.l0.gates.open_probability".
    kind : str
        "function", "class", "method", "property" or "command".
    """

    path: str
    kind: str

    @property
    def last(self) -> str:
        """Its last part."""
        return self.path.rpartition(".")[2]


@cache
def package() -> griffe.Module:
    """Read the package's sources."""
    found = griffe.load("calibration", search_paths=[str(ROOT)], allow_inspection=False)
    assert isinstance(found, griffe.Module)  # noqa: S101
    return found


@cache
def public() -> Mapping[str, Name]:
    """Give all public names by path, in the order of modules and lines."""
    found: dict[str, Name] = {}
    for module in _modules(package()):
        for member in module.members.values():
            if member.is_alias or member.name.startswith("_"):
                continue
            if member.is_function:
                found[member.path] = Name(member.path, "function")
            elif member.is_class:
                found[member.path] = Name(member.path, "class")
                found |= {name.path: name for name in _methods(member)}
    for command in commands():
        path = f"calibration {command}"
        found[path] = Name(path, "command")
    return found


def exports() -> Mapping[str, set[str]]:
    """Give each module's `__all__`."""
    return {module.path: {str(e) for e in module.exports or ()} for module in _modules(package())}


def definitions() -> Mapping[str, set[str]]:
    """Give each module's own public functions, classes and upper-case constants."""
    return {
        module.path: {
            name
            for name, member in module.members.items()
            if not name.startswith("_")
            and not member.is_alias
            and (member.is_function or member.is_class)
        }
        for module in _modules(package())
    }


@cache
def commands() -> tuple[str, ...]:
    """Give the commands of the command line, from the decorators in `calibration.cli`."""
    tree = ast.parse((ROOT / "calibration" / "cli.py").read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "app.command":
                given = [a.value for a in call.args if isinstance(a, ast.Constant)]
                found.append(str(given[0]) if given else node.name.strip("_").replace("_", "-"))
    return tuple(found)


def _modules(module: griffe.Module) -> Iterable[griffe.Module]:
    yield module
    for name, child in sorted(module.modules.items()):
        if not child.is_alias and not name.startswith("_"):
            yield from _modules(child)


def _methods(klass: griffe.Object | griffe.Alias) -> Iterable[Name]:
    for member in klass.members.values():
        if member.name.startswith("_") or member.is_alias:
            continue
        if member.is_function:
            yield Name(member.path, "method")
        elif member.is_attribute and "property" in member.labels:
            yield Name(member.path, "property")


@cache
def shorthand() -> Mapping[str, str]:
    """Give every unambiguous tail of a name, with its full path; modules included.

    A module counts only with its package in front: `toy` alone is a word.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    paths = [name.path for name in public().values() if name.kind != "command"]
    for path in [*paths, *aliases()]:
        parts = path.split(".")
        needed = 2 if path in paths and public()[path].kind in {"method", "property"} else 1
        for k in range(len(parts) - needed + 1):
            owners[".".join(parts[k:])].add(aliases().get(path, path))
    found = {tail: next(iter(o)) for tail, o in owners.items() if len(o) == 1}
    found |= {path: path for path in paths}
    for module in _modules(package()):
        found[module.path] = module.path
        for klass in module.classes.values():
            if not klass.is_alias and not klass.name.startswith("_"):
                for field in _fields(klass):  # documented with their class
                    found.setdefault(f"{klass.name}.{field}", klass.path)
    return found


def _fields(klass: griffe.Class | griffe.Alias) -> Iterable[str]:
    for name, member in klass.members.items():
        if member.is_attribute and not name.startswith("_") and "property" not in member.labels:
            yield name


@cache
def aliases() -> Mapping[str, str]:
    """Give names that a module lists in `__all__` but has from elsewhere, with their home."""
    found = {}
    for module in _modules(package()):
        for name in module.exports or ():
            member = module.members.get(str(name))
            if member is not None and member.is_alias:
                found[f"{module.path}.{name}"] = member.target_path  # type: ignore[union-attr]
    return found


_CALL = re.compile(r"\(.*\)$", re.DOTALL)


def resolve(code: str) -> str | None:
    """Find the name that a piece of code type speaks of, or None.

    `fit_l0`, `calibration.l0.fit_l0`, `Dataset.load(path)` and `toy.after("matrix")` do.
    """
    text = _CALL.sub("", code.strip())
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return None
    return shorthand().get(text)


_CODE_TYPE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def explained(page: Page) -> set[str]:
    """Find the public names that the prose of a page has in code type."""
    inside = {n for b in page.blocks for n in range(b.line, b.end + 1)}
    lines = [row for n, row in enumerate(page.text.split("\n"), 1) if n not in inside]
    prose = re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL)
    found = {resolve(match[1]) for match in _CODE_TYPE.findall(prose)}
    spoken = {f"calibration {c}" for c in commands() if f"`calibration {c}`" in prose}
    return {path for path in found if path in public()} | spoken


def used(page: Page) -> set[str]:
    """Find the public names that the executed blocks of a page, those that show, use."""
    return set().union(*(used_in_code(b) for b in page.visible if b.executed))


@cache
def uses() -> Mapping[str, tuple[str, ...]]:
    """Give, for each public name, the pages that use or explain it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in book():
        page = parse(path)
        for name in used(page) | explained(page):
            found[name].append(page.path)
    return {name: tuple(pages) for name, pages in found.items()}


def used_in_code(block: Block) -> set[str]:
    """Find the public names that a block uses."""
    if block.kind == "bash":
        words = [f"calibration {c}" for c in commands()]
        return {w for w in words if re.search(rf"\b{w}\b", block.body)}
    tree = ast.parse(block.body)
    here = _imports(tree)
    used = {path for path in here.values() if path in public()}
    attributes: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        whole = _dotted(node)
        path = ".".join([here[whole[0]], *whole[1:]]) if whole and whole[0] in here else ""
        path = aliases().get(path, path)
        if path in public():
            used.add(path)
        else:
            attributes.add(node.attr)
    return used | {path for last, path in _own_attributes().items() if last in attributes}


@cache
def _own_attributes() -> Mapping[str, str]:
    """Give methods and properties that tell their class: no other class has one so named."""
    import numpy as np
    import pandas as pd

    classes = (dict, list, set, str, tuple, int, float, Path, np.ndarray, pd.DataFrame, pd.Series)
    common = {name for klass in classes for name in dir(klass)}
    owners: dict[str, list[str]] = defaultdict(list)
    for name in public().values():
        if name.kind in {"method", "property"}:
            owners[name.last].append(name.path)
    return {
        last: paths[0] for last, paths in owners.items() if len(paths) == 1 and last not in common
    }


def unknown(page: Page) -> list[str]:
    """Give one line for each name of the package that a page speaks of and that is not there."""
    found = [
        (block.line + line, what)
        for block in page.blocks
        if block.kind == "python"
        for line, what in _unknown_in_code(block.body)
    ]
    inside = {n for b in page.blocks for n in range(b.line, b.end + 1)}
    for n, row in enumerate(page.text.split("\n"), 1):
        if n not in inside:
            codes = [match[1] for match in _CODE_TYPE.findall(row)]
            found += [(n, f"`{code}` names nothing") for code in codes if _dangles(code)]
    return [f"{page.path}:{line}: {what}" for line, what in sorted(found)]


def _unknown_in_code(code: str) -> Iterable[tuple[int, str]]:
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return  # running it will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("calibration"):
            for name in node.names:
                if _member(f"{node.module}.{name.name}") is None:
                    yield node.lineno, f"{node.module} has no {name.name}"
    here = _imports(tree)
    for node in ast.walk(tree):
        whole = _dotted(node) if isinstance(node, ast.Attribute) else []
        if len(whole) == 2 and whole[0] in here:
            owner = _member(here[whole[0]])
            path = f"{here[whole[0]]}.{whole[1]}"
            if owner is not None and owner.is_module and _member(path) is None:
                yield node.lineno, f"{here[whole[0]]} has no {whole[1]}"


def _dangles(code: str) -> bool:
    """Tell whether code type is about the package, for certain, and finds nothing there."""
    text = _CALL.sub("", code.strip())
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text) or resolve(code) is not None:
        return False
    first, _, rest = text.partition(".")
    if first == "calibration":
        return bool(rest) and _member(text) is None
    owner = shorthand().get(first)
    klass = _member(owner) if owner else None
    return bool(rest and klass and klass.is_class and not klass.bases and _lacks(klass, rest))


def _lacks(klass: griffe.Object | griffe.Alias, rest: str) -> bool:
    return rest.partition(".")[0] not in klass.members


def _member(path: str) -> griffe.Object | griffe.Alias | None:
    parts = path.split(".")
    if parts == ["calibration"]:
        return package()
    try:
        found: griffe.Object | griffe.Alias = package()[".".join(parts[1:])]
    except KeyError:
        return None
    return found


def where(path: str) -> str:
    """Give file and line of a name, as editors read them; commands are in calibration/cli.py."""
    member = _member(path) if " " not in path else None
    if member is None:
        return "calibration/cli.py"
    file = Path(str(member.filepath)).relative_to(ROOT).as_posix()
    return f"{file}:{member.lineno}"


def _imports(tree: ast.AST) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("calibration"):
            for name in node.names:
                path = f"{node.module}.{name.name}"
                found[name.asname or name.name] = aliases().get(path, path)
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] == "calibration":
                    where = name.name if name.asname else "calibration"
                    found[name.asname or "calibration"] = where
    return found


def _dotted(node: ast.expr) -> list[str]:
    """Give the parts of a dotted name, or nothing for other expressions."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return [*before, node.attr] if before else []
    return []
