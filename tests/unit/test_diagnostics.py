"""Stage 8: tables about a calibration, statistics of its weights, and causes of misses."""

import csv
import json
import math
import sys
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import linprog

from calibration.clones import Clones
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.diagnostics import (
    MEASURES,
    Cause,
    area_table,
    check_weights,
    design_effect,
    effective_size,
    explain,
    group_table,
    identity_table,
    log_table,
    row_statistics,
    run_config,
    summary,
    targets_of,
    top_share,
    unified_table,
    untargeted,
    untargeted_table,
    validation_table,
    write_csv,
    write_diagnostics,
)
from calibration.engines import Variable
from calibration.errors import DiagnosticsError
from calibration.files import hash_file, read_json, write_json
from calibration.geography import Area, Level
from calibration.identity import Comparison, IdentityReport
from calibration.l0 import fit_l0
from calibration.matrix import CalibrationMatrix
from calibration.takeup import Thresholds
from calibration.targets import Target, parse_constraint

UNIFIED_COLUMNS = ["target", "true_value", "estimate", "rel_error", "abs_rel_error", "achievable"]
LOG_COLUMNS = [
    *("target_name", "estimate", "target", "epoch", "error", "rel_error", "abs_error"),
    *("rel_abs_error", "loss", "achievable"),
]
VALIDATION_COLUMNS = [
    *("area_type", "area_id", "display_name", "district", "variable", "target_name", "period"),
    *("target_value", "sim_value", "error", "rel_error", "abs_error", "rel_abs_error"),
    *("sanity_check", "sanity_reason", "in_training"),
]


def target(variable, value, *constraints, level=Level.STATE, code=37):
    """Make a target of 2024."""
    return Target(
        variable=variable,
        level=level,
        code=code,
        constraints=tuple(sorted(map(parse_constraint, constraints))),
        period=2024,
        value=value,
    )


def matrix(rows, targets, w0=None, records=None):
    """Make a matrix of dense rows; every column is a record unless told otherwise."""
    X = sparse.csr_array(np.array(rows, dtype=np.float32))
    columns = X.shape[1]
    start = np.ones(columns) if w0 is None else np.array(w0, dtype=float)
    ids = np.arange(records or columns)
    return CalibrationMatrix(X, list(targets), start, ids, {"dataset": "abc"})


@pytest.fixture
def five():
    """Five targets of every status, on four columns; the third column is dropped."""
    rows = [
        [1, 1, 1, 1],  # fitted: 1 * 2 + 1 + 4 = 7 of 8
        [0, 0, 5, 0],  # lost: only the dropped column adds to it
        [0, 0, 0, 0],  # no support
        [3, 0, 0, 1],  # zero target, estimate 10
        [2, 0, 0, 0],  # wrong sign
        [-1, 0, 0, 2],  # negative target, estimate 6
    ]
    targets = [
        target("person_count", 8.0),
        target("person_count", 20.0, "age>=65"),
        target("person_count", 3.0, "age>=90"),
        target("snap", 0.0),
        target("snap", -4.0, "age<18"),
        target("net_income", -3.0),
    ]
    return matrix(rows, targets, w0=[1, 2, 3, 4]), np.array([2.0, 1.0, 0.0, 4.0])


# -- weights ---------------------------------------------------------------------------


def test_effective_size_of_known_weights():
    """Equal weights are worth their number; 1, 1, 2 are worth 16 / 6; nothing is worth 0."""
    assert effective_size([7.0] * 5) == 5
    assert effective_size([1, 1, 2]) == pytest.approx(16 / 6, rel=1e-15)
    assert effective_size([1, 0, 1, 0]) == 2
    assert effective_size([]) == effective_size([0.0]) == 0
    assert effective_size([1e300, 1e300]) == effective_size([1e-300, 1e-300]) == 2


def test_design_effect_is_one_plus_squared_variation():
    """The design effect is 1 + var / mean^2, computed by the textbook formula."""
    w = np.random.default_rng(1).lognormal(size=200)
    assert design_effect(w) == pytest.approx(1 + w.var() / w.mean() ** 2, rel=1e-12)
    assert math.isnan(design_effect([0.0]))


def test_top_share_takes_the_heaviest():
    """Of 200 retained columns the heaviest 1 % are two, and a zero weight counts for none."""
    w = np.r_[np.ones(198), 51.0, 151.0, np.zeros(500)]
    assert top_share(w) == pytest.approx(202 / 400)
    assert top_share([3.0, 1.0]) == 0.75
    assert math.isnan(top_share([]))


