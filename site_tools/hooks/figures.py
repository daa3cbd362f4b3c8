"""Draw figures before the build, and put them into the pages."""

from __future__ import annotations

import logging
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page

from site_tools import figures

log = logging.getLogger("mkdocs.hooks.figures")


def on_pre_build(**_: Any) -> None:
    """Draw what is not up to date."""
    try:
        for name in figures.draw_all():
            log.info("drew %s", name)
    except figures.FigureError as error:
        raise PluginError(str(error)) from error


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put the drawings in place."""
    try:
        return figures.inline(html)
    except figures.FigureError as error:
        raise PluginError(f"site_src/{page.file.src_uri}: {error}") from error
