"""Follow every link of the built site that stays inside it.

    python -m site_tools.links [SITE]        exit status 1 if one is dead

Reads raw HTML, so it sees what MkDocs does not: links in HTML blocks, in notebooks, in
what hooks have made, and fonts and images in style sheets. Anchors have to exist. Nothing
may be loaded from another host. Links *to* other hosts are left alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from site_tools.pages import ROOT

__all__ = ["check"]

_LOADS = {
    ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("source", "srcset"),
    ("img", "srcset"), ("video", "src"), ("audio", "src"), ("link", "href"), ("object", "data"),
    ("embed", "src"), ("image", "href"), ("use", "href"), ("use", "xlink:href"), ("form", "action"),
}  # fmt: skip
_NOT_LOADED = {"canonical", "prev", "next", "alternate", "license"}
_INSIDE_CSS = re.compile(r"url\(\s*['\"]?([^'\")]+)['\"]?\s*\)|@import\s+['\"]([^'\"]+)")


class _Reader(HTMLParser):
    """Collect ids and links of a page, with lines."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[int, str, bool]] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        line = self.getpos()[0]
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        self._style = tag == "style"
        for name, value in given.items():
            loads = (tag, name) in _LOADS and given.get("rel") not in _NOT_LOADED
            if loads or (tag in {"a", "area"} and name == "href"):
                urls = [u.split()[0] for u in value.split(",")] if name == "srcset" else [value]
                self.links += [(line, url, loads) for url in urls if url]
            elif name == "style":
                self._css(value, line)

    def handle_data(self, data: str) -> None:
        if self._style:
            self._css(data, self.getpos()[0])
            self._style = False

    def _css(self, text: str, line: int) -> None:
        self.links += [(line, a or b, True) for a, b in _INSIDE_CSS.findall(text)]


def check(site: Path) -> list[str]:
    """Give one line for each dead link and each thing from another host."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        for line, url, loads in page.links:
            fault = _fault(url, path, site, pages, loads=loads)
            if fault:
                found.append(f"{path.relative_to(site)}:{line}: {url}: {fault}")
    for path, line, url in _in_styles(site):
        fault = _fault(url, path, site, pages, loads=True)
        if fault:
            found.append(f"{path.relative_to(site)}:{line}: {url}: {fault}")
    return found


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def _in_styles(site: Path) -> Iterator[tuple[Path, int, str]]:
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        for match in _INSIDE_CSS.finditer(text):
            yield path, text.count("\n", 0, match.start()) + 1, match[1] or match[2]


def _fault(
    url: str, path: Path, site: Path, pages: dict[Path, _Reader], *, loads: bool
) -> str | None:
    parts = urlsplit(url)
    if parts.scheme in {"data", "mailto", "blob"}:
        return None
    if parts.scheme or parts.netloc:
        return "loads from another host" if loads else None
    if url.startswith("/"):
        return "begins at the root of a host, and the site may lie elsewhere"
    return _fault_inside(parts, path, site, pages)


def _fault_inside(
    parts: SplitResult, path: Path, site: Path, pages: dict[Path, _Reader]
) -> str | None:
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(site.resolve()):
        return "leaves the site"
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "there is no such file"
    if parts.fragment and target.suffix == ".html":
        ids = pages[target].ids if target in pages else _read(target).ids
        if unquote(parts.fragment) not in ids and parts.fragment != "__top":
            return "there is no such anchor"
    return None


def main() -> None:
    """Check a built site."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site").resolve()
    found = check(site)
    sys.stdout.write("\n".join(found) + ("\n" if found else ""))
    sys.stdout.write(f"{site}: {len(found)} dead links\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
