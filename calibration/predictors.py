"""What a donor's predictors mean, and whether a receiver speaks the same language.

A forest sees only numbers. It will take dollars for thousands of dollars, the text "1"
for the number 1, or a household of six where it learned from three at most, and answer.
So each predictor is declared, the donor's values are learned once, and every receiver is
held against them:

    amount      a quantity; must be finite, and of the donor's order of magnitude
    count       a whole number; must lie within the donor's range
    flag        true or false; the donor must have had both, or the receiver only that one
    category    text or a whole-number code; the donor must have had the level

A category becomes one column of 0 and 1 for each level of the donor: codes of states or
races have no order that a split could use. What a receiver has and the donor lacks is
handled by a declared policy: `error` (the default), `marginal` (this receiver is drawn as
if the predictor were not there), or `clip` (the nearest count the donor had).

Axes: rows of a donor or receiver table; columns (p,) of the encoded matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array, Table
from calibration.errors import ImputationError, near

__all__ = ["SCALE_TOLERANCE", "Encoded", "Encoding", "Kind", "Policy", "Predictor", "learn"]

Kind = Literal["amount", "count", "flag", "category"]
Policy = Literal["error", "marginal", "clip"]

SCALE_TOLERANCE = 30.0
"""Largest ratio between the medians of an amount in donor and receiver.

