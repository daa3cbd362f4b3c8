"""A population whose conditional laws are known: what the forests are measured on.

Ten predictors x, as a survey has them: an age, two truth values, two counts and five
amounts, of which the last two say nothing about any target. Seventy targets t in a chain,
each given three predictors and two earlier targets (as many as there are):

    m    = sum of +-g(parent) / sqrt(parents)               what is known, spread about 1
    y_t  = 0                                if  c m + sqrt(1 - c^2) e < cut_t
           exp(mu_t + s_t (c m + sqrt(1 - c^2) e'))         otherwise

with standard normal e, e', independent; g brings a parent to a spread of about 1. Signal
c = 0.7, zero shares from 0 (each fifth target) to about 0.9, tails s_t from 0.6 to 1.4.
An exact draw of y_t given everything before it is one line, `Chain.target`, and no forest
can know more than that line.

Axes: rows (n,), predictors (n, 10), targets (n, T).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

__all__ = ["Chain"]

Floats = NDArray[np.float64]

SIGNAL = 0.7  # c
NOISE = np.sqrt(1 - SIGNAL**2)
USEFUL = 8  # predictors that a target may depend on; the rest are noise


@dataclass(frozen=True)
class Chain:
    """The law of T targets; `seed` fixes their parents, signs, zero shares and tails."""

    targets: int = 70
    seed: int = 0

    def predictors(self, rows: int, rng: np.random.Generator) -> Floats:
        """Draw predictors, (rows, 10)."""
        columns = [rng.integers(18, 86, rows), rng.random(rows) < 0.5, rng.random(rows) < 0.4]
        columns += [rng.integers(0, 4, rows), rng.integers(0, 10, rows)]
        columns += [np.round(rng.lognormal(10, 1, rows)) for _ in range(5)]
        return np.column_stack(columns).astype(np.float64)

    def sample(self, rows: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw the predictors and all targets of some rows."""
        X = self.predictors(rows, rng)
        return X, self.draw(X, rng)

    def draw(self, X: Floats, rng: np.random.Generator) -> Floats:
        """Draw all targets given predictors, exactly."""
        Y = np.empty((len(X), self.targets))
        for t in range(self.targets):
            Y[:, t] = self.target(t, X, Y, rng)
        return Y

    def target(self, t: int, X: Floats, Y: Floats, rng: np.random.Generator) -> Floats:
        """Draw target t given predictors and the targets before it, exactly."""
        own = np.random.default_rng([self.seed, t])
        parents = [_predictor(X, p) for p in own.choice(USEFUL, 3, replace=False)]
        earlier = own.choice(t, min(2, t), replace=False) if t else []
        parents += [_target(Y[:, k]) for k in earlier]
        sign = own.choice([-1.0, 1.0], len(parents)) / np.sqrt(len(parents))
        m = sum(s * g for s, g in zip(sign, parents, strict=True))
        cut = ndtri(own.uniform(0, 0.9)) if t % 5 else -np.inf
        mu, spread = own.uniform(5, 10), own.uniform(0.6, 1.4)
        e, e_amount = rng.standard_normal((2, len(X)))
        some = SIGNAL * m + NOISE * e > cut
        return np.where(some, np.exp(mu + spread * (SIGNAL * m + NOISE * e_amount)), 0.0)


def _predictor(X: Floats, p: int) -> Floats:
    """Bring a predictor to mean 0 and spread 1 by the constants of its law."""
    x = X[:, p]
    if p >= 5:
        return np.log(x) - 10
    low, high = ((18, 85), (0, 1), (0, 1), (0, 3), (0, 9))[p]
    return (x - (low + high) / 2) / np.sqrt(((high - low + 1) ** 2 - 1) / 12)


def _target(y: Floats) -> Floats:
    """Bring an earlier target to a spread of about 1: zeros, then amounts by their logarithm."""
    return np.clip(np.log1p(y) / 4 - 1.2, -1.5, 2.0)
