"""Draw where X has entries, with the columns of one household traced.

    python site_src/figures/matrix_spy.py [FOLDER]        writes matrix_spy.svg

Rows stand in the order of the matrix, columns clone after clone.
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy


def main() -> None:
    """Draw the matrix."""
    state = toy.after("matrix")
    matrix, R = state.matrix, state.geography.n_records
    X = matrix.X.tocoo()
    rows, columns = X.coords
    records = np.flatnonzero(state.household["source_household_id"] == toy.HOUSEHOLD)
    mine = (R * np.arange(state.geography.n_clones)[:, None] + records).ravel()
    levels = [str(target.level) for target in matrix.targets]
    figure, axes = style.plot(1, 1, height=400)
    axes.grid(visible=False)
    axes.plot(columns, rows, ".", markersize=1.6, color=style.COLORS["soft"][0])
    for j in mine:
        axes.axvline(j, color=style.COLORS["second"][0], linewidth=0.7)
    inside = np.isin(columns, mine)
    axes.plot(columns[inside], rows[inside], "o", markersize=4, color=style.COLORS["second"][0])
    for level in dict.fromkeys(levels):
        first = levels.index(level)
        axes.axhline(first - 0.5, color=style.COLORS["grid"][0])
        style.write(axes, R * 3 + 4, first + levels.count(level) / 2 - 0.5, level, va="center")
    for c in range(1, state.geography.n_clones):
        axes.axvline(R * c - 0.5, color=style.COLORS["first"][0], linewidth=1)
    axes.set(xlim=(-2, R * 3 + 1), ylim=(len(levels) - 0.5, -0.5))
    axes.set(xlabel="column = clone · R + record", ylabel="row")
    per = np.bincount(columns, minlength=R * 3)
    style.save(
        figure,
        "matrix_spy",
        "Where X has entries",
        f"Dots mark the {X.nnz} entries of {X.shape[0]} rows and {X.shape[1]} columns, three "
        f"clones of {R} records side by side. National rows are the densest, district rows the "
        f"emptiest. The traced household has columns {', '.join(map(str, mine))}, with "
        f"{', '.join(str(per[j]) for j in mine)} entries.",
    )


if __name__ == "__main__":
    main()
