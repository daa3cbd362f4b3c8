"""A large X, laid out for compiled loops: dense strips where columns share rows.

    X = G Z     Z (F, C): what a column adds to the finest rows;  G (T, F): sums of those

Columns that share no finest row with the others form an *island*: with geography in the
rows of Z, the columns of one district. In the order (block, island, column) neighbours
touch the same rows, so X is cut into *groups* of up to 512 neighbours, and in each group

    strips   a row that enough of the group's columns have entries in: one number for each
             column, zeros included, at unit stride, several at a time
    rest     all other entries, one by one

Either alone would do. Strips alone cannot hold a matrix without islands; entries alone cost
some ten times as much for each nonzero, as every one is looked up on its own.

Equal strips are kept once. In a complete design, where every record stands in every district,
most values depend on the record alone, or on record and state. There columns are ordered by
(block, run of records, district, record), so that the strips of one district are those of the
next, and what was a walk over all of Z stays in a near cache. This is why a grid needs no
matrix product of its own.

Sums are made by pairs of block and finest row, in the order of groups, and the pairs of a
row are added in block order (`calibration.l0.forms.Form`). The columns of this form stand in its
own order; `order` says which column of X each is.

Axes: columns j (C), in the form's order; groups g; strips s; finest rows f (F); targets T;
pairs p of block and finest row, in that order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.errors import FitError
from calibration.l0.forms import BLOCKS, keep_32_bits, share_out

__all__ = ["Layout", "Strips", "usable_threads"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Layout(NamedTuple):
    """The arrays of the compiled loops; T is float64 or float32.

    Attributes
    ----------
    block_group : (65,) array of int64
        First group of each block.
    group_column, group_strip : (groups + 1,) arrays of int64
        First column, first strip of each group.
    strip_pair : (S,) array of int32
    strip_at : (S,) array of int64
        Where in `dense` a strip begins; it is as long as its group is wide.
    dense : array of T
    rest_start : (C + 1,) array of int64
        First other entry of each column.
    rest_pair : (E,) array of int32
    rest_value : (E,) array of T
    """

    block_group: Indices
    group_column: Indices
    group_strip: Indices
    strip_pair: NDArray[np.int32]
    strip_at: Indices
    dense: NDArray[Any]
    rest_start: Indices
    rest_pair: NDArray[np.int32]
    rest_value: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """X for compiled loops; made by `Strips.read`.

    Parameters
    ----------
    layout : Layout
    order : (C,) array of int64
        Column of X that stands at each place.
    block : (C,) array of int64
        In the form's order, so ascending.
    pair_block, pair_row : (P,) arrays of int64
        Block and finest row of each pair.
    gather : sparse array (T, F) or None
        G, if the finest rows are not the targets.
    n_rows : int
    threads : int
        How many share out the blocks.
    """

    layout: Layout
    order: Indices
    block: Indices
    pair_block: Indices
    pair_row: Indices
    gather: Any
    n_rows: int
    threads: int

    @classmethod
    def read(
        cls,
        Z: Any,
        block: Indices,
        *,
        gather: Any = None,
        cells: NDArray[np.integer] | None = None,
        dtype: str = "float64",
        threads: int = 1,
    ) -> Strips:
        """Lay out a matrix.

        Parameters
        ----------
        Z : (F, C) sparse array
            Duplicates are added and zeros dropped.
        block : (C,) array of int64
        gather : (T, F) sparse array or None
        cells : (districts, records) array of integers or None
            Column of Z of each record in each district, in a complete design.
        dtype : {"float64", "float32"}
        threads : int

        Returns
        -------
        Strips

        Raises
        ------
        FitError
            If an entry is not finite; the message names row and column.
        """
        import calibration.l0.laying_out as build

        columns, n_finest = _clean(Z, dtype), int(Z.shape[0])
        if gather is not None:
            gather = sparse.csr_array(gather, dtype=np.float64)
        if cells is None:
            island = build.islands(columns.indptr.astype(np.int64), columns.indices, n_finest)
            order = np.argsort(block * (n_finest + 1) + island, kind="stable")
        else:
            island, order = build.grid_order(cells, block)
        return cls._arrange(
            columns, order, block=block[order], island=island[order], gather=gather, threads=threads
        )

    @classmethod
    def _arrange(
        cls,
        Z: Any,
        order: Indices,
        *,
        block: Indices,
        island: Indices,
        gather: Any,
        threads: int,
    ) -> Strips:
        """Lay out a matrix by column, its columns taken in a given order."""
        import calibration.l0.laying_out as build

        start, rows, values = Z.indptr.astype(np.int64), Z.indices, Z.data
        block_group, group_column = build.groups(block, island, BLOCKS)
        pair_of, pair_block, pair_row = build.pairs(start, rows, order, block, Z.shape[0])
        laid_out = build.strips(start, rows, values, order, group_column, pair_of, block)
        layout = Layout(block_group, group_column, *laid_out)
        n_rows = int((Z if gather is None else gather).shape[0])
        return cls(layout, order, block, pair_block, pair_row, gather, n_rows, threads)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return self.n_rows, self.block.size

    @property
    def is_compiled(self) -> bool:
        """Yes."""
        return True

    @property
    def n_finest(self) -> int:
        """F, the number of finest rows."""
        return self.n_rows if self.gather is None else int(self.gather.shape[1])

    def share_out(self, task: Callable[[int, int], None]) -> None:
        """Do a task for all blocks, given as lo and hi, with the form's threads.

        Parameters
        ----------
        task : function of (lo, hi)
            Does blocks lo to hi - 1, and touches nothing of the others.
        """
        if self.threads == 1:
            return task(0, BLOCKS)
        cuts = share_out(self.block, self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(task, cuts[:-1], cuts[1:]))
        return None

    def from_pairs(self, partial: Floats) -> Floats:
        """Give X w for the partial sums of each pair.

        Parameters
        ----------
        partial : (P,) array of float64

        Returns
        -------
        (T,) array of float64
        """
        total = np.bincount(self.pair_row, partial, minlength=self.n_finest)
        return self.combine(np.asarray(total, dtype=np.float64))

    def to_pairs(self, row_values: Floats) -> Floats:
        """Give each pair what a vector over the targets says to its row.

        Parameters
        ----------
        row_values : (T,) array of float64

        Returns
        -------
        (P,) array of float64
        """
        finest = row_values if self.gather is None else self.gather.T @ row_values
        return finest.take(self.pair_row)

    def pair_sums(self, weights: Floats) -> Floats:
        """Give the partial sums; see `Form.pair_sums`."""
        import calibration.l0.passes as passes  # noqa: PLR0402

        partial = np.zeros(self.pair_row.size)
        self.share_out(lambda lo, hi: passes.sums(self.layout, lo, hi, weights, partial))
        return partial

    def combine(self, total: Floats) -> Floats:
        """Apply G to sums over the finest rows; see `Form.combine`."""
        return total if self.gather is None else self.gather @ total

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
        import calibration.l0.passes as passes  # noqa: PLR0402

        values, out = self.to_pairs(row_values), np.empty(self.block.size)
        self.share_out(lambda lo, hi: passes.pull(self.layout, lo, hi, values, out))
        return out

    def touched(self, row_values: Floats) -> Floats:
        """Add a vector over the rows of each column; see `Form.touched`.

        A row counts once for each finest row through which the column adds to it.
        """
        finest = row_values if self.gather is None else abs(self.gather.sign()).T @ row_values
        values, out = finest.take(self.pair_row), np.zeros(self.block.size)
        for columns, pair, _ in self._entries():
            out += np.bincount(columns, values[pair], minlength=out.size)
        return out

    def largest(self, weights: Floats) -> Floats:
        """Give the largest contribution to each row; see `Form.largest`."""
        finest = np.zeros(self.n_finest)
        for columns, pair, values in self._entries():
            np.maximum.at(finest, self.pair_row[pair], np.abs(values) * weights[columns])
        if self.gather is None:
            return finest
        scaled = abs(self.gather).multiply(finest)
        return np.asarray(scaled.max(axis=1).toarray()).ravel()

    def signs(self, kept: Bools | None = None) -> tuple[Bools, Bools]:
        """Say which signs each row has; see `Form.signs`."""
        down, up = np.zeros(self.n_finest, np.bool_), np.zeros(self.n_finest, np.bool_)
        for columns, pair, values in self._entries():
            inside = slice(None) if kept is None else kept[columns]
            for found, side in ((down, values[inside] < 0), (up, values[inside] > 0)):
                found[self.pair_row[pair[inside][side]]] = True
        if self.gather is None:
            return down, up
        plus, minus = self.gather > 0, self.gather < 0
        return (plus @ down) | (minus @ up), (plus @ up) | (minus @ down)

    def restrict(self, kept: Bools) -> Strips:
        """Give the form of fewer columns; see `Form.restrict`."""
        renumber = np.cumsum(kept) - 1
        parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        for columns, pair, values in self._entries():
            inside = kept[columns]
            parts.append((renumber[columns[inside]], self.pair_row[pair[inside]], values[inside]))
        columns, rows, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        shape = (self.n_finest, int(np.count_nonzero(kept)))
        Z = sparse.csc_array((values, (rows, columns)), shape=shape)
        places, cuts = np.arange(shape[1]), self.layout.group_column
        group = np.repeat(np.arange(cuts.size - 1), np.diff(cuts))  # stands for the island
        return self._arrange(
            Z,
            places,
            block=self.block[kept],
            island=group[kept],
            gather=self.gather,
            threads=self.threads,
        )

    def part(self, lo: int, hi: int) -> tuple[Strips, Indices]:
        """Give the form of some blocks; see `Form.part`."""
        x = self.layout
        groups = slice(x.block_group[lo], x.block_group[hi] + 1)
        column, strip = x.group_column[groups], x.group_strip[groups]
        columns, strips = slice(column[0], column[-1]), slice(strip[0], strip[-1])
        rest = x.rest_start[columns.start : columns.stop + 1]
        entries = slice(rest[0], rest[-1])
        pairs = slice(*np.searchsorted(self.pair_block, (lo, hi)))
        place, width = x.strip_at[strips], np.repeat(np.diff(column), np.diff(strip))
        dense = slice(place.min(initial=x.dense.size), (place + width).max(initial=0))
        layout = Layout(
            block_group=np.clip(x.block_group, groups.start, groups.stop - 1) - groups.start,
            group_column=column - columns.start,
            group_strip=strip - strips.start,
            strip_pair=x.strip_pair[strips] - np.int32(pairs.start),
            strip_at=place - dense.start,
            dense=x.dense[dense].copy(),
            rest_start=rest - entries.start,
            rest_pair=x.rest_pair[entries] - np.int32(pairs.start),
            rest_value=x.rest_value[entries].copy(),
        )
        form = replace(
            self,
            layout=layout,
            order=self.order[columns],
            block=self.block[columns],
            pair_block=self.pair_block[pairs],
            pair_row=self.pair_row[pairs],
        )
        return form, np.arange(columns.start, columns.stop)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the layout, the rows of its pairs, the order, and G."""
        found: dict[str, NDArray[Any]] = dict(self.layout._asdict())
        found |= {"pair_row": self.pair_row, "order": self.order}
        if self.gather is not None:
            found |= {f"gather_{n}": getattr(self.gather, n) for n in ("data", "indices", "indptr")}
        return found

    def _entries(self) -> Iterator[tuple[Indices, Indices, Floats]]:
        """Columns, pairs and values of the entries, block by block."""
        import calibration.l0.laying_out as build

        none, nothing = np.empty(0, np.int64), np.empty(0)
        for b in range(BLOCKS):
            n = build.unpack(self.layout, b, b + 1, none, none, nothing)
            found = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
            if n:
                build.unpack(self.layout, b, b + 1, *found)
                yield found


def usable_threads() -> int:
    """Give the number of processors that this process may use.

    Returns
    -------
    int
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _clean(Z: Any, dtype: str) -> Any:
    """Entries by column and row, each once, none of them 0, as a copy only if need be."""
    columns: Any = sparse.csc_array(Z)
    if columns.dtype != dtype or not columns.has_canonical_format:
        columns = columns.astype(dtype)
        columns.sum_duplicates()
    if not np.isfinite(columns.data).all():
        bad = int(np.flatnonzero(~np.isfinite(columns.data))[0])
        column = int(np.searchsorted(columns.indptr, bad, side="right")) - 1
        raise FitError(
            f"X is {columns.data[bad]} at row {columns.indices[bad]}, column {column}; "
            "every entry must be finite"
        )
    if dtype == "float64":
        columns = sparse.csc_array(
            (keep_32_bits(columns.data), columns.indices, columns.indptr), shape=columns.shape
        )
    if not columns.data.all():
        columns = columns.copy()
        columns.eliminate_zeros()
    return columns
