"""The built site in a real browser, from file://, wide and narrow, light and dark.

Needs Chromium: `apt-get install chromium`, or its path in CHROMIUM. Screenshots go to the
folder that SCREENSHOTS names, or to pytest's temporary one.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from site_tools import pages
from site_tools.blocks import parse

pytestmark = pytest.mark.slow

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def _chromium() -> str:
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    assert found, "no Chromium: apt-get install chromium, or set CHROMIUM"
    return found


@pytest.fixture(scope="module")
def browser():
    """Start Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_chromium(), args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Give the folder for screenshots."""
    given = os.environ.get("SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pages() -> list[str]:
    site = pages.built()
    found = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html"))
    return [page for page in found if page != "404.html"]


def _turn(width: int, scheme: str) -> list[str]:
    """Give all pages of the book, and a quarter of the API pages, which are made alike."""
    names = _pages()
    api = [name for name in names if name.startswith("reference/")]
    turn = 2 * WIDTHS.index(width) + SCHEMES.index(scheme)
    return [name for name in names if name not in api or api.index(name) % 4 == turn]


class _Watch:
    """Open a page and note what it complains about and what it asks for."""

    def __init__(self, browser, width: int, scheme: str) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        note = self.complaints.append
        self.page.on(
            "console",
            lambda m: note(f"{m.type}: {m.text}") if m.type in {"error", "warning"} else None,
        )
        self.page.on("pageerror", lambda e: note(f"error: {e}"))
        self.page.on("requestfailed", lambda r: note(f"failed: {r.url}"))
        local = ("file:", "data:", "blob:", "http://127.0.0.1:")
        self.page.on(
            "request",
            lambda r: note(f"from outside: {r.url}") if not r.url.startswith(local) else None,
        )

    def open(self, address: str):
        self.complaints.clear()
        self.page.goto(address)  # until it and all it needs are loaded
        self.page.evaluate("document.fonts.ready.then(() => true)")
        return self.page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages(width: int, scheme: str, browser, site, shots) -> None:
    """No page complains, asks another host, overflows sideways, or breaks a rule of axe."""
    watch = _Watch(browser, width, scheme)
    found = []
    for name in _turn(width, scheme):
        page = watch.open(f"file://{site}/{name}")
        found += [f"{name}: {complaint}" for complaint in watch.complaints]
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if over > 0:
            found.append(f"{name}: {over} pixels wider than the window")
        if page.evaluate("document.body.innerText").count("\\("):
            found.append(f"{name}: a formula is not set")
        page.add_script_tag(path=str(AXE))
        answer = page.evaluate(
            "(rules) => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
        )
        found += [
            f"{name}: axe {v['id']}: {n['target']} {n.get('failureSummary', '')[:300]}"
            for v in answer["violations"]
            for n in v["nodes"]
        ]
        shot = f"{name.removesuffix('.html').replace('/', '_')}-{width}-{scheme}.png"
        page.screenshot(path=shots / shot, full_page=not name.startswith("reference/"))
    watch.context.close()
    assert not found, f"{len(found)} complaints\n" + "\n".join(found[:60])


def test_search_works_from_the_file_system(browser, site) -> None:
    """Typing a name into the search box of a file:// page finds its pages."""
    watch = _Watch(browser, 1280, "light")
    page = watch.open(f"file://{site}/index.html")
    for words in ("fit_l0", "census block"):
        page.click(".md-search__input")
        page.keyboard.press("Control+A")
        page.keyboard.type(words)
        page.wait_for_selector(".md-search-result__item a", timeout=15_000)
        assert page.locator(".md-search-result__item").count() > 0
        page.keyboard.press("Escape")
    assert watch.complaints == []
    watch.context.close()


@pytest.fixture
def server(site):
    """Serve the built site over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_copying_gives_what_was_run(browser, server) -> None:
    """The copy button of each block of the Tour puts that block into the clipboard."""
    watch = _Watch(browser, 1280, "light")
    watch.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page = watch.open(f"{server}/tour.html")
    for block in parse(pages.DOCS / "tour.md").visible:
        if block.executed:
            place = page.locator(f'div.highlight[data-line="{block.line}"]')
            place.hover()
            place.locator("[data-md-type=copy]").click()
            copied = page.evaluate("navigator.clipboard.readText()")
            assert copied.rstrip("\n") == block.body.rstrip("\n"), block.where
    assert watch.complaints == []
    watch.context.close()


def test_a_claim_opens_with_the_keyboard(browser, site) -> None:
    """Tab reaches a check mark, Enter opens its code."""
    watch = _Watch(browser, 1280, "light")
    page = watch.open(f"file://{site}/tour.html")
    summary = page.locator("details.claim > summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.claim[open] pre").first.is_visible()
    watch.context.close()
