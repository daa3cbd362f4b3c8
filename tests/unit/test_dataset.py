"""Datasets: what makes one valid, and how its tables hang together.

The example has two households with ids out of order, and people who do not stand
together:

    household 7: persons 30 and 10, one tax unit (200)
    household 5: person 20, tax unit 100
"""

import numpy as np
import pytest

from calibration.dataset import Dataset, segments
from calibration.errors import DatasetError, FileError
from calibration.files import hash_arrays, write_npz


def tables():
    """Make the tables of the example."""
    return {
        "person": {
            "person_id": np.array([30, 20, 10]),
            "person_household_id": np.array([7, 5, 7]),
            "person_tax_unit_id": np.array([200, 100, 200]),
            "age": np.array([40, 71, 9]),
            "wage_by_state": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        },
        "household": {
            "household_id": np.array([7, 5]),
            "household_weight": np.array([1.5, 0.0]),
            "design_weight": np.array([0.75, 2.0]),
            "tenure": np.array(["rent", "own"]),
        },
        "tax_unit": {"tax_unit_id": np.array([100, 200]), "itemizes": np.array([True, False])},
    }


def example(changes=None, *, states=(6, 37)):
    """Make the example with some columns replaced, added, or (given None) left out."""
    made = tables()
    for place, column in (changes or {}).items():
        entity, name = place.split("/")
        made[entity][name] = column
        if column is None:
            del made[entity][name]
    return Dataset(2024, made, states)


# -- whether it is valid ---------------------------------------------------------------

A = np.array
BROKEN = {
    "no person id": ({"person/person_id": None}, "the person table has no column 'person_id'"),
    "an id twice": ({"person/person_id": A([30, 10, 10])}, "person_id 10 stands 2 times"),
    "a negative id": ({"person/person_id": A([3, -2, 1])}, "person_id -2 is negative"),
    "an id that is no whole number": (
        {"household/household_id": A([7.0, 5.0])},
        "household_id must be whole numbers in one column, not float64",
    ),
    "ids in two columns": (
        {"tax_unit/tax_unit_id": A([[1, 2], [3, 4]])},
        "tax_unit_id must be whole numbers in one column",
    ),
    "a name in two tables": (
        {"household/age": A([1, 2])},
        "column 'age' stands in person and in household",
    ),
    "objects": (
        {"person/age": A([1, None, 2])},
        "person column 'age' is object; use true or false, whole numbers, numbers, text",
    ),
    "unsigned numbers": ({"person/age": A([1, 2, 3], "u1")}, "person column 'age' is uint8"),
    "a column that is too short": (
        {"household/tenure": A(["own"])},
        "household column 'tenure' has 1 rows, the table has 2",
    ),
    "a single value": ({"person/age": A(3)}, "person column 'age' is a single value"),
    "by state for other states": (
        {"person/wage_by_state": np.zeros((3, 3))},
        "'wage_by_state' has shape (3, 3); by-state columns are (3, 2), for the states (6, 37)",
    ),
    "three axes": ({"person/age": np.zeros((3, 2, 2))}, "person column 'age' has shape (3, 2, 2)"),
    "not a number": (
        {"person/age": A([1, np.nan, np.inf])},
        "person column 'age' is not a finite number at person_id 20 (2 rows)",
    ),
    "infinite in one state": (
        {"person/wage_by_state": A([[1, 2], [3, 4], [5, -np.inf]])},
        "person column 'wage_by_state' is not a finite number at person_id 10 (1 rows)",
    ),
    "a negative weight": (
        {"household/household_weight": A([1.0, -0.5])},
        "household column 'household_weight' is -0.5 at household_id 5",
    ),
    "a negative design weight": (
        {"household/design_weight": A([-1, 1])},
        "household column 'design_weight' is -1 at household_id 7",
    ),
    "a weight by state": (
        {"household/design_weight": A([[1, 1], [1, -1]])},
        "household column 'design_weight' must be one number for each row",
    ),
    "a weight in words": (
        {"household/household_weight": A(["a", "b"])},
        "household column 'household_weight' must be one number for each row",
    ),
    "no membership": (
        {"person/person_tax_unit_id": None},
        "the person table has no column 'person_tax_unit_id'",
    ),
    "membership in words": (
        {"person/person_tax_unit_id": A(["200", "100", "200"])},
        "person_tax_unit_id must be whole numbers in one column",
    ),
    "membership by state": (
        {"person/person_tax_unit_id": A([[200, 100], [100, 200], [200, 100]])},
        "person_tax_unit_id must be whole numbers in one column",
    ),
    "a unit that is not there": (
        {"person/person_tax_unit_id": A([200, 150, 200])},
        "person 20 belongs to tax_unit 150, which the tax_unit table does not have (1 such",
    ),
    "a household that is not there": (
        {"person/person_household_id": A([8, 5, 9])},
        "person 30 belongs to household 8, which the household table does not have (2 such",
    ),
    "an empty unit": (
        {"person/person_tax_unit_id": A([100, 100, 100])},
        "tax_unit 200 has no members (1 such)",
    ),
    "an empty household": (
        {"person/person_household_id": A([7, 7, 7])},
        "household 5 has no members (1 such)",
    ),
    "a unit in two households": (
        {"person/person_tax_unit_id": A([200, 200, 100])},
        "tax_unit 200 has members in more than one household",
    ),
}


