"""The same fit on a graphics card, or on threads of PyTorch: `fit_l0(..., device="cuda")`.

The loops of both phases; one epoch is `calibration.l0.device_gates`. Every `_LOOK` epochs the
losses are looked at, and a fit that has diverged goes back to the state of the last look.

Loss and gradient at given parameters agree with NumPy's to rounding. Weights need not: a
fit amplifies rounding where gates close, and products on a device add in an order of their
own. For equal bits everywhere leave `device` out.

Axes: rows T, columns C, survivors K; parameters (2, C): theta, log alpha.

Differs from the loops of `calibration.l0.phases`: (1) divergence is seen up to `_LOOK` epochs
late; (2) sums over columns are not made block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.l0.device_gates import DeviceGates, DeviceProblem, adam_step, bounded_exp
from calibration.l0.objective import HISTORY
from calibration.l0.options import L0Options
from calibration.l0.phases import EXACT, is_logged, tell_refit, unavoidable_loss
from calibration.l0.portable import exp, log
from calibration.l0.run import EpochStep, Run, Status
from calibration.l0.state import Adam, Rates

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["device_refit", "run_device_gates"]

Floats = NDArray[np.float64]
Observer = Callable[[EpochStep], bool | None]

_LOOK = 10  # epochs between looks at the loss


def run_device_gates(run: Run, device: str, observe: Observer | None = None) -> Status | None:
    """Carry the gate phase of a run to its end on a device; what `run_gates` does.

    Parameters
    ----------
    run : Run
        Its state is read at the start and written at the end, and whenever somebody observes.
    device : str
    observe : function or None
        Called after each logged epoch; returning True stops there.

    Returns
    -------
    Status or None
        DIVERGED, PAUSED, or None if the phase is over.
    """
    import torch

    options = run.options
    problem = DeviceProblem.of(run.problem, device, options.dtype)
    noise = None if run.noise.keyed else _moved(run, problem)
    gates = DeviceGates(problem, options, _to_device(run.gates, device), noise)
    epoch = run.gates.epoch
    if epoch == 0 and not run.history and _log(run, gates, 0, observe):
        return Status.PAUSED
    good, good_epoch, losses = _copies(gates.state), epoch, []
    for number in range(epoch + 1, options.epochs + 1):
        losses.append(gates.epoch(number))
        logged = is_logged(number, options.epochs, options)
        asked = run.after_epoch("gates", number)
        if not (logged or asked) and len(losses) < _LOOK:
            continue
        # Each loss is that of the state before its update: measure where the last one led.
        after = torch.tensor(gates.measure(number))
        if not (torch.isfinite(torch.stack(losses)).all() and torch.isfinite(after).all()):
            run.gates = _to_host(good, good_epoch)
            return Status.DIVERGED
        good, good_epoch, losses = _copies(gates.state), number, []
        told = logged and _log(run, gates, number, observe)
        if asked or told:
            run.gates = _to_host(gates.state, number)
            return Status.PAUSED
    run.gates = _to_host(gates.state, options.epochs)
    return None if np.isfinite(run.history[-1][1]) else Status.DIVERGED


def device_refit(run: Run, device: str, observe: Observer | None = None) -> tuple[Status, Floats]:
    """Fit the survivors again without gates, on a device; what `run_refit` does.

    Parameters
    ----------
    run : Run
        Its gate phase is over; advanced in place.
    device : str
    observe : function or None

    Returns
    -------
    status : Status
    weights : (C,) array of float64
        0 outside the survivors.
    """
    import torch

    weights, kept = run.median()
    if not kept.any():
        return Status.EMPTY, weights
    options = run.options
    problem = DeviceProblem.of(run.problem.restrict(kept), device, options.dtype)
    lost = run.problem.lost_rows(kept)
    unavoidable = unavoidable_loss(run.problem, lost)
    if run.refit is None:
        run.refit = Adam.start(log(weights[kept]), options.dtype)
    state, epoch, seen = _to_device(run.refit, device), run.refit.epoch, len(run.losses) - 1
    del run.losses[epoch:]
    table = Rates.of(options.refit_learning_rate, options.refit_epochs, "cosine")
    rates = torch.from_numpy(np.stack([table.step, table.root], axis=1)).to(state[0])
    status = Status.REFIT_UNFINISHED
    for loss, slope, gradient in _slopes(problem, state[0], options):
        run.losses.append(loss)
        rest = loss - unavoidable
        if rest <= EXACT or 0.01 * slope <= options.refit_tolerance * rest:
            status = Status.LOST_TARGETS if lost.size else Status.CONVERGED
            break
        run.refit = _to_host(state, epoch) if observe is not None else run.refit
        told = epoch > seen and tell_refit(run, observe)
        if run.after_epoch("refit", epoch) or told:
            status = Status.PAUSED
            break
        if epoch == options.refit_epochs or not np.isfinite(loss):
            break
        adam_step(state, gradient, options.adam_epsilon, rates[epoch])
        epoch += 1
    run.refit = _to_host(state, epoch)
    if status is Status.REFIT_UNFINISHED and not run.losses[-1] < run.losses[0]:
        return Status.NO_PROGRESS, weights
    weights[kept] = exp(run.refit.parameters)
    return status, weights


def _slopes(
    problem: DeviceProblem, theta: Tensor, options: L0Options
) -> Iterator[tuple[float, float, Tensor]]:
    """Give loss, sum of absolute slopes and gradient at theta, which changes in between."""
    import torch

    while True:
        weights = bounded_exp(theta)
        loss, pull = problem.misfit(weights)
        if options.l2:
            loss = loss + options.l2 * weights.double().square().sum()
            pull = pull + 2.0 * options.l2 * weights
        gradient = pull * weights
        values = torch.stack([loss, gradient.double().abs().sum()]).tolist()
        yield values[0], values[1], gradient


def _moved(run: Run, problem: DeviceProblem) -> Callable[[int], Tensor]:
    """Bring noise that the caller gave to the device, an epoch at a time."""
    import torch

    def noise(epoch: int) -> Tensor:
        return torch.from_numpy(run.noise(epoch)).to(problem.targets.device, problem.dtype)

    return noise


def _log(run: Run, gates: DeviceGates, epoch: int, observe: Observer | None) -> bool:
    run.history.append(gates.measure(epoch))
    if observe is None:
        return False
    run.gates = _to_host(gates.state, epoch)
    return bool(
        observe(EpochStep("gates", epoch, dict(zip(HISTORY, run.history[-1], strict=True)), run))
    )


def _to_device(state: Adam, device: str) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    one, two, three = (
        torch.from_numpy(array.copy()).to(device)
        for array in (state.parameters, state.first, state.second)
    )
    return one, two, three


def _to_host(state: tuple[Tensor, Tensor, Tensor], epoch: int) -> Adam:
    return Adam(*(tensor.cpu().numpy().copy() for tensor in state), epoch=epoch)


def _copies(state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    one, two, three = (tensor.clone() for tensor in state)
    return one, two, three