@pytest.mark.parametrize("bad", [[1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [1.0]])
def test_weights_must_be_numbers_from_zero(bad):
    """A weight that is negative or not finite, or a vector too short, is refused."""
    with pytest.raises(DiagnosticsError, match=r"column 1|shape"):
        check_weights(bad, 2)


def test_row_statistics_against_loops():
    """Support, retained, largest share, floor and estimate equal those of plain loops."""
    rng = np.random.default_rng(2)
    dense = np.where(rng.random((9, 40)) < 0.3, rng.normal(size=(9, 40)), 0).astype(np.float32)
    dense[4] = 0
    w0, w = rng.uniform(1, 9, 40), rng.uniform(0, 5, 40) * (rng.random(40) < 0.5)
    m = matrix(dense, [target("snap", float(i), f"age>={i}") for i in range(1, 10)], w0)
    found = row_statistics(m, w)
    for i, row in enumerate(dense.tolist()):
        parts = [abs(x) * wj for x, wj in zip(row, w, strict=True)]
        assert found.support[i] == sum(x != 0 for x in row)
        assert found.retained[i] == sum(p > 0 for p in parts)
        assert found.floor[i] == max(abs(x) * s for x, s in zip(row, w0, strict=True))
        expected = max(parts) / sum(parts) if sum(parts) else math.nan
        assert found.largest_share[i] == pytest.approx(expected, nan_ok=True)
        estimate = sum(x * wj for x, wj in zip(row, w, strict=True))
        assert found.estimate[i] == pytest.approx(estimate, abs=1e-12)


def test_loss_is_the_loss_of_the_fit(five):
    """Row weights and scales give the same loss as `fit_l0` reports, zero target included."""
    m, _ = five
    t = np.array([asked.value for asked in m.targets])
    fit = fit_l0(m.X, t, w0=m.w0, group=m.groups)
    rows = row_statistics(m, fit.weights)
    counted = rows.row_weight > 0
    error = (rows.estimate - t)[counted] / rows.scale[counted]
    assert (rows.row_weight[counted] * error**2).sum() == pytest.approx(fit.loss, rel=1e-6)
    assert {u.row for u in fit.unreachable} == set(np.flatnonzero(~counted).tolist())


def test_area_table_of_known_weights():
    """Two clones of three records in two states give the spreads worked out by hand."""
    state = np.array([37, 37, 49, 37, 49, 49])
    geography = GeographyAssignment(3, 2, {Level.STATE: state, Level.COUNTY: state * 1000 + 1})
    w = np.array([1.0, 0.0, 0.0, 3.0, 0.0, 0.0])
    areas = [Area.nation(), Area.state(37), Area.state(49), Area(Level.COUNTY, (37001, 49001), "X")]
    table = area_table(w, np.full(6, 2.0), geography, areas)
    assert table["area_type"].tolist() == ["national", "states", "states", "cities"]
    assert table["area_id"].tolist() == ["US", "37", "49", "37001+49001"]
    assert table["columns"].tolist() == [6, 3, 3, 6]
    assert table["retained"].tolist() == [2, 2, 0, 2]
    assert table["households"].tolist() == [4, 4, 0, 4]
    assert table["effective_size"].tolist() == pytest.approx([1.6, 1.6, 0, 1.6], rel=1e-14)
    assert table["design_effect"][:2].tolist() == pytest.approx([1.25, 1.25], rel=1e-14)
    assert table["max_weight"].tolist() == [3, 3, 0, 3]
    assert table["max_ratio"].tolist() == [1.5, 1.5, 0, 1.5]
    assert table["top_percent_share"][0] == 0.75
    assert np.isnan(table["top_percent_share"][2])
    assert np.isnan(table["design_effect"][2])


def test_clones_of_one_record_are_one_record():
    """Columns 0 and 3 are clones of one record: two columns, one record, worth 1."""
    geography = GeographyAssignment(3, 2, {Level.STATE: np.full(6, 37)})
    table = area_table([1, 0, 0, 1, 0, 0], np.ones(6), geography, [Area.nation()])
    assert (table["retained"][0], table["effective_size"][0]) == (2, 2)
    assert (table["records"][0], table["record_effective_size"][0]) == (1, 1)


def test_a_weight_from_nothing_is_an_error():
    """A retained column that started at 0 has no ratio, and is named."""
    geography = GeographyAssignment(2, 1, {Level.STATE: np.full(2, 37)})
    with pytest.raises(DiagnosticsError, match="column 1 has weight 2"):
        area_table([1, 2], [1, 0], geography, [Area.nation()])


class Filing:
    """An engine with one output: a tax unit files if its people earn anything."""

    name, version, inputs = "filing", "1", MappingProxyType({})
    filer = Variable(name="tax_unit_is_filer", entity="tax_unit", kind="bool", label="files")
    outputs = MappingProxyType({"tax_unit_is_filer": filer})

    def simulate(self, dataset, variables, period):
        """Give the filer flag."""
        assert list(variables) == ["tax_unit_is_filer"]
        assert period == dataset.period
        return {"tax_unit_is_filer": dataset.sum_to("tax_unit", dataset["earnings"]) > 0}


@pytest.fixture
def clones():
    """Three households, two clones each: a filing family of 5, a filer, a poor renter."""
    home = np.array([0, 0, 0, 0, 0, 1, 2])
    person = {
        "person_id": np.arange(7),
        "person_household_id": home,
        "person_tax_unit_id": home,
        "age": np.array([40.0, 38, 9, 7, 5, 30, 70]),
        "earnings": np.array([9.0, 0, 0, 0, 0, 4, 0]),
        "is_tax_unit_spouse": np.arange(7) == 1,
    }
    household = {
        "household_id": np.arange(3),
        "tenure_type": np.array(["OWNED", "OWNED", "RENTED"]),
    }
    tables = {"person": person, "household": household, "tax_unit": {"tax_unit_id": np.arange(3)}}
    dataset = Dataset(2024, tables).check()
    geography = GeographyAssignment(3, 2, {Level.STATE: np.full(6, 37)})
    return Clones(dataset, geography, Thresholds(0, ()), Filing())


def test_untargeted_totals_of_known_people(clones):
    """Totals are counts of units times weights, before and after, with the change."""
    table = untargeted_table(clones, np.full(6, 10.0), [20, 10, 1, 0, 10, 0])
    found = {name: (before, after) for name, before, after in
             zip(table["measure"], table["initial"], table["fitted"], strict=True)}  # fmt: skip
    assert found == {
        "tax_units": (60, 41),
        "non_filing_tax_units": (20, 1),
        "joint_tax_units": (20, 20),
        "single_tax_units": (40, 21),
        "people": (140, 121),
        "children_under_18": (60, 60),
        "people_65_and_over": (20, 1),
        "households": (60, 41),
        "one_person_households": (40, 21),
        "households_of_5_or_more": (20, 20),
        "renter_households": (20, 1),
    }
    change = dict(zip(table["measure"], table["change_percent"], strict=True))
    flagged = dict(zip(table["measure"], table["flagged"], strict=True))
    assert change["non_filing_tax_units"] == -95
    assert flagged["non_filing_tax_units"]
    assert not flagged["people"]
    assert change["people"] == pytest.approx(-100 * 19 / 140)
    assert not flagged["children_under_18"]


def test_perfect_targets_can_hide_that_a_kind_is_gone(clones):
    """Weights can meet children and earnings exactly and delete every renter."""
    rows = [[3, 0, 0, 3, 0, 0], [9, 4, 0, 9, 4, 0]]
    targets = [target("person_count", 60.0, "age<18"), target("earnings", 260.0)]
    m = matrix(rows, targets, records=3)
    w = np.array([20.0, 20, 0, 0, 0, 0])
    assert summary(unified_table(m, w), w).fitted.mean == 0
    table = untargeted_table(clones, np.full(6, 10.0), w, targets)
    row = table["measure"].tolist().index("renter_households")
    assert (table["change_percent"][row], table["flagged"][row]) == (-100, True)
    assert table["targeted_at"][row] == ""


def test_untargeted_says_at_which_levels_a_total_was_asked_for(clones):
    """A filter written as False or as 0 is one total; levels are listed from the nation down."""
    targets = [
        target("tax_unit_count", 1.0, "tax_unit_is_filer==False", level=Level.STATE),
        target("tax_unit_count", 1.0, "tax_unit_is_filer==0", level=Level.NATION, code=0),
        target("person_count", 1.0, "age<18.0", level=Level.DISTRICT, code=3701),
        target("person_count", 1.0, "age<19", level=Level.NATION, code=0),
    ]
    table = untargeted_table(clones, np.ones(6), np.ones(6), targets)
    asked = dict(zip(table["measure"], table["targeted_at"], strict=True))
    assert asked["non_filing_tax_units"] == "nation+state"
    assert asked["children_under_18"] == "district"
    assert asked["people"] == asked["single_tax_units"] == ""


def test_untargeted_totals_do_not_depend_on_chunks(clones, monkeypatch):
    """Households materialised two at a time add up to the same totals."""
    w = [20, 10, 1, 0, 10, 0]
    whole = untargeted_table(clones, np.full(6, 10.0), w)
    monkeypatch.setattr(untargeted, "CHUNK", 2)
    parts = untargeted_table(clones, np.full(6, 10.0), w)
    assert parts["fitted"].tolist() == whole["fitted"].tolist()
    assert parts["initial"].tolist() == whole["initial"].tolist()


def test_untargeted_from_nothing(clones):
    """A kind that has no initial weight has no percentage, and is flagged if it appears."""
    measures = [m for m in MEASURES if m.name == "renter_households"]
    table = untargeted_table(clones, [1, 1, 0, 1, 1, 0], np.ones(6), measures=measures)
    assert np.isnan(table["change_percent"][0])
    assert table["flagged"].tolist() == [True]
    with pytest.raises(DiagnosticsError, match="no measures"):
        untargeted_table(clones, np.ones(6), np.ones(6), measures=[])


# -- one row a target ------------------------------------------------------------------


def test_unified_table_of_every_status(five):
    """Six targets of six kinds: errors, reasons and supports as worked out by hand."""
    table = unified_table(*five)
    assert list(table)[:6] == UNIFIED_COLUMNS
    assert table["status"].tolist() == ["OK", "OK", "NO_SUPPORT", "ZERO_TARGET", "WRONG_SIGN", "OK"]
    assert table["achievable"].tolist() == [True, True, False, True, False, True]
    assert table["estimate"].tolist() == [7, 0, 0, 10, 4, 6]
    assert table["rel_error"][[0, 1, 2, 4, 5]].tolist() == [-1 / 8, -1, -1, 2, 3]
    assert table["abs_error"].tolist() == [1, 20, 3, 10, 8, 9]
    assert table["initial_estimate"].tolist() == [10, 15, 0, 7, 2, 7]
    assert table["support"].tolist() == [4, 1, 0, 2, 1, 2]
    assert table["retained_support"].tolist() == [3, 0, 0, 2, 1, 2]
    assert table["floor"].tolist() == [4, 15, 0, 4, 2, 8]
    assert table["largest_share"][0] == 4 / 7
    assert np.isnan(table["largest_share"][1:3]).all()
    assert table["group"].tolist()[3] == "state/snap"
    assert not table["holdout"].any()


def test_a_zero_target_is_never_perfect(five):
    """A zero target has no relative error but an absolute one, a reason, and a loss."""
    table = unified_table(*five)
    assert np.isnan(table["rel_error"][3])
    assert np.isnan(table["abs_rel_error"][3])
    assert np.isnan(table["initial_rel_error"][3])
    assert "zero" in table["reason"][3]
    assert table["abs_error"][3] == 10
    assert table["loss_share"][3] > 0


def test_a_negative_target_keeps_the_sign_of_its_error(five):
    """The estimate 6 of the target -3 is too high, so its relative error is +3, not -3."""
    assert unified_table(*five)["rel_error"][5] == 3


def test_dropped_targets_say_so(five):
    """A reachable target without a retained column is lost, and the reason says it."""
    table = unified_table(*five)
    assert table["reason"][1].startswith("the fit dropped every column")
    assert table["reason"][0] == ""


def test_losses_with_mixed_signs_are_achievable():
    """A row whose entries sum to 0 or less is reachable if one has the target's sign."""
    m = matrix([[-5, 1], [-5, 1]], [target("a", 2.0), target("b", -2.0)])
    assert unified_table(m, np.ones(2))["achievable"].tolist() == [True, True]


def test_loss_shares_leave_out_what_the_fit_did_not_see(five):
    """Groups have equal shares of the loss weight; held-out and unreachable rows have none."""
    m, w = five
    out = np.array([False, True, False, False, False, False])
    table = unified_table(m, w, holdout=out)
    parts = np.array([(1 / 8) ** 2, 0, 0, (10 / 4) ** 2, 0, 3.0**2])  # three groups of one row
    assert table["loss_share"] == pytest.approx(parts / parts.sum())
    assert table["holdout"].tolist() == out.tolist()


def test_loss_shares_weigh_groups_and_not_rows():
    """Two targets of one group count together as much as the one of another group."""
    rows = [[1], [1], [1]]
    targets = [target("a", 2.0), target("a", 4.0, "age<5"), target("b", 2.0)]
    table = unified_table(matrix(rows, targets), np.ones(1))
    parts = np.array([0.5 * 0.5**2, 0.5 * 0.75**2, 0.5**2])
    assert table["loss_share"] == pytest.approx(parts / parts.sum())


def test_a_perfect_fit_has_no_loss_to_share():
    """If nothing is missed the loss shares are empty instead of 0 / 0."""
    table = unified_table(matrix([[1, 1]], [target("a", 2.0)]), np.ones(2))
    assert np.isnan(table["loss_share"]).all()


@pytest.mark.parametrize("holdout", [[True], np.ones(6), np.ones((6, 1), dtype=bool)])
def test_a_holdout_must_be_one_boolean_a_target(five, holdout):
    """A holdout of another length or type is refused."""
    with pytest.raises(DiagnosticsError, match="holdout"):
        unified_table(*five, holdout=holdout)


def test_summary_of_known_errors(five):
    """Headlines count the scored targets only; the worst come first with their sign."""
    m, w = five
    found = summary(unified_table(m, w), w)
    assert (found.targets, found.achievable, found.zero_targets) == (6, 4, 1)
    assert found.fitted.targets == 3
    assert found.fitted.mean == pytest.approx((1 / 8 + 1 + 3) / 3)
    assert found.fitted.median == 1
    assert found.fitted.p95 == pytest.approx(1 + 0.9 * 2)
    assert found.fitted.within_10 == 0
    assert found.initial.mean == pytest.approx((2 / 8 + 5 / 20 + 10 / 3) / 3)
    assert (found.columns, found.retained, found.households) == (4, 3, 7)
    assert found.effective_size == pytest.approx(49 / 21)
    assert found.design_effect == pytest.approx(3 * 21 / 49)
    assert (found.max_weight, found.worst_zero) == (4, 10)
    assert [error for _, error in found.worst] == [3, -1, -1 / 8]
    assert found.worst[0][0] == "state_37/net_income"
    assert found.holdout.targets == 0
    assert math.isnan(found.holdout.mean)


def test_summary_keeps_held_out_targets_apart(five):
    """A held-out target leaves the fitted errors and stands under holdout."""
    m, w = five
    out = np.array([True, False, False, False, False, False])
    found = summary(unified_table(m, w, holdout=out), w, worst=1)
    assert (found.fitted.targets, found.holdout.targets) == (2, 1)
    assert found.holdout.mean == 1 / 8
    assert len(found.worst) == 1


def test_group_table_adds_up(five):
    """Each group stands once, in the order of the targets, with its own errors."""
    table = group_table(unified_table(*five))
    assert table["group"].tolist() == ["state/person_count", "state/snap", "state/net_income"]
    assert table["targets"].tolist() == [3, 2, 1]
    assert table["scored"].tolist() == [2, 0, 1]
    assert table["mean"][0] == pytest.approx((1 / 8 + 1) / 2)
    assert np.isnan(table["mean"][1])
    assert table["loss_share"].sum() == pytest.approx(1)


# -- the log ---------------------------------------------------------------------------


def make_log(five, **changes):
    """Lay out two epochs of the five targets."""
    m, w = five
    estimates = np.array([m.estimates(m.w0), m.estimates(w)])
    arguments = {"epochs": [0, 40], "estimates": estimates, "losses": [9.0, 0.5],
                 "retained": [4, 3], "phase": ["gates", "refit"]}  # fmt: skip
    return log_table(unified_table(m, w), **(arguments | changes))


def test_log_has_a_row_for_each_epoch_and_target(five):
    """Rows run over targets within epochs, from epoch 0, with the established columns first."""
    table = make_log(five)
    assert list(table) == [*LOG_COLUMNS, "epoch_loss", "retained", "phase"]
    assert table["epoch"].tolist() == [0] * 6 + [40] * 6
    assert table["estimate"][6:].tolist() == [7, 0, 0, 10, 4, 6]
    assert table["error"][6:].tolist() == [-1, -20, -3, 10, 8, 9]
    assert table["rel_error"][[6, 10, 11]].tolist() == [-1 / 8, 2, 3]
    assert table["loss"][6] == 1 / 64
    assert table["epoch_loss"].tolist() == [9.0] * 6 + [0.5] * 6
    assert table["retained"].tolist() == [4] * 6 + [3] * 6
    assert table["phase"][[0, -1]].tolist() == ["gates", "refit"]
    assert table["target_name"][6] == table["target_name"][0] == "state_37/person_count"


def test_log_and_unified_table_use_one_sign(five):
    """The last epoch of the log has the errors of the unified table, signs included."""
    log, unified = make_log(five), unified_table(*five)
    scored = unified["true_value"] != 0
    assert log["rel_error"][6:][scored].tolist() == unified["rel_error"][scored].tolist()


def test_log_of_a_zero_target(five):
    """A missed zero target has an infinite relative error, and its loss is in floors."""
    table = make_log(five)
    assert table["rel_error"][[3, 9]].tolist() == [np.inf, np.inf]
    assert table["loss"][[3, 9]].tolist() == [(7 / 4) ** 2, (10 / 4) ** 2]
    met = make_log(five, estimates=np.zeros((2, 6)))
    assert met["rel_error"][3] == met["loss"][3] == 0


def test_log_in_the_dialect_of_microcalibrate(five):
    """In that dialect the loss is the epoch's, on every row, and nothing is added."""
    table = make_log(five, dialect="microcalibrate")
    assert list(table) == LOG_COLUMNS
    assert table["loss"].tolist() == [9.0] * 6 + [0.5] * 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": [10, 40]}, "epoch 0 first"),
        ({"epochs": [0, 0], "phase": ["gates", "gates"]}, "then rising"),
        ({"estimates": np.zeros((2, 5))}, "estimates has shape"),
        ({"losses": [1.0]}, "epoch_loss has shape"),
        ({"phase": ["gates", "polish"]}, "polish"),
        ({"phase": ["refit", "gates"]}, "gates before refit"),
        ({"dialect": "other"}, "no dialect 'other'"),
    ],
)
def test_log_refuses_what_does_not_fit(five, changes, message):
    """Lengths that differ, a missing epoch 0 or unknown words are errors."""
    with pytest.raises(DiagnosticsError, match=message):
        make_log(five, **changes)


