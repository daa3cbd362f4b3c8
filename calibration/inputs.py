"""What a run starts from: one folder with everything that is not computed.

    survey/            the base survey (`calibration.survey`)
    donors/            one table for each donor survey
    blocks.csv         the crosswalk: block, population, district, place, ZIP code
    areas.csv          the areas to make files for
    targets.csv        administrative totals (`calibration.targets`)
    dictionary.csv     columns, types and units of all of these but the targets

All of it is read and checked before anything is written, so that bad input leaves no
half-made run behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Dataset, Table
from calibration.engines import Engine
from calibration.errors import GeographyError, TargetError
from calibration.files import hash_file
from calibration.geography import Area, Crosswalk, Level, decode, encode
from calibration.survey import read_survey, read_table
from calibration.target_database import check_known
from calibration.targets import Target, read_csv

__all__ = ["DONORS", "Inputs", "hash_folder", "read_areas", "read_crosswalk", "read_inputs"]

DONORS = ("puf", "acs", "sipp_tips", "sipp_assets", "org", "scf")
"""Names of the donor files, without suffix."""

_FILES = ("dictionary.csv", "blocks.csv", "areas.csv", "targets.csv")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The content of an input folder.

    Parameters
    ----------
    survey : Dataset
        The base survey, H households.
    donors : mapping of str to Table
        Donor rows by name.
    crosswalk : Crosswalk
    areas : list of Area
    targets : list of Target
        Of any year.
    """

    survey: Dataset
    donors: Mapping[str, Table]
    crosswalk: Crosswalk
    areas: list[Area]
    targets: list[Target]

    @property
    def states(self) -> tuple[int, ...]:
        """State FIPS codes of the run, ascending."""
        return tuple(int(code) for code in np.unique(self.crosswalk.state))


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
        check_known(target, known)
        if target.code not in crosswalk.population_by(target.level):
            raise TargetError(
                f"{folder / 'targets.csv'}: {target.name} is for a {target.level} that the "
                "crosswalk does not have"
            )
    return Inputs(survey, donors, crosswalk, areas, targets)


def read_crosswalk(folder: Path) -> Crosswalk:
    """Read `blocks.csv`; codes are text with leading zeros.

    Raises
    ------
    GeographyError
        If a code is not one, or the rules of `Crosswalk` are broken.
    """
    table = read_table(folder, "blocks.csv")
    block = np.array([_block(text) for text in table["block"]], dtype=np.int64)
    order = np.argsort(block, kind="stable")

    def codes(name: str, level: Level) -> NDArray[np.int64]:
        found = [encode(level, text) if text != "none" else 0 for text in table[name]]
        return np.array(found, dtype=np.int64)[order]

    zip_code = np.array([int(text) for text in table["zip_code"]], dtype=np.int64)
    return Crosswalk(
        block[order],
        table["population"].astype(np.float64)[order],
        codes("district", Level.DISTRICT),
        codes("place", Level.PLACE),
        zip_code[order],
    )


def _block(text: str) -> int:
    if len(text) != 15 or not text.isdecimal():
        raise GeographyError(f"blocks.csv: {text!r} is not a block code of 15 digits")
    encode(Level.COUNTY, text[:5])
    return int(text)


def read_areas(folder: Path, crosswalk: Crosswalk) -> list[Area]:
    """Read `areas.csv`: level, name, and codes joined by "+".

    Raises
    ------
    GeographyError
        If a level or code is unknown, a code is not in the crosswalk, or a file name
        stands twice.
    """
    table = read_table(folder, "areas.csv")
    areas = []
    for level_text, name, codes_text in zip(
        table["level"], table["name"], table["codes"], strict=True
    ):
        if level_text not in list(Level):
            raise GeographyError(f"areas.csv: {level_text!r} is not a level ({', '.join(Level)})")
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


def hash_folder(folder: Path) -> str:
    """SHA-256 of the input files: their relative names and contents."""
    names = [*_FILES, *(f"donors/{name}.csv" for name in DONORS)]
    names += sorted(f"survey/{path.name}" for path in (folder / "survey").glob("*.csv"))
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {hash_file(folder / name)}\n".encode())
    return digest.hexdigest()
