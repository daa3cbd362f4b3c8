"""Diagnostics as files: the tables under their established names, and the run's settings.

Floats are written by repr, so that reading gives them back bit for bit; NaN is an empty
cell. A file appears whole or not at all.
"""

from __future__ import annotations

import csv
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration import __version__
from calibration.dataset import Array, Table
from calibration.diagnostics.headlines import summary
from calibration.diagnostics.weights import check_weights
from calibration.errors import DiagnosticsError, near
from calibration.files import atomic_path, hash_file, write_json
from calibration.matrix import CalibrationMatrix

__all__ = ["run_config", "write_csv", "write_diagnostics"]

TABLES = (
    "unified_diagnostics",
    "calibration_log",
    "validation_results",
    "identity",
    "areas",
    "untargeted",
    "groups",
)


def run_config(
    *,
    options: Mapping[str, Any],
    seed: int,
    matrix: CalibrationMatrix,
    weights: ArrayLike,
    unified: Table,
    artifacts: Mapping[str, Path],
    elapsed_seconds: float,
) -> dict[str, Any]:
    """Record what a run really used: values in effect, versions, hashes, sizes.

    Parameters
    ----------
    options : mapping of str to value
        Every option in effect, defaults included, as JSON values.
    seed : int
    matrix : CalibrationMatrix
    weights : array of float, shape (C,)
    unified : Table
    artifacts : mapping of str to Path
        Files to hash, by name.
    elapsed_seconds : float
        As the caller measured it.

    Returns
    -------
    dict
        For `files.write_json`, as `unified_run_config.json`.

    Raises
    ------
    FileError
        If an artifact cannot be read.
    """
    w, mean = check_weights(weights, len(matrix.w0)), summary(unified, weights).fitted.mean
    records = len(matrix.household_id)
    return {
        "options": dict(options),
        "seed": seed,
        "n_targets": len(matrix.targets),
        "n_records": records,
        "n_clones": len(w) // records,
        "weight_format": "clone_level",
        "weight_sum": float(w.sum()),
        "weight_nonzero": int(np.count_nonzero(w)),
        "mean_error_pct": None if np.isnan(mean) else 100 * mean,
        "elapsed_seconds": float(elapsed_seconds),
        "made_of": dict(matrix.made_of),
        "artifacts": {name: f"sha256:{hash_file(path)}" for name, path in artifacts.items()},
        "package_version": __version__,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Versions of what computes; a library that was not imported had no part in it."""
    names = ("numpy", "scipy", "numba", "sklearn", "torch", "h5py")
    loaded = {name: sys.modules[name].__version__ for name in names if name in sys.modules}
    return {"python": platform.python_version()} | loaded


def write_csv(path: Path, table: Table) -> None:
    """Write a table, whole or not at all; floats keep all their digits.

    Parameters
    ----------
    path : Path
    table : Table
        Columns of one length, of numbers, booleans or text. NaN becomes an empty cell.

    Raises
    ------
    DiagnosticsError
        If a column has another length or type, or there are no columns.
    FileError
        If the file cannot be written.
    """
    shapes = {column.shape for column in table.values()}
    if len(shapes) != 1 or len(*shapes) != 1:
        raise DiagnosticsError(f"{path.name}: the columns of a table must have one common length")
    cells = [_cells(f"{path.name}: column {name!r}", column) for name, column in table.items()]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*cells, strict=True))


def _cells(where: str, column: Array) -> list[Any]:
    """Give the cells of a column; the csv module writes floats by repr."""
    if column.dtype.kind not in "biufU":
        raise DiagnosticsError(f"{where} is {column.dtype}; use numbers, booleans or text")
    cells = column.tolist()
    if column.dtype.kind == "f":
        for i in np.flatnonzero(np.isnan(column)).tolist():
            cells[i] = ""
    return cells


def write_diagnostics(
    folder: Path,
    tables: Mapping[str, Table],
    config: Mapping[str, Any] | None = None,
    *,
    prefix: str = "",
) -> list[Path]:
    """Write tables, and the run's configuration, under their established names.

    Parameters
    ----------
    folder : Path
    tables : mapping of str to Table
        By name: unified_diagnostics, calibration_log, validation_results, identity,
        areas, untargeted, groups.
    config : mapping, optional
        From `run_config`; written as unified_run_config.json.
    prefix : str
        Put before every file name, such as "national_" for a second weight vector.

    Returns
    -------
    list of Path
        The files, in the order they were written.

    Raises
    ------
    DiagnosticsError
        If a name is not one of them, or a table is not valid.
    """
    for name in tables:
        if name not in TABLES:
            raise DiagnosticsError(f"no table is called {name!r}{near(name, TABLES)}")
    written = []
    for name, table in tables.items():
        written.append(folder / f"{prefix}{name}.csv")
        write_csv(written[-1], table)
    if config is not None:
        written.append(folder / f"{prefix}unified_run_config.json")
        write_json(written[-1], dict(config))
    return written
