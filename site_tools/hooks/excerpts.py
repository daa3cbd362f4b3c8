"""Put code of the package where a page quotes it, and link the quote to its source."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.pages import Page

from site_tools import excerpts, render


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Expand snippet lines."""
    source = page.file.abs_src_path
    if not source:
        return markdown
    return excerpts.expand(markdown, page.file.src_uri, render.fence_lines(Path(source)))


def on_page_content(html: str, **_: object) -> str:
    """Make the title of an excerpt a link to where the function is documented."""
    return re.sub(
        r'(<div class="[^"]*\bexcerpt\b[^"]*" data-name="(?P<name>[\w.]+)"[^>]*>\s*'
        r'<span class="filename">)(?P<file>[^<]+)(</span>)',
        r'\1<autoref identifier="\g<name>">\g<file></autoref>\4',
        html,
    )
