"""X and its transpose on a device, both in rows, so that both products stream.

    estimates   y = X w         forward:  rows of X, cut into segments of at most 512 entries
    pull        q = X' v        backward: rows of X'

The sum over a segment is made in the type of the entries, the sum over the segments of a
row in float64: a national row of five million columns added up in float32 would lose up
to a percent. Segments of like length also share out evenly over the threads of a GPU,
where one row is a thousand times as long as the next.

Axes: rows i (T targets), columns j (C), segments s (S), entries e (E).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calibration.errors import FitError
from calibration.l0.forms import Entries, Form

if TYPE_CHECKING:
    from torch import Tensor

    _Parts = tuple[Tensor, Tensor, Tensor]  # starts, inner indices, values

__all__ = ["DeviceMatrix"]

_SEGMENT = 512
_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class DeviceMatrix:
    """A sparse matrix stored by rows and by columns; made by `from_rows` or `from_columns`.

    Parameters
    ----------
    segments : (S, C) sparse CSR tensor
        X, its rows cut into segments.
    whole : (T, S) sparse CSR tensor of float64
        Ones; adds the segments of each row.
    columns : (C, T) sparse CSR tensor
        The transpose of X.
    """

    segments: Tensor
    whole: Tensor
    columns: Tensor

    @classmethod
    def from_rows(cls, starts: Tensor, columns: Tensor, values: Tensor, width: int) -> DeviceMatrix:
        """Lay out a matrix given by rows.

        Parameters
        ----------
        starts : (T + 1,) tensor of integers
            Where each row starts among the entries.
        columns : (E,) tensor of integers
        values : (E,) tensor of float
        width : int
            C.

        Returns
        -------
        DeviceMatrix
        """
        return cls._of((starts, columns, values), _transposed(starts, columns, values, width))

    @classmethod
    def from_columns(
        cls, starts: Tensor, rows: Tensor, values: Tensor, height: int
    ) -> DeviceMatrix:
        """Lay out a matrix given by columns: starts (C + 1,), rows and values (E,), T rows."""
        return cls._of(_transposed(starts, rows, values, height), (starts, rows, values))

    @classmethod
    def of(cls, form: Form, device: str, dtype: str) -> DeviceMatrix:
        """Move the matrix of a fit to a device.

        Parameters
        ----------
        form : Form
            One that holds its nonzeros one by one.
        device : str
        dtype : {"float64", "float32"}

        Returns
        -------
        DeviceMatrix

        Raises
        ------
        FitError
            If the form holds X in another way.
        """
        import torch
        from scipy.sparse import coo_array

        if not isinstance(form, Entries):
            raise FitError(
                f"X is in the form {type(form).__name__}, which no device can read; "
                "give a SciPy sparse matrix, or leave device out"
            )
        matrix = coo_array((form.values, (form.rows, form.columns)), shape=form.shape).tocsr()
        parts = (matrix.indptr, matrix.indices, matrix.data.astype(dtype))
        starts, indices, data = (torch.from_numpy(part).to(device) for part in parts)
        return cls.from_rows(starts, indices, data, form.shape[1])

    @classmethod
    def _of(cls, by_row: _Parts, by_column: _Parts) -> DeviceMatrix:
        import torch

        starts, columns, values = by_row
        starts_of_columns, rows, values_by_column = by_column
        height, width = starts.numel() - 1, starts_of_columns.numel() - 1
        begins = starts.long()
        pieces = (begins.diff() + _SEGMENT - 1) // _SEGMENT  # of each row
        piece_starts = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
        owner = torch.repeat_interleave(torch.arange(height, device=starts.device), pieces)
        within = torch.arange(owner.numel(), device=starts.device) - piece_starts[owner]
        cuts = torch.cat([begins[owner] + within * _SEGMENT, begins[-1:]])
        ones = torch.ones(owner.numel(), dtype=torch.float64, device=starts.device)
        number = torch.arange(owner.numel(), device=starts.device)
        return cls(
            _csr(cuts, columns, values, (owner.numel(), width)),
            _csr(piece_starts, number, ones, (height, owner.numel())),
            _csr(starts_of_columns, rows, values_by_column, (width, height)),
        )

    @property
    def entries(self) -> int:
        """E, the number of stored entries."""
        return int(self.columns.values().numel())

    def estimates(self, weights: Tensor) -> Tensor:
        """Give X w: weights (C,) in the type of the entries, result (T,) in float64."""
        return self.whole @ (self.segments @ weights).double()

    def pull(self, row_values: Tensor) -> Tensor:
        """Give X' v: v (T,) of any type, result (C,) in the type of the entries."""
        return self.columns @ row_values.to(self.columns.dtype)

    def restrict(self, kept: Tensor) -> DeviceMatrix:
        """Give the matrix with only some columns; kept (C,) of bool."""
        import torch

        starts, rows = self.columns.crow_indices(), self.columns.col_indices()
        counts = starts.diff()
        inside = torch.repeat_interleave(kept, counts)
        new = torch.cat([counts.new_zeros(1), counts[kept].cumsum(0)])
        height = self.whole.shape[0]
        return self.from_columns(new, rows[inside], self.columns.values()[inside], height)


def _transposed(starts: Tensor, inner: Tensor, values: Tensor, size: int) -> _Parts:
    """Sort entries by their inner index: the compressed form of the transpose."""
    import torch

    order = torch.argsort(inner, stable=True)
    counts = torch.bincount(inner, minlength=size)
    outer = torch.arange(starts.numel() - 1, dtype=inner.dtype, device=inner.device)
    outer = torch.repeat_interleave(outer, starts.diff())
    new = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return new, outer[order], values[order]


def _csr(starts: Tensor, inner: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    import torch

    fits = max(values.numel(), *shape) <= _INT32
    index = torch.int32 if fits else torch.int64
    with warnings.catch_warnings():  # "in beta state": its products are tested here
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts.to(index), inner.to(index), values, shape, check_invariants=False
        )
