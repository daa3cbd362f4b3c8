"""What a run leaves behind: the names, the formats, and how to read them.

    artifacts/
        base.npz          the survey, in canonical order                H households
        records.npz       after the PUF clone and the sample            R records
        geography.npz     a block for every column                      C columns
        mass.json         what drew records to districts
        sources.npz       the records with donor variables by state     R records
        takeup.csv        thresholds
        targets.db        targets as published, targets.json as used    T targets
        uprating.csv      audit of the reconciliation
        matrix/           X, targets, w0; paths.csv says how each row was found
        weights.npz       a vector for each preset
        fits.json         how each vector came about, fit_logs/ its path
        files/            one HDF5 file an area, files.csv lists them
    diagnostics/          tables about all of the above

A run from an engine's own records has fewer stages and none of what the others make.

The stored states of the toy country have the same layout, so `RunState` reads both: a run
that you made and the run that is in the package.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.clone_and_assign import Mass
from calibration.clones import Clones
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset, Table
from calibration.engines import Engine, load_engine
from calibration.errors import PipelineError, near
from calibration.files import read_json, read_npz, write_json, write_npz, write_text
from calibration.geography import Area
from calibration.inputs import Inputs
from calibration.matrix import CalibrationMatrix
from calibration.matrix_files import target_from_json, target_to_json
from calibration.starts import SURVEY, Start, start_of
from calibration.takeup import Thresholds
from calibration.targets import Target

__all__ = [
    "STAGES",
    "RunState",
    "read_rows",
    "save_mass",
    "save_targets",
    "save_weights",
    "write_rows",
]

STAGES = tuple(SURVEY.stages)
"""The stages of a run from a survey, in the order in which they are executed."""


@dataclass(frozen=True)
class RunState:
    """A run as it is after one of its stages.

    Parameters
    ----------
    folder : Path
        The run folder, with `artifacts/` in it.
    stage : str
        A stage of the run. What later stages make cannot be read.
    data : Path
        The input folder of the run.
    engine_name : str
    period, seed : int
    states : tuple of str
        Postal letters, of a run that was confined to some states.
    given : Inputs, optional
        The inputs, if they have been read already.
    """

    folder: Path
    stage: str
    data: Path
    engine_name: str = "toy"
    period: int = 2024
    seed: int = 0
    states: tuple[str, ...] = ()
    given: Inputs | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.stage not in self.stages:
            raise PipelineError(f"no stage {self.stage!r}{near(self.stage, self.stages)}")

    def _path(self, name: str, since: str) -> Path:
        if since not in self.done:
            raise PipelineError(f"{name} is made by stage {since!r}, this is after {self.stage!r}")
        return self.folder / "artifacts" / name

    @property
    def start(self) -> Start:
        """Where the run started from."""
        return start_of(self.engine_name)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the run, in order."""
        return tuple(self.start.stages)

    @property
    def done(self) -> tuple[str, ...]:
        """The stages up to this one."""
        return self.stages[: self.stages.index(self.stage) + 1]

    @cached_property
    def engine(self) -> Engine:
        """The tax-benefit engine of the run."""
        return load_engine(self.engine_name)

    @cached_property
    def inputs(self) -> Inputs:
        """Survey, donors, crosswalk, areas and targets as they were given."""
        if self.given is not None:
            return self.given
        return self.start.read(self.data, self.period, self.engine, self.states)

    @cached_property
    def dataset(self) -> Dataset:
        """The households as far as the stage has brought them."""
        made = [
            (stage, name) for stage, name in self.start.households.items() if stage in self.done
        ]
        stage, name = made[-1]
        return Dataset.load(self._path(name, stage))

    @property
    def person(self) -> Table:
        """Person columns of `dataset`."""
        return self.dataset.person

    @property
    def household(self) -> Table:
        """Household columns of `dataset`."""
        return self.dataset.household

    @cached_property
    def geography(self) -> GeographyAssignment:
        """Where each column lives."""
        return GeographyAssignment.load(self._path("geography.npz", "clones"))

    @cached_property
    def mass(self) -> Mass:
        """What drew records to districts."""
        facts = read_json(self._path("mass.json", "clones"))
        return Mass(
            np.array(facts["district"], dtype=np.int64),
            np.array(facts["share"], dtype=np.float64),
            np.array(facts["high"], dtype=np.int64),
            float(facts["threshold"]),
        )

    @cached_property
    def thresholds(self) -> Thresholds:
        """The takeup table; empty in a run whose engine draws nobody's takeup."""
        if "takeup" not in self.stages:
            return Thresholds(self.seed, ())
        return Thresholds.load(self._path("takeup.csv", "takeup"))

    @cached_property
    def targets(self) -> list[Target]:
        """The targets as the matrix uses them: of one year, and consistent."""
        return [target_from_json(t) for t in read_json(self._path("targets.json", "targets"))]

    @cached_property
    def clones(self) -> Clones:
        """The C columns, ready to be materialised."""
        return Clones(self.dataset, self.geography, self.thresholds, self.engine)

    @cached_property
    def matrix(self) -> CalibrationMatrix:
        """The calibration matrix, checked against the stored parts that it was made of.

        The version of the package is stored with it and not compared: a release that moves
        no value can read the matrices of the one before.
        """
        folder = self._path("matrix", "matrix")
        made_of = self.clones.made_of()
        return CalibrationMatrix.load(folder, expected=made_of, targets=self.targets)

    @cached_property
    def weights_by_preset(self) -> Mapping[str, NDArray[np.float64]]:
        """Every weight vector of the run, shape (C,) each."""
        return read_npz(self._path("weights.npz", "weights"))

    @property
    def weights(self) -> NDArray[np.float64]:
        """The vector of the regional files: `local`, or the only one there is."""
        vectors = self.weights_by_preset
        return vectors["local"] if "local" in vectors else next(iter(vectors.values()))

    @cached_property
    def fits(self) -> Mapping[str, Mapping[str, Any]]:
        """How each vector came about: penalty, records, status, trials."""
        return read_json(self._path("fits.json", "weights"))

    @cached_property
    def files(self) -> list[dict[str, str]]:
        """One row an area: path, vector, status, households, persons, weight."""
        return read_rows(self._path("files.csv", "files"))

    def file(self, area: Area) -> Path:
        """Give the path of an area's file."""
        return self._path("files", "files") / area.path

    def table(self, name: str) -> list[dict[str, str]]:
        """Read a diagnostics table, such as "unified_diagnostics"."""
        self._path("", "diagnostics")
        return read_rows(self.folder / "diagnostics" / f"{name}.csv")


def save_mass(path: Path, mass: Mass) -> None:
    """Write what `RunState.mass` reads."""
    facts = {
        "district": mass.district.tolist(),
        "share": mass.share.tolist(),
        "high": mass.high.tolist(),
        "threshold": mass.threshold,
    }
    write_json(path, facts)


def save_targets(path: Path, targets: Sequence[Target]) -> None:
    """Write what `RunState.targets` reads."""
    write_json(path, [target_to_json(target) for target in targets])


def save_weights(path: Path, vectors: Mapping[str, NDArray[np.float64]]) -> None:
    """Write what `RunState.weights_by_preset` reads."""
    write_npz(path, dict(vectors))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows with equal keys to a CSV; floats keep all their digits.

    Parameters
    ----------
    path : Path
    rows : sequence of mapping
    columns : sequence of str, optional
        Their keys, for a table that may have no rows.

    Raises
    ------
    PipelineError
        If there are no rows and no columns: such a table says nothing.
    """
    if not rows and not columns:
        raise PipelineError(f"no rows to write to {path}")
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV as rows of text.

    Raises
    ------
    PipelineError
        If the file cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except OSError as error:
        raise PipelineError(f"cannot read {path}: {error.strerror}") from error
