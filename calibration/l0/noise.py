"""Random numbers of a fit: gate noise for every epoch, and jitter at the start.

    gate noise   logit(U(seed, "gate", epoch, column_key))
    jitter       size * (sum over k < 12 of U(seed, name, k, column_key) - 6)

All of it belongs to columns by key (`calibration.rng`): it does not depend on the order of
columns, on other columns, on what was logged, or on where a fit was resumed.

Axes: columns C; epochs count from 1.

Differs from PolicyEngine L0 `l0/calibration.py` at 490f00b: (1) there gate noise comes from
the process-wide generator; (2) there jitter is normal, here it has the same mean and
deviation but ends at six deviations, because a sum of uniforms has equal bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import FitError
from calibration.files import hash_arrays
from calibration.l0.gates import gate_noise
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem
from calibration.rng import uniform

__all__ = ["GateNoise", "given_noise", "jitter", "keyed_noise"]

Floats = NDArray[np.float64]

_CHUNK = 1 << 14  # numbers of noise made at a time
_KEPT = 1 << 22  # and kept for the next fit of the same problem: 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class GateNoise:
    """The logistic noise of the gates, by epoch, and where it comes from.

    Called with an epoch (1, 2, ...), it gives a (C,) array of float64; it raises FitError if
    uniforms that the caller gave do not fit.

    Parameters
    ----------
    draw : function of the epoch
    table : (epochs, C) array of float64 or None
        The uniforms, if they were given as a table.
    keyed : bool
        Whether the uniforms are the keyed ones.
    part : array of int64 or None
        Columns of a process that holds only some; all by default.
    """

    draw: Callable[[int], Floats]
    table: Floats | None = None
    keyed: bool = False
    part: NDArray[np.int64] | None = None

    def __call__(self, epoch: int) -> Floats:
        """Give the noise of an epoch."""
        noise = self.draw(epoch)
        return noise if self.part is None else noise[self.part]

    def name(self) -> str:
        """Say in words which noise this is; equal words mean equal noise.

        Of a function, which has no end, epoch 1 stands for all others.

        Returns
        -------
        str
        """
        if self.keyed:
            return "keyed noise"
        if self.table is not None:
            return f"noise from a table ({hash_arrays({'table': self.table})[:16]})"
        return f"noise from a function ({hash_arrays({'epoch 1': self.draw(1)})[:16]})"


def keyed_noise(problem: Problem, options: L0Options) -> GateNoise:
    """Give the logistic gate noise of each epoch, keyed on the columns.

    Parameters
    ----------
    problem : Problem
    options : L0Options
        Read for `seed`.

    Returns
    -------
    GateNoise
        A pure function of (seed, epoch, column_key). Epochs are made several at a time and
        kept while they fit in 32 MB, for the next fit.
    """
    keys, seed = problem.column_key, options.seed
    several = max(1, _CHUNK // max(1, keys.size))
    room = max(1, _KEPT // (several * max(1, keys.size)))
    kept: dict[int, Floats] = {}

    def noise(epoch: int) -> Floats:
        chunk, place = divmod(epoch, several)
        if chunk not in kept:
            if len(kept) >= room:
                kept.clear()
            epochs = np.arange(chunk * several, (chunk + 1) * several)[:, np.newaxis]
            kept[chunk] = gate_noise(uniform(seed, "gate", epochs, keys))
        return kept[chunk][place]

    return GateNoise(noise, keyed=True)


def given_noise(noise: ArrayLike | Callable[[int], Floats], problem: Problem) -> GateNoise:
    """Give the logistic gate noise for uniforms that the caller drew.

    Parameters
    ----------
    noise : (epochs, C) array of float or function of the epoch
        Uniforms in [0, 1].
    problem : Problem

    Returns
    -------
    GateNoise
        Raises FitError at the first epoch whose uniforms do not fit.
    """
    if callable(noise):
        return GateNoise(lambda epoch: _checked(noise(epoch), epoch, problem))
    table = np.atleast_2d(np.asarray(noise, dtype=np.float64))
    return GateNoise(
        lambda epoch: _checked(table[epoch - 1 : epoch].reshape(-1), epoch, problem), table
    )


def _checked(uniforms: ArrayLike, epoch: int, problem: Problem) -> Floats:
    u = np.asarray(uniforms, dtype=np.float64)
    order = problem.form.order
    if u.shape != (problem.n_columns,) or not ((u >= 0) & (u <= 1)).all():
        raise FitError(
            f"noise for epoch {epoch} has shape {u.shape}; give ({problem.n_columns},) "
            "uniforms in [0, 1] for every epoch, counted from 1"
        )
    return gate_noise(u if order is None else u[order])


def jitter(problem: Problem, size: float, seed: int, name: str) -> Floats:
    """Draw noise with mean 0 and a given standard deviation for every column.

    Parameters
    ----------
    problem : Problem
        Read for `column_key`.
    size : float
        Standard deviation; 0 gives zeros.
    seed : int
    name : str
        What it is for; part of the key.

    Returns
    -------
    (C,) array of float64
    """
    total = np.full(problem.n_columns, -6.0)
    for part in range(12):
        total += uniform(seed, name, part, problem.column_key)
    return size * total
