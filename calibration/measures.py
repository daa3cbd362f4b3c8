"""What every column is worth to each measure, before areas divide it up.

A *measure* is what targets of several areas have in common: a variable and constraints. Its
household values are worked out once, whatever the number of areas, and rows of X only say
where they count:

    X[i, j] = V[m(i), j] * [column j lies in the area of row i]

V is sparse and far smaller than X: a district's row, its state's and the nation's repeat the
same numbers. Columns that no row tells apart form a *cell*, the smallest piece of the map.
Rows, areas and levels are looked up for cells and never for columns.

What is worked out for columns is worked out for `BLOCK` of them at a time. A block's arrays
fit a cache and are handed from block to block; arrays for all columns would be new memory,
which the system clears page by page, each time they are asked for.

Axes: measures m in [0, M), columns j = clone * R + record in [0, C), cells k in [0, K),
rows i in [0, T). Values are float32, as in X.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import segments
from calibration.errors import MatrixError
from calibration.geography import Level, clone_and_record
from calibration.targets import Signature, Target, check_spelling

__all__ = ["Cells", "Measures", "check_rows", "place", "scatter", "size"]

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
NOWHERE = -1  # the row of a cell that lies in no area of a measure
BLOCK = 1 << 18  # columns worked on at a time; bounds memory, never changes a value


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """The household values of every measure.

    Parameters
    ----------
    signatures : tuple of Signature, length M
        Variables and constraints.
    values : scipy.sparse.csr_array of float32, shape (M, C)
        V, with sorted columns and no stored zeros.
    """

    signatures: tuple[Signature, ...]
    values: sparse.csr_array

    @classmethod
    def collect(
        cls,
        signatures: Sequence[Signature],
        n_columns: int,
        parts: Iterable[tuple[Ints, Singles]],
    ) -> Measures:
        """Collect values that come in pieces of columns; only nonzeros are kept.

        Parameters
        ----------
        signatures : sequence of Signature, length M
        n_columns : int
            C.
        parts : iterable of (columns, values)
            Of shapes (n,) and (M, n); every column in one part.

        Raises
        ------
        MatrixError
            If the parts do not hold C columns.
        """
        rows, columns, data, done = [], [], [], 0
        for of_part, part in parts:
            m, k = np.nonzero(part)
            rows.append(m.astype(np.int32))
            columns.append(of_part[k].astype(np.int32))
            data.append(part[m, k])
            done += len(of_part)
        if done != n_columns:
            raise MatrixError(f"{done} columns were simulated, X has {n_columns}")
        joined = sparse.coo_array(
            (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))),
            shape=(len(signatures), n_columns),
        )
        del rows, columns, data
        values = joined.tocsr()
        values.sort_indices()
        return cls(tuple(signatures), values)

    @classmethod
    def gather(
        cls,
        signatures: Sequence[Signature],
        by_state: Singles,
        states: Sequence[int],
        geography: GeographyAssignment,
    ) -> Measures:
        """Give every column the value that its record has in the column's state.

        Parameters
        ----------
        signatures : sequence of Signature, length M
        by_state : ndarray of float32, shape (S, M, R)
            Values of every record as a resident of each state.
        states : sequence of int, length S
            State FIPS codes, ascending.
        geography : GeographyAssignment

        Raises
        ------
        MatrixError
            If a column lives in another state.
        """
        known, home = np.asarray(states), geography.state
        R, C = geography.n_records, geography.n_columns
        place = np.empty(C, dtype=np.int32)  # of each column's state and record in a table
        for part in _blocks(C):
            state = np.searchsorted(known, home[part]).clip(max=len(known) - 1)
            if (lost := known[state] != home[part]).any():
                raise MatrixError(
                    f"a column lives in state {home[part][lost][0]:02d}, for which there are no "
                    "values"
                )
            record = clone_and_record(np.arange(part.start, part.stop), R)[1]
            place[part] = record * len(known) + state  # neighbors in X are neighbors there
        table = by_state.transpose(1, 2, 0).reshape(len(signatures), -1)
        often = np.bincount(place, minlength=table.shape[1])
        ends = np.cumsum([0, *(often[row != 0].sum() for row in table)])
        columns, data = np.empty(ends[-1], dtype=np.int32), np.empty(ends[-1], dtype=np.float32)
        done = ends[:-1].copy()
        for part in _blocks(C):
            for m, row in enumerate(table):
                value = row[place[part]]
                here = np.flatnonzero(value)
                at = slice(done[m], done[m] + len(here))
                columns[at], data[at] = here + part.start, value[here]
                done[m] = at.stop
        values = sparse.csr_array((data, columns, ends), (len(signatures), C))
        return cls(tuple(signatures), values)

    @classmethod
    def merge(cls, parts: Sequence[Measures]) -> Measures:
        """Put measures of the same columns together, sorted by signature."""
        signatures = [signature for part in parts for signature in part.signatures]
        order = sorted(range(len(signatures)), key=signatures.__getitem__)
        values = sparse.csr_array(sparse.vstack([part.values for part in parts], format="csr"))
        return cls(tuple(signatures[m] for m in order), values[order])

    def of(self, measure: int) -> tuple[NDArray[np.int32], Singles]:
        """Give the columns, ascending, and values that a measure is not zero for."""
        begin, end = self.values.indptr[measure : measure + 2]
        columns, values = self.values.indices[begin:end], self.values.data[begin:end]
        return np.asarray(columns, dtype=np.int32), np.asarray(values, dtype=np.float32)

    def only(self, keep: NDArray[np.bool_]) -> Measures:
        """Keep some of the stored values, given a flag for each, in the order of `values`."""
        V = self.values
        indptr = np.concatenate([[0], np.cumsum(keep)])[V.indptr]
        kept = sparse.csr_array((V.data[keep], V.indices[keep], indptr), shape=V.shape)
        return Measures(self.signatures, kept)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The smallest pieces of the map: columns that lie in the same areas of every level.

    Parameters
    ----------
    of_column : ndarray of int32, shape (C,)
    codes : mapping of Level to ndarray of int64, shape (K,)
        Area code of each cell.
    """

    of_column: NDArray[np.int32]
    codes: Mapping[Level, Ints]

    @property
    def count(self) -> int:
        """K."""
        return len(next(iter(self.codes.values())))

    @classmethod
    def of(cls, geography: GeographyAssignment, levels: Iterable[Level]) -> Cells:
        """Cut the map at the borders of some levels.

        Raises
        ------
        GeographyError
            If the run does not go down to one of them.
        """
        cell = np.zeros(geography.n_columns, dtype=np.int64)
        codes: dict[Level, Ints] = {}
        for level in levels:
            known, area = _numbered(geography.code(level))
            pairs, cell = _numbered(cell * len(known) + area)
            older, area = np.divmod(pairs, len(known))
            codes = {had: code[older] for had, code in codes.items()} | {level: known[area]}
        return cls(cell.astype(np.int32), codes)

    def rows(self, level: Level, row_of: Mapping[int, int]) -> Ints:
        """Give the row of each cell, given the row of each area; NOWHERE if none, (K,)."""
        areas = np.array(sorted(row_of))
        rows = np.array([row_of[area] for area in areas.tolist()])
        code = self.codes[level]
        found = np.searchsorted(areas, code).clip(max=len(areas) - 1)
        return np.where(areas[found] == code, rows[found], NOWHERE)


