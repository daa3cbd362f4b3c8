"""X as a fit sees it: what it adds up, what it hands back, and which columns remain.

    estimates(w)   y_i = sum_j X_ij w_j      = from_pairs(pair_sums(w))
    pull(v)        q_j = sum_i X_ij v_i
    touched(v)     sum of v_i over the rows i in which column j has an entry
    restrict(kept) the same rows, fewer columns

A fit asks nothing else of X, so any layout that answers these questions can be fitted. This
module names the questions (`Form`) and gives the plain answer (`Entries`): one float64 for
each nonzero, added by NumPy one after the other, with equal bits on every machine.

Every column belongs to one of 64 blocks. `pair_sums` adds each block on its own, in an order
that the form fixes, and `from_pairs` adds the blocks in block order. So whoever owns whole
blocks (a thread, a process) can compute their partial sums, and the total has equal bits
however the blocks are shared out: `part` gives the form of some blocks, laid out as they are
in the whole. Partial sums may be over finer rows than the targets, which `combine` then adds
up: a factored matrix X = G Z adds Z by block and applies G once.

Axes: rows i (T targets), columns j (C), finest rows f (F; T unless a form says otherwise),
blocks b (64), entries e (nonzeros of X, sorted by block, row, column), pairs p (the
nonempty combinations of block and row, in that order).

Products and sums are separate NumPy calls, so that no compiler can fuse them into one
rounding; see `calibration.l0.portable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError

__all__ = ["BLOCKS", "Entries", "Form", "keep_32_bits", "share_out"]

BLOCKS = 64
"""Number of blocks that columns are cut into, fixed so that sums never depend on it."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Form(Protocol):
    """The questions that a fit asks of X. All vectors are float64."""

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        ...

    @property
    def order(self) -> Indices | None:
        """Which column of the given X stands at each place (C,); None if all stand as given."""
        ...

    @property
    def is_compiled(self) -> bool:
        """Whether the gate phase runs in compiled loops, `calibration.l0.compiled`."""
        ...

    @property
    def n_finest(self) -> int:
        """F, the number of finest rows."""
        ...

    @property
    def pair_row(self) -> Indices:
        """Finest row of each pair, (P,)."""
        ...

    def pair_sums(self, weights: Floats) -> Floats:
        """Give the partial sum of each pair, (P,), for weights (C,)."""
        ...

    def from_pairs(self, partial: Floats) -> Floats:
        """Give X w (T,) for the partial sums (P,), added in block order."""
        ...

    def combine(self, total: Floats) -> Floats:
        """Give X w (T,) for sums over the finest rows (F,)."""
        ...

    def estimates(self, weights: Floats) -> Floats:
        """Give X w (T,): `from_pairs` of `pair_sums`."""
        ...

    def all_blocks(self, partial: Floats) -> Floats:
        """Give sums of every block, (64,), for those with the blocks of this form alone."""
        ...

    def all_columns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give values of every column of the fit, for those of this form, (..., C)."""
        ...

    def pull(self, row_values: Floats) -> Floats:
        """Give the transpose of X times a vector over rows, (C,)."""
        ...

    def touched(self, row_values: Floats) -> Floats:
        """Give for each column the sum of a vector over the rows that it has entries in."""
        ...

    def largest(self, weights: Floats) -> Floats:
        """Give max_j |X_ij| w_j of each row, (T,); 0 for an empty row."""
        ...

    def signs(self, kept: Bools | None = None) -> tuple[Bools, Bools]:
        """Say of each row whether it has a negative, and whether it has a positive entry.

        Only the columns `kept` (C,) count, if it is given.
        """
        ...

    def restrict(self, kept: Bools) -> Form:
        """Give the form of the columns `kept` (C,), in the same order."""
        ...

    def part(self, lo: int, hi: int) -> tuple[Form, Indices]:
        """Give the form of blocks lo to hi - 1, and where its columns stand in this one.

        Partial sums and pulls of the part have the bits that the whole gives them.
        """
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays that say what X is, for a signature."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Nonzeros of X one by one, sorted by block, row and column.

    Parameters
    ----------
    values, rows, columns : (E,) arrays
    block : (C,) array of int64
    n_rows : int
    pairs : (E,) array of int64
        The (block, row) pair that each entry adds to.
    pair_row : (P,) array of int64
        Row of each pair.
    """

    values: Floats
    rows: Indices
    columns: Indices
    block: Indices
    n_rows: int
    pairs: Indices
    pair_row: Indices

    @classmethod
    def read(cls, X: Any, block: Indices) -> Entries:
        """Lay out a matrix; duplicates are added and zeros dropped.

        Parameters
        ----------
        X : (T, C) sparse array or 2-D array
        block : (C,) array of int64

        Returns
        -------
        Entries

        Raises
        ------
        FitError
            If an entry is not finite; the message names row and column.
        """
        from scipy.sparse import csr_array

        matrix = csr_array(X, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        entries = matrix.tocoo()
        rows, columns = (np.asarray(index, dtype=np.int64) for index in entries.coords)
        values = np.asarray(entries.data, dtype=np.float64)
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise FitError(
                f"X is {values[bad]} at row {rows[bad]}, column {columns[bad]}; "
                "every entry must be finite"
            )
        order = np.argsort(block[columns], kind="stable")  # by block, row, column
        laid_out = (keep_32_bits(values)[order], rows[order], columns[order])
        return cls._of(*laid_out, block, int(X.shape[0]))

    @classmethod
    def _of(
        cls, values: Floats, rows: Indices, columns: Indices, block: Indices, n_rows: int
    ) -> Entries:
        found, pairs = np.unique(block[columns] * n_rows + rows, return_inverse=True)
        return cls(values, rows, columns, block, n_rows, pairs.astype(np.int64), found % n_rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return self.n_rows, self.block.size

    @property
    def order(self) -> None:
        """Columns stand as given."""
        return

    @property
    def is_compiled(self) -> bool:
        """No: every step is a call of NumPy."""
        return False

    @property
    def n_finest(self) -> int:
        """F: the finest rows are the targets."""
        return self.n_rows

    def pair_sums(self, weights: Floats) -> Floats:
        """Give the partial sums; see `Form.pair_sums`."""
        products = weights.take(self.columns)
        products *= self.values
        return _scatter(self.pairs, products, self.pair_row.size)

    def from_pairs(self, partial: Floats) -> Floats:
        """Give X w for the partial sums; see `Form.from_pairs`."""
        return _scatter(self.pair_row, partial, self.n_rows)

    def combine(self, total: Floats) -> Floats:
        """Give X w as it is: the finest rows are the targets."""
        return total

    def estimates(self, weights: Floats) -> Floats:
        """Give X w; see `Form.estimates`."""
        return self.from_pairs(self.pair_sums(weights))

    def all_blocks(self, partial: Floats) -> Floats:
        """Give them back: every block is here."""
        return partial

    def all_columns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give them back: every column is here."""
        return values

    def pull(self, row_values: Floats) -> Floats:
        """Give the transpose of X times a vector; see `Form.pull`."""
        products = row_values.take(self.rows)
        products *= self.values
        return _scatter(self.columns, products, self.block.size)

    def touched(self, row_values: Floats) -> Floats:
        """Add a vector over the rows of each column; see `Form.touched`."""
        return _scatter(self.columns, row_values.take(self.rows), self.block.size)

    def largest(self, weights: Floats) -> Floats:
        """Give the largest contribution to each row; see `Form.largest`."""
        largest = np.zeros(self.n_rows)
        np.maximum.at(largest, self.rows, np.abs(self.values) * weights[self.columns])
        return largest

    def signs(self, kept: Bools | None = None) -> tuple[Bools, Bools]:
        """Say which signs each row has; see `Form.signs`."""
        inside = slice(None) if kept is None else kept[self.columns]
        values, rows = self.values[inside], self.rows[inside]
        found = (
            np.bincount(rows[side], minlength=self.n_rows) for side in (values < 0, values > 0)
        )
        down, up = (counts > 0 for counts in found)
        return down, up

    def restrict(self, kept: Bools) -> Entries:
        """Give the form of fewer columns; see `Form.restrict`."""
        inside = kept[self.columns]
        renumber = np.cumsum(kept) - 1
        columns = renumber[self.columns[inside]]
        return self._of(
            self.values[inside], self.rows[inside], columns, self.block[kept], self.n_rows
        )

    def part(self, lo: int, hi: int) -> tuple[Entries, Indices]:
        """Give the form of some blocks; see `Form.part`."""
        inside = (self.block >= lo) & (self.block < hi)
        return self.restrict(inside), np.flatnonzero(inside)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give values, columns and rows."""
        return {"values": self.values, "columns": self.columns, "rows": self.rows}


def share_out(block: Indices, owners: int) -> list[int]:
    """Cut the blocks into runs of about equally many columns, one for each owner.

    Parameters
    ----------
    block : (C,) array of int64
    owners : int

    Returns
    -------
    list of int
        First block of each owner, and 64.
    """
    count = np.bincount(block, minlength=BLOCKS)
    middle = np.cumsum(count) - count / 2  # of each block: it belongs to whom that falls
    wanted = count.sum() * np.arange(1, owners) / owners
    return [0, *np.searchsorted(middle, wanted).tolist(), BLOCKS]


def keep_32_bits(x: Floats) -> Floats:
    """Round to 32 significant bits; see `calibration.l0.arguments`.

    Parameters
    ----------
    x : array of float64

    Returns
    -------
    array of float64
    """
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(mantissa * 2.0**32) * 2.0**-32, exponent)


def _scatter(index: Indices, values: Floats, size: int) -> Floats:
    """Add values into their places, one after the other, in the order given."""
    return np.asarray(np.bincount(index, values, minlength=size), dtype=np.float64)
