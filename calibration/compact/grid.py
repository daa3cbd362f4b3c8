"""X of a complete design as tables, takeup bits and a rest, exactly: see `calibration.compact`.

    Z[f, j] = table[m, h, s(d)] * bit[m, d, h]  or  rest[f, j],    f = m * D + d,  j = column[d, h]

Axes: measures m in [0, M), districts d in [0, D), records h in [0, R), states s in [0, S),
finest rows f in [0, F), columns j in [0, C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.compact.factored import FactoredMatrix
from calibration.compact.finest import Finest, check_layout, flat, named, unflat
from calibration.compact.sheets import Sheet, grid_of, left_over, nested
from calibration.crosswalk import GeographyAssignment
from calibration.errors import MatrixError
from calibration.geography import Level, state_of
from calibration.measures import Measures, place, scatter, size
from calibration.targets import Target

__all__ = ["GridMatrix"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
ALWAYS = -1  # plane of a measure whose table holds for all clones in a state
_DENSE = ("table", "state", "column", "plane", "bits")


@dataclass(frozen=True, slots=True, eq=False)
class GridMatrix:
    """X of a complete design: tables, takeup bits and a rest.

    Parameters
    ----------
    G : scipy.sparse.csr_array of float32, shape (T, F)
        As in `FactoredMatrix`. The first M * D finest rows are those of the grid.
    table : ndarray of float32, shape (M, R, S)
        Value of each record in each state.
    state : ndarray of int64, shape (D,)
        Place of each district's state on the last axis of `table`, ascending.
    column : ndarray of int32, shape (D, R)
        Column of X in which a record stands in a district; every column once.
    plane : ndarray of int64, shape (M,)
        Which plane of bits belongs to a measure; -1 if its values always count.
    bits : ndarray of uint8, shape (planes / 8, D, R)
        Plane p is bit p % 8 of bits[p // 8]: whether the value counts there.
    rest : scipy.sparse.csr_array of float32, shape (F, C)
        What stands in no table; where it has an entry, the grid has 0.
    """

    G: sparse.csr_array
    table: Singles
    state: Ints
    column: NDArray[np.int32]
    plane: Ints
    bits: NDArray[np.uint8]
    rest: sparse.csr_array

    def __post_init__(self) -> None:
        (M, R, S), D = self.table.shape, len(self.state)
        fits = (
            self.column.shape == (D, R)
            and size(self.rest) == (size(self.G)[1], D * R)
            and size(self.G)[1] >= M * D
            and self.plane.shape == (M,)
            and self.bits.shape[1:] == (D, R)
            and self.plane.max(initial=ALWAYS) < 8 * len(self.bits)
            and self.state.max(initial=-1) < S
        )
        if not fits:
            raise MatrixError("the arrays of a grid matrix have sizes that do not fit each other")
        if self.plane.min(initial=ALWAYS) < ALWAYS or (np.diff(self.state) < 0).any():
            raise MatrixError("a plane of a grid matrix is below -1, or its states do not ascend")
        if self.state.min(initial=0) < 0:
            raise MatrixError(
                f"a state of a grid matrix is {self.state.min()}; there is none below 0"
            )
        if (np.sort(self.column, axis=None) != np.arange(D * R)).any():
            raise MatrixError("a grid matrix has each of its columns once; here one stands twice")

    @classmethod
    def of(
        cls, measures: Measures, targets: Sequence[Target], geography: GeographyAssignment
    ) -> GridMatrix:
        """Lay out the matrix of some targets on the grid, without making it.

        As `FactoredMatrix.of`, from the measures of the targets' signatures, with a geography
        of a complete design: `assign(design="complete")`.

        Raises
        ------
        MatrixError, TargetError
            If a record does not stand in every district exactly once, or the three do not
            belong together.
        """
        check_layout(measures, targets, geography)
        district, column = grid_of(geography)
        D, R = column.shape
        state = np.unique(state_of(Level.DISTRICT, district), return_inverse=True)[1]
        sheets = {
            m: sheet
            for m in nested(measures.signatures, targets)
            if (sheet := Sheet.of(measures, m, column, state)).holds_most
        }
        cells, rows = place(measures.signatures, targets, geography, also=[Level.DISTRICT])
        here = np.searchsorted(district, cells.codes[Level.DISTRICT])
        finest = Finest.of(rows, {m: here + k * D for k, m in enumerate(sheets)})
        left = left_over(measures, sheets, geography, district, state)
        planes = [m for m, sheet in sheets.items() if sheet.flags is not None]
        flags = np.array([sheets[m].flags for m in planes], dtype=bool).reshape(-1, D, R)
        return cls(
            G=finest.taken_in_by(len(targets)),
            table=np.array([s.table for s in sheets.values()]).reshape(-1, R, state.max() + 1),
            state=state,
            column=column,
            plane=np.array([planes.index(m) if m in planes else ALWAYS for m in sheets], int),
            bits=np.packbits(flags, axis=0, bitorder="little"),
            rest=scatter(left, cells, [[row] for row in finest.row], finest.count),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return size(self.G)[0], self.column.size

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def values(self, measure: int) -> Singles:
        """Give the grid of a measure, table times bits, shape (D, R)."""
        value = self.table[measure].T[self.state]
        if (p := self.plane[measure]) == ALWAYS:
            return value
        return np.where(self.bits[p // 8] & np.uint8(1 << p % 8), value, np.float32(0))

    def to_csr(self) -> sparse.csr_array:
        """Multiply out: X, with equal bits."""
        return self.to_factored().to_csr()

    def to_factored(self) -> FactoredMatrix:
        """Write out the grid: Z, in place of table, bits and rest."""
        D = len(self.state)
        finest, columns, data = [], [], []
        for m in range(len(self.table)):
            value = self.values(m)
            d, h = np.nonzero(value)
            finest.append((m * D + d).astype(np.int32))
            columns.append(self.column[d, h])
            data.append(value[d, h])
        rest = self.rest.tocoo()
        rows, at = rest.coords
        places = np.concatenate([*finest, rows]), np.concatenate([*columns, at])
        Z = sparse.coo_array((np.concatenate([*data, rest.data]), places), rest.shape)
        return FactoredMatrix(self.G, Z.tocsr())

    def estimates(self, weights: Floats) -> Floats:
        """X w in float64, shape (T,)."""
        w = np.asarray(weights, dtype=np.float64)
        sums = self.rest.astype(np.float64) @ w
        on_grid = w[self.column]
        for m in range(len(self.table)):
            begin = m * len(self.state)
            sums[begin : begin + len(self.state)] += (self.values(m) * on_grid).sum(axis=1)
        return self.G.astype(np.float64) @ sums

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the plain arrays that the form is made of, by name."""
        dense = {name: getattr(self, name) for name in _DENSE}
        return dense | flat("G", self.G) | flat("rest", self.rest)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> GridMatrix:
        """Make the form of what `arrays` gave.

        Raises
        ------
        MatrixError
            If an array is missing, or holds what the form cannot.
        """
        dense = {name: named(name, arrays) for name in _DENSE}
        return cls(G=unflat("G", arrays), rest=unflat("rest", arrays), **dense)
