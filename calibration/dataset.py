"""Households, the people in them, and the units they form.

A `Dataset` holds one table for each entity: `person`, `household`, and any number of
group entities between them (`tax_unit`, `spm_unit`, `family`, `marital_unit`). A column
is an array. Four rules hold for every dataset, and `Dataset.check` tests them:

    ids         `{e}_id` is unique in the table of e
    membership  person p belongs to exactly one unit of each e: `person_{e}_id[p]`
    nesting     all members of a unit live in one household, and no unit is empty
    names       a column name stands in one table only, so a name finds its column

Axes: a fixed column has shape (entity,). A column *by state* has shape (entity, S); its
second axis is `Dataset.states`, S state FIPS codes in ascending order. Only
`calibration.materialise` reads the by-state form: it picks the state of each column.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DatasetError, near
from calibration.files import read_npz, write_npz

__all__ = ["HOUSEHOLD", "PERSON", "Array", "Dataset", "Table", "segments"]

PERSON = "person"
HOUSEHOLD = "household"

Array: TypeAlias = NDArray[Any]
Table: TypeAlias = Mapping[str, Array]

_KINDS = {"b": "true or false", "i": "whole numbers", "f": "numbers", "U": "text"}
_WEIGHTS = ("household_weight", "design_weight")


@dataclass(frozen=True)
class Dataset:
    """Entity tables of one period; see the module's rules.

    Parameters
    ----------
    period : int
        Year the amounts belong to.
    tables : mapping of str to mapping of str to ndarray
        Columns by entity, then by name.
    states : tuple of int
        State FIPS codes of the second axis of by-state columns, ascending.

    Notes
    -----
    Making a dataset does not check it; `Dataset.check` does, and every reader of files
    calls it. Arrays are shared, never copied, and must not be written to.
    """

    period: int
    tables: Mapping[str, Table]
    states: tuple[int, ...] = ()
    _cache: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    # -- what is in it -----------------------------------------------------------------

    @property
    def person(self) -> Table:
        """Columns of the person table."""
        return self.tables[PERSON]

    @property
    def household(self) -> Table:
        """Columns of the household table."""
        return self.tables[HOUSEHOLD]

    @property
    def groups(self) -> tuple[str, ...]:
        """All entities but the person, households first, the others by name."""
        return (HOUSEHOLD, *sorted(e for e in self.tables if e not in (PERSON, HOUSEHOLD)))

    @cached_property
    def _owner(self) -> dict[str, str]:
        return {name: entity for entity, table in self.tables.items() for name in table}

    def names(self) -> tuple[str, ...]:
        """All column names, sorted."""
        return tuple(sorted(self._owner))

    def __contains__(self, name: object) -> bool:
        return name in self._owner

    def entity_of(self, name: str) -> str:
        """Give the entity whose table holds a column.

        Raises
        ------
        DatasetError
            If no table holds it; near matches are named.
        """
        try:
            return self._owner[name]
        except KeyError:
            raise DatasetError(f"no column {name!r}{near(name, self._owner)}") from None

    def __getitem__(self, name: str) -> Array:
        return self.tables[self.entity_of(name)][name]

    def size(self, entity: str) -> int:
        """Count the rows of an entity's table."""
        return len(self.tables[entity][f"{entity}_id"])

    def is_by_state(self, name: str) -> bool:
        """Tell whether a column has one value for each state."""
        return self[name].ndim == 2

    # -- who belongs to whom -----------------------------------------------------------

    def unit_of_person(self, entity: str) -> NDArray[np.int64]:
        """Give each person's unit as a row number of the unit's table.

        Parameters
        ----------
        entity : str
            A group entity.

        Returns
        -------
        ndarray of int64, shape (person,)

        Raises
        ------
        DatasetError
            If a person names a unit that the table does not have.
        """
        if (cached := self._cache.get(entity)) is None:
            ids = self.tables[entity][f"{entity}_id"]
            wanted = self.person[f"person_{entity}_id"]
            order = np.argsort(ids, kind="stable")
            place = np.searchsorted(ids, wanted, sorter=order)
            found = order[np.minimum(place, len(ids) - 1)] if len(ids) else place
            missing = np.flatnonzero(ids[found] != wanted) if len(ids) else np.arange(len(wanted))
            if len(missing):
                who = self.person["person_id"][missing[0]]
                raise DatasetError(
                    f"person {who} belongs to {entity} {wanted[missing[0]]}, "
                    f"which the {entity} table does not have ({len(missing)} such people)"
                )
            cached = self._cache[entity] = found.astype(np.int64)
        return cached

    def household_of(self, entity: str) -> NDArray[np.int64]:
        """Give each row's household as a row number of the household table.

        Returns
        -------
        ndarray of int64, shape (entity,)
        """
        if entity == HOUSEHOLD:
            return np.arange(self.size(HOUSEHOLD))
        of_person = self.unit_of_person(HOUSEHOLD)
        if entity == PERSON:
            return of_person
        result = np.full(self.size(entity), -1)
        result[self.unit_of_person(entity)] = of_person
        return result

    def to_person(self, values: Array, entity: str) -> Array:
        """Give every person the value of their unit; values have shape (entity, ...)."""
        return values if entity == PERSON else values[self.unit_of_person(entity)]

    def sum_to(self, entity: str, values: Array) -> NDArray[np.float64]:
        """Add up person values, shape (person,), within the units of an entity."""
        total = np.zeros(self.size(entity))
        np.add.at(total, self.unit_of_person(entity), values)
        return total

    def any_in(self, entity: str, flags: Array) -> NDArray[np.bool_]:
        """Tell for each unit whether any member has a flag of shape (person,)."""
        result = np.zeros(self.size(entity), dtype=bool)
        result[self.unit_of_person(entity)[np.asarray(flags, dtype=bool)]] = True
        return result

    # -- new datasets from old ---------------------------------------------------------

    def with_columns(self, entity: str, columns: Table) -> Dataset:
        """Return a dataset in which columns of one entity are added or replaced.

        Raises
        ------
        DatasetError
            If another entity has a column of that name, or there is not one value a row.
        """
        rows = self.size(entity)
        for name, column in columns.items():
            if other := [e for e, t in self.tables.items() if e != entity and name in t]:
                raise DatasetError(f"{name!r} stands in {other[0]}; it cannot be added to {entity}")
            if np.shape(column)[:1] != (rows,):
                raise DatasetError(
                    f"{name!r} has shape {np.shape(column)}, the {entity} table has {rows} rows"
                )
        old = self.tables[entity]
        below = old.maps if isinstance(old, ChainMap) else [old]  # chains of chains grow deep
        table = ChainMap(dict(columns), *below)  # type: ignore[arg-type]
        links = any(name.endswith("_id") for name in columns)
        return replace(
            self,
            tables={**self.tables, entity: table},
            _cache={} if links else dict(self._cache),
        )

    def take_households(self, rows: NDArray[np.int64]) -> Dataset:
        """Keep some households, with everyone in them, in the order given; ids stay.

        Parameters
        ----------
        rows : ndarray of int64
            Row numbers of the household table, each at most once.

        Raises
        ------
        DatasetError
            If a row stands twice (its ids would), is not there, or is not a whole number.
        """
        rows, size = np.asarray(rows), self.size(HOUSEHOLD)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise DatasetError(
                f"household rows must be whole numbers, not {rows.dtype} of shape {rows.shape}; "
                "np.flatnonzero makes them of a mask"
            )
        if len(astray := rows[(rows < 0) | (rows >= size)]):
            raise DatasetError(f"there is no household row {astray[0]}; the table has {size}")
        rank = np.full(size, -1)
        rank[rows] = np.arange(len(rows))
        if (again := rank[rows] != np.arange(len(rows))).any():
            raise DatasetError(f"household row {rows[again][0]} is to be taken more than once")
        tables = {}
        for entity, table in self.tables.items():
            place = rank[self.household_of(entity)]
            kept = np.flatnonzero(place >= 0)
            kept = kept[np.argsort(place[kept], kind="stable")]
            tables[entity] = {name: table[name][kept] for name in table}
        return Dataset(self.period, tables, self.states)

    def sorted_by_id(self) -> Dataset:
        """Put every table in ascending order of its ids, the canonical order.

        Whatever is computed from positions after this does not depend on how the rows
        of the input files were ordered.
        """
        tables = {}
        for entity, table in self.tables.items():
            order = np.argsort(table[f"{entity}_id"], kind="stable")
            tables[entity] = {name: table[name][order] for name in table}
        return Dataset(self.period, tables, self.states)

    # -- whether it is valid -----------------------------------------------------------

    def check(self) -> Dataset:
        """Test the module's rules and the values; return the dataset itself.

        Raises
        ------
        DatasetError
            Naming the entity, the column and the first offending row.
        """
        for required in (PERSON, HOUSEHOLD):
            if required not in self.tables:
                raise DatasetError(f"no {required} table; a dataset needs one")
        if any(a >= b for a, b in pairwise(self.states)):
            raise DatasetError(f"the states {self.states} are not in ascending order")
        seen: dict[str, str] = {}
        for entity, table in self.tables.items():
            self._check_ids(entity)
            for name in table:
                if name in seen:
                    raise DatasetError(f"column {name!r} stands in {seen[name]} and in {entity}")
                seen[name] = entity
                self._check_column(entity, name)
        for entity in self.groups:
            self._check_nesting(entity)
        return self

    def _check_ids(self, entity: str) -> None:
        name = f"{entity}_id"
        if name not in self.tables[entity]:
            raise DatasetError(f"the {entity} table has no column {name!r}")
        ids = self.tables[entity][name]
        if ids.dtype.kind != "i" or ids.ndim != 1:
            raise DatasetError(f"{name} must be whole numbers in one column, not {ids.dtype}")
        values, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            repeated = values[counts > 1][0]
            raise DatasetError(f"{name} {repeated} stands {counts[counts > 1][0]} times")
        if len(ids) and values[0] < 0:
            raise DatasetError(f"{name} {values[0]} is negative")

    def _check_column(self, entity: str, name: str) -> None:
        column = self.tables[entity][name]
        where = f"{entity} column {name!r}"
        if column.dtype.kind not in _KINDS:
            raise DatasetError(f"{where} is {column.dtype}; use {', '.join(_KINDS.values())}")
        if column.ndim == 0:
            raise DatasetError(f"{where} is a single value; it needs one for each row")
        rows, ids = self.size(entity), self.tables[entity][f"{entity}_id"]
        if len(column) != rows:
            raise DatasetError(f"{where} has {len(column)} rows, the table has {rows}")
        if column.ndim > 2 or (column.ndim == 2 and column.shape[1] != len(self.states)):
            raise DatasetError(
                f"{where} has shape {column.shape}; by-state columns are ({rows}, "
                f"{len(self.states)}), for the states {self.states}"
            )
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            bad = np.flatnonzero(~np.isfinite(column).reshape(rows, -1).all(axis=1))
            raise DatasetError(
                f"{where} is not a finite number at {entity}_id {ids[bad[0]]} ({len(bad)} rows)"
            )
        if name in _WEIGHTS:
            if column.ndim == 2 or column.dtype.kind == "U":
                raise DatasetError(f"{where} must be one number for each row")
            if (column < 0).any():
                bad = np.flatnonzero(column < 0)
                raise DatasetError(f"{where} is {column[bad[0]]} at {entity}_id {ids[bad[0]]}")

    def _check_nesting(self, entity: str) -> None:
        if f"person_{entity}_id" not in self.person:
            raise DatasetError(f"the person table has no column 'person_{entity}_id'")
        link = self.person[f"person_{entity}_id"]
        if link.dtype.kind != "i" or link.ndim != 1:
            raise DatasetError(f"person_{entity}_id must be whole numbers in one column")
        unit, home = self.unit_of_person(entity), self.unit_of_person(HOUSEHOLD)
        ids = self.tables[entity][f"{entity}_id"]
        empty = np.flatnonzero(np.bincount(unit, minlength=len(ids)) == 0)
        if len(empty):
            raise DatasetError(f"{entity} {ids[empty[0]]} has no members ({len(empty)} such)")
        astray = np.flatnonzero(self.household_of(entity)[unit] != home)
        if len(astray):
            raise DatasetError(
                f"{entity} {ids[unit[astray[0]]]} has members in more than one household"
            )

    # -- files -------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """Flatten to named arrays: "entity/column", plus the period and the states."""
        flat = {f"{e}/{name}": table[name] for e, table in self.tables.items() for name in table}
        flat["period"] = np.array(self.period)
        flat["states"] = np.array(self.states, dtype=np.int64)
        return flat

    def save(self, path: Path) -> None:
        """Write to an `.npz` file that `Dataset.load` reads back bit for bit."""
        write_npz(path, self.arrays())

    @classmethod
    def load(cls, path: Path) -> Dataset:
        """Read what `Dataset.save` wrote, and check it.

        Raises
        ------
        FileError, DatasetError
            If the file is damaged or its content breaks a rule.
        """
        flat = read_npz(path)
        try:
            period, states = int(flat.pop("period")), tuple(int(s) for s in flat.pop("states"))
        except KeyError as error:
            raise DatasetError(f"{path} is not a stored dataset: no array {error}") from None
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path} is not a stored dataset: {error}") from error
        tables: dict[str, dict[str, Array]] = {}
        for name, array in flat.items():
            entity, _, column = name.partition("/")
            tables.setdefault(entity, {})[column] = array
        return cls(period, tables, states).check()


def segments(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the integers of many ranges one after the other.

    Parameters
    ----------
    starts, counts : ndarray of int64, shape (n,)
        Range i is starts[i], starts[i] + 1, ..., counts[i] of them.

    Returns
    -------
    ndarray of int64, shape (counts.sum(),)
    """
    ends = np.cumsum(counts)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return np.repeat(starts, counts) + within
