"""Kinds of people that no target names: how many there were, how many the weights left.

**Calibration distorts what no target sees, while every target looks perfect.** The loss
says nothing about it, so weights may move it as far as the targets let them, up or down. A
kind of people that serves no target at all can go entirely: its columns save no loss, and
cost the penalty as much as any other. No error of any target shows it. `untargeted_table`
counts such kinds at the initial and at the fitted weights.

Axes: measures, columns j in [0, C). Sums are float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.clones import Clones
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.diagnostics.weights import check_weights
from calibration.errors import DiagnosticsError
from calibration.geography import Level
from calibration.targets import Operation, Signature, Target, parse_constraint

__all__ = ["MEASURES", "UNIT_MEASURES", "Measure", "untargeted_table"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHANGE = 20.0  # percent; sampling moves a large total far less
CHUNK = 25_000  # columns materialised at once; bounds memory

Values = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A kind of people, units or households to count.

    Parameters
    ----------
    name, entity : str
        What it is called, and whose rows are counted.
    flag : callable
        Given households and simulated values, tells which rows of the entity count, or for
        how many each counts.
    needs : tuple of str
        Engine outputs that `flag` reads.
    target : str
        The same total as a target would state it, "variable" or "variable/constraint";
        empty if no target can.
    """

    name: str
    entity: str
    flag: Callable[[Dataset, Values], Bools | Ints]
    needs: tuple[str, ...] = ()
    target: str = ""

    @property
    def signature(self) -> Signature | None:
        """Variable and constraints of `target`, or None."""
        variable, _, constraint = self.target.partition("/")
        constraints = (parse_constraint(constraint),) if constraint else ()
        return (variable, constraints) if variable else None


def _everyone(entity: str) -> Callable[[Dataset, Values], Bools]:
    return lambda households, _: np.ones(households.size(entity), dtype=bool)


def _joint(households: Dataset, _: Values) -> Bools:
    return households.any_in("tax_unit", households["is_tax_unit_spouse"].astype(bool))


def _household_size(households: Dataset) -> Ints:
    return np.bincount(households.unit_of_person(HOUSEHOLD), minlength=households.size(HOUSEHOLD))


MEASURES: tuple[Measure, ...] = (
    Measure(name="tax_units", entity="tax_unit", flag=_everyone("tax_unit"),
            target="tax_unit_count"),
    Measure(name="non_filing_tax_units", entity="tax_unit", needs=("tax_unit_is_filer",),
            flag=lambda _, values: ~values["tax_unit_is_filer"].astype(bool),
            target="tax_unit_count/tax_unit_is_filer==0"),
    Measure(name="joint_tax_units", entity="tax_unit", flag=_joint,
            target="tax_unit_count/is_tax_unit_spouse==1"),
    Measure(name="single_tax_units", entity="tax_unit", flag=lambda d, v: ~_joint(d, v)),
    Measure(name="people", entity=PERSON, flag=_everyone(PERSON), target="person_count"),
    Measure(name="children_under_18", entity=PERSON, flag=lambda d, _: d["age"] < 18,
            target="person_count/age<18"),
    Measure(name="people_65_and_over", entity=PERSON, flag=lambda d, _: d["age"] >= 65,
            target="person_count/age>=65"),
    Measure(name="households", entity=HOUSEHOLD, flag=_everyone(HOUSEHOLD),
            target="household_count"),
    Measure(name="one_person_households", entity=HOUSEHOLD,
            flag=lambda d, _: _household_size(d) == 1),
    Measure(name="households_of_5_or_more", entity=HOUSEHOLD,
            flag=lambda d, _: _household_size(d) >= 5),
    Measure(name="renter_households", entity=HOUSEHOLD,
            flag=lambda d, _: d["tenure_type"] == "RENTED",
            target="household_count/tenure_type==RENTED"),
)  # fmt: skip
"""Kinds that a file should not lose, whatever its targets are."""

