"""What must hold of weight statistics, tables and causes for every problem."""

import csv
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.optimize import linprog

from calibration.crosswalk import GeographyAssignment
from calibration.diagnostics import (
    Cause,
    area_table,
    design_effect,
    effective_size,
    explain,
    group_table,
    log_table,
    row_statistics,
    summary,
    top_share,
    unified_table,
    write_csv,
)
from calibration.geography import Area, Level
from calibration.matrix import CalibrationMatrix, RowStatus
from calibration.targets import Target, parse_constraint

WEIGHTS = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1e12))
VARIABLES = ("person_count", "tax_unit_count", "agi", "snap")
RELATIVE = 1e-12


@st.composite
def problems(draw):
    """Draw a matrix with rows of every status, weights with zeros, and a holdout."""
    rows, columns = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    entries = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 7.5, -3.0])
    dense = draw(hnp.arrays(np.float32, (rows, columns), elements=entries))
    values = st.sampled_from([0.0, -40.0, 1.0, 8.0, 100.0])
    targets = [
        Target(
            variable=VARIABLES[draw(st.integers(0, 3))],
            level=Level.STATE,
            code=37,
            constraints=(parse_constraint(f"age>={i // 2}"),),
            period=2024,
            value=draw(values),
        )
        for i in range(rows)
    ]
    assume(len({t.name for t in targets}) == rows)
    size = (columns,)
    w0 = draw(hnp.arrays(np.float64, size, elements=st.sampled_from([0.5, 1.0, 6.0])))
    w = draw(hnp.arrays(np.float64, size, elements=st.sampled_from([0.0, 0.25, 1.0, 9.0])))
    out = draw(hnp.arrays(np.bool_, (rows,)))
    X = sparse.csr_array(dense)
    return CalibrationMatrix(X, targets, w0, np.arange(columns), {}), w, out


# -- weights ---------------------------------------------------------------------------


@given(WEIGHTS)
def test_effective_size_lies_between_one_and_n(w):
    """The effective size is 1 to n over the positive weights, the design effect 1 or more."""
    n = np.count_nonzero(w)
    assume(n)
    assert 1 <= effective_size(w) <= n
    assert design_effect(w) >= 1
    assert effective_size(w) * design_effect(w) == pytest.approx(n)


@given(WEIGHTS.filter(np.any), st.floats(1e-6, 1e6))
def test_statistics_do_not_depend_on_the_unit(w, factor):
    """Weights in thousands have the effective size and the top share of weights in ones."""
    w = np.where(w < 1e-100, 0, w)  # below, scaling would lose digits
    assume(w.any())
    assert effective_size(w * factor) == pytest.approx(effective_size(w), rel=1e-9)
    assert top_share(w * factor) == pytest.approx(top_share(w), rel=1e-9)


@given(WEIGHTS, st.integers(1, 5))
def test_zeros_change_nothing_and_copies_multiply(w, k):
    """Dropped columns do not count; k copies of a sample are worth k times as much."""
    assert effective_size(np.r_[w, np.zeros(9)]) == effective_size(w)
    assert effective_size(np.tile(w, k)) == pytest.approx(k * effective_size(w))


@given(WEIGHTS.filter(np.any), st.floats(0.001, 1), st.floats(0.001, 1))
def test_top_share_rises_with_the_part(w, a, b):
    """A larger part of the columns holds at least as much weight, and never less than its part."""
    low, high = sorted((a, b))
    assert top_share(w, low) <= top_share(w, high) * (1 + RELATIVE)
    assert low * (1 - RELATIVE) <= top_share(w, low) <= 1 + RELATIVE


@given(st.data())
def test_states_add_up_to_the_nation(data):
    """Columns, retained columns and households of the states sum to the nation's."""
    records, clones = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    size = (records * clones,)
    state = data.draw(hnp.arrays(np.int64, size, elements=st.sampled_from([6, 37, 49])))
    w = data.draw(hnp.arrays(np.float64, size, elements=st.floats(0, 1e6)))
    geography = GeographyAssignment(records, clones, {Level.STATE: state})
    areas = [Area.nation(), *(Area.state(s) for s in (6, 37, 49))]
    table = area_table(w, np.ones(size), geography, areas)
    for name in ("columns", "retained", "households"):
        assert table[name][0] == pytest.approx(table[name][1:].sum())
    assert (table["record_effective_size"] <= table["records"]).all()
    assert (table["records"] <= np.minimum(table["retained"], records)).all()


