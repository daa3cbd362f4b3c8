"""The premium tax credit for those without other coverage.

    credit = max(0, benchmark premium - share(income level) * income),  if claimed

The benchmark is the second-lowest silver premium of the rating area: counties make up
rating areas, and in Los Angeles County the first three digits of the ZIP code decide
between two. A county or a ZIP code without a rating area is an error, never a zero.

Axes: the credit and its benchmark return shape (tax_unit,), the premium of a place shape
(household,), coverage shape (person,).

Source: 26 U.S.C. 36B; 45 CFR 147.102; premiums from KFF, rating areas from CMS.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array
from calibration.engines.toy.parameters import rating_areas
from calibration.engines.toy.rule import MONTHS, View, rule, rules_in
from calibration.errors import EngineError
from calibration.geography import STATE_LETTERS

__all__ = ["RULES"]

_PERCENT = 100


@rule(
    entity="household",
    unit="USD/month",
    needs=("state_fips", "county_fips", "zip_code"),
    label="benchmark premium of a child under 15",
    source="26 U.S.C. 36B(b)(3)(B); 45 CFR 147.102(b); KFF 2024 subsidy calculator",
)
def _slcsp_age_0(view: View) -> Array:
    """Look the county up, and in Los Angeles County the ZIP code."""
    county, state = view["county_fips"], view["state_fips"]
    places = _rating_places(county, view["zip_code"])
    astray = county.astype("U2").astype(np.int64) != state
    if astray.any():
        raise EngineError(
            f"county_fips {county[astray][0]!r} is not in state {state[astray][0]}; "
            "give a household a county of its own state"
        )
    premiums = dict(
        zip(view.labels("benchmark_premium"), view.array("benchmark_premium"), strict=True)
    )
    found, where = np.unique(places, return_inverse=True)
    return np.array([premiums[place] for place in found.tolist()])[where]


def _rating_places(county: NDArray[np.str_], zip_code: NDArray[np.str_]) -> NDArray[np.str_]:
    """Give each household its state's letters and rating area, such as "CA-16"."""
    areas = rating_areas()
    split = np.unique([code for code, digits in areas if digits])
    digits = np.where(np.isin(county, split), zip_code.astype("U3"), "")
    keys, where = np.unique(
        np.strings.add(np.strings.add(county, ":"), digits), return_inverse=True
    )
    places = []
    for key in keys.tolist():
        code, _, three = key.partition(":")
        if (code, three) not in areas:
            _refuse(code, three)
        places.append(f"{STATE_LETTERS[int(code[:2])]}-{areas[code, three]}")
    return np.array(places)[where]


def _refuse(county: str, digits: str) -> NoReturn:
    known = rating_areas()
    if county in {code for code, _ in known}:
        raise EngineError(
            f"a household of county {county} has a zip_code that begins with {digits!r}, which "
            f"is in no rating area there; give one of "
            f"{', '.join(sorted(three for code, three in known if code == county))}"
        )
    raise EngineError(
        f"county_fips {county!r} has no benchmark premium; the toy engine has "
        f"{', '.join(sorted({code for code, _ in known}))}"
    )


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("age", "has_esi", "medicaid_eligible", "is_chip_eligible_child"),
    label="without other coverage, so in the benchmark plan",
    source="26 U.S.C. 36B(c)(2)(B), 5000A(f)",
)
def _pays_aca_premium(view: View) -> Array:
    """Leave out people with Medicare, Medicaid or CHIP within reach, or an employer's plan.

    Simplified: only people who have an employer's plan are barred by its offer.
    """
    other = view["has_esi"] | view["medicaid_eligible"] | view["is_chip_eligible_child"]
    return ~other & (view["age"] < view.number("medicare_age"))


@rule(
    entity="person",
    unit="USD/month",
    needs=("state_fips", "age", "slcsp_age_0"),
    label="benchmark premium at the person's age",
    source="45 CFR 147.102(e)",
)
def _slcsp_person(view: View) -> Array:
    """Move the premium of a child along the age curve of the state."""
    child = view.by_state_and_step("age_factor", np.zeros(len(view["age"])))
    return view["slcsp_age_0"] * view.by_state_and_step("age_factor", view["age"]) / child


@rule(
    entity="tax_unit",
    needs=("age", "pays_aca_premium", "slcsp_person"),
    label="benchmark premium of the tax unit",
    source="26 U.S.C. 36B(b)(3)(B); 45 CFR 147.102(c)",
)
def _slcsp(view: View) -> Array:
    """Add up premiums, of the children only those of the three oldest."""
    age, unit = view.people("age"), view.unit_of_person("tax_unit")
    covered = view.people("pays_aca_premium")
    child = covered & (age < view.number("ptc_child_age_end"))
    order = np.lexsort((-age, ~child, unit))
    first = np.searchsorted(unit[order], unit[order])  # where the unit begins in that order
    rank = np.empty(len(age))
    rank[order] = np.arange(len(age)) - first
    rated = covered & (~child | (rank < view.number("ptc_rated_children")))
    return MONTHS * view.sum(np.where(rated, view.people("slcsp_person"), 0))


@rule(
    entity="tax_unit",
    needs=("state_fips", "medicaid_magi", "slcsp", "takes_up_aca_if_eligible"),
    label="premium tax credit, if claimed",
    source="26 U.S.C. 36B(a)-(c)",
)
def _assigned_aca_ptc(view: View) -> Array:
    """Take the contribution that income allows off the benchmark premium.

    Income counts against the guideline of the year before, in whole percent.
    Simplified: who claims takes the benchmark plan for twelve months and files a return.
    """
    level = view["medicaid_magi"] / view.poverty_line("poverty_guideline_prior")
    level = np.floor(level * _PERCENT) / _PERCENT
    share = np.interp(level, view.array("ptc_income_knot"), view.array("ptc_contribution"))
    credit = np.maximum(view["slcsp"] - share * view["medicaid_magi"], 0)
    claimed = view["takes_up_aca_if_eligible"] & (level >= view.number("ptc_income_floor"))
    return np.where(claimed, credit, 0)


RULES = rules_in(globals())
"""The rules of this module."""
