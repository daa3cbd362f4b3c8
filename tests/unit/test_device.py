"""The fit on a device of PyTorch: same noise, same loss, same slopes as NumPy's."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from calibration import rng, toy
from calibration.errors import FitError
from calibration.l0 import fit_l0
from calibration.l0.device_gates import (
    DeviceGates,
    DeviceProblem,
    bounded_exp,
    device_objective,
)
from calibration.l0.device_matrix import DeviceMatrix
from calibration.l0.device_noise import device_keys, device_uniforms, epoch_prefixes
from calibration.l0.noise import keyed_noise
from calibration.l0.objective import gate_objective, history_row
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem
from calibration.l0.run import Status

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(scope="module")
def m():
    """Give the matrix of the toy run."""
    return toy.after("matrix").matrix


def given(m):
    """Give all arguments of a fit of the toy matrix."""
    names = {"w0": m.w0, "group": m.groups, "block": m.block(), "column_key": m.column_key()}
    return m.X, m.values, names


def problem_of(m, options):
    """Give the toy problem, checked."""
    X, t, names = given(m)
    return Problem.build(X, t, options=options, **names)


def state(problem, seed=0):
    """Give parameters with gates of all kinds."""
    key = problem.column_key
    theta = log(problem.start) + rng.uniform(seed, "theta", key) - 0.5
    return np.stack([theta, 3 * rng.uniform(seed, "alpha", key) - 1.5])


@pytest.mark.parametrize("device", DEVICES)
def test_uniforms_have_the_bits_of_numpy(device):
    """Small keys, keys around 2^63 and scattered ones draw the same 53 bits at any epoch."""
    edge = np.arange(2**63 - 300, 2**63 + 300, dtype=np.uint64)
    keys = np.concatenate([np.arange(500, dtype=np.uint64), edge, rng.key("k", np.arange(5000))])
    prefixes = torch.from_numpy(epoch_prefixes(7, 600)).to(device)
    for epoch in (1, 2, 600):
        drawn = device_uniforms(prefixes[epoch - 1], device_keys(keys, device))
        np.testing.assert_array_equal(drawn.cpu(), rng.uniform(7, "gate", epoch, keys))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stored", ["rows", "columns"])
def test_products_of_long_and_empty_rows(device, stored):
    """Rows of 0, 1 and 20,000 entries, cut into segments, give X w and X' v."""
    ids = np.arange(20_000)
    X = np.zeros((5, ids.size))
    X[1, 7], X[2], X[4, ::3] = 2.0, rng.uniform(1, "x", ids), 1.0
    w, v = rng.uniform(2, "w", ids), np.arange(5.0) - 2
    if stored == "rows":
        form = sp.csr_array(X)
        make, other = DeviceMatrix.from_rows, X.shape[1]
    else:
        form = sp.csc_array(X)
        make, other = DeviceMatrix.from_columns, X.shape[0]
    parts = (torch.from_numpy(p).to(device) for p in (form.indptr, form.indices, form.data))
    matrix = make(*parts, other)
    assert matrix.entries == form.nnz
    estimates = matrix.estimates(torch.from_numpy(w).to(device)).cpu()
    np.testing.assert_allclose(estimates, X @ w, rtol=1e-13)
    pull = matrix.pull(torch.from_numpy(v).to(device)).cpu()
    np.testing.assert_allclose(pull, v @ X, rtol=0, atol=1e-14)
    kept = w < 0.3
    few = matrix.restrict(torch.from_numpy(kept).to(device))
    estimates = few.estimates(torch.from_numpy(w[kept]).to(device)).cpu()
    np.testing.assert_allclose(estimates, X[:, kept] @ w[kept], rtol=1e-13)


