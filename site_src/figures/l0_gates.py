"""Draw the gate: what the fit samples, and what it keeps, for three temperatures.

    python site_src/figures/l0_gates.py [FOLDER]        writes l0_gates.svg

A gate is used in two ways, sampled in the fit and at its median after it; each has a panel.
"""

from __future__ import annotations

import numpy as np
import style

from calibration.l0.gates import gate_threshold, median_gates, sample_gates
from calibration.l0.options import L0Options

TEMPERATURES = (0.1, 0.35, 0.65)
BINS = 10
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"


def shares(options: L0Options) -> np.ndarray:
    """Give the shares of sampled gates at log alpha 0: exactly 0, ten bins, exactly 1."""
    z = sample_gates(0.0, (np.arange(100_000) + 0.5) / 100_000, options)
    inner = np.histogram(z[(z > 0) & (z < 1)], bins=BINS, range=(0, 1))[0]
    return np.array([(z == 0).sum(), *inner, (z == 1).sum()]) / len(z)


def main() -> None:
    """Draw both panels."""
    figure, (left, right) = style.plot(1, 2)
    log_alpha = np.linspace(-4, 4, 401)
    words = []
    for line, beta in zip(style.LINES, TEMPERATURES, strict=False):
        options = L0Options(temperature=beta)
        sampled, edge = shares(options), gate_threshold(options)
        left.plot(
            np.arange(BINS + 2), sampled, marker="o", markersize=4, label=f"β = {beta}", **line
        )
        right.plot(log_alpha, median_gates(log_alpha, options), label=f"β = {beta}", **line)
        right.plot([edge], [0], "o", color=line["color"], markersize=7, clip_on=False)
        words.append(
            f"at beta {beta} {sampled[0]:.0%} of the gates are exactly 0 and as many exactly 1, "
            f"and the median gate leaves 0 at log alpha {edge:.2f}"
        )
    paper = median_gates(log_alpha, L0Options(temperature=1.0))
    soft = style.COLORS["soft"][0]
    right.plot(log_alpha, paper, color=soft, linewidth=1.4, label="β left out")
    right.plot([gate_threshold(L0Options(temperature=1.0))], [0], "o", color=soft, clip_on=False)
    left.set_title(f"Sampled gates at log {ALPHA} = 0")
    left.set_xticks([0, (BINS + 1) / 2, BINS + 1], ["exactly 0", "between", "exactly 1"])
    left.set(ylabel="share", ylim=(0, 0.5))
    left.legend(loc="upper center")
    right.set_title("Median gate, used after the fit")
    right.set(xlabel=f"log {ALPHA}", ylim=(-0.03, 1.03))
    right.legend(loc="upper left")
    style.save(
        figure,
        "l0_gates",
        "The Hard Concrete gate at three temperatures",
        "Left, shares of sampled gates at log alpha 0: all three curves are highest "
        "at exactly 0 and exactly 1 and low between, the more so the smaller beta is. Right, the "
        "median gate rises from 0 to 1 with log alpha, through 0.5 at 0; a dot marks where it "
        f"leaves 0. In numbers: {'; '.join(words)}. With beta left out it leaves 0 at "
        f"{gate_threshold(L0Options(temperature=1.0)):.2f}.",
    )


if __name__ == "__main__":
    main()
