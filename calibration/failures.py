"""Known failures: what was done wrong, what it looks like, and what notices it.

Most of these really happened in systems like this one. Each can be injected, on one side
or on both:

    side "file"     the fault acts while files are written: matrix and files disagree, and
                    the X w identity says so
    side "kernel"   the fault acts from the takeup thresholds on, while they are resolved,
                    while the matrix is built and while files are written: all are wrong
                    in the same way, the identity holds, and a named check of
                    `calibration.checks` says so

A fault in what files alone are made with, such as the choice of their columns, has no
second side: the identity sees it on both.

`demonstrate` does the experiment on a small set of areas and returns what was found.
Faults are put in by replacing one function for as long as a `with` block lasts; nothing
outside this module does such a thing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import materialise as materialise_module
from calibration import publish_local_area as publish_module
from calibration import takeup as takeup_module
from calibration.checks import CheckResult, resolve_again, run_checks
from calibration.clones import Clones
from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import Dataset
from calibration.errors import IdentityError, near
from calibration.geography import Area, Level
from calibration.identity import FileClaim, IdentityReport, check_identity
from calibration.matrix import CalibrationMatrix
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import AreaStatus, build_h5
from calibration.takeup import Programme, Thresholds
from calibration.targets import Target

__all__ = ["FAILURES", "Experiment", "Failure", "Outcome", "demonstrate", "find"]

Ints = NDArray[np.int64]
Side = Literal["file", "kernel"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One entry of the catalogue.

    Parameters
    ----------
    name : str
    mistake : str
        The line that is wrong, in words.
    symptom : str
        What a user sees.
    detector : str
        The check that notices it when it sits in the kernel, or "identity". Others may
        complain too.
    inject : callable
        Gives a context in which faulty code acts.
    spoil : callable
        Gives clones with faulty data.
    """

    name: str
    mistake: str
    symptom: str
    detector: str
    inject: Callable[[], AbstractContextManager[Any]] = nullcontext
    spoil: Callable[[Clones], Clones] = lambda clones: clones


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a failure is demonstrated on.

    Parameters
    ----------
    clones : Clones
    targets : sequence of Target
    weights, w0 : ndarray of float64, shape (C,)
    areas : sequence of Area
    crosswalk : Crosswalk
    """

    clones: Clones
    targets: Sequence[Target]
    weights: NDArray[np.float64]
    w0: NDArray[np.float64]
    areas: Sequence[Area]
    crosswalk: Crosswalk


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration found.

    Parameters
    ----------
    identity : IdentityReport
    checks : list of CheckResult
    """

    identity: IdentityReport
    checks: list[CheckResult]

    @property
    def noticed_by(self) -> list[str]:
        """Names of what complained: "identity" and checks."""
        found = ["identity"] if self.identity.broken else []
        return found + [result.name for result in self.checks if not result.passed]


def demonstrate(experiment: Experiment, failure: Failure | None, side: Side) -> Outcome:
    """Build matrix and files with a fault on one side or both, and look for it.

    Parameters
    ----------
    experiment : Experiment
    failure : Failure or None
        None demonstrates that nothing complains when nothing is wrong.
    side : {"file", "kernel"}

    Returns
    -------
    Outcome
    """
    e, clones = experiment, experiment.clones
    fault = failure or Failure("none", "", "", "")
    shared = fault.inject if side == "kernel" else nullcontext
    with shared():
        if side == "kernel":
            thresholds = resolve_again(clones, e.crosswalk)
            clones = fault.spoil(replace(clones, thresholds=thresholds))
        matrix = build_matrix(clones, e.targets, w0=e.w0)
    with tempfile.TemporaryDirectory() as folder:
        with fault.inject():
            written = clones if side == "kernel" else fault.spoil(clones)
            paths = [_write_file(e, written, area, Path(folder)) for area in e.areas]
        claims = [
            FileClaim.of(area, path, e.weights, clones.geography)
            for area, path in zip(e.areas, paths, strict=True)
        ]
        with shared():
            identity = check_identity(matrix, claims, clones.dataset, clones.engine)
            columns = np.flatnonzero(e.weights > 0)
            checks = run_checks(clones, e.crosswalk, matrix, [e.weights], columns=columns)
    return Outcome(identity, checks)


def _write_file(e: Experiment, clones: Clones, area: Area, folder: Path) -> Path | None:
    path = folder / area.path
    parts = (e.weights, clones.geography, clones.dataset, path, area)
    built = build_h5(*parts, takeup=clones.thresholds, engine=clones.engine)
    return path if built.status is AreaStatus.WRITTEN else None


# -- the faults ------------------------------------------------------------------------


@contextmanager
def _clone_not_in_key() -> Iterator[None]:
    draws = takeup_module.draws

    def without_clone(dataset: Dataset, programme: Programme, seed: int) -> Any:
        zero = np.zeros_like(dataset["clone_index"])
        return draws(dataset.with_columns("household", {"clone_index": zero}), programme, seed)

    with mock.patch.object(takeup_module, "draws", without_clone):
        yield


