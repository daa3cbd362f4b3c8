"""Stage 8: what came out of a calibration, and what was missed, as tables.

    unified_diagnostics   one row a target: what it should be, what it is, what carries it
    calibration_log       one row a logged epoch and target: how it got there
    validation_results    one row a file and target: what the written file says
    identity              one row a file and target: what was fitted against what was written
    areas, untargeted     how the weights are spread (`calibration.weight_statistics`)
    groups                one row a group of targets

    error = estimate - target,   rel_error = error / |target|,   loss = (error / d)^2

In every table the sign of an error says whether the estimate is too high, also where the
target is negative. d is |target|, or for a zero target its floor, what the largest single
column adds at the start.

A zero target has no relative error. `unified_diagnostics` leaves it empty and says why.
The log and the validation write inf where a zero target is missed: the readers of these
two files take an empty cell for 0, a perfect fit.

Axes: tables are mappings of column name to array, all of one length, in the order of the
columns of the file. NaN is an empty cell.

Sources: the established columns are those of PolicyEngine/policyengine-us-data e01a038,
calibration/unified_calibration.py and validate_staging.py; the readers are those of
PolicyEngine/microcalibrate 1143a9b, microcalibration-dashboard/src/utils/csvParser.ts.
Differs from them: (1) relative errors divide by |target|; (2) `achievable` looks at the
sign of the entries, not at their sum; (3) zero targets are not shown as perfect; (4) the
log starts at epoch 0 and also gives the loss of the epoch; (5) the ceiling of an area is
that of its own level, not the district's for all but states.
"""

from __future__ import annotations

import csv
import platform
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import __version__
from calibration.dataset import Array, Table
from calibration.errors import DiagnosticsError, near
from calibration.files import atomic_path, hash_file, write_json
from calibration.geography import Area, Level, decode
from calibration.identity import IdentityReport
from calibration.matrix import CalibrationMatrix, RowStatus
from calibration.targets import Target
from calibration.weight_statistics import (
    check_weights,
    design_effect,
    effective_size,
    row_statistics,
)

