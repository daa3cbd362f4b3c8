"""Gates, objective and optimiser of the L0 fit."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from calibration import rng
from calibration.errors import FileError, FitError
from calibration.l0 import fit_l0
from calibration.l0.arguments import EMPTY, WRONG_SIGN
from calibration.l0.forms import BLOCKS, share_out
from calibration.l0.gates import (
    gate_noise,
    gate_threshold,
    log_alpha_from,
    median_gates,
    open_probability,
    sample_gates,
)
from calibration.l0.noise import jitter, keyed_noise
from calibration.l0.objective import HISTORY, gate_objective, history_row, weight_objective
from calibration.l0.options import L0Options
from calibration.l0.portable import exp, half_cosine, log, logit, sigmoid
from calibration.l0.problem import Problem
from calibration.l0.run import Status, start_run
from calibration.l0.state import Adam, Checkpoint, Rates
from calibration.select import fit_to_budget

# Three levels: a nation of 5 states with 12 districts, in which a state is the sum of its
# districts. Five variables from 0/1 flags to dollars of 1e5, so that targets differ in scale
# by six orders of magnitude.
STATE = np.array([0, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4])


def nested(seed, columns=300, noise=0.02):
    """Make X (78, C), targets, start weights and groups, from keyed draws alone."""
    ids = np.arange(columns)

    def u(name):
        return rng.uniform(seed, name, ids)

    def bell(name):
        return sum(rng.uniform(seed, name, k, ids) for k in range(12)) - 6.0

    district = np.floor(12 * u("district")).astype(int)
    values = (
        np.ones(columns),
        np.floor(6 * u("persons")),
        (u("flag") < 0.2).astype(float),
        exp(10.5 + bell("income")) * (u("earns") < 0.7),
        exp(8.0 + 1.5 * bell("benefit")) * (u("gets") < 0.15),
    )
    rows, groups = [], []
    for number, value in enumerate(values):
        members = [("nation", np.ones(columns, bool))]
        members += [("state", STATE[district] == s) for s in range(5)]
        members += [("district", district == d) for d in range(12)] if number < 4 else []
        rows += [value * inside for _, inside in members]
        groups += [f"{level} {number}" for level, _ in members]
    X = np.array(rows)
    truth = exp(7.0 + 0.7 * bell("weight"))
    wobble = np.array([rng.uniform(seed, "wobble", i) for i in range(len(X))]).ravel() - 0.5
    return X, X @ truth * (1 + noise * wobble), exp(7.0 + 0.5 * bell("start")), np.array(groups)


def fit(seed=0, **changes):
    """Fit the nested problem."""
    X, t, w0, group = nested(seed)
    return fit_l0(X, t, w0=w0, group=group, options=L0Options(**({"penalty": 3e-4} | changes)))


def same_bits(one, two):
    """Require equal results, down to the last bit of every array."""
    assert one.status is two.status
    for name in ("weights", "open_probability", "log_weights", "refit_losses", "estimates"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


# --- elementary functions


def test_exp_and_log_are_within_a_few_units_of_the_last_place():
    """The exponential errs by less than 2 units, the logarithm by less than 3."""
    x = 1400 * rng.uniform(1, "x", np.arange(1500)) - 700
    x = np.concatenate([x, x / 1000, [0.0, -708.0, 709.0, 1e-17]])
    with localcontext() as context:
        context.prec = 40
        for powers, results, limit in ((x, exp(x), 2), (exp(x / 20), log(exp(x / 20)), 3)):
            for power, result in zip(powers.tolist(), results.tolist(), strict=True):
                exact = Decimal(power).exp() if limit == 2 else Decimal(power).ln()
                assert abs(Decimal(result) - exact) <= limit * Decimal(math.ulp(result))


def test_exp_is_what_single_operations_of_python_give():
    """Bit for bit, exp is a chain of single IEEE operations, here made one number at a time."""
    head, tail = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
    series = (2.0, 1 / 6, -1 / 360, 1 / 15120, -1 / 604800, 1 / 23950080, -691 / 653837184000)
    x = 200 * rng.uniform(2, "x", np.arange(500)) - 100
    for power, result in zip(x.tolist(), exp(x).tolist(), strict=True):
        k = float(round(power * 1.4426950408889634))
        r = power - k * head
        r = r - k * tail
        bottom, square = series[-1], r * r
        for coefficient in series[-2::-1]:
            bottom = bottom * square
            bottom = bottom + coefficient
        assert result == math.ldexp(r / (bottom - r) * 2.0 + 1.0, int(k))


def test_exp_keeps_to_positive_normal_numbers():
    """Powers outside [-708, 709] saturate and NaN stays NaN."""
    assert exp([-1e9, 1e9]).tolist() == exp([-708.0, 709.0]).tolist()
    assert np.isnan(exp(np.nan))
    assert exp(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    many = np.linspace(-5, 5, 20_001)
    np.testing.assert_array_equal(exp(many)[::7], exp(many[::7]))


def test_half_cosine_falls_from_one_to_zero():
    """It is (1 + cos(pi x)) / 2 to 4e-16, exactly 1 at the start."""
    x = np.linspace(0, 1, 501)
    np.testing.assert_allclose(half_cosine(x), (1 + np.cos(np.pi * x)) / 2, rtol=0, atol=4e-16)
    assert half_cosine(0.0) == 1.0


def test_logit_and_sigmoid_are_inverse():
    """sigmoid(logit(p)) is p to 1e-14."""
    p = np.linspace(1e-6, 1 - 1e-6, 999)
    np.testing.assert_allclose(sigmoid(logit(p)), p, rtol=1e-14)


# --- gates


@pytest.mark.parametrize(("temperature", "kept"), [(0.35, 0.174), (0.25, 0.142), (0.65, 0.302)])
def test_a_gate_without_temperature_keeps_improbable_columns(temperature, kept):
    """Zeroing below logit -log(11), as without beta, keeps P(z > 0) as low as published.

    Values: PolicyEngine L0 490f00b, constants gamma = -0.1, zeta = 1.1 (shared fact sheet).
    """
    options = L0Options(temperature=temperature)
    assert open_probability(-math.log(11), options) == pytest.approx(kept, abs=5e-4)
    assert median_gates(-math.log(11), options) == 0


def test_gate_frequencies_match_the_formulas():
    """Of 2e5 gates as many are positive as P(z > 0) says, and as many are 1 as P(z = 1) says."""
    u = rng.uniform(3, "u", np.arange(200_000))
    for log_alpha in (-2.0, -0.3, 0.5, 2.0):
        z = sample_gates(log_alpha, u)
        wanted = (open_probability(log_alpha), 1 - open_probability(-log_alpha))
        for share, exact in zip((np.mean(z > 0), np.mean(z == 1)), wanted, strict=True):
            assert abs(share - exact) < math.sqrt(math.log(2e9) / 4e5)  # Hoeffding at 1e-9


def test_established_start_leaves_few_gates_with_a_gradient():
    """At logit(0.999), P(z = 1) = 0.9977 and P(0 < z < 1) = 0.0019, so few gates learn."""
    start = float(logit(0.999))
    partly = open_probability(start) - (1 - open_probability(-start))
    assert 1 - open_probability(-start) == pytest.approx(0.9977, abs=5e-5)
    assert partly == pytest.approx(0.0019, abs=5e-5)


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.65}, {"stretch": (-0.2, 1.5)}])
def test_established_start_is_the_same_logit_at_any_temperature_and_stretch(changes):
    """`us_data` starts log alpha at logit(0.999), unless it is told where to start."""
    options = L0Options.us_data(**changes)
    start = log_alpha_from(options.keep_probability, options)
    assert start == pytest.approx(math.log(999), abs=1e-11)
    assert L0Options.us_data(**changes, keep_probability=0.9).keep_probability == 0.9


def test_the_median_gate_closes_at_one_half():
    """The median gate is 0 exactly where log_alpha is at most the threshold: P(z > 0) = 1/2."""
    edge = gate_threshold()
    assert open_probability(edge) == 0.5
    assert median_gates([edge, np.nextafter(edge, -1)]).tolist() == [0, 0]
    assert median_gates(edge + 1e-9) > 0
    np.testing.assert_array_equal(
        median_gates([-0.5, 0.0, 0.3, 5.0]), sample_gates([-0.5, 0.0, 0.3, 5.0], 0.5)
    )


def test_noise_is_bounded():
    """Uniforms are clamped to [1e-6, 1 - 1e-6], so noise lies within 13.82."""
    assert np.abs(gate_noise([0.0, 1.0, 1e-300])).max() < 13.816


# --- options


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("penalty", -1e-9),
        ("penalty", math.nan),
        ("penalty", True),
        ("l2", math.inf),
        ("l2_on", "gate"),
        ("temperature", 0.0),
        ("temperature", "0.35"),
        ("stretch", (-0.1, 1.0)),
        ("stretch", (0.0, 1.1)),
        ("stretch", (-0.1, 1.1, 2.0)),
        ("stretch", [-0.1, 1.1]),
        ("keep_probability", 1.0),
        ("keep_probability", 0),
        ("weight_jitter", -0.1),
        ("learning_rate", 0.0),
        ("schedule", "linear"),
        ("epochs", -1),
        ("epochs", 10.0),
        ("adam_epsilon", -1e-8),
        ("seed", 1.5),
        ("scale", "relative"),
        ("row_weights", "group"),
        ("refit", 1),
        ("refit_epochs", True),
        ("refit_tolerance", math.nan),
        ("log_every", None),
        ("dtype", "float16"),
    ],
)
def test_an_invalid_option_is_refused_by_name(field, value):
    """The error names field and value; nothing falls through to a default."""
    with pytest.raises(FitError, match=rf"L0Options\.{field} is ") as error:
        L0Options(**{field: value})
    assert repr(value) in str(error.value)


def test_options_go_through_json_and_back():
    """Methods facts and from_facts are inverse, and an unknown name is refused with a hint."""
    options = L0Options(penalty=1e-3, stretch=(-0.2, 1.3))
    assert L0Options.from_facts(options.facts() | {"stretch": [-0.2, 1.3]}) == options
    with pytest.raises(FitError, match=r"'temprature' .* did you mean 'temperature'"):
        L0Options.from_facts({"temprature": 0.3})
    with pytest.raises(FitError, match="not an option"):
        L0Options.us_data(loss_type="relative")


# --- arguments


def _break(name, value):
    X, t, w0, group = nested(0, columns=40)
    given = {"w0": w0, "group": group, "X": X, "t": t, "column_key": np.arange(40)}
    given["block"] = np.zeros(40, int)
    given[name] = value(given[name])
    return given


def _with(place, value):
    def change(array):
        changed = array.copy()
        changed[place] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X", _with((3, 7), np.nan), "X is nan at row 3, column 7"),
        ("X", _with((0, 0), np.inf), "X is inf at row 0, column 0"),
        ("X", lambda X: X[0], "give a real matrix"),
        ("X", lambda X: X[:, :0], "give a real matrix"),
        ("X", lambda X: X.astype(complex), "give a real matrix"),
        ("t", _with(5, -np.inf), r"t\[5\] is -inf"),
        ("t", lambda t: t[:-1], r"t has shape \(77,\), not \(78,\)"),
        ("t", lambda t: ["many"] * len(t), "not an array of numbers"),
        ("w0", _with(2, 0.0), r"w0\[2\] is 0.0; .* can never leave it"),
        ("w0", _with(2, -1.0), r"w0\[2\] is -1.0"),
        ("w0", _with(2, np.nan), r"w0\[2\] is nan"),
        ("w0", lambda w0: w0[:-1], "w0 has shape"),
        ("column_key", _with(3, 4), "column_key 4 stands more than once"),
        ("column_key", lambda key: key + 0.5, "whole numbers"),
        ("column_key", lambda key: key[:-1], "column_key has shape"),
        ("block", _with(0, 64), "block runs from 0 to 64"),
        ("block", _with(0, -1), "block runs from -1"),
        ("group", lambda group: group[:-1], "group has shape"),
        ("group", lambda group: np.full(len(group), 0.5), "whole numbers or strings"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_epoch(name, value, message):
    """Each bad argument raises a FitError that says what and where; no epoch is run."""
    given = _break(name, value)
    seen = []
    with pytest.raises(FitError, match=message):
        fit_l0(given.pop("X"), given.pop("t"), observe=seen.append, **given)
    assert not seen


def test_unusable_problems_and_options_are_refused():
    """No reachable row, options of another type, and a zero scale are errors."""
    with pytest.raises(FitError, match="none of the 2 rows can be reached"):
        fit_l0(np.array([[0.0, 0.0], [1.0, 2.0]]), [5.0, -3.0])
    with pytest.raises(FitError, match="options is dict"):
        fit_l0(np.eye(2), [1.0, 1.0], options={"penalty": 1.0})
    with pytest.raises(FitError, match=r"target 1 is -1, where the scale t \+ 1 is 0"):
        fit_l0(-np.eye(2), [-3.0, -1.0], options=L0Options.us_data())


def test_an_unreachable_row_needs_no_scale():
    """A target of -1 in a row that is left out changes nothing, whatever the scale."""
    X = np.array([[1.0, 1.0], [0.0, 0.0]])
    minus_one, minus_two = (fit_l0(X, [5.0, t], options=L0Options.us_data()) for t in (-1, -2))
    same_bits(minus_one, minus_two)
    assert [tuple(row) for row in minus_one.unreachable] == [(1, EMPTY)]


def test_unreachable_rows_are_left_out_and_listed():
    """An empty row and a row of the wrong sign get reasons and change nothing else."""
    X, t, w0, group = nested(0)
    extra = np.zeros((3, 300))
    extra[1, ::2], extra[2, 1] = 3.0, -1.0
    options = L0Options(epochs=40, refit_epochs=20)
    plain = fit_l0(X, t, w0=w0, group=group, options=options)
    more = fit_l0(
        np.vstack([X, extra]),
        np.append(t, [5.0, -8.0, 1.0]),
        w0=w0,
        group=np.append(group, ["nation 0", "odd", "odd"]),
        options=options,
    )
    assert [tuple(row) for row in more.unreachable] == [
        (78, EMPTY),
        (79, WRONG_SIGN),
        (80, WRONG_SIGN),
    ]
    assert not plain.unreachable
    assert not more.lost_rows.size
    np.testing.assert_array_equal(plain.weights, more.weights)
    assert plain.loss == pytest.approx(more.loss, rel=1e-13)


# --- objective


def _problem(options, seed=0, columns=60):
    """Give a nested problem with a zero and a negative target, and its X, as rounded."""
    X, t, w0, group = nested(seed, columns=columns)
    t[4], X[6] = 0.0, -X[6]
    t[6] = -t[6]
    problem = Problem.build(X, t, w0=w0, options=options, group=group)
    X[problem.form.rows, problem.form.columns] = problem.form.values
    return X, problem


def _state(problem, seed=0):
    """Parameters with gates of all kinds, and noise."""
    ids = np.arange(problem.n_columns)
    theta = log(problem.start) + rng.uniform(seed, "theta", ids) - 0.5
    log_alpha = 3 * rng.uniform(seed, "alpha", ids) - 1.5
    return np.stack([theta, log_alpha]), gate_noise(rng.uniform(seed, "noise", ids))


def _total(problem, X, parameters, noise, options):
    """Write the objective again: dense, one formula after the other, on torch tensors."""
    import torch

    theta, log_alpha = parameters
    gamma, zeta = options.stretch
    s = torch.sigmoid((torch.tensor(noise) + log_alpha) / options.temperature)
    z = torch.clamp(s * (zeta - gamma) + gamma, 0, 1)
    p = torch.sigmoid(log_alpha - options.temperature * math.log(-gamma / zeta))
    weights = torch.exp(theta) * z
    error = (torch.tensor(X) @ weights - torch.tensor(problem.targets)) / torch.tensor(
        problem.scale
    )
    squared = weights if options.l2_on == "gated" else torch.exp(theta)
    misfit = (torch.tensor(problem.row_weight) * error**2).sum()
    return misfit, misfit + options.penalty * p.sum() + options.l2 * (squared**2).sum()


@pytest.mark.parametrize(
    "options",
    [
        L0Options(penalty=1e-2),
        L0Options(penalty=1e-3, l2=1e-10, temperature=0.5, stretch=(-0.3, 1.2)),
        L0Options.us_data(penalty=1e-1, l2=1e-8),
    ],
    ids=["default", "gated l2", "us_data"],
)
def test_gradients_equal_automatic_differentiation(options):
    """Loss and both gradients agree with float64 autograd to 1e-11 of their norm."""
    import torch

    X, problem = _problem(options)
    parameters, noise = _state(problem)
    leaves = torch.tensor(parameters, requires_grad=True)
    misfit, total = _total(problem, X, leaves, noise, options)
    total.backward()
    now = gate_objective(problem, parameters, noise, options)
    assert now.loss == pytest.approx(misfit.item(), rel=1e-12)
    for ours, theirs in zip(now.gradient, leaves.grad.numpy(), strict=True):
        assert np.linalg.norm(ours - theirs) <= 1e-11 * np.linalg.norm(theirs)
    gates = sample_gates(parameters[1], sigmoid(noise), options)
    assert 0 < np.mean((gates > 0) & (gates < 1)) < 1  # clipped and moving gates both occur


def test_gradients_equal_finite_differences():
    """Central differences of the plain objective give the gradients to 1e-6."""
    import torch

    options = L0Options(penalty=1e-2, l2=1e-10)
    X, problem = _problem(options, columns=30)
    parameters, noise = _state(problem)
    gradient = gate_objective(problem, parameters, noise, options).gradient
    for place in ((0, 3), (0, 17), (1, 0), (1, 11), (1, 29)):
        sides = []
        for step in (-1e-5, 1e-5):
            moved = parameters.copy()
            moved[place] += step
            sides.append(_total(problem, X, torch.tensor(moved), noise, options)[1].item())
        difference = (sides[1] - sides[0]) / 2e-5
        assert gradient[place] == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_the_refit_objective_is_the_gated_one_with_open_gates():
    """Without gates the loss is misfit plus l2, with the gradient that open gates give."""
    options = L0Options(l2=1e-9, penalty=0.0)
    _, problem = _problem(options)
    theta = log(problem.start)
    open_gates = np.stack([theta, np.full(problem.n_columns, 60.0)])
    gated = gate_objective(problem, open_gates, np.zeros(problem.n_columns), options)
    plain = weight_objective(problem, theta, options)
    np.testing.assert_array_equal(plain.gradient, gated.gradient[0])
    assert plain.loss == gated.loss + 1e-9 * problem.total(exp(theta) ** 2)


def test_row_weights_give_groups_equal_total():
    """Two groups of reachable rows get 1/2 each; unreachable rows get 0; ones are ones."""
    X = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    group = ["a", "b", "b", "b", "empty"]
    wanted = {
        "groups": [0.5, 0.25, 0.25, 0, 0],
        "equal": [1 / 3, 1 / 3, 1 / 3, 0, 0],
        "ones": [1, 1, 1, 0, 0],
    }
    for rule, weights in wanted.items():
        problem = Problem.build(
            X, np.ones(5), w0=None, options=L0Options(row_weights=rule), group=group
        )
        np.testing.assert_allclose(problem.row_weight, weights, rtol=1e-15)
        labels = np.array(group, dtype=object)  # as a text column of a table comes
        again = Problem.build(
            X, np.ones(5), w0=None, options=L0Options(row_weights=rule), group=labels
        )
        np.testing.assert_array_equal(problem.row_weight, again.row_weight)


def test_every_scale_is_positive():
    """The scale is |t|, and the largest contribution of a column at the start where t is 0."""
    X = np.array([[1.0, 5.0, 0.0], [0.0, -2.0, 1.0], [1.0, 0.0, 3.0]])
    given = {"w0": [10.0, 4.0, 6.0], "options": L0Options()}
    np.testing.assert_array_equal(
        Problem.build(X, [0.0, -7.0, 0.5], **given).scale, [20.0, 7.0, 0.5]
    )
    given["options"] = L0Options.us_data()
    np.testing.assert_array_equal(Problem.build(X, [0.0, -7.0, 9.0], **given).scale, [1, -6, 10])


def test_a_column_starts_at_the_even_weight_that_suits_its_own_rows():
    """Without w0, no other weight for all columns comes nearer to the targets of its rows."""
    X, t, _, group = nested(2, columns=50)
    problem = Problem.build(X, t, w0=None, options=L0Options(), group=group)
    assert len(set(problem.start.tolist())) > 10
    for j, weight in enumerate(problem.start):
        own = X[:, j] != 0
        level = np.array([0.99, 1.0, 1.01])[:, None] * weight
        error = level * X[own].sum(axis=1) / t[own] - 1
        losses = (problem.row_weight[own] * error**2).sum(axis=1)
        assert losses[1] < min(losses[0], losses[2])


def test_a_default_start_is_always_positive():
    """Rows without a common column do not disturb each other; a silent column follows all."""

    def start(X, t):
        problem = Problem.build(np.array(X), t, w0=None, options=L0Options())
        return pytest.approx(problem.start.tolist(), rel=1e-12)

    apart = [[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
    assert start(apart, [10.0, 1e6]) == [5.0, 5.0, 5e5]
    assert start([*apart, [3.0, 0.0, 0.0]], [10.0, 1e6, 0.0]) == [5.0, 5.0, 5e5]
    silent = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert start(silent, [10.0, 0.0]) == [5.0, 5.0, 5.0]
    assert start([[1.0, -3.0, 0.0], [0.0, 0.0, -2.0]], [4.0, -6.0]) == [3.0, 3.0, 3.0]
    assert start(-np.eye(2), [0.0, -1.0]) == [1.0, 1.0]
    assert start([[1.0, -3.0]], [4.0]) == [1.0, 1.0]  # all rows on the other side
    extreme = np.array([[1e-200, 0.0], [0.0, 1e200]])
    problem = Problem.build(extreme, [1e200, 1e-200], w0=None, options=L0Options())
    assert (problem.start > 0).all()
    assert np.isfinite(problem.start).all()


@pytest.mark.parametrize("penalty", [1e-3, 1e-2])
@pytest.mark.parametrize("small", [1e4, 1.0, 1e-2])
def test_a_small_target_does_not_ruin_the_others(small, penalty):
    """Three solvable targets, one of them eight orders of magnitude smaller, are all met."""
    ids = np.arange(100)
    X = np.array([np.ones(100), ids < 10, ids % 2], dtype=float)
    t = np.array([1e6, small, 4e5])
    result = fit_l0(X, t, options=L0Options(penalty=penalty))
    assert result.status is Status.CONVERGED
    np.testing.assert_allclose(result.estimates, t, rtol=1e-5)


def test_sums_are_made_block_by_block():
    """Whoever owns whole blocks gets the same partial sums; added in block order, equal bits."""
    block = np.floor(BLOCKS * rng.uniform(5, "block", np.arange(500))).astype(int)
    X, t, w0, group = nested(5, columns=500)
    problem = Problem.build(X, t, w0=w0, options=L0Options(), group=group, block=block)
    w = problem.start
    partial = np.zeros((BLOCKS, len(t)))
    for b in reversed(range(BLOCKS)):  # owners finish in any order
        partial[b] = problem.estimates(np.where(block == b, w, 0.0))
    total = np.zeros(len(t))
    for b in range(BLOCKS):
        total += partial[b]
    np.testing.assert_array_equal(problem.estimates(w), total)
    for b in range(BLOCKS):
        own, places = problem.form.part(b, b + 1)
        np.testing.assert_array_equal(own.estimates(w[places]), partial[b])
    np.testing.assert_allclose(total, X @ w0, rtol=1e-9)
    mass = 0.0
    for b in range(BLOCKS):
        part = 0.0
        for weight in w[block == b].tolist():
            part += weight
        mass += part
    assert problem.total(w) == mass


def test_history_measures_the_median_gates():
    """A row of the history holds what the definitions give for that state."""
    options = L0Options(penalty=1e-3, l2=1e-10)
    X, problem = _problem(options)
    parameters, _ = _state(problem)
    row = dict(zip(HISTORY, history_row(problem, parameters, 7, options), strict=True))
    z = median_gates(parameters[1], options)
    w = exp(parameters[0]) * z
    error = (X @ w - problem.targets) / problem.scale
    wanted = {
        "epoch": 7,
        "data_loss": (problem.row_weight * error**2).sum(),
        "penalty": 1e-3 * open_probability(parameters[1]).sum(),
        "l2": 1e-10 * (w**2).sum(),
        "retained": (z > 0).sum(),
        "expected_retained": open_probability(parameters[1]).sum(),
        "undecided": ((z > 0) & (z < 1)).sum(),
        "mass": w.sum(),
        "ess": w.sum() ** 2 / (w**2).sum(),
    }
    wanted["loss"] = wanted["data_loss"] + wanted["penalty"] + wanted["l2"]
    assert row == pytest.approx(wanted, rel=1e-9)


# --- optimiser


def test_adam_equals_torch():
    """A hundred steps agree with torch.optim.Adam to 1e-12."""
    import torch

    start = rng.uniform(0, "start", np.arange(50))
    pulls = [rng.uniform(0, "pull", k, np.arange(50)) - 0.5 for k in range(100)]
    rates = Rates.of(0.15, 100, "constant")
    ours = Adam.start(start, "float64")
    theirs = torch.tensor(start, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.15, eps=1e-8)
    for pull in pulls:
        theirs.grad = torch.tensor(pull)
        adam.step()
        ours.step(pull.copy(), rates, 1e-8)
    np.testing.assert_allclose(ours.parameters, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("penalty", "epochs"), [(1e-6, 205), (1e-5, 60), (1e-4, 45), (1e-3, 44), (1e-8, None)]
)
def test_the_customary_epsilon_decides_when_idle_gates_close(penalty, epochs):
    """Idle gates close when the fact sheet says: its Adam epsilon, not the penalty, rules.

    Epochs until P(z > 0) <= 1/2 for a column without entries, at the established constants
    (shared fact sheet A6, computed there from the formulas). At 1e-8 it never closes.
    """
    X = np.array([[1.0, 0.0]])
    options = L0Options.us_data(
        penalty=penalty, epochs=220, weight_jitter=0.0, logit_jitter=0.0, l2=0.0, log_every=1
    )
    result = fit_l0(X, [1.0], w0=[1.0, 1.0], options=options)
    idle = result.open_probability[1]
    if epochs is None:
        assert idle > 0.999
        below = replace(options, adam_epsilon=L0Options().adam_epsilon)
        assert fit_l0(X, [1.0], w0=[1.0, 1.0], options=below).open_probability[1] < 0.5
    else:
        closed = np.argmax(result.history["retained"] < 2)
        assert abs(closed - epochs) <= 1


def _plain_epoch(problem, parameters, moments, epoch, *, noise, options):
    """One epoch in plain Python, one column, one row and one operation at a time."""
    theta, alpha = parameters
    gamma, zeta = options.stretch
    edge, beta = gate_threshold(options), options.temperature
    columns, rows = range(len(theta)), range(len(problem.targets))
    size = [float(exp(x)) for x in theta]
    odds = [float(exp((a + n) / -beta)) for a, n in zip(alpha, noise, strict=True)]
    open_odds = [float(exp(edge - a)) for a in alpha]
    s = [1.0 / (1.0 + o) for o in odds]
    stretched = [x * (zeta - gamma) + gamma for x in s]
    z = [min(max(x, 0.0), 1.0) for x in stretched]
    w = [a * b for a, b in zip(size, z, strict=True)]
    form = problem.form
    entry = {(r, c): v for r, c, v in zip(form.rows, form.columns, form.values, strict=True)}
    row_pull = []
    for i in rows:
        estimate = 0.0
        for b in range(BLOCKS):
            partial = 0.0
            for j in columns:
                if problem.block[j] == b and (i, j) in entry:
                    partial += w[j] * float(entry[i, j])
            estimate += partial
        d = float(problem.scale[i])
        row_pull.append(
            float(problem.row_weight[i]) * ((estimate - problem.targets[i]) / d) / d * 2
        )
    for j in columns:
        q = 0.0
        for i in rows:
            if (i, j) in entry:
                q += row_pull[i] * float(entry[i, j])
        slope = odds[j] * s[j] * s[j] * ((zeta - gamma) / beta) * (z[j] == stretched[j])
        p = 1.0 / (1.0 + open_odds[j])
        for k, gradient in enumerate(
            (q * w[j], q * size[j] * slope + open_odds[j] * p * p * options.penalty)
        ):
            m, v = moments[k][j]
            m = m * 0.9 + (1.0 - 0.9) * gradient
            v = v * 0.999 + gradient * gradient * (1.0 - 0.999)
            moments[k][j] = (m, v)
            root = math.sqrt(v) / math.sqrt(1.0 - math.prod([0.999] * epoch))
            step = options.learning_rate / (1.0 - math.prod([0.9] * epoch))
            parameters[k][j] -= m / (root + options.adam_epsilon) * step


def test_the_fit_equals_a_plain_twin_bit_for_bit():
    """Plain Python, one IEEE operation at a time, makes the same bits through 60 epochs."""
    X, t, w0, group = nested(4, columns=16)
    keep = [0, 1, 2, 18, 54]
    options = L0Options(penalty=2e-2, epochs=60, learning_rate=0.3, refit=False, log_every=1)
    given = {"w0": w0, "group": group[keep], "options": options}
    problem = Problem.build(X[keep], t[keep], **given)
    run = start_run(problem, options)
    parameters = run.gates.parameters.tolist()
    moments = [[(0.0, 0.0)] * 16, [(0.0, 0.0)] * 16]
    for epoch in range(1, 61):
        noise = gate_noise(rng.uniform(0, "gate", epoch, np.arange(16))).tolist()
        _plain_epoch(problem, parameters, moments, epoch, noise=noise, options=options)
    result = fit_l0(X[keep], t[keep], **given)
    assert 0 < result.retained < 14  # gates have closed on the way
    assert result.log_weights.tolist() == parameters[0]
    assert result.open_probability.tolist() == open_probability(parameters[1]).tolist()


def test_a_solvable_problem_is_solved():
    """More columns than targets: the survivors meet every target to 1e-5, and few survive."""
    X = np.zeros((3, 30))
    X[0] = 1.0
    X[1, ::2] = 2.0
    X[2, ::3] = 1000.0
    t = np.array([300.0, 250.0, 90_000.0])
    result = fit_l0(X, t, options=L0Options(penalty=1e-2))
    assert result.status is Status.CONVERGED
    np.testing.assert_allclose(X @ result.weights, t, rtol=1e-5)
    np.testing.assert_allclose(result.estimates, X @ result.weights, rtol=1e-9)
    assert result.retained < 10
    assert not result.lost_rows.size


def test_a_zero_target_pulls_its_columns_down():
    """A target of 0 is an equation like any other: what contributes to it shrinks."""
    X = np.vstack([np.ones(20), (np.arange(20) < 5) * 50.0])
    result = fit_l0(X, [100.0, 0.0], w0=np.full(20, 5.0), options=L0Options(penalty=0.0))
    start_contribution = 5 * 50.0 * 5.0
    assert result.estimates[1] < 1e-3 * start_contribution
    assert result.estimates[0] == pytest.approx(100.0, rel=1e-3)


def test_the_refit_lowers_the_loss_of_the_gated_weights():
    """On the nested problem the refit converges below the gated loss, on the same support."""
    gated, refitted = fit(refit=False), fit()
    assert gated.status is Status.GATED
    assert refitted.status is Status.CONVERGED
    np.testing.assert_array_equal(gated.support, refitted.support)
    assert refitted.loss < 0.5 * gated.loss
    assert refitted.refit_losses[0] == pytest.approx(gated.loss, rel=1e-9)
    assert gated.history["data_loss"][-1] == pytest.approx(gated.loss, rel=1e-12)


def test_the_history_starts_before_the_first_epoch():
    """Row 0 is the start: every column retained, at the start weights."""
    history = fit(weight_jitter=0.0).history
    X, t, w0, group = nested(0)
    problem = Problem.build(X, t, w0=w0, options=L0Options(), group=group)
    assert history["epoch"].tolist() == list(range(0, 601, 10))
    assert history["retained"][0] == 300
    assert history["data_loss"][0] == pytest.approx(problem.misfit(problem.start)[0], rel=1e-9)
    assert tuple(history) == HISTORY


@pytest.mark.parametrize("log_every", [0, 1, 7])
def test_logging_and_observing_change_no_bit(log_every):
    """Any log frequency, with or without an observer, gives the same weights."""
    X, t, w0, group = nested(0)
    options = L0Options(penalty=3e-4, epochs=120)
    plain = fit_l0(X, t, w0=w0, group=group, options=options)
    steps = []
    watched = fit_l0(
        X,
        t,
        w0=w0,
        group=group,
        options=replace(options, log_every=log_every),
        observe=lambda step: steps.append((step.phase, step.epoch)),
    )
    same_bits(plain, watched)
    assert {phase for phase, _ in steps} == {"gates", "refit"} or log_every == 0
    assert len(set(steps)) == len(steps)


def _stop_at(phase, epoch):
    return lambda step: (step.phase, step.epoch) == (phase, epoch)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("phase", "epoch"), [("gates", 100), ("gates", 200), ("refit", 50)])
def test_a_resumed_fit_equals_one_that_never_stopped(phase, epoch, dtype, tmp_path):
    """Stopped, saved, loaded and resumed, a fit makes the bits of the whole fit.

    Also inside the refit, and past the point where a tenth of the gates have closed.
    """
    X, t, w0, group = nested(3)
    options = L0Options(penalty=1e-3, epochs=200, learning_rate=0.15, dtype=dtype)
    given = {"w0": w0, "group": group, "options": options}
    whole = fit_l0(X, t, **given)
    paused = fit_l0(X, t, observe=_stop_at(phase, epoch), **given)
    assert paused.status is Status.PAUSED
    assert paused.history["retained"][-1] < 0.9 * 300
    assert paused.checkpoint.gates.parameters.dtype == dtype
    path = tmp_path / "fit.npz"
    paused.checkpoint.save(path)
    told = []
    resumed = fit_l0(
        X, t, resume=path, observe=lambda step: told.append((step.phase, step.epoch)), **given
    )
    same_bits(whole, resumed)
    assert (phase, epoch) not in told  # the observer has seen it
    assert whole.checkpoint is None
    for name in HISTORY:
        np.testing.assert_array_equal(whole.history[name], resumed.history[name])


def test_a_fit_paused_in_the_refit_has_its_weights():
    """The weights, estimates and loss of a pause are those that the observer was shown."""
    X, t, w0, group = nested(3)
    given = {"w0": w0, "group": group, "options": L0Options(penalty=1e-3, epochs=200)}
    paused = fit_l0(X, t, observe=_stop_at("refit", 50), **given)
    assert paused.status is Status.PAUSED
    assert len(paused.refit_losses) == 51
    assert paused.loss == pytest.approx(paused.refit_losses[-1], rel=1e-12)
    assert paused.loss < 0.5 * paused.refit_losses[0]
    np.testing.assert_allclose(paused.estimates, X @ paused.weights, rtol=1e-8)


def _table(seed, epochs=60, columns=50):
    return rng.uniform(seed, "table", np.arange(epochs)[:, None], np.arange(columns))


@pytest.mark.parametrize(
    ("made_with", "resumed_with", "message"),
    [
        (_table(1), None, r"noise from a table \(\w{16}\), not with keyed noise"),
        (_table(1), _table(2), r"noise from a table \(\w{16}\), not with noise from a table"),
        (None, _table(1), r"keyed noise, not with noise from a table"),
        (lambda epoch: _table(1)[epoch - 1], None, r"noise from a function .*, not with keyed"),
        (lambda epoch: _table(1)[epoch - 1], lambda epoch: _table(2)[epoch - 1], "a function"),
    ],
    ids=["table, none", "tables", "none, table", "function, none", "functions"],
)
def test_a_checkpoint_is_not_resumed_with_other_noise(made_with, resumed_with, message, tmp_path):
    """Other noise would give other bits, so it is an error that names both kinds."""
    X, t, w0, group = nested(1, columns=50)
    given = {"w0": w0, "group": group, "options": L0Options(epochs=60)}
    whole = fit_l0(X, t, noise=made_with, **given)
    paused = fit_l0(X, t, noise=made_with, observe=_stop_at("gates", 30), **given)
    paused.checkpoint.save(tmp_path / "fit.npz")
    for checkpoint in (paused.checkpoint, tmp_path / "fit.npz"):
        with pytest.raises(FitError, match=message):
            fit_l0(X, t, noise=resumed_with, resume=checkpoint, **given)
        same_bits(whole, fit_l0(X, t, noise=made_with, resume=checkpoint, **given))


def test_a_refit_goes_on_without_noise():
    """Once the gates are done no noise is drawn, so a checkpoint asks for none."""
    X, t, w0, group = nested(1, columns=50)
    given = {"w0": w0, "group": group, "options": L0Options(epochs=60)}
    whole = fit_l0(X, t, noise=_table(1), **given)
    paused = fit_l0(X, t, noise=_table(1), observe=_stop_at("refit", 20), **given)
    assert paused.checkpoint.noise == ""
    same_bits(whole, fit_l0(X, t, resume=paused.checkpoint, **given))


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    """Another matrix, another option or a file of another kind is an error; logging is not."""
    X, t, w0, group = nested(3, columns=50)
    options = L0Options(epochs=40)
    given = {"w0": w0, "group": group, "options": options}
    checkpoint = fit_l0(X, t, observe=_stop_at("gates", 20), **given).checkpoint
    with pytest.raises(FitError, match="belongs to another problem"):
        fit_l0(2 * X, t, resume=checkpoint, **given)
    other = given | {"options": replace(options, temperature=0.36)}
    with pytest.raises(FitError, match=r"temperature = 0\.35, not 0\.36"):
        fit_l0(X, t, resume=checkpoint, **other)
    finer = given | {"options": replace(options, log_every=3)}
    same_bits(fit_l0(X, t, resume=checkpoint, **finer), fit_l0(X, t, **given))
    np.savez(tmp_path / "other.npz", weights=w0)
    with pytest.raises(FitError, match="holds no checkpoint"):
        fit_l0(X, t, resume=tmp_path / "other.npz", **given)
    with pytest.raises(FileError, match="does not exist"):
        Checkpoint.load(tmp_path / "none.npz")


def test_noise_can_be_passed_in():
    """A table or a function of the keyed uniforms makes the keyed fit; bad ones are refused."""
    X, t, w0, group = nested(1, columns=50)
    given = {"w0": w0, "group": group, "options": L0Options(epochs=60)}
    table = rng.uniform(0, "gate", np.arange(1, 61)[:, None], np.arange(50))
    plain = fit_l0(X, t, **given)
    same_bits(plain, fit_l0(X, t, noise=table, **given))
    same_bits(plain, fit_l0(X, t, noise=lambda epoch: table[epoch - 1], **given))
    with pytest.raises(FitError, match=r"noise for epoch 60 has shape \(0,\)"):
        fit_l0(X, t, noise=table[:-1], **given)
    with pytest.raises(FitError, match="noise for epoch 1 "):
        fit_l0(X, t, noise=table + 1, **given)


def test_gate_noise_belongs_to_seed_epoch_and_key():
    """Noise and jitter are functions of (seed, epoch, key), whatever was asked for before."""
    X, t, w0, _ = nested(1, columns=40)
    key = np.arange(40)[::-1] * 5 + 2
    options = L0Options(seed=9)
    problem = Problem.build(X, t, w0=w0, options=options, column_key=key)
    noise = keyed_noise(problem, options)
    for epoch in (700, 1, 2, 500, 1):
        np.testing.assert_array_equal(noise(epoch), gate_noise(rng.uniform(9, "gate", epoch, key)))
    drawn = jitter(problem, 0.5, 9, "weight jitter")
    twelve = [rng.uniform(9, "weight jitter", k, key) for k in range(12)]
    np.testing.assert_allclose(drawn, 0.5 * (np.sum(twelve, axis=0) - 6), rtol=0, atol=1e-14)
    many = Problem.build(np.ones((1, 20_000)), [1.0], w0=None, options=options)
    assert np.std(jitter(many, 0.5, 9, "weight jitter")) == pytest.approx(0.5, rel=0.02)


def test_the_seed_and_the_keys_decide_the_noise():
    """Another seed, or other keys, give another fit; the same give the same."""
    X, t, w0, group = nested(1, columns=100)

    def weights(seed=0, **more):
        options = L0Options(epochs=80, seed=seed)
        return fit_l0(X, t, w0=w0, group=group, options=options, **more).weights

    np.testing.assert_array_equal(weights(), weights(column_key=np.arange(100, dtype=np.uint64)))
    assert (weights() != weights(seed=1)).any()
    assert (weights() != weights(column_key=np.arange(100) + 1)).any()


def test_an_infinite_loss_stops_the_fit_at_its_last_good_state():
    """A rate that explodes ends as DIVERGED with finite weights, the epoch and the rows."""
    result = fit(learning_rate=400.0, epochs=50)
    assert result.status is Status.DIVERGED
    assert result.epochs < 50
    assert np.isfinite(result.log_weights).all()
    assert np.isfinite(result.weights).all()
    assert f"infinite after epoch {result.epochs}; worst rows: " in result.message
    assert "Lower learning_rate" in result.message
    at_once = fit_l0(np.eye(3), [1.0, 2.0, 3.0], w0=np.full(3, 1e200))  # warnings are errors
    assert (at_once.status, at_once.epochs) == (Status.DIVERGED, 0)


def test_statuses_say_what_happened():
    """A fit priced too high is EMPTY, one not refitted long enough is not CONVERGED."""
    assert fit(penalty=1e3).status is Status.EMPTY
    assert fit(penalty=1e3).retained == 0
    still = fit(refit_epochs=0)
    assert still.status is Status.NO_PROGRESS
    np.testing.assert_array_equal(still.weights, fit(refit=False).weights)
    assert fit(refit_epochs=40).status is Status.REFIT_UNFINISHED


def test_rows_without_a_survivor_are_listed():
    """If selection deletes all columns of a reachable row, the result names the row."""
    X = np.vstack([np.ones(40), (np.arange(40) == 7) * 1.0])
    result = fit_l0(X, [400.0, 1e-6], w0=np.full(40, 10.0), options=L0Options(penalty=1.0))
    assert result.status is Status.EMPTY
    assert result.lost_rows.tolist() == [0, 1]
    result = fit_l0(X, [400.0, 1e4], w0=np.full(40, 10.0), options=L0Options(penalty=1e-2))
    assert not result.lost_rows.size


def test_a_fit_that_lost_targets_has_not_converged():
    """The status, the rows and the message say it; the row that is left is met all the same."""
    X = np.zeros((20, 200))
    X[:10, :190] = rng.uniform(0, "x", np.arange(1900)).reshape(10, 190)
    X[10:, 190:] = np.eye(10)
    t = np.append(10 * X[:10].sum(axis=1), np.full(10, 10.0))
    result = fit_l0(X, t, options=L0Options(penalty=0.2, epochs=300))
    assert result.status is Status.LOST_TARGETS
    served = (X[:, result.support] != 0).any(axis=1)
    assert result.lost_rows.tolist() == np.flatnonzero(~served).tolist()
    assert 10 < result.lost_rows.size < 20
    first = ", ".join(str(row) for row in result.lost_rows[:10])
    count = f"{result.lost_rows.size} of 20 reachable rows lost: {first}"
    assert count + f" and {result.lost_rows.size - 10} more. " in result.message
    assert (result.estimates[result.lost_rows] == 0).all()
    assert np.abs(result.estimates[served] / t[served] - 1).min() < 1e-5
    gated = fit_l0(X, t, options=L0Options(penalty=0.2, epochs=300, refit=False))
    assert gated.status is Status.GATED
    assert count in gated.message


def test_a_row_is_lost_if_nothing_kept_pulls_it_toward_its_target():
    """An entry of the wrong sign does not serve; a zero target needs no entry at all."""
    X = np.array([[1.0, -1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 5.0], [-1.0, 0.0, 1.0], [0, 0, 0]])
    problem = Problem.build(X, [3.0, 4.0, 0.0, -2.0, 1.0], w0=None, options=L0Options())
    for kept, rows in (
        ([True, True, True], []),
        ([True, False, False], [1]),
        ([False, True, False], [0, 3]),
        ([False, False, True], [0, 3]),
        ([False, False, False], [0, 1, 3]),
    ):
        assert problem.lost_rows(np.array(kept)).tolist() == rows


def test_jitter_separates_copies():
    """Columns that are copies move as one under equal noise; jitter on the start parts them."""
    X = np.ones((1, 6))
    options = L0Options(epochs=30, weight_jitter=0.0, logit_jitter=0.0, refit=False)
    level = np.full((30, 6), 0.4)
    alike = fit_l0(X, [60.0], w0=np.full(6, 5.0), options=options, noise=level)
    assert len(set(alike.log_weights.tolist())) == 1
    jittered = replace(options, weight_jitter=0.05)
    apart = fit_l0(X, [60.0], w0=np.full(6, 5.0), options=jittered, noise=level)
    assert len(set(apart.log_weights.tolist())) == 6


_OTHER_MACHINE = """
import hashlib, sys
import numpy as np
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.select import fit_to_budget
stored = np.load(sys.argv[1])
X, t, w0, group = (stored[name] for name in ("X", "t", "w0", "group"))
options = L0Options(penalty=3e-4)
one = fit_l0(X, t, w0=w0, group=group, options=options)
two = fit_to_budget(X, t, preset="national", w0=w0, group=group)
digest = hashlib.sha256()
for array in (one.weights, one.history["ess"], one.refit_losses, two.fit.weights):
    digest.update(array.tobytes())
