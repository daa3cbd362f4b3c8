"""Each named check sees a direct corruption of its subject, and counts what it compared."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import checks, toy
from calibration.checks import (
    CheckResult,
    columns_copied,
    entity_links,
    filer_gate,
    float64_sums,
    geography_of_block,
    require_all,
    resolve_again,
    run_checks,
    takeup_key,
    thresholds_current,
)
from calibration.crosswalk import GeographyAssignment
from calibration.errors import IdentityError
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.matrix import CalibrationMatrix
from calibration.plain_twins import plain_draw
from calibration.rng import uniform
from calibration.thresholds import read_rates, resolve

COLUMNS = np.array([3, 250, 41, 118, 207, 84, 7])
NONE = np.array([], dtype=np.int64)


@pytest.fixture(scope="module")
def state():
    """Give the toy run after its fit."""
    return toy.after("weights")


@pytest.fixture(scope="module")
def households(state):
    """Materialise some columns, in no order."""
    return state.clones.households(COLUMNS)


def changed(households, name, row, value):
    """Write one cell of a materialised dataset."""
    column = households[name].copy()
    column[row] = value
    return households.with_columns(households.entity_of(name), {name: column})


def assert_found(result: CheckResult, compared: int, wrong: int, *words: str):
    """Require counts and the words of the example."""
    assert (result.compared, result.wrong, result.passed) == (compared, wrong, False)
    for word in words:
        assert word in result.example


# -- nothing wrong ---------------------------------------------------------------------


def test_all_checks_pass_on_the_toy_run(state):
    """On every retained column each check compares something and finds nothing."""
    kept = np.flatnonzero(state.weights > 0)
    parts = (state.clones, state.inputs.crosswalk, state.matrix, [state.weights])
    results = run_checks(*parts, columns=kept)
    assert [result.name for result in results] == [
        "takeup_key", "thresholds_current", "geography_of_block",
        "filer_gate", "entity_links", "columns_copied", "float64_sums",
    ]  # fmt: skip
    assert require_all(results) is results
    assert results[2].compared == len(kept)
    assert results[4].compared == len(kept) * len(state.dataset.groups)
    assert results[5].compared > len(kept) * len(state.dataset.person)
    assert results[6].compared == len(state.targets)


def test_a_check_that_compared_nothing_has_failed(state):
    """Without columns, rows or thresholds there is nothing to pass."""
    nobody = state.clones.households(NONE)
    empty = replace(state.matrix, X=state.matrix.X[:0], targets=[])
    results = [
        takeup_key(state.clones, nobody),
        geography_of_block(state.clones, nobody, state.inputs.crosswalk, NONE),
        entity_links(state.clones, nobody, NONE),
        columns_copied(state.clones, nobody, NONE),
        filer_gate(state.clones, nobody),
        float64_sums(empty, [state.weights]),
    ]
    for result in results:
        assert (result.compared, result.wrong, result.passed) == (0, 0, False)
        with pytest.raises(IdentityError, match=f"check {result.name}.*compared nothing"):
            require_all([result])


def test_the_first_failed_check_is_named():
    """`require_all` says which check failed, how often, and gives the example."""
    good, bad = CheckResult("good", 5, 0), CheckResult("bad", 5, 2, "unit 7 is odd")
    with pytest.raises(IdentityError, match="check bad: 2 of 5 wrong; unit 7 is odd"):
        require_all([good, bad])


def test_an_engine_without_filers_has_no_filer_gate(state):
    """The check is left out where there is nothing to look at, instead of passing."""

    class Without:
        """The toy engine, but for who files."""

        @property
        def outputs(self):
            known = state.clones.engine.outputs
            return {name: known[name] for name in known if name != "tax_unit_is_filer"}

        def __getattr__(self, name):
            return getattr(state.clones.engine, name)

    clones = replace(state.clones, engine=Without())
    parts = (clones, state.inputs.crosswalk, state.matrix, [state.weights])
    names = [result.name for result in run_checks(*parts, columns=COLUMNS)]
    assert "filer_gate" not in names
    assert len(names) == 6


# -- each subject, corrupted -------------------------------------------------------------


def test_a_turned_flag_is_seen(state, households):
    """One takeup flag that is not what its draw says is found and named."""
    programmes = state.clones.programmes
    total = sum(households.size(p.entity) for p in programmes)
    for programme in programmes:
        flag = households[programme.flag]
        found = takeup_key(state.clones, changed(households, programme.flag, 1, ~flag[1]))
        unit = households[f"record_{programme.entity}_id"][1]
        assert_found(found, total, 1, programme.name, f"{programme.entity} {unit}", str(~flag[1]))


@pytest.mark.parametrize("factor", [1 + 1e-6, 0.5, 0.0])
def test_a_stale_threshold_is_seen(state, factor):
    """A stored threshold that differs from the one resolved again is found and named."""
    rows = list(state.thresholds.rows)
    i = next(i for i, row in enumerate(rows) if row.programme == "medicaid" and row.threshold)
    rows[i] = replace(rows[i], threshold=rows[i].threshold * factor)
    clones = replace(state.clones, thresholds=replace(state.thresholds, rows=tuple(rows)))
    found = thresholds_current(clones, state.inputs.crosswalk)
    assert_found(found, len(rows), 1, "medicaid", rows[i].group)


def test_a_lost_threshold_is_seen(state):
    """A group that the stored table does not have is found and named."""
    first, *rest = state.thresholds.rows
    clones = replace(state.clones, thresholds=replace(state.thresholds, rows=tuple(rest)))
    found = thresholds_current(clones, state.inputs.crosswalk)
    assert_found(found, len(rest) + 1, 1, first.programme, first.group)


def test_custom_rates_are_those_of_the_run(state):
    """Thresholds resolved from other rates than the packaged ones are current all the same."""
    rates = read_rates(2024) | {("snap", "US"): 0.5}
    parts = (state.dataset, state.inputs.crosswalk, state.engine)
    table = resolve(*parts, states=state.inputs.states, seed=0, rates=rates)
    clones = replace(state.clones, thresholds=table)
    assert table.rows != state.thresholds.rows
    assert resolve_again(clones, state.inputs.crosswalk) == table
    assert thresholds_current(clones, state.inputs.crosswalk).passed


def test_a_state_without_clones_has_its_part_in_the_thresholds(state):
    """Where nobody is assigned to Alaska, the table of all states is still the right one."""
    geography, crosswalk = state.geography, state.inputs.crosswalk
    block = np.where(
        geography.state == 2, geography.block[geography.state == 6][0], geography.block
    )
    elsewhere = GeographyAssignment.from_blocks(crosswalk, block, 100, 3)
    clones = replace(state.clones, geography=elsewhere)
    assert 2 not in elsewhere.state
    found = thresholds_current(clones, crosswalk)
    assert (found.compared, found.wrong) == (len(state.thresholds.rows), 0)


@pytest.mark.parametrize("name", GEOGRAPHY_COLUMNS)
def test_a_wrong_place_is_seen(state, households, name):
    """A household one of whose codes does not follow from its block is found and named."""
    other = np.flatnonzero(households[name] != households[name][4])[0]
    moved = changed(households, name, 4, households[name][other])
    found = geography_of_block(state.clones, moved, state.inputs.crosswalk, COLUMNS)
    assert_found(found, len(COLUMNS), 1, name, "column 207", households["block_geoid"][4])


def test_a_household_of_another_column_is_seen(state, households):
    """Codes that fit each other, but are those of the next column, are wrong in every row."""
    turned = np.roll(COLUMNS, 1)
    found = geography_of_block(state.clones, households, state.inputs.crosswalk, turned)
    assert_found(found, len(COLUMNS), len(COLUMNS), "column 7 ")


def test_a_block_that_does_not_exist_is_seen(state, households):
    """A column in a block that the crosswalk does not have is wrong whatever it says."""
    block = state.geography.block.copy()
    block[207] = 370010000000000
    clones = replace(state.clones, geography=replace(state.geography, block=block))
    found = geography_of_block(clones, households, state.inputs.crosswalk, COLUMNS)
    assert_found(found, len(COLUMNS), 1, "column 207 in block 370010000000000")
    away = replace(state.clones, geography=replace(state.geography, block=None))
    with pytest.raises(IdentityError, match="without census blocks"):
        geography_of_block(away, households, state.inputs.crosswalk, COLUMNS)


@pytest.mark.parametrize(
    "name", ["age", "rent", "snap_reported", "clone_index", "source_household_id"]
)
def test_a_changed_value_is_seen(state, households, name):
    """A value of any entity, or of another state, that is not the record's is found and named."""
    right = columns_copied(state.clones, households, COLUMNS)
    assert right.passed
    other = changed(households, name, 3, households[name][3] + 1)
    assert_found(columns_copied(state.clones, other, COLUMNS), right.compared, 1, name)