def test_the_example_is_valid():
    """The check of a valid dataset returns it."""
    dataset = example()
    assert dataset.check() is dataset


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_is_named_with_its_place(what):
    """The error says which entity, column and id break which rule."""
    changes, message = BROKEN[what]
    with pytest.raises(DatasetError) as error:
        example(changes).check()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entity", ["person", "household"])
def test_people_and_households_are_needed(entity):
    """Without a person or a household table there is no dataset."""
    made = tables()
    del made[entity]
    with pytest.raises(DatasetError, match=f"no {entity} table"):
        Dataset(2024, made, (6, 37)).check()


@pytest.mark.parametrize("states", [(37, 6), (6, 6)])
def test_states_are_in_ascending_order(states):
    """States out of order or twice are an error: by-state columns are looked up by them."""
    with pytest.raises(DatasetError, match="not in ascending order"):
        example(states=states).check()


def test_nobody_at_all_is_a_valid_dataset():
    """A dataset may have no rows, as the file of an area without clones would."""
    none = np.zeros(0, dtype=np.int64)
    person = {"person_id": none, "person_household_id": none, "person_tax_unit_id": none}
    empty = {"person": person, "household": {"household_id": none}}
    empty["tax_unit"] = {"tax_unit_id": none}
    dataset = Dataset(2024, empty).check()
    assert dataset.sum_to("tax_unit", none).shape == (0,)
    assert dataset.take_households(none).size("person") == 0


def test_a_person_without_any_unit_table_rows_is_named():
    """If the table of units is empty, everybody's unit is missing."""
    made = tables()
    made["tax_unit"] = {"tax_unit_id": np.zeros(0, dtype=np.int64)}
    with pytest.raises(DatasetError, match=r"person 30 belongs to tax_unit 200, .* \(3 such"):
        Dataset(2024, made, (6, 37)).check()


# -- what is in it ---------------------------------------------------------------------


def test_a_name_finds_its_column():
    """Columns, their entities and their kinds are found by name alone."""
    dataset = example()
    assert dataset["tenure"].tolist() == ["rent", "own"]
    assert dataset.entity_of("itemizes") == "tax_unit"
    assert "age" in dataset
    assert "wage" not in dataset
    assert dataset.is_by_state("wage_by_state")
    assert not dataset.is_by_state("age")
    assert dataset.groups == ("household", "tax_unit")
    assert dataset.names() == tuple(sorted(n for t in tables().values() for n in t))
    assert [dataset.size(e) for e in dataset.tables] == [3, 2, 2]


