"""One row a target: what it should be, what it is, what carries it; and by groups.

    error = estimate - target,   rel_error = error / |target|,   loss = c (error / d)^2

d is |target|, or for a zero target its floor, what the largest single column adds at the
start; c is the row's weight in the fit. A zero target has no relative error: the cell is
empty and `reason` says why where nothing can be done.

Axes: tables are mappings of column name to array, shape (T,) or (groups,).

Source: the first six columns are those of unified_diagnostics.csv in
PolicyEngine/policyengine-us-data e01a038, calibration/unified_calibration.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from calibration.dataset import Array, Table
from calibration.diagnostics.headlines import error_summary, scored
from calibration.diagnostics.relative import relative_error
from calibration.diagnostics.rows import row_statistics
from calibration.matrix import CalibrationMatrix, RowStatus

__all__ = ["group_table", "unified_table"]

LOST = "the fit dropped every column that adds to it"


def unified_table(
    matrix: CalibrationMatrix, weights: ArrayLike, *, holdout: ArrayLike | None = None
) -> dict[str, Array]:
    """Describe every target at the initial and at the fitted weights.

    Parameters
    ----------
    matrix : CalibrationMatrix
    weights : array of float, shape (C,)
    holdout : array of bool, shape (T,), optional
        Targets that the fit did not see.

    Returns
    -------
    dict of str to ndarray, shape (T,)
        target, true_value, estimate, rel_error, abs_rel_error, achievable; level,
        variable, group; initial_estimate, initial_rel_error; abs_error, |estimate -
        true_value|, never empty; support and retained_support, columns that add to it;
        largest_share, of the sum of |X| w, that one column brings; loss_share, of the
        loss over the reachable targets that are not held out; floor, the most that one
        column adds at the start; status, a name of `RowStatus`, and reason; holdout.

    Raises
    ------
    DiagnosticsError
        If weights or holdout do not fit the matrix.
    """
    rows = row_statistics(matrix, weights, holdout=holdout)
    t, targets = matrix.values.astype(np.float64), matrix.targets
    initial = matrix.estimates(matrix.w0)
    error = rows.estimate - t
    counted = rows.row_weight > 0
    loss = np.zeros(len(t))
    np.divide(error, rows.scale, out=loss, where=counted)
    loss = rows.row_weight * loss**2
    lost = (rows.retained == 0) & (np.array(rows.status) == RowStatus.OK)
    why = ["" if s is RowStatus.OK else s.value for s in rows.status]
    return {
        "target": np.array(matrix.names),
        "true_value": t,
        "estimate": rows.estimate,
        "rel_error": relative_error(error, t),
        "abs_rel_error": np.abs(relative_error(error, t)),
        "achievable": rows.achievable,
        "level": np.array([str(target.level) for target in targets]),
        "variable": np.array([target.variable for target in targets]),
        "group": np.array(matrix.groups),
        "initial_estimate": initial,
        "initial_rel_error": relative_error(initial - t, t),
        "abs_error": np.abs(error),
        "support": rows.support,
        "retained_support": rows.retained,
        "largest_share": rows.largest_share,
        "loss_share": loss / total if (total := loss.sum()) > 0 else np.full(len(t), np.nan),
        "floor": rows.floor,
        "status": np.array([status.name for status in rows.status]),
        "reason": np.where(lost, LOST, why),
        "holdout": np.zeros(len(t), dtype=bool) if holdout is None else np.asarray(holdout),
    }


def group_table(unified: Table) -> dict[str, Array]:
    """Summarize `unified_table` by group of targets, in the order of their first rows.

    Returns
    -------
    dict of str to ndarray, shape (groups,)
        group; targets; scored, the achievable ones that are not zero and not held out;
        mean, median and p95 of their absolute relative errors at the initial and at the
        fitted weights; within_10, the share of the scored within 10 %; loss_share.
    """
    first, member = np.unique(unified["group"], return_index=True, return_inverse=True)[1:]
    counted, rows = scored(unified), []
    for place in np.argsort(first):
        here = member == place
        before = error_summary(unified["initial_rel_error"][here & counted])
        after = error_summary(unified["rel_error"][here & counted])
        row = {"group": unified["group"][first[place]], "targets": int(here.sum())}
        row |= {"scored": after.targets, "initial_mean": before.mean}
        row |= {"initial_median": before.median, "initial_p95": before.p95, "mean": after.mean}
        row |= {"median": after.median, "p95": after.p95, "within_10": after.within_10}
        rows.append(row | {"loss_share": unified["loss_share"][here].sum()})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
