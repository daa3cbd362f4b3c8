"""Let signatures link to NumPy, SciPy, pandas, PyTorch and Python without asking them.

`site_tools/inventories/NAME.txt` lists the names that this package uses: the address of the
documentation on the first line, then `name role location`. Each list becomes an inventory
file in a temporary folder before mkdocstrings looks for it.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority

LISTS = Path(__file__).parents[1] / "inventories"


@event_priority(100)  # before mkdocstrings reads its configuration
def on_config(config: MkDocsConfig) -> None:
    """Make the inventories and tell the handler where they are."""
    made = Path(tempfile.mkdtemp(prefix="inventories-"))
    python = config.plugins["mkdocstrings"].config.handlers["python"]
    python["inventories"] = [_make(path, made) for path in sorted(LISTS.glob("*.txt"))]


def _make(path: Path, folder: Path) -> dict[str, object]:
    base, *rows = path.read_text(encoding="utf-8").splitlines()
    entries = [row.split() for row in rows if row.strip()]
    body = "".join(f"{name} {role} 1 {where} -\n" for name, role, where in entries)
    head = (
        "# Sphinx inventory version 2\n"
        f"# Project: {path.stem}\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    target = folder / f"{path.stem}.inv"
    target.write_bytes(head.encode() + zlib.compress(body.encode()))
    return {"url": target.as_uri(), "base_url": base, "domains": ["py"]}
