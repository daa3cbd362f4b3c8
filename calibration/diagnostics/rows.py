"""What carries each target: the columns that add to it, and how much one of them brings.

    scale d_i = |t_i|, or the floor where t_i = 0,     floor_i = max_j |X_ij| w0_j

A target below its floor is smaller than the grain of the file. One column may also carry
most of a target that looks well met.

Axes: targets i in [0, T), columns j in [0, C). All sums are float64.

Sources: the floor is the identifiability floor of PolicyEngine/l0-paper at 0c97a0d; scale
and row weight are those of `calibration.l0`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.diagnostics.weights import check_weights
from calibration.errors import DiagnosticsError
from calibration.matrix import CalibrationMatrix, RowStatus

__all__ = ["RowStatistics", "row_statistics"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNREACHABLE = (RowStatus.NO_SUPPORT, RowStatus.WRONG_SIGN)


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
