"""Levels agree: every known way to spoil reconciliation is found, and named for what it is."""

from dataclasses import replace

import pytest
from small_world import target

from calibration import toy, uprating
from calibration.failures import FAILURES, find
from calibration.geography import Level
from calibration.level_gaps import Gap, level_gaps
from calibration.uprating import read_factors, to_year

AREAS = {Level.STATE: [11, 37], Level.DISTRICT: [1101, 3701, 3702], Level.COUNTY: [37063, 37183]}
YOUNG, OLD = "age<18", "age>=18"


def people(level: Level, code: int, value: float, *constraints: str):
    """Make a target for people."""
    return target("person_count", level, code, *constraints, value=value)


STATE = people(Level.STATE, 37, 100.0, YOUNG)
ONE, TWO = people(Level.DISTRICT, 3701, 30.0, YOUNG), people(Level.DISTRICT, 3702, 50.0, YOUNG)
BINS = [
    people(Level.STATE, 37, 100.0, YOUNG),
    people(Level.STATE, 37, 300.0, OLD),
    *(people(Level.DISTRICT, code, 50.0, YOUNG) for code in (3701, 3702)),
    *(people(Level.DISTRICT, code, 150.0, OLD) for code in (3701, 3702)),
]


def gaps(published, used=None) -> dict[str, Gap]:
    """Give what is found by target; without `used`, after reconciliation."""
    used = uprating.reconcile(published, AREAS)[0] if used is None else used
    return {row.target: row.gap for row in level_gaps(published, used, AREAS)}


@pytest.mark.parametrize("published", [[STATE, ONE, TWO], [STATE, ONE], [ONE, TWO], BINS, []])
def test_what_was_reconciled_has_no_gaps(published):
    """Complete, incomplete, without a parent, in bins, or nothing at all."""
    assert gaps(published) == {}


def test_a_total_beside_children_that_disagree_is_mixed():
    """100 beside 30 + 50, where the fit would land between them."""
    (row,) = level_gaps([STATE, ONE, TWO], [STATE, ONE, TWO], AREAS)
    assert (row.gap, row.published, row.carried) == (Gap.MIXED, 100.0, 80.0)


def test_a_total_that_nothing_carries_is_lost():
    """Dropped with one district missing, or with none there at all."""
    assert gaps([STATE, ONE], [ONE]) == {STATE.name: Gap.LOST}
    assert gaps([STATE, ONE], [replace(ONE, value=100.0)]) == {STATE.name: Gap.LOST}
    assert gaps([STATE], []) == {STATE.name: Gap.LOST}


def test_a_total_that_is_carried_wrongly_is_moved():
    """Children that were left as they were, under a parent that is gone."""
    assert gaps([STATE, ONE, TWO], [ONE, TWO]) == {STATE.name: Gap.MOVED}


def test_a_total_that_is_used_at_another_value_is_changed():
    """A root is used as it was published; 200 for 100 shows, whatever the areas below say."""
    (row,) = level_gaps([STATE], [replace(STATE, value=200.0)], AREAS)
    assert (row.gap, row.published, row.carried) == (Gap.CHANGED, 100.0, 200.0)
    agreeing = [replace(STATE, value=80.0), ONE, TWO]
    assert gaps([STATE, ONE, TWO], agreeing) == {STATE.name: Gap.CHANGED}
    (one, other) = level_gaps([STATE], [replace(STATE, value=90.0), ONE, TWO], AREAS)
    assert (one.gap, one.carried) == (Gap.CHANGED, 90.0)
    assert (other.gap, other.carried) == (Gap.MIXED, 80.0)


def test_a_total_below_a_published_one_may_move():
    """Districts that were rescaled to their state are not as they were published."""
    assert gaps([STATE, ONE, TWO], [replace(ONE, value=37.5), replace(TWO, value=62.5)]) == {}


def test_a_nation_is_carried_by_districts_of_its_states():
    """States that were replaced by their districts carry the nation; a wrong district shows."""
    nation = people(Level.NATION, 0, 300.0, YOUNG)
    published = [nation, people(Level.STATE, 11, 50.0, YOUNG), STATE, ONE, TWO,
                 people(Level.DISTRICT, 1101, 50.0, YOUNG)]  # fmt: skip
    used = uprating.reconcile(published, AREAS)[0]
    assert {t.level for t in used} == {Level.DISTRICT}
    assert gaps(published, used) == {}
    spoilt = [replace(t, value=2 * t.value) if t.code == 1101 else t for t in used]
    assert gaps(published, spoilt) == {nation.name: Gap.MOVED}


def test_a_nation_over_districts_without_states_is_mixed():
    """A level is not skipped, so 300 stays beside 50 + 30 + 50, and is named."""
    nation = people(Level.NATION, 0, 300.0, YOUNG)
    assert gaps([nation, people(Level.DISTRICT, 1101, 50.0, YOUNG), ONE, TWO]) == {
        nation.name: Gap.MIXED
    }


@pytest.mark.parametrize(
    ("failure", "published", "found"),
    [
        ("levels-as-published", [STATE, ONE, TWO], {STATE.name: Gap.MIXED}),
        ("incomplete-children", [STATE, ONE], {STATE.name: Gap.LOST}),
        ("matched-by-variable", BINS, {BINS[1].name: Gap.MOVED, BINS[0].name: Gap.MOVED}),
        ("matched-by-variable", [STATE, ONE], {STATE.name: Gap.LOST}),
    ],
)
def test_every_failure_of_targets_is_found(failure, published, found):
    """While it acts, the check says so; before and after it does not."""
    with find(failure).inject():
        spoilt = gaps(published)
    assert spoilt == found
    assert gaps(published) == {}


def test_a_tree_without_areas_carries_nothing():
    """A run that goes down to districts only says nothing of counties."""
    areas = {Level.STATE: [37], Level.DISTRICT: [3701, 3702]}
    (row,) = level_gaps([STATE, ONE, TWO], [ONE, TWO], areas)
    assert (row.gap, row.carried) == (Gap.MOVED, 80.0)


def test_every_failure_of_targets_is_tried():
    """The table above has each that `level_gaps` is said to detect."""
    (mark,) = test_every_failure_of_targets_is_found.pytestmark
    tried = {case[0] for case in mark.args[1]}
    assert tried == {f.name for f in FAILURES if f.detector == "level_gaps"}


def test_bins_matched_by_variable_lose_three_quarters():
    """The figures of the defect: HIF 0.25 and 100 people of 400 left.

    policyengine-us-data e01a0384, calibration/unified_matrix_builder.py.
    """
    with find("matched-by-variable").inject():
        found, _ = uprating.reconcile(BINS, AREAS)
    assert sum(t.value for t in found) == 100.0
    assert {t.value / b.value for t in found for b in BINS if b.name == t.name} == {0.25}


def test_the_toy_run_has_no_gaps():
    """What a run fits is consistent: levels are always reconciled, there is no switch."""
    state = toy.after("targets")
    published = to_year(state.inputs.targets, state.period, read_factors())
    assert level_gaps(published, state.targets, state.inputs.codes) == []
    assert len(published) - len(state.targets) == 11
    with find("levels-as-published").inject():
        spoilt = uprating.reconcile(published, state.inputs.codes)[0]
    assert len(level_gaps(published, spoilt, state.inputs.codes)) >= 5
