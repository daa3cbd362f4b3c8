"""The fit as a stage of a run: a vector for each preset, its facts, and its log.

    weights.npz       the vectors, shape (C,)
    fits.json         penalty, records, status and trials of each
    fit_logs/         every target's estimate every `LOG_EVERY` epochs

Every trial of the search is watched, so the log of the chosen one is there at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import save_weights
from calibration.errors import FitError
from calibration.files import write_json, write_npz
from calibration.l0.options import L0Options
from calibration.l0.run import EpochStep, Status
from calibration.matrix import CalibrationMatrix
from calibration.run_options import Workspace
from calibration.select import BudgetFit, fit_to_budget

__all__ = ["weights"]

Floats = NDArray[np.float64]
LOG_EVERY = 50
_RUINED = (Status.EMPTY.name, Status.DIVERGED.name)


def weights(work: Workspace) -> None:
    """Fit a vector for each preset, or one for a number of records.

    Raises
    ------
    FitError
        If a fit kept nothing or diverged. Its weights and its log are there to be looked at.
    """
    matrix, options = work.after("matrix").matrix, work.options

    def watch(step: EpochStep) -> tuple[str, int, float, int, Floats] | None:
        if step.phase != "gates" or step.epoch % LOG_EVERY:
            return None
        weights, kept = step.median()
        estimates = matrix.estimates(weights)
        return "gates", step.epoch, step.values["data_loss"], int(kept.sum()), estimates

    vectors: dict[str, Floats] = {}
    facts: dict[str, Any] = {}
    for i, name in enumerate(options.vectors):
        work.tell(i, len(options.vectors), "weight vectors")
        budget = fit_to_budget(
            matrix.X,
            matrix.values,
            preset=name if options.records is None else None,
            records=options.records,
            options=L0Options(seed=options.seed),
            w0=matrix.w0,
            column_key=matrix.column_key(),
            block=matrix.block(),
            group=matrix.groups,
            watch=watch,
        )
        vectors[name] = budget.fit.weights
        facts[name] = _fit_facts(budget, matrix)
        write_npz(work.artifacts / "fit_logs" / f"{name}.npz", _log_of(matrix, budget))
    save_weights(work.artifacts / "weights.npz", vectors)
    write_json(work.artifacts / "fits.json", facts)
    for name, fact in facts.items():
        if fact["status"] in _RUINED:
            raise FitError(f"the fit of {name!r} is no result: {fact['message']}")


def _log_of(matrix: CalibrationMatrix, budget: BudgetFit) -> dict[str, NDArray[Any]]:
    """Lay out what was seen of the chosen fit, and its end."""
    fit = budget.fit
    updates = len(fit.refit_losses) - 1
    end = ("refit", updates, fit.loss, fit.retained, matrix.estimates(fit.weights))
    phase, epochs, losses, retained, estimates = zip(*budget.watched, end, strict=True)
    return {
        "phase": np.array(phase),
        "epochs": np.array(epochs),
        "losses": np.array(losses),
        "retained": np.array(retained),
        "estimates": np.array(estimates),
    }


def _fit_facts(budget: BudgetFit, matrix: CalibrationMatrix) -> dict[str, Any]:
    fit, names = budget.fit, matrix.names
    return {
        "asked": budget.asked,
        "budget": budget.budget,
        "bound_by_targets": budget.bound,
        "reached": budget.reached,
        "trials": [list(trial) for trial in budget.trials],
        "retained": fit.retained,
        "status": fit.status.name,
        "message": fit.message,
        "loss": fit.loss,
        "lost": [names[i] for i in fit.lost_rows],
        "unreachable": [names[row.row] for row in fit.unreachable],
        "options": fit.options.facts(),
    }
