"""Link names in code type to the API pages, and API pages to the chapters that use a name."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from site_tools import api_links, names

_files: Files | None = None


def on_pre_build(**_: Any) -> None:
    """Forget what an earlier build of a preview has read."""
    for cached in (names.package, names.public, names.shorthand, names.aliases, names.uses):
        cached.cache_clear()


def on_files(files: Files, config: MkDocsConfig) -> None:  # noqa: ARG001
    """Remember the files, to find the addresses of chapters."""
    global _files  # noqa: PLW0603
    _files = files


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Make links of names; the autorefs plugin knows where they lead."""
    return api_links.link(html, qualified=page.file.abs_src_path is None)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Add the way back to API pages."""
    if not page.file.src_uri.startswith("reference/") or _files is None:
        return output
    here = page.url
    where: dict[str, list[tuple[str, str]]] = {}
    for name in set(re.findall(r'<h[1-6] id="(calibration[\w.]*)"', output)):
        for path in names.uses().get(name, ()):
            file = _files.get_file_from_path(path.removeprefix("site_src/"))
            if file is not None and file.page is not None:
                to = get_relative_url(file.url, here)
                where.setdefault(name, []).append((str(file.page.title), to))
    return api_links.backlinks(output, where)
