"""Records that stay in their state: where they live, how they start, and what notices a move."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from calibration import matrix_builder, toy
from calibration.checks import own_state, run_checks
from calibration.clones import Clones
from calibration.dataset import Dataset
from calibration.diagnostics import Measure, untargeted_table
from calibration.engines import load_engine
from calibration.errors import GeographyError, IdentityError
from calibration.geography import Level
from calibration.matrix_builder import build_matrix
from calibration.own_state import design_weights, own_states
from calibration.takeup import Thresholds
from calibration.targets import Target, parse_constraint

STATES = np.array([56, 11, 56, 2])


def units(**household: np.ndarray) -> Dataset:
    """Make four households of one person and one tax unit each."""
    ids = np.array([7, 3, 9, 4])
    table = {"household_id": ids, "state_fips": STATES, "design_weight": np.ones(4)} | household
    person = {"person_id": ids, "person_household_id": ids, "person_tax_unit_id": ids}
    age = {"age": np.array([30, 40, 70, 80])}
    tables = {"person": person | age, "household": table, "tax_unit": {"tax_unit_id": ids}}
    return Dataset(2024, tables).check()


def test_every_record_has_one_column_in_its_own_state():
    """C = R, and the run goes down to states only."""
    geography = own_states(units())
    assert (geography.n_records, geography.n_clones) == (4, 1)
    assert geography.state.tolist() == STATES.tolist()
    assert set(geography.codes) == {Level.STATE}
    with pytest.raises(GeographyError, match="no county codes, only state"):
        geography.code(Level.COUNTY)


def test_a_record_in_no_state_is_refused():
    """Household and code are named; so is a table without the column."""
    with pytest.raises(GeographyError, match="household 3 lives in state 3, which is none"):
        own_states(units(state_fips=np.array([56, 3, 56, 2])))
    dataset = units()
    table = {k: v for k, v in dataset.household.items() if k != "state_fips"}
    with pytest.raises(GeographyError, match="no column 'state_fips'"):
        own_states(replace(dataset, tables={**dataset.tables, "household": table}))


def test_weights_start_as_they_are_in_the_file():
    """w0 is the design weight; one that is 0 could never leave it."""
    weight = np.array([2.5, 1.0, 10.0, 3.0])
    assert design_weights(units(design_weight=weight)).tolist() == weight.tolist()
    with pytest.raises(GeographyError, match="greater than 0"):
        design_weights(units(design_weight=np.array([1.0, 0.0, 1.0, 1.0])))


class Takeupless:
    """The toy engine's variables without any programme that is drawn."""

    name, version = "takeupless", "1"
    inputs = MappingProxyType({"age": load_engine("toy").inputs["age"]})
    outputs = MappingProxyType({})

    def simulate(self, _, variables, __):
        """Compute nothing, for there is nothing to compute."""
        assert not list(variables)
        return {}


def world(dataset: Dataset) -> Clones:
    """Leave four records in their states, with nobody's takeup drawn."""
    return Clones(dataset, own_states(dataset), Thresholds(0, ()), Takeupless())


def everybody(level: Level, code: int, *constraints: str) -> Target:
    """Ask for people of an area."""
    parsed = tuple(parse_constraint(c) for c in constraints)
    return Target(variable="person_count", level=level, code=code, constraints=parsed,
                  period=2024, value=5.0)  # fmt: skip


def test_the_checks_of_such_a_run_are_those_that_it_can_have():
    """No takeup is drawn and no block is known; all that remains compares something."""
    clones = world(units())
    matrix = build_matrix(clones, [everybody(Level.NATION, 0)], w0=np.ones(4))
    results = run_checks(clones, None, matrix, [np.ones(4)], columns=np.arange(4))
    names = {result.name for result in results}
    assert {"own_state", "entity_links", "float64_sums"} <= names
    assert not {"takeup_key", "thresholds_current", "geography_of_block", "filer_gate"} & names
    assert all(result.passed for result in results)


def test_takeup_without_blocks_cannot_be_checked():
    """An engine that draws takeup needs blocks to find its pools again."""
    state = toy.after("matrix")
    with pytest.raises(IdentityError, match="without census blocks"):
        run_checks(state.clones, None, state.matrix, [], columns=np.arange(3))


def test_a_record_that_moved_is_noticed():
    """A clone in another state than its record's is named."""
    clones = world(units())
    codes = {Level.STATE: np.array([56, 11, 6, 2])}
    moved = replace(clones, geography=replace(clones.geography, codes=codes))
    found = own_state(moved, moved.households(np.arange(4)))
    assert (found.compared, found.wrong, found.passed) == (4, 1, False)
    assert found.example == "record 9 is said to live in 6"


# -- one simulation a record ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraints", "once_for"),
    [
        ((), "record"),
        (("age>=65",), "record"),
        (("state_fips==37",), "record and state"),
        (("rent>0",), "record and state"),  # one value for each state
        (("takes_up_ssi_if_eligible==1",), "clone"),  # a draw of the clone
        (("ssi>0",), "clone"),  # an output that reads takeup
    ],
)
def test_what_nothing_of_the_place_changes_is_simulated_once(monkeypatch, constraints, once_for):
    """For a record, a record in a state, or every clone, and X has the same bits."""
    state = toy.after("matrix")
    targets = [everybody(Level.NATION, 0, *constraints), everybody(Level.STATE, 37, *constraints)]
    geography = state.geography
    record = np.arange(geography.n_columns) % geography.n_records  # column = clone * R + record
    joined = set(zip(record.tolist(), geography.state.tolist(), strict=True))
    expected = {
        "record": geography.n_records,
        "record and state": len(joined),
        "clone": geography.n_columns,
    }
    seen = []
    real = matrix_builder.simulate_columns

    def count(clones, columns, signatures, **how):
        seen.append(len(columns))
        return real(clones, columns, signatures, **how)

    monkeypatch.setattr(matrix_builder, "simulate_columns", count)
    X = build_matrix(state.clones, targets, w0=state.matrix.w0, chunk=17).X
    assert sum(seen) == expected[once_for]
    slow = build_matrix(state.clones, targets, w0=state.matrix.w0, gather=False).X
    assert X.nnz > 0
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(X, part), getattr(slow, part))


# -- what is counted beside the targets ----------------------------------------------------


def test_a_row_can_count_for_several():
    """A unit that stands for its members counts for as many; a flag counts for one."""
    state = toy.after("weights")
    measures = (
        Measure(name="people", entity="person", flag=lambda d, _: np.ones(d.size("person"), bool)),
        Measure(name="members", entity="household", flag=lambda d, _: members(d)),
    )
    table = untargeted_table(state.clones, state.matrix.w0, state.weights, measures=measures)
    for column in ("initial", "fitted"):
        assert table[column][0] == pytest.approx(table[column][1], rel=1e-12)


def members(households: Dataset) -> np.ndarray:
    """Count the people of each household."""
    return np.bincount(households.unit_of_person("household"))
