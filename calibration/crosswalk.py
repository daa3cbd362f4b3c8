"""Where every column lives: the crosswalk of census blocks, and a block for each column.

A clone needs one draw, its block. `Crosswalk` says, one row a block, which district, place
and ZIP code it lies in and how many people live there; state, county and tract are digits
of the block itself. `GeographyAssignment` holds what follows for every column. A run that
has no blocks stops at a level above, and has the codes down to it.

Axes of a `Crosswalk`: blocks, in ascending order. Of a `GeographyAssignment`: columns of the
calibration matrix, C = N * R, clone-major (`geography.column_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import GeographyError
from calibration.files import hash_arrays, read_npz, write_npz
from calibration.geography import NATION_CODE, Area, Level, at_large, decode, state_of

__all__ = ["Crosswalk", "GeographyAssignment"]


@dataclass(frozen=True)
class Crosswalk:
    """The blocks of a country: who lives there and which areas they lie in.

    Parameters
    ----------
    block : ndarray of int64, shape (B,)
        15-digit GEOIDs as numbers, ascending.
    population : ndarray of float64, shape (B,)
        Persons, greater than 0.
    district, place, zip_code : ndarray of int64, shape (B,)
        Codes; place and ZIP are 0 where a block has none.
    """

    block: NDArray[np.int64]
    population: NDArray[np.float64]
    district: NDArray[np.int64]
    place: NDArray[np.int64]
    zip_code: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.block):
            raise GeographyError("the crosswalk has no blocks")
        for name, array in self._arrays().items():
            if array.shape != self.block.shape:
                raise GeographyError(
                    f"{name} of the crosswalk has shape {array.shape}, block has {self.block.shape}"
                )
        if (np.diff(self.block) <= 0).any():
            bad = self.block[1:][np.diff(self.block) <= 0][0]
            raise GeographyError(f"block {bad:015d} of the crosswalk is repeated or out of order")
        if not (peopled := np.isfinite(self.population) & (self.population > 0)).all():
            bad = self.block[~peopled][0]
            raise GeographyError(
                f"block {bad:015d} of the crosswalk has no population; leave it out"
            )
        if (at_large(self.district) != self.district).any():
            bad = self.district[at_large(self.district) != self.district][0]
            raise GeographyError(f"district {bad:04d} of the crosswalk is at large; write 01")
        for level, codes in ((Level.DISTRICT, self.district), (Level.PLACE, self.place)):
            astray = (codes != 0) & (state_of(level, codes) != self.state)
            if astray.any():
                raise GeographyError(
                    f"block {self.block[astray][0]:015d} lies in {level} "
                    f"{decode(level, codes[astray][0])}, which is in another state"
                )

    @cached_property
    def county(self) -> NDArray[np.int64]:
        """County of each block, shape (B,)."""
        return self.block // 10**10

    @cached_property
    def state(self) -> NDArray[np.int64]:
        """State of each block, shape (B,)."""
        return self.block // 10**13

    def codes(self, level: Level) -> NDArray[np.int64]:
        """Give each block's code at a level, shape (B,)."""
        match level:
            case Level.NATION:
                return np.full(len(self.block), NATION_CODE)
            case Level.STATE:
                return self.state
            case Level.COUNTY:
                return self.county
            case Level.DISTRICT:
                return self.district
            case Level.PLACE:
                return self.place

    def population_by(self, level: Level) -> dict[int, float]:
        """Add up the population of each area of a level, by code in ascending order.

        Blocks that lie in no place count for none.
        """
        areas, index = np.unique(self.codes(level), return_inverse=True)
        people = np.bincount(index, self.population)
        inside = areas > 0 if level is Level.PLACE else np.ones(len(areas), dtype=bool)
        return dict(zip(areas[inside].tolist(), people[inside].tolist(), strict=True))

    def row_of(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find blocks in the crosswalk.

        Raises
        ------
        GeographyError
            If a block is not there.
        """
        rows = np.minimum(np.searchsorted(self.block, blocks), len(self.block) - 1)
        unknown = self.block[rows] != blocks
        if unknown.any():
            raise GeographyError(f"block {blocks[unknown][0]:015d} is not in the crosswalk")
        return rows

    def hash(self) -> str:
        """SHA-256 of the crosswalk's content."""
        return hash_arrays(self._arrays())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class GeographyAssignment:
    """Where each column of the calibration matrix lives.

    Parameters
    ----------
    n_records, n_clones : int
        R and N; C = N * R.
    codes : mapping of Level to ndarray of int64, shape (C,)
        Area codes of each column; the levels of the run, states at least.
    block, zip_code : ndarray of int64, shape (C,), optional
        Census block and ZIP code, where the run goes down to blocks.

    Notes
    -----
    Arrays are shared, never copied, and must not be written to.
    """

    n_records: int
    n_clones: int
    codes: Mapping[Level, NDArray[np.int64]]
    block: NDArray[np.int64] | None = None
    zip_code: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if Level.STATE not in self.codes:
            raise GeographyError("a geography assignment needs the state of every column")
        for name, array in self._arrays().items():
            if array.shape != (self.n_columns,):
                raise GeographyError(
                    f"{name} of the geography assignment has shape {array.shape}; {self.n_clones} "
                    f"clones of {self.n_records} records are {self.n_columns} columns"
                )

    @property
    def n_columns(self) -> int:
        """C = N * R."""
        return self.n_records * self.n_clones

    @property
    def state(self) -> NDArray[np.int64]:
        """State FIPS code of each column, shape (C,)."""
        return self.codes[Level.STATE]

    def code(self, level: Level) -> NDArray[np.int64]:
        """Give each column's code at a level, shape (C,).

        Raises
        ------
        GeographyError
            If the run does not go down to that level.
        """
        if level is Level.NATION:
            return np.full(self.n_columns, NATION_CODE)
        try:
            return self.codes[level]
        except KeyError:
            have = ", ".join(self.codes)
            raise GeographyError(f"this run has no {level} codes, only {have}") from None

    def columns_in(self, area: Area) -> NDArray[np.int64]:
        """List the columns that live in an area, ascending."""
        return np.flatnonzero(np.isin(self.code(area.level), area.codes))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        named = {f"code_{level}": codes for level, codes in self.codes.items()}
        extra = {"block": self.block, "zip_code": self.zip_code}
        return named | {name: array for name, array in extra.items() if array is not None}

    def hash(self) -> str:
        """SHA-256 of sizes and codes; worked out once, since every file of a run names it."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        sizes = {"sizes": np.array([self.n_records, self.n_clones])}
        return hash_arrays(self._arrays() | sizes)

    def save(self, path: Path) -> None:
        """Write to an `.npz` file."""
        write_npz(path, self._arrays() | {"sizes": np.array([self.n_records, self.n_clones])})

    @classmethod
    def load(cls, path: Path) -> GeographyAssignment:
        """Read what `save` wrote.

        Raises
        ------
        FileError, GeographyError
            If the file is damaged or is not a geography assignment.
        """
        arrays = read_npz(path)
        if "sizes" not in arrays:
            raise GeographyError(f"{path} is not a stored geography assignment")
        try:
            records, clones = (int(n) for n in arrays.pop("sizes"))
            codes = {Level(k[5:]): v for k, v in arrays.items() if k.startswith("code_")}
        except (TypeError, ValueError) as error:
            raise GeographyError(f"{path} is not a geography assignment: {error}") from error
        return cls(records, clones, codes, arrays.get("block"), arrays.get("zip_code"))

    @classmethod
    def from_blocks(
        cls, crosswalk: Crosswalk, block: NDArray[np.int64], n_records: int, n_clones: int
    ) -> GeographyAssignment:
        """Look up every code of every column from its block."""
        row = crosswalk.row_of(block)
        codes = {
            level: crosswalk.codes(level)[row]
            for level in (Level.STATE, Level.COUNTY, Level.DISTRICT, Level.PLACE)
        }
        return cls(n_records, n_clones, codes, block, crosswalk.zip_code[row])
