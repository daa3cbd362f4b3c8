r"""Two exact compact forms of X, for fits that read it a thousand times.

The same value stands in X once for the nation, once for its state and once for its
district. Both forms keep it once:

    X = G Z,    G[i, f] = 1 if the finest row f lies in the area of row i, else 0

A *finest row* is a measure in the smallest piece of the map that the targets of the measure
tell apart, for most measures a district. `FactoredMatrix` stores Z as it is.

`GridMatrix` is for a complete design, where every record stands in every district once.
There a column is a point (d, h) of a grid, and most values depend on the record, the state
and one takeup flag alone. So Z is a table, and a bit:

    Z[f, j] = table[m, h, s(d)] * bit[m, d, h]  or  rest[f, j],    f = m * D + d,  j = column[d, h]

Where a record has more than one value other than 0 within a state (premiums of several
counties, two units that take up separately), its table is 0 there and the values stand in
`rest`, as do measures with targets for counties or places. Which of them it is, is read off
the values, never assumed. So in both forms an entry of X is one stored number, and
`to_csr` gives X back bit for bit.

Axes: rows i in [0, T), finest rows f in [0, F), columns j = clone * R + record in [0, C),
measures m, districts d in [0, D), records h in [0, R), states s in [0, S).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.crosswalk import GeographyAssignment
from calibration.errors import MatrixError
from calibration.files import read_npz, write_npz
from calibration.geography import Level, clone_and_record, state_of
from calibration.measures import NOWHERE, Measures, place, scatter, size
from calibration.targets import Signature, Target

__all__ = ["FactoredMatrix", "GridMatrix"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
_NESTED = {Level.NATION, Level.STATE, Level.DISTRICT}
_ALWAYS = -1  # plane of a measure whose table holds for all clones in a state


@dataclass(frozen=True, slots=True, eq=False)
class FactoredMatrix:
    """X as G Z, exactly.

    Parameters
    ----------
    G : scipy.sparse.csr_array of float32, shape (T, F)
        Ones where a row of X takes in a finest row. Finest rows that share a column are
        never taken in by the same row.
    Z : scipy.sparse.csr_array of float32, shape (F, C)
        Values of each measure in each finest area; columns ascend in every row.
    """

    G: sparse.csr_array
    Z: sparse.csr_array

    def __post_init__(self) -> None:
        if size(self.G)[1] != size(self.Z)[0]:
            raise MatrixError(f"G is {size(self.G)} and Z is {size(self.Z)}; they do not fit")

    @classmethod
    def of(
        cls, measures: Measures, targets: Sequence[Target], geography: GeographyAssignment
    ) -> FactoredMatrix:
        """Factor the matrix of some targets, without making it.

        Parameters
        ----------
        measures : Measures
            Of the signatures of the targets.
        targets : sequence of Target
            T targets, in the order of the rows.
        geography : GeographyAssignment
            Where the columns live.
        """
        cells, rows = place(measures.signatures, targets, geography)
        finest = _Finest.of(rows, {})
        Z = scatter(measures, cells, [[row] for row in finest.row], finest.count)
        return cls(finest.taken_in_by(len(targets)), Z)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return size(self.G)[0], size(self.Z)[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def to_csr(self) -> sparse.csr_array:
        """Multiply out: X, with equal bits."""
        return _product(self.G, self.Z)

    def estimates(self, weights: Floats) -> Floats:
        """X w in float64, shape (T,)."""
        w = np.asarray(weights, dtype=np.float64)
        return self.G.astype(np.float64) @ (self.Z.astype(np.float64) @ w)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return _flat("G", self.G) | _flat("Z", self.Z)

    def save(self, path: Path) -> None:
        """Write to an `.npz` file that `load` reads back bit for bit."""
        write_npz(path, self._arrays() | {"form": np.array("factored")})

    @classmethod
    def load(cls, path: Path) -> FactoredMatrix:
        """Read what `save` wrote.

        Raises
        ------
        FileError, MatrixError
            If the file is damaged or holds something else.
        """
        arrays = _Arrays(path, "factored")
        return cls(_sparse("G", arrays, path), _sparse("Z", arrays, path))


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
            and self.plane.max(initial=_ALWAYS) < 8 * len(self.bits)
            and self.state.max(initial=-1) < S
        )
        if not fits:
            raise MatrixError("the arrays of a grid matrix have sizes that do not fit each other")

    @classmethod
    def of(
        cls, measures: Measures, targets: Sequence[Target], geography: GeographyAssignment
    ) -> GridMatrix:
        """Lay out the matrix of some targets on the grid, without making it.

        Parameters
        ----------
        measures : Measures
            Of the signatures of the targets.
        targets : sequence of Target
            T targets, in the order of the rows.
        geography : GeographyAssignment
            Of a complete design, `assign(design="complete")`.

        Raises
        ------
        MatrixError
            If a record does not stand in every district exactly once.
        """
        district, column = _grid_of(geography)
        D, R = column.shape
        state = np.unique(state_of(Level.DISTRICT, district), return_inverse=True)[1]
        sheets = {
            m: sheet
            for m in _nested(measures.signatures, targets)
            if (sheet := _Sheet.of(measures, m, column, state)).holds_most
        }
        cells, rows = place(measures.signatures, targets, geography, also=[Level.DISTRICT])
        here = np.searchsorted(district, cells.codes[Level.DISTRICT])
        finest = _Finest.of(rows, {m: here + k * D for k, m in enumerate(sheets)})
        left = _left_over(measures, sheets, geography, district, state)
        planes = [m for m, sheet in sheets.items() if sheet.flags is not None]
        flags = np.array([sheets[m].flags for m in planes], dtype=bool).reshape(-1, D, R)
        return cls(
            G=finest.taken_in_by(len(targets)),
            table=np.array([s.table for s in sheets.values()]).reshape(-1, R, state.max() + 1),
            state=state,
            column=column,
            plane=np.array([planes.index(m) if m in planes else _ALWAYS for m in sheets], int),
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
        return sum(array.nbytes for array in self._arrays().values())

    def values(self, measure: int) -> Singles:
        """Give the grid of a measure, table times bits, shape (D, R)."""
        value = self.table[measure].T[self.state]
        if (p := self.plane[measure]) == _ALWAYS:
            return value
        return np.where(self.bits[p // 8] & np.uint8(1 << p % 8), value, np.float32(0))

    def to_csr(self) -> sparse.csr_array:
        """Multiply out: X, with equal bits."""
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
        return _product(self.G, Z.tocsr())

    def estimates(self, weights: Floats) -> Floats:
        """X w in float64, shape (T,)."""
        w = np.asarray(weights, dtype=np.float64)
        sums = self.rest.astype(np.float64) @ w
        on_grid = w[self.column]
        for m in range(len(self.table)):
            begin = m * len(self.state)
            sums[begin : begin + len(self.state)] += (self.values(m) * on_grid).sum(axis=1)
        return self.G.astype(np.float64) @ sums

    def _arrays(self) -> dict[str, NDArray[Any]]:
        dense = {
            name: getattr(self, name) for name in ("table", "state", "column", "plane", "bits")
        }
        return dense | _flat("G", self.G) | _flat("rest", self.rest)

    def save(self, path: Path) -> None:
        """Write to an `.npz` file that `load` reads back bit for bit."""
        write_npz(path, self._arrays() | {"form": np.array("grid")})

    @classmethod
    def load(cls, path: Path) -> GridMatrix:
        """Read what `save` wrote.

        Raises
        ------
        FileError, MatrixError
            If the file is damaged or holds something else.
        """
        arrays = _Arrays(path, "grid")
        dense = {name: arrays[name] for name in ("table", "state", "column", "plane", "bits")}
        G, rest = _sparse("G", arrays, path), _sparse("rest", arrays, path)
        return cls(G=G, rest=rest, **dense)


# -- finest rows -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Finest:
    """Finest rows of all measures.

    row[m] gives the finest row of each cell, (K,); `taken` the pairs of a row of X and a
    finest row that it takes in, (2, n).
    """

    count: int
    row: list[Ints]
    taken: Ints

    @classmethod
    def of(cls, rows: Sequence[Sequence[Ints]], given: Mapping[int, Ints]) -> _Finest:
        """Give numbers to what the rows of each measure tell apart; some measures have them."""
        used = max((int(row.max()) + 1 for row in given.values()), default=0)
        number, pairs = [], [np.zeros((2, 0), dtype=np.int64)]
        for m, levels in enumerate(rows):
            if m in given:
                number.append(given[m])
            else:
                found, atom = np.unique(np.array(levels), axis=1, return_inverse=True)
                inside = (found != NOWHERE).any(axis=0)
                number.append(np.where(inside, used + np.cumsum(inside) - 1, NOWHERE)[atom])
                used += int(inside.sum())
            for row in levels:
                both = np.stack([row, number[m]])
                pairs.append(np.unique(both[:, row != NOWHERE], axis=1))
        return cls(used, number, np.concatenate(pairs, axis=1))

    def taken_in_by(self, n_rows: int) -> sparse.csr_array:
        """Write G."""
        ones = np.ones(self.taken.shape[1], dtype=np.float32)
        at = tuple(self.taken.astype(np.int32))
        G = sparse.coo_array((ones, at), shape=(n_rows, self.count)).tocsr()
        G.sort_indices()
        return G


# -- the grid --------------------------------------------------------------------------


def _grid_of(geography: GeographyAssignment) -> tuple[Ints, NDArray[np.int32]]:
    """Give the districts, and the column of every record in each of them, (D, R)."""
    district, d = np.unique(geography.code(Level.DISTRICT), return_inverse=True)
    N, R = geography.n_clones, geography.n_records
    record = clone_and_record(np.arange(N * R), R)[1]
    column = np.full((len(district), R), -1, dtype=np.int32)
    column[d, record] = np.arange(N * R)
    if len(district) != N or (column < 0).any():
        raise MatrixError(
            f"{N} clones in {len(district)} districts do not stand in each of them once; "
            'assign(..., design="complete") makes them so'
        )
    return district, column


def _nested(signatures: Sequence[Signature], targets: Sequence[Target]) -> list[int]:
    """List the measures all of whose targets are for whole districts."""
    levels: dict[Signature, set[Level]] = {signature: set() for signature in signatures}
    for target in targets:
        levels[target.signature].add(target.level)
    return [m for m, signature in enumerate(signatures) if levels[signature] <= _NESTED]


@dataclass(frozen=True, slots=True, eq=False)
class _Sheet:
    """One measure on the grid: its table, where that holds, and its bits if it needs any."""

    table: Singles  # (R, S)
    holds: NDArray[np.bool_]  # (R, S)
    flags: NDArray[np.bool_] | None  # (D, R)
    holds_most: bool

    @classmethod
    def of(cls, measures: Measures, measure: int, column: NDArray[np.int32], state: Ints) -> _Sheet:
        columns, values = measures.of(measure)
        dense = np.zeros(column.size, dtype=np.float32)
        dense[columns] = values
        grid = dense[column]  # (D, R)
        first = np.searchsorted(state, np.arange(state.max() + 1))
        high = np.maximum.reduceat(grid, first, axis=0)
        low = np.minimum.reduceat(grid, first, axis=0)
        value = np.where(low == 0, high, low)  # (S, R)
        as_table = (grid == 0) | (grid == value[state])
        holds = np.logical_and.reduceat(as_table, first, axis=0)
        off = (holds & (low != high)).any()
        table = np.where(holds, value, 0).T
        kept = np.count_nonzero((grid != 0) & holds[state])
        return cls(table, holds.T, grid != 0 if off else None, bool(2 * kept > len(values)))


def _left_over(
    measures: Measures,
    sheets: Mapping[int, _Sheet],
    geography: GeographyAssignment,
    district: Ints,
    state: Ints,
) -> Measures:
    """Keep the values that stand in no table."""
    of_column = state[np.searchsorted(district, geography.code(Level.DISTRICT))]
    keep = np.ones(measures.values.nnz, dtype=bool)
    indptr = measures.values.indptr
    for m, sheet in sheets.items():
        columns, _ = measures.of(m)
        record = clone_and_record(columns, geography.n_records)[1]
        keep[indptr[m] : indptr[m + 1]] = ~sheet.holds[record, of_column[columns]]
    return measures.only(keep)


# -- sparse arrays ---------------------------------------------------------------------


def _product(G: sparse.csr_array, Z: sparse.csr_array) -> sparse.csr_array:
    """Give G Z; every entry is one entry of Z, so nothing is rounded."""
    X = sparse.csr_array(G @ Z)
    X.sort_indices()
    return X


def _flat(name: str, matrix: sparse.csr_array) -> dict[str, NDArray[Any]]:
    parts = {part: getattr(matrix, part) for part in ("data", "indices", "indptr")}
    return {f"{name}_{part}": a for part, a in parts.items()} | {
        f"{name}_shape": np.array(matrix.shape)
    }


def _sparse(name: str, arrays: _Arrays, path: Path) -> sparse.csr_array:
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    try:
        return sparse.csr_array((data, indices, indptr), tuple(arrays[f"{name}_shape"]))
    except ValueError as error:
        raise MatrixError(f"{path}: {name} is not a sparse array ({error})") from error


class _Arrays(dict[str, NDArray[Any]]):
    """Arrays of a file; one that is not there is named."""

    def __init__(self, path: Path, form: str) -> None:
        super().__init__(read_npz(path))
        self._path = path
        if str(self.get("form")) != form:
            raise MatrixError(f"{path} does not hold a {form} matrix; it has {', '.join(self)}")

    def __missing__(self, name: str) -> NDArray[Any]:
        raise MatrixError(f"{self._path} has no array {name!r}; write it again")
