"""The public CPS records that come with Tax-Calculator, as a dataset of tax units.

A record is one tax unit. The file has no table of people, so each unit stands for itself at
every level: one household, one tax unit, and one person, the taxpayer, because a dataset is
made of people. How many people a unit has is in its columns (`XTOT`, `nu18`); counting rows
of persons would count taxpayers.

    household_id            RECID, one for each unit, 280,005
    source_household_id     FLPDYR * 1,000,000 + h_seq: survey year and household of the CPS,
                            200,576; for grouping only
    state_fips              where the household was interviewed
    household_weight        the file's weight of the year asked for; design_weight is the same

Amounts and weights are aged by Tax-Calculator to the year asked for. Row i of the packaged
raw file and row i of the aged records are the same unit; that is checked, because the survey
year and the household are in the raw file only.

Axes: units in the order of the file.

Source: PSL Tax-Calculator 6.8.0 (CC0), cps.csv.gz and cps_weights.csv.gz.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.engines.taxcalc.variables import COUNTS, ENTITY, INPUTS
from calibration.errors import EngineError

__all__ = ["HOUSEHOLDS", "UNITS", "read_units"]

UNITS = 280_005
HOUSEHOLDS = 200_576
_IDS = 1_000_000  # h_seq has five digits


@lru_cache(maxsize=1)
def read_units(year: int) -> Dataset:
    """Read the records and age them to a year.

    Parameters
    ----------
    year : int
        2014 to the last year of the packaged weights.

    Returns
    -------
    Dataset
        280,005 households, tax units and persons; the same object at every call, whose
        arrays cannot be written to.

    Raises
    ------
    EngineError
        If the year has no weights, or the installed file is not the one described above.
    """
    library = import_module("taxcalc")
    raw = library.Records.read_cps_data()
    aged = library.Records.cps_constructor(data=raw)
    _check(raw, aged)
    years = sorted(int(name[2:]) for name in aged.WT.columns if name.startswith("WT"))
    if year not in years:
        raise EngineError(f"the records have weights of {years[0]} to {years[-1]}, not of {year}")
    while aged.current_year < year:
        aged.increment_year()
    ids = np.asarray(raw["RECID"], dtype=np.int64)
    weight = np.asarray(aged.s006, dtype=np.float64)
    households = {
        "household_id": ids,
        "source_household_id": np.asarray(raw["FLPDYR"] * _IDS + raw["h_seq"], dtype=np.int64),
        "state_fips": np.asarray(raw["fips"], dtype=np.int64),
        "household_weight": weight,
        "design_weight": weight,
    }
    person = {"person_id": ids, "person_household_id": ids, f"person_{ENTITY}_id": ids}
    units = {f"{ENTITY}_id": ids} | {name: _column(aged, name) for name in INPUTS}
    for column in (*households.values(), *units.values()):
        column.flags.writeable = False  # one object for all who ask
    return Dataset(year, {PERSON: person, HOUSEHOLD: households, ENTITY: units}).check()


def _column(aged: Any, name: str) -> Array:
    kind = np.int64 if name in COUNTS else np.float64
    return np.asarray(getattr(aged, name), dtype=kind)


def _check(raw: Any, aged: Any) -> None:
    """Hold the raw file and what was read from it against what this module says of them."""
    household = np.unique(np.asarray(raw["FLPDYR"] * _IDS + raw["h_seq"]))
    found = len(raw), len(household)
    if found != (UNITS, HOUSEHOLDS):
        raise EngineError(
            f"the records of the installed Tax-Calculator are {found[0]:,} units in "
            f"{found[1]:,} households, not {UNITS:,} in {HOUSEHOLDS:,}; install the version "
            "that the taxcalc extra asks for"
        )
    for name in ("RECID", "MARS", "e00200"):
        if not np.array_equal(np.asarray(raw[name]), getattr(aged, name)):
            raise EngineError(f"{name} of the raw file and of the records differ: other rows")
