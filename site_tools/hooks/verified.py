"""Put the results of the checks into the page that reports them."""

from __future__ import annotations

from typing import Any

from site_tools import verified


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark by tables."""
    return (
        markdown.replace(verified.MARK, verified.tables())
        if verified.MARK in markdown
        else markdown
    )
