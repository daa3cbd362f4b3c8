r"""The X w identity: what was calibrated is what was written.

For a weight vector w, an area A, and every row i whose own area meets A,

    sum over j in A of X_ij w_j  =  row i evaluated on the file of A

within 1e-5 of sum |X_ij| w_j, and exactly where that is 0. The left side comes from the
matrix. Which columns lie in A is worked out here, from their codes and w > 0, and not
asked of the code that writes files. The right side comes from the file, opened again in a
new process by an evaluator that shares the engine with the builder (`calibration.evaluate`).

A fault on one side alone breaks the equation of every row that it moves: a draw with
another key, another threshold, a wrong county, a lost member, a lost column, a row of X
that was never filled.
That a row has no entry in A is a claim about the file like any other, so rows without
support are compared too. A fault in the kernel that both sides share is invisible here;
`calibration.checks` looks for those.

Axes: one comparison for each file and each row whose area meets that of the file.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.constraints import counted_entity
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.engines import Engine, require
from calibration.errors import IdentityError
from calibration.geography import Area, Level, decode
from calibration.matrix import CalibrationMatrix
from calibration.strata import LEVEL_VARIABLES
from calibration.targets import Target

__all__ = [
    "Comparison",
    "FileClaim",
    "IdentityReport",
    "check_identity",
    "compare_files",
    "evaluate_files",
    "targets_to_compare",
]

TOLERANCE = 1e-5  # of sum |X| w: float32 entries carry 6e-8 each, a wrong household far more


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A file and the columns and weights that it should hold.

    Parameters
    ----------
    name : str
        For reports, such as "districts/NC-12.h5".
    path : Path or None
        None if no file was written, because nobody is said to live there.
    columns : ndarray of int64, shape (n,)
    weights : ndarray of float64, shape (n,)
    areas : frozenset of (Level, int)
        Areas that meet the file's; their rows are compared.
    """

    name: str
    path: Path | None
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    areas: frozenset[tuple[Level, int]]

    @classmethod
    def of(
        cls,
        area: Area,
        path: Path | None,
        weights: NDArray[np.float64],
        geography: GeographyAssignment,
    ) -> FileClaim:
        """Work out what the file of an area should hold.

        Parameters
        ----------
        area : Area
            For a city with scaled weights, the districts that touch it.
        path : Path or None
        weights : ndarray of float64, shape (C,)
            Calibrated weights; for a city with scaled weights, the scaled ones.
        geography : GeographyAssignment

        Raises
        ------
        GeographyError
            If the run does not go down to the area's level.
        """
        lives_there = np.isin(geography.code(area.level), area.codes)
        columns = np.flatnonzero(lives_there & (weights > 0))
        areas = {(Level.NATION, 0), *((area.level, code) for code in area.codes)}
        for level, codes in geography.codes.items():
            areas |= {(level, code) for code in np.unique(codes[lives_there]).tolist()}
        return cls(area.path.as_posix(), path, columns, weights[columns], frozenset(areas))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row on one file.

    Parameters
    ----------
    file, target : str
    matrix, written : float
        The two sides.
    scale : float
        sum |X| w, what a difference is measured against.
    """

    file: str
    target: str
    matrix: float
    written: float
    scale: float

    @property
    def gap(self) -> float:
        """|matrix - written| / scale; 0 if the sides are equal, inf if one is not a number."""
        difference = abs(self.matrix - self.written)
        if difference == 0:
            return 0.0
        gap = difference / self.scale if self.scale else math.inf
        return math.inf if math.isnan(gap) else gap


@dataclass(frozen=True, slots=True)
class IdentityReport:
    """All comparisons of a run.

    Parameters
    ----------
    comparisons : tuple of Comparison
    """

    comparisons: tuple[Comparison, ...]

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest gap."""
        return max(self.comparisons, key=lambda c: c.gap)

    @property
    def broken(self) -> list[Comparison]:
        """Comparisons whose gap exceeds the tolerance, worst first."""
        over = [c for c in self.comparisons if c.gap > TOLERANCE]
        return sorted(over, key=lambda c: -c.gap)

    def require(self) -> IdentityReport:
        """Return the report itself if the identity holds.

        Raises
        ------
        IdentityError
            If nothing was compared, or a comparison exceeds the tolerance.
        """
        if not self.comparisons:
            raise IdentityError("the X w identity compared no row; it says nothing")
        if broken := self.broken:
            worst = broken[0]
            raise IdentityError(
                f"{len(broken)} of {len(self.comparisons)} rows differ between matrix and files; "
                f"worst: {worst.target} on {worst.file}, matrix {worst.matrix:.6g}, "
                f"file {worst.written:.6g}"
            )
        return self


