"""Give a copy button to executed blocks, and to nothing else."""

from __future__ import annotations

from pathlib import Path

from mkdocs.structure.pages import Page

from site_tools import render


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Mark executed fences; the theme adds the button."""
    source = page.file.abs_src_path
    return render.copyable(markdown, render.fence_lines(Path(source))) if source else markdown