Below it lie differences of population and of survey; above it cents, thousands and
millions. A factor of 12, months for years, passes: no rule on magnitudes can tell it from
a difference between surveys."""

_ENOUGH_FOR_SCALE = 10  # distinct values but 0; the median of fewer says little about a unit


@dataclass(frozen=True, slots=True)
class Predictor:
    """One predictor, as declared.

    Parameters
    ----------
    name : str
        Column of the donor and of the receiver.
    kind : {"amount", "count", "flag", "category"}
        See the module.
    unseen : {"error", "marginal", "clip"}
        What to do about a receiver whose level the donor lacks. `clip` is for counts.

    Raises
    ------
    ImputationError
        If kind or policy is unknown, or the policy makes no sense for the kind.
    """

    name: str
    kind: Kind
    unseen: Policy = "error"

    def __post_init__(self) -> None:
        """Refuse a declaration that could not be carried out."""
        if self.kind not in ("amount", "count", "flag", "category"):
            raise ImputationError(f"predictor {self.name!r} is of unknown kind {self.kind!r}")
        if self.unseen not in ("error", "marginal", "clip"):
            raise ImputationError(f"predictor {self.name!r} has unknown policy {self.unseen!r}")
        if self.unseen == "clip" and self.kind != "count":
            raise ImputationError(f"predictor {self.name!r} is a {self.kind}; only a count clips")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Predictors of some rows as a forest reads them.

    Parameters
    ----------
    matrix : ndarray of float64, shape (rows, p)
    column : ndarray of int64, shape (p,)
        Number of the predictor that each column belongs to.
    unseen : ndarray of bool, shape (rows, predictors)
        Where the policy `marginal` applies; the matrix holds a stand-in there.
    """

    matrix: NDArray[np.float64]
    column: NDArray[np.int64]
    unseen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What a donor taught about its predictors; made by `learn`.

    Parameters
    ----------
    donor : str
        Name for messages.
    predictors : tuple of Predictor
    levels : mapping of str to ndarray
        Values that the donor has, ascending, of counts, flags and categories.
    magnitude : mapping of str to float
        Median size of the nonzero values of an amount; 0 if there are too few.
    """

    donor: str
    predictors: tuple[Predictor, ...]
    levels: Mapping[str, Array]
    magnitude: Mapping[str, float]

    def encode(self, table: Table) -> Encoded:
        """Turn the predictors of a table into a matrix.

        Parameters
        ----------
        table : mapping of str to ndarray, each of shape (rows,)

        Returns
        -------
        Encoded

        Raises
        ------
        ImputationError
            Naming the donor, the predictor and what does not fit: a missing column,
            another kind of values, a value that is not finite, levels the donor never
            had, or another order of magnitude.
        """
        parts, owner, unseen = [], [], []
        for number, predictor in enumerate(self.predictors):
            values = _column(table, predictor, f"receiver of {self.donor!r}")
            if predictor.kind == "amount":
                self._same_unit(predictor, values)
                part, missing = values[:, None], np.zeros(len(values), dtype=bool)
            else:
                values, missing = self._seen(predictor, values)
                levels = self.levels[predictor.name]
                part = (
                    values[:, None] == levels if predictor.kind == "category" else values[:, None]
                )
            parts.append(part.astype(np.float64))
            owner.extend([number] * part.shape[1])
            unseen.append(missing)
        return Encoded(np.hstack(parts), np.array(owner), np.column_stack(unseen))

    def _seen(self, predictor: Predictor, values: Array) -> tuple[Array, NDArray[np.bool_]]:
        levels = self.levels[predictor.name]
        if values.dtype.kind != levels.dtype.kind:
            raise ImputationError(
                f"predictor {predictor.name!r} is {_KIND[values.dtype.kind]} in the receiver and "
                f"{_KIND[levels.dtype.kind]} in donor {self.donor!r}; give both in one form"
            )
        if predictor.kind == "count":
            missing = (values < levels[0]) | (values > levels[-1])
        else:
            missing = ~np.isin(values, levels)
        if not missing.any():
            return values, missing
        if predictor.unseen == "clip":
            return np.clip(values, levels[0], levels[-1]), np.zeros_like(missing)
        if predictor.unseen == "marginal":
            return np.where(missing, levels[0], values), missing
        raise ImputationError(
            f"predictor {predictor.name!r} has {_some(values[missing])} in {missing.sum()} "
            f"receivers; donor {self.donor!r} has {_some(levels)}. Recode one of them, or "
            "declare a policy for it"
        )

    def _same_unit(self, predictor: Predictor, values: Array) -> None:
        there, here = self.magnitude[predictor.name], _magnitude(values)
        if there and here and not 1 / SCALE_TOLERANCE < here / there < SCALE_TOLERANCE:
            raise ImputationError(
                f"predictor {predictor.name!r} has a median size of {here:,.6g} in the receiver "
                f"and {there:,.6g} in donor {self.donor!r}; bring both to one unit"
            )


def learn(donor: str, predictors: tuple[Predictor, ...], table: Table) -> Encoding:
    """Learn levels and magnitudes of the predictors of a donor.

    Parameters
    ----------
    donor : str
        Name for messages.
    predictors : tuple of Predictor
    table : mapping of str to ndarray

    Returns
    -------
    Encoding

    Raises
    ------
    ImputationError
        If a predictor is missing, is not of its declared kind, or there are none.
    """
    if not predictors:
        raise ImputationError(f"donor {donor!r} has no predictors; declare at least one")
    levels, magnitude = {}, {}
    for predictor in predictors:
        values = _column(table, predictor, f"donor {donor!r}")
        if predictor.kind == "amount":
            magnitude[predictor.name] = _magnitude(values)
        else:
            levels[predictor.name] = np.unique(values)
    return Encoding(donor, predictors, levels, magnitude)


_KIND = {"b": "true or false", "i": "whole numbers", "f": "numbers", "U": "text"}
_ALLOWED = {"amount": "if", "count": "i", "flag": "b", "category": "iU"}


def _column(table: Table, predictor: Predictor, where: str) -> Array:
    """Fetch a predictor; whole numbers become int64 in whatever dtype they come."""
    if predictor.name not in table:
        hint = near(predictor.name, table)
        raise ImputationError(f"{where} has no predictor {predictor.name!r}{hint}")
    values = np.asarray(table[predictor.name])
    if values.ndim != 1:
        raise ImputationError(
            f"predictor {predictor.name!r} of {where} has shape {values.shape}; a predictor has "
            "one value a row"
        )
    if values.dtype.kind == "u":
        values = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ImputationError(
            f"predictor {predictor.name!r} of {where} is {values[bad]} in row {bad}"
        )
    whole = values.dtype.kind == "f" and "i" in _ALLOWED[predictor.kind]
    if predictor.kind != "amount" and whole and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in _ALLOWED[predictor.kind]:
        found = _KIND.get(values.dtype.kind, values.dtype)
        wanted = " or ".join(_KIND[kind] for kind in _ALLOWED[predictor.kind])
        raise ImputationError(
            f"predictor {predictor.name!r} of {where} is {found}; a {predictor.kind} is {wanted}"
        )
    return values


def _magnitude(values: Array) -> float:
    size = np.abs(values[values != 0])
    return float(np.median(size)) if len(np.unique(size)) >= _ENOUGH_FOR_SCALE else 0.0


def _some(values: Array) -> str:
    distinct = np.unique(values).tolist()
    return ", ".join(map(str, distinct[:6])) + (", ..." if len(distinct) > 6 else "")
