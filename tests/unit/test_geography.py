"""Codes, areas, the crosswalk of blocks, and where columns live."""

from pathlib import Path

import numpy as np
import pytest

from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.errors import GeographyError
from calibration.files import write_npz
from calibration.geography import (
    STATE_LETTERS,
    Area,
    Level,
    at_large,
    clone_and_record,
    column_of,
    decode,
    encode,
    state_of,
)
from calibration.toy_data import country

# -- codes -----------------------------------------------------------------------------

# Codes of the 119th Congress and of the 2020 Census: Alaska at large, Los Angeles County,
# North Carolina's 12th, Salt Lake City.
WRITTEN = [
    (Level.NATION, "US", 0, None),
    (Level.STATE, "02", 2, 2),
    (Level.COUNTY, "06037", 6037, 6),
    (Level.DISTRICT, "3712", 3712, 37),
    (Level.DISTRICT, "0201", 201, 2),
    (Level.PLACE, "4967000", 4967000, 49),
    (Level.PLACE, "0203000", 203000, 2),
]


@pytest.mark.parametrize(("level", "text", "code", "state"), WRITTEN)
def test_codes_are_read_and_written(level, text, code, state):
    """A code is read with its zeros or without, written with them, and begins with its state."""
    assert encode(level, text) == code
    assert decode(level, code) == text
    if state:
        assert encode(level, text.lstrip("0")) == code
        assert state_of(level, code) == state


@pytest.mark.parametrize(
    ("text", "code"),
    [("0200", 201), ("0201", 201), ("5600", 5601), ("1198", 1101), ("1101", 1101)],
)
def test_districts_at_large_are_number_one(text, code):
    """A state's only seat (00) and a delegate's (98) are stored as 01."""
    assert encode(Level.DISTRICT, text) == code


def test_only_at_large_districts_are_renamed():
    """The numbers 01 to 97 stay, in arrays too."""
    assert at_large([200, 1198, 3712, 4804, 601]).tolist() == [201, 1101, 3712, 4804, 601]
    assert at_large([7298]).tolist() == [7201]  # Puerto Rico's resident commissioner


@pytest.mark.parametrize("code", [600, 3798, 3000, 0])
def test_a_state_of_many_seats_has_none_at_large(code):
    """California's 00 and North Carolina's 98 are errors, not the first district."""
    with pytest.raises(GeographyError, match=f"district {code:04d} has the number of an only seat"):
        at_large([601, code])
    if code:
        with pytest.raises(GeographyError, match=f"district {code:04d}"):
            encode(Level.DISTRICT, f"{code:04d}")
        with pytest.raises(GeographyError, match=f"district {code:04d}"):
            small(district=np.array([code, 630, 4904]))


@pytest.mark.parametrize(
    ("level", "text", "message"),
    [
        (Level.NATION, "00", "write 'US'"),
        (Level.STATE, "US", "not a state code of 2 digits"),
        (Level.STATE, "", "not a state code of 2 digits"),
        (Level.STATE, "006", "not a state code of 2 digits"),
        (Level.STATE, "03", "lies in no state"),
        (Level.STATE, "72", "lies in no state"),
        (Level.COUNTY, "6037.0", "not a county code of 5 digits"),
        (Level.COUNTY, " 6037", "not a county code of 5 digits"),
        (Level.COUNTY, "-6037", "not a county code of 5 digits"),
        (Level.COUNTY, "37", "lies in no state"),
        (Level.DISTRICT, "NC-12", "not a district code of 4 digits"),
        (Level.DISTRICT, "9901", "lies in no state"),
        (Level.DISTRICT, "٣٧١٢", "not a district code of 4 digits"),
        (Level.PLACE, "49670000", "not a place code of 7 digits"),
    ],
)
def test_what_is_no_code_is_refused(level, text, message):
    """A text that is no code of the level is an error that says what was expected."""
    with pytest.raises(GeographyError, match=message):
        encode(level, text)


def test_the_nation_lies_in_no_state():
    """Asking for the nation's state is an error, not a zero."""
    with pytest.raises(GeographyError, match="the nation lies in no state"):
        state_of(Level.NATION, [0])


