"""Draw the nine stages as a strip: what runs after what, and what passes between them.

    python site_src/figures/pipeline.py        writes site_src/assets/pipeline.svg

The order is the order of execution; the number in a box is the chapter. Colors are taken
from the reader's scheme, so that the picture works on light and dark pages.
"""

from __future__ import annotations

from pathlib import Path

from calibration.files import write_text

STAGES = (
    ("3", "PUF clone", "2 halves"),
    ("1", "clones", "N blocks each"),
    ("2", "donors", "rent, assets"),
    ("6", "takeup", "thresholds"),
    ("4", "matrix", "X, T by C"),
    ("5", "L0 fit", "few columns"),
    ("7", "files", "one an area"),
    ("8", "diagnostics", "X·w = file?"),
)
WIDTH, HEIGHT, GAP, TOP = 104, 58, 18, 44
TARGET = Path(__file__).parents[1] / "assets" / "pipeline.svg"

STYLE = """
  svg { color-scheme: light dark; font-family: system-ui, sans-serif; }
  .box { fill: none; stroke: #5c6bc0; stroke-width: 1.5; }
  .run { fill: none; stroke: #8a8fa3; stroke-width: 1.2; stroke-dasharray: 4 3; }
  .arrow { stroke: #8a8fa3; stroke-width: 1.5; fill: none; marker-end: url(#tip); }
  .tip { fill: #8a8fa3; }
  text { fill: #2b2f3a; font-size: 13px; text-anchor: middle; }
  .small { font-size: 11px; fill: #5b6070; }
  .number { font-size: 11px; fill: #5c6bc0; font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e6ee; } .small { fill: #a9aebd; } .number { fill: #9fa8da; }
    .box { stroke: #9fa8da; }
  }
"""


def draw() -> str:
    """Give the picture as SVG text."""
    total = len(STAGES) * (WIDTH + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} 150" role="img" '
        'aria-labelledby="title">',
        '<title id="title">Survey to files in the order of execution: PUF clone, clones and '
        "geography, donor imputation, takeup, matrix, L0 fit, files, diagnostics; the pipeline, "
        "stage 9, runs them all.</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="run" x="6" y="14" width="{total - 12}" height="124" rx="10"/>',
        '<text class="small" x="20" y="33" style="text-anchor: start">9 · pipeline</text>',
    ]
    for i, (number, name, note) in enumerate(STAGES):
        x = GAP + i * (WIDTH + GAP)
        middle = x + WIDTH / 2
        parts += [
            f'<rect class="box" x="{x}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" rx="7"/>',
            f'<text class="number" x="{x + 12}" y="{TOP + 17}">{number}</text>',
            f'<text x="{middle}" y="{TOP + 28}">{name}</text>',
            f'<text class="small" x="{middle}" y="{TOP + 46}">{note}</text>',
        ]
        if i:
            y = TOP + HEIGHT / 2
            parts.append(f'<path class="arrow" d="M{x - GAP + 2} {y}H{x - 2}"/>')
    floor = TOP + HEIGHT + 22
    parts.append(
        f'<text class="small" x="{total / 2}" y="{floor}">one engine simulates every clone; one '
        "kernel makes matrix and files; one seed keys every draw</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    write_text(TARGET, draw())
