"""Who lives together: ten kinds of households.

The kind of a household fixes who is in it: a head, perhaps a spouse, children by a table
of counts, perhaps one more adult, who files for themself.

    P(kind k)            KINDS[k].share
    P(c children | k)    KINDS[k].children[c]

Axes: people of a household stand together, the head first. Ids tell who belongs to whom:
person 1203 is the third person of household 12, and 121 its first tax unit.

Source: synthetic; see `laws`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import Crosswalk
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import DatasetError
from calibration.toy_data.laws import PERIOD, chance, of_state

__all__ = ["KINDS", "Kind", "compose", "demography"]

MAX_CHILDREN = 6
LEAST_PER_BLOCK = 4  # households; a block without any could not hold its population


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of household.

    Parameters
    ----------
    name : str
    share : float
        Share of all households.
    head_age : tuple of int
        Lowest and highest age of the head; uniform between.
    spouse : bool
        Whether the head is married, to somebody in the household.
    children : tuple of float
        Probability of 0, 1, 2, ... dependent children of the head.
    other : tuple of int
        Lowest and highest age of one more adult; (0, 0) for nobody.
    related : bool
        Whether that adult is of the head's family.
    shares_meals : bool
        Whether that adult belongs to the head's SPM unit.
    """

    name: str
    share: float
    head_age: tuple[int, int]
    spouse: bool = False
    children: tuple[float, ...] = (1.0,)
    other: tuple[int, int] = (0, 0)
    related: bool = True
    shares_meals: bool = True


_FAMILY = (0.0, 0.36, 0.35, 0.17, 0.07, 0.03, 0.02)
_PARENT = (0.0, 0.5, 0.3, 0.12, 0.05, 0.03)

KINDS = (
    Kind(name="single", share=0.18, head_age=(20, 64)),
    Kind(name="single, 65 or older", share=0.12, head_age=(65, 88)),
    Kind(name="couple", share=0.14, head_age=(22, 64), spouse=True),
    Kind(name="couple, 65 or older", share=0.12, head_age=(65, 86), spouse=True),
    Kind(name="couple with children", share=0.20, head_age=(24, 52), spouse=True, children=_FAMILY),
    Kind(name="one parent", share=0.08, head_age=(20, 48), children=_PARENT),
    Kind(name="three generations", share=0.03, head_age=(28, 50), spouse=True, children=_FAMILY,
         other=(66, 88)),
    Kind(name="grown child", share=0.05, head_age=(46, 64), spouse=True, other=(19, 27)),
    Kind(name="housemates", share=0.05, head_age=(20, 55), other=(20, 60), related=False,
         shares_meals=False),
    Kind(name="partners", share=0.03, head_age=(21, 50), children=(0.5, 0.3, 0.2), other=(21, 50),
         related=False),
)  # fmt: skip
"""All kinds of households; the shares add up to 1."""

# Shares of households: Hispanic; then White, Black and other among the rest and them alike
_HISPANIC = {2: 0.07, 6: 0.40, 11: 0.11, 37: 0.11, 49: 0.15}
_RACE = {
    2: (0.65, 0.04, 0.31),
    6: (0.62, 0.07, 0.31),
    11: (0.43, 0.45, 0.12),
    37: (0.68, 0.23, 0.09),
    49: (0.88, 0.02, 0.10),
}


def compose(crosswalk: Crosswalk, households: int, rng: np.random.Generator) -> Dataset:
    """Draw households of every kind, with places and memberships but without incomes.

    Parameters
    ----------
    crosswalk : Crosswalk
        Blocks of the country.
    households : int
        H, how many; each block gets four and a share of the rest by population.
    rng : numpy.random.Generator

    Returns
    -------
    Dataset
        Ids, memberships, roles, ages; `household_weight` makes the persons of each block
        add up to its population.

    Raises
    ------
    DatasetError
        If there are fewer than four households a block.
    """
    block = _blocks(crosswalk, households)
    kind = rng.choice(len(KINDS), size=households, p=[kind.share for kind in KINDS])
    children = np.zeros(households, dtype=np.int64)
    for code, law in enumerate(KINDS):
        of_kind = kind == code
        children[of_kind] = rng.choice(len(law.children), size=of_kind.sum(), p=law.children)
    married = np.array([law.spouse for law in KINDS])[kind]
    has_other = np.array([law.other != (0, 0) for law in KINDS])[kind]
    slots = [np.ones(households, dtype=bool), married]
    slots += [children > i for i in range(MAX_CHILDREN)] + [has_other]
    home, slot = np.nonzero(np.column_stack(slots))
    person = _members(home, slot, kind) | _ages(home, slot, kind, rng)
    size = np.bincount(home)
    in_block = np.bincount(block, weights=size, minlength=len(crosswalk.block))
    geoid = [f"{code:015d}" for code in crosswalk.block[block].tolist()]
    household = {
        "household_id": np.arange(1, households + 1),
        "household_weight": np.round(crosswalk.population[block] / in_block[block], 6),
        "state_fips": crosswalk.state[block],
        "county_fips": np.array([code[:5] for code in geoid]),
        "zip_code": np.array([f"{code:05d}" for code in crosswalk.zip_code[block].tolist()]),
        "congressional_district_geoid": crosswalk.district[block],
        "block_geoid": np.array(geoid),
    }
    tables = {PERSON: person, HOUSEHOLD: household}
    for entity in ("tax_unit", "spm_unit", "family", "marital_unit"):
        tables[entity] = {f"{entity}_id": np.unique(person[f"person_{entity}_id"])}
    return Dataset(PERIOD, tables)


