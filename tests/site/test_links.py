"""No link of the built site is dead, and nothing comes from another host."""

from __future__ import annotations

import pytest

from site_tools import links


def test_no_dead_links(site) -> None:
    """Pages, anchors, downloads, images, fonts: everything that is linked is there."""
    assert links.check(site) == []


BAD = {
    "page": '<a href="gone.html">x</a>',
    "anchor": '<a href="other.html#gone">x</a>',
    "own anchor": '<a href="#gone">x</a>',
    "notebook": '<a href="chapters/05.md">x</a>',
    "image": '<img src="gone.svg" alt="">',
    "script of another host": '<script src="https://unpkg.com/x.js"></script>',
    "style of another host": '<link rel="stylesheet" href="//cdn.example/x.css">',
    "font of another host": "<style>@font-face{src:url(https://fonts.example/x.woff2)}</style>",
    "root": '<a href="/other.html">x</a>',
    "outside": '<a href="../../x.html">x</a>',
}


@pytest.mark.parametrize("name", BAD)
def test_the_check_sees(name: str, tmp_path) -> None:
    """Each kind of dead or foreign link is one complaint, with file and line."""
    (tmp_path / "other.html").write_text('<p id="here">', encoding="utf-8")
    page = f"<p>\n{BAD[name]}\n"
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (found,) = links.check(tmp_path)
    assert found.startswith("page.html:2: ")


def test_the_check_lets_good_links_pass(tmp_path) -> None:
    """Pages, anchors, links to other hosts and data are no complaint."""
    (tmp_path / "other.html").write_text('<p id="here">', encoding="utf-8")
    good = '<a href="other.html#here">a</a><a href="https://doi.org/10.1/x">b</a>'
    (tmp_path / "page.html").write_text(good + '<img src="data:,x">', encoding="utf-8")
    assert links.check(tmp_path) == []