def test_a_long_row_in_float32_is_summed_in_float64():
    """Of three million terms a plain sum in float32 is off by a percent, ours by 2e-6."""
    size = 3_000_000
    parts = (np.array([0, size]), np.arange(size), np.ones(size, np.float32))
    matrix = DeviceMatrix.from_rows(*(torch.from_numpy(part) for part in parts), size)
    weights = torch.full((size,), 1.1, dtype=torch.float32)
    wanted = size * float(weights[0])
    plain = np.add.accumulate(weights.numpy())[-1]
    assert abs(plain / wanted - 1) > 1e-2
    assert abs(float(matrix.estimates(weights)[0]) / wanted - 1) < 2e-6


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options",
    [
        L0Options(penalty=3e-4),
        L0Options(penalty=3e-4, l2=1e-9),
        L0Options.us_data(penalty=1e-4),
        L0Options(temperature=0.65, stretch=(-0.2, 1.3), row_weights="equal"),
    ],
)
def test_loss_and_gradient_are_those_of_numpy(m, device, options):
    """At fixed parameters and the keyed noise, in float64, to 1e-6 normwise (here to 1e-10)."""
    problem = problem_of(m, options)
    moved = DeviceProblem.of(problem, device, "float64")
    for seed in range(3):
        parameters = state(problem, seed)
        here = gate_objective(problem, parameters, keyed_noise(problem, options)(seed + 1), options)
        tensors = tuple(torch.from_numpy(parameters).to(device) for _ in range(3))
        gates = DeviceGates(moved, replace(options, epochs=5), tensors)
        loss, gradient = device_objective(moved, tensors[0], gates.noise(seed + 1), options)
        assert float(loss) == pytest.approx(here.loss, rel=1e-10)
        for row in range(2):
            gap = np.linalg.norm(gradient[row].cpu().numpy() - here.gradient[row])
            assert gap <= 1e-10 * np.linalg.norm(here.gradient[row])
        measured = gates.measure(5)
        np.testing.assert_allclose(measured, history_row(problem, parameters, 5, options), 1e-10)


def test_single_precision_is_near(m):
    """In float32 the gradient differs from NumPy's by 1e-5 of its norm at most."""
    options = L0Options(penalty=3e-4)
    problem = problem_of(m, options)
    moved = DeviceProblem.of(problem, "cpu", "float32")
    parameters, noise = state(problem), keyed_noise(problem, options)(1)
    here = gate_objective(problem, parameters, noise, options)
    arrays = (torch.from_numpy(array.astype(np.float32)) for array in (parameters, noise))
    loss, gradient = device_objective(moved, *arrays, options)
    assert float(loss) == pytest.approx(here.loss, rel=1e-5)
    for row in range(2):
        gap = np.linalg.norm(gradient[row].numpy() - here.gradient[row])
        assert gap <= 1e-5 * np.linalg.norm(here.gradient[row])


