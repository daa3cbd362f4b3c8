"""What a run starts from: one folder with everything that is not computed.

    survey/            the base survey (`calibration.survey`)
    donors/            one table for each donor survey
    blocks.csv         the crosswalk: block, population, district, place, ZIP code
    areas.csv          the areas to make files for
    targets.csv        administrative totals (`calibration.targets`)
    dictionary.csv     columns, types and units of all of these but the targets

All of it is read and checked before anything is written, so that bad input leaves no
half-made run behind.

An engine may bring records of its own. Then there is no folder: the records are the survey,
each has a state and no block, and the targets are the package's own table (`calibration.soi`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import Crosswalk
from calibration.dataset import Dataset, Table
from calibration.engines import Engine, refused
from calibration.errors import EngineError, GeographyError, TargetError
from calibration.geography import STATE_LETTERS, Area, Level, decode, encode
from calibration.soi import read_soi
from calibration.survey import read_survey, read_table
from calibration.target_database import check_known
from calibration.targets import Target, read_csv

__all__ = [
    "DONORS",
    "INCOME",
    "Inputs",
    "RecordSource",
    "income_targets",
    "read_areas",
    "read_crosswalk",
    "read_engine_inputs",
    "read_inputs",
]

DONORS = ("puf", "acs", "sipp_tips", "sipp_assets", "org", "scf")
"""Names of the donor files, without suffix."""

INCOME = "adjusted_gross_income"
"""The variable whose district targets draw rich households."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a run starts from.

    Parameters
    ----------
    survey : Dataset
        The base survey, H households, or the records of an engine.
    areas : list of Area
        To make files for.
    targets : list of Target
        Of any year.
    codes : mapping of Level to sequence of int
        The areas of each level that the run goes down to.
    donors : mapping of str to Table
        Donor rows by name.
    blocks : Crosswalk or None
        None if the run goes down to states only.
    """

    survey: Dataset
    areas: list[Area]
    targets: list[Target]
    codes: Mapping[Level, Sequence[int]]
    donors: Mapping[str, Table] = field(default_factory=dict)
    blocks: Crosswalk | None = None

    @property
    def crosswalk(self) -> Crosswalk:
        """The census blocks.

        Raises
        ------
        GeographyError
            If the run does not go down to blocks.
        """
        if self.blocks is None:
            raise GeographyError("this run has no census blocks: it goes down to states only")
        return self.blocks

    @property
    def states(self) -> tuple[int, ...]:
        """State FIPS codes of the run, ascending."""
        return tuple(sorted(self.codes[Level.STATE]))


@runtime_checkable
class RecordSource(Protocol):
    """An engine that brings records of its own."""

    def records(self, period: int) -> Dataset:
        """Give the records of a year, with `state_fips` in the household table."""
        ...


def read_inputs(folder: Path, period: int, engine: Engine) -> Inputs:
    """Read and check an input folder.

    Parameters
    ----------
    folder : Path
    period : int
        Year of the survey.
    engine : Engine
        Whose variables the targets may name.

    Returns
    -------
    Inputs

    Raises
    ------
    FileError, DatasetError, GeographyError, TargetError
        Naming the file and what is wrong with it.
    """
    survey = read_survey(folder, period)
    donors = {name: read_table(folder, f"donors/{name}.csv") for name in DONORS}
    crosswalk = read_crosswalk(folder)
    areas = read_areas(folder, crosswalk)
    targets = read_csv(folder / "targets.csv")
    known = {*engine.inputs, *engine.outputs}
    for target in targets:
        check_known(target, known, refused(engine))
        if target.code not in crosswalk.population_by(target.level):
            raise TargetError(
                f"{folder / 'targets.csv'}: {target.name} is for a {target.level} that the "
                "crosswalk does not have"
            )
    return Inputs(
        survey=survey,
        areas=areas,
        targets=targets,
        codes={level: list(crosswalk.population_by(level)) for level in Level},
        donors=donors,
        blocks=crosswalk,
    )


def read_engine_inputs(period: int, engine: Engine, states: Sequence[str] = ()) -> Inputs:
    """Take the records that an engine brings, and published totals of their states.

    Parameters
    ----------
    period : int
        Year of records and law.
    engine : Engine
        Also a `RecordSource`.
    states : sequence of str
        Postal letters; all states of the records by default.

    Returns
    -------
    Inputs
        With the areas of the nation and of every state.

    Raises
    ------
    EngineError
        If the engine brings no records, or none of the year.
    GeographyError
        If one of the letters is not a state's, or no record lives there.
    """
    if not isinstance(engine, RecordSource):
        raise EngineError(f"the {engine.name} engine brings no records of its own")
    records = engine.records(period)
    home = records.household["state_fips"]
    wanted = _state_codes(states) or [int(code) for code in np.unique(home)]
    if empty := [code for code in wanted if code not in home]:
        raise GeographyError(f"no record lives in {STATE_LETTERS[empty[0]]}")
    if states:
        records = records.take_households(np.flatnonzero(np.isin(home, wanted)))
    targets = read_soi(wanted)
    for target in targets:
        check_known(target, {*engine.inputs, *engine.outputs})
    return Inputs(
        survey=records,
        areas=[Area.nation(), *map(Area.state, wanted)],
        targets=targets,
        codes={Level.NATION: [0], Level.STATE: wanted},
    )


def _state_codes(states: Sequence[str]) -> list[int]:
    known = {letters: code for code, letters in STATE_LETTERS.items()}
    if unknown := [letters for letters in states if letters not in known]:
        raise GeographyError(f"no state has the letters {unknown[0]!r}")
    return sorted(known[letters] for letters in set(states))


def read_crosswalk(folder: Path) -> Crosswalk:
    """Read `blocks.csv`; codes are text with leading zeros.

    Raises
    ------
    GeographyError
        If a code is not one, or the rules of `Crosswalk` are broken.
    """
    table = _read(folder, "blocks.csv", ("block", "population", "district", "place", "zip_code"))
    block = np.array([_block(text) for text in table["block"]], dtype=np.int64)
    order = np.argsort(block, kind="stable")

    def codes(name: str, level: Level) -> NDArray[np.int64]:
        found = [encode(level, text) if text != "none" else 0 for text in table[name]]
        return np.array(found, dtype=np.int64)[order]

    if "none" in table["district"]:
        homeless = block[table["district"] == "none"][0]
        raise GeographyError(f"blocks.csv: block {homeless:015d} lies in no district; give it one")
    zip_code = np.array([_zip_code(text) for text in table["zip_code"]], dtype=np.int64)
    return Crosswalk(
        block[order],
        table["population"].astype(np.float64)[order],
        codes("district", Level.DISTRICT),
        codes("place", Level.PLACE),
        zip_code[order],
    )


def _read(folder: Path, file: str, names: tuple[str, ...]) -> Table:
    """Read a table that must have certain columns, whatever else the dictionary says."""
    table = read_table(folder, file)
    for name in names:
        if name not in table:
            raise GeographyError(f"{folder / file} and its dictionary have no column {name!r}")
    return table


def _block(text: str) -> int:
    if len(text) != 15 or not (text.isascii() and text.isdecimal()):
        raise GeographyError(f"blocks.csv: {text!r} is not a block code of 15 digits")
    encode(Level.COUNTY, text[:5])
    return int(text)


def _zip_code(text: str) -> int:
    if text == "none":
        return 0
    if len(text) != 5 or not (text.isascii() and text.isdecimal()):
        raise GeographyError(f"blocks.csv: {text!r} is not a ZIP code of 5 digits")
    return int(text)


def read_areas(folder: Path, crosswalk: Crosswalk) -> list[Area]:
    """Read `areas.csv`: level, name, and codes joined by "+".

    Raises
    ------
    GeographyError
        If a level or code is unknown, a code is not in the crosswalk, a name cannot be
        that of a file, or a file name stands twice.
    """
    table = _read(folder, "areas.csv", ("level", "name", "codes"))
    areas = []
    for level_text, name, codes_text in zip(
        table["level"], table["name"], table["codes"], strict=True
    ):
        if level_text not in list(Level):
            raise GeographyError(f"areas.csv: {level_text!r} is not a level ({', '.join(Level)})")
        if Path(name).name != name or name in {".", ".."}:
            raise GeographyError(f"areas.csv: {name!r} cannot be the name of a file")
        level = Level(level_text)
        codes = tuple(sorted(encode(level, text) for text in codes_text.split("+")))
        for code in codes:
            if code not in crosswalk.population_by(level):
                raise GeographyError(
                    f"areas.csv: {name} is {level} {decode(level, code)}, which the crosswalk "
                    "does not have"
                )
        areas.append(Area(level, codes, str(name)))
    paths = [area.path for area in areas]
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise GeographyError(f"areas.csv: two areas would be written to {repeated[0]}")
    return areas


def income_targets(targets: Iterable[Target], year: int) -> dict[int, float]:
    """Give the total income of each district that has a target for it.

    Parameters
    ----------
    targets : iterable of Target
    year : int
        Of several periods the latest not after it counts, or the earliest.

    Returns
    -------
    dict of int to float
        USD per year by district code. Where there are income targets of several scopes,
        such as of some incomes only, all districts take the widest: the one with the
        fewest constraints.
    """
    found = [t for t in targets if t.variable == INCOME and t.level is Level.DISTRICT]
    widest = min((t.constraints for t in found), key=lambda c: (len(c), c), default=())

    def fitness(target: Target) -> tuple[bool, int]:
        later = target.period > year
        return not later, -target.period if later else target.period

    of_scope = (target for target in found if target.constraints == widest)
    return {target.code: target.value for target in sorted(of_scope, key=fitness)}