def _numbered(codes: Ints) -> tuple[Ints, Ints]:
    """List the values that occur, ascending, and give each element its place among them."""
    if codes.max(initial=0) > 4 * len(codes):
        return np.unique(codes, return_inverse=True)
    seen = np.zeros(codes.max(initial=0) + 1, dtype=bool)  # linear where sorting is not
    seen[codes] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[codes]


def place(
    signatures: Sequence[Signature],
    targets: Sequence[Target],
    geography: GeographyAssignment,
    *,
    also: Iterable[Level] = (),
) -> tuple[Cells, list[list[Ints]]]:
    """Find the rows that each cell of each measure counts in.

    Parameters
    ----------
    signatures : sequence of Signature, length M
    targets : sequence of Target, length T
        Each of one of the signatures.
    geography : GeographyAssignment
    also : iterable of Level
        Levels at which cells are cut besides those of the targets.

    Returns
    -------
    cells : Cells
    rows : list of M lists
        For each level at which a measure has targets, the row of each cell, shape (K,).
    """
    wanted: dict[Signature, dict[Level, dict[int, int]]] = {s: {} for s in signatures}
    for i, target in enumerate(targets):
        wanted[target.signature].setdefault(target.level, {})[target.code] = i
    asked = {level for levels in wanted.values() for level in levels} | {*also}
    cells = Cells.of(geography, [level for level in Level if level in asked])
    return cells, [[cells.rows(*of) for of in wanted[s].items()] for s in signatures]


