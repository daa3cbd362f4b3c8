"""Fewer records that still stand for everybody.

Two samples are taken: of the tax file's returns, to keep forests affordable, and of the
doubled survey, to keep the matrix affordable. Both keep the top of the income scale with
certainty, because a few returns there carry much of the income, and draw the rest by lot:

    u_i = uniform(seed, what, id_i),    keep the k smallest u_i of a stratum

so whether a unit is kept never depends on the order of rows. What is kept carries the
weight of what is not: the weights of a stratum are multiplied by

    f_s = (weight of all units of s) / (weight of the kept units of s)

which is the inverse inclusion probability n_s / k_s, made exact for the weights.

Axes: donor rows (n,); households (household,) of a doubled dataset, two for each source
household.

Source: the certainty of the top 0.5 percent is that of PolicyEngine/policyengine-us-data
e01a0384, calibration/puf_impute.py, which does not rescale weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, Dataset
from calibration.errors import ImputationError
from calibration.rng import uniform

__all__ = ["SampleOptions", "Subsample", "donor_subsample", "stratified_sample"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Subsample:
    """Rows kept of a donor.

    Parameters
    ----------
    rows : ndarray of int64, shape (k,)
        Row numbers, ascending.
    factor : ndarray of float64, shape (k,)
        What to multiply the donor's weights by.
    """

    rows: Ints
    factor: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """How to stratify the doubled survey.

    Parameters
    ----------
    top_share : float
        Share of the source households kept with certainty, the richest; in [0, 1).
    strata : int
        Income groups of equal size that the rest is drawn from, in proportion.

    Raises
    ------
    ImputationError
        Naming the field and its value.
    """

    top_share: float = 0.05
    strata: int = 4

    def __post_init__(self) -> None:
        """Refuse shares and counts that make no strata."""
        if not 0 <= self.top_share < 1:
            raise ImputationError(f"top_share is {self.top_share}; give 0 <= share < 1")
        if self.strata < 1:
            raise ImputationError(f"strata is {self.strata}; give at least 1")


def donor_subsample(
    agi: Floats,
    return_id: Ints,
    weight: Floats,
    *,
    rows: int,
    top_percentile: float = 99.5,
    seed: int,
) -> Subsample:
    """Thin out a tax file: the top stays whole, the rest is drawn by return.

    Parameters
    ----------
    agi : ndarray of float64, shape (n,)
        Adjusted gross income of the return that each row belongs to, USD per year.
    return_id : ndarray of int64, shape (n,)
        Rows of one return stay or go together.
    weight : ndarray of float64, shape (n,)
    rows : int
        Target size. After the top, returns are added in the order of their uniforms until
        it is reached, so the result has up to one return more.
    top_percentile : float
        Unweighted percentile of `agi` over rows; rows at or above it are the top.
    seed : int

    Returns
    -------
    Subsample
        Everything with factor 1 if there are no more rows than asked for.

    Raises
    ------
    ImputationError
        If `rows` is below 1, the percentile lies outside 0 to 100, the top alone fills the
        target, so that nobody would stand for the rest, or a return has rows of different
        income.
    """
    if rows < 1 or not 0 <= top_percentile <= 100:
        raise ImputationError(f"{rows} rows, percentile {top_percentile}; give >= 1 and 0 to 100")
    n = len(agi)
    if n <= rows:
        return Subsample(np.arange(n), np.ones(n))
    returns, first, member = np.unique(return_id, return_index=True, return_inverse=True)
    if (astray := np.flatnonzero(agi != agi[first][member])).size:
        raise ImputationError(
            f"return {return_id[astray[0]]} has persons with different adjusted_gross_income; "
            "it is an amount of the return"
        )
    top = agi[first] >= np.percentile(agi, top_percentile)
    size = np.bincount(member)
    lot = np.argsort(np.where(top, -1.0, uniform(seed, "donor subsample", returns)), kind="stable")
    before = np.cumsum(size[lot]) - size[lot]
    kept = np.zeros(len(returns), dtype=bool)
    kept[lot] = top[lot] | (before < rows)
    chosen, rest = np.flatnonzero(kept[member]), ~top[member]
    factor = np.ones(len(chosen))
    if rest.any():
        low = rest[chosen]
        if not low.any():
            raise ImputationError(
                f"the top of the tax file has {(~rest).sum()} rows and only {rows} are wanted; "
                "nobody would stand for the rest. Ask for more rows or a higher percentile"
            )
        factor[low] = _factor(weight[rest], weight[chosen[low]])
    return Subsample(chosen, factor)


def stratified_sample(
    dataset: Dataset,
    agi: Floats,
    *,
    households: int,
    seed: int,
    options: SampleOptions | None = None,
) -> Dataset:
    """Keep a fixed number of source households of a doubled dataset, both halves of each.

    Parameters
    ----------
    dataset : Dataset
        With `source_household_id`, `household_weight` and `design_weight`; two households
        for each source household.
    agi : ndarray of float64, shape (household,)
        Adjusted gross income of each half, USD per year; the larger of the two decides.
    households : int
        Source households to keep.
    seed : int
    options : SampleOptions, optional

    Returns
    -------
    Dataset
        Of 2 * households households, in the order they had. Both weights are rescaled, so
        that their sums survive within every stratum.

    Raises
    ------
    ImputationError
        If there are fewer source households than asked for, one does not have two halves,
        or the kept households of a stratum have no weight.

    Notes
    -----
    Strata are cut at ranks of income, so who else is in the survey matters to them, as in
    any stratified sample; within a stratum only `source_household_id` decides.
    """
    options = options or SampleOptions()
    source, member, count = np.unique(
        dataset["source_household_id"], return_inverse=True, return_counts=True
    )
    if (count != 2).any():
        odd = int(np.argmax(count != 2))
        raise ImputationError(
            f"source household {source[odd]} has {count[odd]} records, not 2; sample after the "
            "clone and before anything is dropped"
        )
    if not 0 < households <= len(source):
        raise ImputationError(f"{households} of {len(source)} source households cannot be kept")
    if np.shape(agi) != member.shape:
        raise ImputationError(f"agi has shape {np.shape(agi)}; give one for each household")
    income = np.full(len(source), -np.inf)
    np.maximum.at(income, member, agi)
    lot = uniform(seed, "stratified sample", source)
    stratum = _strata(income, lot, households, options)
    kept = _keep(stratum, lot, households)
    weight = np.zeros(len(source))
    np.add.at(weight, member, dataset["design_weight"])
    factor = np.ones(len(source))
    for s in np.unique(stratum):
        here = stratum == s
        factor[here] = _factor(weight[here], weight[here & kept])
    sample = dataset.take_households(np.flatnonzero(kept[member]))
    scale = factor[member][kept[member]]
    names = ("household_weight", "design_weight")
    return sample.with_columns(HOUSEHOLD, {name: sample[name] * scale for name in names})


def _strata(income: Floats, lot: Floats, households: int, options: SampleOptions) -> Ints:
    """Give stratum numbers: 0 for the top, then from rich to poor; ties are split by lot."""
    order = np.lexsort((lot, -income))
    top = min(int(np.ceil(options.top_share * len(income))), households)
    groups = min(options.strata, max(households - top, 1))
    stratum = np.zeros(len(income), dtype=np.int64)
    for s, part in enumerate(np.array_split(order[top:], groups)):
        stratum[part] = s + 1
    return stratum


def _keep(stratum: Ints, lot: Floats, households: int) -> NDArray[np.bool_]:
    """Keep all of stratum 0 and of the others the smallest lots, in proportion to size."""
    size = np.bincount(stratum)
    places = households - size[0]
    exact = size[1:] * (places / max(size[1:].sum(), 1))
    quota = np.floor(exact).astype(np.int64)
    # Largest remainders get what rounding down left over; the richer stratum wins a tie.
    quota[np.argsort(quota - exact, kind="stable")[: places - quota.sum()]] += 1
    order = np.lexsort((lot, stratum))
    place = np.arange(len(order)) - (np.cumsum(size) - size)[stratum[order]]
    kept = np.zeros(len(order), dtype=bool)
    kept[order] = place < np.concatenate([size[:1], quota])[stratum[order]]
    return kept


def _factor(everybody: Floats, kept: Floats) -> float:
    if not kept.sum() > 0:
        raise ImputationError("the units kept of a stratum have no weight; keep more of them")
    return float(everybody.sum() / kept.sum())
