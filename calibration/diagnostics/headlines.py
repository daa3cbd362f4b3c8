"""The numbers to look at first, drawn from the table of all targets.

The scored targets are those that the fit could reach and saw, and that are not zero:
their absolute relative errors are summed up by mean, median, 95th percentile and shares
within limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.dataset import Table
from calibration.diagnostics.weights import check_weights, design_effect, effective_size

__all__ = ["ErrorSummary", "Summary", "error_summary", "scored", "summary"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LIMITS = (0.01, 0.05, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Absolute relative errors of some targets; NaN if there are none.

    Parameters
    ----------
    targets : int
    mean, median, p95 : float
    within_1, within_5, within_10 : float
        Shares of the targets within 1, 5 and 10 %.
    """

    targets: int
    mean: float
    median: float
    p95: float
    within_1: float
    within_5: float
    within_10: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The numbers to look at first.

    Parameters
    ----------
    targets, achievable, zero_targets : int
    initial, fitted : ErrorSummary
        Over the scored targets: achievable, not zero, not held out.
    holdout : ErrorSummary
        Of the fitted weights, over the achievable nonzero targets that were held out.
    worst_zero : float
        Largest absolute error of a zero target; 0 if there are none.
    columns, retained : int
    households : float
        Sum of the weights.
    effective_size, design_effect, max_weight : float
        See `calibration.diagnostics.weights`.
    worst : tuple of (str, float)
        The scored targets with the largest errors: name, and rel_error with its sign.
    """

    targets: int
    achievable: int
    zero_targets: int
    initial: ErrorSummary
    fitted: ErrorSummary
    holdout: ErrorSummary
    worst_zero: float
    columns: int
    retained: int
    households: float
    effective_size: float
    design_effect: float
    max_weight: float
    worst: tuple[tuple[str, float], ...]


def summary(unified: Table, weights: ArrayLike, *, worst: int = 5) -> Summary:
    """Draw the headline numbers from `unified_table` and the weights.

    Parameters
    ----------
    unified : Table
    weights : array of float, shape (C,)
        Those that the table was made with.
    worst : int
        How many of the worst targets to name.

    Returns
    -------
    Summary
    """
    w = check_weights(weights, np.size(weights))
    zero, counted = unified["true_value"] == 0, scored(unified)
    held_out = unified["achievable"] & ~zero & unified["holdout"]
    size = np.where(counted, unified["abs_rel_error"], -1.0)
    order = np.lexsort((unified["target"], -size))[: min(worst, int(counted.sum()))]
    return Summary(
        targets=len(zero),
        achievable=int(unified["achievable"].sum()),
        zero_targets=int(zero.sum()),
        initial=error_summary(unified["initial_rel_error"][counted]),
        fitted=error_summary(unified["rel_error"][counted]),
        holdout=error_summary(unified["rel_error"][held_out]),
        worst_zero=float(unified["abs_error"][zero].max(initial=0.0)),
        columns=len(w),
        retained=int(np.count_nonzero(w)),
        households=float(w.sum()),
        effective_size=effective_size(w),
        design_effect=design_effect(w),
        max_weight=float(w.max(initial=0.0)),
        worst=tuple((str(unified["target"][i]), float(unified["rel_error"][i])) for i in order),
    )


def scored(unified: Table) -> Bools:
    """Tell which targets count in summaries: achievable, not zero, not held out; shape (T,)."""
    return unified["achievable"] & (unified["true_value"] != 0) & ~unified["holdout"]


def error_summary(relative: Floats) -> ErrorSummary:
    """Sum up relative errors, shape (n,), by their absolute values."""
    e = np.abs(relative) if len(relative) else np.array([np.nan])
    within = [float((e <= limit).mean()) if len(relative) else np.nan for limit in LIMITS]
    return ErrorSummary(
        targets=len(relative),
        mean=float(e.mean()),
        median=float(np.median(e)),
        p95=float(np.percentile(e, 95)),
        within_1=within[0],
        within_5=within[1],
        within_10=within[2],
    )
