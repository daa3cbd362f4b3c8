"""Homes and wealth: who owns, what rent and property tax are, what is in the bank.

    P(owns)      1 / (1 + exp(-(-3.1 + 0.045 age + 2.4 u)))      age and rank u of the head
    rent         RENT[s] n^0.3 sqrt(f) lognormal(0.35), correlation 0.6 with the rank
    home value   HOME[s] sqrt(f) lognormal(0.5), correlation 0.6
    tax          TAX_RATE[s] times the home value
    bonds        5 % of adults, whatever else; mean 30,000, s = 1.5
    car loan     a share 0.10 + 0.5 u of households; mean 22,000, s = 0.6

for a household of n persons with place effect f in state s. Rent and tax are the head's
and a year's; rent is 0 for those who own, and tax 0 for those who do not.

Axes: household columns (H,), person columns (P,). Source: synthetic (see `laws`).
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.toy_data.laws import (
    chance,
    dollars,
    head_of,
    income_factor,
    lognormal,
    mixed,
    of_state,
)

__all__ = ["BONDS", "HOME", "RENT", "TAX_RATE", "rents", "tenure", "wealth"]

RENT = {2: 13_500.0, 6: 18_500.0, 11: 19_500.0, 37: 11_500.0, 49: 13_000.0}
HOME = {2: 360_000.0, 6: 720_000.0, 11: 680_000.0, 37: 330_000.0, 49: 490_000.0}
TAX_RATE = {2: 0.0105, 6: 0.0070, 11: 0.0058, 37: 0.0072, 49: 0.0054}
BONDS = (0.05, 30_000.0, 1.5)  # share of adults with bonds, their mean, sigma


def _head_rank(dataset: Dataset) -> Array:
    head = head_of(dataset, HOUSEHOLD)
    return dataset["income_rank"][dataset.unit_of_person("tax_unit")[head]]


def tenure(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw whether a household owns, rents, or (one in 50) lives rent free."""
    age = dataset.person["age"][head_of(dataset, HOUSEHOLD)]
    n = len(age)
    owns = chance(1 / (1 + np.exp(3.1 - 0.045 * age - 2.4 * _head_rank(dataset))), rng, n)
    free = chance(0.02, rng, n)
    return {HOUSEHOLD: {"tenure_type": np.where(free, "NONE", np.where(owns, "OWNED", "RENTED"))}}


def rents(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw rents of renters and real estate taxes of owners, both of the household head."""
    head, rank = head_of(dataset, HOUSEHOLD), _head_rank(dataset)
    size = np.bincount(dataset.household_of(PERSON))
    local = np.sqrt(income_factor(dataset, HOUSEHOLD))
    tenure_type, n = dataset["tenure_type"], dataset.size(PERSON)
    mean = of_state(RENT, dataset, HOUSEHOLD) * size**0.3 * local
    rent = lognormal(mean, 0.35, mixed(rank, 0.6, rng)) * (tenure_type == "RENTED")
    value = of_state(HOME, dataset, HOUSEHOLD) * local
    value = lognormal(value, 0.5, mixed(rank, 0.6, rng)) * (tenure_type == "OWNED")
    columns = {"rent": np.zeros(n), "real_estate_taxes": np.zeros(n)}
    columns["rent"][head] = dollars(rent)
    columns["real_estate_taxes"][head] = dollars(value * of_state(TAX_RATE, dataset, HOUSEHOLD))
    return {PERSON: columns, HOUSEHOLD: {"home_value": dollars(value)}}


def wealth(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw financial assets of adults, then net worth and car loans of households.

    Net worth: the assets, savings for old age (a lognormal mean of 4,000 for each year of
    the head's age beyond 25), and home equity rising from 20 % at 25 to 100 % at 75, less
    debts with a mean of 18,000. The young and poor can owe more than they have.
    """
    person, n = dataset.person, dataset.size(PERSON)
    adult, rank = person["age"] >= 18, dataset.to_person(dataset["income_rank"], "tax_unit")
    share, mean_bonds, sigma = BONDS
    banked, invests = chance(0.88, rng, n), chance(0.5 * rank, rng, n)
    money = {
        "bank_account_assets": banked * lognormal(14_000.0, 2.0, mixed(rank, 0.6, rng)),
        "stock_assets": invests * lognormal(90_000.0, 1.9, mixed(rank, 0.6, rng)),
        "bond_assets": chance(share, rng, n) * lognormal(mean_bonds, sigma, rng.standard_normal(n)),
    }
    money = {name: dollars(amount * adult) for name, amount in money.items()}
    age, top = person["age"][head_of(dataset, HOUSEHOLD)], _head_rank(dataset)
    homes = len(age)
    saved = lognormal(4_000.0 * np.maximum(age - 25, 0), 1.2, mixed(top, 0.6, rng))
    equity = np.clip(0.2 + 0.016 * (age - 25), 0.2, 1.0) * dataset["home_value"]
    debt = lognormal(18_000.0, 1.2, rng.standard_normal(homes))
    total = dataset.sum_to(HOUSEHOLD, np.sum(list(money.values()), axis=0))
    loan = chance(0.10 + 0.5 * top, rng, homes)
    loan = dollars(loan * lognormal(22_000.0, 0.6, rng.standard_normal(homes)))
    interest = dollars(loan * rng.uniform(0.03, 0.11, homes))
    household = {
        "net_worth": dollars(total + saved + equity - debt),
        "auto_loan_balance": loan,
        "auto_loan_interest": interest,
    }
    return {PERSON: money, HOUSEHOLD: household}