def test_there_are_51_states():
    """Fifty states and the District of Columbia have letters of their own."""
    assert len(STATE_LETTERS) == len(set(STATE_LETTERS.values())) == 51
    assert (STATE_LETTERS[11], STATE_LETTERS[37], STATE_LETTERS[56]) == ("DC", "NC", "WY")


def test_columns_run_clone_by_clone():
    """Column c * R + h holds clone c of record h, and gives them back."""
    assert column_of([0, 0, 1, 2], [0, 3, 0, 1], 4).tolist() == [0, 3, 4, 9]
    clone, record = clone_and_record([0, 3, 4, 9], 4)
    assert clone.tolist() == [0, 0, 1, 2]
    assert record.tolist() == [0, 3, 0, 1]


# -- areas -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("area", "path"),
    [
        (Area.nation(), "national/US.h5"),
        (Area.state(37), "states/NC.h5"),
        (Area.district(3712), "districts/NC-12.h5"),
        (Area.district(201), "districts/AK-01.h5"),
        (Area.city("New-York", ["36061", "36047"]), "cities/New-York.h5"),
        (Area.place("Salt-Lake-City", "4967000"), "places/Salt-Lake-City.h5"),
    ],
)
def test_every_area_has_a_file_of_its_own(area, path):
    """The path tells the kind of area and its name."""
    assert area.path == Path(path)


def test_a_city_is_a_set_of_counties():
    """The order in which counties are named does not matter."""
    assert Area.city("NYC", ["36061", "36047"]) == Area.city("NYC", ["36047", "36061"])
    assert Area.city("NYC", ["36061", "36047"]).codes == (36047, 36061)


def test_areas_of_no_state_are_refused():
    """A state or district with an unknown FIPS code is an error with the code in it."""
    with pytest.raises(GeographyError, match="no state with FIPS code 3"):
        Area.state(3)
    with pytest.raises(GeographyError, match="no state with FIPS code 99"):
        Area.district(9901)
    with pytest.raises(GeographyError, match="not a county code"):
        Area.city("X", ["Kings"])


@pytest.mark.parametrize(
    ("level", "codes", "message"),
    [
        (Level.DISTRICT, (200,), "district 200 of AK-00 is stored as 201"),
        (Level.DISTRICT, (600,), "district 0600 has the number of an only seat"),
        (Level.STATE, (3,), "lies in no state"),
        (Level.COUNTY, (37183, -1), "not a county code"),
        (Level.PLACE, (37,), "lies in no state"),
        (Level.NATION, (1,), "the nation has the code 0"),
        (Level.COUNTY, (), "AK-00 has no codes"),
    ],
)
def test_an_area_has_codes_of_its_level(level, codes, message):
    """A code that no column can have makes no area: its file would be empty for no reason."""
    with pytest.raises(GeographyError, match=message):
        Area(level, codes, "AK-00")
    if codes == (200,):
        with pytest.raises(GeographyError, match=message):
            Area.district(200)


# -- blocks ----------------------------------------------------------------------------


def small(**changes):
    """Make a crosswalk of three blocks: two of California, one of Utah."""
    columns = {
        "block": np.array([60014001001001, 60374001001001, 490351001001001]),
        "population": np.array([30.0, 50.0, 20.0]),
        "district": np.array([612, 630, 4904]),
        "place": np.array([0, 644000, 4967000]),
        "zip_code": np.array([94601, 90012, 0]),
    }
    return Crosswalk(**(columns | changes))


def test_a_block_tells_its_county_and_state():
    """County and state are the first digits of the block; the other codes stand beside it."""
    crosswalk = small()
    assert crosswalk.county.tolist() == [6001, 6037, 49035]
    assert crosswalk.state.tolist() == [6, 6, 49]
    assert [crosswalk.codes(level).tolist() for level in Level] == [
        [0, 0, 0],
        [6, 6, 49],
        [6001, 6037, 49035],
        [612, 630, 4904],
        [0, 644000, 4967000],
    ]


