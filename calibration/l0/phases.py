"""The two loops of a fit: gates under noise, then the survivors without.

    gates  (theta, alpha) <- Adam on the gradients of `gate_objective`, new noise each epoch
    refit  theta          <- Adam on `weight_objective` from exp(theta) z_median, no noise

The gate phase runs all its epochs: its loss is random, and no test on it says that the
set of survivors is right. The refit has a true loss and ends when no small move helps:

    0.01 sum_j |dL/dtheta_j| <= tolerance * (L - U)       (weights moved by 1 % each)

or when L - U is that of a root mean square error of one in a million. U is the loss that no
weights of the survivors can avoid, sum of c_i (t_i / d_i)^2 over the rows that they cannot
bring toward their targets. Measured against L, a refit would end before it began where most
rows are lost. Under controls (`calibration.l0.controls`) the slope is what is left of it
within the bounds, and each step ends inside them.

An epoch of the gate phase is made by one of three: `_PlainGates`; `_ControlledGates`, with the
cap and the price of columns; `calibration.l0.compiled.CompiledGates`, one walk over X.

Axes: C columns, K survivors.

Source: refit after selection: L0 paper harness (PolicyEngine/l0-paper at 0c97a0d), which
reports half the loss of the raw gated weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibration.l0.controls import Controls, column_norms, highest_weights
from calibration.l0.gates import open_probability
from calibration.l0.objective import (
    HISTORY,
    Evaluation,
    gate_objective,
    history_row,
    weight_objective,
)
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem
from calibration.l0.run import EpochStep, Run, Status
from calibration.l0.state import Adam, Rates

__all__ = ["EXACT", "is_logged", "run_gates", "run_refit", "tell_refit", "unavoidable_loss"]

EXACT = 1e-12
"""Loss beyond the unavoidable at which a refit ends: a relative error of one in a million."""

Floats = NDArray[np.float64]
Observer = Callable[[EpochStep], bool | None]


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
    extra = _extra_price(run)
    gates = _gates(run, rates, extra)
    good = state.parameters
    with np.errstate(over="ignore", invalid="ignore"):  # caught below, as a loss
        if state.epoch == 0 and not run.history and run.team.any(_log_gates(run, observe, extra)):
            return Status.PAUSED
        while state.epoch < options.epochs:
            if not np.isfinite(gates.begin()):
                state.parameters = good
                return Status.DIVERGED
            good = state.parameters
            gates.end()
            logged = is_logged(state.epoch, options.epochs, options)
            told = logged and _log_gates(run, observe, extra)
            if run.team.any(run.after_epoch("gates", state.epoch) or told):
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
    if not run.team.any(bool(kept.any()), "survivors"):
        return Status.EMPTY, weights
    inside, options = run.problem.restrict(kept), run.options
    controls = Controls.of(inside, options) if options.bounded else None
    lost = run.problem.lost_rows(kept)
    unavoidable = unavoidable_loss(run.problem, lost)
    if run.refit is None:
        start = weights[kept] if controls is None else controls.hold(weights[kept])
        run.refit = Adam.start(log(start), options.dtype)
    state = run.refit
    rates = Rates.of(options.refit_learning_rate, options.refit_epochs, "cosine")
    status, seen = Status.REFIT_UNFINISHED, len(run.losses) - 1
    with np.errstate(over="ignore", invalid="ignore"):  # caught by the comparison at the end
        while True:
            theta = np.asarray(state.parameters, float)
            now = weight_objective(inside, theta, options)
            del run.losses[state.epoch :]
            run.losses.append(now.loss)
            slope = now.gradient if controls is None else controls.inward(exp(theta), now.gradient)
            rest = now.loss - unavoidable
            steep = 0.01 * inside.total(np.abs(slope))
            if rest <= EXACT or steep <= options.refit_tolerance * rest:
                status = Status.LOST_TARGETS if lost.size else Status.CONVERGED
                break
            told = state.epoch > seen and tell_refit(run, observe)
            if run.team.any(run.after_epoch("refit", state.epoch) or told):
                status = Status.PAUSED
                break
            if state.epoch == options.refit_epochs or not np.isfinite(now.loss):
                break
            state.step(slope, rates, options.adam_epsilon)
            if controls is not None:
                held = log(controls.hold(exp(np.asarray(state.parameters, float))))
                state.parameters = held.astype(state.parameters.dtype)
    if status is Status.REFIT_UNFINISHED and not run.losses[-1] < run.losses[0]:
        status = Status.NO_PROGRESS
    else:
        weights[kept] = exp(state.parameters)
    if controls is not None:
        weights[kept] = controls.hold(weights[kept])
    return status, weights


def unavoidable_loss(problem: Problem, rows: NDArray[np.int64]) -> float:
    """Give the loss of some rows at estimates of 0.

    Parameters
    ----------
    problem : Problem
    rows : (rows,) array of int64
        Those that `Problem.lost_rows` lists.

    Returns
    -------
    float
    """
    error = problem.targets[rows] / problem.scale[rows]
    return float((problem.row_weight[rows] * error * error).sum())


def is_logged(epoch: int, last: int, options: L0Options) -> bool:
    """Say whether an epoch is one that is logged: every `log_every`th, and the last.

    Parameters
    ----------
    epoch, last : int
    options : L0Options

    Returns
    -------
    bool
    """
    return epoch == last or (options.log_every > 0 and epoch % options.log_every == 0)


def tell_refit(run: Run, observe: Observer | None) -> bool:
    """Show an observer where the refit stands, if this epoch is logged.

    Parameters
    ----------
    run : Run
    observe : function or None

    Returns
    -------
    bool
        Whether it asks to stop.
    """
    if observe is None or run.refit is None:
        return False
    if not is_logged(run.refit.epoch, run.options.refit_epochs, run.options):
        return False
    values = {"epoch": float(run.refit.epoch), "loss": run.losses[-1]}
    return bool(observe(EpochStep("refit", run.refit.epoch, values, run)))


class _Gates(Protocol):
    """The epochs of a gate phase: each is begun, which gives its misfit, and ended by a step."""

    def begin(self) -> float: ...

    def end(self) -> None: ...


class _PlainGates:
    """Each epoch is a call of `gate_objective` and one of `Adam.step`."""

    def __init__(self, run: Run, rates: Rates) -> None:
        self._run, self._rates = run, rates
        self._now: Evaluation | None = None

    def begin(self) -> float:
        run = self._run
        parameters = np.asarray(run.gates.parameters, float)
        noise = run.noise(run.gates.epoch + 1)
        self._now = gate_objective(run.problem, parameters, noise, run.options)
        return self._now.loss

    def end(self) -> None:
        if self._now is not None:
            self._run.gates.step(self._now.gradient, self._rates, self._run.options.adam_epsilon)


class _ControlledGates(_PlainGates):
    """The same with lambda_0 p_j in place of lambda_0, and theta_j at most log(cap w0_j)."""

    def __init__(self, run: Run, rates: Rates, extra: Floats | None) -> None:
        super().__init__(run, rates)
        self._extra = extra
        self._top = log(highest_weights(run.problem, run.options)) if run.options.cap else np.inf
        self._keep_cap()

    def end(self) -> None:
        if self._now is not None and self._extra is not None:
            p = open_probability(self._run.gates.parameters[1], self._run.options)
            self._now.gradient[1] += self._extra * p * (1.0 - p)
        super().end()
        self._keep_cap()

    def _keep_cap(self) -> None:
        theta = self._run.gates.parameters[0]
        np.copyto(theta, np.minimum(theta, self._top), casting="same_kind")


def _gates(run: Run, rates: Rates, extra: Floats | None) -> _Gates:
    if run.options.cap is not None or extra is not None:
        return _ControlledGates(run, rates, extra)
    if not run.problem.form.is_compiled:
        return _PlainGates(run, rates)
    from calibration.l0.compiled import CompiledGates

    return CompiledGates(run, rates)


def _extra_price(run: Run) -> Floats | None:
    """Give what columns cost beyond lambda_0 (C,), or None if all cost the same."""
    if run.options.price == "uniform":
        return None
    norms = column_norms(run.problem)
    return run.options.penalty * (norms / norms.mean() - 1.0)


def _log_gates(run: Run, observe: Observer | None, extra: Floats | None) -> bool:
    state = run.gates
    parameters = np.asarray(state.parameters, float)
    row = history_row(run.problem, parameters, state.epoch, run.options)
    if extra is not None:
        more = run.problem.total(extra * open_probability(parameters[1], run.options))
        added = {"loss", "penalty"}
        row = tuple(x + more if n in added else x for n, x in zip(HISTORY, row, strict=True))
    run.history.append(row)
    if observe is None:
        return False
    values = dict(zip(HISTORY, run.history[-1], strict=True))
    return bool(observe(EpochStep("gates", state.epoch, values, run)))