def _blocks(crosswalk: Crosswalk, households: int) -> NDArray[np.int64]:
    """Give each household its block: four a block, the rest by largest remainders."""
    spare = households - LEAST_PER_BLOCK * len(crosswalk.block)
    if spare < 0:
        raise DatasetError(
            f"{households} households do not fill {len(crosswalk.block)} blocks; ask for at least "
            f"{LEAST_PER_BLOCK * len(crosswalk.block)}"
        )
    quota = spare * crosswalk.population / crosswalk.population.sum()
    count = np.floor(quota).astype(np.int64)
    largest = np.argsort(count - quota, kind="stable")[: spare - count.sum()]
    count[largest] += 1
    return np.repeat(np.arange(len(count)), count + LEAST_PER_BLOCK)


def _members(home: Array, slot: Array, kind: Array) -> dict[str, Array]:
    """Give people and units their numbers, and say who belongs to whom."""
    other = slot == 2 + MAX_CHILDREN
    line = np.arange(len(home)) - np.searchsorted(home, home) + 1
    related = np.array([law.related for law in KINDS])[kind[home]]
    shares = np.array([law.shares_meals for law in KINDS])[kind[home]]
    number = home + 1
    return {
        "person_id": number * 100 + line,
        "person_household_id": number,
        "person_tax_unit_id": number * 10 + 1 + other,
        "person_spm_unit_id": number * 10 + 1 + (other & ~shares),
        "person_family_id": number * 10 + 1 + (other & ~related),
        "person_marital_unit_id": number * 100 + np.where(slot == 1, 1, line),
        "is_household_head": slot == 0,
        "is_tax_unit_head": (slot == 0) | other,
        "is_tax_unit_spouse": slot == 1,
        "is_tax_unit_dependent": (slot >= 2) & ~other,
    }


def _ages(home: Array, slot: Array, kind: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Draw ages: children at least 17 years younger than the head, some of them students."""
    low, high = np.array([law.head_age for law in KINDS])[kind].T
    head = rng.integers(low, high + 1)
    spouse = np.clip(head + np.round(rng.normal(-1, 4, len(head))), 18, 89)
    low, high = np.array([law.other for law in KINDS])[kind].T
    other = rng.integers(low, high + 1)
    oldest = np.minimum(18, head[home] - 17)
    child = np.floor(rng.random(len(home)) * oldest)
    student = (slot == 2) & (head[home] >= 42) & (rng.random(len(home)) < 0.35)
    child[student] = rng.integers(18, 23, student.sum())
    roles = [slot == 0, slot == 1, slot == 2 + MAX_CHILDREN]
    age = np.select(roles, [head[home], spouse[home], other[home]], child)
    return {"age": age.astype(np.float64)}


def demography(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw sex, race, Hispanic origin, disability, and each tax unit's income rank.

    Spouses are of opposite sex, four lone parents in five are women. Race and origin are a
    household's, by its state. Disability: 4 % of those under 18, then 3 % rising by 0.2
    points a year; independent of everything else.
    """
    person, homes, home = dataset.person, dataset.household, dataset.household_of(PERSON)
    male = rng.random(len(home)) < 0.5
    lone = np.bincount(home, person["is_tax_unit_spouse"]) == 0
    lone &= np.bincount(home, person["is_tax_unit_dependent"]) > 0
    heads = np.flatnonzero(person["is_household_head"])
    male[heads] = rng.random(len(heads)) < np.where(lone, 0.2, 0.5)
    spouse = person["is_tax_unit_spouse"]
    male[spouse] = ~male[heads][home[spouse]]
    u = rng.random((2, len(heads)))
    shares = np.array([_RACE[code] for code in homes["state_fips"].tolist()]).cumsum(axis=1)
    age = person["age"]
    risk = np.where(age < 18, 0.04, 0.03 + 0.002 * (age - 18))
    columns = {
        "is_male": male,
        "is_hispanic": (u[0] < of_state(_HISPANIC, dataset, HOUSEHOLD))[home],
        "race": np.minimum(1 + (u[1][:, None] > shares).sum(axis=1), 3)[home],
        "is_disabled": chance(risk, rng, len(home)),
    }
    return {PERSON: columns, "tax_unit": {"income_rank": rng.random(dataset.size("tax_unit"))}}
