"""The 69 tax variables: who has one, and how much, by the table `line_items.csv`.

A tax unit of rank u that belongs to the group of an item, a share G of all units, has a
gain with probability p(u), else perhaps a loss, else nothing:

    p(u)    = p (1 + a) u^a            p = share / G, a = tilt, cut so that p(u) <= 1
    v       = u^(1 + a)                uniform on (0, 1) among those who have it
    gain    = f m exp(s z - s^2 / 2)   z = r Phi^-1(v) + sqrt(1 - r^2) e
    loss    = -f m' exp(s' e - s'^2 / 2)   with probability share_loss / G, whatever u

with f the place effect. So among those who have it, gain / f is exactly lognormal with
mean m and sigma s, and the richer have more of it, and more often. If the group itself
depends on u (owners, businesses, ...), v is not quite uniform and the mean is near m.

Other laws of the table: `flag` (every person, probability `share`), `multiple` (a factor
times the item `of`), `positive` (whether the item `of` is above 0), `elsewhere` (drawn by
another room, which the source names). `coin` gives an amount of a couple to the head with
probability 0.6, else to the spouse; an item of the tax unit is stored there.

Axes: tax unit columns (U,), person columns (P,).

Source of shares and means: IRS, Statistics of Income, Publication 1304, tax year 2023,
Tables 1.4 and 2.1, counts over all returns and amounts over counts, as tabulated in
PolicyEngine/policyengine-us-data e01a0384, storage/calibration_targets/soi_targets.csv;
dollars of 2023. The toy country applies them to all tax units. Rows without a published
line say "assumption".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import PERSON, Array, Dataset
from calibration.survey import read_table
from calibration.toy_data.laws import chance, dollars, head_of, income_factor, lognormal, mixed

__all__ = [
    "DEDUCTED",
    "GROUPS",
    "INCOME",
    "LineItem",
    "adjusted_gross_income",
    "derived",
    "drawn",
    "line_items",
]

INCOME = (
    "employment_income", "self_employment_income", "sstb_self_employment_income",
    "taxable_interest_income", "qualified_dividend_income", "non_qualified_dividend_income",
    "non_sch_d_capital_gains", "rental_income", "farm_income", "farm_rent_income",
    "partnership_s_corp_income", "estate_income", "taxable_pension_income",
    "taxable_ira_distributions", "taxable_unemployment_compensation", "alimony_income",
    "miscellaneous_income", "salt_refund_income",
)  # fmt: skip
"""Items that adjusted gross income takes in whole."""

DEDUCTED = (
    "traditional_401k_contributions", "traditional_ira_contributions",
    "self_employed_pension_contribution_ald", "self_employed_health_insurance_ald",
    "health_savings_account_ald", "student_loan_interest", "educator_expense",
    "early_withdrawal_penalty", "alimony_expense",
)  # fmt: skip
"""Items that adjusted gross income takes off in whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineItem:
    """One row of the table; the module says what its numbers mean."""

    variable: str
    entity: str
    law: str
    owner: str
    who: str
    share: float
    mean: float
    share_loss: float
    mean_loss: float
    sigma: float
    sigma_loss: float
    tilt: float
    rank_correlation: float
    of: str
    factor: float
    source: str


def line_items() -> tuple[LineItem, ...]:
    """Read the table, in the order of the imputed variables."""
    table = read_table(Path(__file__).parent, "line_items.csv")
    columns = [table[field.name].tolist() for field in fields(LineItem)]
    names = [field.name for field in fields(LineItem)]
    return tuple(
        LineItem(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)
    )


# -- who can have an item: one flag a tax unit -------------------------------------------


def _any(dataset: Dataset, flags: Array) -> NDArray[np.bool_]:
    return dataset.any_in("tax_unit", flags)


def _has(*names: str) -> Callable[[Dataset], NDArray[np.bool_]]:
    def group(dataset: Dataset) -> NDArray[np.bool_]:
        amounts = [dataset[name] > 0 for name in names]
        return _any(dataset, np.logical_or.reduce(amounts))

    return group


def _head_age(dataset: Dataset) -> Array:
    return dataset.person["age"][head_of(dataset, "tax_unit")]


def _owners(dataset: Dataset) -> NDArray[np.bool_]:
    heads = dataset.person["is_household_head"]
    return _any(dataset, heads & dataset.to_person(dataset["tenure_type"] == "OWNED", "household"))


def _students(dataset: Dataset) -> NDArray[np.bool_]:
    grown = dataset["is_tax_unit_dependent"] & (dataset["age"] >= 18)
    return _any(dataset, grown) | (_head_age(dataset) < 28)


