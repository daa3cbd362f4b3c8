"""Levels, codes and areas: what places are called, in files and inside.

A census block lies in exactly one county, state and district, and in at most one place.
So a clone needs one draw, its block; every other code follows. A code is text where
people and files meet it ("06037", "3712") and a whole number inside (6037, 3712); its
level is always carried along, because 3712 alone could be a district or a county.

    block SSCCCTTTTTTBBBB  ->  state SS, county SSCCC, tract SSCCCTTTTTT
    district, place, ZIP   <-  `calibration.crosswalk`, one row a block

Columns of the calibration matrix are clone-major, here and everywhere:

    column = clone * R + record,    R records, N clones, C = N * R columns.

At-large rule: where there is one seat, district number 00 (a representative) and 98 (a
delegate) are stored as 01, so Alaska is 0201 and the District of Columbia 1101. Elsewhere
those numbers are errors.

Sources: U.S. Census Bureau, Understanding Geographic Identifiers (GEOIDs), and 2020 Census
Apportionment Results, table 1 (states with one seat); the at-large rule is that of
PolicyEngine/policyengine-us-data e01a0384, calibration/clone_and_assign.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import GeographyError

__all__ = [
    "NATION_CODE",
    "STATE_LETTERS",
    "Area",
    "Level",
    "at_large",
    "clone_and_record",
    "column_of",
    "decode",
    "encode",
    "state_of",
]


class Level(StrEnum):
    """The levels that targets, files and codes can have."""

    NATION = "nation"
    STATE = "state"
    COUNTY = "county"
    DISTRICT = "district"
    PLACE = "place"


_DIGITS = {Level.STATE: 2, Level.COUNTY: 5, Level.DISTRICT: 4, Level.PLACE: 7}
_BELOW_STATE = {Level.STATE: 1, Level.COUNTY: 1000, Level.DISTRICT: 100, Level.PLACE: 100_000}
_BLOCK_DIGITS = 15
NATION_CODE = 0

STATE_LETTERS: Mapping[int, str] = {
    1: "AL", 2: "AK", 4: "AZ", 5: "AR", 6: "CA", 8: "CO", 9: "CT", 10: "DE", 11: "DC",
    12: "FL", 13: "GA", 15: "HI", 16: "ID", 17: "IL", 18: "IN", 19: "IA", 20: "KS",
    21: "KY", 22: "LA", 23: "ME", 24: "MD", 25: "MA", 26: "MI", 27: "MN", 28: "MS",
    29: "MO", 30: "MT", 31: "NE", 32: "NV", 33: "NH", 34: "NJ", 35: "NM", 36: "NY",
    37: "NC", 38: "ND", 39: "OH", 40: "OK", 41: "OR", 42: "PA", 44: "RI", 45: "SC",
    46: "SD", 47: "TN", 48: "TX", 49: "UT", 50: "VT", 51: "VA", 53: "WA", 54: "WV",
    55: "WI", 56: "WY",
}  # fmt: skip
"""Postal letters of the 50 states and the District of Columbia by FIPS code."""

_ONE_SEAT = (2, 10, 11, 38, 46, 50, 56, 60, 66, 69, 72, 78)
"""AK, DE, ND, SD, VT and WY since the 2020 Census; DC and the five territories with a delegate."""


# -- codes -----------------------------------------------------------------------------


def encode(level: Level, text: str) -> int:
    """Turn a written code into its number.

    Parameters
    ----------
    level : Level
    text : str
        Digits, zero-padded or not ("0201" and "201" are one district); "US" for the nation.

    Returns
    -------
    int

    Raises
    ------
    GeographyError
        If the text is not a code of that level.
    """
    if level is Level.NATION:
        if text != "US":
            raise GeographyError(f"{text!r} is not the nation; write 'US'")
        return NATION_CODE
    if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS[level]:
        raise GeographyError(f"{text!r} is not a {level} code of {_DIGITS[level]} digits")
    code = int(text)
    if int(state_of(level, code)) not in STATE_LETTERS:
        raise GeographyError(f"{level} {text!r} lies in no state (FIPS {state_of(level, code)})")
    return int(at_large(code)) if level is Level.DISTRICT else code


def decode(level: Level, code: int) -> str:
    """Write a code with its leading zeros; the inverse of `encode`."""
    return "US" if level is Level.NATION else f"{int(code):0{_DIGITS[level]}d}"


def state_of(level: Level, codes: ArrayLike) -> NDArray[np.int64]:
    """Give the state FIPS code that codes of a level begin with.

    Raises
    ------
    GeographyError
        For the nation, which lies in no state.
    """
    if level is Level.NATION:
        raise GeographyError("the nation lies in no state")
    return np.asarray(codes, dtype=np.int64) // _BELOW_STATE[level]


def at_large(districts: ArrayLike) -> NDArray[np.int64]:
    """Store at-large districts (00, and 98 for a delegate) as 01; others unchanged.

    Raises
    ------
    GeographyError
        If a state with several districts, or none, has one of those numbers.
    """
    codes = np.asarray(districts, dtype=np.int64)
    only = np.isin(codes % 100, (0, 98))
    if (wrong := only & ~np.isin(codes // 100, _ONE_SEAT)).any():
        raise GeographyError(
            f"district {codes[wrong].flat[0]:04d} has the number of an only seat, and its state "
            "has had no such seat since the 2020 Census; give the number of the district"
        )
    return np.where(only, codes // 100 * 100 + 1, codes)


def column_of(clone: ArrayLike, record: ArrayLike, n_records: int) -> NDArray[np.int64]:
    """Give the column of X that holds a clone of a record: clone * R + record."""
    return np.asarray(clone, dtype=np.int64) * n_records + np.asarray(record, dtype=np.int64)


def clone_and_record(
    column: ArrayLike, n_records: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the clone and the record of a column; the inverse of `column_of`."""
    clone, record = np.divmod(np.asarray(column, dtype=np.int64), n_records)
    return clone, record


