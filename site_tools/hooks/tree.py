"""Write into the site which state of the sources it was made from."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

from site_tools.tree import fingerprint

_before = ""


def on_pre_build(config: MkDocsConfig) -> None:  # noqa: ARG001
    """Read the state before anything is built."""
    global _before  # noqa: PLW0603
    _before = fingerprint()


def on_post_build(config: MkDocsConfig) -> None:
    """Write it, if it is still the same."""
    if _before == fingerprint():
        (Path(config.site_dir) / "tree.txt").write_text(_before + "\n", encoding="utf-8")
