"""The fit as a stage of a run: a vector for each preset, its facts, and its log.

    weights.npz       the vectors, shape (C,)
    fits.json         penalty, records, status and trials of each
    fit_logs/         every target's estimate every `LOG_EVERY` epochs

The log comes from a second fit with the chosen penalty, watched. It is the same fit, bit
for bit, so watching changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import save_weights
from calibration.files import write_json, write_npz
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.l0.run import Step as EpochStep
from calibration.matrix import CalibrationMatrix
from calibration.run_options import Workspace
from calibration.select import BudgetFit, fit_to_budget

__all__ = ["weights"]

Floats = NDArray[np.float64]
LOG_EVERY = 50


def weights(work: Workspace) -> None:
    """Fit a vector for each preset, or one for a number of records."""
    matrix, options = work.after("matrix").matrix, work.options
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
            **_start(matrix),
        )
        vectors[name] = budget.fit.weights
        facts[name] = _fit_facts(budget)
        log = _log_of(matrix, budget.fit.options)
        write_npz(work.artifacts / "fit_logs" / f"{name}.npz", log)
    save_weights(work.artifacts / "weights.npz", vectors)
    write_json(work.artifacts / "fits.json", facts)


def _start(matrix: CalibrationMatrix) -> dict[str, Any]:
    """Give what a fit takes besides X, t and its options."""
    return {
        "w0": matrix.w0,
        "column_key": matrix.column_key(),
        "block": matrix.block(),
        "group": matrix.groups,
    }


def _log_of(matrix: CalibrationMatrix, chosen: L0Options) -> dict[str, NDArray[Any]]:
    """Fit with the chosen options again and watch; the same fit, bit for bit."""
    rows: list[tuple[str, int, float, int, Floats]] = []

    def watch(step: EpochStep) -> None:
        if step.phase == "gates" and step.epoch % LOG_EVERY == 0:
            weights, kept = step.run.median()
            estimates = matrix.estimates(weights)
            rows.append(("gates", step.epoch, step.values["data_loss"], kept.sum(), estimates))

    fit = fit_l0(
        matrix.X,
        matrix.values,
        observe=watch,
        options=chosen,
        **_start(matrix),
    )
    updates = len(fit.refit_losses) - 1
    rows.append(("refit", updates, fit.loss, fit.retained, matrix.estimates(fit.weights)))
    phase, epochs, losses, retained, estimates = zip(*rows, strict=True)
    return {
        "phase": np.array(phase),
        "epochs": np.array(epochs),
        "losses": np.array(losses),
        "retained": np.array(retained),
        "estimates": np.array(estimates),
    }


def _fit_facts(budget: BudgetFit) -> dict[str, Any]:
    fit = budget.fit
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
        "options": fit.options.facts(),
    }
