"""What an L0 fit minimises, with its gradients written out.

    L(theta, alpha) = misfit(w) + lambda_0 sum_j P_j + lambda_2 sum_j w_j^2,   w = exp(theta) z

With q = dL/dw of the misfit (see `calibration.l0.problem`), s the sigmoid in the gate,
P = P(z > 0), and 1{.} whether the stretched sigmoid lies strictly between 0 and 1:

    dL/dtheta_j = (q_j + 2 lambda_2 w_j) w_j
    dL/dalpha_j = (q_j + 2 lambda_2 w_j) exp(theta_j) (zeta - gamma) s_j (1 - s_j) / beta * 1{.}
                  + lambda_0 P_j (1 - P_j)

With `l2_on="ungated"` the l2 term is lambda_2 sum_j exp(2 theta_j), felt by theta alone.

Axes: parameters are stacked, (2, C): row 0 theta, row 1 log alpha; noise is (C,), the
logistic noise of `calibration.l0.gates.gate_noise`. All arithmetic is float64.

Source: derived here; a test compares it with automatic and with finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.l0.gates import gate_threshold, median_gates, open_probability
from calibration.l0.options import L0Options
from calibration.l0.portable import exp
from calibration.l0.problem import Problem

__all__ = ["HISTORY", "Evaluation", "gate_objective", "history_row", "weight_objective"]

Floats = NDArray[np.float64]

HISTORY: tuple[str, ...] = (
    "epoch",
    "loss",
    "data_loss",
    "penalty",
    "l2",
    "retained",
    "expected_retained",
    "undecided",
    "mass",
    "ess",
)
"""Columns of the history of a gate phase, measured with median gates.

`loss` = `data_loss` + `penalty` + `l2`; `retained` counts the columns with a positive
median gate and `expected_retained` sums P(z > 0); `undecided` counts the gates strictly
between 0 and 1; `mass` is the sum of weights and `ess` the effective sample size,
(sum w)^2 / sum w^2 (Kish 1965).
"""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss and gradient at one point; the gradient has the shape of the parameters."""

    loss: float
    gradient: Floats


def gate_objective(
    problem: Problem, parameters: Floats, noise: Floats, options: L0Options
) -> Evaluation:
    """Evaluate data term and l2 at sampled gates, and all gradients.

    Parameters
    ----------
    problem : Problem
    parameters : (2, C) array of float64
        theta and log alpha.
    noise : (C,) array of float64
        Logistic noise of this epoch.
    options : L0Options

    Returns
    -------
    Evaluation
        `loss` is the misfit at the sampled gates; the penalty enters the gradient only,
        because nothing in the fit reads its value.
    """
    theta, log_alpha = parameters
    gamma, zeta = options.stretch
    powers = np.empty((3, problem.n_columns))
    powers[0] = theta
    np.add(log_alpha, noise, out=powers[1])
    powers[1] /= -options.temperature
    np.subtract(gate_threshold(options), log_alpha, out=powers[2])
    size, odds, open_odds = exp(powers)  # one call: short calls cost more than arithmetic
    s = 1.0 / (1.0 + odds)
    stretched = s * (zeta - gamma)
    stretched += gamma
    gates = np.maximum(stretched, 0.0)
    np.minimum(gates, 1.0, out=gates)
    weights = size * gates
    loss, pull = problem.misfit(weights)
    if options.l2 and options.l2_on == "gated":
        pull += 2.0 * options.l2 * weights
    gradient = np.empty_like(parameters)
    np.multiply(pull, weights, out=gradient[0])
    if options.l2 and options.l2_on == "ungated":
        gradient[0] += 2.0 * options.l2 * size * size
    odds *= s  # 1 - s, without cancellation
    odds *= s
    odds *= (zeta - gamma) / options.temperature
    odds *= gates == stretched  # a clipped gate does not move
    pull *= size
    np.multiply(pull, odds, out=gradient[1])
    p = 1.0 / (1.0 + open_odds)
    open_odds *= p
    open_odds *= p
    open_odds *= options.penalty
    gradient[1] += open_odds
    return Evaluation(loss, gradient)


def weight_objective(problem: Problem, theta: Floats, options: L0Options) -> Evaluation:
    """Evaluate the fit of the survivors: no gates, no penalty, the same misfit and l2.

    Parameters
    ----------
    problem : Problem
        Restricted to the survivors, K columns.
    theta : (K,) array of float64
    options : L0Options
        Read for `l2`.

    Returns
    -------
    Evaluation
        `loss` is misfit plus l2.
    """
    weights = exp(theta)
    loss, pull = problem.misfit(weights)
    if options.l2:
        loss += options.l2 * problem.total(weights * weights)
        pull += 2.0 * options.l2 * weights
    pull *= weights
    return Evaluation(loss, pull)


def history_row(
    problem: Problem, parameters: Floats, epoch: int, options: L0Options
) -> tuple[float, ...]:
    """Measure a state at its median gates, in the order of `HISTORY`.

    Parameters
    ----------
    problem : Problem
    parameters : (2, C) array of float
    epoch : int
        Updates made so far.
    options : L0Options

    Returns
    -------
    tuple of float
    """
    size = exp(parameters[0])
    gates = median_gates(parameters[1], options)
    weights = size * gates
    expected = problem.total(open_probability(parameters[1], options))
    squares = problem.total(weights * weights)
    data_loss, _ = problem.judge(problem.estimates(weights))
    penalty = options.penalty * expected
    ungated = options.l2_on == "ungated"
    l2 = options.l2 * (problem.total(size * size) if ungated else squares)
    mass = problem.total(weights)
    return (
        float(epoch),
        data_loss + penalty + l2,
        data_loss,
        penalty,
        l2,
        problem.total(gates > 0),
        expected,
        problem.total((gates > 0) & (gates < 1)),
        mass,
        mass * mass / squares if squares > 0 else 0.0,
    )
