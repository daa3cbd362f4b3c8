"""The compiled steps that turn a sparse matrix into strips, and back into entries.

    islands -> (order) -> groups -> pairs -> strips          unpack: strips -> entries

Each step is one walk over the entries of Z by column; `calibration.l0.strips` says what the
results mean. Importing this module imports numba.

Axes: columns j (C); `order` lists them by (block, island, column); groups g; finest rows f
(F); pairs p; entries e of Z by column, `start` (C + 1,) being the first of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.l0.passes import WIDTH
from calibration.rng_numba import compiled

__all__ = ["grid_order", "groups", "islands", "pairs", "strips", "unpack"]

Indices = NDArray[np.int64]

_FILL = 1 / 12  # share of a group's columns from which on a row is a strip: one entry costs
_NARROW = WIDTH // 4  # as much as twelve places of a strip. Narrower islands share a group.


@compiled()
def _root(parent, row):
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@compiled()
def islands(start, rows, n_finest):
    """Give each column the smallest finest row of its island.

    Parameters
    ----------
    start : (C + 1,) array of int64
    rows : (E,) array of int32
    n_finest : int

    Returns
    -------
    (C,) array of int64
        F for a column without entries.
    """
    parent = np.arange(n_finest)
    for j in range(len(start) - 1):
        for e in range(start[j] + 1, start[j + 1]):
            one, two = _root(parent, rows[start[j]]), _root(parent, rows[e])
            parent[max(one, two)] = min(one, two)
    out = np.full(len(start) - 1, n_finest)
    for j in range(len(start) - 1):
        if start[j] < start[j + 1]:
            out[j] = _root(parent, rows[start[j]])
    return out


def grid_order(cells: NDArray[np.integer], block: Indices) -> tuple[Indices, Indices]:
    """Give islands and order of a complete design: districts, one run of records after another.

    Parameters
    ----------
    cells : (districts, records) array of integers
        Column of each record in each district.
    block : (C,) array of int64

    Returns
    -------
    island : (C,) array of int64
        A district, and a run of at most a group's width of the records of the block.
    order : (C,) array of int64
        Columns by block, run, district and record.
    """
    districts, records = cells.shape
    district, record = np.empty(block.size, np.int64), np.empty(block.size, np.int64)
    district[cells] = np.arange(districts)[:, np.newaxis]
    record[cells] = np.arange(records)
    here = np.zeros((int(block.max()) + 1, records), np.int64)
    here[block, record] = 1
    count = here.sum(axis=1)[block]  # records of the block
    run = (np.cumsum(here, axis=1)[block, record] - 1) * -(-count // WIDTH) // count
    island = run * districts + district
    return island, np.lexsort((record, island, block))


def groups(block: Indices, island: Indices, n_blocks: int) -> tuple[Indices, Indices]:
    """Cut columns into groups that stay within a block.

    Parameters
    ----------
    block, island : (C,) arrays of int64
        In the form's order.
    n_blocks : int

    Returns
    -------
    block_group : (n_blocks + 1,) array of int64
    group_column : (groups + 1,) array of int64
    """
    group_column = _cuts(block, island)
    first = np.searchsorted(block, np.arange(n_blocks + 1))
    return np.searchsorted(group_column, first), group_column


@compiled()
def _cuts(block, island):
    """First column of each group, and the end: wide islands apart, cut evenly."""
    cuts = [0]
    begin, width = 0, len(block)
    while begin < width:
        end = begin
        while end < width and block[end] == block[begin] and island[end] == island[begin]:
            end += 1
        waiting = begin - cuts[-1]  # columns of narrow islands that form a group as yet
        same = waiting > 0 and block[cuts[-1]] == block[begin]
        if waiting > 0 and not (same and waiting < _NARROW and waiting + end - begin <= WIDTH):
            cuts.append(begin)
            waiting = 0
        pieces = (waiting + end - begin + WIDTH - 1) // WIDTH
        base, span = cuts[-1], waiting + end - begin
        for piece in range(1, pieces):
            cuts.append(base + span * piece // pieces)
        if pieces > 1:
            cuts.append(end)
        begin = end
    if cuts[-1] != width:
        cuts.append(width)
    return np.array(cuts)


def pairs(
    start: Indices, rows: NDArray[Any], order: Indices, block: Indices, n_finest: int
) -> tuple[NDArray[np.int32], Indices, Indices]:
    """Give numbers to the nonempty pairs of block and finest row.

    Parameters
    ----------
    start, rows
        Entries of Z by column.
    order, block : (C,) arrays of int64
        Columns in the form's order, and their blocks.
    n_finest : int

    Returns
    -------
    pair_of : (blocks, F) array of int32
        -1 for an empty pair.
    pair_block, pair_row : (P,) arrays of int64
    """
    found = np.zeros((block.max(initial=-1) + 1, n_finest), dtype=np.bool_)
    _mark(start, rows, order, block, found)
    pair_of = np.full(found.shape, -1, dtype=np.int32)
    pair_of[found] = np.arange(np.count_nonzero(found))
    pair_block, pair_row = np.nonzero(found)
    return pair_of, pair_block, pair_row


@compiled()
def _mark(start, rows, order, block, found):
    for k in range(len(order)):
        for e in range(start[order[k]], start[order[k] + 1]):
            found[block[k], rows[e]] = True


@compiled()
def _count(start, rows, order, first, last, counts, touched):
    """Count a group's entries by row; give how many rows it touches, listed in `touched`."""
    n = 0
    for k in range(first, last):
        for e in range(start[order[k]], start[order[k] + 1]):
            if counts[rows[e]] == 0:
                touched[n] = rows[e]
                n += 1
            counts[rows[e]] += 1
    touched[:n].sort()
    return n


