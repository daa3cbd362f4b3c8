"""Held to the established optimizer itself: the package l0-python, in its own settings."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from l0.calibration import SparseCalibrationWeights

from calibration import rng
from calibration.l0 import fit_l0
from calibration.l0.noise import given_noise
from calibration.l0.objective import gate_objective
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem

# torch says once that it does not check how l0-python stores X.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

COLUMNS, ROWS, EPOCHS = 2000, 60, 30


def problem(seed):
    """Make a sparse X, reachable targets, start weights and uniforms, exact in float32."""
    place = np.arange(COLUMNS)
    X = rng.uniform(seed, "x", np.arange(ROWS)[:, None], place)
    X = np.where(X < 0.9, 0.0, np.floor(100 * X))
    w0 = exp(2 + rng.uniform(seed, "w0", place)).astype("f4").astype(float)
    t = np.rint(X @ (w0 * exp(rng.uniform(seed, "truth", place) - 0.5)))
    u = rng.uniform(seed, "gate", np.arange(1, EPOCHS + 1)[:, None], place)
    return sp.csr_array(X), t, w0, u.astype("f4").astype(float)


@pytest.fixture
def drawn(monkeypatch):
    """Hand uniforms to l0-python, which takes them from the process-wide generator."""
    waiting = []
    monkeypatch.setattr(torch, "rand_like", lambda _: waiting.pop(0))
    return waiting


def peer(w0, options):
    """Set up l0-python as policyengine-us-data does, without jitter."""
    return SparseCalibrationWeights(
        n_features=COLUMNS,
        beta=options.temperature,
        gamma=options.stretch[0],
        zeta=options.stretch[1],
        init_keep_prob=0.999,
        init_weights=w0,
        log_weight_jitter_sd=0.0,
    )


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.65}, {"l2": 1e-8}])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_and_gradients_are_those_of_l0_python(changes, seed, drawn):
    """At fixed parameters, gates of all kinds and equal noise, to 1e-5 normwise."""
    options = L0Options.us_data(penalty=1e-4, **changes)
    X, t, w0, u = problem(seed)
    theirs = peer(w0, options)
    place = np.arange(COLUMNS)
    theta = log(w0) + rng.uniform(seed, "theta", place) - 0.5
    log_alpha = 4 * rng.uniform(seed, "alpha", place) - 2
    parameters = np.stack([theta, log_alpha]).astype("f4").astype(float)
    for mine, theirs_now in zip(parameters, (theirs.log_weight, theirs.log_alpha), strict=True):
        theirs_now.data = torch.from_numpy(mine.astype("f4"))
    drawn.append(torch.from_numpy(u[0].astype("f4")))
    target = torch.from_numpy(t).float()
    miss = (((target - theirs(X)) / (target + 1)) ** 2).sum()
    penalty = options.penalty * theirs.get_l0_penalty() + options.l2 * theirs.get_l2_penalty()
    (miss + penalty).backward()
    built = Problem.build(X, t, w0=w0, options=options)
    ours = gate_objective(built, parameters, given_noise(u, built)(1), options)
    assert ours.loss == pytest.approx(float(miss.detach()), rel=1e-5)
    for mine, other in zip(ours.gradient, (theirs.log_weight, theirs.log_alpha), strict=True):
        gap = np.linalg.norm(mine - other.grad.numpy())
        assert gap <= 1e-5 * np.linalg.norm(mine)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_path_of_a_fit_is_that_of_l0_python(compiled, drawn):
    """Thirty epochs of `fit` with equal noise lead to equal log-weights and gates, to 1e-3.

    Both round to float32 in each epoch, each in its own way, and Adam magnifies that where a
    slope is near 0.
    """
    options = replace(
        L0Options.us_data(penalty=1e-4, epochs=EPOCHS, dtype="float32"),
        weight_jitter=0.0,
        logit_jitter=0.0,
    )
    X, t, w0, u = problem(2)
    theirs = peer(w0, options)
    theirs.log_alpha.data.fill_(float(np.log(0.999 / 0.001)))
    drawn.extend(torch.from_numpy(row.astype("f4")) for row in u)
    settings = {"lambda_l0": options.penalty, "lambda_l2": options.l2, "lr": options.learning_rate}
    theirs.fit(X, t, epochs=EPOCHS, loss_type="relative", verbose=False, **settings)
    ours = fit_l0(X, t, w0=w0, options=options, noise=u, compiled=compiled)
    moved = np.abs(ours.log_weights - log(w0)).max()
    assert moved > 0.5
    gap = np.abs(ours.log_weights - theirs.log_weight.detach().numpy())
    assert np.median(gap) < 1e-4
    assert np.linalg.norm(gap) < 1e-3 * np.linalg.norm(ours.log_weights)
    np.testing.assert_allclose(ours.estimates, X @ theirs.get_weights(True).detach(), rtol=1e-3)