def test_exponentials_saturate_as_in_numpy(m):
    """Where a weight would be infinite or 0, loss and gradient still are those of NumPy."""
    options = L0Options(penalty=3e-4)
    problem = problem_of(m, options)
    parameters, noise = state(problem), keyed_noise(problem, options)(1)
    parameters[0, :20] = -900.0
    for dtype, highest, limit in ((np.float64, 300.0, 1e-10), (np.float32, 40.0, 1e-5)):
        parameters[0, 20:25] = highest
        moved = DeviceProblem.of(problem, "cpu", np.dtype(dtype).name)
        arrays = (torch.from_numpy(array.astype(dtype)) for array in (parameters, noise))
        loss, gradient = device_objective(moved, *arrays, options)
        here = gate_objective(problem, parameters, noise, options)
        assert float(loss) == pytest.approx(here.loss, rel=limit)
        assert (np.sign(gradient[0].numpy()) == np.sign(here.gradient[0]))[20:25].all()
    ends = bounded_exp(torch.tensor([-1e4, 1e4], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(ends, exp([-1e4, 1e4]), rtol=1e-13)
    ends = bounded_exp(torch.tensor([-1e4, 1e4], dtype=torch.float32)).numpy()
    assert 0 < ends[0] < 1e-37
    assert 1e38 < ends[1] < np.inf


def test_a_fit_on_a_device_ends_as_one_without(m):
    """At rates at which log-weights leave the range of exp, both have one status."""
    X, t, names = given(m)
    for penalty, rate, status in ((1e-5, 300.0, Status.EMPTY), (0.0, 700.0, Status.DIVERGED)):
        options = L0Options(penalty=penalty, epochs=40, learning_rate=rate)
        fits = [fit_l0(X, t, options=options, device=where, **names) for where in (None, "cpu")]
        assert [fit.status for fit in fits] == [status] * 2
    with pytest.raises(FitError, match="compiled=True runs without PyTorch, but device is 'cpu'"):
        fit_l0(X, t, device="cpu", compiled=True, **names)


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_epochs_follow_numpy(m, device):
    """Until gates close, ten epochs on the device give NumPy's weights to 1e-8."""
    X, t, names = given(m)
    options = L0Options(epochs=10, refit=False)
    here = fit_l0(X, t, options=options, **names)
    there = fit_l0(X, t, options=options, device=device, **names)
    assert there.status is Status.GATED
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-8)
    assert there.history.keys() == here.history.keys()
    for name, values in here.history.items():
        np.testing.assert_allclose(there.history[name], values, rtol=1e-8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_whole_fit_converges(m, device, dtype):
    """A fit on the device keeps about as many columns, and as good ones, as NumPy's."""
    X, t, names = given(m)
    options = L0Options(penalty=1e-4, epochs=200, dtype=dtype)
    here = fit_l0(X, t, options=options, **names)
    there = fit_l0(X, t, options=options, device=device, **names)
    assert there.status is Status.CONVERGED
    assert here.status is Status.CONVERGED
    assert abs(there.retained - here.retained) <= 0.1 * here.retained
    assert there.loss <= 2 * here.loss
    np.testing.assert_allclose(there.estimates, X @ there.weights, rtol=1e-9)


def test_a_fit_on_a_device_pauses_and_resumes(m):
    """Paused in either phase, and resumed, it ends where the whole fit ends, to the bit."""
    X, t, names = given(m)
    options = L0Options(penalty=1e-4, epochs=60, refit_epochs=100)
    whole = fit_l0(X, t, options=options, device="cpu", **names)
    for phase, epoch in (("gates", 30), ("refit", 20)):
        part = fit_l0(
            X,
            t,
            options=options,
            device="cpu",
            observe=lambda step, at=(phase, epoch): (step.phase, step.epoch) == at,
            **names,
        )
        assert part.status is Status.PAUSED
        again = fit_l0(X, t, options=options, device="cpu", resume=part.checkpoint, **names)
        np.testing.assert_array_equal(again.weights, whole.weights)
        np.testing.assert_array_equal(again.refit_losses, whole.refit_losses)
    here = fit_l0(X, t, options=options, resume=part.checkpoint, **names)
    assert here.loss == pytest.approx(whole.loss, rel=1e-3)


def test_given_noise_is_used(m):
    """Uniforms of the caller's own take the place of the keyed ones."""
    X, t, names = given(m)
    options = L0Options(epochs=3, refit=False)
    noise = np.tile(rng.uniform(1, "given", np.arange(m.X.shape[1])), (3, 1))
    here = fit_l0(X, t, options=options, noise=noise, **names)
    there = fit_l0(X, t, options=options, noise=noise, device="cpu", **names)
    keyed = fit_l0(X, t, options=options, device="cpu", **names)
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-9)
    assert (there.weights != keyed.weights).any()


def test_divergence_goes_back_to_the_last_good_state(m):
    """A rate that makes weights infinite ends DIVERGED, with finite weights."""
    X, t, names = given(m)
    options = L0Options(penalty=0.0, learning_rate=700.0, epochs=40)
    fit = fit_l0(X, t, options=options, device="cpu", **names)
    assert fit.status is Status.DIVERGED
    assert np.isfinite(fit.weights).all()
    assert np.isfinite(fit.loss)
    assert "worst rows" in fit.message


@pytest.mark.parametrize("epochs", [1, 20])
def test_an_update_that_leads_nowhere_is_undone(epochs):
    """The loss that an epoch gives is that before its update; where it led counts too."""
    X = np.random.default_rng(0).random((3, 40))
    options = L0Options(penalty=0.0, learning_rate=1000.0, epochs=epochs, log_every=1)
    fit = fit_l0(X, np.ones(3), w0=np.full(40, 1e-3), options=options, device="cpu")
    assert fit.status is Status.DIVERGED
    assert fit.weights.max() < 1
    assert np.isfinite(fit.loss)


def test_a_device_that_is_not_there_is_refused(m):
    """The error names the device and what to do."""
    X, t, names = given(m)
    with pytest.raises(FitError, match=r"device 'cuda:99' cannot be used .* leave device out"):
        fit_l0(X, t, device="cuda:99", **names)
    with pytest.raises(FitError, match="device 'gpu' cannot be used"):
        fit_l0(X, t, device="gpu", **names)
