"""Draw a fit over its epochs: when gates close, what that costs, and what 100 epochs see.

    python site_src/figures/l0_epochs.py [FOLDER]        writes l0_epochs.svg

One fit with the gates alone: no refit, so that what is drawn is what the gates did.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import style

from calibration import toy
from calibration.l0 import L0Fit, fit_l0
from calibration.l0.options import L0Options

EARLY = 100
OPTIONS = L0Options(penalty=1e-4, refit=False)
BINS = np.linspace(0, 1, 11)


def fit(options: L0Options) -> L0Fit:
    """Fit the toy matrix."""
    m = toy.after("matrix").matrix
    return fit_l0(m.X, m.values, w0=m.w0, group=m.groups, options=options)


def main() -> None:
    """Draw three panels: loss, retained, and the open probabilities at two epochs."""
    figure, axes = style.plot(2, 2, height=340, gridspec_kw={"width_ratios": [3, 2]})
    whole = fit(replace(OPTIONS, log_every=1))
    early = fit(replace(OPTIONS, epochs=EARLY, log_every=0))
    history, epoch = whole.history, whole.history["epoch"]
    first, second = style.LINES[0], style.LINES[1]
    loss, kept = axes[0, 0], axes[1, 0]
    loss.plot(epoch, history["data_loss"], **(first | {"linewidth": 1.3}))
    loss.set_yscale("log")
    loss.set_title("Loss of the median gates")
    loss.tick_params(labelbottom=False)
    kept.plot(epoch, history["retained"], label="P(z > 0) > ½", **first)
    kept.plot(epoch, history["undecided"], label="gate between 0 and 1", **second)
    kept.set(xlabel="epoch", ylim=(0, 320))
    kept.set_title("Columns")
    kept.legend(loc="upper right", bbox_to_anchor=(1, 1.12))
    for panel in (loss, kept):
        panel.axvline(EARLY, color=style.COLORS["fourth"][0], linewidth=1.2)
    style.write(loss, EARLY + 12, history["data_loss"].max(), "epoch 100", "fourth", va="top")
    for panel, shown, name in ((axes[0, 1], early, "100"), (axes[1, 1], whole, "600")):
        color = style.COLORS["fourth" if shown is early else "first"][0]
        panel.hist(shown.open_probability, bins=BINS, color=color, rwidth=0.9)
        panel.axvline(0.5, color=style.COLORS["soft"][0], linewidth=1.2, linestyle=":")
        panel.set_title(f"P(z > 0) at epoch {name}")
        panel.set(ylim=(0, 200))
    axes[0, 1].tick_params(labelbottom=False)
    axes[1, 1].set(xlabel="P(z > 0)")
    at = {e: int(np.flatnonzero(epoch == e)[0]) for e in (0, 40, EARLY, OPTIONS.epochs)}
    inside = [
        np.mean((f.open_probability > 0.1) & (f.open_probability < 0.9)) for f in (early, whole)
    ]
    style.save(
        figure,
        "l0_epochs",
        "A toy fit over its epochs: loss, columns, gate probabilities",
        f"Loss falls from {history['data_loss'][at[0]]:.3f} to "
        f"{history['data_loss'][at[40]]:.4f} at epoch 40 with all columns. It rises until "
        f"gates close near epoch 50, and at epoch 100 it is "
        f"{history['data_loss'][at[EARLY]]:.4f} with "
        f"{history['retained'][at[EARLY]]:.0f} columns retained. At epoch 600 it is "
        f"{history['data_loss'][at[OPTIONS.epochs]]:.4f} with "
        f"{history['retained'][at[OPTIONS.epochs]]:.0f}. Histograms of P(z > 0): at epoch 100 "
        f"{inside[0]:.0%} of the columns lie between 0.1 and 0.9, at epoch 600 {inside[1]:.0%}; "
        "the others are near 0 or near 1.",
    )


if __name__ == "__main__":
    main()
