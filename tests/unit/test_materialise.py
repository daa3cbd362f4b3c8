"""The expansion kernel on an example worked by hand, and what it refuses.

Two records. Household 7 has persons 30 and 10 in tax unit 200; household 5 has person 20
in tax unit 100 and person 40 in tax unit 300. Three clones: six columns.

    column           0        1        2        3        4        5
    clone, record    0, 0     0, 1     1, 0     1, 1     2, 0     2, 1
    block in         CA 630   UT 4904  UT 4904  CA 612   CA 612   CA 630
"""

import numpy as np
import pytest

from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import Dataset
from calibration.errors import DatasetError, GeographyError
from calibration.geography import Level
from calibration.materialise import GEOGRAPHY_COLUMNS, LazyTable, materialise

BLOCKS = np.array([60014001001001, 60374001001001, 490351001001001])
HOME = BLOCKS[[1, 2, 2, 0, 0, 1]]


def records(**household):
    """Make the two records; tables stand in any order."""
    return Dataset(
        2024,
        {
            "person": {
                "person_id": np.array([30, 20, 10, 40]),
                "person_household_id": np.array([7, 5, 7, 5]),
                "person_tax_unit_id": np.array([200, 100, 200, 300]),
                "age": np.array([40, 71, 9, 20]),
                "wage": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]),
            },
            "household": {
                "household_id": np.array([7, 5]),
                "household_weight": np.array([3.0, 0.0]),
                "design_weight": np.array([1.5, 1.5]),
            }
            | household,
            "tax_unit": {
                "tax_unit_id": np.array([300, 100, 200]),
                "name": np.array(["c", "a", "b"]),
                "itemizes": np.array([[True, False], [False, True], [False, False]]),
            },
        },
        (6, 49),
    ).check()


def geography():
    """Place the six columns."""
    crosswalk = Crosswalk(
        BLOCKS,
        np.array([3.0, 2.0, 1.0]),
        np.array([612, 630, 4904]),
        np.array([0, 644000, 4967000]),
        np.array([0, 90012, 84101]),
    )
    return GeographyAssignment.from_blocks(crosswalk, HOME, 2, 3)


def lists(table, *names):
    """Read columns of a table as lists."""
    return [table[name].tolist() for name in names]


def test_the_example_by_hand():
    """Columns 3, 0 and 1 become three households with new ids, their places and their values."""
    made = materialise(records(), geography(), np.array([3, 0, 1]), weights=np.array([0.5, 2, 9]))
    assert made.check().states == ()
    home = made.household
    assert lists(
        home, "household_id", "record_household_id", "clone_index", "household_weight"
    ) == [
        [0, 1, 2],
        [5, 7, 5],
        [1, 0, 0],
        [0.5, 2.0, 9.0],
    ]
    assert lists(home, *GEOGRAPHY_COLUMNS) == [
        [6, 6, 49],
        ["06001", "06037", "49035"],
        [612, 630, 4904],
        ["", "0644000", "4967000"],
        ["060014001001001", "060374001001001", "490351001001001"],
        ["06001400100", "06037400100", "49035100100"],
        ["", "90012", "84101"],
    ]
    person = made.person
    assert lists(person, "person_id", "record_person_id", "person_household_id") == [
        [0, 1, 2, 3, 4, 5],
        [20, 40, 30, 10, 20, 40],
        [0, 0, 1, 1, 2, 2],
    ]
    # Tax units of a record stand as in the table: 300 before 100.
    unit = made.tables["tax_unit"]
    assert lists(unit, "tax_unit_id", "record_tax_unit_id", "name") == [
        [0, 1, 2, 3, 4],
        [300, 100, 200, 300, 100],
        ["c", "a", "b", "c", "a"],
    ]
    assert person["person_tax_unit_id"].tolist() == [1, 0, 2, 2, 4, 3]
    # California is the first state, Utah the second.
    assert person["wage"].tolist() == [3.0, 7.0, 1.0, 5.0, 4.0, 8.0]
    assert unit["itemizes"].tolist() == [True, False, False, False, True]
    assert person["age"].tolist() == [71, 20, 40, 9, 71, 20]


def test_types_stay_what_they_were():
    """Flags stay flags, text stays text, whole numbers stay whole."""
    made = materialise(records(), geography(), np.array([5, 1]))
    kinds = {name: made[name].dtype.kind for name in ("itemizes", "name", "age", "wage")}
    assert kinds == {"itemizes": "b", "name": "U", "age": "i", "wage": "f"}
    assert [made[n].dtype.kind for n in GEOGRAPHY_COLUMNS] == ["i", "U", "i", "U", "U", "U", "U"]
    assert made["household_weight"].dtype == np.float64


def test_a_column_may_stand_more_than_once():
    """Each standing of a column is a household of its own, under ids of its own."""
    made = materialise(records(), geography(), np.array([2, 2, 2])).check()
    assert made["record_household_id"].tolist() == [7, 7, 7]
    assert made["clone_index"].tolist() == [1, 1, 1]
    assert made["person_household_id"].tolist() == [0, 0, 1, 1, 2, 2]


def test_without_weights_every_household_weighs_one():
    """The unit weight is what X is made of; the survey weights do not come along."""
    made = materialise(records(), geography(), np.arange(6))
    assert made["household_weight"].tolist() == [1.0] * 6
    assert "design_weight" not in made