UNIT_MEASURES: tuple[Measure, ...] = (
    *MEASURES[:2],
    Measure(name="single_tax_units", entity="tax_unit", flag=lambda d, _: d["MARS"] == 1,
            target="tax_unit_count/MARS==1"),
    Measure(name="single_returns", entity="tax_unit", needs=("tax_unit_is_filer",),
            flag=lambda d, values: (d["MARS"] == 1) & values["tax_unit_is_filer"].astype(bool)),
    Measure(name="joint_tax_units", entity="tax_unit", flag=lambda d, _: d["MARS"] == 2,
            target="tax_unit_count/MARS==2"),
    Measure(name="people", entity="tax_unit", flag=lambda d, _: d["XTOT"]),
    Measure(name="children_under_18", entity="tax_unit", flag=lambda d, _: d["nu18"]),
    Measure(name="units_with_taxpayer_65_and_over", entity="tax_unit",
            flag=lambda d, _: d["age_head"] >= 65, target="tax_unit_count/age_head>=65"),
)  # fmt: skip
"""The like for records that are tax units and have no people, in Tax-Calculator's words."""


def untargeted_table(
    clones: Clones,
    w0: ArrayLike,
    weights: ArrayLike,
    targets: Iterable[Target] = (),
    *,
    measures: Sequence[Measure] = MEASURES,
) -> dict[str, Array]:
    """Count kinds of people at the initial and at the fitted weights.

    Parameters
    ----------
    clones : Clones
        The C columns; those with a weight are simulated once.
    w0, weights : array of float, shape (C,)
        Initial and fitted weights.
    targets : iterable of Target
        What the fit saw, to tell which of the totals it was asked for.
    measures : sequence of Measure

    Returns
    -------
    dict of str to ndarray, shape (measures,)
        measure; targeted_at, the levels that have a target for this total, joined by "+",
        empty if nobody asked for it; initial, fitted; change_percent, NaN where initial
        is 0; flagged, whether the total moved by more than 20 %.

    Raises
    ------
    DiagnosticsError
        If a weight is not valid or there are no measures.
    DatasetError, EngineError
        If a column or an output that a measure needs is missing.
    """
    size = clones.geography.n_columns
    pair = np.array([check_weights(w0, size, "w0"), check_weights(weights, size)])
    if not measures:
        raise DiagnosticsError("there are no measures to count")
    total = np.zeros((len(measures), 2))
    used = np.flatnonzero(pair.any(axis=0))
    for first in range(0, len(used), CHUNK):
        columns = used[first : first + CHUNK]
        total += _count(clones, columns, measures) @ pair[:, columns].T
    initial, fitted = total.T
    change = np.full(len(measures), np.nan)
    np.divide(100 * (fitted - initial), initial, out=change, where=initial > 0)
    levels = _levels_by_total(targets)
    return {
        "measure": np.array([measure.name for measure in measures]),
        "targeted_at": np.array(["+".join(levels.get(_total(m.signature), [])) for m in measures]),
        "initial": initial,
        "fitted": fitted,
        "change_percent": change,
        "flagged": np.where(initial > 0, np.abs(change) > CHANGE, fitted > 0),
    }


def _count(clones: Clones, columns: Ints, measures: Sequence[Measure]) -> Floats:
    """Count the rows of each measure in each column's household, (measures, columns)."""
    households = clones.households(columns)
    needs = sorted({name for measure in measures for name in measure.needs})
    values = clones.engine.simulate(households, needs, households.period) if needs else {}
    counts = [
        np.bincount(
            households.household_of(measure.entity),
            weights=measure.flag(households, values),
            minlength=len(columns),
        )
        for measure in measures
    ]
    return np.array(counts, dtype=np.float64)


_Total = tuple[str, tuple[tuple[str, Operation, float | str], ...]]


def _total(signature: Signature | None) -> _Total | None:
    """Put a signature in a form in which "False" and "0" are equal."""
    if signature is None:
        return None
    variable, constraints = signature
    plain = [(c.variable, c.operation, c.value if c.number is None else c.number)
             for c in constraints]  # fmt: skip
    return variable, tuple(sorted(plain, key=repr))


def _levels_by_total(targets: Iterable[Target]) -> dict[_Total | None, list[str]]:
    found: dict[_Total | None, set[Level]] = {}
    for target in targets:
        found.setdefault(_total(target.signature), set()).add(target.level)
    return {total: [str(lv) for lv in Level if lv in levels] for total, levels in found.items()}