# -- targets ---------------------------------------------------------------------------


@given(problems())
def test_loss_shares_sum_to_one(problem):
    """Loss shares are 0 or more and sum to 1, or there is no loss and they are empty."""
    m, w, out = problem
    share = unified_table(m, w, holdout=out)["loss_share"]
    if np.isnan(share).any():
        assert np.isnan(share).all()
        return
    assert share.sum() == pytest.approx(1)
    assert (share >= 0).all()
    assert (share[out] == 0).all()


@given(problems())
def test_row_weights_are_even_over_groups(problem):
    """Row weights sum to 1 and each group that takes part has equal total."""
    m, w, out = problem
    rows = row_statistics(m, w, holdout=out)
    totals = dict.fromkeys(m.groups, 0.0)
    for group, c in zip(m.groups, rows.row_weight.tolist(), strict=True):
        totals[group] += c
    taking_part = [total for total in totals.values() if total]
    if taking_part:
        assert sum(taking_part) == pytest.approx(1)
        assert max(taking_part) == pytest.approx(min(taking_part))


@given(problems(), st.randoms(use_true_random=False))
def test_permuting_targets_permutes_rows(problem, random):
    """The order of the targets decides the order of the rows and nothing else."""
    m, w, out = problem
    order = list(range(len(m.targets)))
    random.shuffle(order)
    turned = replace(m, X=m.X[order], targets=[m.targets[i] for i in order])
    one = unified_table(m, w, holdout=out)
    other = unified_table(turned, w, holdout=out[order])
    for name, column in one.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(other[name], column[order], rtol=RELATIVE, atol=1e-300)
        else:
            assert other[name].tolist() == column[order].tolist()


@given(problems(), st.randoms(use_true_random=False))
def test_permuting_columns_changes_nothing(problem, random):
    """The order of the columns is irrelevant to every cell of the table."""
    m, w, out = problem
    order = list(range(len(w)))
    random.shuffle(order)
    turned = replace(m, X=m.X[:, order].tocsr(), w0=m.w0[order])
    one, other = (unified_table(*p, holdout=out) for p in ((m, w), (turned, w[order])))
    for name, column in one.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(other[name], column, rtol=1e-9, atol=1e-9)
        else:
            assert other[name].tolist() == column.tolist()


@given(problems())
def test_relative_errors_are_empty_exactly_at_zero_targets(problem):
    """A relative error is missing where and only where the target is 0, with a reason."""
    m, w, _ = problem
    table = unified_table(m, w)
    zero = table["true_value"] == 0
    for name in ("rel_error", "abs_rel_error", "initial_rel_error"):
        assert np.isnan(table[name]).tolist() == zero.tolist()
    assert (table["reason"][zero] != "").all()
    too_high = table["estimate"][~zero] > table["true_value"][~zero]
    assert ((table["rel_error"][~zero] > 0) == too_high).all()


@given(problems())
def test_achievable_means_that_some_weights_come_nearer(problem):
    """For a nonzero target, achievable is true exactly if a column moves the estimate to it."""
    m, w, _ = problem
    table, dense = unified_table(m, w), m.X.toarray()
    for row, t, achievable in zip(dense, table["true_value"], table["achievable"], strict=True):
        if t:
            assert achievable == bool((row * t > 0).any())


@given(problems())
def test_groups_and_summary_count_the_same_targets(problem):
    """The scored targets of the groups add up to those of the summary, and so do the losses."""
    m, w, out = problem
    unified = unified_table(m, w, holdout=out)
    groups, headline = group_table(unified), summary(unified, w)
    assert groups["targets"].sum() == headline.targets == len(m.targets)
    assert groups["scored"].sum() == headline.fitted.targets
    if headline.fitted.targets:
        means = np.nan_to_num(groups["mean"]) * groups["scored"]
        assert means.sum() / groups["scored"].sum() == pytest.approx(headline.fitted.mean)


