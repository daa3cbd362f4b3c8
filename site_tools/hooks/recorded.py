"""Put recorded numbers into pages, and the files that they come from beside them."""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from site_tools import pages, recorded


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Replace marks by numbers."""
    base = get_relative_url("", page.url)
    base = "" if base in {".", "./"} else base.rstrip("/") + "/"
    try:
        name = f"site_src/{page.file.src_uri}"
        return recorded.insert(markdown, name, base, pages.matter_lines(page.file.abs_src_path))
    except recorded.RecordedError as error:
        raise PluginError(str(error)) from error


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Publish the result files."""
    for path in sorted(recorded.RESULTS.glob("*.json")):
        uri = f"recorded/{path.name}"
        files.append(File.generated(config, uri, content=path.read_text(encoding="utf-8")))