__all__ = [
    "ErrorSummary",
    "Summary",
    "group_table",
    "identity_table",
    "log_table",
    "run_config",
    "summary",
    "targets_of",
    "unified_table",
    "validation_table",
    "write_csv",
    "write_diagnostics",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LOST = "the fit dropped every column that adds to it"
NO_FILE = "no retained column lives in the area, so it has no file"
LIMITS = (0.01, 0.05, 0.1)
PHASES = ("gates", "refit")
TABLES = (
    "unified_diagnostics",
    "calibration_log",
    "validation_results",
    "identity",
    "areas",
    "untargeted",
    "groups",
)


def _relative(error: Floats, target: Floats, at_zero: Floats | float = np.nan) -> Floats:
    """Divide errors by |target|, which broadcasts; give `at_zero` where it is 0."""
    quotient = error / np.where(target == 0, np.nan, np.abs(target))
    return np.where(target == 0, at_zero, quotient)


def _infinite(error: Floats) -> Floats:
    """Give what a reader that takes an empty cell for 0 must see of a zero target."""
    return np.where(error == 0, 0.0, np.copysign(np.inf, error))


# -- one row a target ------------------------------------------------------------------


def unified_table(
    matrix: CalibrationMatrix, weights: ArrayLike, *, holdout: ArrayLike | None = None
) -> dict[str, Array]:
    """Describe every target at the initial and at the fitted weights.

    Parameters
    ----------
    matrix : CalibrationMatrix
    weights : array of float, shape (C,)
    holdout : array of bool, shape (T,), optional
        Targets that the fit did not see.

    Returns
    -------
    dict of str to ndarray, shape (T,)
        target, true_value, estimate, rel_error, abs_rel_error, achievable; level,
        variable, group; initial_estimate, initial_rel_error; abs_error, |estimate -
        true_value|, never empty; support and retained_support, columns that add to it;
        largest_share, of the sum of |X| w, that one column brings; loss_share, of the
        loss over the reachable targets that are not held out; floor, the most that one
        column adds at the start; status, a name of `RowStatus`, and reason; holdout.

    Raises
    ------
    DiagnosticsError
        If weights or holdout do not fit the matrix.
    """
    rows = row_statistics(matrix, weights, holdout=holdout)
    t, targets = matrix.values.astype(np.float64), matrix.targets
    initial = matrix.estimates(matrix.w0)
    error = rows.estimate - t
    counted = rows.row_weight > 0
    loss = np.zeros(len(t))
    np.divide(error, rows.scale, out=loss, where=counted)
    loss = rows.row_weight * loss**2
    lost = (rows.retained == 0) & (np.array(rows.status) == RowStatus.OK)
    why = ["" if s is RowStatus.OK else s.value for s in rows.status]
    return {
        "target": np.array(matrix.names),
        "true_value": t,
        "estimate": rows.estimate,
        "rel_error": _relative(error, t),
        "abs_rel_error": np.abs(_relative(error, t)),
        "achievable": rows.achievable,
        "level": np.array([str(target.level) for target in targets]),
        "variable": np.array([target.variable for target in targets]),
        "group": np.array(matrix.groups),
        "initial_estimate": initial,
        "initial_rel_error": _relative(initial - t, t),
        "abs_error": np.abs(error),
        "support": rows.support,
        "retained_support": rows.retained,
        "largest_share": rows.largest_share,
        "loss_share": loss / total if (total := loss.sum()) > 0 else np.full(len(t), np.nan),
        "floor": rows.floor,
        "status": np.array([status.name for status in rows.status]),
        "reason": np.where(lost, LOST, why),
        "holdout": np.zeros(len(t), dtype=bool) if holdout is None else np.asarray(holdout),
    }


def group_table(unified: Table) -> dict[str, Array]:
    """Summarize `unified_table` by group of targets, in the order of their first rows.

    Returns
    -------
    dict of str to ndarray, shape (groups,)
        group; targets; scored, the achievable ones that are not zero and not held out;
        mean, median and p95 of their absolute relative errors at the initial and at the
        fitted weights; within_10, the share of the scored within 10 %; loss_share.
    """
    first, member = np.unique(unified["group"], return_index=True, return_inverse=True)[1:]
    scored, rows = _scored(unified), []
    for place in np.argsort(first):
        here = member == place
        before = _errors(unified["initial_rel_error"][here & scored])
        after = _errors(unified["rel_error"][here & scored])
        row = {"group": unified["group"][first[place]], "targets": int(here.sum())}
        row |= {"scored": after.targets, "initial_mean": before.mean}
        row |= {"initial_median": before.median, "initial_p95": before.p95, "mean": after.mean}
        row |= {"median": after.median, "p95": after.p95, "within_10": after.within_10}
        rows.append(row | {"loss_share": unified["loss_share"][here].sum()})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


# -- one row an epoch and target -------------------------------------------------------


def log_table(
    unified: Table,
    *,
    epochs: ArrayLike,
    estimates: ArrayLike,
    losses: ArrayLike,
    retained: ArrayLike,
    phase: Sequence[str],
    dialect: Literal["package", "microcalibrate"] = "package",
) -> dict[str, Array]:
    """Lay out the path of every target through the fit.

    Parameters
    ----------
    unified : Table
        From `unified_table`: names, targets, floors, achievable.
    epochs : array of int, shape (E,)
        As an observer of the fit sees them: updates made in the phase, from 0 and rising.
        The table counts on from the gates to the refit, whose epoch 0, the state in which
        the gates ended, is left out.
    estimates : array of float, shape (E, T)
    losses : array of float, shape (E,)
        The loss of the fit at that epoch, without penalties.
    retained : array of int, shape (E,)
        Columns with a positive weight.
    phase : sequence of str, length E
        "gates", then "refit"; either may be missing.
    dialect : {"package", "microcalibrate"}
        Meaning of `loss`: that of the row's target, or, as microcalibrate writes it, that
        of the epoch on every row.

    Returns
    -------
    dict of str to ndarray, T rows for each epoch
        target_name, estimate, target, epoch, error, rel_error, abs_error, rel_abs_error,
        loss, achievable; and in the package's own dialect epoch_loss, retained, phase.

    Raises
    ------
    DiagnosticsError
        If the lengths differ, epoch 0 is missing, or epochs do not rise within a phase.
    """
    t, epoch = unified["true_value"], np.asarray(epochs)
    y = np.asarray(estimates, dtype=np.float64)
    by_epoch = {"epoch_loss": losses, "retained": retained, "phase": phase}
    by_epoch = {name: np.asarray(vector) for name, vector in by_epoch.items()}
    _check_log(epoch, y, by_epoch, len(t), dialect)
    gates = by_epoch["phase"] == "gates"
    kept = gates | (epoch > 0) | ~gates.any()
    epoch, y = np.where(gates, epoch, epoch + epoch[gates].max(initial=0))[kept], y[kept]
    by_epoch = {name: vector[kept] for name, vector in by_epoch.items()}
    error = y - t
    missed_zero = _infinite(error)
    relative = _relative(error, t, missed_zero)
    in_scale = _relative(error, np.where(t == 0, unified["floor"], t), missed_zero)
    spread = {name: np.repeat(vector, len(t)) for name, vector in by_epoch.items()}
    own = dialect == "package"
    table = {
        "target_name": np.tile(unified["target"], len(epoch)),
        "estimate": y.ravel(),
        "target": np.tile(t, len(epoch)),
        "epoch": np.repeat(epoch, len(t)),
        "error": error.ravel(),
        "rel_error": relative.ravel(),
        "abs_error": np.abs(error).ravel(),
        "rel_abs_error": np.abs(relative).ravel(),
        "loss": (in_scale**2).ravel() if own else spread["epoch_loss"],
        "achievable": np.tile(unified["achievable"], len(epoch)),
    }
    return table | spread if own else table


def _check_log(
    epoch: Array, estimates: Floats, by_epoch: Mapping[str, Array], n_targets: int, dialect: str
) -> None:
    for name, vector in by_epoch.items():
        if vector.shape != epoch.shape:
            raise DiagnosticsError(f"{name} has shape {vector.shape}, epochs has {epoch.shape}")
    if estimates.shape != (len(epoch), n_targets):
        wanted = f"one row for each of {len(epoch)} epochs, one column for each of {n_targets}"
        raise DiagnosticsError(f"estimates has shape {estimates.shape}; give {wanted} targets")
    order = {name: place for place, name in enumerate(PHASES)}
    phase = by_epoch["phase"].tolist()
    if any(name not in order for name in phase):
        raise DiagnosticsError(f"phases are {phase}; use {PHASES}")
    steps = [(order[name], int(number)) for name, number in zip(phase, epoch, strict=True)]
    if not steps or steps[0][1] != 0 or any(a >= b for a, b in pairwise(steps)):
        raise DiagnosticsError(
            f"epochs are {epoch.tolist()}; log epoch 0 first, then rising ones, gates before refit"
        )
    if dialect not in ("package", "microcalibrate"):
        raise DiagnosticsError(f"no dialect {dialect!r}; use 'package' or 'microcalibrate'")


# -- one row a file and target ---------------------------------------------------------

_CEILINGS = {
    Level.NATION: {"household": 135e6, "unit": 340e6, "dollar": 30e12},
    Level.STATE: {"household": 15e6, "unit": 40e6, "dollar": 5e12},
    Level.DISTRICT: {"household": 400e3, "unit": 1e6, "dollar": 500e9},
}
"""Sizes that no area of a level has; the figures of policyengine-us-data."""
# A county or a place is a part of a state and can be nearly all of it: Los Angeles County
# has more people than any district may have.
_CEILINGS |= {Level.COUNTY: _CEILINGS[Level.STATE], Level.PLACE: _CEILINGS[Level.STATE]}


def targets_of(area: Area, targets: Iterable[Target]) -> list[Target]:
    """List the targets of an area itself: those that its file must reproduce."""
    return [t for t in targets if t.level is area.level and t.code in area.codes]


def validation_table(
    areas: Mapping[str, Area],
    values: Mapping[str, Mapping[str, float]],
    targets: Sequence[Target],
    *,
    holdout: Collection[str] = (),
    empty: Collection[str] = (),
) -> dict[str, Array]:
    """Compare the written files with the targets of their areas.

    Parameters
    ----------
    areas : mapping of str to Area
        The area of each file.
    values : mapping of str to mapping of str to float
        By file and target name, as `identity.evaluate_files` gives them for the
        targets that `targets_of` lists.
    targets : sequence of Target
    holdout : collection of str
        Names of targets that the fit did not see.
    empty : collection of str
        Names in `areas` that have no file because no retained column lives there; their
        values are 0.

    Returns
    -------
    dict of str to ndarray, one row a file and target
        area_type (the folder), area_id (codes), display_name, district (name of the
        district if it is one), variable, target_name, period, target_value, sim_value,
        error, rel_error, abs_error, rel_abs_error, sanity_check ("PASS" or "FAIL"),
        sanity_reason, in_training.

    Raises
    ------
    DiagnosticsError
        If a target of a file's area was not evaluated, or there is nothing to compare.
    """
    unknown = [name for name in (*values, *empty) if name not in areas]
    if unknown:
        raise DiagnosticsError(f"no area is given for file {unknown[0]!r}{near(unknown[0], areas)}")
    rows = [(name, area, t) for name, area in areas.items() for t in targets_of(area, targets)]
    if not rows:
        raise DiagnosticsError("no target belongs to the area of any file; nothing was validated")
    held_out, simulated, reasons = frozenset(holdout), [], []
    for name, _, target in rows:
        if name not in empty and target.name not in values.get(name, {}):
            raise DiagnosticsError(f"{target.name} was not evaluated on {name}; ask for it")
        simulated.append(0.0 if name in empty else float(values[name][target.name]))
        reasons.append(NO_FILE if name in empty else _implausible(simulated[-1], target))
    t, sim = np.array([float(target.value) for *_, target in rows]), np.array(simulated)
    relative = _relative(sim - t, t, _infinite(sim - t))
    in_district = [area.level is Level.DISTRICT for _, area, _ in rows]
    names = np.array([area.name for _, area, _ in rows])
    return {
        "area_type": np.array([area.path.parent.name for _, area, _ in rows]),
        "area_id": np.array([_codes(area) for _, area, _ in rows]),
        "display_name": names,
        "district": np.where(in_district, names, ""),
        "variable": np.array([target.variable for *_, target in rows]),
        "target_name": np.array([target.name for *_, target in rows]),
        "period": np.array([target.period for *_, target in rows]),
        "target_value": t,
        "sim_value": sim,
        "error": sim - t,
        "rel_error": relative,
        "abs_error": np.abs(sim - t),
        "rel_abs_error": np.abs(relative),
        "sanity_check": np.where([bool(reason) for reason in reasons], "FAIL", "PASS"),
        "sanity_reason": np.array(reasons),
        "in_training": np.array([target.name not in held_out for *_, target in rows]),
    }


def _codes(area: Area) -> str:
    return "+".join(decode(area.level, code) for code in area.codes)


def _implausible(value: float, target: Target) -> str:
    """Say why a value cannot be that of the target's level; empty if it can."""
    if not np.isfinite(value):
        return "not a finite number"
    kind = "unit" if target.is_count else "dollar"
    kind = "household" if target.variable == "household_count" else kind
    ceiling = _CEILINGS[target.level][kind]
    over = abs(value) > ceiling
    return f"|{value:.3g}| exceeds {ceiling:.3g} {kind}s, the most for a {target.level}" * over


def identity_table(report: IdentityReport) -> dict[str, Array]:
    """Lay out the comparisons of the X w identity, one row each.

    Returns
    -------
    dict of str to ndarray
        file, target, matrix, written, scale, gap; see `calibration.identity.Comparison`.
    """
    fields = ("file", "target", "matrix", "written", "scale", "gap")
    return {name: np.array([getattr(c, name) for c in report.comparisons]) for name in fields}


# -- headlines -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSummary:
    """Absolute relative errors of some targets; NaN if there are none.

    Parameters
    ----------
    targets : int
    mean, median, p95 : float
    within_1, within_5, within_10 : float
        Shares of the targets within 1, 5 and 10 %.
    """

    targets: int
    mean: float
    median: float
    p95: float
    within_1: float
    within_5: float
    within_10: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The numbers to look at first.

    Parameters
    ----------
    targets, achievable, zero_targets : int
    initial, fitted : ErrorSummary
        Over the scored targets: achievable, not zero, not held out.
    holdout : ErrorSummary
        Of the fitted weights, over the achievable nonzero targets that were held out.
    worst_zero : float
        Largest absolute error of a zero target; 0 if there are none.
    columns, retained : int
    households : float
        Sum of the weights.
    effective_size, design_effect, max_weight : float
        See `calibration.weight_statistics`.
    worst : tuple of (str, float)
        The scored targets with the largest errors: name, and rel_error with its sign.
    """

    targets: int
    achievable: int
    zero_targets: int
    initial: ErrorSummary
    fitted: ErrorSummary
    holdout: ErrorSummary
    worst_zero: float
    columns: int
    retained: int
    households: float
    effective_size: float
    design_effect: float
    max_weight: float
    worst: tuple[tuple[str, float], ...]


def summary(unified: Table, weights: ArrayLike, *, worst: int = 5) -> Summary:
    """Draw the headline numbers from `unified_table` and the weights.

    Parameters
    ----------
    unified : Table
    weights : array of float, shape (C,)
        Those that the table was made with.
    worst : int
        How many of the worst targets to name.

    Returns
    -------
    Summary
    """
    w = check_weights(weights, np.size(weights))
    zero, scored = unified["true_value"] == 0, _scored(unified)
    held_out = unified["achievable"] & ~zero & unified["holdout"]
    size = np.where(scored, unified["abs_rel_error"], -1.0)
    order = np.lexsort((unified["target"], -size))[: min(worst, int(scored.sum()))]
    return Summary(
        targets=len(zero),
        achievable=int(unified["achievable"].sum()),
        zero_targets=int(zero.sum()),
        initial=_errors(unified["initial_rel_error"][scored]),
        fitted=_errors(unified["rel_error"][scored]),
        holdout=_errors(unified["rel_error"][held_out]),
        worst_zero=float(unified["abs_error"][zero].max(initial=0.0)),
        columns=len(w),
        retained=int(np.count_nonzero(w)),
        households=float(w.sum()),
        effective_size=effective_size(w),
        design_effect=design_effect(w),
        max_weight=float(w.max(initial=0.0)),
        worst=tuple((str(unified["target"][i]), float(unified["rel_error"][i])) for i in order),
    )


def _scored(unified: Table) -> Bools:
    return unified["achievable"] & (unified["true_value"] != 0) & ~unified["holdout"]


def _errors(relative: Floats) -> ErrorSummary:
    e = np.abs(relative) if len(relative) else np.array([np.nan])
    within = [float((e <= limit).mean()) if len(relative) else np.nan for limit in LIMITS]
    return ErrorSummary(
        targets=len(relative),
        mean=float(e.mean()),
        median=float(np.median(e)),
        p95=float(np.percentile(e, 95)),
        within_1=within[0],
        within_5=within[1],
        within_10=within[2],
    )


# -- files -----------------------------------------------------------------------------


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