@compiled()
def _first_equal(words, per, s, width, place, table):
    """Give the first strip whose numbers have the bits of those of strip s; s, if there is none."""
    begin, end = place[s] * per, (place[s] + width[s]) * per
    code = np.uint64(end - begin)
    for i in range(begin, end):
        code = (code ^ np.uint64(words[i])) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(code >> np.uint64(20)) & (len(table) - 1)
    while table[slot] >= 0:
        other = table[slot]
        i, shift = begin, place[other] * per - begin
        if width[other] == width[s]:
            while i < end and words[i] == words[i + shift]:
                i += 1
        if i == end:
            return other
        slot = (slot + 1) & (len(table) - 1)
    table[slot] = s
    return s


@compiled()
def _keep_once(dense, per, end, lo, hi, width, place, table):
    """Put strips lo to hi - 1, the last, behind `end` or where equal ones are; give the new end."""
    words = dense.view(np.uint32)
    for s in range(lo, hi):
        begin, equal = place[s], _first_equal(words, per, s, width, place, table)
        if equal < s:
            place[s] = place[equal]
        else:
            for i in range(width[s]):
                dense[end + i] = dense[begin + i]
            place[s] = end
            end += width[s]
    return end


@compiled()
def strips(start, rows, values, order, group_column, pair_of, block):
    """Fill strips and rest; a strip that equals an earlier one is put where that is.

    Parameters
    ----------
    start, rows, values
        Entries of Z by column.
    order, block : (C,) arrays of int64
    group_column : (groups + 1,) array of int64
    pair_of : (blocks, F) array of int32

    Returns
    -------
    tuple of arrays
        From `group_strip` on, those of `calibration.l0.strips.Layout`.
    """
    n_groups, n_finest = len(group_column) - 1, pair_of.shape[1]
    counts, touched = np.zeros(n_finest, np.int64), np.empty(n_finest, np.int64)
    group_strip = np.zeros(n_groups + 1, np.int64)
    size, rest = 0, 0
    for g in range(n_groups):
        first, last = group_column[g], group_column[g + 1]
        group_strip[g + 1] = group_strip[g]
        for r in touched[: _count(start, rows, order, first, last, counts, touched)]:
            if counts[r] >= _FILL * (last - first):
                group_strip[g + 1] += 1
                size += last - first
            else:
                rest += counts[r]
            counts[r] = 0
    strip_pair = np.empty(group_strip[-1], np.int32)
    strip_at = np.empty(group_strip[-1], np.int64)
    dense, per = np.empty(size, values.dtype), values.itemsize // 4
    width = np.empty(group_strip[-1], np.int64)
    table = np.full(1 << (np.int64(np.log2(len(width) + 1)) + 2), -1)  # strips by their bits
    rest_start = np.zeros(len(order) + 1, np.int64)
    rest_pair, rest_value = np.empty(rest, np.int32), np.empty(rest, values.dtype)
    place, at, e_rest = np.full(n_finest, -1, np.int64), 0, 0
    for g in range(n_groups):
        first, last = group_column[g], group_column[g + 1]
        s, begin = group_strip[g], at
        n = _count(start, rows, order, first, last, counts, touched)
        for r in touched[:n]:
            if counts[r] >= _FILL * (last - first):
                strip_pair[s], strip_at[s], place[r] = pair_of[block[first], r], at, at
                width[s] = last - first
                dense[at : at + width[s]] = 0
                at += width[s]
                s += 1
        for k in range(first, last):
            for e in range(start[order[k]], start[order[k] + 1]):
                if place[rows[e]] >= 0:
                    dense[place[rows[e]] + k - first] = values[e]
                else:
                    rest_pair[e_rest] = pair_of[block[first], rows[e]]
                    rest_value[e_rest] = values[e]
                    e_rest += 1
            rest_start[k + 1] = e_rest
        for r in touched[:n]:
            counts[r], place[r] = 0, -1
        at = _keep_once(dense, per, begin, group_strip[g], s, width, strip_at, table)
    return group_strip, strip_pair, strip_at, dense[:at], rest_start, rest_pair, rest_value


@compiled()
def unpack(x, lo, hi, columns, pair, values):
    """List the entries of some blocks.

    Parameters
    ----------
    x : Layout
    lo, hi : int
        Blocks lo to hi - 1.
    columns, pair, values : arrays
        Filled; if they are empty, entries are only counted.

    Returns
    -------
    int
        How many there are.
    """
    n = 0
    for g in range(x.block_group[lo], x.block_group[hi]):
        first, last = x.group_column[g], x.group_column[g + 1]
        for k in range(first, last):
            for s in range(x.group_strip[g], x.group_strip[g + 1]):
                value = x.dense[x.strip_at[s] + k - first]
                if value != 0:
                    if len(columns):
                        columns[n], pair[n], values[n] = k, x.strip_pair[s], value
                    n += 1
            for e in range(x.rest_start[k], x.rest_start[k + 1]):
                if len(columns):
                    columns[n], pair[n], values[n] = k, x.rest_pair[e], x.rest_value[e]
                n += 1
    return n
