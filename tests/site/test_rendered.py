"""What a reader sees in the built site is what was run."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from site_tools import downloads, names, pages
from site_tools.blocks import parse

BOOK = pages.book()
IDS = [path.relative_to(pages.DOCS).as_posix() for path in BOOK]


def _soup(site, path) -> BeautifulSoup:
    page = site / path.relative_to(pages.DOCS).with_suffix(".html")
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find("article")


def _code(block) -> str:
    return block.find("code").get_text().strip("\n")


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_shown_code_is_what_ran(path, site) -> None:
    """Each block that a reader can copy is, to the letter, one that is run."""
    soup = _soup(site, path)
    shown = {int(b["data-line"]): _code(b) for b in soup.select("div.highlight[data-line]")}
    run = {b.line: b.body.strip("\n") for b in parse(path).visible if b.executed}
    assert shown == run
    claims = {int(d["data-line"]): _code(d) for d in soup.select("details.claim")}
    assert claims == {b.line: b.body.strip("\n") for b in parse(path).blocks if b.claim}


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_shown_output_is_what_was_printed(path, site, printed) -> None:
    """The box below a block has its standard output, to the letter."""
    page = parse(path)
    soup = _soup(site, path)
    for block in page.visible:
        if block.executed and block.expected is not None:
            source = soup.select_one(f'div.highlight[data-line="{block.line}"]')
            output = source.find_next_sibling()
            assert "language-text" in output["class"], block.where
            assert _code(output) == printed[page.path, block.line].strip("\n"), block.where


def test_copy_buttons_stand_on_executed_blocks_only(site) -> None:
    """A block with a copy button is one that is run; no other page has any."""
    book = {site / path.relative_to(pages.DOCS).with_suffix(".html") for path in BOOK}
    for html in site.rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        if html not in book:
            assert not re.search(r'class="[^"]*\bcopy\b[^"]*\bhighlight\b', text), html
            continue
        for button in BeautifulSoup(text, "html.parser").select(".highlight.copy"):
            assert button.get("data-line") or button.find_parent("details", class_="claim")


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_downloads_hold_the_blocks(path, site) -> None:
    """The notebook has one cell for each visible block; a page without code offers none."""
    page = parse(path)
    file = site / "downloads" / f"{path.stem}.ipynb"
    assert file.exists() == bool(downloads.offered(page))
    if not downloads.offered(page):
        return
    notebook = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    blocks = [b for b in page.visible if b.executed]
    bodies = [c.source.removeprefix("%%bash\nset -euo pipefail\n") for c in cells]
    assert bodies == [b.body.rstrip("\n") for b in blocks]
    outputs = ["".join(o.text for o in c.outputs) or None for c in cells]
    assert outputs == [b.expected or None for b in blocks]
    script = (site / "downloads" / f"{path.stem}.py").read_text(encoding="utf-8")
    assert all(b.body.rstrip("\n") in script for b in blocks if b.kind == "python")
    soup = _soup(site, path)
    assert soup.select_one(f'.facts a[href$="downloads/{path.stem}.ipynb"]')


def test_every_public_name_has_its_place(site) -> None:
    """Functions, classes, methods and properties have an anchor among the API pages."""
    found = set()
    for html in (site / "reference").rglob("*.html"):
        found |= set(re.findall(r'id="(calibration[\w.]*)"', html.read_text(encoding="utf-8")))
    public = {n.path for n in names.public().values() if n.kind != "command"}
    assert sorted(public - found) == []


def test_api_pages_lead_back(site) -> None:
    """Below a name that the book uses stands where."""
    for name, used in names.uses().items():
        if " " in name:
            continue
        module = next(m for m in _modules(name) if (site / _file(m)).is_file())
        text = (site / _file(module)).read_text(encoding="utf-8")
        heading = text.index(f'id="{name}"')
        after = text[heading : heading + 6000]
        notes = re.search(r'<p class="in-book">(.*?)</p>', after)
        assert notes, name
        assert notes[1].count("<a ") == len(used), name


def _modules(name: str) -> list[str]:
    parts = name.split(".")
    paths = [".".join(parts[:k]) for k in range(len(parts) - 1, 0, -1)]
    return [m for path in paths for m in (path, f"{path}.index")]


def _file(module: str) -> str:
    return f"reference/{module.replace('.', '/')}.html"


def test_pages_of_results_are_about_these_sources(site) -> None:
    """The page of what is verified names the state of the sources that it was made from."""
    stamp = (site / "tree.txt").read_text().strip()
    assert stamp in (site / "verified.html").read_text(encoding="utf-8")


def test_search_knows_all_pages(site) -> None:
    """Each page of the book can be found."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    wanted = {path.relative_to(pages.DOCS).with_suffix(".html").as_posix() for path in BOOK}
    assert wanted <= found | {"index.html"}