def as_dashboard(path):
    """Read a log as the dashboard of microcalibrate does: an empty cell counts as 0."""

    def number(text):
        if text == "":
            return 0.0
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        return value if math.isfinite(value) else 1e10

    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = ("epoch", "loss", "target", "estimate", "error", "abs_error", "rel_abs_error")
    return [{n: number(row[n]) for n in names} | {"name": row["target_name"]} for row in rows]


def test_log_counts_on_from_the_gates_to_the_refit(five):
    """Epochs of the refit follow those of the gates, and its epoch 0 does not stand twice."""
    table = make_log(five, epochs=[0, 30, 0, 5], estimates=np.zeros((4, 6)), losses=range(4),
                     retained=range(4), phase=["gates", "gates", "refit", "refit"])  # fmt: skip
    assert table["epoch"][::6].tolist() == [0, 30, 35]
    assert table["phase"][::6].tolist() == ["gates", "gates", "refit"]
    assert table["epoch_loss"][::6].tolist() == [0, 1, 3]
    alone = make_log(five, epochs=[0, 5], phase=["refit", "refit"])
    assert alone["epoch"][::6].tolist() == [0, 5]


@pytest.mark.parametrize("dialect", ["package", "microcalibrate"])
def test_the_dashboard_sees_no_perfect_zero_target(five, tmp_path, dialect):
    """Read as the dashboard reads it, a missed zero target is far off in every epoch."""
    write_csv(tmp_path / "log.csv", make_log(five, dialect=dialect))
    zeros = [row for row in as_dashboard(tmp_path / "log.csv") if row["target"] == 0]
    assert [row["rel_abs_error"] for row in zeros] == [1e10, 1e10]
    assert all(row["loss"] > 0 for row in zeros)


