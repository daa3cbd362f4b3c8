r"""The X w identity: what was calibrated is what was written.

For a weight vector w, an area A, and every row i with support in A,

    sum over j in A of X_ij w_j  =  row i evaluated on the file of A

within 1e-5 of sum |X_ij| w_j. The left side comes from the matrix. The right side comes
from the file, opened again in a new process by an evaluator that shares nothing with the
builder but the engine (`calibration.evaluate`). Any fault on one side alone breaks the
equation: a draw with another key, another threshold, a wrong county, a lost member.

A fault in the kernel that both sides share is invisible here; `calibration.checks` looks
for those.

Axes: one comparison for each file and each row with support in its area.
"""

from __future__ import annotations

import json
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
from calibration.dataset import Dataset
from calibration.engines import Engine, require
from calibration.errors import IdentityError
from calibration.geography import Level, decode
from calibration.matrix import CalibrationMatrix
from calibration.target_database import LEVEL_VARIABLES
from calibration.targets import Target

__all__ = [
    "Comparison",
    "FileClaim",
    "IdentityReport",
    "check_identity",
    "compare_files",
    "evaluate_files",
    "targets_with_support",
]

TOLERANCE = 1e-5  # of sum |X| w: float32 entries carry 6e-8 each, a wrong household far more


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A file and the columns and weights that it should hold.

    Parameters
    ----------
    name : str
        For reports, such as "districts/NC-12.h5".
    path : Path
    columns : ndarray of int64, shape (n,)
    weights : ndarray of float64, shape (n,)
    """

    name: str
    path: Path
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]


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
        """|matrix - written| / scale; 0 if both sides are 0."""
        difference = abs(self.matrix - self.written)
        return difference / self.scale if self.scale else float(difference > 0)


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
        over = [c for c in self.comparisons if not c.gap <= TOLERANCE]
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
    """Compare every row with support on every file; see `IdentityReport.require`.

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
        {claim.name: targets_with_support(matrix, claim) for claim in claims},
        dataset,
        engine,
    )
    return compare_files(matrix, claims, written)


def targets_with_support(matrix: CalibrationMatrix, claim: FileClaim) -> list[Target]:
    """List the targets to which a column of a file's area adds something."""
    return [matrix.targets[i] for i in _rows_with_support(matrix, claim)]


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
        By file name and target name; at least those of `targets_with_support`.

    Returns
    -------
    IdentityReport
    """
    comparisons = []
    for claim in claims:
        rows = _rows_with_support(matrix, claim)
        part = matrix.X[rows][:, claim.columns].astype(np.float64)
        sides = zip(rows, part @ claim.weights, abs(part) @ claim.weights, strict=True)
        for i, left, scale in sides:
            name = matrix.targets[i].name
            right = written[claim.name][name]
            comparisons.append(Comparison(claim.name, name, float(left), right, float(scale)))
    return IdentityReport(tuple(comparisons))


def _rows_with_support(matrix: CalibrationMatrix, claim: FileClaim) -> list[int]:
    part = matrix.X[:, claim.columns].tocsr()
    return np.flatnonzero(np.diff(part.indptr)).tolist()


def evaluate_files(
    paths: Mapping[str, Path],
    targets: Mapping[str, Iterable[Target]],
    dataset: Dataset,
    engine: Engine,
) -> dict[str, dict[str, float]]:
    """Evaluate targets on files, all in one new process.

    Parameters
    ----------
    paths : mapping of str to Path
        Files by name.
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
        "files": {name: str(path) for name, path in paths.items()},
        "targets": {
            name: {t.name: _to_request(t, dataset, engine) for t in wanted}
            for name, wanted in targets.items()
        },
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
    return json.loads(done.stdout)


def _to_request(target: Target, dataset: Dataset, engine: Engine) -> dict[str, Any]:
    counted = counted_entity(target.variable, dataset)
    constraints = [[c.variable, str(c.operation), c.value] for c in target.constraints]
    constraints = [
        [v, op, {"True": "1", "False": "0"}.get(value, value)] for v, op, value in constraints
    ]
    if target.level is not Level.NATION:
        code = decode(target.level, target.code)
        constraints.append([LEVEL_VARIABLES[target.level], "==", code])
    return {
        "variable": target.variable,
        "entity": counted or require(engine, target.variable).entity,
        "count": counted is not None,
        "constraints": constraints,
    }