def test_people_add_up_by_area():
    """The population of an area is that of its blocks, areas in ascending order."""
    crosswalk = small()
    assert crosswalk.population_by(Level.NATION) == {0: 100.0}
    assert crosswalk.population_by(Level.STATE) == {6: 80.0, 49: 20.0}
    assert list(crosswalk.population_by(Level.DISTRICT)) == [612, 630, 4904]
    assert crosswalk.population_by(Level.PLACE) == {644000: 50.0, 4967000: 20.0}


def test_blocks_are_found_and_unknown_ones_named():
    """A block gives its row; a block that is not there is an error with its 15 digits."""
    crosswalk = small()
    assert crosswalk.row_of(crosswalk.block[[2, 0, 0]]).tolist() == [2, 0, 0]
    for unknown in (1, 60014001001002, 999_999_999_999_999):
        with pytest.raises(GeographyError, match=f"block {unknown:015d} is not in the crosswalk"):
            crosswalk.row_of(np.array([60014001001001, unknown]))


BROKEN = {
    "no blocks": (
        {k: np.zeros(0, dtype=np.int64) for k in Crosswalk.__dataclass_fields__},
        "the crosswalk has no blocks",
    ),
    "out of order": (
        {"block": np.array([60374001001001, 60014001001001, 490351001001001])},
        "block 060014001001001 of the crosswalk is repeated or out of order",
    ),
    "a block twice": (
        {"block": np.array([60014001001001, 60014001001001, 490351001001001])},
        "block 060014001001001 of the crosswalk is repeated",
    ),
    "an empty block": (
        {"population": np.array([30.0, 0.0, 20.0])},
        "block 060374001001001 of the crosswalk has no population",
    ),
    "people unknown": ({"population": np.array([30.0, 1.0, np.nan])}, "block 490351001001001"),
    "people without end": ({"population": np.array([np.inf, 1.0, 2.0])}, "block 060014001001001"),
    "a district elsewhere": (
        {"district": np.array([612, 4901, 4904])},
        "block 060374001001001 lies in district 4901, which is in another state",
    ),
    "a place elsewhere": (
        {"place": np.array([0, 4967000, 4967000])},
        "block 060374001001001 lies in place 4967000, which is in another state",
    ),
    "too few ZIP codes": ({"zip_code": np.array([94601])}, "zip_code of the crosswalk has shape"),
    "too many people": ({"population": np.ones(4)}, "population of the crosswalk has shape"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_crosswalk_is_refused(what):
    """A crosswalk that contradicts itself is an error that names the block."""
    changes, message = BROKEN[what]
    with pytest.raises(GeographyError, match=message):
        small(**changes)


def test_the_hash_of_a_crosswalk_is_that_of_its_columns():
    """Any change of any column changes the hash; having looked something up does not."""
    used = small()
    assert used.county is not None
    assert used.hash() == small().hash()
    changes = [
        {"block": small().block + 1},
        {"population": small().population + 1},
        {"district": np.array([612, 630, 4903])},
        {"place": np.array([0, 0, 4967000])},
        {"zip_code": np.array([94601, 90012, 84101])},
    ]
    assert len({small().hash(), *(small(**c).hash() for c in changes)}) == 6


def test_the_toy_country_is_one():
    """The toy crosswalk has twelve districts with the populations that its table says."""
    crosswalk = country.crosswalk(0)
    expected = {district: float(people) for district, (people, _) in country.DISTRICTS.items()}
    assert crosswalk.population_by(Level.DISTRICT) == expected
    assert set(crosswalk.population_by(Level.STATE)) == {2, 6, 11, 37, 49}
    counties = {county for _, parts in country.DISTRICTS.values() for county in parts}
    assert set(crosswalk.county.tolist()) == counties


# -- where columns live ----------------------------------------------------------------


def assignment(rows=(0, 2, 1, 1, 0, 2), n_records=3, n_clones=2):
    """Put two clones of three records into blocks of the small crosswalk."""
    crosswalk = small()
    block = crosswalk.block[list(rows)]
    return GeographyAssignment.from_blocks(crosswalk, block, n_records, n_clones)


def test_columns_of_an_area():
    """An area lists the columns that have one of its codes, ascending."""
    geography = assignment()
    assert geography.n_columns == 6
    assert geography.columns_in(Area.nation()).tolist() == [0, 1, 2, 3, 4, 5]
    assert geography.columns_in(Area.state(6)).tolist() == [0, 2, 3, 4]
    assert geography.columns_in(Area.district(4904)).tolist() == [1, 5]
    assert geography.columns_in(Area.city("both", ["06001", "49035"])).tolist() == [0, 1, 4, 5]
    assert geography.columns_in(Area.place("LA", "0644000")).tolist() == [2, 3]
    assert geography.columns_in(Area.state(37)).tolist() == []
    assert geography.zip_code.tolist() == [94601, 0, 90012, 90012, 94601, 0]


def test_a_run_may_stop_at_states():
    """Levels below those of the run are errors, the nation and the states are there."""
    geography = GeographyAssignment(2, 1, {Level.STATE: np.array([6, 37])})
    assert geography.code(Level.NATION).tolist() == [0, 0]
    assert geography.state.tolist() == [6, 37]
    with pytest.raises(GeographyError, match="this run has no county codes, only state"):
        geography.columns_in(Area.city("X", ["06037"]))


def test_an_assignment_fits_its_records():
    """States are needed, and every array has one entry for each column."""
    with pytest.raises(GeographyError, match="needs the state of every column"):
        GeographyAssignment(2, 1, {Level.COUNTY: np.array([6037, 6037])})
    for codes, block in (([6, 6, 6], None), ([6, 6], np.array([1]))):
        with pytest.raises(GeographyError, match="clones of 2 records are 2 columns"):
            GeographyAssignment(2, 1, {Level.STATE: np.array(codes)}, block)


def test_the_hash_of_an_assignment_is_that_of_sizes_and_codes():
    """One column elsewhere, other sizes, or a level left out change the hash."""
    one = assignment()
    variants = [
        one,
        assignment(rows=(0, 2, 1, 1, 0, 0)),
        assignment(n_records=2, n_clones=3),
        assignment(n_records=6, n_clones=1),
        GeographyAssignment(3, 2, one.codes, one.block),
        GeographyAssignment(3, 2, one.codes),
        GeographyAssignment(3, 2, {Level.STATE: one.state}),
        GeographyAssignment(3, 2, one.codes, one.zip_code, one.block),
    ]
    assert len({v.hash() for v in variants}) == len(variants)
    assert assignment().hash() == one.hash()


def test_an_assignment_is_hashed_once(monkeypatch):
    """Every file of a run names the hash; five million columns are read for the first only."""
    geography = assignment()
    first = geography.hash()
    monkeypatch.setattr("calibration.crosswalk.hash_arrays", None)
    assert geography.hash() == first


@pytest.mark.parametrize("to_blocks", [True, False])
def test_an_assignment_comes_back_from_its_file(tmp_path, to_blocks):
    """Sizes, codes and, if the run goes down to blocks, blocks and ZIP codes come back."""
    one = assignment()
    stored = one if to_blocks else GeographyAssignment(3, 2, {Level.STATE: one.state})
    stored.save(tmp_path / "g.npz")
    loaded = GeographyAssignment.load(tmp_path / "g.npz")
    assert loaded.hash() == stored.hash()
    assert list(loaded.codes) == sorted(stored.codes)
    assert (loaded.n_records, loaded.n_clones) == (3, 2)
    assert (loaded.block is not None, loaded.zip_code is not None) == (to_blocks, to_blocks)


STATE = np.array([6])
FOREIGN = {
    "no sizes": {"code_state": STATE},
    "three sizes": {"code_state": STATE, "sizes": np.array([1, 1, 1])},
    "one size": {"code_state": STATE, "sizes": np.array(1)},
    "an unknown level": {"code_state": STATE, "code_galaxy": STATE, "sizes": np.array([1, 1])},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_file_of_something_else_is_refused(tmp_path, what):
    """An archive that `save` did not write is an error with its name."""
    write_npz(tmp_path / "g.npz", FOREIGN[what])
    with pytest.raises(GeographyError, match=r"is not a (stored )?geography") as error:
        GeographyAssignment.load(tmp_path / "g.npz")
    assert str(tmp_path / "g.npz") in str(error.value)