# -- validation ------------------------------------------------------------------------


def test_validation_compares_a_file_with_its_own_area():
    """A state's file is compared with the state's targets, not with those of other areas."""
    targets = [
        target("snap", 100.0),
        target("snap", 70.0, level=Level.DISTRICT, code=3701),
        target("snap", 500.0, level=Level.NATION, code=0),
        target("snap", 0.0, "age<1"),
    ]
    areas = {"s": Area.state(37), "d": Area.district(3701)}
    values = {"s": {t.name: 90.0 for t in targets}, "d": {targets[1].name: 77.0}}
    table = validation_table(areas, values, targets, holdout=[targets[1].name])
    assert list(table) == VALIDATION_COLUMNS
    assert table["display_name"].tolist() == ["NC", "NC", "NC-01"]
    assert table["area_type"].tolist() == ["states", "states", "districts"]
    assert table["area_id"].tolist() == ["37", "37", "3701"]
    assert table["district"].tolist() == ["", "", "NC-01"]
    assert table["rel_error"].tolist() == pytest.approx([-0.1, np.inf, 0.1])
    assert table["error"].tolist() == [-10, 90, 7]
    assert table["in_training"].tolist() == [True, True, False]
    assert table["sanity_check"].tolist() == ["PASS"] * 3


@pytest.mark.parametrize(
    ("area", "people", "verdict"),
    [
        (Area.district(3701), 1.1e6, "FAIL"),
        (Area.state(37), 1.1e6, "PASS"),
        (Area.state(37), 41e6, "FAIL"),
        (Area.nation(), 339e6, "PASS"),
        (Area.nation(), 341e6, "FAIL"),
        (Area.city("LA", ["06037"]), 10e6, "PASS"),
        (Area.place("Los Angeles", "0644000"), 3.9e6, "PASS"),
        (Area.place("Los Angeles", "0644000"), 41e6, "FAIL"),
    ],
)
def test_every_level_has_its_own_ceiling(area, people, verdict):
    """A county of ten million people is plausible; a district of 1.1 million is not."""
    asked = target("person_count", 1e6, level=area.level, code=area.codes[0])
    table = validation_table({"f": area}, {"f": {asked.name: people}}, [asked])
    assert table["sanity_check"].tolist() == [verdict]
    assert bool(table["sanity_reason"][0]) == (verdict == "FAIL")