def _stale_thresholds(clones: Clones) -> Clones:
    rows = tuple(replace(r, threshold=0.7 * r.threshold) for r in clones.thresholds.rows)
    return replace(clones, thresholds=Thresholds(clones.thresholds.seed, rows))


@contextmanager
def _first_county() -> Iterator[None]:
    make_columns = materialise_module._geography

    def first_of_state(geography: GeographyAssignment, columns: Ints) -> dict[str, Any]:
        county = geography.code(Level.COUNTY)
        first = {s: county[geography.state == s].min() for s in np.unique(geography.state)}
        own = [f"{first[s]:05d}" for s in geography.state[columns]]
        return make_columns(geography, columns) | {"county_fips": lambda: np.array(own)}

    with mock.patch.object(materialise_module, "_geography", first_of_state):
        yield


@contextmanager
def _everybody_files() -> Iterator[None]:
    flags = takeup_module.flags

    def all_volunteer(dataset: Dataset, programme: Programme, thresholds: Thresholds) -> Any:
        drawn = flags(dataset, programme, thresholds)
        return np.ones_like(drawn) if programme.name == "voluntary_filing" else drawn

    with mock.patch.object(takeup_module, "flags", all_volunteer):
        yield


@contextmanager
def _one_id_off() -> Iterator[None]:
    find_unit = materialise_module._unit_of_person

    def one_off(dataset: Dataset, entity: str, rows: Any) -> Ints:
        unit = find_unit(dataset, entity, rows)
        if entity != "tax_unit":
            return unit
        home, size = rows["person"].column, np.bincount(unit)
        # whoever stands before a member of the next unit at home, and leaves company behind
        before = (home[:-1] == home[1:]) & (unit[:-1] + 1 == unit[1:]) & (size[unit[:-1]] > 1)
        moved = unit.copy()
        moved[:-1][before] += 1
        return moved

    with mock.patch.object(materialise_module, "_unit_of_person", one_off):
        yield


@contextmanager
def _next_state() -> Iterator[None]:
    position = materialise_module._state_positions

    def next_one(dataset: Dataset, state: Ints) -> Ints:
        return (position(dataset, state) + 1) % max(len(dataset.states), 1)

    with mock.patch.object(materialise_module, "_state_positions", next_one):
        yield


@contextmanager
def _last_third_lost() -> Iterator[None]:
    area_columns = publish_module.area_columns

    def without_last(*parts: Any, **options: Any) -> tuple[Ints, NDArray[np.float64]]:
        columns, weights = area_columns(*parts, **options)
        kept = 2 * len(columns) // 3
        return columns[:kept], weights[:kept]

    with mock.patch.object(publish_module, "area_columns", without_last):
        yield


@contextmanager
def _float32_sums() -> Iterator[None]:
    def estimates(self: CalibrationMatrix, weights: NDArray[np.float64]) -> Any:
        return (self.X @ weights.astype(np.float32)).astype(np.float64)

    with mock.patch.object(CalibrationMatrix, "estimates", estimates):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "clone-not-in-key",
        "the clone number is missing from the key of the takeup draws",
        "all clones of a household decide alike; files differ from the matrix by percents",
        "takeup_key",
        _clone_not_in_key,
    ),
    Failure(
        "stale-threshold",
        "thresholds of an earlier run are used",
        "benefit totals of the files are too low or too high everywhere",
        "thresholds_current",
        spoil=_stale_thresholds,
    ),
    Failure(
        "wrong-county",
        "an unknown county becomes the first county of its state",
        "premium tax credits are those of another rating area",
        "geography_of_block",
        _first_county,
    ),
    Failure(
        "filer-gate-off",
        "every tax unit counts as filing",
        "totals of tax returns include people who file none",
        "filer_gate",
        _everybody_files,
    ),
    Failure(
        "id-off-by-one",
        "one person's tax unit id is one too large",
        "two returns of one household are mixed up; incomes and credits move",
        "entity_links",
        _one_id_off,
    ),
    Failure(
        "next-state",
        "values by state are read one state too far",
        "rents, and what depends on them, are those of another state",
        "columns_copied",
        _next_state,
    ),
    Failure(
        "columns-lost",
        "the last columns of every area are left out of its file",
        "every total of every file is too low",
        "identity",
        _last_third_lost,
    ),
    Failure(
        "float32-sums",
        "national rows are summed in single precision",
        "totals of millions of terms are off by up to a percent",
        "float64_sums",
        _float32_sums,
    ),
)
"""The catalogue."""


def find(name: str) -> Failure:
    """Look up a failure by name.

    Raises
    ------
    IdentityError
        If the catalogue does not have it; near matches are named.
    """
    catalogue = {failure.name: failure for failure in FAILURES}
    if name not in catalogue:
        raise IdentityError(f"no failure {name!r} in the catalogue{near(name, catalogue)}")
    return catalogue[name]
