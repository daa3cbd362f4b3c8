"""The compiled fit: equal to the plain one in its numbers, and to itself in its bits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from calibration import rng
from calibration.compact import FactoredMatrix, GridMatrix
from calibration.errors import FitError
from calibration.l0 import fit_l0
from calibration.l0.compiled import CompiledGates
from calibration.l0.objective import gate_objective
from calibration.l0.options import L0Options
from calibration.l0.portable import exp
from calibration.l0.problem import Problem
from calibration.l0.run import Status, start_run
from calibration.l0.state import Checkpoint, Rates
from calibration.select import fit_to_budget


def factored(columns=1500, districts=12, variables=6):
    """Make G, Z, targets, start weights and blocks: districts nested in 3 states, by keys alone."""
    ids = np.arange(columns)
    district = np.floor(districts * rng.uniform(0, "district", ids)).astype(int)
    has = rng.uniform(0, "has", ids[:, None], np.arange(variables)) < np.linspace(
        0.05, 1, variables
    )
    values = has * (1 + np.floor(9 * rng.uniform(0, "value", ids[:, None], np.arange(variables))))
    values[:, 2] *= np.where(rng.uniform(0, "sign", ids) < 0.3, -1.0, 1.0)
    values[::97] = 0.0  # columns without entries
    column, variable = np.nonzero(values)
    rows = variable * districts + district[column]
    Z = sp.csc_array((values[column, variable], (rows, column)), (variables * districts, columns))
    state = sp.csr_array((np.ones(districts), (np.arange(districts) // 4, np.arange(districts))))
    levels = [sp.identity(districts), state, sp.csr_array(np.ones((1, districts)))]
    G = sp.vstack([sp.kron(sp.identity(variables), level) for level in levels]).tocsr()
    w0 = exp(1 + rng.uniform(0, "w0", ids))
    truth = w0 * exp(rng.uniform(0, "truth", ids) - 0.5)
    t = (G @ (Z @ truth)) * (1 + 0.05 * (rng.uniform(0, "t", np.arange(G.shape[0])) - 0.5))
    return G, Z, t, w0, district * 64 // districts


def given(X=None, **changes):
    """Arguments of a fit of that problem, compiled."""
    G, Z, t, w0, block = factored()
    X = FactoredMatrix(G.astype("f4"), sp.csr_array(Z, dtype="f4")) if X == "factored" else G @ Z
    return {"X": X, "t": t, "w0": w0, "block": block, "compiled": True} | changes


def same_bits(one, two):
    """Require equal results, down to the last bit of every array."""
    assert one.status is two.status
    for name in ("weights", "open_probability", "log_weights", "refit_losses", "estimates"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_exp_and_log_agree_with_numpy():
    """Within 3e-15 in float64 and 3e-7 in float32, and beyond their range they saturate."""
    import numba

    from calibration.l0 import compiled_math

    @numba.njit
    def each(x):
        powers, logs = np.empty_like(x), np.empty_like(x)
        for i in range(len(x)):
            powers[i] = compiled_math.exp(x[i])
            logs[i] = compiled_math.log(powers[i])
        return powers, logs

    for dtype, limit in ((np.float64, 3e-15), (np.float32, 3e-7)):
        x = np.linspace(-80, 80, 4001).astype(dtype)
        powers, logs = each(x)
        np.testing.assert_allclose(powers, np.exp(x.astype(float)), rtol=limit)
        np.testing.assert_allclose(logs, np.log(powers.astype(float)), rtol=limit, atol=limit)
        ends, _ = each(np.array([-1e4, 1e4], dtype))
        assert 0 < ends[0] < 1e-37
        assert 1e38 < ends[1] < np.inf
    with pytest.raises(NotImplementedError, match="for compiled loops"):
        compiled_math.exp(1.0)
    with pytest.raises(NotImplementedError, match="for compiled loops"):
        compiled_math.log(1.0)


@pytest.mark.parametrize("form", ["csr", "factored"])
def test_strips_answer_as_entries_do(form):
    """Each question of a form has the answer that single entries give, to 1e-12."""
    G, Z, t, w0, block = factored()
    options = L0Options()
    plain = Problem.build(G @ Z, t, w0=w0, options=options, block=block, compiled=False)
    arguments = given(form)
    strips = Problem.build(**arguments, options=options)
    assert strips.form.is_compiled
    assert strips.form.layout.strip_at.size > 20
    assert strips.form.layout.rest_pair.size > 20
    back = strips.as_given
    v = rng.uniform(1, "v", np.arange(len(t))) - 0.5
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(
        strips.estimates(strips.start), plain.estimates(plain.start), **close
    )
    np.testing.assert_allclose(back(strips.pull(v)), plain.pull(v), **close)
    np.testing.assert_allclose(back(strips.form.touched(v)), plain.form.touched(v), **close)
    np.testing.assert_allclose(
        strips.form.largest(strips.start), plain.form.largest(plain.start), **close
    )
    kept = rng.uniform(1, "kept", np.arange(len(w0))) < 0.1
    here = kept[strips.form.order]
    for one, two in zip(strips.form.signs(here), plain.form.signs(kept), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(strips.lost_rows(here), plain.lost_rows(kept))
    small, plain_small = strips.restrict(here), plain.restrict(kept)
    np.testing.assert_allclose(
        small.estimates(small.start), plain_small.estimates(plain_small.start), **close
    )
    found = []
    for lo, hi in ((0, 20), (20, 21), (21, 64)):
        part, places = strips.form.part(lo, hi)
        found.append(part.pair_sums(strips.start[places]))
        np.testing.assert_array_equal(part.pull(v), strips.pull(v)[places])
    total = strips.form.from_pairs(np.concatenate(found))
    np.testing.assert_array_equal(total, strips.estimates(strips.start))


@pytest.mark.parametrize(
    "options",
    [
        L0Options(penalty=1e-2, epochs=3),
        L0Options(penalty=1e-3, l2=1e-6, temperature=0.5, stretch=(-0.3, 1.2), epochs=3),
        L0Options.us_data(penalty=1e-1, l2=1e-6, epochs=3),
    ],
    ids=["default", "gated l2", "us_data"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_compiled_epoch_is_a_plain_one(options, dtype):
    """Loss and gradient are those of `gate_objective`: to 1e-12 in float64, 1e-6 in float32."""
    arguments = given("factored")
    options = replace(options, dtype=dtype)
    problem = Problem.build(**arguments, options=options)
    run = start_run(problem, options)
    place = np.arange(problem.n_columns)
    run.gates.parameters[1] = 3 * rng.uniform(2, "alpha", place) - 1.5
    before = np.asarray(run.gates.parameters, float)
    plain = gate_objective(problem, before, run.noise(1), options)
    gates = CompiledGates(run, Rates.of(0.1, 3, "constant"))
    limit = 1e-12 if dtype == "float64" else 1e-6
    assert gates.begin() == pytest.approx(plain.loss, rel=limit)
    gates.end()
    assert run.gates.epoch == 1
    for ours, theirs in zip(10 * np.asarray(run.gates.first, float), plain.gradient, strict=True):
        assert np.linalg.norm(ours - theirs) <= limit * np.linalg.norm(theirs)
    again = gate_objective(problem, np.asarray(run.gates.parameters, float), run.noise(2), options)
    assert gates.begin() == pytest.approx(again.loss, rel=100 * limit)


def complete(records=700, districts=8):
    """Make a grid: counts that depend on the record, amounts on the state, and takeup bits."""
    h, d = np.arange(records), np.arange(districts)
    state = d // 4
    value = 1 + np.floor(9 * rng.uniform(0, "value", np.arange(5)[:, None, None], h[:, None], [0]))
    value *= rng.uniform(0, "has", np.arange(5)[:, None, None], h[:, None], [0]) < 0.6
    table = np.repeat(value, 2, axis=2)
    table[3] *= [1.0, 2.0]
    plane = np.array([-1, -1, -1, -1, 0])
    takes = rng.uniform(0, "takes", d[:, None], h) < 0.7
    clone = np.argsort(rng.uniform(0, "clone", d[:, None], h), axis=0)
    column = (clone * records + h).astype(np.int32)
    nation = sp.csr_array(np.ones((1, districts)))
    G = sp.vstack([sp.kron(sp.identity(5), level) for level in (sp.identity(districts), nation)])
    rest = sp.csr_array((5 * districts, column.size), dtype="f4")
    bits = np.packbits(takes[None], axis=0, bitorder="little")
    return GridMatrix(G.tocsr().astype("f4"), table.astype("f4"), state, column, plane, bits, rest)


@pytest.mark.parametrize("by", ["record", "district"])
def test_a_grid_keeps_equal_strips_once(by):
    """Loss and slopes are those of the CSR of the grid to 1e-12, of a fraction of its numbers."""
    grid = complete()
    place = np.argsort(grid.column, axis=None)
    district, record = np.divmod(place, grid.column.shape[1])
    block = record * 4 // 700 if by == "record" else district * 64 // 8
    t = 1e3 * (1 + np.arange(grid.shape[0]))
    options = L0Options()
    arguments = {"w0": exp(rng.uniform(0, "w0", place)), "options": options, "block": block}
    shared = Problem.build(grid, t, **arguments)
    written_out = Problem.build(grid.to_factored(), t, **arguments, compiled=True)
    plain = Problem.build(grid.to_csr(), t, **arguments, compiled=False)
    weights = np.ones(place.size) + shared.as_given(np.arange(place.size)) % 7
    loss, slope = plain.misfit(weights)
    found, pull = shared.misfit(weights[shared.form.order])
    assert found == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(shared.as_given(pull), slope, rtol=1e-12, atol=1e-12)
    kept, every = shared.form.layout.dense.size, written_out.form.layout.dense.size
    assert kept < 0.6 * every
    for lo, hi in ((0, 2), (2, 64)):
        part, places = shared.form.part(lo, hi)
        np.testing.assert_array_equal(part.pull(t), shared.pull(t)[places])


SETTLED = L0Options(penalty=1e-4, epochs=200, refit_epochs=60, log_every=25)


def _pause(phase, epoch):
    return lambda step: step.phase == phase and step.epoch == epoch


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nothing_but_the_problem_changes_a_bit(dtype, tmp_path):
    """Stopped in the gates or in the refit, logged otherwise, with more threads: equal bits.

    The comparison runs past the point where a tenth of the gates has closed.
    """
    options = replace(SETTLED, dtype=dtype)
    whole = fit_l0(**given("factored"), options=options, threads=1)
    assert 0 < whole.retained < 0.9 * whole.weights.size
    for phase, epoch in (("gates", 100), ("refit", 50)):
        stop = _pause(phase, epoch)
        paused = fit_l0(**given("factored"), options=options, observe=stop, threads=3)
        assert paused.status is Status.PAUSED
        paused.checkpoint.save(tmp_path / "fit.npz")
        resumed = Checkpoint.load(tmp_path / "fit.npz")
        same_bits(whole, fit_l0(**given("factored"), options=options, resume=resumed, threads=2))
    for log_every in (0, 7):
        seen = []
        logged = replace(options, log_every=log_every)
        same_bits(whole, fit_l0(**given("factored"), options=logged, observe=seen.append))


def test_noise_that_is_given_is_the_noise_that_is_hashed():
    """A table of the keyed uniforms makes the keyed fit, though columns stand otherwise."""
    options = L0Options(epochs=40, refit=False)
    arguments = given("factored")
    table = rng.uniform(0, "gate", np.arange(1, 41)[:, None], np.arange(len(arguments["w0"])))
    keyed, passed = (fit_l0(**arguments, options=options, noise=n) for n in (None, table))
    np.testing.assert_allclose(passed.weights, keyed.weights, rtol=1e-9)


def test_a_compiled_fit_is_as_good_as_a_plain_one():
    """Either way the fit ends, meets its targets as well, and keeps nearly as many columns."""
    options = L0Options(penalty=1e-4)
    fits = [fit_l0(**given(), options=options), fit_l0(**given(compiled=False), options=options)]
    fits.append(fit_l0(**given("factored"), options=replace(options, dtype="float32")))
    for fit in fits:
        assert fit.status in (Status.CONVERGED, Status.REFIT_UNFINISHED)
        assert fit.loss < 2 * fits[1].loss + 1e-9
        assert fit.retained == pytest.approx(fits[1].retained, rel=0.1)
        np.testing.assert_allclose(fit.estimates, given()["X"] @ fit.weights, rtol=1e-6, atol=1e-3)


def test_size_and_form_choose_the_loops():
    """A small matrix is not compiled; a large or a factored one is; wrong threads are refused."""
    t, options = [5.0, 5.0], L0Options()

    def compiled(X, **more):
        return Problem.build(X, t, w0=None, options=options, **more).form.is_compiled

    assert not compiled(np.ones((2, 10)))
    assert compiled(sp.csr_array(np.ones((2, 250_000))), threads=1)
    sparse = np.zeros((2, 250_000))
    sparse[:, :10] = 1.0
    assert not compiled(sparse)  # nonzeros count, not places
    assert compiled(
        FactoredMatrix(sp.identity(2, "f4", "csr"), sp.csr_array(np.eye(2, dtype="f4")))
    )
    for wrong in (0, 1.5):
        with pytest.raises(FitError, match="threads is "):
            compiled(np.ones((2, 10)), threads=wrong)
    broken = sp.csr_array(np.array([[1.0, np.nan], [1.0, 1.0]]))
    with pytest.raises(FitError, match="X is nan at row 0, column 1"):
        compiled(broken, compiled=True)


def test_a_checkpoint_knows_its_loops():
    """Compiled and plain loops do not go on from each other; the message says what to do."""
    for made, other in ((True, "plain"), (False, "compiled")):
        options = L0Options(epochs=20, refit=False)
        arguments = given(compiled=made, options=options)
        part = fit_l0(**arguments, observe=_pause("gates", 10)).checkpoint
        words = f"not in {other} ones; resume with compiled={made}"
        with pytest.raises(FitError, match=words):
            fit_l0(**arguments | {"compiled": not made}, resume=part)


def test_observers_and_budgets_see_the_order_of_x():
    """What an observer is shown of the last epoch is what the fit returns, column by column."""
    seen = []
    options = L0Options(epochs=30, refit=False, log_every=30)
    fit = fit_l0(**given("factored"), options=options, observe=lambda s: seen.append(s.median()))
    np.testing.assert_array_equal(seen[-1][0], fit.weights)
    arguments = given("factored")
    del arguments["compiled"]
    found = fit_to_budget(arguments.pop("X"), arguments.pop("t"), records=600, **arguments)
    assert found.fit.retained == pytest.approx(600, rel=0.05)


def test_a_compiled_fit_that_diverges_keeps_its_last_good_state():
    """A rate that explodes ends as DIVERGED with finite weights, and the epoch is named."""
    options = L0Options(learning_rate=400.0, epochs=50)
    result = fit_l0(**given("factored"), options=options)
    assert result.status is Status.DIVERGED
    assert np.isfinite(result.weights).all()
    assert f"infinite after epoch {result.epochs}; worst rows: " in result.message


def test_a_table_may_have_a_column_of_any_name():
    """Even of one that other forms of X have as an attribute."""
    X = pd.DataFrame({"column": [1.0, 0.0], "G": [0.0, 2.0], "other": [1.0, 1.0]})
    fits = [fit_l0(X, [3.0, 4.0], options=L0Options(epochs=5), compiled=c) for c in (True, False)]
    assert all(fit.weights.shape == (3,) for fit in fits)