def test_a_gate_left_open_is_seen(state):
    """Tax units that file though no draw of theirs says so are found and named."""
    households = state.clones.households(np.arange(300))
    files = state.clones.engine.simulate(households, ["tax_unit_is_filer"], 2024)
    stays = np.flatnonzero(~files["tax_unit_is_filer"])
    forced = changed(households, "would_file_taxes_voluntarily", stays[:1], value=True)
    found = filer_gate(state.clones, forced)
    unit = households["record_tax_unit_id"][stays[0]]
    assert_found(found, households.size("tax_unit"), 1, f"tax unit {unit}", "True")


def test_a_moved_member_is_seen(state):
    """A person in another unit of the same home than their record says is found."""
    n_units = np.bincount(state.dataset.household_of("tax_unit"))
    record = int(np.argmax(n_units > 1))
    columns = np.array([5, record])
    households = state.clones.households(columns)
    people = np.flatnonzero(households.household_of("person") == 1)
    unit = households["person_tax_unit_id"]
    other = next(u for u in unit[people] if u != unit[people[0]])
    moved = changed(households, "person_tax_unit_id", people[0], other)
    found = entity_links(state.clones, moved, columns)
    assert_found(found, 2 * len(moved.groups), 1, "tax_unit", f"column {record}")


def test_swapped_units_are_seen(state):
    """Two tax units of a home that exchange all their members are found: ids, not sets, count."""
    n_units = np.bincount(state.dataset.household_of("tax_unit"))
    columns = np.array([int(np.argmax(n_units == 2))])
    households = state.clones.households(columns)
    swapped = households.with_columns(
        "person", {"person_tax_unit_id": 1 - households["person_tax_unit_id"]}
    )
    found = entity_links(state.clones, swapped, columns)
    assert_found(found, len(households.groups), 1, "tax_unit", f"column {columns[0]}")


