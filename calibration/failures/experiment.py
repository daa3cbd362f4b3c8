"""What a failure is, and the experiment that shows who notices it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.checks import CheckResult, resolve_again, run_checks
from calibration.clones import Clones
from calibration.crosswalk import Crosswalk
from calibration.errors import IdentityError
from calibration.geography import Area
from calibration.identity import FileClaim, IdentityReport, check_identity
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import AreaStatus, build_h5
from calibration.targets import Target

__all__ = ["Experiment", "Failure", "Outcome", "demonstrate"]

Side = Literal["file", "kernel", "matrix"]


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
    sides : tuple
        Where it can act; none if it acts before there are columns.
    """

    name: str
    mistake: str
    symptom: str
    detector: str
    inject: Callable[[], AbstractContextManager[Any]] = nullcontext
    spoil: Callable[[Clones], Clones] = lambda clones: clones
    sides: tuple[Side, ...] = ("file", "kernel")


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
    """Build matrix and files with a fault in either or in both, and look for it.

    Parameters
    ----------
    experiment : Experiment
    failure : Failure or None
        None demonstrates that nothing complains when nothing is wrong.
    side : {"file", "kernel", "matrix"}

    Returns
    -------
    Outcome

    Raises
    ------
    IdentityError
        If the failure cannot act on that side; the message says where it can.
    """
    if failure is not None and side not in failure.sides:
        where = " or ".join(repr(one) for one in failure.sides)
        instead = (
            f"give {where}"
            if where
            else f"it acts before there are columns: inject it yourself and run {failure.detector}"
        )
        raise IdentityError(f"failure {failure.name!r} cannot act on side {side!r}; {instead}")
    e, clones = experiment, experiment.clones
    fault = failure or Failure("none", "", "", "")
    shared = fault.inject if side == "kernel" else nullcontext
    with shared():
        if side == "kernel":
            thresholds = resolve_again(clones, e.crosswalk)
            clones = fault.spoil(replace(clones, thresholds=thresholds))
        with fault.inject() if side == "matrix" else nullcontext():
            matrix = build_matrix(clones, e.targets, w0=e.w0)
    with tempfile.TemporaryDirectory() as folder:
        with fault.inject() if side != "matrix" else nullcontext():
            written = fault.spoil(clones) if side == "file" else clones
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
