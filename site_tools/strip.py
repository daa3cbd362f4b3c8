"""The lines below a chapter's first sentence: what was checked, and where we are.

Facts about blocks come from the results of the last check; if that was not of this very
state of the checkout, the page says so and gives no facts.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

from site_tools.blocks import Page

__all__ = ["MARK", "STAGES", "facts", "insert", "stages", "table"]

MARK = "<!-- generated: stages -->"

STAGES = {
    3: "PUF clone",
    1: "clones",
    2: "donors",
    6: "takeup",
    4: "matrix",
    5: "L0 fit",
    7: "files",
    8: "diagnostics",
    9: "pipeline",
}
"""Chapter numbers, in the order of execution, and short names."""

_ROWS: tuple[tuple[int | str, str, str], ...] = (
    ("base", "base", "`calibration.survey`"),
    (3, "puf", "`calibration.puf_impute`, `calibration.stratify`"),
    (1, "clones", "`calibration.clone_and_assign`"),
    (2, "sources", "`calibration.source_impute`"),
    (6, "takeup", "`calibration.thresholds`, `calibration.takeup`"),
    ("targets", "targets", "`calibration.targets`, `calibration.uprating`"),
    (4, "matrix", "`calibration.matrix_builder`"),
    (5, "weights", "`calibration.l0`, `calibration.select`"),
    (7, "files", "`calibration.publish_local_area`"),
    (8, "diagnostics", "`calibration.diagnostics`"),
    (9, "all of them", "`calibration.pipeline`"),
)


def insert(text: str, strip: str) -> str:
    """Put the strip below the paragraph after the title."""
    rows = text.split("\n")
    title = next((n for n, row in enumerate(rows) if row.startswith("# ")), None)
    if title is None:
        return text
    n = title + 1
    while n < len(rows) and not rows[n].strip():
        n += 1
    while n < len(rows) and rows[n].strip():
        n += 1
    after = n
    while after < len(rows) and (not rows[after].strip() or rows[after].startswith("```{ .claim")):
        if rows[after].strip():  # a claim belongs to the paragraph before it
            after = next(m for m in range(after + 1, len(rows)) if rows[m].startswith("```"))
            n = after + 1
        after += 1
    # In place of the empty line after the paragraph: no line changes its number.
    if n < len(rows):
        rows[n] = f"\n{strip}\n"
    else:
        rows.append(f"\n{strip}")
    return "\n".join(rows)


def facts(page: Page, done: Mapping[str, Any] | None, downloads: str | None) -> str:
    """Say what was run on this page, in one line of HTML.

    Parameters
    ----------
    page : Page
    done : mapping or None
        What `results.load("blocks")` gave.
    downloads : str or None
        Address of the page's downloads without the ending, if it has any.
    """
    parts = [_checked(page, done)]
    if downloads:
        parts.append(
            f'download <a href="{downloads}.ipynb" download>notebook</a> or '
            f'<a href="{downloads}.py" download>script</a>'
        )
    return f'<p class="facts generated">{" · ".join(parts)}</p>'


def _checked(page: Page, done: Mapping[str, Any] | None) -> str:
    runs = page.runs
    if done is None:
        return "not checked in this copy: <code>make site</code> does it"
    rows = {(row["key"], row["mode"]): row for row in done["blocks"] if row["page"] == page.path}
    mine = [row for b in runs for mode in ("file", "bash") if (row := rows.get((b.key, mode)))]
    if len(mine) < len(runs) or not all(row["ok"] for row in mine):
        return "not checked in this copy: <code>make site</code> does it"
    shown = [b for b in runs if not b.hidden]
    claims = [b for b in runs if b.claim]
    seconds = sum(row["cpu"] for row in mine)
    outputs = sum(b.expected is not None for b in shown)
    return (
        f"{_count(len(shown), 'block')} run alone, {_count(outputs, 'output')} compared, "
        f"{_count(len(claims), 'claim')} asserted, in {seconds:.1f} CPU seconds"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def stages(
    here: int, shapes: Mapping[str, tuple[str, str]], address: Callable[[int], str | None]
) -> str:
    """Draw the nine stages with this one lit, and what goes into it and comes out.

    Parameters
    ----------
    here : int
        Chapter number.
    shapes : mapping of chapter number, as text, to (in, out)
    address : callable
        Gives the link to a chapter, or None if it is not written.
    """
    items = []
    for number, name in STAGES.items():
        label = f'<span class="number">{number}</span> {name}'
        to = address(number)
        if number == here:
            items.append(f'<li class="here" aria-current="step">{label}</li>')
        elif to:
            items.append(f'<li><a href="{to}">{label}</a></li>')
        else:
            items.append(f"<li>{label}</li>")
    given, made = (html.escape(text) for text in shapes[str(here)])
    return (
        '<div class="strip generated">'
        '<ol aria-label="The nine stages in the order in which they run">'
        f"{''.join(items)}</ol>"
        f'<p class="shapes"><span>in</span> {given} <span>out</span> {made}</p></div>'
    )


def table(shapes: Mapping[str, tuple[str, str]], address: Callable[[int], str | None]) -> str:
    """Give the table of the Tour as Markdown: order of execution, chapter, what comes out."""
    rows = ["| | state | chapter | module | leaves, on the toy run |", "|---|---|---|---|---|"]
    for order, (number, state, modules) in enumerate(_ROWS, start=1):
        chapter = ""
        if isinstance(number, int):
            to = address(number)
            chapter = f"[{number}]({to})" if to else str(number)
        name = f'`"{state}"`' if " " not in state else state
        count = "" if number == 9 else str(order)
        rows.append(f"| {count} | {name} | {chapter} | {modules} | {shapes[str(number)][1]} |")
    return '<div class="generated" markdown="1">\n\n' + "\n".join(rows) + "\n\n</div>"
