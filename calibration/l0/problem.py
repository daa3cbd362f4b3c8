"""The data of a fit, checked once, with sums over columns in an order nobody can change.

    estimate  y_i = sum_j X_ij w_j          = sum over blocks b of (sum over j in b)
    loss      sum_i c_i ((y_i - t_i) / d_i)^2
    pull      q_j = sum_i X_ij v_i,  v_i = 2 c_i (y_i - t_i) / d_i^2

A sum over columns is a float64 partial sum for each of 64 blocks, and the partials are added
in block order: see `calibration.l0.forms`, which holds X.

d_i is |t_i|; for t_i = 0 it is the largest contribution that one column makes at the
start, max_j |X_ij| w0_j, which is positive for every row with support. c_i gives each
group of rows equal total, 1 in all.

Axes: rows i (T targets), columns j (C, in the order of the form), blocks b (64).

Source: the scale for zero targets is the identifiability floor of the l0-paper harness
(PolicyEngine/l0-paper at 0c97a0d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import FitError
from calibration.files import hash_arrays
from calibration.l0.arguments import UnreachableRow, read_arguments
from calibration.l0.forms import BLOCKS, Form
from calibration.l0.options import L0Options

__all__ = ["Problem"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A checked calibration problem; made by `Problem.build`.

    Parameters
    ----------
    form : Form
        X.
    targets, scale, row_weight : (T,) arrays of float64
        t, d and c; c is 0 where a row is unreachable.
    start : (C,) array of float64
        w0, positive.
    column_key : (C,) array of uint64
        Identity of each column for the random draws.
    block : (C,) array of int64
        Block of each column, 0 to 63.
    unreachable : tuple of UnreachableRow
        Rows left out of the loss.
    """

    form: Form
    targets: Floats
    scale: Floats
    row_weight: Floats
    start: Floats
    column_key: NDArray[np.uint64]
    block: Indices
    unreachable: tuple[UnreachableRow, ...]

    @classmethod
    def build(
        cls,
        X: Any,
        t: ArrayLike,
        *,
        w0: ArrayLike | None,
        options: L0Options,
        column_key: ArrayLike | None = None,
        block: ArrayLike | None = None,
        group: ArrayLike | None = None,
        compiled: bool | None = None,
        threads: int | None = None,
    ) -> Problem:
        """Check the arguments of `calibration.l0.fit_l0` and lay them out.

        Parameters and errors are those of `calibration.l0.arguments.read_arguments`; `options`
        is also read for `scale`. With w0 = None a column starts at the weight that, given to
        all columns, comes nearest to the targets of its own rows.

        Returns
        -------
        Problem
        """
        given = read_arguments(
            X,
            t,
            w0=w0,
            options=options,
            column_key=column_key,
            block=block,
            group=group,
            compiled=compiled,
            threads=threads,
        )
        draft = cls(
            form=given.form,
            targets=given.targets,
            scale=np.ones(given.targets.size),
            row_weight=given.row_weight,
            start=np.ones(given.block.size),
            column_key=given.column_key,
            block=given.block,
            unreachable=given.unreachable,
        )
        start = draft._own_start() if given.start is None else given.start
        return draft._with(start=start, scale=draft._scales(start, options))

    @property
    def n_rows(self) -> int:
        """T, the number of targets."""
        return self.targets.size

    @property
    def n_columns(self) -> int:
        """C, the number of columns."""
        return self.start.size

    @property
    def n_reachable(self) -> int:
        """Rows that take part in the loss."""
        return self.n_rows - len(self.unreachable)

    def estimates(self, weights: Floats) -> Floats:
        """Give X w, in block order.

        Parameters
        ----------
        weights : (C,) array of float64

        Returns
        -------
        (T,) array of float64
        """
        return self.form.estimates(weights)

    def pull(self, row_values: Floats) -> Floats:
        """Give the transpose of X times a vector over rows.

        Parameters
        ----------
        row_values : (T,) array of float64

        Returns
        -------
        (C,) array of float64
        """
        return self.form.pull(row_values)

    def total(self, column_values: NDArray[Any]) -> float:
        """Add a vector over columns, in block order.

        Parameters
        ----------
        column_values : (C,) array of float64 or bool

        Returns
        -------
        float
        """
        partial = np.bincount(self.block, column_values, minlength=BLOCKS)
        every = self.form.all_blocks(np.asarray(partial, dtype=np.float64))
        return float(np.add.accumulate(every)[-1])

    def misfit(self, weights: Floats) -> tuple[float, Floats]:
        """Give the data loss and its gradient in the weights.

        Parameters
        ----------
        weights : (C,) array of float64

        Returns
        -------
        loss : float
        gradient : (C,) array of float64
        """
        loss, slope = self.judge(self.estimates(weights))
        return loss, self.pull(slope)

    def judge(self, estimates: Floats) -> tuple[float, Floats]:
        """Give the data loss of some estimates and its gradient in them.

        Parameters
        ----------
        estimates : (T,) array of float64

        Returns
        -------
        loss : float
        gradient : (T,) array of float64
        """
        error = estimates - self.targets
        error /= self.scale
        weighted = self.row_weight * error
        loss = float((weighted * error).sum())
        weighted /= self.scale
        weighted *= 2.0
        return loss, weighted

    def as_given(self, column_values: NDArray[Any]) -> NDArray[Any]:
        """Put a vector over columns in the order of the X that was given.

        Parameters
        ----------
        column_values : (C,) array

        Returns
        -------
        (C,) array
            Of all columns, where this is a part of a problem.
        """
        values = self.form.all_columns(column_values)
        if self.form.order is None:
            return values
        out = np.empty_like(values)
        out[self.form.order] = values
        return out

    def restrict(self, kept: NDArray[np.bool_]) -> Problem:
        """Give the problem with only some columns; rows, scales and weights stay.

        Parameters
        ----------
        kept : (C,) array of bool

        Returns
        -------
        Problem
        """
        return self.of_columns(self.form.restrict(kept), kept)

    def of_columns(self, form: Form, which: NDArray[Any]) -> Problem:
        """Give the problem of some columns, for their form.

        Parameters
        ----------
        form : Form
        which : (K,) array of int64 or (C,) array of bool

        Returns
        -------
        Problem
        """
        return self._with(
            form=form,
            start=self.start[which],
            column_key=self.column_key[which],
            block=self.block[which],
        )

    def lost_rows(self, kept: NDArray[np.bool_]) -> Indices:
        """List the rows that some columns could serve, but none of those kept.

        Parameters
        ----------
        kept : (C,) array of bool

        Returns
        -------
        (rows,) array of int64
            Reachable rows with a target other than 0 in which no kept column has an entry
            of the sign of the target.
        """
        down, up = self.form.signs(kept)
        served = np.where(self.targets < 0, down, up)
        return np.flatnonzero(~served & (self.row_weight > 0) & (self.targets != 0))

    def signature(self) -> str:
        """Give the SHA-256 of everything that decides the fit, apart from the options."""
        names = ("targets", "scale", "row_weight", "start", "column_key", "block")
        return hash_arrays(self.form.arrays() | {name: getattr(self, name) for name in names})

    def _with(self, **changes: Any) -> Problem:
        current = {name: getattr(self, name) for name in self.__slots__}
        return Problem(**(current | changes))

    def _own_start(self) -> Floats:
        """For each column the even weight that suits its own rows: argmin of S_j below.

            S_j(w) = sum of c_i (w s_i - 1)^2 over rows i with an entry in column j,
            s_i = (X 1)_i / t_i,  so w = sum c s / sum c s^2

        One weight for all would follow the smallest target, and gates of the others close
        before their columns have grown. Rows that even weights miss on the other side of 0,
        and zero targets, say nothing; a column without other rows follows all rows.
        """
        counted = (self.row_weight > 0) & (self.targets != 0)
        with np.errstate(over="ignore"):
            ratio = self.estimates(self.start) / np.where(counted, self.targets, 1.0)
        counted &= ratio > 0
        ratio = np.clip(ratio, 1e-140, 1e140)  # squares stay finite
        first = np.where(counted, self.row_weight * ratio, 0.0)
        second = first * ratio
        if not counted.any():
            return np.ones(self.n_columns)
        above, below = self.form.touched(first), self.form.touched(second)
        own = below > 0
        level = float(first.sum() / second.sum())
        return np.where(own, above / np.where(own, below, 1.0), level)

    def _scales(self, start: Floats, options: L0Options) -> Floats:
        if options.scale == "shifted":
            zero = np.flatnonzero((self.targets == -1) & (self.row_weight > 0))
            if zero.size:
                raise FitError(
                    f"target {zero[0]} is -1, where the scale t + 1 is 0; use 'absolute'"
                )
            return np.where(self.row_weight > 0, self.targets + 1.0, 1.0)
        scale = np.abs(self.targets)
        if (self.targets == 0).any():
            scale = np.where(self.targets == 0, self.form.largest(start), scale)
        return np.where(self.row_weight > 0, scale, 1.0)
