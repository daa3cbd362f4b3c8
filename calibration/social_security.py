"""Split an imputed Social Security total into the reasons for it.

The tax file knows one amount; benefits differ by reason. For a person of the PUF half
with total S > 0 the shares of the four parts are drawn, all from one recipient of the
survey, and

    part_k = S * share_k,        sum_k part_k = S,        part_k >= 0

The largest part takes what rounding leaves, so the sum is exact. Where shares cannot be
had, because the survey has too few recipients or the shares drawn vanish, age decides: a
person of 62, the earliest age for old-age benefits, or more is retired, a younger one
disabled. The parts of the CPS half are the survey's answers and stay, but for the cent that
its rounding may leave; a survey whose parts do not add up to its own total is refused.

Axes: persons (n,), parts k in the order of `PARTS`, shares (n, 4).

Source: PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py, from which
it differs: (1) shares that sum to 0 fall back to age, they do not erase the total; (2)
shares are drawn, where 0/1 shares used to be classified; (3) an error is an error, not a
reason to fall back. Age 62: 42 U.S.C. 402(a)(2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array, Dataset, Table
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor
from calibration.qrf import ForestOptions

__all__ = [
    "EARLIEST_AGE",
    "FEWEST_DONORS",
    "PARTS",
    "by_age",
    "check_parts",
    "impute_parts",
    "split",
]

PARTS = (
    "social_security_retirement",
    "social_security_disability",
    "social_security_survivors",
    "social_security_dependents",
)
"""Reasons for a benefit, in the order of the share axis."""

EARLIEST_AGE = 62.0

FEWEST_DONORS = 10
"""Recipients from which shares are learned; with fewer, age decides for everybody.

A leaf has 5 rows unless asked otherwise, so 10 is where a tree can tell two kinds of
recipient apart. The source asks for 100, which a survey of 60 households does not have."""

ROUNDING = 0.01  # USD; what single precision may add to sums of benefits

# A recipient's role may be one that no recipient of a small survey has.
_PREDICTORS = (
    Predictor("age", "amount"),
    Predictor("is_male", "flag", "marginal"),
    Predictor("tax_unit_is_joint", "flag", "marginal"),
    Predictor("is_tax_unit_head", "flag", "marginal"),
    Predictor("is_tax_unit_dependent", "flag", "marginal"),
)

Floats = NDArray[np.float64]


def by_age(age: Floats) -> Floats:
    """Give all of a benefit to retirement from age 62, to disability before.

    Parameters
    ----------
    age : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n, 4)
        Shares, 0 or 1.
    """
    shares = np.zeros((len(age), len(PARTS)))
    shares[np.arange(len(age)), np.where(age >= EARLIEST_AGE, 0, 1)] = 1.0
    return shares


def split(total: Floats, shares: Floats, age: Floats) -> Floats:
    """Cut totals into parts that add up to them.

    Parameters
    ----------
    total : ndarray of float64, shape (n,)
        Benefits, USD per year, 0 or more.
    shares : ndarray of float64, shape (n, 4)
        Shares in any scale; below 0 counts as 0. Rows without a positive share follow
        `by_age`.
    age : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n, 4)
        0 or more; rows sum to the totals.

    Raises
    ------
    ImputationError
        If a total is below 0.
    """
    if (total < 0).any():
        raise ImputationError(
            f"social_security is {total[total < 0][0]:g} for {(total < 0).sum()} persons; "
            "a benefit is not negative"
        )
    share = np.maximum(shares, 0.0)
    gone = share.sum(axis=1) <= 0
    share = np.where(gone[:, None], by_age(age), share)
    # Dividing by the largest first keeps shares of 1e-300 apart from 0.
    share = share / share.max(axis=1, keepdims=True)
    parts = total[:, None] * (share / share.sum(axis=1, keepdims=True))
    largest = parts.argmax(axis=1)
    rows = np.arange(len(parts))
    parts[rows, largest] = 0.0
    parts[rows, largest] = np.maximum(total - parts.sum(axis=1), 0.0)
    return parts


def check_parts(survey: Dataset) -> None:
    """Require that the parts of each person of a survey are 0 or more and add up to the total.

    Parameters
    ----------
    survey : Dataset
        With `social_security` and the four parts on the person.

    Raises
    ------
    ImputationError
        If a column is missing, or naming a person whose parts do not.
    """
    for name in ("social_security", *PARTS):
        if name not in survey.person:
            raise ImputationError(f"the person table has no column {name!r}; the split needs it")
    total = np.asarray(survey["social_security"], dtype=np.float64)
    each = np.column_stack([survey[part] for part in PARTS])
    if (low := (each < 0).any(axis=1)).any():
        person = np.argmax(low)
        raise ImputationError(
            f"person {survey['person_id'][person]} has a part of social_security of "
            f"{each[person].min():g}; a benefit is not negative ({low.sum()} persons)"
        )
    parts = each.sum(axis=1)
    if (odd := ~(np.abs(parts - total) <= ROUNDING)).any():
        person = np.argmax(odd)
        raise ImputationError(
            f"person {survey['person_id'][person]} has social_security {total[person]:g}, its "
            f"parts add up to {parts[person]:g}; make the survey consistent ({odd.sum()} persons)"
        )


def impute_parts(
    dataset: Dataset,
    predictors: Table,
    weight: Floats,
    clone: NDArray[np.bool_],
    *,
    seed: int,
    forest: ForestOptions,
    min_donors: int,
) -> dict[str, Array]:
    """Draw the parts for the PUF half from the recipients of the CPS half.

    Parameters
    ----------
    dataset : Dataset
        Doubled; `social_security` is imputed already.
    predictors : mapping of str to ndarray, each of shape (person,)
    weight : ndarray of float64, shape (person,)
        Survey weight of the CPS half.
    clone : ndarray of bool, shape (person,)
        The PUF half.
    seed : int
    forest : ForestOptions
    min_donors : int
        Fewest recipients to learn from; with fewer, age decides for everybody.

    Returns
    -------
    dict of str to ndarray, each of shape (person,)
        The four parts, both halves.

    Raises
    ------
    ImputationError
        If a part is missing from the survey, the parts of its people do not add up, or a
        total is below 0.
    """
    check_parts(dataset.take_households(np.flatnonzero(~dataset["is_puf_clone"])))
    total, age = dataset["social_security"], predictors["age"]
    known = np.column_stack([dataset[part] for part in PARTS]).astype(np.float64)
    taught = ~clone & (total > 0) & (known.sum(axis=1) > 0) & (weight > 0)
    asked = clone & (total != 0)
    shares = by_age(age[asked])
    if taught.sum() >= max(min_donors, 1):
        imputer = SequentialImputer(
            "social security", _PREDICTORS, (PARTS,), seed=seed, options=forest
        )
        donor = {name: np.asarray(predictors[name])[taught] for name in predictors}
        parts = known[taught]
        donor |= dict(zip(PARTS, (parts / parts.sum(axis=1, keepdims=True)).T, strict=True))
        imputer.fit(donor, weight[taught])
        receiver = {name: np.asarray(predictors[name])[asked] for name in predictors}
        drawn = imputer.draw(receiver, dataset.person["person_id"][asked])
        shares = np.column_stack([drawn[part] for part in PARTS])
    result = known.copy()
    rounded = ~clone & (known.sum(axis=1) != total)
    result[rounded] = split(total[rounded], known[rounded], age[rounded])
    result[clone] = 0.0
    result[asked] = split(total[asked], shares, age[asked])
    return dict(zip(PARTS, result.T.copy(), strict=True))