def test_ceilings_know_dollars_households_and_other_units():
    """Half a million is too many households for a district, not too many units or dollars."""
    names = ("household_count", "tax_unit_count", "snap")
    asked = [target(name, 1.0, level=Level.DISTRICT, code=3701) for name in names]
    values = {"f": {t.name: 5e5 for t in asked}}
    table = validation_table({"f": Area.district(3701)}, values, asked)
    assert table["sanity_check"].tolist() == ["FAIL", "PASS", "PASS"]
    broken = {"f": {t.name: math.nan for t in asked}}
    table = validation_table({"f": Area.district(3701)}, broken, asked)
    assert set(table["sanity_reason"]) == {"not a finite number"}
    losses = {"f": {t.name: -6e11 for t in asked}}
    table = validation_table({"f": Area.district(3701)}, losses, asked)
    assert table["sanity_check"].tolist() == ["FAIL"] * 3


def test_a_city_answers_for_each_of_its_counties():
    """The targets of a city that is two counties are those of both counties."""
    city = Area.city("pair", ["06037", "06059"])
    asked = [target("snap", 1.0, level=Level.COUNTY, code=c) for c in (6037, 6059, 6001)]
    assert targets_of(city, asked) == asked[:2]
    table = validation_table({"f": city}, {"f": {t.name: 2.0 for t in asked}}, asked)
    assert table["area_id"].tolist() == ["06037+06059"] * 2
    assert table["target_name"].tolist() == ["county_06037/snap", "county_06059/snap"]