# -- areas -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Area:
    """A place to make a file for: one or more codes of one level.

    Parameters
    ----------
    level : Level
    codes : tuple of int
        One code, or several for a city that is a set of counties; as `encode` gives them.
    name : str
        Name of the file, without folder and suffix.
    """

    level: Level
    codes: tuple[int, ...]
    name: str

    def __post_init__(self) -> None:
        if not self.codes:
            raise GeographyError(f"{self.name} has no codes")
        for code in self.codes:
            if (stored := encode(self.level, decode(self.level, code))) != code:
                if self.level is Level.NATION:
                    raise GeographyError(f"the nation has the code {stored}, not {code}")
                raise GeographyError(
                    f"{self.level} {code} of {self.name} is stored as {stored}; give that"
                )

    @classmethod
    def nation(cls) -> Area:
        """Make the area of the whole country."""
        return cls(Level.NATION, (NATION_CODE,), "US")

    @classmethod
    def state(cls, code: int) -> Area:
        """Make the area of one state, named by its postal letters."""
        return cls(Level.STATE, (code,), _letters(code))

    @classmethod
    def district(cls, code: int) -> Area:
        """Make the area of one congressional district, named as in NC-12."""
        return cls(Level.DISTRICT, (code,), f"{_letters(code // 100)}-{code % 100:02d}")

    @classmethod
    def city(cls, name: str, counties: Iterable[str]) -> Area:
        """Make a city that is a set of counties, given as five-digit codes."""
        return cls(Level.COUNTY, tuple(sorted(encode(Level.COUNTY, c) for c in counties)), name)

    @classmethod
    def place(cls, name: str, code: str) -> Area:
        """Make the area of a Census place, given by its seven-digit code."""
        return cls(Level.PLACE, (encode(Level.PLACE, code),), name)

    @property
    def path(self) -> Path:
        """Relative path of the area's file."""
        return Path(_FOLDERS[self.level]) / f"{self.name}.h5"


def _letters(state: int) -> str:
    try:
        return STATE_LETTERS[state]
    except KeyError:
        raise GeographyError(f"there is no state with FIPS code {state}") from None


_FOLDERS = {
    Level.NATION: "national",
    Level.STATE: "states",
    Level.DISTRICT: "districts",
    Level.COUNTY: "cities",
    Level.PLACE: "places",
}
