"""Failures of the expansion kernel: places, units and state values of a column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import materialise as materialise_module
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.failures.experiment import Failure
from calibration.geography import Level

__all__ = ["FAILURES"]

Ints = NDArray[np.int64]


@contextmanager
def _first_county() -> Iterator[None]:
    make_columns = materialise_module._geography

    def first_of_state(geography: GeographyAssignment, columns: Ints) -> dict[str, Any]:
        county = geography.code(Level.COUNTY)
        first = {s: county[geography.state == s].min() for s in np.unique(geography.state)}
        own = [f"{first[s]:05d}" for s in geography.state[columns]]
        return make_columns(geography, columns) | {"county_fips": lambda: np.array(own)}

    with mock.patch.object(materialise_module, "_geography", first_of_state):
        yield


@contextmanager
def _first_clone_wins() -> Iterator[None]:
    make_columns = materialise_module._geography

    def of_first(geography: GeographyAssignment, columns: Ints) -> dict[str, Any]:
        record = columns % geography.n_records
        _, first, of = np.unique(record, return_index=True, return_inverse=True)
        return make_columns(geography, columns[first][of])

    with mock.patch.object(materialise_module, "_geography", of_first):
        yield


@contextmanager
def _one_zip() -> Iterator[None]:
    make_columns = materialise_module._geography

    def of_county(geography: GeographyAssignment, columns: Ints) -> dict[str, Any]:
        made = make_columns(geography, columns)
        own, county = made["zip_code"](), made["county_fips"]()
        return made | {"zip_code": lambda: np.where(county == "06037", "90012", own)}

    with mock.patch.object(materialise_module, "_geography", of_county):
        yield


@contextmanager
def _one_id_off() -> Iterator[None]:
    find_unit = materialise_module._unit_of_person

    def one_off(dataset: Dataset, entity: str, rows: Any) -> Ints:
        unit = find_unit(dataset, entity, rows)
        if entity != "tax_unit":
            return unit
        home, size = rows["person"].column, np.bincount(unit)
        # whoever stands before a member of the next unit at home, and leaves company behind
        before = (home[:-1] == home[1:]) & (unit[:-1] + 1 == unit[1:]) & (size[unit[:-1]] > 1)
        moved = unit.copy()
        moved[:-1][before] += 1
        return moved

    with mock.patch.object(materialise_module, "_unit_of_person", one_off):
        yield


@contextmanager
def _next_state() -> Iterator[None]:
    position = materialise_module._state_positions

    def next_one(dataset: Dataset, state: Ints) -> Ints:
        return (position(dataset, state) + 1) % max(len(dataset.states), 1)

    with mock.patch.object(materialise_module, "_state_positions", next_one):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "wrong-county",
        "an unknown county becomes the first county of its state",
        "premium tax credits are those of another rating area",
        "geography_of_block",
        _first_county,
    ),
    Failure(
        "first-clone-wins",
        "all clones of a record have the place of the first one in the file",
        "households stand in a file whose area they do not live in",
        "geography_of_block",
        _first_clone_wins,
    ),
    Failure(
        "one-zip",
        "every household of Los Angeles County gets one ZIP code",
        "premium tax credits of half the county are those of the other rating area",
        "geography_of_block",
        _one_zip,
    ),
    Failure(
        "id-off-by-one",
        "one person's tax unit id is one too large",
        "two returns of one household are mixed up; incomes and credits move",
        "entity_links",
        _one_id_off,
    ),
    Failure(
        "next-state",
        "values by state are read one state too far",
        "rents, and what depends on them, are those of another state",
        "columns_copied",
        _next_state,
    ),
)
