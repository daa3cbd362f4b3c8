"""The same fit on a graphics card, or on threads of PyTorch: `fit_l0(..., device="cuda")`.

    noise      logit(U(seed, epoch, column_key))             the bits of NumPy's, on the device
    products   X w and X' v                                  `calibration.l0.device_matrix`
    gradients  as in `calibration.l0.objective`, written out; no automatic differentiation
    Adam       as in `calibration.l0.state`, in place

`options.dtype` is the type of entries, parameters, moments and all work on columns. Vectors
over rows, the loss and sums over columns are float64 either way. Nothing in an epoch waits
for the device; every `_LOOK` epochs the losses are looked at, and a fit that has diverged
goes back to the state of the last look.

Loss and gradient at given parameters agree with NumPy's to rounding. Weights need not: a
fit amplifies rounding where gates close, and products on a device add in an order of their
own. For equal bits everywhere leave `device` out.

Axes: rows T, columns C, survivors K; parameters (2, C): theta, log alpha.

Differs from the loops of `calibration.l0.phases`: (1) divergence is seen up to `_LOOK` epochs
late; (2) sums over columns are not made block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError
from calibration.l0.device_matrix import DeviceMatrix
from calibration.l0.device_noise import device_keys, device_uniforms, epoch_prefixes
from calibration.l0.gates import gate_threshold
from calibration.l0.objective import HISTORY
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem
from calibration.l0.run import EpochStep, Run, Status
from calibration.l0.state import Adam, Rates

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeviceGates", "DeviceProblem", "device_objective", "device_refit", "run_device_gates"]

Floats = NDArray[np.float64]
Observer = Callable[[EpochStep], bool | None]

_B1, _B2 = 0.9, 0.999
_CLAMP = 1e-6
_EXACT = 1e-12
_LOOK = 10  # epochs between looks at the loss


class _Numbers(NamedTuple):
    """What an epoch reads of the options: plain numbers, so that PyTorch can compile it."""

    temperature: float
    gamma: float
    width: float
    threshold: float
    penalty: float
    l2_gated: float
    l2_ungated: float
    epsilon: float

    @classmethod
    def of(cls, options: L0Options) -> _Numbers:
        gamma, zeta = options.stretch
        gated = options.l2_on == "gated"
        return cls(
            temperature=options.temperature,
            gamma=gamma,
            width=zeta - gamma,
            threshold=gate_threshold(options),
            penalty=options.penalty,
            l2_gated=2.0 * options.l2 if gated else 0.0,
            l2_ungated=0.0 if gated else 2.0 * options.l2,
            epsilon=options.adam_epsilon,
        )


@dataclass(frozen=True, slots=True, eq=False)
class DeviceProblem:
    """A problem on a device; made by `of`, or by hand from a matrix that is already there.

    Parameters
    ----------
    matrix : DeviceMatrix
        Its type of entries is that of all work on columns.
    targets, scale, row_weight : (T,) tensors of float64
        t, d and c, as in `calibration.l0.problem.Problem`.
    keys : (C,) tensor of int64
        Identity of each column.
    """

    matrix: DeviceMatrix
    targets: Tensor
    scale: Tensor
    row_weight: Tensor
    keys: Tensor

    @classmethod
    def of(cls, problem: Problem, device: str, dtype: str) -> DeviceProblem:
        """Move a checked problem to a device.

        Parameters
        ----------
        problem : Problem
        device : str
            "cpu", "cuda", "cuda:1", ...
        dtype : {"float64", "float32"}

        Returns
        -------
        DeviceProblem

        Raises
        ------
        FitError
            If there is no such device.
        """
        import torch

        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            why = str(error).splitlines()[0]
            raise FitError(
                f"device {device!r} cannot be used ({why}); give 'cpu', or leave device out"
            ) from error
        return cls(
            DeviceMatrix.of(problem.form, device, dtype),
            torch.tensor(problem.targets, dtype=torch.float64, device=device),
            torch.tensor(problem.scale, dtype=torch.float64, device=device),
            torch.tensor(problem.row_weight, dtype=torch.float64, device=device),
            device_keys(problem.column_key, device),
        )

    @property
    def dtype(self) -> Any:
        """Type of all work on columns, a `torch.dtype`."""
        return self.matrix.columns.dtype

    def misfit(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Give the data loss and its gradient in the weights, as `Problem.misfit` does.

        Parameters
        ----------
        weights : (C,) tensor

        Returns
        -------
        loss : tensor of float64, one number
        gradient : (C,) tensor
        """
        error = (self.matrix.estimates(weights) - self.targets) / self.scale
        weighted = self.row_weight * error
        return (weighted * error).sum(), self.matrix.pull(weighted * 2.0 / self.scale)

    def restrict(self, kept: Tensor) -> DeviceProblem:
        """Give the problem with only some columns; kept (C,) of bool."""
        vectors = (self.targets, self.scale, self.row_weight)
        return DeviceProblem(self.matrix.restrict(kept), *vectors, self.keys[kept])


