"""Expand patterns of the navigation, and leave out what is not written yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority


@event_priority(90)
def on_config(config: MkDocsConfig) -> None:
    """Put the pages that exist where the patterns stand."""
    config.nav = _expand(config.nav or [], Path(config.docs_dir))


def _expand(items: list[Any], root: Path) -> list[Any]:
    found = []
    for item in items:
        title, value = next(iter(item.items())) if isinstance(item, dict) else (None, item)
        if isinstance(value, list):
            pages: Any = _expand(value, root)
        elif value.endswith("/"):  # made by a plugin
            pages = value
        elif "*" in value:
            pages = [p.relative_to(root).as_posix() for p in sorted(root.glob(value))]
        else:
            pages = value if (root / value).is_file() else None
        if pages:
            found.append(pages if title is None else {title: pages})
    return found
