"""The state of the checkout as one number, so that a result can say what it is a result of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from site_tools.pages import ROOT

__all__ = ["fingerprint"]

PARTS = (
    "benchmarks",
    "calibration",
    "constraints.txt",
    "mkdocs.yml",
    "pyproject.toml",
    "README.md",
    "setup.py",
    "site_src",
    "site_tools",
    "tests",
    "toy_data",
)
MADE = ("__pycache__", "generated", ".hypothesis", ".pytest_cache")


def fingerprint(parts: tuple[str, ...] = PARTS) -> str:
    """Hash everything that a result can depend on: names and contents, not times."""
    total = hashlib.sha256()
    for part in parts:
        root = ROOT / part
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file() and not _made(path):
                total.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def _made(path: Path) -> bool:
    return any(part in MADE for part in path.relative_to(ROOT).parts)