def test_no_columns_make_an_empty_dataset():
    """An area without columns is a valid dataset without rows, with all its columns."""
    made = materialise(records(), geography(), np.zeros(0, dtype=np.int64)).check()
    assert [made.size(e) for e in made.tables] == [0, 0, 0]
    assert made.names() == materialise(records(), geography(), np.arange(6)).names()


def test_another_order_of_columns_gives_the_same_households():
    """Households are matched by record and clone: their people, places and values agree."""
    by_who = []
    for columns in ([0, 1, 2, 3, 4, 5], [4, 2, 5, 0, 3, 1]):
        made = materialise(records(), geography(), np.array(columns))
        home = made.unit_of_person("household")
        who = zip(
            made["clone_index"][home].tolist(),
            made["record_person_id"].tolist(),
            strict=True,
        )
        unit = made.unit_of_person("tax_unit")
        what = zip(
            made["wage"].tolist(),
            made["block_geoid"][home].tolist(),
            made["record_tax_unit_id"][unit].tolist(),
            strict=True,
        )
        by_who.append(dict(zip(who, what, strict=True)))
    assert by_who[0] == by_who[1]
    assert len(by_who[0]) == 12


# -- lazy tables -----------------------------------------------------------------------


def test_a_column_is_gathered_when_it_is_read_and_not_before():
    """Listing, counting and looking for names computes nothing; reading computes once each."""
    calls = []
    table = LazyTable({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert list(table) == ["a", "b"]
    assert len(table) == 2
    assert "a" in table
    assert "c" not in table
    assert calls == []
    assert table["b"] is None
    assert table.get("b") is None
    assert calls == ["b", "b"]
    with pytest.raises(KeyError):
        table["c"]


def test_the_source_is_read_lazily():
    """Making, naming and adding to a materialised dataset reads ids, to count rows, and no more."""
    read = []

    class Watched(LazyTable):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    made = materialise(records(), geography(), np.arange(6))
    watched = {entity: Watched(table._columns) for entity, table in made.tables.items()}
    again = Dataset(made.period, watched).with_columns("person", {"flag": np.ones(12, dtype=bool)})
    assert "flag" in again
    assert len(again.names()) == len(made.names()) + 1
    assert read == ["person_id"]
    assert again["age"].shape == (12,)
    assert read == ["person_id", "age"]


def test_a_materialised_dataset_can_be_materialised():
    """The result is a dataset like any other: its households can be records in turn."""
    made = materialise(records(), geography(), np.array([1, 2]))
    there = GeographyAssignment(2, 1, {Level.STATE: np.array([6, 49])})
    again = materialise(made, there, np.array([1, 0])).check()
    assert again["record_household_id"].tolist() == [1, 0]
    assert again["age"].tolist() == [40, 9, 71, 20]
    assert again["state_fips"].tolist() == [49, 6]


# -- what is refused -------------------------------------------------------------------


def test_the_place_of_a_record_is_not_that_of_its_clone():
    """Where a run stops at states, codes that the record had below them are not passed on."""
    old = {name: np.array(["x", "y"]) for name in GEOGRAPHY_COLUMNS}
    states = GeographyAssignment(2, 1, {Level.STATE: np.array([49, 6])})
    made = materialise(records(**old), states, np.array([0, 1]))
    assert [name for name in GEOGRAPHY_COLUMNS if name in made] == ["state_fips"]
    assert made["state_fips"].tolist() == [49, 6]


def test_a_state_without_by_state_values_is_an_error():
    """A column in a state that the by-state columns lack is refused, not given another's."""
    for state in (2, 37, 56):
        there = GeographyAssignment(2, 1, {Level.STATE: np.array([6, state])})
        assert materialise(records(), there, np.array([0])).size("household") == 1
        message = rf"a column lives in state {state:02d}, but by-state columns have \(6, 49\)"
        with pytest.raises(DatasetError, match=message):
            materialise(records(), there, np.array([0, 1]))


@pytest.mark.parametrize("n_records", [1, 3])
def test_geography_of_other_records_is_refused(n_records):
    """Dataset and geography must have the same number of records."""
    state = np.full(n_records, 6)
    there = GeographyAssignment(n_records, 1, {Level.STATE: state})
    with pytest.raises(GeographyError, match=f"assigns {n_records} records, the dataset has 2"):
        materialise(records(), there, np.array([0]))


@pytest.mark.parametrize("column", [-1, 6])
def test_a_column_that_x_does_not_have_is_refused(column):
    """Columns run from 0 to C - 1; a negative one does not count from the end."""
    with pytest.raises(GeographyError, match=f"there is no column {column}; X has 6"):
        materialise(records(), geography(), np.array([0, column]))


@pytest.mark.parametrize(
    "columns", [np.arange(6) > 3, np.array([1.0, 2.0]), np.array(["1"]), np.array([[0, 1]]), 3]
)
def test_columns_are_given_by_number(columns):
    """A mask is not a list of columns: read as 0 and 1 it would bring other households."""
    with pytest.raises(GeographyError, match="columns must be whole numbers in one row, not"):
        materialise(records(), geography(), columns)


@pytest.mark.parametrize("weights", [np.ones(1), np.ones(3), np.ones((2, 1)), np.float64(1)])
def test_there_is_one_weight_for_each_column(weights):
    """Weights of another shape are refused before anything is made."""
    with pytest.raises(DatasetError, match="for 2 columns"):
        materialise(records(), geography(), np.array([0, 1]), weights=weights)