def check_rows(targets: Sequence[Target]) -> None:
    """Refuse targets that cannot be rows of one matrix.

    Raises
    ------
    MatrixError, TargetError
        If there are none, one stands twice, or a measure stands in two spellings.
    """
    if not targets:
        raise MatrixError("there are no targets to build rows for")
    seen: set[str] = set()
    for name in (target.name for target in targets):
        if name in seen:
            raise MatrixError(f"two targets are named {name}; the rows could not be told apart")
        seen.add(name)
    check_spelling(targets)


def size(matrix: sparse.csr_array) -> tuple[int, int]:
    """Give rows and columns of a sparse array, as the numbers that they are."""
    return cast("tuple[int, int]", matrix.shape)


def scatter(
    measures: Measures, cells: Cells, rows: Sequence[Sequence[Ints]], n_rows: int
) -> sparse.csr_array:
    """Write the values of each measure into the rows that their cells count in.

    The rows are counted first, on cells, so that every entry is written once, to its place:
    there is no list of triplets to sort.

    Parameters
    ----------
    measures : Measures
    cells : Cells
    rows : M sequences of ndarray of int64, shape (K,)
        Rows of each cell, as `place` gives them; no row in two of them.
    n_rows : int

    Returns
    -------
    scipy.sparse.csr_array of float32, shape (n_rows, C)
        Columns ascend in every row.
    """
    places = [[_Places.of(row) for row in levels] for levels in rows]
    cuts = [_cuts(measures.of(m)[0], len(cells.of_column)) for m in range(len(rows))]
    count = np.zeros(n_rows, dtype=np.int64)
    for m, levels in enumerate(places):
        here = np.bincount(cells.of_column[measures.of(m)[0]], minlength=cells.count)
        for place in levels:
            count[place.rows] += place.of_rows(here)
    begin = np.concatenate([[0], np.cumsum(count)])
    data = np.empty(begin[-1], dtype=np.float32)
    indices = np.empty(begin[-1], dtype=np.int32)
    ends = begin[:-1].copy()
    for block in range(len(_blocks(len(cells.of_column)))):
        for m, levels in enumerate(places):
            part = slice(*cuts[m][block : block + 2])
            columns, values = measures.of(m)
            columns, values = columns[part], values[part]
            cell = cells.of_column[columns]
            for place in levels:
                at, order = place.next(cell, ends)
                data[at], indices[at] = values[order], columns[order]
    small = begin[-1] <= np.iinfo(np.int32).max
    indptr = begin.astype(np.int32) if small else begin
    return sparse.csr_array(
        (data, indices, indptr), shape=(n_rows, size(measures.values)[1]), copy=False
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where entries of one level of a measure go.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Rows in use, ascending.
    rank : ndarray of uint16 or uint32, shape (K,)
        Place of each cell's row among them; n for cells in no area.
    """

    rows: Ints
    rank: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, row: Ints) -> _Places:
        rows = np.unique(row[row != NOWHERE])
        small = np.uint16 if len(rows) < np.iinfo(np.uint16).max else np.uint32
        rank = np.where(row == NOWHERE, len(rows), np.searchsorted(rows, row))
        return cls(rows, rank.astype(small))

    def of_rows(self, of_cells: Ints) -> Ints:
        """Add numbers of cells up for the rows in use."""
        n = len(self.rows)
        return np.bincount(self.rank, of_cells, n + 1)[:n].astype(np.int64)

    def next(self, cell: NDArray[np.int32], ends: Ints) -> tuple[Ints | slice, Ints | slice]:
        """Say where entries go and in which order, by row and then by column; move the ends on."""
        if len(self.rows) == 1 and not self.rank.any():  # the nation takes all, as they come
            at = slice(ends[self.rows[0]], ends[self.rows[0]] + len(cell))
            ends[self.rows] = at.stop
            return at, slice(None)
        rank = self.rank[cell]
        count = np.bincount(rank, minlength=len(self.rows) + 1)[:-1]
        order = np.argsort(rank, kind="stable")  # a radix sort, for numbers this small
        at = segments(ends[self.rows], count)
        ends[self.rows] += count
        return at, order[: len(at)]


def _blocks(n_columns: int) -> list[slice]:
    """Cut all columns into blocks."""
    return [slice(i, min(i + BLOCK, n_columns)) for i in range(0, n_columns, BLOCK)]


def _cuts(columns: NDArray[np.int32], n_columns: int) -> Ints:
    """Find where the entries of each block of columns begin, and where the last one ends."""
    return np.searchsorted(columns, [*(b.start for b in _blocks(n_columns)), n_columns])
