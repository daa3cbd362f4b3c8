"""Bounds on weights hold, whatever the weights and the bounds are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calibration import toy
from calibration.errors import FitError
from calibration.l0 import fit_l0
from calibration.l0.controls import Controls, column_norms
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem
from calibration.rng import uniform
from calibration.select import fit_to_budget

MANY = settings(deadline=None, max_examples=60)

seeds = st.integers(0, 2**31)


def kish(w):
    """Effective sample size, written again."""
    return w.sum() ** 2 / np.sum(w**2)


def toy_problem():
    """Give the toy matrix and all arguments of its fit."""
    m = toy.after("matrix").matrix
    names = {"w0": m.w0, "group": m.groups, "block": m.block(), "column_key": m.column_key()}
    return m, names


@MANY
@given(seeds, st.integers(2, 60), st.floats(0.1, 20), st.floats(0.05, 0.95), st.floats(0.1, 0.9))
def test_weights_within_bounds_are_found(seed, count, cap, share, part):
    """The cap holds to the bit, sum and effective size to 1e-9; what holds already stays."""
    ids = np.arange(count)
    w0 = np.exp(3 * uniform(seed, "w0", ids))
    w = np.exp(6 * uniform(seed, "w", ids))
    floor, mass = max(1.0, share * count), part * cap * w0.sum()
    for bounds in ((None, None), (floor, None), (None, mass)):
        controls = Controls(cap * w0, *bounds)
        held = controls.hold(w)
        assert (held > 0).all()
        assert (held <= cap * w0).all()
        if bounds[0] is not None:
            assert kish(held) >= floor * (1 - 1e-9)
        if bounds[1] is not None:
            np.testing.assert_allclose(held.sum(), mass, rtol=1e-9)
        np.testing.assert_allclose(controls.hold(held), held, rtol=1e-9)


@MANY
@given(seeds, st.integers(2, 60), st.floats(0.01, 0.999), st.floats(0, 1))
def test_whatever_can_be_held_is_held(seed, count, part, share):
    """Cap, sum and effective size hold at once, up to the most that any weights can have."""
    ids = np.arange(count)
    cap = np.exp(4 * uniform(seed, "cap", ids))
    w = np.exp(8 * uniform(seed, "w", ids))
    mass = part * cap.sum()
    level = np.linspace(0, cap.max(), 20_001)  # the most even weights, by brute force
    sums = np.minimum(level[:, None], cap).sum(axis=1)
    even = np.minimum(level[np.searchsorted(sums, mass) - 1], cap)
    floor = 1 + share * (min(kish(even), count) * (1 - 1e-3) - 1)
    for asked in (mass, None):
        held = Controls(cap, floor, asked).hold(w)
        assert (held > 0).all()
        assert (held <= cap).all()
        assert kish(held) >= floor * (1 - 1e-9)
        if asked is not None:
            np.testing.assert_allclose(held.sum(), mass, rtol=1e-9)


@MANY
@given(seeds, st.integers(3, 40), st.floats(0.1, 0.9))
def test_the_effective_size_is_reached_by_the_nearest_weights(seed, count, share):
    """No weights of that sum and effective size lie nearer than those that are found."""
    ids = np.arange(count)
    w = np.exp(5 * uniform(seed, "w", ids))
    floor = max(1.0, share * count)
    assume(kish(w) < floor)
    held = Controls(np.full(count, np.inf), floor, None).hold(w)
    np.testing.assert_allclose(held.sum(), w.sum(), rtol=1e-9)
    for trial in range(20):
        other = np.exp(5 * uniform(seed, "other", trial, ids))
        other *= w.sum() / other.sum()
        if kish(other) >= floor:
            assert np.linalg.norm(other - w) >= np.linalg.norm(held - w) * (1 - 1e-9)


@MANY
@given(seeds, st.integers(3, 40))
def test_an_inward_slope_leaves_the_sum_alone(seed, count):
    """Against the slope that is left, weights change with the sum, to first order, fixed."""
    ids = np.arange(count)
    w, slope = np.exp(uniform(seed, "w", ids)), uniform(seed, "slope", ids) - 0.5
    ceiling = np.where(ids % 3 == 0, w, 2 * w)  # a third is at its cap
    left = Controls(ceiling, None, float(w.sum())).inward(w, slope)
    assert abs(w @ left) <= 1e-12 * np.abs(w * slope).sum()
    assert (left[ids % 3 == 0][slope[ids % 3 == 0] < 0] == 0).all()


@pytest.mark.parametrize(
    "controls",
    [
        {"cap": 3.0},
        {"cap": 3.0, "refit": False, "dtype": "float32"},
        {"ess_floor": 120.0},
        {"mass": 3.2e6},
        {"cap": 4.0, "ess_floor": 150.0},
        {"cap": 6.0, "mass": 3.2e6, "ess_floor": 140.0},
    ],
)
def test_a_fit_keeps_its_controls(controls):
    """Cap to the bit, sum and effective size to 1e-9, in the result; without them it does not."""
    m, names = toy_problem()
    base = {"penalty": 1e-5, "epochs": 80, "refit_epochs": 60}
    bounds = [name for name in ("cap", "ess_floor", "mass") if name in controls]

    def breaks(fit):
        w = fit.weights[fit.support]
        broken = {
            "cap": (fit.weights > controls.get("cap", np.inf) * m.w0).any(),
            "ess_floor": kish(w) < controls.get("ess_floor", 0) * (1 - 1e-9),
            "mass": abs(w.sum() / controls.get("mass", w.sum()) - 1) > 1e-9,
        }
        return [name for name in bounds if broken[name]]

    assert not breaks(fit_l0(m.X, m.values, options=L0Options(**base | controls), **names))
    free = {name: value for name, value in controls.items() if name not in bounds}
    assert breaks(fit_l0(m.X, m.values, options=L0Options(**base | free), **names)) == bounds


def test_a_price_by_norm_is_read_from_a_large_matrix_too(monkeypatch):
    """Norms are read from entries, so such a fit is never laid out for compiled loops."""
    monkeypatch.setattr("calibration.l0.arguments.COMPILED_FROM", 0)
    m, names = toy_problem()
    options = L0Options(price="norm", epochs=5, refit=False)
    assert fit_l0(m.X, m.values, options=options, **names).retained > 0


@pytest.mark.parametrize("where", ["gates", "refit"])
def test_a_controlled_fit_resumes_to_the_same_bits(where):
    """Stopped in either phase it ends where the whole fit ends; other controls are refused."""
    m, names = toy_problem()
    base = {"penalty": 1e-5, "epochs": 40, "refit_epochs": 40, "price": "norm"}
    options = L0Options(cap=4.0, ess_floor=70.0, **base)
    whole = fit_l0(m.X, m.values, options=options, **names)

    def stop(step):
        return (step.phase, step.epoch) == (where, 20)

    part = fit_l0(m.X, m.values, options=options, observe=stop, **names)
    again = fit_l0(m.X, m.values, options=options, resume=part.checkpoint, **names)
    np.testing.assert_array_equal(again.weights, whole.weights)
    other = L0Options(ess_floor=70.0, **base)
    with pytest.raises(FitError, match=r"made with cap = 4\.0, not None"):
        fit_l0(m.X, m.values, options=other, resume=part.checkpoint, **names)


def test_impossible_controls_are_refused():
    """A sum above all caps, more effective records than records, a device: errors that say so."""
    m, names = toy_problem()
    for controls, message in (
        ({"cap": 0.001, "mass": 3e6}, "mass is 3e.06, but"),
        ({"ess_floor": 300.5}, "ess_floor is 300.5, but there are only 300"),
        ({"ess_floor": 290.0, "mass": 4.5e6, "cap": 1.1}, "have an effective size of"),
    ):
        options = L0Options(penalty=1e-5, epochs=40, refit_epochs=5, **controls)
        seen = []
        with pytest.raises(FitError, match=message):
            fit_l0(m.X, m.values, options=options, observe=seen.append, **names)
        assert not seen  # before the first epoch
    with pytest.raises(FitError, match="controls of weights run without a device"):
        fit_l0(m.X, m.values, options=L0Options(cap=2.0), device="cpu", **names)
    with pytest.raises(FitError, match=r"L0Options\.mass is 5\.0; give None, or turn refit on"):
        L0Options(mass=5.0, refit=False)
    with pytest.raises(FitError, match=r"L0Options\.cap is 0"):
        L0Options(cap=0)


def test_column_norms_are_norms():
    """They are the norms of the columns of sqrt(c) X / d."""
    m, names = toy_problem()
    problem = Problem.build(m.X, m.values, options=L0Options(), **names)
    scaled = np.sqrt(problem.row_weight)[:, None] * m.X.toarray() / problem.scale[:, None]
    np.testing.assert_allclose(column_norms(problem), np.linalg.norm(scaled, axis=0), rtol=1e-8)


def test_the_norm_price_keeps_small_records():
    """At equal numbers kept, records of one person are kept more often than at one price."""
    m, names = toy_problem()
    people = np.asarray(m.X[[i for i, n in enumerate(m.names) if "person_count" in n]].sum(axis=0))
    small = people.ravel() <= np.median(people)
    for seed in range(3):
        kept = {}
        for price in ("uniform", "norm"):
            options = L0Options(seed=seed, price=price, epochs=200, refit=False)
            found = fit_to_budget(m.X, m.values, records=120, options=options, **names)
            assert abs(found.fit.retained - 120) <= 6
            kept[price] = (found.fit.weights[small] > 0).sum()
        assert kept["norm"] > kept["uniform"], seed
    plain = L0Options(epochs=200)
    assert replace(plain, price="norm").facts() == plain.facts() | {"price": "norm"}
