"""Offer every page that has code as a notebook and as a script."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import downloads
from site_tools.blocks import parse


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Make the files; site_tools/hooks/strip.py links to them."""
    for file in list(files.documentation_pages()):
        if file.src_uri.endswith(".md") and file.abs_src_path:
            path = Path(file.abs_src_path)
            if downloads.offered(parse(path)):
                for name, text in (
                    (f"{path.stem}.ipynb", downloads.notebook(path)),
                    (f"{path.stem}.py", downloads.script(path)),
                ):
                    files.append(File.generated(config, f"downloads/{name}", content=text))
