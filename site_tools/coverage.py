"""Which public names the book uses or explains, and which are still to come.

    python -m site_tools.coverage            counts
    python -m site_tools.coverage --write    write tests/docs/to_come.toml again

The list holds what no page has yet. A test requires it to be exactly that: a name that a
page has must leave the list, a new name must come into a page or onto the list, where
everybody sees it. It is empty when the book is complete.
"""

from __future__ import annotations

import sys
import tomllib

from site_tools import names
from site_tools.pages import ROOT

__all__ = ["LIST", "listed", "missing"]

LIST = ROOT / "tests" / "docs" / "to_come.toml"

_HEAD = """\
# Public names that no page uses or explains yet, by module; for commands, "calibration".
# Written by `python -m site_tools.coverage --write`. Empty when the book is complete.
"""


def missing() -> list[str]:
    """Give the public names that no page has."""
    return [path for path in names.public() if path not in names.uses()]


def listed() -> list[str]:
    """Give the names on the list."""
    found = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return [f"{module}{tail}" for module, tails in found.items() for tail in tails]


def _write() -> None:
    groups: dict[str, list[str]] = {}
    modules = sorted(names.definitions(), key=len, reverse=True)
    for path in missing():
        module = next(m for m in modules if path.startswith((f"{m}.", f"{m} ")))
        groups.setdefault(module, []).append(path.removeprefix(module))
    lines = [_HEAD]
    for module, tails in sorted(groups.items()):
        inside = "".join(f'    "{tail}",\n' for tail in tails)
        lines.append(f'"{module}" = [\n{inside}]\n')
    LIST.write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    """Count, or write the list."""
    if "--write" in sys.argv:
        _write()
    public = len(names.public())
    gone = len(missing())
    sys.stdout.write(f"{public} public names, {public - gone} used or explained, {gone} to come\n")


if __name__ == "__main__":
    main()
