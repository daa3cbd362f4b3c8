"""Load scripts and styles on the pages that ask for them, as explorers do.

scripts: [assets/explorers/gate.js]        in the front matter; paths below site_src
styles: [assets/explorers/gate.css]
"""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from site_tools.pages import DOCS


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Add the tags."""
    scripts = "".join(
        f'<script src="{_address(name, page)}"></script>\n' for name in page.meta.get("scripts", [])
    )
    styles = "".join(
        f'<link rel="stylesheet" href="{_address(name, page)}">\n'
        for name in page.meta.get("styles", [])
    )
    output = output.replace("</head>", f"{styles}</head>", 1)
    return output.replace("</body>", f"{scripts}</body>", 1)


def _address(name: str, page: Page) -> str:
    if not (DOCS / name).is_file():
        raise PluginError(f"site_src/{page.file.src_uri}: there is no site_src/{name}")
    return get_relative_url(name, page.url)
