"""Stage 7: the weighted columns of an area, as a file that an engine can read.

A weight vector over the columns of X says how many households each column stands for.
The file of an area holds its columns with a positive weight, each as one household with
its people and units under new ids, its geography and its takeup; a weight stands on the
household alone, the others follow from it.

    columns of the file = { j in area : w_j > 0 },  in ascending order

A county, or a city that is a set of counties, can be cut in two ways, and only one at a
time. `counties="own"` keeps the columns whose own county is in the area. `"scaled"` keeps
all columns of the districts that touch the area, and multiplies weights by the share of
the district's people who live in it,

    w_j  <-  w_j * P(county in area | district of j),

while every household keeps its own county. Both have the same expected total before
calibration; doing both would count the area twice.

Axes: columns j in [0, C); households of the file in the order of their columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration import __version__
from calibration.clones import Clones
from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import PERSON, Dataset
from calibration.engines import Engine
from calibration.errors import PublishError
from calibration.geography import Area, Level
from calibration.h5_layout import write_h5
from calibration.takeup import Thresholds

__all__ = ["AreaStatus", "BuiltFile", "area_columns", "build_h5", "county_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class AreaStatus(StrEnum):
    """What became of an area's file."""

    WRITTEN = "written"
    EMPTY = "no retained column lives in the area; there is no file"


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """The outcome of `build_h5`.

    Parameters
    ----------
    area : Area
    status : AreaStatus
    path : Path
        Where the file is, if it was written.
    households, persons : int
        Rows in the file.
    weight : float
        Sum of the household weights: the households the file stands for.
    """

    area: Area
    status: AreaStatus
    path: Path
    households: int
    persons: int
    weight: float


def build_h5(
    weights: Floats,
    geography: GeographyAssignment,
    dataset: Dataset,
    path: Path,
    area: Area,
    *,
    takeup: Thresholds,
    engine: Engine,
    counties: Literal["own", "scaled"] = "own",
    crosswalk: Crosswalk | None = None,
) -> BuiltFile:
    """Write the file of one area.

    Parameters
    ----------
    weights : ndarray of float64, shape (C,)
        Calibrated weight of every column, 0 where a column is not retained.
    geography : GeographyAssignment
        The assignment that the weights were calibrated with.
    dataset : Dataset
        The R records.
    path : Path
        Where to write; an existing file is replaced in one step, or removed if the area
        is empty.
    area : Area
    takeup : Thresholds
        The stored threshold table of the run. It is looked up, never resolved again.
    engine : Engine
        Says which takeup flags to draw, and which variables it computes itself: those
        are never stored.
    counties : {"own", "scaled"}
        How an area of counties is cut, see the module.
    crosswalk : Crosswalk, optional
        Needed for "scaled".

    Returns
    -------
    BuiltFile
        With status `EMPTY`, and no file, if no retained column lives in the area.

    Raises
    ------
    PublishError
        If the weights have the wrong length, one is negative or not a number, or the
        area cannot be cut as `counties` says.
    FileError, DatasetError
        If the file cannot be written, or is not valid after writing.
    """
    columns, w = area_columns(weights, geography, area, counties=counties, crosswalk=crosswalk)
    if not len(columns):
        path.unlink(missing_ok=True)  # what an earlier run left is not this area's file
        return BuiltFile(area, AreaStatus.EMPTY, path, 0, 0, 0.0)
    clones = Clones(dataset, geography, takeup, engine)
    households = clones.households(columns, w)
    attributes = clones.made_of() | {
        "area": area.name,
        "counties": counties,
        "package": __version__,
        "seed": str(takeup.seed),
    }
    write_h5(path, households, attributes=attributes, leave_out=engine.outputs)
    rows = households.size(PERSON)
    return BuiltFile(area, AreaStatus.WRITTEN, path, len(columns), rows, float(w.sum()))


def area_columns(
    weights: Floats,
    geography: GeographyAssignment,
    area: Area,
    *,
    counties: Literal["own", "scaled"] = "own",
    crosswalk: Crosswalk | None = None,
) -> tuple[Ints, Floats]:
    """List the columns of an area's file and their weights in it.

    Returns
    -------
    columns : ndarray of int64, shape (n,)
        Ascending.
    weights : ndarray of float64, shape (n,)
        Greater than 0.

    Raises
    ------
    PublishError
        See `build_h5`.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (geography.n_columns,):
        raise PublishError(f"{w.shape} weights for {geography.n_columns} columns")
    if not (np.isfinite(w) & (w >= 0)).all():
        bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))[0]
        raise PublishError(f"the weight of column {bad} is {w[bad]}; weights are 0 or more")
    if counties not in {"own", "scaled"}:
        raise PublishError(f"counties is {counties!r}; choose 'own' or 'scaled'")
    if counties == "own":
        columns = geography.columns_in(area)
        columns = columns[w[columns] > 0]
        return columns, w[columns]
    if area.level is not Level.COUNTY:
        raise PublishError(f"{area.name} is a {area.level}; only areas of counties can be scaled")
    if crosswalk is None:
        raise PublishError("scaling by county needs the crosswalk")
    share = county_share(crosswalk, area)
    district = geography.code(Level.DISTRICT)
    scaled = (
        w
        * np.array([share.get(int(d), 0.0) for d in np.unique(district)])[
            np.unique(district, return_inverse=True)[1]
        ]
    )
    columns = np.flatnonzero(scaled > 0)
    return columns, scaled[columns]


def county_share(crosswalk: Crosswalk, area: Area) -> dict[int, float]:
    """Work out P(county in area | district) for every district that touches the area."""
    inside = np.isin(crosswalk.county, area.codes)
    total = crosswalk.population_by(Level.DISTRICT)
    share: dict[int, float] = {}
    for d in np.unique(crosswalk.district[inside]).tolist():
        here = inside & (crosswalk.district == d)
        share[d] = float(crosswalk.population[here].sum()) / total[d]
    return share