def device_objective(
    problem: DeviceProblem, parameters: Tensor, noise: Tensor, options: L0Options
) -> tuple[Tensor, Tensor]:
    """Evaluate what `calibration.l0.objective.gate_objective` does, on the device.

    Parameters
    ----------
    problem : DeviceProblem
    parameters : (2, C) tensor
        theta and log alpha.
    noise : (C,) tensor
        Logistic noise of this epoch.
    options : L0Options

    Returns
    -------
    loss : tensor of float64, one number
        The misfit at the sampled gates.
    gradient : (2, C) tensor
    """
    numbers = _Numbers.of(options)
    gates = _gates(parameters, noise, numbers)
    loss, pull = problem.misfit(gates[0])
    return loss, _gradient(parameters, gates, pull, numbers)


def _gates(parameters: Tensor, noise: Tensor, numbers: _Numbers) -> tuple[Tensor, Tensor]:
    """Weights (C,) at sampled gates, and their slope (C,) in log alpha."""
    import torch

    size = torch.exp(parameters[0])
    s = torch.sigmoid((parameters[1] + noise) / numbers.temperature)
    stretched = s * numbers.width + numbers.gamma
    gates = stretched.clamp(0.0, 1.0)
    steep = numbers.width / numbers.temperature * s * (1.0 - s)
    moves = gates == stretched  # a clipped gate does not move
    return size * gates, size * steep * moves


def _gradient(
    parameters: Tensor, gates: tuple[Tensor, Tensor], pull: Tensor, numbers: _Numbers
) -> Tensor:
    import torch

    weights, slope = gates
    if numbers.l2_gated:
        pull = pull + numbers.l2_gated * weights
    for_theta = pull * weights
    if numbers.l2_ungated:
        for_theta = for_theta + numbers.l2_ungated * torch.exp(2.0 * parameters[0])
    margin = parameters[1] - numbers.threshold
    open_and_shut = torch.sigmoid(margin) * torch.sigmoid(-margin)  # P (1 - P), no cancellation
    return torch.stack([for_theta, pull * slope + numbers.penalty * open_and_shut])


def _noise(prefix: Tensor, keys: Tensor, dtype: Any) -> Tensor:
    import torch

    u = device_uniforms(prefix, keys)
    return torch.logit(u.clamp(_CLAMP, 1.0 - _CLAMP)).to(dtype)


def _drawn(
    parameters: Tensor, prefix: Tensor, keys: Tensor, numbers: _Numbers
) -> tuple[Tensor, Tensor]:
    """Draw the gates of an epoch: all work on columns before the products."""
    return _gates(parameters, _noise(prefix, keys, parameters.dtype), numbers)


def _updated(
    state: tuple[Tensor, Tensor, Tensor],
    gates: tuple[Tensor, Tensor],
    pull: Tensor,
    rates: Tensor,
    numbers: _Numbers,
) -> None:
    """Update the state in place: all work on columns after the products."""
    gradient = _gradient(state[0], gates, pull, numbers)
    _adam(state, gradient, numbers.epsilon, rates.reshape(-1))


def _adam(
    state: tuple[Tensor, Tensor, Tensor], gradient: Tensor, epsilon: float, rates: Tensor
) -> None:
    """Make one update in place; rates (2,): step and root of `calibration.l0.state.Rates`."""
    parameters, first, second = state
    first.lerp_(gradient, 1.0 - _B1)
    second.mul_(_B2).addcmul_(gradient, gradient, value=1.0 - _B2)
    change = second.sqrt().div_(rates[1]).add_(epsilon)
    parameters.sub_(first.div(change).mul_(rates[0]))


