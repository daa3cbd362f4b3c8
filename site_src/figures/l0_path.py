"""Draw the path of the penalty: how many columns it retains, and how well they can be fitted.

    python site_src/figures/l0_path.py [FOLDER]        writes l0_path.svg

Twenty-five penalties, and the two that the stored run found for its budgets.
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options

PENALTIES = 10 ** np.linspace(-8, -2, 25)


def main() -> None:
    """Draw retained columns above, refitted loss below."""
    state = toy.after("weights")
    m = state.matrix
    start = {"w0": m.w0, "group": m.groups, "block": m.block()}
    start["column_key"] = m.column_key()
    fits = [fit_l0(m.X, m.values, options=L0Options(penalty=float(p)), **start) for p in PENALTIES]
    retained = np.array([fit.retained for fit in fits])
    figure, (above, below) = style.plot(2, 1, height=380, sharex=True)
    above.plot(PENALTIES, retained, marker="o", markersize=4, **style.LINES[0])
    below.plot(PENALTIES, [f.loss for f in fits], marker="o", markersize=4, **style.LINES[2])
    for name, facts in state.fits.items():
        budget, penalty = facts["budget"], facts["options"]["penalty"]
        color = style.COLORS["second"][0]
        above.axhline(budget, color=color, linewidth=1.2, linestyle=(0, (6, 2)))
        style.write(above, 1.1e-8, budget + 8, f"{name}: budget {budget}", "second")
        above.plot([penalty], [facts["retained"]], "D", color=color, markersize=7)
        below.plot([penalty], [facts["loss"]], "D", color=color, markersize=7)
    above.set(ylim=(0, 320))
    above.set_title("Columns retained")
    below.set(xlabel="λ₀, the penalty", xscale="log", yscale="log")
    below.set_title("Loss of the survivors after the refit")
    stored = "; ".join(
        f"{name} has budget {f['budget']}, found at lambda {f['options']['penalty']:.3g} with "
        f"{f['retained']} columns and loss {f['loss']:.2g}"
        for name, f in state.fits.items()
    )
    style.save(
        figure,
        "l0_path",
        "Retained columns and refitted loss against the penalty",
        f"From lambda 1e-8 to 1e-2 the number of retained columns falls from "
        f"{retained[0]} to {retained[-1]} of {len(m.w0)}. The refitted loss stays near "
        f"{fits[0].loss:.2g} as long as there are more than about a hundred columns, then rises "
        f"to {fits[-1].loss:.2g}. {stored}.",
    )


if __name__ == "__main__":
    main()
