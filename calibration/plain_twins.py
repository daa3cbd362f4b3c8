"""What the kernel does, done again slowly and plainly: the other opinion of the checks.

Each function here gives what a vectorised function of the package gives, from ids, Python
integers and dictionaries alone, and shares no line with it:

    plain_draw      rng.uniform              plain_codes     the crosswalk's columns
    plain_flags     takeup.flags             plain_values    materialise's gathering
    plain_homes     Dataset.household_of     plain_members   Dataset.unit_of_person
    plain_groups    takeup.group_of_units

Axes: rows of an entity, in the dataset's order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.clones import Clones
from calibration.crosswalk import Crosswalk
from calibration.dataset import PERSON, Array, Dataset
from calibration.geography import STATE_LETTERS
from calibration.rng import text_key
from calibration.takeup import CHILDREN, STATE, Programme

__all__ = [
    "plain_codes",
    "plain_draw",
    "plain_flags",
    "plain_groups",
    "plain_homes",
    "plain_members",
    "plain_values",
]


def plain_draw(*parts: str | int) -> float:
    """Give the uniform of `rng.uniform` for one key, with Python integers only."""
    full = 2**64 - 1
    gamma = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
        return z ^ (z >> 31)

    k = mix(gamma)
    for part in parts:
        value = text_key(part) if isinstance(part, str) else int(part) & full
        k = mix(((k ^ value) + gamma) & full)
    return (k >> 11) * 2.0**-53


def plain_flags(clones: Clones, households: Dataset, programme: Programme) -> NDArray[np.bool_]:
    """Decide which units of materialised clones take up a programme, shape (unit,)."""
    table = {
        row.group: row.threshold
        for row in clones.thresholds.rows
        if row.programme == programme.name
    }
    homes = households.household["household_id"].tolist()
    record = dict(zip(homes, households["record_household_id"].tolist(), strict=True))
    clone = dict(zip(homes, households["clone_index"].tolist(), strict=True))
    home = plain_homes(households, programme.entity)
    unit = households[f"record_{programme.entity}_id"].tolist()
    group = plain_groups(households, programme)
    reported = [0] * len(unit) if (anchor := programme.anchor) is None else households[anchor]
    seed = clones.thresholds.seed
    return np.array(
        [
            bool(reported[i] > 0)
            or plain_draw(seed, "takeup", programme.name, record[h], unit[i], clone[h])
            < table[group[i]]
            for i, h in enumerate(home)
        ],
        dtype=bool,
    )


def plain_homes(dataset: Dataset, entity: str) -> list[int]:
    """Give the household id of each row of an entity, found through a member."""
    link = "person_id" if entity == PERSON else f"person_{entity}_id"
    pairs = zip(dataset[link].tolist(), dataset["person_household_id"].tolist(), strict=True)
    home = dict(pairs)
    return [home[unit] for unit in dataset[f"{entity}_id"].tolist()]


def plain_groups(dataset: Dataset, programme: Programme) -> list[str]:
    """Give each unit the group of its rate: its state's letters, its dependents or the nation."""
    if programme.groups == STATE:
        pairs = zip(dataset["household_id"].tolist(), dataset["state_fips"].tolist(), strict=True)
        state = dict(pairs)
        return [STATE_LETTERS[state[home]] for home in plain_homes(dataset, programme.entity)]
    if programme.groups == CHILDREN:
        dependent = dataset["person_tax_unit_id"][dataset["is_tax_unit_dependent"] > 0]
        children = Counter(dependent.tolist())
        return [str(min(children[unit], 3)) for unit in dataset["tax_unit_id"].tolist()]
    return ["US"] * dataset.size(programme.entity)


def plain_codes(crosswalk: Crosswalk, row: int) -> dict[str, int | str]:
    """Give every code of a block of the crosswalk, as a file has it."""
    block = f"{int(crosswalk.block[row]):015d}"
    place, zip_code = int(crosswalk.place[row]), int(crosswalk.zip_code[row])
    return {
        "block_geoid": block,
        "tract_geoid": block[:11],
        "county_fips": block[:5],
        "state_fips": int(block[:2]),
        "congressional_district_geoid": int(crosswalk.district[row]),
        "place_fips": f"{place:07d}" if place else "",
        "zip_code": f"{zip_code:05d}" if zip_code else "",
    }


def plain_values(column: Array, rows: list[int], states: Sequence[int], state: list[int]) -> Array:
    """Take values from rows; from a by-state column, each in its own state."""
    if column.ndim == 1:
        return column[rows]
    place = {code: i for i, code in enumerate(states)}
    return np.array([column[row, place[s]] for row, s in zip(rows, state, strict=True)])


def plain_members(dataset: Dataset, entity: str, prefix: str) -> list[dict[int | None, set[int]]]:
    """For each household, who is in each of its units of an entity, by ids of the records."""
    ids = dataset[f"{entity}_id"].tolist(), dataset[f"{prefix}{entity}_id"].tolist()
    known = dict(zip(*ids, strict=True))
    links = zip(
        dataset.person["person_household_id"].tolist(),
        dataset.person[f"person_{entity}_id"].tolist(),
        dataset.person[f"{prefix}person_id"].tolist(),
        strict=True,
    )
    units: dict[int, dict[int | None, set[int]]] = {}
    for home, unit, who in links:
        units.setdefault(home, {}).setdefault(known.get(unit), set()).add(who)
    homes = dataset.household["household_id"].tolist()
    return [units.get(home, {}) for home in homes]
