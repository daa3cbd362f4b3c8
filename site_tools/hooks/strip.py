"""Put the facts and the strip of stages below the first sentence of a page."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from site_tools import pages, results, strip
from site_tools.blocks import parse


@cache
def _shapes() -> Any:
    script = Path(strip.__file__).with_name("shapes.py")
    done = subprocess.run([sys.executable, "-I", str(script)], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


@cache
def _results() -> Any:
    return results.load("blocks")


@cache
def _chapters() -> dict[int, str]:
    """Give the page of each stage that has a chapter."""
    found = {}
    for path in sorted((pages.DOCS / "chapters").glob("*.md")):
        matter = pages.front_matter(path.read_text(encoding="utf-8"))[0]
        if "stage" in matter:
            found[int(matter["stage"])] = path.relative_to(pages.DOCS).as_posix()
    return found


def on_pre_build(**_: Any) -> None:
    """Forget an earlier build of a preview."""
    for cached in (_results, _chapters):
        cached.cache_clear()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Add the lines to pages with executed blocks; the strip to chapters of stages."""
    source = page.file.abs_src_path
    if not source or not source.endswith(".md"):
        return markdown

    def address(number: int) -> str | None:
        uri = _chapters().get(number)
        file = files.get_file_from_path(uri) if uri else None
        return get_relative_url(file.url, page.url) if file else None

    def source_address(number: int) -> str | None:
        uri = _chapters().get(number)
        return get_relative_url(uri, page.file.src_uri) if uri else None

    if strip.MARK in markdown:
        markdown = markdown.replace(strip.MARK, strip.table(_shapes(), source_address))
    parsed = parse(Path(source))
    lines = []
    if any(not b.hidden for b in parsed.runs):
        download = files.get_file_from_path(f"downloads/{Path(source).stem}.py")
        where = get_relative_url(download.url, page.url).removesuffix(".py") if download else None
        lines.append(strip.facts(parsed, _results(), where))
    if "stage" in page.meta:
        lines.append(strip.stages(int(page.meta["stage"]), _shapes(), address))
    return strip.insert(markdown, "\n".join(lines)) if lines else markdown
