"""The two loops of a fit: gates under noise, then the survivors without.

    gates  (theta, alpha) <- Adam on the gradients of `gate_objective`, new noise each epoch
    refit  theta          <- Adam on `weight_objective` from exp(theta) z_median, no noise

The gate phase runs all its epochs: its loss is random, and no test on it says that the
set of survivors is right. The refit has a true loss and ends when no small move helps:

    0.01 sum_j |dL/dtheta_j| <= tolerance * (L - U)       (weights moved by 1 % each)

or when L - U is that of a root mean square error of one in a million. U is the loss that no
weights of the survivors can avoid, sum of c_i (t_i / d_i)^2 over the rows that they cannot
bring toward their targets. Measured against L, a refit would end before it began where most
rows are lost.

Axes: C columns, K survivors.

Source: refit after selection: L0 paper harness (PolicyEngine/l0-paper at 0c97a0d), which
reports half the loss of the raw gated weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.l0.objective import HISTORY, gate_objective, history_row, weight_objective
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem
from calibration.l0.run import EpochStep, Run, Status
from calibration.l0.state import Adam, Rates

if TYPE_CHECKING:
    from calibration.l0.compiled import CompiledGates

__all__ = ["run_gates", "run_refit"]

Floats = NDArray[np.float64]
Observer = Callable[[EpochStep], bool | None]

_EXACT = 1e-12  # squared: a root mean square relative error of one in a million


def run_gates(run: Run, observe: Observer | None = None) -> Status | None:
    """Carry the gate phase to its end.

    Parameters
    ----------
    run : Run
        Advanced in place.
    observe : function or None
        Called after each logged epoch; returning True stops there.

    Returns
    -------
    Status or None
        DIVERGED, PAUSED, or None if the phase is over.
    """
    options, state = run.options, run.gates
    rates = Rates.of(options.learning_rate, options.epochs, options.schedule)
    good = state.parameters
    with np.errstate(over="ignore", invalid="ignore"):  # caught below, as a loss
        if state.epoch == 0 and not run.history and _log_gates(run, observe):
            return Status.PAUSED
        gates = _gates(run, rates)
        while state.epoch < options.epochs:
            if not np.isfinite(gates.begin()):
                state.parameters = good
                return Status.DIVERGED
            good = state.parameters
            gates.end()
            if _is_logged(state.epoch, options.epochs, options) and _log_gates(run, observe):
                return Status.PAUSED
        if not np.isfinite(run.history[-1][1]):
            state.parameters = good
            return Status.DIVERGED
    return None


def run_refit(run: Run, observe: Observer | None = None) -> tuple[Status, Floats]:
    """Fit the survivors of the gate phase again, without gates.

    Parameters
    ----------
    run : Run
        Its gate phase is over; advanced in place.
    observe : function or None
        Called after each logged epoch; returning True stops there.

    Returns
    -------
    status : Status
    weights : (C,) array of float64
        0 outside the survivors.
    """
    weights, kept = run.median()
    if not kept.any():
        return Status.EMPTY, weights
    inside, options = run.problem.restrict(kept), run.options
    lost = run.problem.lost_rows(kept)
    unavoidable = _loss_of_nothing(run.problem, lost)
    if run.refit is None:
        run.refit = Adam.start(log(weights[kept]), options.dtype)
    state = run.refit
    rates = Rates.of(options.refit_learning_rate, options.refit_epochs, "cosine")
    status, seen = Status.REFIT_UNFINISHED, len(run.losses) - 1
    with np.errstate(over="ignore", invalid="ignore"):  # caught by the comparison at the end
        while True:
            now = weight_objective(inside, np.asarray(state.parameters, float), options)
            del run.losses[state.epoch :]
            run.losses.append(now.loss)
            slope = 0.01 * float(np.abs(now.gradient).sum())
            rest = now.loss - unavoidable
            if rest <= _EXACT or slope <= options.refit_tolerance * rest:
                status = Status.LOST_TARGETS if lost.size else Status.CONVERGED
                break
            if state.epoch > seen and _tell(run, observe):
                status = Status.PAUSED
                break
            if state.epoch == options.refit_epochs or not np.isfinite(now.loss):
                break
            state.step(now.gradient, rates, options.adam_epsilon)
    if status is Status.REFIT_UNFINISHED and not run.losses[-1] < run.losses[0]:
        return Status.NO_PROGRESS, weights
    weights[kept] = exp(state.parameters)
    return status, weights


class _PlainGates:
    """The epochs of a gate phase, each a call of `gate_objective` and of `Adam.step`."""

    def __init__(self, run: Run, rates: Rates) -> None:
        self._run, self._rates = run, rates
        self._now = None

    def begin(self) -> float:
        run = self._run
        parameters = np.asarray(run.gates.parameters, float)
        noise = run.noise(run.gates.epoch + 1)
        self._now = gate_objective(run.problem, parameters, noise, run.options)
        return self._now.loss

    def end(self) -> None:
        if self._now is not None:
            self._run.gates.step(self._now.gradient, self._rates, self._run.options.adam_epsilon)


def _gates(run: Run, rates: Rates) -> _PlainGates | CompiledGates:
    if not run.problem.form.is_compiled:
        return _PlainGates(run, rates)
    from calibration.l0.compiled import CompiledGates

    return CompiledGates(run, rates)


def _loss_of_nothing(problem: Problem, rows: NDArray[np.int64]) -> float:
    """Loss of some rows at estimates of 0."""
    error = problem.targets[rows] / problem.scale[rows]
    return float((problem.row_weight[rows] * error * error).sum())


def _is_logged(epoch: int, last: int, options: L0Options) -> bool:
    return epoch == last or (options.log_every > 0 and epoch % options.log_every == 0)


def _log_gates(run: Run, observe: Observer | None) -> bool:
    state = run.gates
    parameters = np.asarray(state.parameters, float)
    run.history.append(history_row(run.problem, parameters, state.epoch, run.options))
    if observe is None:
        return False
    values = dict(zip(HISTORY, run.history[-1], strict=True))
    return bool(observe(EpochStep("gates", state.epoch, values, run)))


def _tell(run: Run, observe: Observer | None) -> bool:
    if observe is None or run.refit is None:
        return False
    if not _is_logged(run.refit.epoch, run.options.refit_epochs, run.options):
        return False
    values = {"epoch": float(run.refit.epoch), "loss": run.losses[-1]}
    return bool(observe(EpochStep("refit", run.refit.epoch, values, run)))
