"""Who says that they receive what: benefits and health cover, by plain rules.

These are reports as an honest household would make them, not program law: that is the
engine's. A rule says how likely receipt is and how much it brings.

    poverty ratio q   cash income of the SPM unit over the poverty guideline for its size
    SNAP              80 % if q < 1.3, 15 % if q < 2; the maximum less 24 % of cash income
    TANF              35 % of units with a child if q < 0.5; 250 a month and 120 a child
    SSI               65 % of those 65 or older or disabled whose income is below the rate
    job cover         a worker, by wage; then spouse and children with 85 %
    Medicaid          with SSI; else without job cover 75 % if q < 1.38 (children q < 2.1)
    marketplace       half of the uncovered tax units under 65 with 1 < q < 4.5

Axes: person (P,), SPM unit and tax unit columns.

Sources: poverty guidelines 2024, 89 Fed. Reg. 2961 (15,060 for one, 5,380 for each more);
SNAP maximum allotments, fiscal year 2024, USDA Food and Nutrition Service; federal SSI
benefit rate 2024, Social Security Administration (943 a month). The rest is synthetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import PERSON, Array, Dataset
from calibration.toy_data.laws import chance, dollars, head_of

__all__ = ["benefits", "cash_income", "cover", "poverty_ratio"]

_SNAP_MAXIMUM = np.array([0, 291, 535, 766, 973, 1155, 1386, 1532, 1751, 1970])  # USD a month
_SSI_RATE = 943.0  # USD a month

_CASH = (
    "employment_income", "self_employment_income", "sstb_self_employment_income",
    "social_security", "taxable_pension_income", "tax_exempt_pension_income",
    "taxable_ira_distributions", "taxable_interest_income", "tax_exempt_interest_income",
    "qualified_dividend_income", "non_qualified_dividend_income", "rental_income",
    "farm_income", "partnership_s_corp_income", "estate_income", "alimony_income",
    "miscellaneous_income", "taxable_unemployment_compensation",
)  # fmt: skip


def cash_income(dataset: Dataset) -> NDArray[np.float64]:
    """Add up each person's cash income before benefits, USD a year; losses count as 0."""
    return np.sum([np.maximum(dataset[name], 0) for name in _CASH], axis=0)


def poverty_ratio(dataset: Dataset) -> NDArray[np.float64]:
    """Divide each SPM unit's cash income by the poverty guideline for its size."""
    people = dataset.sum_to("spm_unit", np.ones(dataset.size(PERSON)))
    guideline = 15_060 + 5_380 * (people - 1)
    return dataset.sum_to("spm_unit", cash_income(dataset)) / guideline


def benefits(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw receipt and amounts of SSI, TANF and SNAP, USD a year."""
    person, n, units = dataset.person, dataset.size(PERSON), dataset.size("spm_unit")
    own = cash_income(dataset)
    categorical = (person["age"] >= 65) | person["is_disabled"]
    counted = dataset.sum_to("marital_unit", own)[dataset.unit_of_person("marital_unit")]
    room = 12 * (_SSI_RATE + 20) - counted
    ssi = np.maximum(room, 0) * (categorical & (room > 240) & chance(0.65, rng, n))
    ssi = np.minimum(ssi, 12 * _SSI_RATE)
    ratio, child = poverty_ratio(dataset), person["is_tax_unit_dependent"] & (person["age"] < 18)
    children = dataset.sum_to("spm_unit", child)
    tanf = (children > 0) & (ratio < 0.5) & chance(0.35, rng, units)
    tanf = 12.0 * (250 + 120 * children) * tanf
    cash = dataset.sum_to("spm_unit", own + ssi) + tanf
    people = dataset.sum_to("spm_unit", np.ones(n)).astype(np.int64)
    most = _SNAP_MAXIMUM[np.minimum(people, len(_SNAP_MAXIMUM) - 1)]
    likely = np.select([ratio < 1.3, ratio < 2], [0.8, 0.15], 0.0)
    snap = chance(likely, rng, units) * 12 * np.maximum(most - 0.24 * cash / 12, 23)
    return {
        PERSON: {"ssi_reported": dollars(ssi)},
        "spm_unit": {"snap_reported": dollars(snap), "tanf_reported": dollars(tanf)},
    }


def cover(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw health cover: by a job, Medicaid, or a subsidized plan of the marketplace."""
    person, n, units = dataset.person, dataset.size(PERSON), dataset.size("tax_unit")
    wage = person["employment_income"]
    job = chance((wage > 5_000) / (1 + np.exp(1.2 - wage / 22_000)), rng, n)
    heads_job = dataset.any_in("tax_unit", job & ~person["is_tax_unit_dependent"])
    has_esi = job | (heads_job[dataset.unit_of_person("tax_unit")] & chance(0.85, rng, n))
    ratio = poverty_ratio(dataset)[dataset.unit_of_person("spm_unit")]
    limit = np.where(person["age"] < 19, 2.1, 1.38)
    medicaid = ~has_esi & (ratio < limit) & chance(0.75, rng, n)
    medicaid |= person["ssi_reported"] > 0
    head = head_of(dataset, "tax_unit")
    without = ~(has_esi | medicaid)[head] & (person["age"][head] < 65)
    middle = (ratio[head] > 1) & (ratio[head] < 4.5)
    market = without & middle & chance(0.5, rng, units)
    return {
        PERSON: {"has_esi": has_esi, "has_medicaid_health_coverage_at_interview": medicaid},
        "tax_unit": {"has_subsidized_marketplace_coverage_at_interview": market},
    }