def test_codes_of_two_levels_are_not_confused():
    """District 3701 and county 03701 have one number and are two areas."""
    both = [target("snap", 1.0, level=level, code=3701) for level in (Level.DISTRICT, Level.COUNTY)]
    assert targets_of(Area.district(3701), both) == both[:1]


def test_validation_leaves_nothing_out():
    """A target that was not evaluated, a file without area, or no row at all are errors."""
    asked, areas = [target("snap", 5.0)], {"f": Area.state(37)}
    with pytest.raises(DiagnosticsError, match="state_37/snap was not evaluated on f"):
        validation_table(areas, {"f": {}}, asked)
    with pytest.raises(DiagnosticsError, match="was not evaluated"):
        validation_table(areas, {}, asked)
    with pytest.raises(DiagnosticsError, match="no area is given for file 'g'"):
        validation_table(areas, {"g": {}}, asked)
    with pytest.raises(DiagnosticsError, match="nothing was validated"):
        validation_table({"f": Area.state(49)}, {"f": {}}, asked)


def test_an_area_without_a_file_fails_validation():
    """The targets of an area where nothing was retained are missed in full and fail."""
    table = validation_table({"f": Area.state(37)}, {}, [target("snap", 5.0)], empty=["f"])
    assert (table["sim_value"][0], table["rel_error"][0]) == (0, -1)
    assert table["sanity_check"].tolist() == ["FAIL"]
    assert "no file" in table["sanity_reason"][0]


def test_identity_table_holds_the_comparisons():
    """Each comparison is a row, with its gap."""
    report = IdentityReport((Comparison("f", "t", 10.0, 9.0, 20.0), Comparison("g", "t", 1, 1, 0)))
    table = identity_table(report)
    assert list(table) == ["file", "target", "matrix", "written", "scale", "gap"]
    assert table["gap"].tolist() == [0.05, 0]
    assert table["file"].tolist() == ["f", "g"]


# -- causes ----------------------------------------------------------------------------


def cause_of(rows, values, w, i=0, names=None, **options):
    """Explain row i of a matrix whose targets are amounts of one state."""
    names = names or [f"v{k}" for k in range(len(rows))]
    w0 = options.pop("w0", None)
    m = matrix(rows, [target(n, float(t)) for n, t in zip(names, values, strict=True)], w0)
    return explain(m, np.array(w, dtype=float), m.names[i], **options)


def test_explain_no_support_and_wrong_sign():
    """Rows that no weights can help say so before anything else."""
    assert cause_of([[0, 0], [1, 1]], [5, 2], [1, 1]).cause is Cause.NO_SUPPORT
    found = cause_of([[1, 2], [1, 1]], [-5, 2], [1, 1])
    assert found.cause is Cause.WRONG_SIGN
    assert "none of 2 entries has the sign of -5" in found.message


def test_explain_zero_target_even_when_met():
    """A zero target is never called fitted, not even where the estimate is 0."""
    assert cause_of([[1, 1]], [0], [0, 0]).cause is Cause.ZERO_TARGET
    found = cause_of([[1, 1]], [0], [1, 1])
    assert (found.cause, found.numbers["error"]) == (Cause.ZERO_TARGET, 2)


def test_explain_fitted_within_the_tolerance():
    """One percent off is fitted at the default, and not at a tighter tolerance."""
    row, w = [[1] * 10], [10.1] * 10
    assert cause_of(row, [100], w, tolerance=0.011).cause is Cause.FITTED
    assert cause_of(row, [100], w, tolerance=0.009).cause is Cause.UNFINISHED


def test_explain_held_out():
    """A held-out target that is missed was never pulled."""
    rows, held_out = [[1] * 10, [1] * 10], np.array([True, False])
    found = cause_of(rows, [50, 10], [1] * 10, holdout=held_out)
    assert found.cause is Cause.HELD_OUT


@pytest.mark.parametrize("i", [0, 1])
def test_explain_out_of_range_for_count_and_amount(i):
    """100 units with 5,000 dollars are 50 a unit; no column has more than 20."""
    rows = [[1, 2, 1, 1, 1, 1], [10, 40, 12, 15, 11, 18]]
    found = cause_of(rows, [100, 5000], [25] * 6, i, names=["tax_unit_count", "agi"])
    assert found.cause is Cause.OUT_OF_RANGE
    assert found.other == ["state_37/agi", "state_37/tax_unit_count"][i]
    assert [found.numbers[n] for n in ("ratio", "lowest", "highest")] == [50, 10, 20]
    assert found.numbers["needed_change"] == pytest.approx([1.5, -0.6][i])  # 20 a unit, both ways


def test_explain_range_that_no_column_bounds():
    """Dollars without a counted unit leave the range open, so it excludes nothing."""
    rows = [[1, 1, 1, 1, 1, 0], [10, 10, 10, 10, 10, 10]]
    found = cause_of(rows, [100, 5000], [25] * 6, 1, names=["tax_unit_count", "agi"])
    assert found.cause is not Cause.OUT_OF_RANGE


