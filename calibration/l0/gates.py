"""A gate for each column: 0 with some probability, else up to 1, and still differentiable.

The Hard Concrete gate stretches a sigmoid a little past 0 and 1 and clips it:

    s = sigmoid((logit(u) + log_alpha) / beta),   u uniform in (0, 1)
    z = clip(s (zeta - gamma) + gamma, 0, 1)
    P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))

beta (`temperature`) is how hard it switches, (gamma, zeta) (`stretch`) how much of the
line falls on exactly 0 and exactly 1. After the fit, a column gets its *median* gate,
the value at u = 1/2. It is 0 exactly where log_alpha <= beta log(-gamma / zeta), that
is, where P(z > 0) <= 1/2.

Axes: all functions work element by element on arrays of any shape, in float64.

Source: Louizos, Welling & Kingma 2018, arXiv:1712.01312, equations 10 to 12.
Differs from it: (1) the gate after the fit keeps beta, so that it is the median gate and
agrees with P(z > 0); the paper's sigmoid(log_alpha) keeps columns with P(z > 0) as low as
0.17 at beta = 0.35. (2) u is clamped to [1e-6, 1 - 1e-6], as in PolicyEngine L0
`l0/calibration.py` at 490f00b, so that the noise is bounded.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.l0.options import L0Options
from calibration.l0.portable import log, logit, sigmoid

__all__ = [
    "CLAMP",
    "gate_noise",
    "gate_threshold",
    "log_alpha_from",
    "median_gates",
    "open_probability",
    "sample_gates",
]

Floats = NDArray[np.float64]

_DEFAULTS = L0Options()
CLAMP = 1e-6
"""Uniforms are held this far from 0 and from 1."""


def open_probability(log_alpha: ArrayLike, options: L0Options = _DEFAULTS) -> Floats:
    """Give P(z > 0), the probability that a gate is not exactly 0.

    Parameters
    ----------
    log_alpha : array of float, any shape
        Gate logits.
    options : L0Options
        Read for `temperature` and `stretch`.

    Returns
    -------
    ndarray of float64, same shape
        In (0, 1]; the inverse of `log_alpha_from`.
    """
    return sigmoid(np.asarray(log_alpha, dtype=np.float64) - gate_threshold(options))


def log_alpha_from(probability: ArrayLike, options: L0Options = _DEFAULTS) -> Floats:
    """Give the gate logit that has a wanted P(z > 0).

    The stretch belongs in it: logit(0.5) alone would give P(z > 0) = 0.70.

    Parameters
    ----------
    probability : array of float, any shape
        Strictly between 0 and 1; callers check.
    options : L0Options
        Read for `temperature` and `stretch`.

    Returns
    -------
    ndarray of float64, same shape
    """
    return logit(probability) + gate_threshold(options)


def sample_gates(log_alpha: ArrayLike, u: ArrayLike, options: L0Options = _DEFAULTS) -> Floats:
    """Give the gates for given uniforms; there is no hidden randomness.

    Parameters
    ----------
    log_alpha : array of float, any shape
        Gate logits.
    u : array of float, broadcastable to it
        Uniforms in [0, 1].
    options : L0Options
        Read for `temperature` and `stretch`.

    Returns
    -------
    ndarray of float64
        In [0, 1]; rises with `log_alpha` and with `u`.
    """
    return _gates(np.asarray(log_alpha, dtype=np.float64) + gate_noise(u), options)


def median_gates(log_alpha: ArrayLike, options: L0Options = _DEFAULTS) -> Floats:
    """Give the gates at u = 1/2, which are used once the fit is over.

    Parameters
    ----------
    log_alpha : array of float, any shape
        Gate logits.
    options : L0Options
        Read for `temperature` and `stretch`.

    Returns
    -------
    ndarray of float64, same shape
        In [0, 1]; 0 where P(z > 0) <= 1/2.
    """
    values = np.asarray(log_alpha, dtype=np.float64)
    return np.where(values <= gate_threshold(options), 0.0, _gates(values, options))


def gate_noise(u: ArrayLike) -> Floats:
    """Give logit(u), the logistic noise that is added to a gate logit.

    Parameters
    ----------
    u : array of float, any shape
        Uniforms in [0, 1]; clamped to [1e-6, 1 - 1e-6].

    Returns
    -------
    ndarray of float64, same shape
        In [-13.82, 13.82].
    """
    return logit(np.clip(np.asarray(u, dtype=np.float64), CLAMP, 1 - CLAMP))


def gate_threshold(options: L0Options = _DEFAULTS) -> float:
    """Give beta log(-gamma / zeta), the logit up to which the median gate is 0.

    Parameters
    ----------
    options : L0Options
        Read for `temperature` and `stretch`.

    Returns
    -------
    float
        Negative when -gamma < zeta; -0.839 by default.
    """
    return _threshold(options.temperature, *options.stretch)


@lru_cache(maxsize=64)
def _threshold(beta: float, gamma: float, zeta: float) -> float:
    return beta * float(log(-gamma / zeta))


def _gates(logits: Floats, options: L0Options) -> Floats:
    gamma, zeta = options.stretch
    s = sigmoid(logits / options.temperature)
    return np.clip(s * (zeta - gamma) + gamma, 0.0, 1.0)
