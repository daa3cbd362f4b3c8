"""Draw seconds per epoch on a graphics card: l0-python and three forms of ours.

    python site_src/figures/l0_device.py [FOLDER]        writes l0_device.svg

Reads benchmarks/results/l0_device.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import style

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "l0_device.json"
FORMS = (
    ("l0_python", "l0-python", "fourth"),
    ("eager", "single operations", "first"),
    ("fused", "columns compiled", "second"),
    ("fused_captured", "and replayed as one graph", "third"),
)


def main() -> None:
    """Draw one panel: bars for each size, on a logarithmic scale."""
    facts = json.loads(RESULTS.read_text(encoding="utf-8"))
    sizes = facts["sizes"]
    figure, axes = style.plot(height=320)
    for place, (form, label, color) in enumerate(FORMS):
        times = [sizes[size][form]["median_ms"] for size in sizes]
        at = [number + 0.2 * (place - 1.5) for number in range(len(sizes))]
        axes.bar(at, times, width=0.18, color=style.COLORS[color][0], label=label)
        for x, time in zip(at, times, strict=True):
            style.write(axes, x, time * 1.12, f"{time:.3g}", color, ha="center")
    axes.set_yscale("log")
    axes.set(ylabel="milliseconds per epoch", ylim=(0.03, 900))
    names = [f"{size}\n{sizes[size]['nonzeros'] / 1e6:,.1f} M nonzeros" for size in sizes]
    axes.set_xticks(range(len(sizes)), names)
    axes.legend(loc="upper left")
    text = "; ".join(
        f"{size}: " + ", ".join(f"{label} {sizes[size][form]['median_ms']:.3g} ms"
                                for form, label, _ in FORMS)
        for size in sizes
    )  # fmt: skip
    title = f"Time of an epoch on one {facts['device']}"
    style.save(figure, "l0_device", title, text + ".")


if __name__ == "__main__":
    main()
