"""Small random worlds: datasets with all six entities, crosswalks, assignments, runs.

Everything a kernel might take for granted is drawn: ids are sparse and out of order,
tables stand in any order, the people of a household are scattered, units may be as small
as one person. Values are functions of ids, so a value in the wrong row is seen.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import Dataset

GROUPS = ("tax_unit", "spm_unit", "family", "marital_unit")
STATES = (2, 6, 11, 37, 49)  # Alaska, California, District of Columbia, North Carolina, Utah

seeds = st.integers(0, 2**31)
"""Seeds of runs."""

key_parts = st.lists(
    st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.integers(0, 50), max_size=6
)
"""Parts of a random key: texts, and whole numbers of either sign up to 64 bits."""


def whole_arrays(size: int) -> st.SearchStrategy[np.ndarray]:
    """Draw an array of `size` whole numbers, signed or not, of any width."""
    dtypes = st.sampled_from([np.int8, np.int32, np.int64, np.uint16, np.uint64])
    return dtypes.flatmap(
        lambda dtype: st.lists(
            st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)),
            min_size=size,
            max_size=size,
        ).map(lambda values: np.array(values, dtype=dtype))
    )


def unique_ids(size: int, highest: int = 10**12) -> st.SearchStrategy[np.ndarray]:
    """Draw `size` different ids, sparse and in any order."""
    ids = st.lists(st.integers(0, highest), min_size=size, max_size=size, unique=True)
    return ids.map(lambda values: np.array(values, dtype=np.int64))


def orders(size: int) -> st.SearchStrategy[np.ndarray]:
    """Draw a permutation of range(size)."""
    return st.permutations(range(size)).map(lambda order: np.array(order, dtype=np.int64))


@st.composite
def datasets(
    draw,
    *,
    max_households: int = 4,
    groups: tuple[str, ...] = GROUPS,
    states: tuple[int, ...] = STATES,
) -> Dataset:
    """Draw a valid dataset; by-state columns if there are states, text and flags too."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=max_households))
    home = np.repeat(np.arange(len(sizes)), sizes)
    people = draw(orders(len(home)))
    person = {"person_id": draw(unique_ids(len(home)))}
    tables: dict[str, dict[str, np.ndarray]] = {"person": person}
    for group in ("household", *groups):
        label = home * 10
        if group != "household":
            spread = st.lists(st.integers(0, 3), min_size=len(home), max_size=len(home))
            label = label + np.array(draw(spread))
        units, unit = np.unique(label, return_inverse=True)
        ids = draw(unique_ids(len(units)))
        person[f"person_{group}_id"] = ids[unit][people]
        tables[group] = {f"{group}_id": ids[draw(orders(len(units)))]}
    for entity, table in tables.items():
        tables[entity] = table | _values(entity, table[f"{entity}_id"], states)
    household = tables["household"]["household_id"]
    tables["household"]["design_weight"] = 0.5 + household % 97
    tables["household"]["household_weight"] = np.where(household % 2, 0.5 + household % 97, 0.0)
    return Dataset(2024, tables, states)


def _values(entity: str, ids: np.ndarray, states: tuple[int, ...]) -> dict[str, np.ndarray]:
    columns = {
        f"{entity}_amount": ids * 0.25,
        f"{entity}_count": (ids % 7).astype(np.int32),
        f"{entity}_flag": ids % 3 == 0,
        f"{entity}_name": np.array([f"{entity[0]}é{i}" for i in ids]),
    }
    if states:
        columns[f"{entity}_rate_by_state"] = ids[:, None] * 100.0 + np.array(states)
        columns[f"{entity}_flag_by_state"] = (ids[:, None] + np.array(states)) % 2 == 0
    return columns


@st.composite
def crosswalks(
    draw,
    *,
    min_districts: int = 1,
    max_districts: int = 6,
    min_blocks: int = 1,
    max_blocks: int = 4,
) -> Crosswalk:
    """Draw a country of a few districts in a few states; some blocks in no place or ZIP."""
    where = st.tuples(st.sampled_from(STATES), st.integers(1, 9))
    districts = draw(st.lists(where, min_size=min_districts, max_size=max_districts, unique=True))
    rows = []
    for state, number in districts:
        for i in range(draw(st.integers(min_blocks, max_blocks))):
            county = draw(st.integers(1, 3))
            block = ((state * 1000 + county) * 10**6 + number) * 10**4 + 1001 + i
            people = draw(st.integers(1, 10**6) | st.floats(1e-3, 1e3))
            place = draw(st.sampled_from([0, state * 10**5 + county]))
            zip_code = draw(st.sampled_from([0, 501, 90_012]))
            rows.append((block, float(people), state * 100 + number, place, zip_code))
    block, people, district, place, zip_code = (
        np.array(c) for c in zip(*sorted(rows), strict=True)
    )
    return Crosswalk(block, people, district, place, zip_code)


@st.composite
def assignments(draw, crosswalk: Crosswalk, n_records: int) -> GeographyAssignment:
    """Draw where one to three clones of each record live, in any blocks of a crosswalk."""
    n_clones = draw(st.integers(1, 3))
    n = n_records * n_clones
    rows = draw(st.lists(st.integers(0, len(crosswalk.block) - 1), min_size=n, max_size=n))
    block = crosswalk.block[np.array(rows, dtype=np.int64)]
    return GeographyAssignment.from_blocks(crosswalk, block, n_records, n_clones)


@dataclass(frozen=True)
class Run:
    """A dataset, where its clones live, and columns of X, in any order and with repeats."""

    dataset: Dataset
    geography: GeographyAssignment
    columns: np.ndarray


@st.composite
def runs(draw, *, groups: tuple[str, ...] = GROUPS, states: tuple[int, ...] = STATES) -> Run:
    """Draw what `materialise` takes."""
    dataset = draw(datasets(groups=groups, states=states))
    geography = draw(assignments(draw(crosswalks()), dataset.size("household")))
    columns = draw(st.lists(st.integers(0, geography.n_columns - 1), max_size=8))
    return Run(dataset, geography, np.array(columns, dtype=np.int64))


def shuffled(dataset: Dataset, order_of: dict[str, np.ndarray]) -> Dataset:
    """Put the rows of every table in a given order."""
    tables = {
        entity: {name: table[name][order_of[entity]] for name in table}
        for entity, table in dataset.tables.items()
    }
    return Dataset(dataset.period, tables, dataset.states)


@st.composite
def shuffles(draw, dataset: Dataset) -> Dataset:
    """Draw the same dataset with the rows of every table in another order."""
    return shuffled(dataset, {e: draw(orders(dataset.size(e))) for e in dataset.tables})
