"""Why a target is missed: one cause, its numbers, and what to do about it.

With e_i = (X w - t)_i / d_i the error of target i and A_ij = X_ij w_j / d_i what one
percent more of column j changes in it, the causes are looked for in this order:

    NO_SUPPORT, WRONG_SIGN   no weights can help
    ZERO_TARGET              t_i = 0: a relative error is not defined
    FITTED                   |e_i| within the tolerance
    HELD_OUT                 the fit did not see it
    OUT_OF_RANGE, CONFLICT   t_i / t_k outside [min_j, max_j] X_ij / X_kj for some k
    FLOOR                    |t_i| < max_j |X_ij| w0_j
    FEW_RECORDS              fewer than 5 columns with w > 0
    CONFLICT                 sum over k of push_k  >=  half of what i itself would gain
    UNFINISHED               none of these: the fit can still improve

The first test on pairs is a proof. A weighted mean of the columns' ratios lies between
the smallest and the largest, so outside of that range no nonnegative weights meet both
targets. It is OUT_OF_RANGE if i and k are an amount and a count of one group: the ratio
is the amount per unit. It needs one row of the pair to have entries of one sign, and it
is the cause only if it asks for a change of t_i toward the estimate, of at least half the
miss.

The second test reads the loss. The step in log-weights that lowers |e_i| fastest is -A_i
times the sign of e_i; what it costs target k, per unit of |e_i|, is

    push_k = -2 c_k e_k sign(e_i) (A_i . A_k) / (A_i . A_i),       own gain = 2 c_i |e_i|.

Where a fit has ended, pushes and gain balance. The largest push names the other target.

Axes: targets i, k in [0, T), columns j in [0, C). Sums are float64.

Source: the balance is the first-order condition of the loss of `calibration.l0`; derived
here. Range, support and floor: see `calibration.diagnostics.rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.diagnostics.rows import RowStatistics, row_statistics
from calibration.diagnostics.weights import check_weights
from calibration.errors import DiagnosticsError, near
from calibration.matrix import CalibrationMatrix, RowStatus
from calibration.targets import Target

__all__ = ["Cause", "Explanation", "explain"]

Floats = NDArray[np.float64]

FEW = 5  # columns; a mean over fewer says more about them than about the group
OPPOSED = 0.5  # of the own gain; at the end of a fit it is 1 or more
EXPLAINED = 0.5  # of the miss, that a contradiction must account for to be its cause


class Cause(Enum):
    """Why an estimate is where it is; each value says what to do."""

    NO_SUPPORT = (
        "No column adds anything to it. Add records or clones of that kind in that area, "
        "check the constraints for a misspelt code, or drop the target."
    )
    WRONG_SIGN = (
        "Every column adds something of the other sign, and weights are positive. Check the "
        "sign of the target and whether it is a net or a gross figure."
    )
    ZERO_TARGET = (
        "The target is zero: judge the absolute error. Check that zero was published, and does "
        "not stand for a figure that is missing; such a target removes everyone it counts."
    )
    FITTED = "The estimate is within the tolerance. Nothing to do."
    HELD_OUT = (
        "The fit did not see this target, so nothing pulled the estimate toward it. Compare it "
        "with other held-out targets of its group; to have it met, put it back into the fit."
    )
    OUT_OF_RANGE = (
        "Count and amount of this group cannot both hold: their quotient lies outside of what "
        "any record has. Add records from that range (a fuller tail), or drop one of the two."
    )
    FLOOR = (
        "The target is smaller than what a single column adds at the start. Merge it with a "
        "neighboring group or area, or add clones so that every column weighs less."
    )
    FEW_RECORDS = (
        "Too few columns carry it. Raise the record budget or lower the penalty; if there are "
        "hardly more candidates than that, add clones or records of that kind."
    )
    CONFLICT = (
        "Another target on the same columns pulls the other way. Compare year, definition and "
        "coverage of the two sources, and correct or drop one."
    )
    UNFINISHED = (
        "No other target opposes a better fit. Raise the epochs of the fit, or refit the "
        "survivors if it has gates."
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one target is where it is.

    Parameters
    ----------
    target : str
        Its name.
    cause : Cause
        Its value says what to do.
    message : str
        The facts in one sentence.
    numbers : mapping of str to float
        target, estimate, error (estimate - target), support, retained, floor. A
        contradiction adds ratio, lowest, highest and needed_change, the least change of
        the target, as a share of it, that both can hold; FEW_RECORDS adds records; a push
        adds push and push_of_all, in units of the own gain, correlation (the cosine of
        A_i and A_k), other_error and shared_columns.
    other : str
        The other target of OUT_OF_RANGE and CONFLICT; empty otherwise.
    """

    target: str
    cause: Cause
    message: str
    numbers: Mapping[str, float]
    other: str = ""


_Finding = tuple[Cause, str, dict[str, float], str]


