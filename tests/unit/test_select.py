"""Budgets of records: presets, the search over penalties, and what the result admits."""

import numpy as np
import pytest
import scipy.sparse as sp

from calibration import rng
from calibration.errors import FitError
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.l0.portable import exp
from calibration.l0.run import Status
from calibration.select import PRESETS, Trial, _is_near, _next_penalty, fit_to_budget


def nested(seed, columns=300, districts=12):
    """Make X, targets, start weights and groups for a nation of districts, four per state."""
    ids = np.arange(columns)
    home = np.floor(districts * rng.uniform(seed, "home", ids)).astype(int)
    heads = np.floor(1 + 5 * rng.uniform(seed, "heads", ids))
    dollars = exp(9 + 3 * rng.uniform(seed, "dollars", ids)) * (rng.uniform(seed, "has", ids) < 0.6)
    rows, groups = [], []
    for name, value in (("heads", heads), ("dollars", dollars)):
        levels = [("nation", home >= 0)]
        levels += [("state", home // 4 == s) for s in range(districts // 4)]
        levels += [("district", home == d) for d in range(districts)]
        rows += [value * inside for _, inside in levels]
        groups += [f"{level} {name}" for level, _ in levels]
    X = np.array(rows)
    truth = exp(6 + 2 * rng.uniform(seed, "truth", ids))
    return X, X @ truth, np.full(columns, 1000.0), np.array(groups)


def search(seed=0, columns=300, **more):
    """Search a budget on the nested problem, with fits short enough for a test."""
    X, t, w0, group = nested(seed, columns)
    options = more.pop("options", L0Options(epochs=300, log_every=0))
    return fit_to_budget(X, t, w0=w0, group=group, options=options, **more)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("records", [40, 100, 210, 285])
def test_the_budget_is_met_within_two_percent(seed, records):
    """The retained count lies within 2 % of the budget, or the result says that it does not."""
    result = search(seed, records=records)
    assert result.budget == result.asked == records
    assert not result.bound
    assert result.reached == (abs(result.fit.retained - records) <= 0.02 * records)
    nearest = min(abs(trial.retained - records) for trial in result.trials)
    assert abs(result.fit.retained - records) == nearest
    assert result.reached


def test_neighbours_stand_on_both_sides():
    """More has at least the budget and fewer has less; both are trials that were run."""
    result = search(records=100)
    assert result.more in result.trials
    assert result.fewer in result.trials
    assert result.more.retained >= 100 > result.fewer.retained
    assert Trial(result.fit.options.penalty, result.fit.retained) in result.trials


def test_presets_are_shares_of_the_columns():
    """The local preset is 0.7 of C; the national one 0.01, where that exceeds the targets."""
    assert PRESETS == {"local": 0.7, "national": 0.01}
    local = search(preset="local")
    assert (local.asked, local.budget, local.bound) == (210, 210, False)
    X, t, w0, group = nested(0, columns=900, districts=4)
    few = fit_to_budget(
        X[:2], t[:2], preset="national", w0=w0, group=group[:2], options=L0Options(epochs=300)
    )
    assert (few.asked, few.budget, few.bound) == (9, 9, False)


def test_a_preset_never_asks_for_fewer_records_than_targets():
    """With 32 reachable targets and 300 columns, the national budget is 32 and says so."""
    X, t, w0, group = nested(0)
    X = np.vstack([X, np.zeros(300)])  # an unreachable target does not count
    result = fit_to_budget(
        X,
        np.append(t, 1.0),
        preset="national",
        w0=w0,
        group=np.append(group, "none"),
        options=L0Options(epochs=300),
    )
    assert (result.asked, result.budget, result.bound) == (3, 32, True)
    assert result.fit.retained >= 32
    assert result.fit.retained == result.more.retained
    assert len(result.fit.unreachable) == 1


def test_a_count_below_the_floor_is_not_near():
    """Within 2 % is enough, but not below the number of reachable targets."""
    assert _is_near(98, 100, 0)
    assert not _is_near(97, 100, 0)
    assert not _is_near(99, 100, 100)
    assert _is_near(102, 100, 100)


def test_the_presets_fit_the_targets():
    """Both presets meet every target of a consistent problem to 2 %, with the budget's records."""
    for preset in PRESETS:
        result = search(preset=preset, options=L0Options())
        X, t, _, _ = nested(0)
        error = np.abs(X @ result.fit.weights - t) / t
        assert result.fit.retained >= 32
        assert error.max() < 0.02
        assert not result.fit.lost_rows.size


def test_the_chosen_fit_is_that_of_its_penalty():
    """Search and direct fit give equal bits, history and refit included."""
    X, t, w0, group = nested(3, columns=120)
    keys = np.arange(120, dtype=np.uint64) * 7 + 3
    block = np.arange(120) % 64
    options = L0Options(epochs=200, seed=5, dtype="float32")
    given = {"w0": w0, "group": group, "column_key": keys, "block": block}
    found = fit_to_budget(X, t, records=60, options=options, **given).fit
    direct = fit_l0(X, t, options=found.options, **given)
    np.testing.assert_array_equal(found.weights, direct.weights)
    np.testing.assert_array_equal(found.refit_losses, direct.refit_losses)
    assert found.history["loss"].tolist() == direct.history["loss"].tolist()
    assert found.options == L0Options.from_facts(
        options.facts() | {"penalty": found.options.penalty}
    )


def test_a_count_that_no_penalty_reaches_is_admitted():
    """Columns that only do harm close at any penalty, even 0: the nearest count is given."""
    X = np.array([np.ones(6), [0, 0, 0, 1, 1, 1]])
    result = fit_to_budget(X, [60.0, 0.0], records=6, w0=np.full(6, 10.0))
    assert not result.reached
    assert result.fit.retained == max(trial.retained for trial in result.trials) < 6
    assert result.more is None
    assert result.fewer.retained == result.fit.retained
    assert 0.0 in {trial.penalty for trial in result.trials}


def test_a_budget_is_found_however_large_the_loss():
    """A sum over 20,000 rows needs penalties in the thousands, which the search reaches."""
    rows = 2000 * np.arange(1, 5)
    X = sp.csr_array(np.repeat(np.eye(4), rows, axis=0))
    options = L0Options(row_weights="ones", epochs=100, log_every=0)
    given = {"w0": np.full(4, 100.0), "options": options}
    result = fit_to_budget(X, np.full(rows.sum(), 100.0), records=2, **given)
    assert result.fit.options.penalty > 1e3
    assert result.reached
    assert result.fit.support.tolist() == [2, 3]  # the two that serve most rows


def test_a_budget_is_found_from_a_start_far_above_the_targets():
    """A start a million times too high needs penalties up to that loss, which are tried."""
    X = 0.5 + rng.uniform(0, "x", np.arange(150)).reshape(3, 50) / 2
    options = L0Options(row_weights="ones", epochs=200, log_every=0)
    result = fit_to_budget(X, [1e4, 2e4, 3e4], records=3, w0=np.full(50, 1e9), options=options)
    assert max(trial.penalty for trial in result.trials) > 1e6
    assert result.fewer is not None
    assert result.reached or result.more is not None


def test_watching_hands_out_the_log_of_the_chosen_fit():
    """What was seen is what an observer of that fit sees, refit included; it changes no bit."""
    X, t, w0, group = nested(3, columns=120)
    given = {"w0": w0, "group": group}
    options = L0Options(epochs=200)
    calls = []

    def watch(step):
        calls.append(step.epoch)
        return (step.phase, step.epoch, *step.values.values()) if step.epoch % 20 == 0 else None

    plain = fit_to_budget(X, t, records=60, options=options, **given)
    found = fit_to_budget(X, t, records=60, options=options, watch=watch, **given)
    seen = []
    direct = fit_l0(
        X, t, options=found.fit.options, observe=lambda step: seen.append(watch(step)), **given
    )
    assert len(found.trials) > 1
    assert found.watched == tuple(row for row in seen if row is not None)
    assert {row[0] for row in found.watched} == {"gates", "refit"}
    assert found.trials == plain.trials
    assert plain.watched == ()
    for fit in (found.fit, direct):
        np.testing.assert_array_equal(fit.weights, plain.fit.weights)
    stubborn = fit_to_budget(X, t, records=60, options=options, watch=lambda _: True, **given)
    assert stubborn.fit.status is plain.fit.status  # True does not pause it


def test_the_search_is_short_and_its_penalties_are_readable():
    """No more than 16 gate phases, no penalty twice, three significant digits each."""
    for records in (35, 150, 299):
        trials = search(1, records=records).trials
        assert len(trials) <= 16
        assert len({trial.penalty for trial in trials}) == len(trials)
        assert all(float(f"{trial.penalty:.3g}") == trial.penalty for trial in trials)


def test_the_search_brackets_a_count_even_if_it_does_not_fall_steadily():
    """The next penalty lies between neighbours on both sides, wherever they are."""
    uneven = [Trial(1e-4, 150), Trial(1e-3, 80), Trial(1e-2, 120), Trial(1e-1, 20)]
    assert 1e-3 < _next_penalty(uneven, 100, 200) < 1e-2  # 80 and 120 are the nearest pair
    assert _next_penalty([Trial(1e-4, 150)], 100, 200) == 1e-3
    assert _next_penalty([Trial(1e-4, 50)], 100, 200) == 1e-5
    assert _next_penalty([Trial(1e-4, 50), Trial(1e-5, 50), Trial(1e-7, 51)], 100, 200) == 1e-11
    below = [Trial(1e-4, 50), Trial(1e-5, 50), Trial(1e-7, 51), Trial(1e-11, 51)]
    assert _next_penalty(below, 100, 200) == 0.0
    assert _next_penalty([*below, Trial(0.0, 51)], 100, 200) is None
    assert 0 < _next_penalty([Trial(0.0, 60), Trial(1e-11, 40)], 50, 200) < 1e-11
    assert _next_penalty([Trial(1.00, 60), Trial(1.01, 40)], 50, 200) is None
    above = [Trial(1e-4, 150), Trial(1e-3, 150), Trial(1e-1, 150), Trial(1e3, 150)]
    assert _next_penalty(above, 100, 200) == 1e6  # not 1e11, and not the end either
    assert _next_penalty([*above, Trial(1e6, 150)], 100, 200) is None
    assert _next_penalty(above, 100, 200, 1e9) == 1e9
    assert 1e3 < _next_penalty([*above, Trial(1e6, 0)], 100, 200) < 1e6
    steep = [Trial(1e-4, 60), Trial(1e-2, 0)]  # the chord alone would move by a hundredth
    assert _next_penalty(steep, 50, 200) == 1.58e-4


@pytest.mark.parametrize("budget", [0.01, 0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("middle", "power"), [(3e-8, 0.5), (1e-6, 2.0), (3e-9, 1.3)])
def test_a_smooth_curve_needs_few_trials(budget, middle, power):
    """Where the share falls along an S, wherever and however steeply, six trials suffice."""
    columns = 280_005
    wanted, trials, penalty = round(budget * columns), [], 1e-4
    while penalty is not None:
        trials.append(Trial(penalty, round(columns / (1 + (penalty / middle) ** power))))
        if _is_near(trials[-1].retained, wanted, 0):
            break
        penalty = _next_penalty(trials, wanted, columns)
    assert _is_near(trials[-1].retained, wanted, 0)
    assert len(trials) <= 6


def test_a_fit_that_diverges_ends_the_search():
    """The search does not go on from an infinite loss; the fit says so."""
    result = search(records=100, options=L0Options(epochs=60, learning_rate=400.0))
    assert result.fit.status is Status.DIVERGED
    assert len(result.trials) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either records or preset"),
        ({"records": 10, "preset": "local"}, "either records or preset"),
        ({"preset": "locale"}, "preset 'locale' is not known; did you mean 'local'"),
        ({"records": 0}, "records is 0; give a whole number from 1 to 300"),
        ({"records": 301}, "records is 301"),
        ({"records": 10.0}, r"records is 10\.0"),
        ({"records": True}, "records is True"),
        ({"records": 10, "options": {}}, "options is dict"),
    ],
)
def test_bad_budgets_are_refused(given, message):
    """Each bad budget raises a FitError that says what to give."""
    with pytest.raises(FitError, match=message):
        search(**given)
