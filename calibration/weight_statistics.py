"""How a weight vector is spread: over areas, over targets, over kinds of people.

Weights can meet every target and still be poor ones: a few columns may carry an area, one
column may carry a target, or a kind of people that no target names may be gone.

    effective size   n_eff = (sum w)^2 / sum w^2      what the weights are worth, 1 to n
    design effect    deff  = n / n_eff = 1 + cv(w)^2  variance against equal weights, 1 or more

over the n columns with w > 0. Clones of one record share its answers, so the effective
size is also given over records, each with the sum of its columns' weights; that one does
not grow when clones are added.

**Calibration can delete whole kinds of people while every target looks perfect.** A
penalty charges each column the same, so one large family that serves many targets is
cheaper than three people who live alone and file no return. No error of any target shows
it. `untargeted_table` counts such kinds at the initial and at the fitted weights.

Axes: targets i in [0, T), columns j = clone * R + record in [0, C), areas, measures. All
sums are float64.

Sources: Kish 1965, Survey Sampling (effective size); Kish 1992, Journal of Official
Statistics 8, 183-200 (1 + cv^2). The floor of a target is the identifiability floor of
PolicyEngine/l0-paper at 0c97a0d; scale and row weight are those of `calibration.l0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.clones import Clones
from calibration.constraints import Signature
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import DiagnosticsError
from calibration.geography import Area, GeographyAssignment, Level, decode
from calibration.matrix import CalibrationMatrix, RowStatus
from calibration.targets import Operation, Target, parse_constraint

__all__ = [
    "MEASURES",
    "Measure",
    "RowStatistics",
    "area_table",
    "check_weights",
    "design_effect",
    "effective_size",
    "row_statistics",
    "top_share",
    "untargeted_table",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNREACHABLE = (RowStatus.NO_SUPPORT, RowStatus.WRONG_SIGN)
CHANGE = 20.0  # percent; sampling moves a large total far less
CHUNK = 25_000  # columns materialised at once; bounds memory


def check_weights(weights: ArrayLike, size: int, name: str = "weights") -> Floats:
    """Return weights as float64 if there are `size` of them, all finite and 0 or more.

    Raises
    ------
    DiagnosticsError
        Naming the vector, the column and the value.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (size,):
        raise DiagnosticsError(f"{name} has shape {w.shape}; give {size}, one for each column")
    bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(bad):
        raise DiagnosticsError(f"{name} is {w[bad[0]]} at column {bad[0]}; weights are 0 or more")
    return w


# -- one number for a vector -----------------------------------------------------------


def effective_size(weights: ArrayLike) -> float:
    """Give Kish's effective sample size, (sum w)^2 / sum w^2.

    Parameters
    ----------
    weights : array of float, shape (n,)
        0 or more; zeros do not count.

    Returns
    -------
    float
        Between 1 and the number of positive weights; 0 if there is none.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w[w > 0]
    if not len(w):
        return 0.0
    ratio = w / w.max()  # squares of very large or very small weights would leave the range
    size = float(ratio.sum()) ** 2 / float((ratio * ratio).sum())
    return min(max(size, 1.0), float(len(w)))  # rounding alone can step outside


def design_effect(weights: ArrayLike) -> float:
    """Give n / n_eff over the positive weights, 1 or more; NaN if there is none."""
    w = np.asarray(weights, dtype=np.float64)
    retained = int(np.count_nonzero(w > 0))
    return retained / effective_size(w) if retained else np.nan


def top_share(weights: ArrayLike, share: float = 0.01) -> float:
    """Give the share of the total weight that the heaviest columns hold.

    Parameters
    ----------
    weights : array of float, shape (n,)
    share : float
        Part of the retained columns, rounded up to at least one column.

    Returns
    -------
    float
        In [0, 1]; NaN if no weight is positive.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w[w > 0]
    if not len(w):
        return np.nan
    heaviest = min(len(w), max(1, int(np.ceil(share * len(w)))))
    return float(np.sort(w)[-heaviest:].sum() / w.sum())


# -- by target -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class RowStatistics:
    """What the columns and the weights do to each target.

    Parameters
    ----------
    status : list of RowStatus, length T
    estimate : ndarray of float64, shape (T,)
        X w.
    support, retained : ndarray of int64, shape (T,)
        Columns that add something to it, all and those with w > 0.
    largest_share : ndarray of float64, shape (T,)
        Largest part of sum_j |X_ij| w_j that one column brings; NaN if that sum is 0.
    floor : ndarray of float64, shape (T,)
        max_j |X_ij| w0_j: what the largest single column brings at the start. A target
        below it is smaller than the grain of the file. 0 without support.
    scale : ndarray of float64, shape (T,)
        d_i: |t_i|, or the floor where t_i is 0.
    row_weight : ndarray of float64, shape (T,)
        c_i: each group of reachable targets that are not held out has equal total, 1 in
        all; 0 for the others.
    """

    status: list[RowStatus]
    estimate: Floats
    support: Ints
    retained: Ints
    largest_share: Floats
    floor: Floats
    scale: Floats
    row_weight: Floats

    @property
    def achievable(self) -> Bools:
        """Whether some weights bring the estimate to the target or toward it, shape (T,)."""
        return np.array([status not in UNREACHABLE for status in self.status], dtype=bool)