def check_identity(
    matrix: CalibrationMatrix, claims: Sequence[FileClaim], dataset: Dataset, engine: Engine
) -> IdentityReport:
    """Compare every row that meets a file's area on that file; see `IdentityReport.require`.

    Parameters
    ----------
    matrix : CalibrationMatrix
    claims : sequence of FileClaim
        The files and what they should hold.
    dataset : Dataset
        The R records; says which entities exist.
    engine : Engine

    Raises
    ------
    IdentityError
        If a file cannot be evaluated or two have one name.
    """
    if len({claim.name for claim in claims}) < len(claims):
        raise IdentityError("two files have one name; each needs its own to be reported")
    written = evaluate_files(
        {claim.name: claim.path for claim in claims},
        {claim.name: targets_to_compare(matrix, claim) for claim in claims},
        dataset,
        engine,
    )
    return compare_files(matrix, claims, written)


def targets_to_compare(matrix: CalibrationMatrix, claim: FileClaim) -> list[Target]:
    """List the targets whose area meets that of a file, whether or not X has entries there."""
    return [matrix.targets[i] for i in _rows_to_compare(matrix, claim)]


def compare_files(
    matrix: CalibrationMatrix,
    claims: Sequence[FileClaim],
    written: Mapping[str, Mapping[str, float]],
) -> IdentityReport:
    """Compare the matrix with values that `evaluate_files` read off the files.

    Parameters
    ----------
    matrix : CalibrationMatrix
    claims : sequence of FileClaim
    written : mapping of str to mapping of str to float
        By file name and target name; at least those of `targets_to_compare`.

    Returns
    -------
    IdentityReport
    """
    comparisons = []
    for claim in claims:
        rows = _rows_to_compare(matrix, claim)
        part = matrix.X[rows][:, claim.columns].astype(np.float64)
        sides = zip(rows, part @ claim.weights, abs(part) @ claim.weights, strict=True)
        for i, left, scale in sides:
            name = matrix.targets[i].name
            right = written[claim.name][name]
            comparisons.append(Comparison(claim.name, name, float(left), right, float(scale)))
    return IdentityReport(tuple(comparisons))


def _rows_to_compare(matrix: CalibrationMatrix, claim: FileClaim) -> list[int]:
    if claim.path is None and not len(claim.columns):
        return []  # nobody should live there and there is no file: nothing could differ
    return [i for i, t in enumerate(matrix.targets) if (t.level, t.code) in claim.areas]


def evaluate_files(
    paths: Mapping[str, Path | None],
    targets: Mapping[str, Iterable[Target]],
    dataset: Dataset,
    engine: Engine,
) -> dict[str, dict[str, float]]:
    """Evaluate targets on files, all in one new process.

    Parameters
    ----------
    paths : mapping of str to Path or None
        Files by name; where there is None, all targets are 0.
    targets : mapping of str to iterable of Target
        What to evaluate on each.
    dataset : Dataset
        Says which entities exist.
    engine : Engine

    Returns
    -------
    dict of str to dict of str to float
        Values by file name and target name.

    Raises
    ------
    IdentityError
        If the process fails; its last line says why.
    """
    request = {
        "engine": engine.name,
        "version": engine.version,
        "files": {name: str(path) for name, path in paths.items() if path is not None},
        "targets": {
            name: {t.name: _to_request(t, dataset, engine) for t in wanted}
            for name, wanted in targets.items()
        },
    }
    nothing = {
        name: dict.fromkeys(request["targets"][name], 0.0)
        for name, path in paths.items()
        if path is None
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "calibration.evaluate", str(path)],
            # this package, not one that happens to lie in the working folder
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise IdentityError(f"the files could not be evaluated: {last}")
    return json.loads(done.stdout) | nothing


def _to_request(target: Target, dataset: Dataset, engine: Engine) -> dict[str, Any]:
    counted = counted_entity(target.variable, dataset)
    constraints = [[c.variable, str(c.operation), c.value] for c in target.constraints]
    if target.level is not Level.NATION:
        code = decode(target.level, target.code)
        constraints.append([LEVEL_VARIABLES[target.level], "==", code])
    return {
        "variable": target.variable,
        "entity": counted or require(engine, target.variable).entity,
        "count": counted is not None,
        "constraints": constraints,
    }