@given(problems(), st.integers(1, 4))
def test_log_repeats_the_unified_table_at_every_epoch(problem, epochs):
    """Each epoch of the log holds all targets, with the errors that its estimates have."""
    m, w, _ = problem
    unified = unified_table(m, w)
    y = np.array([m.estimates(w * (1 + e)) for e in range(epochs)])
    table = log_table(unified, epochs=np.arange(epochs), estimates=y, losses=np.zeros(epochs),
                      retained=np.zeros(epochs, dtype=int), phase=["gates"] * epochs)  # fmt: skip
    for e in range(epochs):
        part = slice(e * len(m.targets), (e + 1) * len(m.targets))
        assert table["target_name"][part].tolist() == m.names
        again = unified_table(m, w * (1 + e))
        scored = again["true_value"] != 0
        assert table["rel_error"][part][scored].tolist() == again["rel_error"][scored].tolist()
        assert table["abs_error"][part].tolist() == again["abs_error"].tolist()
    assert not np.isnan(table["loss"]).any()


# -- causes ----------------------------------------------------------------------------


@given(problems())
def test_every_target_has_one_cause_that_fits(problem):
    """The cause agrees with what the tables say: status, error, holdout and support."""
    m, w, out = problem
    table = unified_table(m, w, holdout=out)
    for i, name in enumerate(m.names):
        cause = explain(m, w, name, holdout=out).cause
        met = table["abs_rel_error"][i] <= 0.01
        assert (cause is Cause.ZERO_TARGET) == (table["true_value"][i] == 0)
        for status in (RowStatus.NO_SUPPORT, RowStatus.WRONG_SIGN):
            assert (cause.name == status.name) == (table["status"][i] == status.name)
        if table["achievable"][i] and table["true_value"][i]:
            assert (cause is Cause.FITTED) == met
            assert (cause is Cause.HELD_OUT) == bool(out[i] and not met)
        if cause is Cause.FEW_RECORDS:
            assert table["retained_support"][i] < 5
        if cause is Cause.FLOOR:
            assert abs(table["true_value"][i]) < table["floor"][i]


@given(
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0.5, 50)),
    st.floats(0.01, 100),
)
def test_out_of_range_is_a_proof(rows, per_unit):
    """OUT_OF_RANGE is found if no mix of columns has the wanted amount per unit, and only then."""
    count, amount = rows.astype(np.float32).astype(float)
    ratio = amount / count
    nearest = np.argmin(abs(ratio - per_unit))
    assume(abs(ratio[nearest] / per_unit - 1) > 0.02)
    w = np.zeros(6)
    w[nearest] = 100 / count[nearest]  # the best that weights can do for both
    targets = [Target(variable=v, level=Level.STATE, code=37, constraints=(), period=2024, value=t)
               for v, t in (("tax_unit_count", 100.0), ("agi", 100.0 * per_unit))]  # fmt: skip
    X = sparse.csr_array(np.array([count, amount], dtype=np.float32))
    found = explain(CalibrationMatrix(X, targets, np.ones(6), np.arange(6), {}), w, "state_37/agi")
    inside = ratio.min() < per_unit < ratio.max()
    assert (found.cause is Cause.OUT_OF_RANGE) == (not inside)


@given(problems())
def test_a_contradiction_is_infeasible(problem):
    """Where a pair is said to be out of range, a linear program finds no weights for it."""
    m, w, _ = problem
    dense = m.X.toarray().astype(float)
    for i, name in enumerate(m.names):
        found = explain(m, w, name)
        if "ratio" not in found.numbers:
            continue
        pair = [i, m.names.index(found.other)]
        t = np.array([m.targets[k].value for k in pair])
        answer = linprog(np.zeros(len(w)), A_eq=dense[pair], b_eq=t, bounds=(0, None))
        assert answer.status == 2  # infeasible


# -- files -----------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12)


@given(st.data())
def test_csv_returns_every_cell(data):
    """Any text and any float, quotes, commas and line ends included, comes back as it was."""
    rows = data.draw(st.integers(1, 6))
    texts = data.draw(st.lists(TEXT, min_size=rows, max_size=rows))
    floats = data.draw(st.lists(st.floats(), min_size=rows, max_size=rows))
    table = {"text": np.array(texts, dtype="U12"), "value": np.array(floats)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_csv(path, table)
        with path.open(newline="", encoding="utf-8") as stream:
            read = list(csv.DictReader(stream))
    assert [row["text"] for row in read] == texts
    for row, value in zip(read, floats, strict=True):
        assert (row["value"] == "") == math.isnan(value)
        assert math.isnan(value) or float(row["value"]).hex() == value.hex()