def row_statistics(
    matrix: CalibrationMatrix, weights: ArrayLike, *, holdout: ArrayLike | None = None
) -> RowStatistics:
    """Work out for each target what carries it.

    Parameters
    ----------
    matrix : CalibrationMatrix
    weights : array of float, shape (C,)
    holdout : array of bool, shape (T,), optional
        Targets that the fit did not see.

    Raises
    ------
    DiagnosticsError
        If a shape does not fit or a weight is negative or not finite.
    """
    X, t = matrix.X, matrix.values
    w = check_weights(weights, len(matrix.w0))
    w0 = check_weights(matrix.w0, len(w), "w0")
    out = np.zeros(len(t), dtype=bool) if holdout is None else np.asarray(holdout)
    if out.shape != t.shape or out.dtype != bool:
        raise DiagnosticsError(f"holdout is {out.dtype} {out.shape}; give {len(t)} booleans")
    counts = np.zeros((2, len(t)), dtype=np.int64)
    largest, floor = np.full(len(t), np.nan), np.zeros(len(t))
    for i in range(len(t)):  # row by row: X in float64 would need three times its memory
        columns = X.indices[X.indptr[i] : X.indptr[i + 1]]
        size = np.abs(X.data[X.indptr[i] : X.indptr[i + 1]].astype(np.float64))
        part = size * w[columns]
        counts[:, i] = np.count_nonzero(size), np.count_nonzero(part)
        if counts[1, i]:
            largest[i] = part.max() / part.sum()
        floor[i] = (size * w0[columns]).max(initial=0.0)
    status = matrix.status()
    scale = np.where(t == 0, floor, np.abs(t))
    counted = np.array([s not in UNREACHABLE for s in status], dtype=bool) & (scale > 0) & ~out
    return RowStatistics(
        status=status,
        estimate=matrix.estimates(w),
        support=counts[0],
        retained=counts[1],
        largest_share=largest,
        floor=floor,
        scale=scale,
        row_weight=_row_weight(matrix.groups, counted),
    )


def _row_weight(groups: Sequence[str], counted: Bools) -> Floats:
    _, member = np.unique(np.array(groups), return_inverse=True)
    sizes = np.bincount(member[counted], minlength=member.max() + 1)
    share = np.maximum(sizes, 1)[member] * max(np.count_nonzero(sizes), 1)
    return np.where(counted, 1.0 / share, 0.0)


# -- by area ---------------------------------------------------------------------------


def area_table(
    weights: ArrayLike, w0: ArrayLike, geography: GeographyAssignment, areas: Iterable[Area]
) -> dict[str, Array]:
    """Tell for each area how many columns carry it, and how evenly.

    Parameters
    ----------
    weights, w0 : array of float, shape (C,)
        Fitted weights, and those the fit started from.
    geography : GeographyAssignment
        The assignment that the weights were calibrated with.
    areas : iterable of Area

    Returns
    -------
    dict of str to ndarray, shape (areas,)
        area_type, area_id, name; columns and retained (those with w > 0); records, the
        distinct ones among the retained; households (sum of w); effective_size over
        columns and record_effective_size over records; design_effect; max_weight;
        max_ratio (largest w / w0); top_percent_share (share of the weight that the
        heaviest 1 % of the retained columns hold). NaN where nothing is retained.

    Raises
    ------
    DiagnosticsError, GeographyError
        If a weight is not valid, a retained column started at 0, or the run does not go
        down to an area's level.
    """
    w = check_weights(weights, geography.n_columns)
    start = check_weights(w0, geography.n_columns, "w0")
    if len(lost := np.flatnonzero((w > 0) & (start == 0))):
        raise DiagnosticsError(f"column {lost[0]} has weight {w[lost[0]]} but started from w0 = 0")
    sorted_codes: dict[Level, tuple[Ints, Ints]] = {}
    rows = []
    for area in areas:
        if area.level not in sorted_codes:
            code = geography.code(area.level)
            order = np.argsort(code, kind="stable")
            sorted_codes[area.level] = order, code[order]
        columns = _columns(*sorted_codes[area.level], area.codes)
        rows.append(_area_facts(area) | _spread(w, start, columns, geography.n_records))
    if not rows:
        raise DiagnosticsError("there are no areas to describe")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _columns(order: Ints, code: Ints, wanted: Sequence[int]) -> Ints:
    low, high = (np.searchsorted(code, wanted, side=side) for side in ("left", "right"))
    return np.concatenate([order[a:b] for a, b in zip(low, high, strict=True)])


def _area_facts(area: Area) -> dict[str, str]:
    codes = "+".join(decode(area.level, code) for code in area.codes)
    return {"area_type": area.path.parent.name, "area_id": codes, "name": area.name}


def _spread(w: Floats, w0: Floats, columns: Ints, n_records: int) -> dict[str, float]:
    kept = columns[w[columns] > 0]
    by_record = np.bincount(kept % n_records, w[kept])
    return {
        "columns": len(columns),
        "retained": len(kept),
        "records": int(np.count_nonzero(by_record)),
        "households": float(w[kept].sum()),
        "effective_size": effective_size(w[kept]),
        "record_effective_size": effective_size(by_record),
        "design_effect": design_effect(w[kept]),
        "max_weight": float(w[kept].max(initial=0.0)),
        "max_ratio": float((w[kept] / w0[kept]).max(initial=0.0)),
        "top_percent_share": top_share(w[kept]),
    }


# -- by kind of people -----------------------------------------------------------------

Values = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A kind of people, units or households to count.

    Parameters
    ----------
    name, entity : str
        What it is called, and whose rows are counted.
    flag : callable
        Given households and simulated values, tells which rows of the entity count.
    needs : tuple of str
        Engine outputs that `flag` reads.
    target : str
        The same total as a target would state it, "variable" or "variable/constraint";
        empty if no target can.
    """

    name: str
    entity: str
    flag: Callable[[Dataset, Values], Bools]
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
            households.household_of(measure.entity)[measure.flag(households, values)],
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
