"""What the base survey must have, so that every stage of the run has something to do.

A sample of 60 households can miss what a lesson needs: a household of seven, a survivor's
pension, a tax unit beside another that does not file. REQUIREMENTS says what must be
there, in words and as a count, and `shortfalls` lists what is not.

Axes: flags and counts by household (H,), tax unit (U,) or person (P,).

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.toy_data.programs import poverty_ratio
from calibration.toy_data.reporting import PARTS, TRIM

__all__ = [
    "FILING_INCOME",
    "REQUIREMENTS",
    "dependents",
    "files",
    "household_size",
    "in_household",
    "poor_family",
    "shortfalls",
    "two_units",
]


FILING_INCOME = 14_600.0
"""Standard deduction of one person, USD (Rev. Proc. 2023-34, sec. 3.15, for 2024)."""

_ASKED = (
    "employment_income", "self_employment_income", "taxable_pension_income",
    "taxable_ira_distributions", "taxable_interest_income", "qualified_dividend_income",
    "non_qualified_dividend_income", "long_term_capital_gains", "short_term_capital_gains",
    "rental_income", "farm_income", "alimony_income",
)  # fmt: skip


def files(dataset: Dataset) -> NDArray[np.bool_]:
    """Tell which tax units must file, from what a survey asks, by a short rule.

    Income of FILING_INCOME or more, for a couple twice as much, or self-employment income
    of 400 (26 U.S.C. 6012, 6017). The engine has the whole rule; this one picks samples.

    Returns
    -------
    ndarray of bool, shape (tax_unit,)
    """
    income = np.sum([np.maximum(dataset[name], 0) for name in _ASKED], axis=0)
    joint = dataset.any_in("tax_unit", dataset["is_tax_unit_spouse"])
    own = dataset.sum_to("tax_unit", np.maximum(dataset["self_employment_income"], 0))
    return (dataset.sum_to("tax_unit", income) >= FILING_INCOME * (1 + joint)) | (own >= 400)


def dependents(dataset: Dataset) -> NDArray[np.float64]:
    """Count the dependents of each tax unit."""
    return dataset.sum_to("tax_unit", dataset["is_tax_unit_dependent"])


def in_household(dataset: Dataset, flags: Array, entity: str = PERSON) -> NDArray[np.bool_]:
    """Tell for each household whether anybody, or any unit of an entity, has a flag."""
    result = np.zeros(dataset.size(HOUSEHOLD), dtype=bool)
    result[dataset.household_of(entity)[flags]] = True
    return result


def household_size(dataset: Dataset) -> NDArray[np.int64]:
    """Count the persons of each household."""
    return np.bincount(dataset.household_of(PERSON))


def two_units(dataset: Dataset) -> NDArray[np.bool_]:
    """Tell which households have a tax unit that files and one that does not."""
    filing = files(dataset)
    return in_household(dataset, filing, "tax_unit") & in_household(dataset, ~filing, "tax_unit")


def poor_family(dataset: Dataset) -> NDArray[np.bool_]:
    """Tell which households have a child under 6 and less than 1.5 of the poverty guideline."""
    poor = in_household(dataset, poverty_ratio(dataset) < 1.5, "spm_unit")
    return poor & in_household(dataset, dataset["age"] < 6)


REQUIREMENTS: tuple[tuple[str, int, Callable[[Dataset], int]], ...] = (
    ("households with somebody of 65 or older", 12,
     lambda d: in_household(d, d["age"] >= 65).sum()),
    ("persons with Social Security", 15, lambda d: (d["social_security"] > 0).sum()),
    *((f"persons with {part}", 2, lambda d, part=part: (d[part] > 0).sum()) for part in PARTS),
    ("tax units with dependents", 8, lambda d: (dependents(d) > 0).sum()),
    ("tax units with four dependents or more", 1, lambda d: (dependents(d) >= 4).sum()),
    ("households with a tax unit that files and one that does not", 3,
     lambda d: two_units(d).sum()),
    ("children of 0 to 2", 3, lambda d: (d["age"] <= 2).sum()),
    ("children of 3 to 5", 3, lambda d: ((d["age"] >= 3) & (d["age"] <= 5)).sum()),
    ("disabled adults", 4, lambda d: (d["is_disabled"] & (d["age"] >= 18)).sum()),
    ("SPM units that report SNAP", 4, lambda d: (d["snap_reported"] > 0).sum()),
    ("SPM units that report TANF", 1, lambda d: (d["tanf_reported"] > 0).sum()),
    ("adults who report SSI", 3, lambda d: ((d["ssi_reported"] > 0) & (d["age"] >= 18)).sum()),
    ("persons who report Medicaid", 6,
     lambda d: d["has_medicaid_health_coverage_at_interview"].sum()),
    ("tax units that report a subsidized plan", 2,
     lambda d: d["has_subsidized_marketplace_coverage_at_interview"].sum()),
    ("self-employed with a loss", 2, lambda d: (d["self_employment_income"] < 0).sum()),
    ("self-employed with a profit", 3, lambda d: (d["self_employment_income"] > 0).sum()),
    ("renters", 12, lambda d: (d["tenure_type"] == "RENTED").sum()),
    ("owners", 20, lambda d: (d["tenure_type"] == "OWNED").sum()),
    ("persons with wages above the trimming limit", 1,
     lambda d: (d["employment_income"] > TRIM[0]).sum()),
    ("persons in tipped work", 1, lambda d: d["is_tipped_occupation"].sum()),
    ("persons who were without work", 2, lambda d: (d["weeks_unemployed"] > 0).sum()),
    ("households of one", 6, lambda d: (household_size(d) == 1).sum()),
    ("households of seven or more", 1, lambda d: (household_size(d) >= 7).sum()),
    ("states", 5, lambda d: len(np.unique(d["state_fips"]))),
)  # fmt: skip
"""What the survey must have at least: words, number, and how to count it."""


def shortfalls(dataset: Dataset) -> tuple[str, ...]:
    """List which of REQUIREMENTS a survey misses, in words."""
    counted = ((words, least, int(count(dataset))) for words, least, count in REQUIREMENTS)
    return tuple(f"{have} {words}, not {least}" for words, least, have in counted if have < least)