class DeviceGates:
    """The gate phase on a device: its state, and one epoch of it.

    Parameters
    ----------
    problem : DeviceProblem
    options : L0Options
    state : tuple of three (2, C) tensors
        Parameters and both moments of Adam; changed in place.
    noise : function of the epoch, optional
        Logistic noise (C,) as a tensor, in place of the keyed one.
    fused : bool
        Whether PyTorch compiles the work on columns into a few passes over memory. That takes
        half a minute once, and a C++ compiler (Triton's on a graphics card).
    """

    def __init__(
        self,
        problem: DeviceProblem,
        options: L0Options,
        state: tuple[Tensor, Tensor, Tensor],
        noise: Callable[[int], Tensor] | None = None,
        *,
        fused: bool = False,
    ) -> None:
        import torch

        self.problem, self.options, self.state, self.given = problem, options, state, noise
        self.numbers = _Numbers.of(options)
        device, dtype = problem.targets.device, problem.dtype
        rates = Rates.of(options.learning_rate, options.epochs, options.schedule)
        table = torch.from_numpy(np.stack([rates.step, rates.root], axis=1))
        self.rates = table.to(device=device, dtype=dtype)
        self.prefixes = torch.from_numpy(epoch_prefixes(options.seed, options.epochs)).to(device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        self._drawn = torch.compile(_drawn) if fused else _drawn
        self._updated = torch.compile(_updated) if fused else _updated

    def epoch(self, number: int) -> Tensor:
        """Make update `number` (1, 2, ...); give the loss before it, one number, float64."""
        self.place.fill_(number - 1)
        return self.step(None if self.given is None else self.given(number))

    def step(self, noise: Tensor | None = None) -> Tensor:
        """Make the update that `place` points at; all on the device, ready to be captured."""
        if noise is None:
            prefix = self.prefixes[self.place]
            gates = self._drawn(self.state[0], prefix, self.problem.keys, self.numbers)
        else:
            gates = _gates(self.state[0], noise, self.numbers)
        loss, pull = self.problem.misfit(gates[0])
        self._updated(self.state, gates, pull, self.rates[self.place], self.numbers)
        return loss

    def noise(self, number: int) -> Tensor:
        """Give the logistic noise (C,) of an epoch."""
        if self.given is not None:
            return self.given(number)
        return _noise(self.prefixes[number - 1], self.problem.keys, self.problem.dtype)

    def measure(self, epoch: int) -> tuple[float, ...]:
        """Measure the state at its median gates, in the order of `HISTORY`."""
        import torch

        options, (theta, log_alpha) = self.options, self.state[0]
        gates = _median(log_alpha, options)
        size = torch.exp(theta)
        weights = size * gates
        wide = weights.double()
        squares, mass = (wide * wide).sum(), wide.sum()
        loss, _ = self.problem.misfit(weights)
        expected = torch.sigmoid(log_alpha - gate_threshold(options)).double().sum()
        felt = size.double().square().sum() if options.l2_on == "ungated" else squares
        penalty, l2 = options.penalty * expected, options.l2 * felt
        undecided = (gates > 0) & (gates < 1)
        ess = torch.where(squares > 0, mass * mass / squares, 0.0)
        counts = [(gates > 0).sum(), expected, undecided.sum(), mass, ess]
        row = torch.stack([loss + penalty + l2, loss, penalty, l2, *(c.double() for c in counts)])
        return (float(epoch), *row.tolist())


def _median(log_alpha: Tensor, options: L0Options) -> Tensor:
    import torch

    gamma, zeta = options.stretch
    gates = torch.sigmoid(log_alpha / options.temperature) * (zeta - gamma) + gamma
    return torch.where(log_alpha <= gate_threshold(options), 0.0, gates.clamp(0.0, 1.0))


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
        logged = number == options.epochs or (options.log_every and number % options.log_every == 0)
        if not logged and len(losses) < _LOOK:
            continue
        # Each loss is that of the state before its update: measure where the last one led.
        after = torch.tensor(gates.measure(number))
        if not (torch.isfinite(torch.stack(losses)).all() and torch.isfinite(after).all()):
            run.gates = _to_host(good, good_epoch)
            return Status.DIVERGED
        good, good_epoch, losses = _copies(gates.state), number, []
        if logged and _log(run, gates, number, observe):
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
    error = run.problem.targets[lost] / run.problem.scale[lost]
    unavoidable = float((run.problem.row_weight[lost] * error * error).sum())
    if run.refit is None:
        run.refit = Adam.start(np.log(weights[kept]), options.dtype)
    state, epoch, seen = _to_device(run.refit, device), run.refit.epoch, len(run.losses) - 1
    del run.losses[epoch:]
    table = Rates.of(options.refit_learning_rate, options.refit_epochs, "cosine")
    rates = torch.from_numpy(np.stack([table.step, table.root], axis=1)).to(state[0])
    status = Status.REFIT_UNFINISHED
    for loss, slope, gradient in _slopes(problem, state[0], options):
        run.losses.append(loss)
        rest = loss - unavoidable
        if rest <= _EXACT or 0.01 * slope <= options.refit_tolerance * rest:
            status = Status.LOST_TARGETS if lost.size else Status.CONVERGED
            break
        run.refit = _to_host(state, epoch) if observe is not None else run.refit
        if epoch > seen and _tell(run, epoch, observe):
            status = Status.PAUSED
            break
        if epoch == options.refit_epochs or not np.isfinite(loss):
            break
        _adam(state, gradient, options.adam_epsilon, rates[epoch])
        epoch += 1
    run.refit = _to_host(state, epoch)
    if status is Status.REFIT_UNFINISHED and not run.losses[-1] < run.losses[0]:
        return Status.NO_PROGRESS, weights
    weights[kept] = np.exp(run.refit.parameters.astype(np.float64))
    return status, weights


def _slopes(
    problem: DeviceProblem, theta: Tensor, options: L0Options
) -> Iterator[tuple[float, float, Tensor]]:
    """Give loss, sum of absolute slopes and gradient at theta, which changes in between."""
    import torch

    while True:
        weights = torch.exp(theta)
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


def _tell(run: Run, epoch: int, observe: Observer | None) -> bool:
    every, last = run.options.log_every, run.options.refit_epochs
    if observe is None or not (epoch == last or (every and epoch % every == 0)):
        return False
    values = {"epoch": float(epoch), "loss": run.losses[-1]}
    return bool(observe(EpochStep("refit", epoch, values, run)))


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