def test_an_unknown_name_brings_a_hint():
    """The error for a misspelled column names the near ones."""
    with pytest.raises(DatasetError, match="no column 'tenur'; did you mean 'tenure'"):
        example()["tenur"]


# -- who belongs to whom ---------------------------------------------------------------


def test_members_and_units_find_each_other():
    """Rows of units, of households and of members follow from ids, not from places."""
    dataset = example()
    assert dataset.unit_of_person("household").tolist() == [0, 1, 0]
    assert dataset.unit_of_person("tax_unit").tolist() == [1, 0, 1]
    assert dataset.household_of("tax_unit").tolist() == [1, 0]
    assert dataset.household_of("person").tolist() == [0, 1, 0]
    assert dataset.household_of("household").tolist() == [0, 1]
    assert dataset.sum_to("tax_unit", dataset["age"]).tolist() == [71.0, 49.0]
    assert dataset.to_person(dataset["itemizes"], "tax_unit").tolist() == [False, True, False]
    assert dataset.to_person(dataset["age"], "person") is dataset["age"]
    assert dataset.to_person(np.array([[1, 2], [3, 4]]), "household").tolist() == [
        [1, 2],
        [3, 4],
        [1, 2],
    ]


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_any_member_decides_for_the_unit(dtype):
    """A unit has a flag if a member has; 0 and 1 are flags, not row numbers."""
    flags = np.array([0, 0, 1], dtype=dtype)
    assert example().any_in("tax_unit", flags).tolist() == [False, True]
    assert example().any_in("tax_unit", flags * 0).tolist() == [False, False]


# -- new datasets from old -------------------------------------------------------------


def test_added_columns_leave_the_old_dataset_alone():
    """The new dataset has the column, replaced or added; the old one is as it was."""
    old = example()
    before = hash_arrays(old.arrays())
    new = old.with_columns("person", {"age": np.array([1, 2, 3]), "flag": np.ones(3, dtype=bool)})
    assert new["age"].tolist() == [1, 2, 3]
    assert new.entity_of("flag") == "person"
    assert new.check()["itemizes"] is old["itemizes"]
    assert hash_arrays(old.arrays()) == before


def test_a_replaced_link_is_looked_up_again():
    """After a membership changes, units are found by the new one, not by a remembered one."""
    old = example()
    assert old.unit_of_person("tax_unit").tolist() == [1, 0, 1]
    new = old.with_columns("person", {"person_tax_unit_id": np.array([100, 200, 100])})
    assert new.unit_of_person("tax_unit").tolist() == [0, 1, 0]
    assert old.unit_of_person("tax_unit").tolist() == [1, 0, 1]


@pytest.mark.parametrize("entity", ["household", "tax_unit"])
def test_a_column_of_another_table_is_not_added(entity):
    """A name finds one column: a second `age` would take the place of the persons' in files."""
    values = np.zeros(example().size(entity))
    message = f"'age' stands in person; it cannot be added to {entity}"
    with pytest.raises(DatasetError, match=message):
        example().with_columns(entity, {"flag": values}).with_columns(entity, {"age": values})


@pytest.mark.parametrize("values", [np.zeros(2), np.zeros(4), np.array(0.0), np.zeros((2, 3))])
def test_an_added_column_has_a_value_for_each_row(values):
    """Three people need three values, whatever else the column has."""
    with pytest.raises(DatasetError, match=r"'flag' has shape \(.*\), the person table has 3 rows"):
        example().with_columns("person", {"flag": values})


def test_many_additions_are_as_good_as_one():
    """A column added six hundred times over is the last one, and nothing else moved."""
    dataset = example()
    for i in range(600):
        dataset = dataset.with_columns("person", {"age": np.full(3, i)})
    assert dataset["age"].tolist() == [599, 599, 599]
    assert dataset.check().names() == example().names()


