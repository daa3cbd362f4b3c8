"""The donor files: five surveys and one tax file of the same people, each by its own design.

    file               rows are            drawn with probability proportional to
    donors/puf         returns, persons    weight, 2 to 60 times as much for the rich
    donors/acs         household heads     weight over the people of the state
    donors/sipp_tips   persons from 15     weight
    donors/sipp_assets persons from 15     weight
    donors/org         persons from 16     weight
    donors/scf         households          weight, 12 times as much above a million

`weight` is the inverse of the probability times the population's own weight, so weighted
totals are those of the population. Incomes are true, not as a household survey reports them.
The tax file counts at most three dependents, as the public use file does, and leaves the
others out; it has no place, and no tax unit that does not file.

Axes: rows of a file (R_f,), about a thousand each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.survey import read_dictionary
from calibration.toy_data.items import adjusted_gross_income, line_items
from calibration.toy_data.laws import head_of, step, stream
from calibration.toy_data.requirements import FILING_INCOME
from calibration.toy_data.sampling import pps

__all__ = ["DESIGNS", "MOST_DEPENDENTS", "donors"]

ROWS = 1_000
RETURNS = 480  # of the tax file; with spouses and dependents about a thousand rows
MOST_DEPENDENTS = 3
_RICH = ((-np.inf, 1.0), (75e3, 2.0), (200e3, 6.0), (500e3, 20.0), (1e6, 60.0))

Columns = dict[str, Array]


def _weight(dataset: Dataset, entity: str) -> Array:
    return dataset["household_weight"][dataset.household_of(entity)]


def _sum(dataset: Dataset, *names: str) -> Array:
    return np.sum([dataset[name] for name in names], axis=0)


def _interest(dataset: Dataset) -> Array:
    return _sum(dataset, "taxable_interest_income", "tax_exempt_interest_income")


def _dividends(dataset: Dataset) -> Array:
    return _sum(dataset, "qualified_dividend_income", "non_qualified_dividend_income")


def _pensions(dataset: Dataset) -> Array:
    return _sum(dataset, "taxable_pension_income", "tax_exempt_pension_income")


def _person_view(dataset: Dataset) -> Columns:
    """Give what the household surveys ask each person, in their words."""
    age, home = dataset["age"], dataset.household_of(PERSON)
    names = (
        "age", "is_male", "is_hispanic", "race", "is_household_head", "employment_income",
        "self_employment_income", "social_security", "rental_income", "weekly_hours_worked",
        "is_tipped_occupation", "tip_income", "bank_account_assets", "stock_assets",
        "bond_assets", "hourly_wage", "is_paid_hourly", "is_union_member_or_covered", "rent",
        "real_estate_taxes",
    )  # fmt: skip
    couple = dataset.any_in("marital_unit", dataset["is_tax_unit_spouse"])
    return {name: dataset[name] for name in names} | {
        "weight": _weight(dataset, PERSON),
        "state_fips": dataset["state_fips"][home],
        "tenure_type": dataset["tenure_type"][home],
        "household_size": np.bincount(home)[home],
        "count_under_18": np.bincount(home, age < 18)[home].astype(np.int64),
        "count_under_6": np.bincount(home, age < 6)[home].astype(np.int64),
        "is_female": ~dataset["is_male"],
        "is_married": couple[dataset.unit_of_person("marital_unit")],
        "interest_income": _interest(dataset),
        "dividend_income": _dividends(dataset),
        "pension_income": _pensions(dataset),
    }


def _draw(view: Columns, size: Array, rows: int, rng: np.random.Generator) -> Columns:
    """Sample rows of a view; the weight is divided by the inclusion probability."""
    taken, probability = pps(size, rows, rng)
    table = {name: column[taken] for name, column in view.items()}
    return table | {"weight": np.round(table["weight"] / probability, 6)}


def _acs(dataset: Dataset, rng: np.random.Generator) -> Columns:
    view = _person_view(dataset)
    _, index = np.unique(view["state_fips"], return_inverse=True)
    equal = view["weight"] / np.bincount(index, view["weight"])[index]  # states count alike
    return _draw(view, equal * view["is_household_head"], ROWS, rng)


def _sipp(dataset: Dataset, rng: np.random.Generator) -> Columns:
    view = _person_view(dataset)
    return _draw(view, view["weight"] * (view["age"] >= 15), ROWS, rng)


def _org(dataset: Dataset, rng: np.random.Generator) -> Columns:
    view = _person_view(dataset)
    return _draw(view, view["weight"] * (view["age"] >= 16), ROWS, rng)


def _scf(dataset: Dataset, rng: np.random.Generator) -> Columns:
    """Household totals beside the demographics of the head."""
    person, head = _person_view(dataset), head_of(dataset, HOUSEHOLD)
    old_age = dataset["social_security"] + _pensions(dataset)
    minor = dataset["age"] < 18
    minor[head] = False
    children = dataset.sum_to("family", minor).astype(np.int64)
    names = ("age", "is_female", "race", "is_married")
    view = {name: person[name][head] for name in names} | {
        "weight": dataset["household_weight"],
        "own_children_in_household": children[dataset.unit_of_person("family")[head]],
        "employment_income": dataset.sum_to(HOUSEHOLD, dataset["employment_income"]),
        "interest_dividend_income": dataset.sum_to(
            HOUSEHOLD, _interest(dataset) + _dividends(dataset)
        ),
        "social_security_pension_income": dataset.sum_to(HOUSEHOLD, old_age),
        "net_worth": dataset["net_worth"],
        "auto_loan_balance": dataset["auto_loan_balance"],
        "auto_loan_interest": dataset["auto_loan_interest"],
    }
    rich = np.where(view["net_worth"] >= 1e6, 12.0, 1.0)
    return _draw(view, view["weight"] * rich, ROWS, rng)


def _filers(dataset: Dataset, agi: Array) -> Array:
    """Tell who files, from true income: as `requirements.files`, or with a loss."""
    joint = dataset.any_in("tax_unit", dataset["is_tax_unit_spouse"])
    own = dataset.sum_to("tax_unit", np.maximum(dataset["self_employment_income"], 0))
    return (agi >= FILING_INCOME * (1 + joint)) | (agi < 0) | (own >= 400)


def _puf(dataset: Dataset, rng: np.random.Generator) -> Columns:
    """One row a person of a return; what belongs to the return stands on its head."""
    person, unit = dataset.person, dataset.unit_of_person("tax_unit")
    agi, weight = adjusted_gross_income(dataset), _weight(dataset, "tax_unit")
    returns, probability = pps(weight * step(agi, _RICH) * _filers(dataset, agi), RETURNS, rng)
    new_weight, number = np.zeros(len(weight)), np.zeros(len(weight), dtype=np.int64)
    new_weight[returns] = np.round(weight[returns] / probability, 6)
    number[returns] = np.arange(1, len(returns) + 1)
    dependent = person["is_tax_unit_dependent"]
    before = np.cumsum(dependent) - dependent  # dependents who stand further up
    place = before - before[head_of(dataset, "tax_unit")][unit]
    kept = np.flatnonzero((new_weight[unit] > 0) & ~(dependent & (place >= MOST_DEPENDENTS)))
    kept = kept[np.argsort(unit[kept], kind="stable")]
    of = unit[kept]
    count = dataset.sum_to("tax_unit", dependent).astype(np.int64)
    table = {
        "weight": new_weight[of],
        "return_id": number[of],
        "adjusted_gross_income": agi[of],
        "tax_unit_is_joint": dataset.any_in("tax_unit", person["is_tax_unit_spouse"])[of],
        "tax_unit_count_dependents": np.minimum(count, MOST_DEPENDENTS)[of],
    }
    roles = ("is_tax_unit_head", "is_tax_unit_spouse", "is_tax_unit_dependent")
    table |= {name: person[name][kept] for name in ("age", "is_male", *roles)}
    for item in line_items():
        value = dataset[item.variable]
        on_head = value[of] * table["is_tax_unit_head"] if item.entity != PERSON else value[kept]
        table[item.variable] = on_head
    return table


DESIGNS: dict[str, Callable[[Dataset, np.random.Generator], Columns]] = {
    "donors/puf.csv": _puf,
    "donors/acs.csv": _acs,
    "donors/sipp_tips.csv": _sipp,
    "donors/sipp_assets.csv": _sipp,
    "donors/org.csv": _org,
    "donors/scf.csv": _scf,
}
"""How each file is drawn from the population."""


def donors(population: Dataset, seed: int) -> dict[str, Columns]:
    """Draw the donor files from the population.

    Parameters
    ----------
    population : Dataset
        From `people.population`.
    seed : int

    Returns
    -------
    dict of str to dict of str to ndarray
        Tables by file of the data dictionary, with its columns in order.

    Raises
    ------
    DatasetError
        If the population is smaller than a file.
    """
    dictionary = read_dictionary(Path(__file__).parent)
    tables = {}
    for file, design in DESIGNS.items():
        table = design(population, stream(seed, file))
        tables[file] = {column.name: table[column.name] for column in dictionary[file]}
    return tables
