"""The laws of the toy country: what all of them share.

Every number of the country is drawn from a stated law, and nothing is estimated from
anything, so what an imputation or a weighting should find is known beforehand. The laws
stand in six rooms: `households` (who lives together), `incomes` (wages, Social
Security, contributions), `items` (the tax variables, by a table), `homes` (rent, taxes,
assets), `programs` (benefits and health cover), `reporting` (what a survey is told).

    income rank u of a tax unit   uniform on (0, 1), independent of places and ages
    lognormal amount              m exp(s z - s^2 / 2), mean m, z standard normal
    z tied to the rank            r Phi^-1(u) + sqrt(1 - r^2) e, correlation r
    place effect                  STATE_INCOME[s] DISTRICT_INCOME[d], divided by its mean

Two quantities that share neither the rank nor a predictor are independent.

Axes: household columns (H,), tax unit columns (U,), person columns (P,), in order of ids.

Source of the numbers: synthetic, round, of the usual size in the United States, unless a
source stands beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import DatasetError
from calibration.rng import text_key

__all__ = [
    "DISTRICT_INCOME",
    "PERIOD",
    "STATE_INCOME",
    "chance",
    "dollars",
    "head_of",
    "income_factor",
    "lognormal",
    "mixed",
    "of_state",
    "step",
    "stream",
]

PERIOD = 2024

# Place effects on market incomes (factors; DISTRICT_INCOME 1.0 where not named)
STATE_INCOME = {2: 1.05, 6: 1.10, 11: 1.35, 37: 0.92, 49: 0.95}
DISTRICT_INCOME = {612: 1.15, 622: 0.75, 630: 1.15, 634: 0.85, 3702: 1.20, 3704: 1.10, 4903: 1.05}


def stream(seed: int, topic: str) -> np.random.Generator:
    """Give a topic its own generator, so that a change to one law moves no other."""
    return np.random.default_rng([seed, text_key(topic)])


def lognormal(mean: Array | float, sigma: Array | float, normal: Array) -> NDArray[np.float64]:
    """Turn standard normals into lognormals of a given mean: m exp(s z - s^2 / 2)."""
    return mean * np.exp(sigma * normal - np.square(sigma) / 2)


def mixed(rank: Array, correlation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw standard normals that have a given correlation with the normal score of a rank."""
    own = rng.standard_normal(len(rank))
    return correlation * ndtri(rank) + np.sqrt(1 - correlation**2) * own


def dollars(amount: Array) -> NDArray[np.float64]:
    """Round to whole dollars; what is positive stays at least 1, what is negative at most -1."""
    return np.sign(amount) * np.maximum(np.round(np.abs(amount)), amount != 0)


def step(ages: Array, table: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Look up a step function of age: rows (from this age on, value), ascending."""
    start, value = np.array(table).T
    return value[np.searchsorted(start, ages, side="right") - 1]


def chance(probability: Array | float, rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Draw independent events of given probabilities, shape (size,)."""
    return rng.random(size) < probability


def of_state(table: dict[int, float], dataset: Dataset, entity: str = PERSON) -> Array:
    """Look up a number by state for each row of an entity."""
    states, index = np.unique(dataset.household["state_fips"], return_inverse=True)
    if strangers := sorted(set(states.tolist()) - set(table)):
        raise DatasetError(f"the toy country has no law for state {strangers[0]}")
    return np.array([table[code] for code in states.tolist()])[index][dataset.household_of(entity)]


def income_factor(dataset: Dataset, entity: str) -> NDArray[np.float64]:
    """Give each row its place effect on market incomes; the mean over households is 1.

    The mean is weighted, so national means of the laws hold whatever the places do.
    """
    homes = dataset.household
    district = homes["congressional_district_geoid"]
    factor = of_state(STATE_INCOME, dataset, HOUSEHOLD)
    factor = factor * np.array([DISTRICT_INCOME.get(code, 1.0) for code in district.tolist()])
    factor = factor / np.average(factor, weights=homes["household_weight"])
    return factor[dataset.household_of(entity)]


def head_of(dataset: Dataset, entity: str) -> NDArray[np.int64]:
    """Give the row of the first person of each unit, shape (entity,): its head."""
    return np.unique(dataset.unit_of_person(entity), return_index=True)[1]