def test_explain_range_leaves_out_what_the_fit_did_not_see():
    """A count that was held out put no bound on the amount."""
    rows, w = [[1] * 6, [10, 20, 12, 15, 11, 18]], np.full(6, 25.0)
    m = matrix(rows, [target("tax_unit_count", 100.0), target("agi", 5000.0)])
    seen, unseen = np.array([False, False]), np.array([True, False])
    assert explain(m, w, "state_37/agi", holdout=seen).cause is Cause.OUT_OF_RANGE
    assert explain(m, w, "state_37/agi", holdout=unseen).cause is Cause.UNFINISHED


def test_explain_range_needs_the_same_group():
    """A count under other constraints says nothing about an amount."""
    rows = [[1] * 6, [10] * 6]
    targets = [target("tax_unit_count", 100.0, "age>=65"), target("agi", 5000.0)]
    m = matrix(rows, targets)
    assert explain(m, np.full(6, 16.0), "state_37/agi").cause is not Cause.OUT_OF_RANGE


def test_explain_floor():
    """A target of 5 is below the 12 that one column brings at the start."""
    found = cause_of([[1, 2, 1, 1, 1, 1]], [5], [1] * 6, w0=[1, 6, 1, 1, 1, 1])
    assert (found.cause, found.numbers["floor"]) == (Cause.FLOOR, 12)


def test_explain_few_records():
    """Four retained columns of two records are too few, and both numbers are told."""
    m = matrix([[1] * 8], [target("a", 100.0)], records=2)
    found = explain(m, np.array([1, 1, 1, 1, 0, 0, 0, 0.0]), "state_37/a")
    assert found.cause is Cause.FEW_RECORDS
    assert (found.numbers["retained"], found.numbers["records"]) == (4, 2)


def test_explain_conflict_of_targets_that_cannot_both_hold():
    """Equal rows with targets 100 and 200 settle at 120; the first would have to be 200."""
    rows = [[1] * 10, [1] * 10, [0] * 9 + [1]]
    found = cause_of(rows, [100, 200, 12], [12] * 10)
    assert (found.cause, found.other) == (Cause.CONFLICT, "state_37/v1")
    assert found.numbers["needed_change"] == 1
    assert "+20 % off" in found.message
    assert "0.5, the columns have 1 to 1" in found.message


def test_explain_part_that_exceeds_the_whole():
    """A part of 50 in a whole of 40 cannot be; each of the two is named for the other."""
    rows, values, w = [[1] * 10, [0] * 4 + [1] * 6], [40, 50], [0] * 4 + [7.5] * 6
    whole, part = (cause_of(rows, values, w, i) for i in (0, 1))
    assert (whole.cause, whole.other) == (Cause.CONFLICT, "state_37/v1")
    assert whole.numbers["needed_change"] == pytest.approx(0.25)
    assert (part.cause, part.other) == (Cause.CONFLICT, "state_37/v0")
    assert part.numbers["needed_change"] == pytest.approx(-0.2)


def test_explain_contradictions_of_losses():
    """Two rows of losses, and targets of losses, contradict each other like gains do."""
    found = cause_of([[-1] * 10, [-1] * 10], [-100, -200], [12] * 10)
    assert (found.cause, found.other) == (Cause.CONFLICT, "state_37/v1")
    assert found.numbers["needed_change"] == -1
    mixed = cause_of([[-1, 3] * 5, [2, -1] * 5], [100, 200], [9] * 10)
    assert "ratio" not in mixed.numbers  # entries of both signs can add up to anything


def test_explain_contradiction_with_a_row_of_both_signs():
    """At most 3 of the other come with each loss: for 100 of it the loss must be 33, not 10."""
    found = cause_of([[-1] * 6, [3, -1, 3, 2, 3, 1]], [-10, 100], [5] * 6)
    assert (found.cause, found.other) == (Cause.CONFLICT, "state_37/v1")
    assert found.numbers["needed_change"] == pytest.approx(1 - 100 / 30)
    assert (found.numbers["lowest"], found.numbers["highest"]) == (-1, 3)


@pytest.mark.parametrize(
    ("rows", "values", "w"),
    [
        ([[1] * 6 + [0] * 4, [1] * 10], [10, 40], [20 / 6] * 6 + [0] * 4),  # a part of a whole
        ([[1] * 5 + [0], [1] * 5 + [-5]], [100, 10], [4] * 6),  # one more, of the other sign
    ],
)
def test_explain_sees_no_contradiction_where_there_is_none(rows, values, w):
    """Columns that only one row has leave room, so these pairs can both be met."""
    assert "ratio" not in cause_of(rows, values, w).numbers
    answer = linprog(np.zeros(len(w)), A_eq=rows, b_eq=values, bounds=(0, None))
    assert answer.status == 0


def test_explain_needs_a_contradiction_of_the_size_of_the_miss():
    """Sources that differ by 1 % do not explain an estimate that is 30 % off."""
    found = cause_of([[1] * 10, [1] * 10], [100, 101], [13] * 10)
    assert found.cause is Cause.UNFINISHED
    other_way = cause_of([[1] * 10, [1] * 10], [100, 200], [9] * 10)
    assert other_way.cause is Cause.UNFINISHED  # both want more; nothing keeps it from 100


def test_explain_push_is_the_change_of_the_loss():
    """The push of each target equals the finite difference of its loss along the step."""
    rng = np.random.default_rng(5)
    rows = rng.uniform(0, 3, size=(2, 12)).astype(np.float32)
    w = rng.uniform(0.5, 2, 12)
    y = rows.astype(float) @ w
    t = np.array([y[0] * 0.8, y[1] * 1.6])  # the first is too high, the second too low
    found = cause_of(rows, t, w)
    assert found.cause is Cause.CONFLICT
    A = rows.astype(float) * w / t[:, None]
    h = 1e-6
    e = rows.astype(float) @ (w * np.exp(-h * A[0] / (A[0] @ A[0]))) / t - 1
    before = y / t - 1
    push = (e[1] ** 2 - before[1] ** 2) / h  # per unit of |e_0|; both rows weigh the same
    gain = (before[0] ** 2 - e[0] ** 2) / h
    assert found.numbers["push"] == pytest.approx(push / gain, rel=1e-4)
    angle = A[0] @ A[1] / np.sqrt((A[0] @ A[0]) * (A[1] @ A[1]))
    assert found.numbers["correlation"] == pytest.approx(angle, rel=1e-6)
    assert found.numbers["shared_columns"] == 12