def test_swapped_homes_are_seen(state):
    """A person who lives with another household than in their record is found on both."""
    columns = np.array([0, 1])
    households = state.clones.households(columns)
    home = households["person_household_id"]
    first, last = 0, len(home) - 1
    swapped = households.with_columns("person", {"person_household_id": home.copy()})
    swapped["person_household_id"][[first, last]] = home[[last, first]]
    found = entity_links(state.clones, swapped, columns)
    assert found.wrong >= 2
    assert not found.passed


@pytest.mark.parametrize("error", [1e-9, -1e-12])
def test_a_sum_that_is_off_is_seen(state, monkeypatch, error):
    """An estimate that is off by far more than rounding is found, its target named."""
    right = CalibrationMatrix.estimates

    def off(self, weights):
        estimates = right(self, weights)
        estimates[9] *= 1 + error
        return estimates

    monkeypatch.setattr(checks.CalibrationMatrix, "estimates", off)
    found = float64_sums(state.matrix, [state.weights])
    assert_found(found, len(state.targets), 1, state.matrix.names[9])


# -- the plain twin ----------------------------------------------------------------------

PART = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text("aé東_|0 ", max_size=12))


@given(st.lists(PART, max_size=6))
def test_the_plain_draw_is_the_draw(parts):
    """Python integers and NumPy's give the same bits for every key."""
    assert plain_draw(*parts) == float(uniform(*parts))
