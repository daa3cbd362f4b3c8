"""Retirement contributions that the law allows, for incomes that the tax file gave.

The survey asks for contributions to five accounts; the tax file does not. The PUF half
draws all five from one person of the survey who is like them in age, role and incomes,
and the law then caps what does not fit those incomes:

    401(k)   traditional + Roth  <=  min(limit + catch-up, wages)
    IRA      traditional + Roth  <=  min(limit + catch-up, earnings of the couple)
    own plan of the self-employed  <=  min(0.25 * business income, dollar limit)

A pair above its cap is scaled down together. Wages or business income of 0 or below mean
0: a loss supports no contribution.

Axes: persons (n,). Amounts in USD per year.

Source: 26 U.S.C. 402(g), 414(v), 415(c), 219(b)-(c), 404(a)(3); amounts and their sources
by year in `calibration/data/retirement_limits.csv`. Simplified: (1) 25 percent applies to
business income before the deduction for half of the self-employment tax and for the
contribution itself; (2) each spouse's IRA is held against the couple's earnings, not both
together; (3) no phase-outs by income, which limit the deduction or the Roth share.
Follows PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py, from which
it differs: limits hold for traditional and Roth *together*, and negative income counts as
no income.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array, Dataset, Table
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor
from calibration.qrf import ForestOptions

__all__ = ["ACCOUNTS", "LIMITS", "cap", "earnings", "impute_contributions", "limit"]

ACCOUNTS = (
    "traditional_401k_contributions",
    "roth_401k_contributions",
    "traditional_ira_contributions",
    "roth_ira_contributions",
    "self_employed_pension_contributions",
)

_INCOMES = (
    "employment_income",
    "self_employment_income",
    "taxable_interest_income",
    "qualified_dividend_income",
    "taxable_pension_income",
    "social_security",
)

LIMITS = ("401k", "401k_catch_up", "ira", "ira_catch_up", "self_employed", "self_employed_share")
"""Limits of the table: USD per year, the last a share of business income."""

Floats = NDArray[np.float64]


@cache
def _table() -> dict[tuple[int, str], list[tuple[float, float]]]:
    text = files("calibration").joinpath("data", "retirement_limits.csv").read_text("utf-8")
    table: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for row in csv.DictReader(text.splitlines()):
        brackets = table.setdefault((int(row["year"]), row["limit"]), [])
        brackets.append((float(row["age_from"]), float(row["value"])))
    return table


def limit(name: str, year: int, age: Floats) -> Floats:
    """Look up a limit by year and age.

    Parameters
    ----------
    name : str
        One of `LIMITS`.
    year : int
    age : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)
        USD per year (a share for "self_employed_share"); 0 below the first age.

    Raises
    ------
    ImputationError
        If the table has no such limit or year.
    """
    if (year, name) not in _table():
        years = sorted({y for y, _ in _table()})
        raise ImputationError(
            f"no retirement limit {name!r} for {year}; there are {', '.join(LIMITS)} "
            f"for {years[0]} to {years[-1]}"
        )
    result = np.zeros(len(age))
    for age_from, value in sorted(_table()[year, name]):
        result[age >= age_from] = value
    return result


def earnings(dataset: Dataset) -> tuple[Floats, Floats, Floats]:
    """Give wages, business income, and what the couple earns, each (person,), 0 or more.

    Business income is that of ordinary and of specified service businesses together. A
    dependent's earnings are not the couple's, nor the couple's the dependent's.
    """
    wages = np.maximum(dataset["employment_income"], 0.0)
    business = np.maximum(
        dataset["self_employment_income"] + dataset["sstb_self_employment_income"], 0.0
    )
    own = wages + business
    couple = dataset["is_tax_unit_head"] | dataset["is_tax_unit_spouse"]
    shared = dataset.to_person(dataset.sum_to("tax_unit", own * couple), "tax_unit")
    return wages, business, np.where(couple, shared, own)


def cap(
    contributions: Table, age: Floats, incomes: tuple[Floats, Floats, Floats], year: int
) -> dict[str, Floats]:
    """Bring contributions within the law.

    Parameters
    ----------
    contributions : mapping of str to ndarray, each of shape (n,)
        The five `ACCOUNTS`.
    age : ndarray of float64, shape (n,)
    incomes : tuple of three ndarrays of float64, shape (n,)
        As `earnings` gives them.
    year : int

    Returns
    -------
    dict of str to ndarray of float64, each of shape (n,)

    Raises
    ------
    ImputationError
        If the table has no limits for the year.
    """
    wages, business, earned = incomes
    of = {name: limit(name, year, age) for name in LIMITS}
    ceilings = (
        (ACCOUNTS[:2], np.minimum(of["401k"] + of["401k_catch_up"], wages)),
        (ACCOUNTS[2:4], np.minimum(of["ira"] + of["ira_catch_up"], earned)),
        (ACCOUNTS[4:], np.minimum(of["self_employed_share"] * business, of["self_employed"])),
    )
    result = {}
    for accounts, ceiling in ceilings:
        wanted = np.column_stack([np.maximum(contributions[name], 0.0) for name in accounts])
        total = wanted.sum(axis=1)
        scale = np.divide(ceiling, total, out=np.ones_like(total), where=total > ceiling)
        result.update(zip(accounts, (wanted * scale[:, None]).T.copy(), strict=True))
    return result


def impute_contributions(
    dataset: Dataset,
    predictors: Table,
    weight: Floats,
    clone: NDArray[np.bool_],
    declared: tuple[Predictor, ...],
    *,
    seed: int,
    forest: ForestOptions,
) -> dict[str, Array]:
    """Draw contributions for the PUF half from the CPS half, and cap them.

    Parameters
    ----------
    dataset : Dataset
        Doubled; incomes are imputed already.
    predictors : mapping of str to ndarray, each of shape (person,)
        Demographics, as `declared`.
    weight : ndarray of float64, shape (person,)
        Survey weight of the CPS half.
    clone : ndarray of bool, shape (person,)
        The PUF half.
    declared : tuple of Predictor
        What the demographics are.
    seed : int
    forest : ForestOptions

    Returns
    -------
    dict of str to ndarray of float64, each of shape (person,)
        The five accounts; the CPS half as it was.

    Raises
    ------
    ImputationError
        If the survey lacks an account, or the year has no limits.
    """
    for name in ACCOUNTS:
        if name not in dataset.person:
            raise ImputationError(f"the person table has no column {name!r}; the draw needs it")
    table = {name: np.asarray(predictors[name]) for name in predictors}
    table |= {name: np.asarray(dataset[name], dtype=np.float64) for name in _INCOMES}
    asked = declared + tuple(Predictor(name, "amount") for name in _INCOMES)
    imputer = SequentialImputer("retirement", asked, (ACCOUNTS,), seed=seed, options=forest)
    donor = {name: table[name][~clone] for name in table}
    donor |= {name: np.asarray(dataset[name], dtype=np.float64)[~clone] for name in ACCOUNTS}
    imputer.fit(donor, weight[~clone])
    receiver = {name: table[name][clone] for name in table}
    drawn = imputer.draw(receiver, dataset.person["person_id"][clone])
    incomes = earnings(dataset)
    capped = cap(
        drawn,
        table["age"][clone],
        (incomes[0][clone], incomes[1][clone], incomes[2][clone]),
        dataset.period,
    )
    result = {name: np.array(dataset[name], dtype=np.float64) for name in ACCOUNTS}
    for name in ACCOUNTS:
        result[name][clone] = capped[name]
    return result
