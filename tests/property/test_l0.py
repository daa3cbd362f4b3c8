"""What must hold for every calibration problem, not one example."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.l0 import fit_l0
from calibration.l0.gates import (
    gate_noise,
    gate_threshold,
    log_alpha_from,
    median_gates,
    open_probability,
    sample_gates,
)
from calibration.l0.objective import gate_objective, weight_objective
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, log
from calibration.l0.problem import Problem
from calibration.l0.run import Status
from calibration.rng import uniform

SHORT = L0Options(penalty=1e-3, epochs=25, refit_epochs=15, learning_rate=0.3)

MANY = settings(deadline=None)  # a loaded machine is not a failure
FEW = settings(deadline=None, max_examples=25)  # these run whole fits

seeds = st.integers(0, 2**31)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 80))
gate_options = st.builds(
    L0Options,
    temperature=st.floats(0.1, 2.0),
    stretch=st.tuples(st.floats(-1.0, -0.01), st.floats(1.01, 2.0)),
)


@st.composite
def problems(draw):
    """X with signs, gaps and scales from 1e-3 to 1e6, and targets that may be 0 or negative."""
    rows, columns = draw(shapes)
    seed = draw(seeds)
    cell = np.arange(rows * columns).reshape(rows, columns)
    scale = 10.0 ** np.floor(9 * uniform(seed, "scale", np.arange(rows))[:, None] - 3)
    sign = np.where(uniform(seed, "sign", cell) < 0.2, -1.0, 1.0)
    X = scale * sign * np.floor(10 * uniform(seed, "x", cell)) / 8
    X *= uniform(seed, "gap", cell) < 0.7
    X[0, 0] = 1.0  # one row is reachable
    t = X @ exp(uniform(seed, "w", np.arange(columns)))
    t *= uniform(seed, "zero", np.arange(rows)) < 0.8
    t[0] = abs(t[0])
    w0 = exp(2 * uniform(seed, "w0", np.arange(columns)) - 1)
    group = np.floor(3 * uniform(seed, "group", np.arange(rows))).astype(int)
    return X, t, w0, group, seed


def evaluate(problem, seed, options=SHORT):
    """Evaluate the gate objective at parameters and noise keyed on the columns."""
    theta = log(problem.start) + uniform(seed, "theta", problem.column_key) - 0.5
    log_alpha = 4 * uniform(seed, "alpha", problem.column_key) - 2
    noise = gate_noise(uniform(seed, "noise", problem.column_key))
    return gate_objective(problem, np.stack([theta, log_alpha]), noise, options)


@MANY
@given(st.floats(1e-9, 1 - 1e-9), gate_options)
def test_log_alpha_is_the_inverse_of_the_open_probability(probability, options):
    """A gate made for a probability has that probability, whatever its shape."""
    back = open_probability(log_alpha_from(probability, options), options)
    np.testing.assert_allclose(back, probability, rtol=1e-12, atol=1e-15)


@MANY
@given(st.floats(-30, 30), gate_options)
def test_the_median_gate_is_open_where_most_gates_are(log_alpha, options):
    """The median gate is positive exactly where P(z > 0) > 1/2, up to rounding at the edge."""
    probability, gate = open_probability(log_alpha, options), median_gates(log_alpha, options)
    if abs(log_alpha - gate_threshold(options)) > 1e-9:
        assert (gate > 0) == (probability > 0.5)
    assert 0 <= gate <= 1


@MANY
@given(st.floats(-20, 20), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1), gate_options)
def test_gates_rise_with_logit_and_uniform(log_alpha, more, u, v, options):
    """A larger logit or a larger uniform never lowers a gate."""
    low, high = min(u, v), max(u, v)
    assert sample_gates(log_alpha, low, options) <= sample_gates(log_alpha, high, options)
    raised = sample_gates(log_alpha + more, low, options)
    assert sample_gates(log_alpha, low, options) <= raised


@MANY
@given(problems(), seeds)
def test_the_order_of_columns_does_not_matter(problem, order):
    """Permuted columns with their keys give the same loss and the permuted gradient, to 1e-11."""
    X, t, w0, group, seed = problem
    key = np.arange(len(w0)) * 3 + 1
    shuffled = np.argsort(uniform(order, "order", np.arange(len(w0))))
    given_first = {"options": SHORT, "group": group}
    one = evaluate(Problem.build(X, t, w0=w0, column_key=key, **given_first), seed)
    two = evaluate(
        Problem.build(X[:, shuffled], t, w0=w0[shuffled], column_key=key[shuffled], **given_first),
        seed,
    )
    scale = np.abs(one.gradient).max()
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-11)
    np.testing.assert_allclose(
        two.gradient, one.gradient[:, shuffled], rtol=1e-10, atol=1e-11 * scale
    )


@MANY
@given(problems(), seeds)
def test_blocks_change_rounding_only(problem, other):
    """Any assignment of columns to blocks gives the same loss and gradient, to 1e-11."""
    X, t, w0, group, seed = problem
    block = np.floor(64 * uniform(other, "block", np.arange(len(w0)))).astype(int)
    one = evaluate(Problem.build(X, t, w0=w0, options=SHORT, group=group), seed)
    two = evaluate(Problem.build(X, t, w0=w0, options=SHORT, group=group, block=block), seed)
    scale = np.abs(one.gradient).max()
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-11)
    np.testing.assert_allclose(two.gradient, one.gradient, rtol=1e-10, atol=1e-11 * scale)


@MANY
@given(problems())
def test_row_weights_sum_to_one_and_groups_share_equally(problem):
    """The weights of reachable rows sum to 1, in equal parts for each group that has any."""
    X, t, w0, group, _ = problem
    built = Problem.build(X, t, w0=w0, options=SHORT, group=group)
    np.testing.assert_allclose(built.row_weight.sum(), 1.0, rtol=1e-12)
    shares = np.bincount(group, built.row_weight)
    shares = shares[shares > 0]
    np.testing.assert_allclose(shares, 1 / len(shares), rtol=1e-12)
    assert (built.scale > 0).all()
    assert {item.row for item in built.unreachable} == set(np.flatnonzero(built.row_weight == 0))


@MANY
@given(problems(), st.integers(0, 5), st.floats(1e-8, 1e-5))
def test_gradients_are_slopes(problem, place, l2):
    """A small step along a gradient of the refit objective changes the loss by its square."""
    X, t, w0, group, seed = problem
    options = L0Options(l2=l2)
    built = Problem.build(X, t, w0=w0, options=options, group=group)
    theta = log(built.start)
    column = (place * 7 + seed) % len(theta)
    sides = []
    for step in (-1e-5, 1e-5):
        moved = theta.copy()
        moved[column] += step
        sides.append(weight_objective(built, moved, options).loss)
    now = weight_objective(built, theta, options)
    slope = (sides[1] - sides[0]) / 2e-5
    assert abs(slope - now.gradient[column]) <= 1e-5 * abs(slope) + 1e-8 * now.loss


@FEW
@given(problems(), st.lists(st.integers(-20, 20), min_size=6, max_size=6))
def test_units_do_not_matter(problem, powers):
    """Measuring rows in other units (powers of two) changes no bit of the weights."""
    X, t, w0, group, _ = problem
    unit = 2.0 ** np.array(powers[: len(t)])
    given_both = {"w0": w0, "group": group, "options": SHORT}
    one = fit_l0(X, t, **given_both)
    two = fit_l0(unit[:, None] * X, unit * t, **given_both)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert one.status is two.status


@FEW
@given(problems(), st.booleans(), st.sampled_from([0.03, 0.1, 0.3]))
def test_a_converged_fit_has_lost_no_row(problem, with_start, penalty):
    """Lost rows are those a plain loop finds, and a fit that has any is not CONVERGED."""
    X, t, w0, group, _ = problem
    options = replace(SHORT, penalty=penalty, epochs=40, refit_epochs=300)
    fit = fit_l0(X, t, w0=w0 if with_start else None, group=group, options=options)
    unreachable = {item.row for item in fit.unreachable}
    lost = [
        i
        for i in range(len(t))
        if i not in unreachable and t[i] != 0 and not (X[i, fit.support] * np.sign(t[i]) > 0).any()
    ]
    assert fit.lost_rows.tolist() == lost
    assert not (lost and fit.status is Status.CONVERGED)
    assert lost or fit.status is not Status.LOST_TARGETS
    if lost and fit.status is not Status.EMPTY:
        assert f"rows lost: {lost[0]}" in fit.message


@FEW
@given(problems(), st.integers(1, 24), st.sampled_from([1, 3, 8]))
def test_a_fit_stopped_anywhere_resumes_to_the_same_bits(problem, stop, log_every):
    """Wherever an observer stops it, the resumed fit makes the bits of the whole one."""
    X, t, w0, group, _ = problem
    options = L0Options.from_facts(SHORT.facts() | {"log_every": log_every})
    given_both = {"w0": w0, "group": group, "options": options}
    whole = fit_l0(X, t, **given_both)
    calls = []

    def pause(step):
        calls.append(step.epoch)
        return len(calls) == stop

    part = fit_l0(X, t, observe=pause, **given_both)
    if part.checkpoint is not None:
        part = fit_l0(X, t, resume=part.checkpoint, **given_both)
    np.testing.assert_array_equal(part.weights, whole.weights)
    np.testing.assert_array_equal(part.refit_losses, whole.refit_losses)
    np.testing.assert_array_equal(part.history["epoch"], whole.history["epoch"])
    assert part.status is whole.status


@FEW
@given(problems(), st.sampled_from([sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix]))
def test_the_form_of_the_matrix_does_not_matter(problem, form):
    """Sparse and dense matrices give equal bits, and results are finite and not negative."""
    X, t, w0, group, _ = problem
    dense = fit_l0(X, t, w0=w0, group=group, options=SHORT)
    sparse = fit_l0(form(X), t, w0=w0, group=group, options=SHORT)
    np.testing.assert_array_equal(dense.weights, sparse.weights)
    assert np.isfinite(dense.weights).all()
    assert (dense.weights >= 0).all()
    assert dense.loss <= dense.refit_losses[0] * (1 + 1e-12) if dense.refit_losses.size else True
