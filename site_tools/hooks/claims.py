"""Show a check mark where a claim stands; it opens the code."""

from __future__ import annotations

from pathlib import Path

from mkdocs.structure.pages import Page

from site_tools import claims, render


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Work on the Markdown, before the fence processor sees it."""
    source = page.file.abs_src_path
    return claims.mark(markdown, render.fence_lines(Path(source))) if source else markdown
