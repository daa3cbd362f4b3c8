"""How a survey finds its households: a stratified sample with unequal probabilities.

A household belongs to the first stratum whose rule it meets. Within stratum h, n_h
households are drawn by systematic sampling with probabilities proportional to
`household_weight`, so that

    design weight = W_h / n_h          W_h the stratum's sum of household weights

and the weights add up to the households of the country. Samples are drawn until one meets
all of `requirements.REQUIREMENTS`: rejective sampling (Fuller 2009,
doi:10.1093/biomet/asp042), which keeps the weights and gives up a little of their
unbiasedness.

Axes: household columns (H,), person columns (P,).

Source: systematic sampling with unequal probabilities, Madow 1949,
doi:10.1214/aoms/1177729988; the strata are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import DatasetError
from calibration.survey import read_dictionary
from calibration.toy_data.laws import stream
from calibration.toy_data.programs import cash_income
from calibration.toy_data.reporting import report
from calibration.toy_data.requirements import (
    dependents,
    household_size,
    in_household,
    poor_family,
    shortfalls,
    two_units,
)

__all__ = ["ATTEMPTS", "STRATA", "pps", "survey"]

ATTEMPTS = 200
"""Samples to try before giving up."""


def pps(
    size: Array, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw n rows with inclusion probabilities proportional to size, systematically.

    Rows that would be drawn more than once are drawn with certainty, and the rest share
    what is left. The order of the rows is shuffled before the steps are taken.

    Parameters
    ----------
    size : ndarray of float64, shape (rows,)
        Not negative.
    n : int
        At most the number of rows with a positive size.

    Returns
    -------
    rows : ndarray of int64, shape (n,)
        Ascending.
    probability : ndarray of float64, shape (n,)
        Of each row drawn; the inverse is its sampling weight.

    Raises
    ------
    DatasetError
        If there are fewer than n rows to draw from.
    """
    if (size > 0).sum() < n:
        raise DatasetError(f"cannot draw {n} of {(size > 0).sum()}; make the population larger")
    sure = np.zeros(len(size), dtype=bool)
    while True:
        rest = np.where(sure, 0.0, size)
        total = rest.sum()
        share = rest * ((n - sure.sum()) / total) if total > 0 else rest
        if not (share > 1).any():
            break
        sure |= share > 1
    share = np.where(sure, 1.0, share)
    order = rng.permutation(len(size))
    ends = np.cumsum(share[order])
    steps = np.arange(n) + rng.random()
    place = np.searchsorted(ends * (n / ends[-1]), steps, side="right")
    rows = np.sort(order[place])
    return rows, share[rows]


Rule = Callable[[Dataset], NDArray[np.bool_]]

STRATA: tuple[tuple[str, int, Rule], ...] = (
    ("seven people or more", 1, lambda d: household_size(d) >= 7),
    ("four dependents or more", 2, lambda d: in_household(d, dependents(d) >= 4, "tax_unit")),
    ("income of 400,000 or more", 5, lambda d: d.sum_to(HOUSEHOLD, cash_income(d)) >= 400_000),
    ("disability benefits", 3, lambda d: in_household(d, d["social_security_disability"] > 0)),
    ("survivors' benefits", 2, lambda d: in_household(d, d["social_security_survivors"] > 0)),
    ("dependents' benefits", 2, lambda d: in_household(d, d["social_security_dependents"] > 0)),
    ("one tax unit files, one not", 5, two_units),
    ("SSI of an adult", 8, lambda d: in_household(d, (d["ssi_reported"] > 0) & (d["age"] >= 18))),
    ("loss of a business", 2, lambda d: in_household(d, d["self_employment_income"] < 0)),
    ("TANF", 3, lambda d: in_household(d, d["tanf_reported"] > 0, "spm_unit")),
    ("poor, with a young child", 6, poor_family),
    ("65 or older", 7, lambda d: in_household(d, d["age"] >= 65)),
    ("children", 6, lambda d: in_household(d, d["is_tax_unit_dependent"])),
    ("one person", 4, lambda d: household_size(d) == 1),
    ("all others", 4, lambda d: np.ones(d.size(HOUSEHOLD), dtype=bool)),
)
"""Name, households of 60, and rule of each stratum; the first rule met decides."""


def _sample(dataset: Dataset, households: int, rng: np.random.Generator) -> Dataset:
    stratum = np.full(dataset.size(HOUSEHOLD), -1)
    for code, (_, _, rule) in enumerate(STRATA):
        stratum[(stratum < 0) & rule(dataset)] = code
    quota = np.array([n for _, n, _ in STRATA]) * households / 60
    taken = np.floor(quota).astype(np.int64)
    taken[np.argsort(taken - quota, kind="stable")[: households - taken.sum()]] += 1
    weight = dataset["household_weight"]
    design = np.zeros(len(weight))
    for code, n in enumerate(taken):
        size = np.where(stratum == code, weight, 0.0)
        rows, probability = pps(size, n, rng)
        design[rows] = weight[rows] / probability
    rows = np.flatnonzero(design)
    sample = dataset.take_households(rows)
    return sample.with_columns(HOUSEHOLD, {"household_weight": np.round(design[rows], 6)})


def _renumbered(dataset: Dataset) -> Dataset:
    """Give households numbers from 1; the numbers of people and units follow."""
    old = dataset["household_id"]
    for entity in (PERSON, *dataset.groups):
        base = {HOUSEHOLD: 1, PERSON: 100, "marital_unit": 100}.get(entity, 10)
        for table, name in ((entity, f"{entity}_id"), (PERSON, f"person_{entity}_id")):
            if name in dataset:
                ids = dataset[name]
                new = (np.searchsorted(old, ids // base) + 1) * base + ids % base
                dataset = dataset.with_columns(table, {name: new})
    return dataset


def survey(population: Dataset, *, households: int = 60, seed: int) -> dict[str, dict[str, Array]]:
    """Draw the base survey from the population.

    Parameters
    ----------
    population : Dataset
        From `people.population`.
    households : int
        How many; REQUIREMENTS are those of 60.
    seed : int

    Returns
    -------
    dict of str to dict of str to ndarray
        Tables by file of the data dictionary, with its columns in order.

    Raises
    ------
    DatasetError
        If no sample meets REQUIREMENTS; the last one's shortfalls are named.
    """
    missing: tuple[str, ...] = ()
    for attempt in range(ATTEMPTS):
        sample = _sample(population, households, stream(seed, f"sample {attempt}"))
        sample = _renumbered(report(sample, stream(seed, f"report {attempt}")))
        if not (missing := shortfalls(sample)):
            break
    else:
        raise DatasetError(f"no sample of {ATTEMPTS} will do; the last: {'; '.join(missing)}")
    dictionary = read_dictionary(Path(__file__).parent)
    return {
        file: {column.name: sample[column.name] for column in columns}
        for file, columns in dictionary.items()
        if file.startswith("survey/")
    }
