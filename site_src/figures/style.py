"""One look for all figures: palette, type, sizes, and an SVG that follows the page's scheme.

    figure, axes = style.plot(1, 2)
    axes[0].plot(x, y, **style.LINES[0])
    style.save(figure, "l0_gates", "What is shown", "What there is to see, with its numbers.")

A script that is started with a folder writes there, else to `GENERATED`.

matplotlib draws in the colors of the light scheme; `svg` replaces each of them by a CSS
variable with that color as its default. The variables have a light and a dark value, so that
one file is right on a light page, on a dark page (inlined, the page's own scheme decides;
alone or in an <img>, the reader's system does), and in print.

Text stays text: it can be searched. A screen reader gets the title and the description, whose
numbers come from the same data as the figure's.
The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt  # after the choice of a backend without a window
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibration.files import write_text

__all__ = ["COLORS", "GENERATED", "LINES", "plot", "save", "svg", "write"]

GENERATED = Path(__file__).parents[1] / "assets" / "generated"
"""Where figures are written."""

COLORS: Mapping[str, tuple[str, str]] = {
    "ink": ("#2b2f3a", "#e4e6ee"),
    "soft": ("#5b6070", "#a9aebd"),
    "grid": ("#d5d8e0", "#474d5c"),
    "first": ("#3949ab", "#9fa8da"),
    "second": ("#b35900", "#ffb74d"),
    "third": ("#00796b", "#4db6ac"),
    "fourth": ("#a03070", "#f48fb1"),
}
"""What each color is for, on light and on dark pages; all have contrast 4.5 or more on both.

The grid alone is fainter, because nothing has to be read from it.
"""

LINES: tuple[dict[str, Any], ...] = tuple(
    {"color": COLORS[name][0], "linestyle": dash, "linewidth": 2.0}
    for name, dash in (
        ("first", "-"),
        ("second", (0, (6, 2))),
        ("third", (0, (2, 1.5))),
        ("fourth", (0, (6, 2, 1.5, 2))),
    )
)
"""Series differ in color and in dash, so that they can be told apart without color."""

WIDTH, HEIGHT = 680, 300
_FONT = "var(--md-text-font, sans-serif)"
POINTS = 72  # SVG units of matplotlib, an inch

_LOOK = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # measured with it, shown in the page's font
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 12.5,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "text.color": COLORS["ink"][0],
    "axes.titlecolor": COLORS["ink"][0],
    "axes.labelcolor": COLORS["soft"][0],
    "xtick.color": COLORS["soft"][0],
    "ytick.color": COLORS["soft"][0],
    "axes.edgecolor": COLORS["soft"][0],
    "axes.linewidth": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLORS["grid"][0],
    "grid.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.unicode_minus": True,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


def plot(
    rows: int = 1, columns: int = 1, *, width: int = WIDTH, height: int = HEIGHT, **options: Any
) -> tuple[Figure, Any]:
    """Begin a figure.

    Parameters
    ----------
    rows, columns : int
        Panels.
    width, height : int
        In SVG units; the page scales the figure to its column.
    **options
        For `matplotlib.pyplot.subplots`.

    Returns
    -------
    Figure and its Axes
    """
    mpl.rcParams.update(_LOOK)  # for what the caller adds, too
    size = (width / POINTS, height / POINTS)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **options)


def write(axes: Axes, x: float, y: float, text: str, color: str = "soft", **options: Any) -> None:
    """Put words at a point of the data, in one of the figure's colors."""
    axes.text(x, y, text, color=COLORS[color][0], fontsize=12, **options)


def save(figure: Figure, name: str, title: str, description: str) -> Path:
    """Write a figure.

    Parameters
    ----------
    figure : Figure
    name : str
        File name without ending; unique, as it also prefixes the ids in the file.
    title : str
        What is shown, in a few words.
    description : str
        What there is to see, for those who do not see it.

    Returns
    -------
    Path
    """
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.svg", svg(figure, name, title, description))
    plt.close(figure)
    return folder / f"{name}.svg"


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """Give a figure as SVG text; see `save`."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"(font(?:-family)?: (?:[\d.]+px )?)'DejaVu Sans'", rf"\1{_FONT}", text)
    text = re.sub(r"<style type=\"text/css\">\*\{[^}]*\}</style>", "", text)  # not for the page
    for role, (light, _) in COLORS.items():
        text = text.replace(light, f"var(--figure-{role}, {light})")
    head = re.match(r"<svg[^>]*>", text)
    if head is None:
        raise ValueError(f"{name}: matplotlib wrote no SVG element")
    size = re.search(r'viewBox="[^"]*"', head[0])
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="figure" {size[0] if size else ""} role="img" '
        f'aria-labelledby="{name}-title {name}-description">\n'
        f'<title id="{name}-title">{escape(title)}</title>\n'
        f'<desc id="{name}-description">{escape(description)}</desc>\n'
        f"<style>{_SCHEMES}</style>\n"
    )
    return opening + _slim(text[head.end() :]) + "\n"


def _slim(text: str) -> str:
    """Leave out what nobody reads: most ids, digits behind the second decimal, line breaks."""
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.4g}", text)
    return re.sub(r"\s*\n\s*", " ", text).replace("> <", ">\n<").strip()


def _scheme(index: int) -> str:
    return " ".join(f"--figure-{role}: {pair[index]};" for role, pair in COLORS.items())


_SCHEMES = (
    "svg.figure { stroke-linejoin: round; stroke-linecap: butt; max-width: 100%; "
    "height: auto; "
    f"{_scheme(0)} }} "
    f"@media (prefers-color-scheme: dark) {{ svg.figure {{ {_scheme(1)} }} }} "
    f'[data-md-color-scheme="default"] svg.figure {{ {_scheme(0)} }} '
    f'[data-md-color-scheme="slate"] svg.figure {{ {_scheme(1)} }} '
    f"@media print {{ svg.figure {{ {_scheme(0)} }} }}"
)
