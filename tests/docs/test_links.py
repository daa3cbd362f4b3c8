"""Links between pages lead somewhere, and those that do not are named with their line."""

from __future__ import annotations

import pytest

from site_tools import page_links, pages

BOOK = pages.book()
IDS = [path.relative_to(pages.ROOT).as_posix() for path in BOOK]


@pytest.mark.parametrize("path", BOOK, ids=IDS)
def test_links_of_a_page(path) -> None:
    """Every page, anchor and picture that a page links to is there."""
    found = page_links.faults(path)
    assert not found, "\n".join(found)


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Check a text as a page of a small book."""
    pages.markdown()  # reads the site's configuration before the book moves
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# Other\n\n## Some words\n", encoding="utf-8")

    def of(text: str) -> list[str]:
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        return page_links.faults(page)

    return of


@pytest.mark.parametrize(
    "link",
    [
        "[a](gone.md)",
        "[a](other.md#gone)",
        "[a](#gone)",
        '[a](gone.md "title")',
        "![a](gone.svg)",
        '<a href="gone.md">a</a>',
    ],
)
def test_a_dead_link_is_seen(link: str, faults) -> None:
    """Each kind of dead link is one complaint, with page and line."""
    (found,) = faults(f"# T\n\nWords\nand {link}.\n")
    assert found.startswith("page.md:4: ")


def test_good_links_pass(faults) -> None:
    """Pages, anchors, other hosts, and links in code are no complaint."""
    good = "[a](other.md#some-words) [b](https://doi.org/10.1/x) [c](#t) `[d](gone.md)`"
    assert faults(f"# T\n\n{good}\n") == []
