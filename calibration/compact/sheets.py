"""What a grid of districts and records can say with a table: which values, and where not.

A *sheet* is one measure on the grid. Its table has a value for each record and state; it
holds where a record has one value other than 0 in all districts of the state, or 0.

Axes: districts d in [0, D), records h in [0, R), states s in [0, S).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import GeographyAssignment
from calibration.errors import MatrixError
from calibration.geography import Level, clone_and_record
from calibration.measures import Measures
from calibration.targets import Signature, Target

__all__ = ["Sheet", "grid_of", "left_over", "nested"]

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]
_NESTED = {Level.NATION, Level.STATE, Level.DISTRICT}


def grid_of(geography: GeographyAssignment) -> tuple[Ints, NDArray[np.int32]]:
    """Give the districts, and the column of every record in each of them, (D, R).

    Raises
    ------
    MatrixError
        If a record does not stand in every district exactly once.
    """
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


def nested(signatures: Sequence[Signature], targets: Sequence[Target]) -> list[int]:
    """List the measures all of whose targets are for whole districts."""
    levels: dict[Signature, set[Level]] = {signature: set() for signature in signatures}
    for target in targets:
        levels[target.signature].add(target.level)
    return [m for m, signature in enumerate(signatures) if levels[signature] <= _NESTED]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """One measure on the grid: its table, where that holds, and its flags if it needs any.

    Parameters
    ----------
    table : ndarray of float32, shape (R, S)
        Values; 0 where the table does not hold.
    holds : ndarray of bool, shape (R, S)
    flags : ndarray of bool, shape (D, R), or None
        Whether the value counts there; None if it always does.
    holds_most : bool
        Whether the table holds for more values than not.
    """

    table: Singles
    holds: NDArray[np.bool_]
    flags: NDArray[np.bool_] | None
    holds_most: bool

    @classmethod
    def of(cls, measures: Measures, measure: int, column: NDArray[np.int32], state: Ints) -> Sheet:
        """Lay a measure out on the grid, given the column and the state of each place."""
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


def left_over(
    measures: Measures,
    sheets: Mapping[int, Sheet],
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