def test_taken_households_come_in_the_order_asked_for():
    """Households come as asked, with their people and units, and keep their ids."""
    taken = example().take_households(np.array([1, 0])).check()
    assert taken["household_id"].tolist() == [5, 7]
    assert taken["person_id"].tolist() == [20, 30, 10]
    assert taken["tax_unit_id"].tolist() == [100, 200]
    assert taken["wage_by_state"].tolist() == [[3.0, 4.0], [1.0, 2.0], [5.0, 6.0]]
    alone = example().take_households(np.array([0])).check()
    assert alone["person_id"].tolist() == [30, 10]
    assert alone.states == (6, 37)


def test_a_household_is_not_taken_twice():
    """A row asked for twice is an error, because its ids would stand twice."""
    with pytest.raises(DatasetError, match="household row 1 is to be taken more than once"):
        example().take_households(np.array([1, 0, 1]))


@pytest.mark.parametrize("row", [-1, 2])
def test_a_household_that_is_not_there_is_not_taken(row):
    """Rows run from 0; a negative one does not count from the end."""
    with pytest.raises(DatasetError, match=f"there is no household row {row}; the table has 2"):
        example().take_households(np.array([0, row]))


@pytest.mark.parametrize("rows", [np.array([True, False]), np.array([1.0, 0.0])])
def test_households_are_taken_by_row_numbers(rows):
    """A mask is not a list of rows: read as 0 and 1 it would take other households."""
    with pytest.raises(DatasetError, match="household rows must be whole numbers, not"):
        example().take_households(rows)


def test_the_canonical_order_is_that_of_the_ids():
    """Every table is sorted by its own ids, and people keep their units."""
    dataset = example().sorted_by_id().check()
    assert dataset["person_id"].tolist() == [10, 20, 30]
    assert dataset["age"].tolist() == [9, 71, 40]
    assert dataset["household_id"].tolist() == [5, 7]
    assert dataset["person_tax_unit_id"].tolist() == [200, 100, 200]


# -- files -----------------------------------------------------------------------------


def test_a_dataset_comes_back_from_its_file(tmp_path):
    """Period, states and every column, fixed and by state, come back bit for bit."""
    example().save(tmp_path / "d.npz")
    loaded = Dataset.load(tmp_path / "d.npz")
    assert loaded.period == 2024
    assert loaded.states == (6, 37)
    assert hash_arrays(loaded.arrays()) == hash_arrays(example().arrays())


def test_a_file_that_breaks_a_rule_is_not_loaded(tmp_path):
    """What is stored wrong is refused when it is read, with the rule it breaks."""
    example({"person/person_id": np.array([1, 1, 2])}).save(tmp_path / "d.npz")
    with pytest.raises(DatasetError, match="person_id 1 stands 2 times"):
        Dataset.load(tmp_path / "d.npz")


FOREIGN = {
    "no period": {"states": np.array([6])},
    "no states": {"period": np.array(2024)},
    "two periods": {"states": np.array([6]), "period": np.array([2023, 2024])},
    "a period in words": {"states": np.array([6]), "period": np.array("now")},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_an_archive_of_something_else_is_not_loaded(tmp_path, what):
    """An archive without what every stored dataset has is refused by its name."""
    write_npz(tmp_path / "d.npz", FOREIGN[what])
    with pytest.raises(DatasetError, match="is not a stored dataset") as error:
        Dataset.load(tmp_path / "d.npz")
    assert str(tmp_path / "d.npz") in str(error.value)


def test_a_damaged_file_is_not_loaded(tmp_path):
    """A file cut short is a file error."""
    example().save(tmp_path / "d.npz")
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="is damaged"):
        Dataset.load(tmp_path / "d.npz")


# -- segments --------------------------------------------------------------------------


def test_segments_by_hand():
    """Three ranges, one of them empty, follow each other; no ranges give nothing."""
    assert segments(np.array([5, 0, 2]), np.array([2, 0, 3])).tolist() == [5, 6, 2, 3, 4]
    none = np.zeros(0, dtype=np.int64)
    assert segments(none, none).tolist() == []
    assert segments(none, none).dtype == np.int64