def test_explain_unfinished_when_nothing_opposes():
    """A target that others would let come nearer only needs more epochs."""
    rows = [[1] * 10, [1] * 10]
    found = cause_of(rows, [100, 110], [5] * 10)  # both too low: they pull the same way
    assert found.cause is Cause.UNFINISHED


def test_explain_ignores_pulls_of_unreachable_targets():
    """A target with the wrong sign is no part of the loss and cannot oppose."""
    found = cause_of([[1] * 10, [1] * 10], [100, -900], [5] * 10)
    assert found.cause is Cause.UNFINISHED


def test_explain_refuses_an_unknown_name():
    """A name that the matrix lacks is an error that names the nearest one."""
    m = matrix([[1]], [target("snap", 1.0)])
    with pytest.raises(DiagnosticsError, match="did you mean 'state_37/snap'"):
        explain(m, np.ones(1), "state_37/snapp")


def test_every_cause_says_what_to_do():
    """Each cause's value is a text of whole sentences, and no two are the same."""
    texts = [cause.value for cause in Cause]
    assert len(set(texts)) == len(texts) == 10
    assert all(text.endswith(".") and len(text) > 40 for text in texts)


# -- files -----------------------------------------------------------------------------


def test_csv_reads_back_as_written(five, tmp_path):
    """Pandas reads back what was written, names with commas included."""
    m, w = five
    m.targets[1] = target("person_count", 20.0, "race==2", "age>=65")
    table = unified_table(m, w)
    write_csv(tmp_path / "t.csv", table)
    empty = {name: [""] for name, column in table.items() if column.dtype.kind == "f"}
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values=empty)
    assert list(read) == list(table)
    for name, column in table.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(read[name].to_numpy(), column, rtol=1e-15)
        else:
            assert read[name].tolist() == column.tolist()
    assert "state_37/person_count/[age>=65,race==2]" in read["target"].tolist()


def test_csv_bytes_are_fixed(tmp_path):
    """Floats are written by repr, truths as True and False, NaN as nothing, lines end in LF."""
    table = {"x": np.array([0.1, np.nan, -np.inf, 1e22]), "y": np.array([True, False, True, True]),
             "z": np.array(["a,b", 'say "x"', "", "é"]), "n": np.arange(4)}  # fmt: skip
    write_csv(tmp_path / "t.csv", table)
    expected = 'x,y,z,n\n0.1,True,"a,b",0\n,False,"say ""x""",1\n-inf,True,,2\n1e+22,True,é,3\n'
    assert (tmp_path / "t.csv").read_bytes() == expected.encode()


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"a": np.zeros(2), "b": np.zeros(3)},
        {"a": np.zeros((2, 2))},
        {"a": np.array([None, 1], dtype=object)},
    ],
)
def test_csv_refuses_what_is_no_table(tmp_path, table):
    """Columns of other lengths or types are errors, and no file is left."""
    with pytest.raises(DiagnosticsError, match=r"t\.csv"):
        write_csv(tmp_path / "t.csv", table)
    assert not list(tmp_path.iterdir())


def test_write_diagnostics_uses_the_established_names(five, tmp_path):
    """Tables and configuration land under their names, with the prefix of a second vector."""
    m, w = five
    table = unified_table(m, w)
    written = write_diagnostics(
        tmp_path, {"unified_diagnostics": table}, {"a": 1}, prefix="national_"
    )
    names = ["national_unified_diagnostics.csv", "national_unified_run_config.json"]
    assert [path.name for path in written] == names
    assert all(path.is_file() for path in written)
    with pytest.raises(DiagnosticsError, match="did you mean 'untargeted'"):
        write_diagnostics(tmp_path, {"untargetted": table})


def test_run_config_records_what_was_used(five, tmp_path):
    """Sizes, hashes, versions and the error are those of the run, and JSON can hold them."""
    m, w = five
    artifact = tmp_path / "weights.npz"
    artifact.write_bytes(b"weights")
    config = run_config(
        options={"epochs": 7},
        seed=3,
        matrix=CalibrationMatrix(m.X, m.targets, m.w0, np.arange(2), m.made_of),
        weights=w,
        unified=unified_table(m, w),
        artifacts={"weights.npz": artifact},
        elapsed_seconds=1.5,
    )
    write_json(tmp_path / "config.json", config)
    assert read_json(tmp_path / "config.json") == json.loads(json.dumps(config))
    assert (config["n_targets"], config["n_records"], config["n_clones"]) == (6, 2, 2)
    assert (config["weight_sum"], config["weight_nonzero"]) == (7, 3)
    assert config["mean_error_pct"] == pytest.approx(100 * (1 / 8 + 1 + 3) / 3)
    assert config["artifacts"] == {"weights.npz": f"sha256:{hash_file(artifact)}"}
    assert config["versions"]["numpy"] == np.__version__
    assert ("torch" in config["versions"]) == ("torch" in sys.modules)


def test_run_config_without_a_scored_target_is_still_json(tmp_path):
    """Where no target can be scored the mean error is null, not NaN."""
    m = matrix([[1, 1]], [target("a", 0.0)])
    config = run_config(options={}, seed=0, matrix=m, weights=np.ones(2), artifacts={},
                        unified=unified_table(m, np.ones(2)), elapsed_seconds=0)  # fmt: skip
    assert config["mean_error_pct"] is None
    write_json(tmp_path / "config.json", config)
