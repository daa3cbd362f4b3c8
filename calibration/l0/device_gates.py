"""One epoch of the gate phase on a device: the problem there, its gradients, and Adam.

    noise      logit(U(seed, epoch, column_key))             the bits of NumPy's, on the device
    products   X w and X' v                                  `calibration.l0.device_matrix`
    gradients  as in `calibration.l0.objective`, written out; no automatic differentiation
    Adam       as in `calibration.l0.state`, in place

`options.dtype` is the type of entries, parameters, moments and all work on columns. Vectors
over rows, the loss and sums over columns are float64 either way. Nothing in an epoch waits
for the device. Exponentials saturate as NumPy's here do, so a fit diverges where theirs would.

Axes: rows T, columns C, survivors K; parameters (2, C): theta, log alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calibration.errors import FitError
from calibration.l0.device_matrix import DeviceMatrix
from calibration.l0.device_noise import device_keys, device_uniforms, epoch_prefixes
from calibration.l0.gates import CLAMP, gate_threshold
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem
from calibration.l0.state import DECAYS, Rates

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeviceGates", "DeviceProblem", "adam_step", "bounded_exp", "device_objective"]

_B1, _B2 = DECAYS


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

    size = bounded_exp(parameters[0])
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
        for_theta = for_theta + numbers.l2_ungated * bounded_exp(parameters[0]).square()
    margin = parameters[1] - numbers.threshold
    open_and_shut = torch.sigmoid(margin) * torch.sigmoid(-margin)  # P (1 - P), no cancellation
    return torch.stack([for_theta, pull * slope + numbers.penalty * open_and_shut])


def _noise(prefix: Tensor, keys: Tensor, dtype: Any) -> Tensor:
    import torch

    u = device_uniforms(prefix, keys)
    return torch.logit(u.clamp(CLAMP, 1.0 - CLAMP)).to(dtype)


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
    adam_step(state, gradient, numbers.epsilon, rates.reshape(-1))


def bounded_exp(x: Tensor) -> Tensor:
    """Raise e to each power, which counts as the nearest that gives a normal number.

    Parameters
    ----------
    x : tensor of float64 or float32

    Returns
    -------
    tensor of the same type
        Positive and finite; in float64 the bounds are those of `calibration.l0.portable`.
    """
    import torch

    low, high = (-87.0, 88.0) if x.dtype == torch.float32 else (-708.0, 709.0)
    return torch.exp(x.clamp(low, high))


def adam_step(
    state: tuple[Tensor, Tensor, Tensor], gradient: Tensor, epsilon: float, rates: Tensor
) -> None:
    """Make one update in place.

    Parameters
    ----------
    state : tuple of three tensors
        Parameters and both moments.
    gradient : tensor
    epsilon : float
    rates : (2,) tensor
        Step and root of `calibration.l0.state.Rates`.
    """
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
        size = bounded_exp(theta)
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