print(digest.hexdigest(), hashlib.sha256(np.exp(X).tobytes()).hexdigest())
"""


def test_other_instructions_threads_and_hash_seeds_give_equal_bits(tmp_path):
    """With vector instructions off, more threads and another hash seed, weights are equal."""
    X, t, w0, group = nested(6)
    np.savez(tmp_path / "problem.npz", X=X / X.max(), t=t / X.max(), w0=w0, group=group)
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    settings = (
        {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {
            "OMP_NUM_THREADS": "4",
            "OPENBLAS_NUM_THREADS": "4",
            "PYTHONHASHSEED": "2",
            "NPY_DISABLE_CPU_FEATURES": " ".join(found),
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
        },
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", _OTHER_MACHINE, str(tmp_path / "problem.npz")],
            env={**os.environ, **setting},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for setting in settings
    ]
    assert printed[0][0] == printed[1][0]
    # NumPy's own exp rounds otherwise with vector instructions: the settings did differ.
    assert printed[0][1] != printed[1][1] or not any("AVX512" in name for name in found)


def test_last_bits_of_the_inputs_do_not_matter():
    """Inputs one unit in the last place apart give equal bits; inputs 1e-6 apart do not."""
    X, t, w0, group = nested(7)
    options = L0Options(penalty=3e-4, epochs=200)
    plain = fit_l0(X, t, w0=w0, group=group, options=options)
    up = [np.nextafter(array, np.inf) for array in (t, w0)]
    near = fit_l0(np.nextafter(X, X * 2), up[0], w0=up[1], group=group, options=options)
    same_bits(plain, near)
    far = fit_l0(X, t, w0=w0 * (1 + 1e-6), group=group, options=options)
    assert (far.weights != plain.weights).any()


@pytest.mark.parametrize("owners", [1, 2, 3, 32, 64])
def test_equal_blocks_are_shared_out_equally(owners):
    """Nobody has two more than another, and with 64 owners everybody has one."""
    cuts = share_out(np.repeat(np.arange(BLOCKS), 5), owners)
    assert np.ptp(np.diff(cuts)) <= (0 if BLOCKS % owners == 0 else 1)


def test_sparse_and_dense_forms_give_equal_bits():
    """CSR, CSC, COO with duplicates, float32 values and dense arrays are one problem."""
    X, t, w0, group = nested(2, columns=80)
    X = X.astype(np.float32).astype(np.float64)
    options = L0Options(epochs=60)
    plain = fit_l0(X, t, w0=w0, group=group, options=options)
    split = sp.coo_array(X)
    halves = sp.coo_array(
        (np.tile(split.data / 2, 2), tuple(np.tile(c, 2) for c in split.coords)), shape=X.shape
    )
    forms = [sp.csr_array(X), sp.csc_array(X), sp.csr_matrix(X), halves, X.astype(np.float32)]
    before = [form.copy() for form in forms]
    for form, copy in zip(forms, before, strict=True):
        same_bits(plain, fit_l0(form, t, w0=w0, group=group, options=options))
        assert np.abs(form - copy).max() == 0  # inputs are not touched


def test_more_penalty_retains_fewer():
    """Over four decades of penalty the number of survivors falls at every step."""
    counts = [fit(penalty=p, refit=False).retained for p in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)]
    assert all(one > two for one, two in pairwise(counts))


def test_the_budget_search_finds_the_same_fit():
    """The fit that a budget search returns is fit_l0 with that penalty, bit for bit."""
    X, t, w0, group = nested(0)
    found = fit_to_budget(X, t, records=120, w0=w0, group=group)
    same_bits(found.fit, fit_l0(X, t, w0=w0, group=group, options=found.fit.options))
