"""Whom a target counts, and which dollars it takes, in households that tell rules apart.

Leakage cases: until cd5bce87 of policyengine-us-data a household's dollars counted as soon
as anybody in it qualified, so a non-filer's income leaked into totals of filers.
"""

import numpy as np
import pytest
from reference.evaluator import household_totals, units
from small_world import world
from stub_engine import ENGINE

from calibration.constraints import (
    counted_entity,
    engine_outputs,
    household_values,
    qualifying_persons,
)
from calibration.dataset import Dataset
from calibration.errors import EngineError, TargetError
from calibration.targets import parse_constraint


def household(person: dict, tax_unit: list[int], spm_unit: list[int] | None = None) -> Dataset:
    """Make one household of people in given tax units and SPM units."""
    n = len(tax_unit)
    spm_unit = spm_unit or [0] * n
    columns = {
        "person_id": np.arange(n),
        "person_household_id": np.zeros(n, dtype=int),
        "person_tax_unit_id": np.array(tax_unit),
        "person_spm_unit_id": np.array(spm_unit),
    }
    tables = {
        "person": columns | {name: np.array(values) for name, values in person.items()},
        "household": {"household_id": np.array([0]), "rent": np.array([300.0])},
        "tax_unit": {"tax_unit_id": np.unique(tax_unit)},
        "spm_unit": {"spm_unit_id": np.unique(spm_unit)},
    }
    return Dataset(2024, tables).check()


def added(dataset: Dataset, variable: str, *constraints: str, **outputs) -> float:
    """Give what the household adds to a target, from given simulated outputs."""
    values = {name: np.array(column) for name, column in outputs.items()}
    signature = variable, tuple(parse_constraint(c) for c in constraints)
    (total,) = household_values(dataset, values, signature, ENGINE)
    return float(total)


FILER = "tax_unit_is_filer==1"
TWO_UNITS = household({"age": [40.0, 30.0], "employment_income": [10_000.0, 5_000.0]}, [0, 1])
ONE_UNIT = household({"age": [70.0, 30.0], "employment_income": [0.0, 5_000.0]}, [0, 0])
ONLY_FIRST = {"tax_unit_is_filer": [True, False]}


# -- leakage ---------------------------------------------------------------------------


def test_a_non_filers_wages_do_not_leak():
    """Two earners of 10,000 and 5,000, only the first a filer: 10,000, not 15,000."""
    assert added(TWO_UNITS, "employment_income", FILER, **ONLY_FIRST) == 10_000


def test_a_non_filing_units_dollars_do_not_leak():
    """Sibling tax units of 1,000 and 500, one a filer: 1,000, not 1,500."""
    assert added(TWO_UNITS, "eitc", FILER, eitc=[1_000.0, 500.0], **ONLY_FIRST) == 1_000


def test_a_tax_unit_of_two_is_counted_once():
    """Two members qualify; the unit and its dollars count once, the people twice."""
    filers = {"tax_unit_is_filer": [True]}
    assert added(ONE_UNIT, "tax_unit_count", FILER, **filers) == 1
    assert added(ONE_UNIT, "eitc", FILER, eitc=[800.0], **filers) == 800
    assert added(ONE_UNIT, "person_count", FILER, **filers) == 2
    assert added(TWO_UNITS, "tax_unit_count", FILER, **ONLY_FIRST) == 1


def test_an_amount_of_a_larger_unit_is_taken_whole_if_anybody_qualifies():
    """One of two is 70: the household's 300 of rent and the unit's 300 of SNAP count whole."""
    assert added(ONE_UNIT, "rent", "age>=70") == 300
    assert added(ONE_UNIT, "snap", "age>=70", snap=[300.0]) == 300
    assert added(ONE_UNIT, "household_count", "age>=70") == 1
    assert added(ONE_UNIT, "person_count", "age>=70") == 1
    assert added(ONE_UNIT, "rent", "age>=71") == 0


# -- predicates ------------------------------------------------------------------------


def test_all_constraints_must_hold_for_the_same_person():
    """An old non-filer and a young filer are not an old filer."""
    old_and_young = household({"age": [70.0, 30.0]}, [0, 1])
    young_files = {"tax_unit_is_filer": [False, True]}
    for variable in ("person_count", "tax_unit_count", "household_count", "rent"):
        assert added(old_and_young, variable, "age>=65", FILER, **young_files) == 0
        assert added(old_and_young, variable, "age<65", FILER, **young_files) > 0


def test_a_units_value_is_that_of_each_of_its_members():
    """The dependent of a filing unit counts as a person of a filing unit."""
    family = household({"age": [40.0, 8.0, 30.0]}, [0, 0, 1])
    assert added(family, "person_count", FILER, "age<18", **ONLY_FIRST) == 1
    assert added(family, "person_count", FILER, **ONLY_FIRST) == 2


def test_all_and_any_members_of_a_unit():
    """Every home with somebody under 65 is more than the homes where all are."""
    assert added(ONE_UNIT, "household_count", "age<65") == 1
    assert added(ONE_UNIT, "household_count", "all(household.age)<65") == 0
    assert added(TWO_UNITS, "household_count", "all(household.age)<65") == 1
    assert added(ONE_UNIT, "person_count", "any(household.age)>=65") == 2
    assert added(ONE_UNIT, "person_count", "any(household.age)>=65", "age<65") == 1
    both = "any(household.age)>=70", "any(household.age)<40"
    assert added(ONE_UNIT, "household_count", *both) == 1
    assert added(ONE_UNIT, "household_count", "age>=70", "age<40") == 0


