"""A fit under way: what it knows, where it stands, and what observers may see of it.

A `Run` is made by `start_run`, from the start weights or from a checkpoint, and advanced by
the loops of `calibration.l0.phases`. It is the only thing in a fit that changes.

    start    theta = log w0 + jitter,   log alpha = log_alpha_from(keep_probability) + jitter

Axes: C columns; parameters (2, C): theta, log alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.l0.controls import Controls, highest_weights
from calibration.l0.gates import log_alpha_from, median_gates
from calibration.l0.noise import GateNoise, given_noise, jitter, keyed_noise
from calibration.l0.objective import HISTORY
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem
from calibration.l0.state import Adam, Checkpoint
from calibration.l0.team import ALONE, Team

__all__ = ["EpochStep", "Run", "Status", "start_run"]

Floats = NDArray[np.float64]


class Status(Enum):
    """Why a fit stopped; each value says what to try next."""

    CONVERGED = (
        "The refit found weights that no small change improves. "
        "If the loss is too high, lower penalty, so that more columns stay."
    )
    LOST_TARGETS = (
        "The refit converged, but the gates closed every column that could serve some "
        "targets; the message names their rows. Lower penalty, or ask for more records; if "
        "that does not help, check w0, because a start far above a target closes its columns."
    )
    REFIT_UNFINISHED = (
        "The refit ran out of epochs while its loss was still falling. "
        "Raise refit_epochs, or refit_tolerance if the loss is low enough."
    )
    NO_PROGRESS = (
        "The refit did not lower the loss of the gated weights, which are returned. "
        "Lower refit_learning_rate or raise refit_epochs."
    )
    GATED = (
        "The gates ran all their epochs and the weights were not fitted again. "
        "Turn refit on unless gated weights are what you want to study."
    )
    EMPTY = "The gates closed every column. Lower penalty or raise epochs."
    DIVERGED = (
        "The loss became infinite; the last finite state is returned. "
        "Lower learning_rate, and look at the rows named in the message."
    )
    PAUSED = "An observer asked to stop. Pass the checkpoint as resume to go on."


@dataclass(frozen=True, slots=True)
class EpochStep:
    """What an observer sees after an epoch.

    Parameters
    ----------
    phase : {"gates", "refit"}
    epoch : int
        Updates made in this phase.
    values : mapping of str to float
        The row of the history: `HISTORY` in the gate phase, epoch and loss in the refit.
    run : Run
        The state behind it; do not change it.
    """

    phase: str
    epoch: int
    values: Mapping[str, float]
    run: Run

    def median(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Give the gated weights (C,) and the survivors (C,), in the order of X.

        Returns
        -------
        weights : (C,) array of float64
        kept : (C,) array of bool
        """
        weights, kept = self.run.median()
        return self.run.problem.as_given(weights), self.run.problem.as_given(kept)

    def checkpoint(self) -> Checkpoint:
        """Copy the state, ready to be saved or resumed.

        Returns
        -------
        Checkpoint
        """
        return self.run.checkpoint()


def _go_on(phase: str, epoch: int) -> bool:  # noqa: ARG001  # as `Run.after_epoch` is called
    return False


@dataclass(slots=True, eq=False)
class Run:
    """A fit under way: the problem, the options, and how far it has come."""

    problem: Problem
    options: L0Options
    noise: GateNoise
    gates: Adam
    history: list[tuple[float, ...]] = field(default_factory=list)
    refit: Adam | None = None
    losses: list[float] = field(default_factory=list)
    after_epoch: Callable[[str, int], bool] = _go_on
    """Called by the loops after each epoch, with phase and number; True pauses the fit."""
    team: Team = ALONE
    """Who shares out the columns; the arrays of this run are those of this process."""
    signature: str = ""
    """Of the problem of all columns, if this run has only some."""

    def median(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Give gated weights exp(theta) z (C,) and the survivors (C,) of the gate phase.

        Both are in the order of the form; `EpochStep.median` gives them as X has them.
        """
        gates = median_gates(self.gates.parameters[1], self.options)
        weights = exp(self.gates.parameters[0]) * gates
        if self.options.cap is not None:  # theta is held to it, but rounds
            weights = np.minimum(weights, highest_weights(self.problem, self.options))
        return weights, gates > 0

    def checkpoint(self) -> Checkpoint:
        """Copy the state of all columns."""
        refit = self.refit
        if refit is not None:
            _, kept = self.median()
            refit = _whole(refit, self.problem, kept)
        return Checkpoint(
            signature=self.signature or self.problem.signature(),
            options=self.options,
            gates=_whole(self.gates, self.problem),
            history=np.array(self.history, dtype=np.float64).reshape(-1, len(HISTORY)),
            refit=refit,
            losses=np.array(self.losses, dtype=np.float64),
            compiled=self.problem.form.is_compiled,
            noise=self.noise.name() if self.gates.epoch < self.options.epochs else "",
        )


def start_run(
    problem: Problem,
    options: L0Options,
    *,
    noise: ArrayLike | Callable[[int], Floats] | None = None,
    resume: Checkpoint | None = None,
) -> Run:
    """Set a fit to its start, or to where a checkpoint left it.

    Parameters
    ----------
    problem : Problem
    options : L0Options
    noise : (epochs, C) array of float, function of the epoch, or None
        Uniforms for the gates; None draws them keyed on (seed, "gate", epoch, column_key).
    resume : Checkpoint or None

    Returns
    -------
    Run

    Raises
    ------
    FitError
        If no weights keep the controls, the checkpoint belongs to another problem, other
        options or other noise, or noise does not fit.
    """
    if options.controlled:
        Controls.of(problem, options)
    source = keyed_noise(problem, options) if noise is None else given_noise(noise, problem)
    if resume is None:
        theta = log(problem.start)
        theta += jitter(problem, options.weight_jitter, options.seed, "weight jitter")
        log_alpha = jitter(problem, options.logit_jitter, options.seed, "logit jitter")
        log_alpha += log_alpha_from(options.keep_probability, options)
        state = Adam.start(np.stack([theta, log_alpha]), options.dtype)
        return Run(problem, options, source, state)
    resume.require(problem.signature(), options, source, compiled=problem.form.is_compiled)
    return Run(
        problem,
        options,
        source,
        _copy(resume.gates),
        [tuple(row) for row in resume.history.tolist()],
        None if resume.refit is None else _copy(resume.refit),
        resume.losses.tolist(),
    )


def _copy(state: Adam) -> Adam:
    return Adam(state.parameters.copy(), state.first.copy(), state.second.copy(), state.epoch)


def _whole(state: Adam, problem: Problem, kept: NDArray[np.bool_] | None = None) -> Adam:
    """Copy a state for all columns of the fit, or for all survivors."""
    form = problem.form
    survivors = None if kept is None else form.all_columns(kept)

    def whole(array: NDArray[Any]) -> NDArray[Any]:
        if kept is None:
            return form.all_columns(array).copy()
        spread = np.zeros(kept.size, array.dtype)
        spread[kept] = array
        return form.all_columns(spread)[survivors]

    arrays = (state.parameters, state.first, state.second)
    return Adam(*map(whole, arrays), epoch=state.epoch)
