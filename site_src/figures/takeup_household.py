"""Draw one person of the household of all chapters: three clones, three states, three draws.

python site_src/figures/takeup_household.py [FOLDER]    writes takeup_household.svg
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy
from calibration.geography import STATE_LETTERS
from calibration.takeup import PROGRAMMES, draws, group_of_units

COLUMNS = np.array([66, 166, 266])  # the clones of the CPS half


def main() -> None:
    """Draw thresholds as bars, draws as points, published rates as ticks."""
    state = toy.after("weights")
    (medicaid,) = (p for p in PROGRAMMES if p.name == "medicaid")
    households = state.clones.households(COLUMNS)
    person = households["record_person_id"] == households["record_person_id"].min()
    u = draws(households, medicaid, state.thresholds.seed)[person]
    group = group_of_units(households, medicaid)[person]
    rows = {r.group: r for r in state.thresholds.rows if r.programme == "medicaid"}
    names = {"UT": "Utah", "NC": "North Carolina", "CA": "California"}
    figure, axes = style.plot(height=250)
    told = []
    for y, (column, letters, draw) in enumerate(zip(COLUMNS, group, u, strict=True)):
        row = rows[letters]
        axes.barh(-y, row.threshold, height=0.42, color=style.COLORS["first"][0], alpha=0.25)
        axes.plot([row.rate] * 2, [-y - 0.3, -y + 0.3], color=style.COLORS["second"][0], lw=2.2)
        axes.plot([draw], [-y], "o", color=style.COLORS["first"][0], markersize=9)
        takes = "takes up" if draw < row.threshold else "does not"
        style.write(axes, 1.02, -y - 0.07, takes, "ink")
        told.append(
            f"column {column} in {names[letters]}: draw {draw:.3f}, threshold "
            f"{row.threshold:.3f}, published rate {row.rate}, so the person {takes}"
            + (" take up" if takes == "does not" else "")
        )
    labels = [f"{c}, {STATE_LETTERS[int(s)]}" for c, s in zip(
        COLUMNS, households["state_fips"], strict=True)]  # fmt: skip
    axes.set(xlim=(0, 1.17), ylim=(-2.6, 0.6), yticks=[0, -1, -2], xticks=np.arange(0, 1.01, 0.2))
    axes.set_yticklabels(labels)
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="U, the draw of the person and the clone")
    axes.set_title("Bar: threshold · dot: draw · tick: published rate")
    style.save(
        figure,
        "takeup_household",
        "Medicaid draws and thresholds of one person in three clones",
        f"One adult who does not report Medicaid. {'; '.join(told)}.",
    )


if __name__ == "__main__":
    main()
