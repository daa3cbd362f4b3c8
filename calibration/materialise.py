"""The one expansion kernel: columns of X become households in a dataset.

The matrix is computed from materialised columns, files are written from materialised
columns, checks reread them. There is one kernel, so what is calibrated and what is
written have the same households, people and units by construction.

Column j of X is clone c of record h (`geography.column_of`). It becomes one household:
the record's people and units under new ids, the clone's geography, and of every by-state
column the value of the clone's state.

    rows    entity e of the result = for each column in turn, the record's rows of e
    ids     0, 1, 2, ... in that order
    links   new unit of a person = first unit of the column + rank of the person's unit
            among the units of the record

Where each row came from stays with it: `clone_index` on the household, and on every
entity `record_{e}_id`, its id among the R records. Those, not the new ids, key the draws
of `calibration.takeup`.

Axes: columns j given in any order, n of them; entity rows as above. Tables are lazy: a
column is gathered when it is read and not kept, so a caller that needs six columns, or
writes one after the other, never holds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset, segments
from calibration.errors import DatasetError, GeographyError
from calibration.geography import Level, clone_and_record

__all__ = ["GEOGRAPHY_COLUMNS", "LazyTable", "materialise"]

Ints = NDArray[np.int64]


def _digits(width: int) -> Callable[[Ints], Array]:
    """Write codes as zero-padded text; 0, "none", becomes empty."""

    def write(codes: Ints) -> Array:
        values, index = np.unique(codes, return_inverse=True)
        text = np.array([f"{v:0{width}d}" if v else "" for v in values], dtype=f"U{width}")
        return text[index]

    return write


_FROM_LEVEL: dict[str, tuple[Level, Callable[[Ints], Array]]] = {
    "state_fips": (Level.STATE, np.asarray),
    "county_fips": (Level.COUNTY, _digits(5)),
    "congressional_district_geoid": (Level.DISTRICT, np.asarray),
    "place_fips": (Level.PLACE, _digits(7)),
}
_FROM_BLOCK: dict[str, Callable[[Ints], Array]] = {
    "block_geoid": _digits(15),
    "tract_geoid": lambda block: _digits(11)(block // 10_000),
}

GEOGRAPHY_COLUMNS = (*_FROM_LEVEL, *_FROM_BLOCK, "zip_code")
"""Household columns that the kernel writes from the geography of a column."""


class LazyTable(Mapping[str, Array]):
    """A table whose columns are computed when they are read."""

    def __init__(self, columns: Mapping[str, Callable[[], Array]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._columns  # the default would compute the column to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def materialise(
    dataset: Dataset,
    geography: GeographyAssignment,
    columns: Ints,
    *,
    weights: NDArray[np.float64] | None = None,
) -> Dataset:
    """Expand columns of X into a dataset of their households.

    Parameters
    ----------
    dataset : Dataset
        The R records.
    geography : GeographyAssignment
        Of the same R records.
    columns : ndarray of int64, shape (n,)
        Columns of X; a column may stand more than once.
    weights : ndarray of float64, shape (n,), optional
        `household_weight` of the result; 1 by default, which is what X is made of.

    Returns
    -------
    Dataset
        n households in the order of `columns`, with lazy tables and no by-state columns.

    Raises
    ------
    DatasetError, GeographyError
        If dataset and geography have different records, a column is not one of X or not
        a whole number, there is not one weight a column, or a column's state is not one
        that the by-state columns have.
    """
    records = dataset.size(HOUSEHOLD)
    if geography.n_records != records:
        raise GeographyError(
            f"the geography assigns {geography.n_records} records, the dataset has {records}"
        )
    columns = np.asarray(columns)
    if columns.ndim != 1 or columns.dtype.kind not in "iu":
        raise GeographyError(
            f"columns must be whole numbers in one row, not {columns.dtype} of shape "
            f"{columns.shape}; np.flatnonzero makes them of a mask"
        )
    if len(astray := columns[(columns < 0) | (columns >= geography.n_columns)]):
        raise GeographyError(f"there is no column {astray[0]}; X has {geography.n_columns}")
    clone, record = clone_and_record(columns, records)
    rows = {entity: _Rows(dataset, entity, record) for entity in dataset.tables}
    state = _state_positions(dataset, geography.state[columns])
    made = {e: _copied(dataset, e, rows[e], state) | _ids(dataset, e, rows) for e in rows}
    w = np.ones(len(columns)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != columns.shape:
        raise DatasetError(f"weights of shape {w.shape} for {len(columns)} columns")
    # A record's own place is not its clone's; design_weight is a weight of records.
    for name in (*GEOGRAPHY_COLUMNS, "design_weight"):
        made[HOUSEHOLD].pop(name, None)
    made[HOUSEHOLD] |= _geography(geography, columns)
    made[HOUSEHOLD] |= {"clone_index": lambda: clone, "household_weight": lambda: w}
    tables = {entity: LazyTable(columns) for entity, columns in made.items()}
    links = {entity: _unit_of_person(dataset, entity, rows) for entity in dataset.groups}
    return Dataset(dataset.period, tables, (), links)


class _Rows:
    """Which rows of an entity the columns bring, in order."""

    def __init__(self, dataset: Dataset, entity: str, record: Ints) -> None:
        home = dataset.household_of(entity)
        by_record = np.argsort(home, kind="stable")
        count = np.bincount(home, minlength=dataset.size(HOUSEHOLD))
        first = np.cumsum(count) - count
        self.taken: Ints = by_record[segments(first[record], count[record])]
        self.column: Ints = np.repeat(np.arange(len(record)), count[record])
        self.start: Ints = np.cumsum(count[record]) - count[record]
        self.rank: Ints = np.empty(len(home), dtype=np.int64)  # of each row in its household
        self.rank[by_record] = np.arange(len(home)) - np.repeat(first, count)


def _unit_of_person(dataset: Dataset, entity: str, rows: Mapping[str, _Rows]) -> Ints:
    people, units = rows[PERSON], rows[entity]
    unit = dataset.unit_of_person(entity)[people.taken]
    return units.start[people.column] + units.rank[unit]


def _state_positions(dataset: Dataset, state: Ints) -> Ints:
    """Position of each column's state on the second axis of by-state columns."""
    if not dataset.states:
        return np.zeros(len(state), dtype=np.int64)
    known = np.array(dataset.states)
    position = np.minimum(np.searchsorted(known, state), len(known) - 1)
    if (known[position] != state).any():
        lost = state[known[position] != state][0]
        raise DatasetError(
            f"a column lives in state {lost:02d}, but by-state columns have {dataset.states}"
        )
    return position


