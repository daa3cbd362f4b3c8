"""Run notebooks in an empty folder, print what their cells take, and mend their links."""

from __future__ import annotations

import logging
import re
from pathlib import PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from nbconvert.preprocessors import ExecutePreprocessor

from site_tools import notebooks

log = logging.getLogger("mkdocs.hooks.notebooks")

_plain = ExecutePreprocessor.preprocess
_cells: list[notebooks.Cell] = []


def on_pre_build(config: MkDocsConfig) -> None:  # noqa: ARG001
    """Listen to mkdocs-jupyter's executions."""
    ExecutePreprocessor.preprocess = notebooks.run_elsewhere(_plain, _note)


def on_pre_page(page: Page, config: MkDocsConfig, files: Files) -> None:  # noqa: ARG001
    """Let a failing cell end the build with the notebook's name and the cell's line."""
    name = page.file.src_uri
    if not name.endswith(".ipynb"):
        return
    render = page.render

    def checked(*arguments: object) -> None:
        try:
            render(*arguments)
        except notebooks.NotebookError as error:
            raise PluginError(f"site_src/{name}:{error}") from error

    page.render = checked


def on_post_build(config: MkDocsConfig) -> None:  # noqa: ARG001
    """Stop listening."""
    ExecutePreprocessor.preprocess = _plain


def _note(cells: list[notebooks.Cell]) -> None:
    _cells[:] = cells


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Finish the page of a notebook."""
    name = page.file.src_uri
    if not name.endswith(".ipynb"):
        return html
    if not _cells:
        raise PluginError(f"site_src/{name}: no code cell was run")
    for cell in _cells:
        log.info("%s: cell %d, %.2f s: %s", name, cell.number, cell.seconds, cell.first)
    if late := notebooks.slow(_cells, f"site_src/{name}"):
        raise PluginError("\n".join(late))

    def address(path: str) -> str | None:
        file = files.get_file_from_path(path)
        return get_relative_url(file.url, page.url) if file else None

    try:
        html = notebooks.links(html, name, address)
    except notebooks.NotebookError as error:
        raise PluginError(str(error)) from error
    facts = (
        f'<p class="facts generated">{len(_cells)} code cells run in an empty folder when this '
        f"page was made, in {sum(cell.seconds for cell in _cells):.1f} seconds · "
        f'download <a href="{PurePosixPath(name).name}" download>notebook</a></p>'
    )
    _cells.clear()
    return re.sub(r"(</h1>)", rf"\1{facts}", html, count=1)
