"""The people of the toy country: everybody, a survey of them, and the donor files.

`population` draws households and runs them through the laws one after the other, each
with a stream of its own. `survey` and `donors` sample that population, each by a design
of its own; a column of a sample is a column of the population, in the words of the file.

    persons of block b     sum of household_weight over its people = population of b

Axes: see `laws`. Sizes: 4,000 households are about 9,400 people.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.crosswalk import Crosswalk
from calibration.dataset import Array, Dataset
from calibration.toy_data import homes, incomes, items, programs
from calibration.toy_data.donor_files import donors
from calibration.toy_data.households import compose, demography
from calibration.toy_data.laws import stream
from calibration.toy_data.sampling import survey

__all__ = ["LAWS", "donors", "population", "survey"]

Law = Callable[[Dataset, np.random.Generator], dict[str, dict[str, Array]]]

LAWS: tuple[Law, ...] = (
    demography,
    homes.tenure,
    incomes.wages,
    items.drawn,
    incomes.social_security,
    incomes.contributions,
    items.derived,
    homes.rents,
    homes.wealth,
    programs.benefits,
    programs.cover,
)
"""The laws in the order in which they are drawn; each may use what stands before it."""


def population(crosswalk: Crosswalk, *, households: int, seed: int) -> Dataset:
    """Draw a synthetic population with the true value of everything.

    Parameters
    ----------
    crosswalk : Crosswalk
        The toy country's blocks.
    households : int
        How many; at least four a block.
    seed : int

    Returns
    -------
    Dataset
        Every column of the survey and of the donor files, and on the household its block,
        `congressional_district_geoid`, `county_fips`, `zip_code` and `household_weight`.
        `income_rank` and `home_value` are the laws' own and stand in no file.

    Raises
    ------
    DatasetError
        If there are too few households for the blocks.
    """
    dataset = compose(crosswalk, households, stream(seed, "compose"))
    for law in LAWS:
        for entity, columns in law(dataset, stream(seed, law.__qualname__)).items():
            dataset = dataset.with_columns(entity, columns)
    tables = {entity: dict(table) for entity, table in dataset.tables.items()}
    return Dataset(dataset.period, tables).check()
