"""Where a fit stands: parameters, Adam's moments, and the checkpoint that holds them.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    x <- x - rate / (1 - b1^e) * m / (sqrt(v / (1 - b2^e)) + epsilon)        at epoch e = 1, 2, ...

Gate noise is a function of the epoch (`calibration.l0.noise`), so parameters, moments and
the number of epochs are all there is: a fit that goes on from a checkpoint, with the noise
that it names, makes the same bits as one that never stopped.

Axes: parameters and moments have one shape, (2, C) in the gate phase (theta, log alpha)
and (K,) in the refit (theta of the K survivors).

Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1. Differs from it: the powers of b1
and b2 are running products and the cosine is our own, so that the rates have equal bits
on every machine (see `calibration.l0.portable`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError
from calibration.files import read_npz, write_npz
from calibration.l0.noise import GateNoise
from calibration.l0.options import L0Options
from calibration.l0.portable import half_cosine

__all__ = ["DECAYS", "Adam", "Checkpoint", "Rates"]

DECAYS = (0.9, 0.999)
"""b1 and b2, the values of the paper."""

_B1, _B2 = DECAYS
_VERSION = 3  # 1 did not know its noise, 2 not its loops

Floats = NDArray[np.float64]
Parameters = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Rates:
    """Step sizes by epoch; entry e - 1 belongs to epoch e.

    Parameters
    ----------
    step : (E,) array of float64
        Learning rate divided by the bias correction of the first moment.
    root : (E,) array of float64
        Square root of the bias correction of the second moment.
    """

    step: Floats
    root: Floats

    @classmethod
    def of(cls, learning_rate: float, epochs: int, schedule: str) -> Rates:
        """Lay out the rates of a phase.

        Parameters
        ----------
        learning_rate : float
        epochs : int
            Length of the whole phase, whether or not a run stops in between.
        schedule : {"cosine", "constant"}

        Returns
        -------
        Rates
        """
        fraction = np.arange(epochs) / max(epochs, 1)
        shape = half_cosine(fraction) if schedule == "cosine" else np.ones(epochs)
        first = 1.0 - np.multiply.accumulate(np.full(epochs, _B1))
        second = 1.0 - np.multiply.accumulate(np.full(epochs, _B2))
        return cls(learning_rate * shape / first, np.sqrt(second))


@dataclass(slots=True, eq=False)
class Adam:
    """Parameters, their moments, and the number of updates made.

    `step` binds new parameters and leaves the old array as it was, so the caller can keep
    the last good ones at no cost.
    """

    parameters: Parameters
    first: Parameters
    second: Parameters
    epoch: int = 0

    @classmethod
    def start(cls, parameters: Floats, dtype: str) -> Adam:
        """Begin with zero moments, all stored as `dtype`."""
        stored = parameters.astype(dtype)
        return cls(stored, np.zeros_like(stored), np.zeros_like(stored))

    def step(self, gradient: Floats, rates: Rates, epsilon: float) -> None:
        """Make the next update.

        Parameters
        ----------
        gradient : ndarray of float64, shape of the parameters
            Overwritten.
        rates : Rates
        epsilon : float
            Added to the root of the second moment.
        """
        self.first *= _B1
        self.first += (1.0 - _B1) * gradient
        gradient *= gradient
        gradient *= 1.0 - _B2
        self.second *= _B2
        self.second += gradient
        change = np.sqrt(self.second, dtype=np.float64)
        change /= rates.root[self.epoch]
        change += epsilon
        np.divide(self.first, change, out=change)
        change *= rates.step[self.epoch]
        self.parameters = (self.parameters - change).astype(self.parameters.dtype, copy=False)
        self.epoch += 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """All that a fit needs to go on as if it had never stopped.

    Parameters
    ----------
    signature : str
        SHA-256 of the problem it belongs to.
    options : L0Options
        Options it was made with.
    gates : Adam
        The gate phase, finished if `refit` is there.
    history : (rows, columns) array of float64
        Rows of the history so far.
    refit : Adam or None
        The refit, if it has begun.
    losses : (updates + 1,) array of float64
        Loss before each update of the refit so far.
    compiled : bool
        Whether its loops were compiled; these take the columns in an order of their own.
    noise : str
        `GateNoise.name` of the noise that the gate phase has still to draw; empty if none.
    """

    signature: str
    options: L0Options
    gates: Adam
    history: Floats
    refit: Adam | None
    losses: Floats
    compiled: bool
    noise: str

    def save(self, path: Path) -> None:
        """Write an `.npz` of its arrays.

        Parameters
        ----------
        path : Path
            Written whole or not at all.
        """
        write_npz(Path(path), self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give all of it: the arrays and, as JSON text, the facts.

        Returns
        -------
        dict of str to ndarray
        """
        facts = {
            "version": _VERSION,
            "signature": self.signature,
            "options": self.options.facts(),
            "epochs": {"gates": self.gates.epoch},
            "compiled": self.compiled,
            "noise": self.noise,
        }
        arrays: dict[str, NDArray[Any]] = {"history": self.history, "losses": self.losses}
        for phase, state in (("gates", self.gates), ("refit", self.refit)):
            if state is not None:
                facts["epochs"] |= {phase: state.epoch}
                for name in ("parameters", "first", "second"):
                    arrays[f"{phase}_{name}"] = getattr(state, name)
        return arrays | {"facts": np.array(json.dumps(facts, sort_keys=True))}

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Parameters
        ----------
        path : Path

        Returns
        -------
        Checkpoint

        Raises
        ------
        FileError
            If the file is missing or damaged.
        FitError
            If it is not a checkpoint of this version.
        """
        arrays = read_npz(Path(path))
        if "facts" not in arrays:
            raise FitError(f"{path} holds no checkpoint of a fit; it has {sorted(arrays)}")
        facts = json.loads(str(arrays["facts"]))
        if facts["version"] != _VERSION:
            raise FitError(
                f"{path} has checkpoint version {facts['version']}, not {_VERSION}; fit again"
            )
        states = {
            phase: Adam(
                *(arrays[f"{phase}_{name}"] for name in ("parameters", "first", "second")),
                epoch=epoch,
            )
            for phase, epoch in facts["epochs"].items()
        }
        return cls(
            signature=facts["signature"],
            options=L0Options.from_facts(facts["options"]),
            gates=states["gates"],
            history=arrays["history"],
            refit=states.get("refit"),
            losses=arrays["losses"],
            compiled=facts["compiled"],
            noise=facts["noise"],
        )

    def require(
        self, signature: str, options: L0Options, noise: GateNoise, *, compiled: bool
    ) -> None:
        """Check that a fit may go on from here.

        Parameters
        ----------
        signature : str
            Of the problem at hand.
        options : L0Options
            Of the fit at hand; `log_every` may differ, because logging changes no bit.
        noise : GateNoise
            Of the fit at hand; not looked at if the gate phase is over.
        compiled : bool
            Whether the loops of the fit at hand are compiled.

        Raises
        ------
        FitError
            If the problem, an option or the noise is not the same; the message names which.
        """
        if compiled != self.compiled:
            words = {True: "compiled", False: "plain"}
            raise FitError(
                f"the checkpoint was made in {words[self.compiled]} loops, not in "
                f"{words[compiled]} ones; resume with compiled={self.compiled}"
            )
        if signature != self.signature:
            raise FitError(
                "the checkpoint belongs to another problem (X, t, w0, column_key, block or "
                "group differ); resume with the inputs it was made with"
            )
        before, now = self.options.facts(), options.facts()
        for name in before | now:
            if name != "log_every" and before.get(name) != now.get(name):
                raise FitError(
                    f"the checkpoint was made with {name} = {before.get(name)!r}, not "
                    f"{now.get(name)!r}; resume with equal options, or start a new fit"
                )
        if self.noise and self.noise != noise.name():
            raise FitError(
                f"the checkpoint was made with {self.noise}, not with {noise.name()}; "
                "resume with the noise it was made with, or start a new fit"
            )
