"""The tests of the built site: `make site` comes first, they read the folder `site`.

`SITE=/other/folder` looks elsewhere.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

if "site_tools" not in sys.modules:  # by its place: the checkout stays off the import path
    place = ROOT / "site_tools" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "site_tools", place, submodule_search_locations=[str(place.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["site_tools"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["site_tools"])


@pytest.fixture(scope="session")
def site() -> Path:
    """Give the built site, of exactly these sources."""
    from site_tools.pages import built
    from site_tools.tree import fingerprint

    folder = built()
    stamp = folder / "tree.txt"
    assert stamp.is_file(), f"{folder} is no built site; run `make site`"
    assert stamp.read_text().strip() == fingerprint(), "the site is older than its sources"
    return folder


@pytest.fixture(scope="session")
def printed(site) -> dict[tuple[str, int], str]:  # noqa: ARG001
    """Give what each block that shows an output printed, by page and line."""
    from site_tools import pages, results, run_blocks
    from site_tools.blocks import parse

    done = results.load("blocks")
    if done is not None:
        rows = [row for row in done["blocks"] if row["mode"] != "prompt"]
        return {(row["page"], row["line"]): row["out"] for row in rows}
    jobs = [
        (block, run_blocks.modes(block)[0])
        for path in pages.executed()
        for block in parse(path).runs
        if block.expected is not None
    ]
    with run_blocks.Runner() as runner:
        return {(o.block.page, o.block.line): o.out for o in runner.run_many(jobs)}