def _copied(
    dataset: Dataset, entity: str, rows: _Rows, state: Ints
) -> dict[str, Callable[[], Array]]:
    table = dataset.tables[entity]

    def gather(name: str) -> Callable[[], Array]:
        if table[name].ndim == 2:
            return lambda: table[name][rows.taken, state[rows.column]]
        return lambda: table[name][rows.taken]

    return {name: gather(name) for name in table}


def _ids(
    dataset: Dataset, entity: str, rows: Mapping[str, _Rows]
) -> dict[str, Callable[[], Array]]:
    old = dataset.tables[entity][f"{entity}_id"]
    mine = rows[entity]
    ids: dict[str, Callable[[], Array]] = {
        f"{entity}_id": lambda: np.arange(len(mine.taken)),
        f"record_{entity}_id": lambda: old[mine.taken],
    }
    if entity == PERSON:
        for group in dataset.groups:
            ids[f"person_{group}_id"] = lambda group=group: _unit_of_person(dataset, group, rows)
    return ids


def _geography(geography: GeographyAssignment, columns: Ints) -> dict[str, Callable[[], Array]]:
    made: dict[str, Callable[[], Array]] = {}
    for name, (level, write) in _FROM_LEVEL.items():
        if level in geography.codes:
            made[name] = lambda level=level, write=write: write(geography.codes[level][columns])
    if (block := geography.block) is not None:
        for name, write_block in _FROM_BLOCK.items():
            made[name] = lambda write=write_block: write(block[columns])
    if (zip_code := geography.zip_code) is not None:
        made["zip_code"] = lambda: _digits(5)(zip_code[columns])
    return made
