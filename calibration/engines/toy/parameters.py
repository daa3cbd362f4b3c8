"""The published numbers of the law, and where each was published.

Every number that a rule uses stands in `parameters.csv`, one row a number, with the year it
is for and its source; a rule that asks for a number that is not there is an error. A value is
a number, `inf` where there is no limit, or a quotient such as `821/1812`, so that a published
fraction keeps all its digits.

    name, key, value, unit, year, source

A key is empty (one number for the country) or labels joined by colons, one label an axis:
`joint` (filing status), `AK:3` (state, family size), `single:2` (filing status, bracket). A
name becomes an array whose axes follow its labels: filing statuses in the order of `STATUSES`,
states in the order of their letters, whole numbers ascending, other labels as they stand in
the table. Where one state has fewer sizes than another, its last number is repeated.

`rating_areas.csv` says which rating area of the Affordable Care Act a county is in; in Los
Angeles County the first three digits of the ZIP code decide.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from calibration.errors import EngineError, near
from calibration.geography import STATE_LETTERS

__all__ = ["STATES", "STATUSES", "Parameter", "Parameters", "rating_areas", "state_index"]

STATUSES = ("single", "joint", "head")
"""Filing statuses, in the order of the variable `filing_status`: 0, 1, 2."""

STATES = ("AK", "CA", "DC", "NC", "UT")
"""States whose rules the engine has, in the order of the axis of states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of the law.

    Parameters
    ----------
    name, key : str
        What it is, and the labels it is for.
    value : float
    unit : str
        "USD/year", "USD/month", "1" for a share, "years", "persons".
    year : int
        Year the number is for.
    source : str
        Statute, regulation or publication.
    """

    name: str
    key: str
    value: float
    unit: str
    year: int
    source: str


class Parameters:
    """A table of parameters, read once and looked up as arrays.

    Parameters
    ----------
    rows : tuple of Parameter

    Raises
    ------
    EngineError
        If two rows have one name and key.
    """

    def __init__(self, rows: tuple[Parameter, ...]) -> None:
        self.rows = rows
        by_name: dict[str, dict[str, float]] = {}
        for row in rows:
            keys = by_name.setdefault(row.name, {})
            if row.key in keys:
                raise EngineError(f"parameter {row.name!r} stands twice for key {row.key!r}")
            keys[row.key] = row.value
        self._axes = {name: _axes(name, keys) for name, keys in by_name.items()}
        self._arrays = {n: _to_array(n, keys, self._axes[n]) for n, keys in by_name.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the table."""
        return tuple(self._arrays)

    def array(self, name: str) -> NDArray[np.float64]:
        """Give all numbers of a name as one array; see the module for its axes.

        Parameters
        ----------
        name : str

        Returns
        -------
        ndarray of float64
            Read-only; shape () for one number.

        Raises
        ------
        EngineError
            If the table has no such name.
        """
        try:
            return self._arrays[name]
        except KeyError:
            hint = near(name, self._arrays)
            raise EngineError(f"parameters.csv has no {name!r}{hint}; add it there") from None

    def labels(self, name: str) -> tuple[str, ...]:
        """Give the labels of the last axis of a name, in the order of the array.

        Raises
        ------
        EngineError
            If the table has no such name.
        """
        return tuple(self._axes[name][-1]) if self.array(name).ndim else ()

    @classmethod
    def load(cls) -> Parameters:
        """Read `parameters.csv` of this package.

        Raises
        ------
        EngineError
            If a value is not a number or a key stands twice.
        """
        return _load()


def state_index(fips: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn state FIPS codes into positions on the axis of states.

    Parameters
    ----------
    fips : ndarray of int64, any shape

    Returns
    -------
    ndarray of int64, same shape

    Raises
    ------
    EngineError
        Naming the first state without rules, and the states that have them.
    """
    known = [(code, STATES.index(name)) for code, name in STATE_LETTERS.items() if name in STATES]
    codes, position = np.array(known).T
    place = np.minimum(np.searchsorted(codes, fips), len(codes) - 1)
    unknown = codes[place] != fips
    if unknown.any():
        first = int(fips[unknown][0])
        raise EngineError(
            f"the toy engine has no rules for state {STATE_LETTERS.get(first, first)} (FIPS "
            f"{first}); it has {', '.join(STATES)}"
        )
    return position[place]


@cache
def rating_areas() -> Mapping[tuple[str, str], int]:
    """Give the rating area of a county, or of a county and three ZIP digits.

    Returns
    -------
    mapping of (str, str) to int
        By five-digit county code and three-digit ZIP code; the ZIP part is empty where the
        county alone decides.
    """
    return MappingProxyType(
        {(row["county"], row["zip3"]): int(row["area"]) for row in _read("rating_areas.csv")}
    )


@cache
def _load() -> Parameters:
    return Parameters(
        tuple(
            Parameter(
                name=row["name"],
                key=row["key"],
                value=_number(row),
                unit=row["unit"],
                year=int(row["year"]),
                source=row["source"],
            )
            for row in _read("parameters.csv")
        )
    )


def _read(name: str) -> list[dict[str, str]]:
    text = files("calibration.engines.toy").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _number(row: dict[str, str]) -> float:
    over, _, under = row["value"].partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        where = f"parameter {row['name']!r} with key {row['key']!r}"
        raise EngineError(f"{where} has value {row['value']!r}, which is not a number") from None


def _axes(name: str, keys: Mapping[str, float]) -> list[dict[str, int]]:
    """Give the positions of the labels of each axis of a name."""
    split = [key.split(":") if key else [] for key in keys]
    if any(len(labels) != len(split[0]) for labels in split):
        raise EngineError(f"the keys of parameter {name!r} differ in their number of labels")
    return [_axis(dict.fromkeys(labels)) for labels in zip(*split, strict=True)]


def _axis(labels: Mapping[str, None]) -> dict[str, int]:
    for known in (STATUSES, STATES):
        if labels.keys() <= set(known):
            return {label: place for place, label in enumerate(known)}
    numbers = all(label.isdecimal() for label in labels)
    order = sorted(labels, key=int) if numbers else labels
    return {label: place for place, label in enumerate(order)}


def _to_array(
    name: str, keys: Mapping[str, float], axes: list[dict[str, int]]
) -> NDArray[np.float64]:
    """Lay the numbers of a name out along its axes, sizes filled up by repetition."""
    table = np.full(tuple(len(axis) for axis in axes), np.nan)
    for key, value in keys.items():
        labels = key.split(":") if key else []
        table[tuple(axis[label] for axis, label in zip(axes, labels, strict=True))] = value
    if axes and all(label.isdecimal() for label in axes[-1]):
        for step in range(1, table.shape[-1]):
            gap = np.isnan(table[..., step])
            table[..., step] = np.where(gap, table[..., step - 1], table[..., step])
    if np.isnan(table).any():
        raise EngineError(f"parameter {name!r} lacks a number for one of its labels")
    table.flags.writeable = False
    return table
