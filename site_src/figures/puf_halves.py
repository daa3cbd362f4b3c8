"""Draw what the people of `toy.HOUSEHOLD` report in the CPS half and in the PUF half.

python site_src/figures/puf_halves.py [FOLDER]        writes puf_halves.svg
"""

from __future__ import annotations

import numpy as np
import style

from calibration import toy

ITEMS = {
    "wages": "employment_income",
    "Social Security": "social_security",
    "IRA distributions": "taxable_ira_distributions",
    "mortgage interest": "deductible_mortgage_interest",
}
HATCHES = ("", "///", "---", "xxx")
HALVES = ("CPS half", "PUF half")


def role(records: object, row: int) -> str:
    """Say who a person is, by age and role in the tax unit."""
    names = {"head": "head", "spouse": "spouse", "dependent": "dependent"}
    mine = next(word for name, word in names.items() if records[f"is_tax_unit_{name}"][row])
    return f"{mine}, {records['age'][row]:.0f}"


def main() -> None:
    """Draw a panel for each half."""
    records = toy.after("puf").dataset
    figure, panels = style.plot(1, 2, height=320, sharex=True, sharey=True)
    words = []
    for half, (axes, title) in enumerate(zip(panels, HALVES, strict=True)):
        home = 2 * toy.HOUSEHOLD + half
        rows = np.flatnonzero(records["person_household_id"] == home)
        people = [role(records, row) for row in rows]
        left = np.zeros(len(rows))
        for (label, name), line, hatch in zip(ITEMS.items(), style.LINES, HATCHES, strict=True):
            values = records[name][rows] / 1000
            look = {"color": "none", "edgecolor": line["color"], "hatch": hatch}
            if not hatch:
                look = {"color": line["color"]}
            seen = np.where(values > 0, values, np.nan)  # no edge where there is no bar
            axes.barh(np.arange(len(rows)), seen, 0.6, left, label=label, **look)
            left += values
            words += [
                f"{title}, {who}: {label} {value:.1f}"
                for who, value in zip(people, values, strict=True)
                if value
            ]
        axes.set_yticks(np.arange(len(rows)), people)
        axes.set_title(f"{title}, household {home}")
        axes.set(xlabel="thousand USD a year")
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    panels[0].legend(loc="lower right")
    style.save(
        figure,
        "puf_halves",
        "The two halves of the toy household",
        "Two panels with the same six people, by role in the tax unit and age. Amounts in "
        f"thousand dollars a year. {'. '.join(words)}. All other bars are empty.",
    )


if __name__ == "__main__":
    main()