GROUPS: Mapping[str, Callable[[Dataset], NDArray[np.bool_]]] = {
    "all": lambda d: np.ones(d.size("tax_unit"), dtype=bool),
    "aged": lambda d: _head_age(d) >= 60,
    "working": lambda d: _head_age(d) < 70,
    "owners": _owners,
    "young_children": lambda d: _any(d, d["is_tax_unit_dependent"] & (d["age"] < 13)),
    "students": _students,
    "employees": _has("employment_income"),
    "self_employed": _has("self_employment_income", "sstb_self_employment_income"),
    "sstb": _has("sstb_self_employment_income"),
    "partners": lambda d: _any(d, d["partnership_s_corp_income"] != 0),
    "gains": _has("long_term_capital_gains"),
    "business": _has(
        "self_employment_income",
        "sstb_self_employment_income",
        "partnership_s_corp_income",
        "rental_income",
        "farm_income",
    ),
}  # fmt: skip
"""Groups that items are limited to, by name."""

_LATER = ("self_employed", "sstb", "partners", "gains", "business")  # need items themselves


# -- drawing ---------------------------------------------------------------------------


def drawn(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw the items of law `amount` and `flag`; those of groups that need items, last."""
    for item in sorted(line_items(), key=lambda item: item.who in _LATER):
        if item.law == "flag":
            flags = chance(item.share, rng, dataset.size(PERSON))
            dataset = dataset.with_columns(PERSON, {item.variable: flags})
        elif item.law == "amount":
            amount = dollars(_amounts(item, dataset, rng))
            if item.entity == PERSON:
                amount = _give(item, dataset, amount, rng)
            dataset = dataset.with_columns(item.entity, {item.variable: amount})
    return _only(dataset, ("flag", "amount"))


def derived(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Compute the items of law `multiple` and `positive` from others; nothing is drawn."""
    del rng
    for item in line_items():
        if item.law == "positive":
            value = dataset[item.of] > 0
        elif item.law == "multiple":
            value = dollars(item.factor * dataset[item.of])
            value = dataset.sum_to(item.entity, value) if item.entity != PERSON else value
        else:
            continue
        dataset = dataset.with_columns(item.entity, {item.variable: value})
    return _only(dataset, ("multiple", "positive"))


def _only(dataset: Dataset, laws: tuple[str, ...]) -> dict[str, dict[str, Array]]:
    columns: dict[str, dict[str, Array]] = {PERSON: {}, "tax_unit": {}}
    for item in line_items():
        if item.law in laws:
            columns[item.entity][item.variable] = dataset[item.variable]
    return columns


def _amounts(item: LineItem, dataset: Dataset, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw one item for every tax unit, by the module's equations."""
    rank, group = dataset["income_rank"], GROUPS[item.who](dataset)
    weight = dataset.household["household_weight"][dataset.household_of("tax_unit")]
    size = np.average(group, weights=weight)
    p = min(item.share / size, 1.0) if size else 0.0
    tilt = min(item.tilt, 1 / p - 1) if p else 0.0
    u = rng.random(len(rank))
    gain = group & (u < p * (1 + tilt) * rank**tilt)
    loss = group & ~gain & (u >= 1 - (item.share_loss / size if size else 0.0))
    z = mixed(rank ** (1 + tilt), item.rank_correlation, rng)
    e = rng.standard_normal(len(rank))
    amount = gain * lognormal(item.mean, item.sigma, z)
    amount = amount - loss * lognormal(item.mean_loss, item.sigma_loss, e)
    return amount * income_factor(dataset, "tax_unit")


def _give(item: LineItem, dataset: Dataset, amount: Array, rng: np.random.Generator) -> Array:
    """Give a tax unit's amount to its head or, by the coin, to the spouse."""
    result = np.zeros(dataset.size(PERSON))
    heads = head_of(dataset, "tax_unit")
    spouse = dataset.person["is_tax_unit_spouse"]
    to_spouse = _any(dataset, spouse) & chance(0.4 * (item.owner == "coin"), rng, len(heads))
    result[heads] = amount * ~to_spouse
    result[spouse] = (amount * to_spouse)[dataset.unit_of_person("tax_unit")[spouse]]
    return result


def adjusted_gross_income(dataset: Dataset) -> NDArray[np.float64]:
    """Add up each tax unit's adjusted gross income, after 26 U.S.C. 62, shortened.

    Capital losses count up to 3,000 (sec. 1211(b)), Social Security by half of what other
    income and half the benefits exceed 25,000, or 32,000 for a couple, up to 85 % of the
    benefits (sec. 86, without its lower tier). No deduction for half the self-employment tax.

    Returns
    -------
    ndarray of float64, shape (tax_unit,), USD
    """
    plus = dataset.sum_to("tax_unit", np.sum([dataset[name] for name in INCOME], axis=0))
    gains = dataset["long_term_capital_gains"] + dataset["short_term_capital_gains"]
    plus += np.maximum(dataset.sum_to("tax_unit", gains), -3_000)
    for name in DEDUCTED:
        own = dataset.entity_of(name) == "tax_unit"
        plus -= dataset[name] if own else dataset.sum_to("tax_unit", dataset[name])
    benefits = dataset.sum_to("tax_unit", dataset["social_security"])
    base = np.where(_any(dataset, dataset["is_tax_unit_spouse"]), 32_000, 25_000)
    excess = np.maximum(plus + benefits / 2 - base, 0)
    return dollars(plus + np.minimum(0.5 * excess, 0.85 * benefits))
