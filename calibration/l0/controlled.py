"""The loops of a fit whose weights are controlled, and the choice between them and the plain.

    gates  as in `calibration.l0.phases`, with lambda_0 p_j in place of lambda_0, and after
           each step theta_j <- min(theta_j, log(cap w0_j))
    refit  theta <- log(hold(exp(theta - Adam(inward slope))))

They stand apart from the plain loops because their steps are not element by element.

Axes: C columns, K survivors. The mathematics is in `calibration.l0.controls`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibration.l0.controls import Controls, column_norms, highest_weights
from calibration.l0.gates import open_probability
from calibration.l0.objective import HISTORY, gate_objective, history_row, weight_objective
from calibration.l0.phases import run_gates, run_refit
from calibration.l0.portable import exp, log
from calibration.l0.run import EpochStep, Run, Status
from calibration.l0.state import Adam, Rates

__all__ = ["gate_phase", "refit_phase"]

Floats = NDArray[np.float64]
Observer = Callable[[EpochStep], bool | None]

_EXACT = 1e-12


def gate_phase(run: Run, observe: Observer | None = None) -> Status | None:
    """Carry the gate phase to its end, with or without controls.

    Parameters
    ----------
    run : Run
        Advanced in place.
    observe : function or None

    Returns
    -------
    Status or None
        As `calibration.l0.phases.run_gates`.
    """
    options = run.options
    if options.cap is None and options.price == "uniform":
        return run_gates(run, observe)
    problem, state = run.problem, run.gates
    rates = Rates.of(options.learning_rate, options.epochs, options.schedule)
    extra = _extra_price(run)
    top = log(highest_weights(problem, options)) if options.cap is not None else np.inf
    good = state.parameters
    with np.errstate(over="ignore", invalid="ignore"):  # caught below, as a loss
        if state.epoch == 0 and not run.history:
            state.parameters[0] = np.minimum(state.parameters[0], top)
            if _log(run, observe):
                return Status.PAUSED
        while state.epoch < options.epochs:
            noise = run.noise(state.epoch + 1)
            now = gate_objective(problem, np.asarray(state.parameters, float), noise, options)
            if not np.isfinite(now.loss):
                state.parameters = good
                return Status.DIVERGED
            good = state.parameters
            p = open_probability(good[1], options)
            now.gradient[1] += extra * p * (1.0 - p)
            state.step(now.gradient, rates, options.adam_epsilon)
            state.parameters[0] = np.minimum(state.parameters[0], top)
            if _due(state.epoch, options.epochs, options.log_every) and _log(run, observe):
                return Status.PAUSED
        if not np.isfinite(run.history[-1][1]):
            state.parameters = good
            return Status.DIVERGED
    return None


def refit_phase(run: Run, observe: Observer | None = None) -> tuple[Status, Floats]:
    """Fit the survivors again without gates, within the controls if there are any.

    Parameters
    ----------
    run : Run
        Its gate phase is over; advanced in place.
    observe : function or None

    Returns
    -------
    status : Status
    weights : (C,) array of float64

    Raises
    ------
    FitError
        If no weights of the survivors keep the controls.
    """
    options = run.options
    weights, kept = run.median()
    if not kept.any() or (options.cap, options.ess_floor, options.mass) == (None, None, None):
        return run_refit(run, observe)
    inside = run.problem.restrict(kept)
    controls = Controls.of(inside, options)
    lost = run.problem.lost_rows(kept)
    error = run.problem.targets[lost] / run.problem.scale[lost]
    unavoidable = float((run.problem.row_weight[lost] * error * error).sum())
    if run.refit is None:
        run.refit = Adam.start(log(controls.hold(weights[kept])), options.dtype)
    state, seen = run.refit, len(run.losses) - 1
    rates = Rates.of(options.refit_learning_rate, options.refit_epochs, "cosine")
    status = Status.REFIT_UNFINISHED
    while True:
        theta = np.asarray(state.parameters, float)
        now = weight_objective(inside, theta, options)
        del run.losses[state.epoch :]
        run.losses.append(now.loss)
        slope = controls.inward(exp(theta), now.gradient)
        rest = now.loss - unavoidable
        if rest <= _EXACT or 0.01 * np.abs(slope).sum() <= options.refit_tolerance * rest:
            status = Status.LOST_TARGETS if lost.size else Status.CONVERGED
            break
        if state.epoch > seen and _tell(run, observe):
            status = Status.PAUSED
            break
        if state.epoch == options.refit_epochs or not np.isfinite(now.loss):
            break
        state.step(slope, rates, options.adam_epsilon)
        held = log(controls.hold(exp(np.asarray(state.parameters, float))))
        state.parameters = held.astype(state.parameters.dtype)
    if status is Status.REFIT_UNFINISHED and not run.losses[-1] < run.losses[0]:
        status = Status.NO_PROGRESS
        weights[kept] = controls.hold(weights[kept])
        return status, weights
    weights[kept] = controls.hold(exp(state.parameters))
    return status, weights


def _extra_price(run: Run) -> Floats:
    """Give what columns cost beyond lambda_0, (C,)."""
    if run.options.price == "uniform":
        return np.zeros(run.problem.n_columns)
    norms = column_norms(run.problem)
    return run.options.penalty * (norms / norms.mean() - 1.0)


def _due(epoch: int, last: int, every: int) -> bool:
    return epoch == last or (every > 0 and epoch % every == 0)


def _log(run: Run, observe: Observer | None) -> bool:
    state = run.gates
    row = list(
        history_row(run.problem, np.asarray(state.parameters, float), state.epoch, run.options)
    )
    charged = open_probability(state.parameters[1], run.options)
    more = run.problem.total(_extra_price(run) * charged)
    row[HISTORY.index("penalty")] += more
    row[HISTORY.index("loss")] += more
    run.history.append(tuple(row))
    if observe is None:
        return False
    values = dict(zip(HISTORY, run.history[-1], strict=True))
    return bool(observe(EpochStep("gates", state.epoch, values, run)))


def _tell(run: Run, observe: Observer | None) -> bool:
    if observe is None or run.refit is None:
        return False
    if not _due(run.refit.epoch, run.options.refit_epochs, run.options.log_every):
        return False
    values = {"epoch": float(run.refit.epoch), "loss": run.losses[-1]}
    return bool(observe(EpochStep("refit", run.refit.epoch, values, run)))