@pytest.mark.parametrize("entity", ["household", "tax_unit", "spm_unit", "family"])
def test_all_members_of_every_kind_of_unit(entity):
    """Two units of two: of one all are under 65, of the other one is not."""
    people = {"age": [70.0, 30.0, 30.0, 5.0]}
    made = household(people, [0, 0, 1, 1], [0, 0, 1, 1])
    ids = {"person_family_id": np.array([0, 0, 1, 1])}
    made = Dataset(2024, {
        **{e: dict(t) for e, t in made.tables.items()},
        "person": dict(made.person) | ids,
        "family": {"family_id": np.array([0, 1])},
    }).check()  # fmt: skip
    whole, some = (0, 1) if entity == "household" else (1, 2)
    assert added(made, f"{entity}_count", "age<65") == some
    assert added(made, f"{entity}_count", f"all({entity}.age)<65") == whole
    assert added(made, "person_count", f"all({entity}.age)<65") == 2 * whole


def test_units_of_another_kind_are_asked_for_by_name():
    """An SPM unit of a filing and another tax unit: through any member, and through all."""
    one_file = {"tax_unit_is_filer": [True, False]}
    assert added(TWO_UNITS, "spm_unit_count", FILER, **one_file) == 1
    assert added(TWO_UNITS, "spm_unit_count", f"all(spm_unit.{FILER[:-3]})==1", **one_file) == 0
    both = {"tax_unit_is_filer": [True, True]}
    assert added(TWO_UNITS, "spm_unit_count", f"all(spm_unit.{FILER[:-3]})==1", **both) == 1


def test_a_condition_on_the_counted_unit_itself_needs_no_words():
    """Its members all have its value, so any and all are the unit's own."""
    for scope in (
        FILER,
        "all(tax_unit.tax_unit_is_filer)==1",
        "any(tax_unit.tax_unit_is_filer)==1",
    ):
        assert added(TWO_UNITS, "tax_unit_count", scope, **ONLY_FIRST) == 1


@pytest.mark.parametrize("entity", ["person", "dog"])
def test_a_condition_over_what_is_no_unit_is_an_error(entity):
    """The units that there are, are listed."""
    with pytest.raises(TargetError, match=f"is over '{entity}'; there are household, tax_unit"):
        added(TWO_UNITS, "person_count", f"all({entity}.age)<65")


def test_constraints_on_text():
    """Text compares as text."""
    cards = household({"card": ["NONE", "CITIZEN", "NONE"]}, [0, 0, 1])
    assert added(cards, "person_count", "card==NONE") == 2
    assert added(cards, "person_count", "card!=NONE") == 1
    assert added(cards, "tax_unit_count", "card==CITIZEN") == 1
    with pytest.raises(TargetError, match="puts card in order, which is text"):
        added(cards, "person_count", "card>=NONE")


def test_without_constraints_everybody_counts():
    """No constraint holds for all."""
    assert added(TWO_UNITS, "person_count") == 2
    assert added(TWO_UNITS, "spm_unit_count") == 1
    assert qualifying_persons(TWO_UNITS, {}, (), ENGINE).tolist() == [True, True]


def test_flags_add_up_as_ones():
    """A true-or-false variable summed is a number of units."""
    assert added(TWO_UNITS, "tax_unit_is_filer", **ONLY_FIRST) == 1


def test_a_simulated_value_goes_before_a_stored_one():
    """A survey's own SNAP in the dataset does not stand in for the engine's."""
    own = ONE_UNIT.with_columns("spm_unit", {"snap": np.array([1.0])})
    assert added(own, "snap", "snap>100", snap=[300.0]) == 300


# -- what is asked of the engine -------------------------------------------------------


def test_counted_entities():
    """The name before `_count` is an entity; an amount has none."""
    assert counted_entity("spm_unit_count", TWO_UNITS) == "spm_unit"
    assert counted_entity("snap", TWO_UNITS) is None


def test_counting_what_the_dataset_does_not_have_is_an_error():
    """Unknown entities are never households by default; the known ones are listed."""
    with pytest.raises(TargetError, match=r"dog_count counts 'dog'; there are person, household"):
        added(TWO_UNITS, "dog_count")


def test_an_amount_that_is_text_is_an_error():
    """Text does not add up."""
    with pytest.raises(TargetError, match="card is text"):
        added(household({"card": ["NONE"]}, [0]), "card")


def test_only_outputs_are_asked_of_the_engine():
    """Counts and inputs need no simulation; outputs in constraints do."""
    signatures = [
        ("person_count", (parse_constraint("snap>0"), parse_constraint("age<5"))),
        ("employment_income", (parse_constraint(FILER),)),
        ("ssi", ()),
    ]
    assert engine_outputs(signatures, ENGINE) == ["snap", "ssi", "tax_unit_is_filer"]
    with pytest.raises(EngineError, match=r"no variable 'snapp'; did you mean 'snap'"):
        engine_outputs([("snapp", ())], ENGINE)


# -- against the plain twin ------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_household_values_equal_those_of_a_plain_loop(seed):
    """Loops over people and dictionaries of units give the same numbers, household by household."""
    made = world(6, 2, seed)
    households = made.clones.households(np.arange(made.n_columns))
    values = ENGINE.simulate(households, ENGINE.outputs, 2024)
    everything = {name: households[name] for name in households.names()} | values
    entity_of = {name: households.entity_of(name) for name in households.names()}
    entity_of |= {name: ENGINE.outputs[name].entity for name in values}
    tables = units({name: column.tolist() for name, column in everything.items()}, entity_of)
    for target in made.targets:
        if target.level == "nation":
            fast = household_values(households, values, target.signature, ENGINE)
            slow = household_totals(tables, entity_of, target.name)
            assert fast.tolist() == [slow[i] for i in households["household_id"].tolist()]