def explain(
    matrix: CalibrationMatrix,
    weights: ArrayLike,
    target: str,
    *,
    holdout: ArrayLike | None = None,
    tolerance: float = 0.01,
) -> Explanation:
    """Find out why a target is missed.

    Parameters
    ----------
    matrix : CalibrationMatrix
    weights : array of float, shape (C,)
        The fitted weights.
    target : str
        Name of a target of the matrix.
    holdout : array of bool, shape (T,), optional
        Targets that the fit did not see.
    tolerance : float
        Relative error up to which a target counts as met.

    Returns
    -------
    Explanation
        The first cause that applies, in the order of the module.

    Raises
    ------
    DiagnosticsError
        If the matrix has no such target (near names are given), or weights or holdout do
        not fit the matrix.
    """
    names = matrix.names
    if target not in names:
        raise DiagnosticsError(f"the matrix has no target {target!r}{near(target, names)}")
    i = names.index(target)
    rows = row_statistics(matrix, weights, holdout=holdout)
    case = _Case(matrix, check_weights(weights, len(matrix.w0)), rows, i)
    held_out = holdout is not None and bool(np.asarray(holdout)[i])
    cause, message, numbers, other = next(_findings(case, tolerance, held_out=held_out))
    return Explanation(target, cause, message, case.numbers() | numbers, other)


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """One target with all that is known about the rows."""

    matrix: CalibrationMatrix
    weights: Floats
    rows: RowStatistics
    i: int

    @property
    def target(self) -> Target:
        return self.matrix.targets[self.i]

    @property
    def error(self) -> float:
        return float(self.rows.estimate[self.i]) - self.target.value

    def numbers(self) -> dict[str, float]:
        return {
            "target": self.target.value,
            "estimate": float(self.rows.estimate[self.i]),
            "error": self.error,
            "support": int(self.rows.support[self.i]),
            "retained": int(self.rows.retained[self.i]),
            "floor": float(self.rows.floor[self.i]),
        }

    def row(self, k: int) -> Floats:
        """X_k as a dense vector, shape (C,)."""
        X = self.matrix.X
        dense = np.zeros(len(self.weights))
        part = slice(X.indptr[k], X.indptr[k + 1])
        dense[X.indices[part]] = X.data[part]
        return dense


def _findings(case: _Case, tolerance: float, *, held_out: bool) -> Iterator[_Finding]:
    """Yield the causes that apply, most certain first; the last one always does."""
    rows, i, t = case.rows, case.i, case.target.value
    if rows.status[i] is RowStatus.NO_SUPPORT:
        yield Cause.NO_SUPPORT, f"none of {len(case.weights)} columns adds to it", {}, ""
    if rows.status[i] is RowStatus.WRONG_SIGN:
        yield Cause.WRONG_SIGN, f"none of {rows.support[i]} entries has the sign of {t:.6g}", {}, ""
    if t == 0:
        yield Cause.ZERO_TARGET, f"the target is 0, the estimate {rows.estimate[i]:.6g}", {}, ""
        return
    relative = case.error / abs(t)
    off = f"the estimate is {100 * relative:+.3g} % off"
    if abs(relative) <= tolerance:
        yield Cause.FITTED, f"{off}, within {100 * tolerance:.3g} %", {}, ""
    if held_out:
        yield Cause.HELD_OUT, f"{off}; it was held out", {}, ""
    yield from _contradiction(case, relative, off)
    if abs(t) < rows.floor[i]:
        grain = f"one column alone adds {rows.floor[i]:.6g} at the start"
        yield Cause.FLOOR, f"{off}; {grain}, the target is {t:.6g}", {}, ""
    if rows.retained[i] < FEW:
        kept = f"{rows.retained[i]} of {rows.support[i]} columns are retained"
        records = len(case.matrix.household_id)
        carrying = np.flatnonzero(case.row(i) * case.weights) % records
        yield Cause.FEW_RECORDS, f"{off}; {kept}", {"records": len(np.unique(carrying))}, ""
    yield from _conflict(case, off)
    yield Cause.UNFINISHED, f"{off}, and the other targets would allow it to come nearer", {}, ""


