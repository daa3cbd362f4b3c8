"""Draw the way of the columns through stage 4, with the sizes of the toy run.

python site_src/figures/matrix_path.py [FOLDER]        writes matrix_path.svg

Sizes are read from the run, so that picture and run agree.
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy
from calibration.matrix_builder import measure


def main() -> None:
    """Draw two rows of boxes with arrows between them."""
    state = toy.after("matrix")
    C, S = state.geography.n_columns, len(np.unique(state.geography.state))
    values = measure(state.clones, state.targets).values
    X = state.matrix.X
    boxes = [
        (0, 1, "columns", f"{C} in {S} states"),
        (1, 1, "a chunk", "households, people"),
        (2, 1, "takeup", "flags of each clone"),
        (2, 0, "engine", "rules of the state"),
        (1, 0, "V", f"{values.shape[0]} measures"),
        (0, 0, "X", f"{X.shape[0]} rows, {X.nnz} entries"),
    ]
    steps = ["cut", "draw", "simulate", "constraints", "areas"]
    figure, axes = style.plot(1, 1, height=230)
    axes.set(xlim=(-0.48, 2.48), ylim=(-0.45, 1.45))
    axes.axis("off")
    for x, y, name, note in boxes:
        frame = style.plt.Rectangle(
            (x - 0.33, y - 0.26), 0.66, 0.52, fill=False, edgecolor=style.COLORS["first"][0]
        )
        axes.add_patch(frame)
        style.write(axes, x, y + 0.09, name, "ink", ha="center", va="center", weight="bold")
        style.write(axes, x, y - 0.11, note, ha="center", va="center")
    soft = style.COLORS["soft"][0]
    for (x, y, *_), (to_x, to_y, *_), step in zip(boxes, boxes[1:], steps, strict=False):
        dx, dy = to_x - x, to_y - y
        axes.annotate(
            "",
            (to_x - 0.34 * dx, to_y - 0.27 * dy),
            (x + 0.34 * dx, y + 0.27 * dy),
            arrowprops={"arrowstyle": "->", "color": soft},
        )
        middle = (x + to_x) / 2, (y + to_y) / 2
        place = (middle[0], middle[1] + 0.1) if dx else (middle[0] + 0.06, middle[1])
        style.write(axes, *place, step, ha="center" if dx else "left", va="center")
    style.save(
        figure,
        "matrix_path",
        "The way of the columns to X",
        f"{C} columns in {S} states are cut into chunks; a chunk is materialised as households "
        "with their people, given the takeup flags of its clones, and simulated under the rules "
        f"of its state. Constraints reduce that to V, {values.shape[0]} measures with "
        f"{values.nnz} values, and areas spread V over X, {X.shape[0]} rows with {X.nnz} entries.",
    )


if __name__ == "__main__":
    main()
