"""What people tell a survey: less than the truth, by stated factors.

    wages          all that is below TRIM, and 40 % of what is above
    other amounts  0 with probability 1 - REPORTING[c][0], else a part REPORTING[c][1]
    losses         in full

Each column is told or not told on its own; the parts of Social Security go together and
keep adding up.

Axes: columns of the entity (E,).

Sources: factors synthetic and round; that surveys miss transfers, capital incomes and the
top, Meyer, Mok and Sullivan 2015, doi:10.1257/jep.29.4.199.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import PERSON, Array, Dataset

__all__ = ["PARTS", "REPORTING", "TRIM", "report"]

PARTS = tuple(
    f"social_security_{part}" for part in ("retirement", "disability", "survivors", "dependents")
)
"""The parts of Social Security."""

TRIM = (250_000.0, 0.4)  # wages above the first number are reported at the second
REPORTING = {
    "self_employment_income": (0.90, 0.70),
    "social_security": (0.93, 0.97),
    "taxable_pension_income": (0.75, 0.90),
    "tax_exempt_pension_income": (0.75, 0.90),
    "taxable_ira_distributions": (0.45, 0.80),
    "taxable_interest_income": (0.60, 0.60),
    "tax_exempt_interest_income": (0.30, 0.50),
    "qualified_dividend_income": (0.65, 0.60),
    "non_qualified_dividend_income": (0.65, 0.60),
    "long_term_capital_gains": (0.30, 0.40),
    "short_term_capital_gains": (0.30, 0.50),
    "rental_income": (0.70, 0.80),
    "farm_income": (0.80, 0.80),
    "alimony_income": (0.70, 0.90),
    "traditional_401k_contributions": (0.90, 0.95),
    "roth_401k_contributions": (0.90, 0.95),
    "traditional_ira_contributions": (0.90, 0.95),
    "roth_ira_contributions": (0.90, 0.95),
    "self_employed_pension_contributions": (0.90, 0.95),
    "ssi_reported": (0.65, 1.00),
    "snap_reported": (0.60, 0.95),
    "tanf_reported": (0.45, 0.95),
    "has_medicaid_health_coverage_at_interview": (0.75, 1.00),
    "has_subsidized_marketplace_coverage_at_interview": (0.80, 1.00),
}
"""By column: the share of those who have it that report it, and the part they report."""

_PARTS = tuple(
    f"social_security_{part}" for part in ("retirement", "disability", "survivors", "dependents")
)
"""The parts of Social Security."""


def report(dataset: Dataset, rng: np.random.Generator) -> Dataset:
    """Replace what is true by what is reported; Social Security parts keep adding up."""
    wage, (limit, part) = dataset["employment_income"], TRIM
    trimmed = np.round(np.minimum(wage, limit) + part * np.maximum(wage - limit, 0))
    dataset = dataset.with_columns(PERSON, {"employment_income": trimmed})
    for name, (share, part) in REPORTING.items():
        entity = dataset.entity_of(name)
        told = rng.random(dataset.size(entity)) < share
        names = PARTS if name == "social_security" else (name,)
        columns = {c: _told(dataset[c], told, part) for c in names}
        if name == "social_security":
            columns[name] = np.sum(list(columns.values()), axis=0)
        dataset = dataset.with_columns(entity, columns)
    return dataset


def _told(value: Array, told: Array, part: float) -> Array:
    if value.dtype.kind == "b":
        return value & told
    return np.where(value > 0, np.round(value * part) * told, value)
