"""Choose few columns, and weights for them, that meet the targets.

    minimise over (theta, alpha)
        sum_i c_i ((Xw - t)_i / d_i)^2 + lambda_0 sum_j P(z_j > 0) + lambda_2 sum_j w_j^2
    where w_j = exp(theta_j) z_j and z_j is a Hard Concrete gate with logit alpha_j

Two phases. With gates: Adam on sampled gates, new noise each epoch, until most gates are
shut or open. Then the *survivors*, the columns whose median gate is positive, are fitted
again without gates. The result says why it stopped, what it left out, and how it got there.

    fit = fit_l0(X, t)
    fit.weights                    # (C,), 0 where a column was dropped

Axes: rows i (T targets), columns j (C candidate records).

Source: Louizos, Welling & Kingma 2018, arXiv:1712.01312; for weights, PolicyEngine L0
`l0/calibration.py` at 490f00b. Differs from the latter: (1) noise belongs to (seed, epoch,
column), so a fit repeats to the bit, whatever is logged and wherever it is resumed; (2) the
misfit is a weighted mean with a positive scale for every target; (3) unreachable rows are
left out and listed; (4) Adam's epsilon lies below the penalty's gradient; (5) the start
probability is P(z > 0) itself; (6) the survivors are fitted again. `L0Options.us_data()`
undoes (2), (4), (5) and (6).

A fit amplifies small differences, and where gates are undecided they choose the survivors.
`calibration.l0.portable` and `calibration.l0.arguments` say how equal inputs still give equal bits
on every machine, and `calibration.l0.compiled` why large fits give up as much: theirs are equal
on one machine, whatever the number of threads and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import FitError
from calibration.l0.arguments import UnreachableRow
from calibration.l0.attended import Attended
from calibration.l0.device import device_refit, run_device_gates
from calibration.l0.gates import open_probability
from calibration.l0.objective import HISTORY
from calibration.l0.options import L0Options
from calibration.l0.phases import run_gates, run_refit
from calibration.l0.problem import Problem
from calibration.l0.run import EpochStep, Run, Status, start_run
from calibration.l0.shared import share
from calibration.l0.state import Checkpoint
from calibration.l0.strips import usable_threads
from calibration.l0.team import Team

__all__ = ["L0Fit", "finish", "fit_l0"]

Floats = NDArray[np.float64]

_NAMED = 10  # rows that a message names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class L0Fit:
    """Weights and the record of how they came about.

    Parameters
    ----------
    weights : (C,) array of float64
        0 for dropped columns.
    status : Status
        Why the fit stopped; its value says what to try next.
    message : str
        The same with the facts of this fit: epochs, loss, lost rows by number.
    estimates : (T,) array of float64
        X w, in the units of the targets.
    loss : float
        sum_i c_i ((Xw - t)_i / d_i)^2 over the reachable rows, at `weights`.
    open_probability : (C,) array of float64
        P(z > 0) of each column after the gate phase.
    log_weights : (C,) array of float64
        theta after the gate phase, of dropped columns too.
    history : mapping of str to (rows,) array of float64
        The gate phase, from epoch 0; columns as in `calibration.l0.objective.HISTORY`.
    refit_losses : (updates + 1,) array of float64
        Loss of the survivors before each update of the refit; empty without a refit.
    unreachable : tuple of UnreachableRow
        Rows left out of the loss, each with its reason.
    lost_rows : (rows,) array of int64
        Reachable rows with a target other than 0 that no survivor can bring toward it: none
        has an entry of its sign. A fit with such rows is never CONVERGED.
    options : L0Options
        What the fit was made with, seed included.
    epochs : int
        Updates of the gate phase.
    checkpoint : Checkpoint or None
        Where to go on, if the status is PAUSED.
    """

    weights: Floats
    status: Status
    message: str
    estimates: Floats
    loss: float
    open_probability: Floats
    log_weights: Floats
    history: Mapping[str, Floats]
    refit_losses: Floats
    unreachable: tuple[UnreachableRow, ...]
    lost_rows: NDArray[np.int64]
    options: L0Options
    epochs: int
    checkpoint: Checkpoint | None

    @property
    def retained(self) -> int:
        """Number of columns with a positive weight."""
        return int(np.count_nonzero(self.weights))

    @property
    def support(self) -> NDArray[np.int64]:
        """Numbers of the columns with a positive weight, ascending."""
        return np.flatnonzero(self.weights)


def fit_l0(
    X: Any,
    t: ArrayLike,
    *,
    w0: ArrayLike | None = None,
    options: L0Options | None = None,
    column_key: ArrayLike | None = None,
    block: ArrayLike | None = None,
    group: ArrayLike | None = None,
    noise: ArrayLike | Callable[[int], NDArray[np.float64]] | None = None,
    observe: Callable[[EpochStep], bool | None] | None = None,
    resume: Checkpoint | Path | str | None = None,
    checkpoint: Path | str | None = None,
    device: str | None = None,
    compiled: bool | None = None,
    threads: int | None = None,
    distributed: bool = False,
) -> L0Fit:
    """Minimise the L0 objective: few columns with positive weights that meet the targets.

    Parameters
    ----------
    X : (T, C) SciPy sparse array or matrix, 2-D array, or a matrix of `calibration.compact`
        What one unit of weight of column j adds to target i.
    t : (T,) array of float
        Targets, in the units of the rows of X.
    w0 : (C,) array of float, optional
        Start weights, all positive. By default a column starts at the weight that, given
        to all columns, comes nearest to the targets of its own rows.
    options : L0Options, optional
        All choices; `L0Options()` by default.
    column_key : (C,) array of integers, optional
        Identity of each column, unique; keys its noise. By default the column number.
    block : (C,) array of int in 0..63, optional
        Which partial sum a column belongs to. By default `column * 64 // C`.
    group : (T,) array of integers or strings, optional
        Rows that share one part of the loss, such as one variable at one level. By
        default all rows are one group.
    noise : (epochs, C) array of float or function of the epoch, optional
        Uniforms for the gates in place of the keyed ones; epochs count from 1. A function
        gives the same uniforms whenever it is asked for the same epoch.
    observe : function of an `EpochStep`, optional
        Called after every logged epoch. It changes no bit of the result; if it returns
        True, the fit pauses, with the weights of that epoch, and carries a checkpoint.
    resume : Checkpoint or path, optional
        Go on from there, with the same problem, options and noise.
    checkpoint : path, optional
        Where a fit that pauses leaves its checkpoint, an `.npz`. Ctrl-C then ends the epoch,
        writes it, and raises KeyboardInterrupt with a message that says where it is.
    device : str, optional
        Where PyTorch is to run the fit: "cpu", "cuda", "cuda:1" (see
        `calibration.l0.device`). By default the fit runs without it.
    compiled : bool, optional
        Whether to run the gate phase in compiled loops (`calibration.l0.compiled`), which have
        equal bits on one machine. By default those with half a million nonzeros and more, or
        with a factored X, do, but for a price by the norm of columns. The plain loops have equal
        bits on every machine.
    threads : int, optional
        How many threads share out the blocks of a compiled fit; they change no bit. By default
        as many as processors, divided among the processes on this machine.
    distributed : bool
        Whether the processes of `torch.distributed` share out the blocks; they change no bit.
        Each calls with equal arguments and gets the whole fit (see `calibration.l0.team`); the
        first of them writes the checkpoint.

    Returns
    -------
    L0Fit

    Raises
    ------
    FitError
        Before the first epoch: a value that is not finite, a start weight that is not
        positive, a wrong length or type, a key that stands twice, no reachable row, a
        checkpoint of another problem, other options or other noise, or a device that is not
        there.

    Notes
    -----
    Entries, targets and start weights are rounded to 32 significant bits (2.4e-10), so that
    last-bit differences between machines do not choose other columns.

    Source: Louizos, Welling & Kingma 2018, arXiv:1712.01312.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
    >>> fit = fit_l0(X, [100.0, 150.0])
    >>> fit.estimates.round(3)
    array([100., 150.])
    """
    options = L0Options() if options is None else options
    if not isinstance(options, L0Options):
        raise FitError(f"options is {type(options).__name__}; give an L0Options")
    if device is not None and options.controlled:
        raise FitError("controls of weights run without a device; leave out one of the two")
    if device is not None and compiled:
        raise FitError(
            f"compiled=True runs without PyTorch, but device is {device!r}; leave out one of them"
        )
    if device is not None and distributed:
        raise FitError(f"processes share a fit on CPUs, but device is {device!r}; leave out one")
    path = None if checkpoint is None else Path(checkpoint)
    with Team(distributed=distributed) as team:
        if isinstance(resume, str | Path):
            resume = Checkpoint.load(Path(resume))
        problem = Problem.build(
            X,
            t,
            w0=w0,
            options=options,
            column_key=column_key,
            block=block,
            group=group,
            compiled=compiled if device is None else False,
            threads=_threads(team) if threads is None else threads,
        )
        run = share(start_run(problem, options, noise=noise, resume=resume), team)
        del problem
        with Attended(run, path):
            if device is None:
                status = run_gates(run, observe)
            else:
                status = run_device_gates(run, device, observe)
            fit = finish(run, status, observe, device)
        if path is not None and fit.checkpoint is not None and team.rank == 0:
            fit.checkpoint.save(path)
    return fit


def _threads(team: Team) -> int | None:
    """Give each of several processes its share of the processors."""
    return None if team.size == 1 else max(1, usable_threads() // team.neighbours)


def finish(
    run: Run,
    status: Status | None,
    observe: Callable[[EpochStep], bool | None] | None = None,
    device: str | None = None,
) -> L0Fit:
    """Turn a run whose gate phase has ended into a result, with a refit if it is due.

    Parameters
    ----------
    run : Run
        Its gate phase has ended or stopped.
    status : Status or None
        What the gate phase returned: None if the phase is over.
    observe : function of an `EpochStep`, optional
    device : str, optional
        Where to run the refit, as for `fit_l0`.

    Returns
    -------
    L0Fit
    """
    problem, options = run.problem, run.options
    weights, kept = run.median()
    if status is None:
        if options.refit and device is None:
            status, weights = run_refit(run, observe)
        elif options.refit and device is not None:
            status, weights = device_refit(run, device, observe)
        else:
            some = run.team.any(bool(kept.any()), "survivors")
            status = Status.GATED if some else Status.EMPTY
    with np.errstate(over="ignore", invalid="ignore"):  # of a diverged fit these may be infinite
        loss, _ = problem.misfit(weights)
        estimates = problem.estimates(weights)
    lost = problem.lost_rows(kept)
    history = np.array(run.history, dtype=np.float64).reshape(-1, len(HISTORY))
    return L0Fit(
        weights=problem.as_given(weights),
        status=status,
        message=_message(run, status, loss, lost, estimates),
        estimates=estimates,
        loss=loss,
        open_probability=problem.as_given(open_probability(run.gates.parameters[1], options)),
        log_weights=problem.as_given(np.asarray(run.gates.parameters[0], dtype=np.float64)),
        history={name: history[:, place].copy() for place, name in enumerate(HISTORY)},
        refit_losses=np.array(run.losses, dtype=np.float64),
        unreachable=problem.unreachable,
        lost_rows=lost,
        options=options,
        epochs=run.gates.epoch,
        checkpoint=run.checkpoint() if status is Status.PAUSED else None,
    )


def _message(
    run: Run, status: Status, loss: float, lost: NDArray[np.int64], estimates: Floats
) -> str:
    updates = 0 if run.refit is None else run.refit.epoch
    facts = f"{run.gates.epoch} gate epochs, {updates} refit epochs, loss {loss:.3g}"
    if status is Status.DIVERGED:
        problem = run.problem
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.abs(estimates - problem.targets) / np.abs(problem.scale)
            worst = np.argsort(-problem.row_weight * error * error, kind="stable")[:3]
        named = ", ".join(f"{row} (estimate {estimates[row]:.3g})" for row in worst)
        facts = f"the loss is infinite after epoch {run.gates.epoch}; worst rows: {named}"
    elif lost.size and status is not Status.EMPTY:
        more = f" and {lost.size - _NAMED} more" if lost.size > _NAMED else ""
        named = ", ".join(str(row) for row in lost[:_NAMED])
        facts += f"; {lost.size} of {run.problem.n_reachable} reachable rows lost: {named}{more}"
    return f"{status.name}: {facts}. {status.value}"
