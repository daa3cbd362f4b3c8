"""What checks leave behind for the site: one small JSON file a check, in .stamps/verified.

    blocks.json      every block: what it printed, whether that is what the page says, CPU
    tests.json       counts of the test suites, by folder
    ...

Each says which state of the checkout it is about. The site shows a result only for that
very state, and says so where it has none.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

from site_tools.pages import STATE
from site_tools.tree import fingerprint

__all__ = ["load", "save"]

Facts = dict[str, Any]


def save(name: str, facts: Facts, tree: str) -> Path:
    """Write the result of a check on a state of the checkout."""
    STATE.mkdir(parents=True, exist_ok=True)
    target = STATE / f"{name}.json"
    temporary = target.with_suffix(".tmp")
    text = json.dumps({"tree": tree, **facts}, indent=1) + "\n"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    return target


def load(name: str, tree: str | None = None) -> Facts | None:
    """Read a result if it is about this state of the checkout."""
    path = STATE / f"{name}.json"
    if not path.is_file():
        return None
    facts: Facts = json.loads(path.read_text(encoding="utf-8"))
    return facts if facts["tree"] == (tree or fingerprint()) else None


def _suites(report: Path) -> Facts:
    """Count the tests of a JUnit report by folder."""
    counts: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (written a moment ago by pytest)
        parts = (case.get("classname") or "").split(".")
        suite = parts[1] if parts[0] == "tests" and len(parts) > 1 else "pages"
        outcome = next((child.tag for child in case if child.tag != "system-out"), "passed")
        count = counts.setdefault(suite, Counter())
        count[outcome] += 1
        count["seconds"] += round(float(case.get("time") or 0))  # type: ignore[assignment]
    return {"suites": {name: dict(count) for name, count in sorted(counts.items())}}


def main() -> None:
    """Run a test command and keep its counts: results.py NAME -- COMMAND..."""
    import subprocess

    name, command = sys.argv[1], sys.argv[3:]
    before = fingerprint()
    STATE.mkdir(parents=True, exist_ok=True)
    report = STATE / f"{name}.xml"
    done = subprocess.run([*command, f"--junitxml={report}"], check=False)
    if report.is_file() and before == fingerprint():
        save(name, _suites(report), before)
    report.unlink(missing_ok=True)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
