"""One row a logged epoch and target: how a fit got to where it ended.

    loss = (error / d)^2,   d = |target|, or the floor of a zero target

The refit's epochs count on from the last of the gates, and its epoch 0, the same state,
is left out. A missed zero target has a relative error of inf: the readers of this file
take an empty cell for 0, a perfect fit.

Axes: epochs E, targets T; the table has T rows for each epoch kept.

Source: the columns are those of calibration_log.csv in PolicyEngine/microcalibrate
1143a9b, read by microcalibration-dashboard/src/utils/csvParser.ts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.dataset import Array, Table
from calibration.diagnostics.relative import infinite_error, relative_error
from calibration.errors import DiagnosticsError

__all__ = ["log_table"]

Floats = NDArray[np.float64]

PHASES = ("gates", "refit")


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
    missed_zero = infinite_error(error)
    relative = relative_error(error, t, missed_zero)
    in_scale = relative_error(error, np.where(t == 0, unified["floor"], t), missed_zero)
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