def _contradiction(case: _Case, miss: float, off: str) -> Iterator[_Finding]:
    """Yield the target that cannot hold beside this one; an amount or count of its group first."""
    mine = case.row(case.i)
    found, every = [], _signs(mine)
    for k, other in enumerate(case.matrix.targets):
        if k == case.i or case.rows.row_weight[k] == 0 or other.value == 0:
            continue
        here, there = _sides(case, mine, every, k)
        reverse = case.target.is_count and not other.is_count  # amounts over counts
        ratio = None if reverse else _range(here, there, np.sign(other.value))
        if ratio is None:
            reverse, ratio = True, _range(there, here, np.sign(case.target.value))
        if ratio is None:
            continue
        top, bottom = (other, case.target) if reverse else (case.target, other)
        wanted = top.value / abs(bottom.value)
        needed = _needed(wanted, *ratio, case.target.value, reverse=reverse)
        if needed * miss > 0 and abs(needed) >= EXPLAINED * abs(miss):
            order = (not _is_pair(case.target, other), -abs(needed), k)
            found.append((*order, needed, wanted, *ratio))
    if found:
        is_conflict, _, k, needed, wanted, low, high = min(found)
        name = case.matrix.targets[k].name
        message = f"{off}; with {name} the ratio of the two is {wanted:.6g}"
        message += f", the columns have {low:.6g} to {high:.6g}"
        numbers = {"ratio": wanted, "lowest": low, "highest": high, "needed_change": needed}
        yield Cause.CONFLICT if is_conflict else Cause.OUT_OF_RANGE, message, numbers, name


def _is_pair(one: Target, other: Target) -> bool:
    """Tell whether two targets are an amount and a count of the same group."""
    where = (one.level, one.code, one.constraints)
    return one.is_count != other.is_count and where == (other.level, other.code, other.constraints)


class _Side(NamedTuple):
    """One row of a pair: its entries in shared columns, and how many it has alone, by sign."""

    shared: Floats
    up: int
    down: int


def _sides(case: _Case, mine: Floats, every: tuple[int, int], k: int) -> tuple[_Side, _Side]:
    """Split row k, and `mine`, which has `every` entry by sign, at the columns both have."""
    X = case.matrix.X
    part = slice(X.indptr[k], X.indptr[k + 1])
    theirs, own = X.data[part].astype(np.float64), mine[X.indices[part]]
    both = own != 0
    here, there = own[both], theirs[both]
    up, down = _signs(here)
    return _Side(here, every[0] - up, every[1] - down), _Side(there, *_signs(theirs[~both]))


def _signs(entries: Floats) -> tuple[int, int]:
    return int(np.count_nonzero(entries > 0)), int(np.count_nonzero(entries < 0))


def _range(top: _Side, bottom: _Side, sign: float) -> tuple[float, float] | None:
    """Smallest and largest X_top / |X_bottom| over the columns that have either.

    Infinite where a column has only the top, 0 where it has only the bottom; None if no
    column has both, or the bottom has entries that differ in sign from its target.
    """
    below = sign * bottom.shared
    if not len(below) or (below <= 0).any() or (bottom.down if sign > 0 else bottom.up):
        return None
    ratio = top.shared / below
    alone = [0.0] if bottom.up + bottom.down else []
    low, high = min([ratio.min(), *alone]), max([ratio.max(), *alone])
    return (-np.inf if top.down else float(low)), (np.inf if top.up else float(high))


def _needed(wanted: float, low: float, high: float, t: float, *, reverse: bool) -> float:
    """Change of t, as a share of |t|, that brings the ratio into its range; 0 if it is there.

    t is the top of the ratio, or with `reverse` the bottom.
    """
    if low <= wanted <= high:
        return 0.0
    bound = low if wanted < low else high
    if not reverse:
        return (bound - wanted) / abs(wanted)
    return float(np.sign(t)) * (wanted / bound - 1 if wanted * bound > 0 else np.inf)


def _conflict(case: _Case, off: str) -> Iterator[_Finding]:
    """Yield the target that pushes hardest against this one, if the pushes weigh enough."""
    rows, i, w = case.rows, case.i, case.weights
    inside = rows.row_weight > 0
    scale = np.where(inside, rows.scale, 1.0)
    e = np.where(inside, (rows.estimate - case.matrix.values) / scale, 0.0)
    own = case.row(i) * w / scale[i]  # A_i, (C,)
    inner = case.matrix.estimates(own * w) / scale  # A_k . A_i, (T,)
    if not inner[i] > 0:
        return
    push = -2.0 * rows.row_weight * e * np.sign(e[i]) * inner / inner[i]
    gain = float(2.0 * rows.row_weight[i] * abs(e[i]))
    against = float(push[push > 0].sum())
    if against < OPPOSED * gain:
        return
    k = int(np.argmax(push))
    theirs = case.row(k) * w / scale[k]
    numbers = {
        "correlation": float(inner[k] / np.sqrt(inner[i] * (theirs @ theirs))),
        "push": float(push[k] / gain),
        "push_of_all": against / gain,
        "other_error": float(rows.estimate[k] - case.matrix.values[k]),
        "shared_columns": int(np.count_nonzero((own != 0) & (theirs != 0))),
    }
    name = case.matrix.targets[k].name
    message = (
        f"{off}; a step toward it costs {name} ({100 * e[k]:+.3g} % off, "
        f"{numbers['shared_columns']} retained columns shared) {numbers['push']:.3g} times its gain"
    )
    yield Cause.CONFLICT, message, numbers, name
