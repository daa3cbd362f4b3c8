"""Draw how the imputed Social Security of the PUF half is cut into its parts.

python site_src/figures/puf_parts.py [FOLDER]        writes puf_parts.svg
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy
from calibration.social_security import EARLIEST_AGE, PARTS

HATCHES = ("", "///", "---", "xxx")


def main() -> None:
    """Draw a stacked bar for each recipient, by age."""
    records = toy.after("puf").dataset
    home = records.unit_of_person("household")
    total = records["social_security"]
    rows = np.flatnonzero(records["is_puf_clone"][home] & (total > 0))
    rows = rows[np.argsort(records["age"][rows], kind="stable")]
    age = records["age"][rows]
    figure, axes = style.plot(1, 1, height=320)
    bottom = np.zeros(len(rows))
    words = []
    for part, line, hatch in zip(PARTS, style.LINES, HATCHES, strict=True):
        values = records[part][rows] / 1000
        label = part.removeprefix("social_security_")
        look = {"color": "none", "edgecolor": line["color"], "hatch": hatch}
        if not hatch:
            look = {"color": line["color"]}
        seen = np.where(values > 0, values, np.nan)  # no edge where there is no bar
        axes.bar(np.arange(len(rows)), seen, 0.7, bottom, label=label, **look)
        bottom += values
        ages = ", ".join(f"{a:.0f}" for a in age[values > 0])
        words.append(f"{label} at {ages}" if ages else f"no {label}")
    young = (age < EARLIEST_AGE).sum() - 0.5
    axes.axvline(young, color=style.COLORS["soft"][0], linewidth=1)
    top = 1.24 * bottom.max()
    style.write(axes, young + 0.2, 0.93 * top, f"{EARLIEST_AGE:.0f} and more")
    axes.set_xticks(np.arange(len(rows)), [f"{a:.0f}" for a in age])
    axes.set(xlabel="age of the recipient", ylabel="thousand USD a year", ylim=(0, top))
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper right", ncols=2)
    style.save(
        figure,
        "puf_parts",
        "Social Security of the PUF half, by reason",
        f"A bar for each of {len(rows)} recipients of the PUF half, in the order of age: its "
        "height is the total that was drawn from the tax file, its parts are the reasons that "
        f"were drawn from the survey. By age: {'; '.join(words)}.",
    )


if __name__ == "__main__":
    main()
