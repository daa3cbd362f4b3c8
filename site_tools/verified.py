"""The tables of "What is verified here", from results about this very state of the checkout."""

from __future__ import annotations

import html
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from site_tools import pages, results
from site_tools.run_blocks import LIST
from site_tools.tree import fingerprint

__all__ = ["MARK", "tables"]

MARK = "<!-- generated: what was verified -->"

Facts = Mapping[str, Any]
_MISSING = "not run in this copy"


def tables() -> str:
    """Give the tables as Markdown."""
    tree = fingerprint()
    found = {path.stem: results.load(path.stem, tree) for path in pages.STATE.glob("*.json")}
    done = {name: facts for name, facts in found.items() if facts}
    parts = [
        f"State of the sources: `{tree}`. "
        + ("" if done else "**Nothing has been run on it yet**: `make test` does it."),
        _table(("check", "what it found"), _checks(done)),
    ]
    if blocks := done.get("blocks"):
        parts += ["## Page by page", _table(_PAGE_HEAD, _by_page(blocks))]
        slow = [r for r in blocks["blocks"] if r["cpu"] > LIST and r["mode"] != "prompt"]
        if slow:
            rows = [(f"`{r['page']}:{r['line']}`", f"{r['cpu']:.1f}") for r in slow]
            parts += ["## Slow blocks", _table(("block", "CPU seconds"), rows)]
    parts += ["## What is not run, and why", _skips()]
    return '<div class="generated" markdown="1">\n\n' + "\n\n".join(parts) + "\n\n</div>"


def _checks(done: Mapping[str, Facts]) -> list[tuple[str, str]]:
    rows = [(name, text(done)) for name, text in _CHECKS.items()]
    suites = done.get("tests", {}).get("suites", {})
    return rows + [
        (f"tests of the package: {name}", _suite(suites.get(name))) for name in ("unit", "property")
    ]


def _suite(count: Facts | None) -> str:
    if not count:
        return _MISSING
    bad = count.get("failure", 0) + count.get("error", 0)
    skipped = count.get("skipped", 0)
    text = f"{count.get('passed', 0)} passed"
    text += f", **{bad} failed**" if bad else ""
    return text + (f", {skipped} skipped" if skipped else "")


def _alone(done: Mapping[str, Facts]) -> str:
    if "blocks" not in done:
        return _MISSING
    rows = done["blocks"]["blocks"]
    bad = sum(not r["ok"] for r in rows)
    n = len({(r["page"], r["line"]) for r in rows})
    prompt = sum(r["mode"] == "prompt" for r in rows)
    compared = sum(r["compared"] and r["mode"] != "prompt" for r in rows)
    text = f"{n} blocks in a fresh process and an empty folder, {prompt} of them also typed at "
    text += f"the prompt; {compared} outputs compared with the page"
    return text + (f"; **{bad} runs failed**" if bad else "; all as shown")


def _from(name: str, text: str) -> Any:
    def give(done: Mapping[str, Facts]) -> str:
        return text.format_map(done[name]) if name in done else _MISSING

    return give


_CHECKS = {
    "every block runs alone": _alone,
    "every block runs in one process": _from(
        "codeblocks", "{blocks} blocks by pytest-codeblocks in {seconds} CPU seconds"
    ),
    "blocks in cold interpreters": _from(
        "cold", "{blocks} blocks, each in a new `python -I`, the changed ones among them"
    ),
    "blocks on another kind of processor": _from(
        "dispatch", "{blocks} blocks without the newer vector instructions: same outputs"
    ),
    "no fence is skipped in silence": _from(
        "guard",
        "{fences} fences = {executed} executed + {outputs} outputs + {excerpts} excerpts + "
        "{skipped} listed below; {examples} docstring examples run",
    ),
    "claims": _from(
        "claims", "{claims} claims prove {numbers} numbers; {mutants} wrong numbers, all noticed"
    ),
    "numbers in prose": _from(
        "numbers",
        "{computed} computed, {sourced} sourced, {recorded} recorded, {allowed} on the allow list",
    ),
    "public names": _from(
        "coverage",
        "{public} in the package, all with an API page; {explained} used or explained, "
        "{to_come} still to come",
    ),
}

_PAGE_HEAD = ("page", "blocks", "outputs", "claims", "CPU seconds")


def _by_page(blocks: Facts) -> list[tuple[str, ...]]:
    pages_of: dict[str, list[Facts]] = defaultdict(list)
    for row in blocks["blocks"]:
        if row["mode"] != "prompt":
            pages_of[row["page"]].append(row)
    rows = []
    for page, mine in sorted(pages_of.items()):
        name = page.removeprefix("site_src/")
        title = f"[{name}]({name})" if name != page else f"`{name}`"
        counts = (
            sum(not r["hidden"] for r in mine),
            sum(r["compared"] for r in mine),
            sum(r["claim"] for r in mine),
        )
        rows.append((title, *map(str, counts), f"{sum(r['cpu'] for r in mine):.1f}"))
    return rows


def _skips() -> str:
    path = pages.ROOT / "tests" / "docs" / "skips.toml"
    listed = (
        tomllib.loads(path.read_text(encoding="utf-8")).get("skip", []) if path.is_file() else []
    )
    if not listed:
        return "Nothing: every fence is run, compared, or an excerpt of the package."
    rows = [
        (f"`{s['page']}`", f"<code>{html.escape(s['starts'])}</code>", s["reason"]) for s in listed
    ]
    return _table(("page", "block begins with", "reason"), rows)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
