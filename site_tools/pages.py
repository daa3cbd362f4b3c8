"""Where things are, and which pages there are.

ROOT            the checkout
DOCS            the book's pages
READMES         other pages whose blocks are run
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from markdown import Markdown
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig

__all__ = [
    "DOCS",
    "READMES",
    "ROOT",
    "STATE",
    "book",
    "built",
    "executed",
    "front_matter",
    "markdown",
    "matter_lines",
    "read",
]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "site_src"
STATE = ROOT / ".stamps" / "verified"
"""Where checks leave their results, and the site looks for them."""
READMES = (ROOT / "README.md",)

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*\n", re.DOTALL)


def built() -> Path:
    """Give the folder of the built site: SITE, or `site` in the checkout."""
    return Path(os.environ.get("SITE", ROOT / "site")).resolve()


def book() -> list[Path]:
    """Give the pages of the book, sorted."""
    return sorted(DOCS.rglob("*.md"))


def executed() -> list[Path]:
    """Give all pages whose blocks are run: the book's and README.md."""
    return [*book(), *(path for path in READMES if path.is_file())]


def read(path: Path) -> tuple[str, int]:
    """Read a page's body, and the number of lines that its front matter takes."""
    text = path.read_text(encoding="utf-8")
    matter = front_matter(text)[1]
    return text[len(matter) :], matter.count("\n")


def matter_lines(path: str | Path | None) -> int:
    """Give the number of lines of a page's front matter; 0 if the page has no file."""
    return read(Path(path))[1] if path else 0


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Parse the front matter of a page; give it also as it stands there."""
    import yaml

    found = _FRONT_MATTER.match(text)
    if not found:
        return {}, ""
    return yaml.safe_load(found.group(1)) or {}, found.group(0)


@cache
def _config() -> MkDocsConfig:
    return load_config(str(ROOT / "mkdocs.yml"))


def markdown() -> Markdown:
    """Make a converter with the extensions and options of the site."""
    config = _config()
    return Markdown(
        extensions=config.markdown_extensions, extension_configs=config.mdx_configs or {}
    )
