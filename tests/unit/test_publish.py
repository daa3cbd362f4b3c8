"""Published files: what is in them, how they lie on the disk, and what is refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_world import AREAS, CROSSWALK, dataset, world
from stub_engine import ENGINE

from calibration import h5_layout
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.errors import DatasetError, FileError, GeographyError, PublishError
from calibration.geography import Area, Level
from calibration.h5_layout import read_h5, write_h5
from calibration.publish_local_area import AreaStatus, area_columns, build_h5, county_share

WAKE = Area.city("Wake", ["37183"])
ATTRIBUTES = {"dataset", "engine", "geography", "thresholds", "area", "counties", "package", "seed"}


@pytest.fixture(scope="module")
def made():
    """Eight records, four clones each, in the country of thirteen blocks."""
    return world(8, 4, 0)


def publish(made, path, area=AREAS[0], weights=None, **options):
    """Build the file of an area."""
    clones = made.clones
    w = made.weights() if weights is None else weights
    options = {"takeup": clones.thresholds, "engine": ENGINE} | options
    return build_h5(w, clones.geography, clones.dataset, path, area, **options)


# -- content ---------------------------------------------------------------------------


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_a_file_holds_the_columns_of_its_area(made, tmp_path, area):
    """Read back, every variable equals that of the materialised columns, type and all."""
    w = made.weights()
    result = publish(made, tmp_path / area.path, area)
    geography = made.clones.geography
    here = np.flatnonzero(np.isin(geography.code(area.level), area.codes) & (w > 0))
    expected = made.clones.households(here, w[here])
    found = read_h5(tmp_path / area.path)
    assert found.period == 2024
    assert found.names() == expected.names()
    for name in expected.names():
        assert found.entity_of(name) == expected.entity_of(name)
        assert found[name].dtype.kind == expected[name].dtype.kind
        assert found[name].tolist() == expected[name].tolist()
    assert result.status is AreaStatus.WRITTEN
    assert (result.households, result.persons) == (len(here), expected.size("person"))
    assert result.weight == pytest.approx(w[here].sum(), rel=1e-12)


def test_text_survives(made, tmp_path):
    """Names with letters beyond ASCII, and empty text, come back as they were."""
    publish(made, tmp_path / "US.h5", weights=np.ones(32))
    towns = set(read_h5(tmp_path / "US.h5")["town"].tolist())
    assert towns == set(made.clones.dataset["town"].tolist())
    assert any(not town.isascii() for town in towns)
    assert "" in towns


def test_a_column_of_empty_text_survives(tmp_path):
    """Where no household has a place, the variable is still there."""
    records = dataset(3, 0)
    household = {name: records[name] for name in records.household if name != "rent"}
    household["place"] = np.array(["", "", ""])
    flat = Dataset(2024, {**records.tables, "household": household})
    write_h5(tmp_path / "a.h5", flat, attributes={})
    assert read_h5(tmp_path / "a.h5")["place"].tolist() == ["", "", ""]


def test_what_the_engine_computes_is_not_stored(made, tmp_path):
    """A survey's own SNAP would stand in the way of the simulated one; it stays out."""
    records = made.clones.dataset
    old = records.with_columns("spm_unit", {"snap": np.ones(records.size("spm_unit"))})
    publish(replace(made, clones=replace(made.clones, dataset=old)), tmp_path / "US.h5")
    with h5py.File(tmp_path / "US.h5") as file:
        assert not set(file) & set(ENGINE.outputs)
        assert {p.flag for p in made.clones.programmes} <= set(file)


# -- layout ----------------------------------------------------------------------------


def test_the_layout_is_that_of_policyengine_core(made, tmp_path):
    """Groups of one year each at the root, bytes for text, facts in attributes alone.

    Its loader takes the period of the file from the first member of the first root key.
    """
    publish(made, tmp_path / "US.h5")
    with h5py.File(tmp_path / "US.h5") as file:
        first = next(iter(file))
        assert next(iter(file[first])) == "2024"
        for name, group in file.items():
            assert isinstance(group, h5py.Group)
            assert not group.attrs
            (stored,) = group.values()
            assert list(group) == ["2024"]
            assert stored.ndim == 1
            assert stored.dtype.kind in "biufS", name
            assert set(stored.attrs) == {"entity"}
            assert h5py.h5g.get_objinfo(group.id, b"2024").mtime == 0  # no time stamps
        assert set(file.attrs) == ATTRIBUTES
        assert file["county_fips/2024"].dtype.kind == "S"
        assert file["takes_up_snap_if_eligible/2024"].dtype == np.bool_
        for entity in ("person", "household", "tax_unit", "spm_unit"):
            assert f"{entity}_id" in file
            assert entity == "person" or f"person_{entity}_id" in file


def test_provenance_says_what_a_file_was_made_of(made, tmp_path):
    """Hashes of the parts, the area, the seed, and how counties were cut."""
    publish(made, tmp_path / "Wake.h5", WAKE, counties="scaled", crosswalk=CROSSWALK)
    with h5py.File(tmp_path / "Wake.h5") as file:
        facts = dict(file.attrs)
    assert {key: facts[key] for key in made.clones.made_of()} == made.clones.made_of()
    assert (facts["area"], facts["counties"], facts["seed"]) == ("Wake", "scaled", "0")


def test_weights_stand_on_households_alone(made, tmp_path):
    """No other entity has a weight: the engine projects the household's."""
    publish(made, tmp_path / "US.h5")
    with h5py.File(tmp_path / "US.h5") as file:
        assert [name for name in file if "weight" in name] == ["household_weight"]


def test_the_same_inputs_give_the_same_bytes(made, tmp_path):
    """Built twice, after other files or before, with other weights elsewhere: equal bytes."""
    district = Area.district(3702)
    publish(made, tmp_path / "one.h5", district)
    for i, area in enumerate(AREAS):
        publish(made, tmp_path / f"other{i}.h5", area)
    publish(made, tmp_path / "two.h5", district)
    elsewhere = made.clones.geography.code(Level.DISTRICT) != 3702
    publish(made, tmp_path / "three.h5", district,
            weights=np.where(elsewhere, 7.0, made.weights()))  # fmt: skip
    one = (tmp_path / "one.h5").read_bytes()
    assert one == (tmp_path / "two.h5").read_bytes() == (tmp_path / "three.h5").read_bytes()


def test_long_columns_are_compressed_and_read_back(tmp_path):
    """Beyond 65,536 rows a variable is cut into compressed chunks; bytes stay reproducible."""
    n = 70_000
    ids = np.arange(n)
    tables = {
        "person": {"person_id": ids, "person_household_id": ids, "age": ids % 90 / 2},
        "household": {"household_id": ids, "town": np.where(ids % 2, "Łódź", "")},
    }
    for name in ("a.h5", "b.h5"):
        write_h5(tmp_path / name, Dataset(2024, tables), attributes={"z": "1", "a": "2"})
    found = read_h5(tmp_path / "a.h5")
    assert (found["age"] == tables["person"]["age"]).all()
    assert (found["town"] == tables["household"]["town"]).all()
    assert (tmp_path / "a.h5").stat().st_size < 8 * n
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# -- counties --------------------------------------------------------------------------


def test_county_shares_by_hand():
    """Wake has 400 of the 1,000 people of NC-04 and all of NC-02."""
    assert county_share(CROSSWALK, WAKE) == {3702: 1.0, 3704: 0.4}
    both = county_share(CROSSWALK, Area.city("Raleigh-Durham", ["37183", "37063"]))
    assert both == {3702: 1.0, 3704: 1.0}
    assert county_share(CROSSWALK, Area.city("LA", ["06037"])) == {630: 1.0, 634: 1.0}


def test_own_counties_keep_weights_and_drop_neighbors(made):
    """With "own", exactly the columns that live in the county, at their weights."""
    w = made.weights()
    columns, kept = area_columns(w, made.clones.geography, WAKE)
    assert set(made.clones.geography.code(Level.COUNTY)[columns].tolist()) == {37183}
    assert kept.tolist() == w[columns].tolist()


def test_the_smallest_weight_is_a_weight(made):
    """A column is retained when its weight is greater than 0, however little."""
    w = np.full(made.n_columns, 5e-324)
    w[::2] = 0.0
    for options in ({}, {"counties": "scaled", "crosswalk": CROSSWALK}):
        area = Area.city("Wake", ["37183"]) if options else Area.nation()
        columns, _ = area_columns(w * (1e300 if options else 1), made.clones.geography, area,
                                  **options)  # fmt: skip
        district = made.clones.geography.code(Level.DISTRICT)
        inside = np.isin(district, [3702, 3704]) if options else district > 0
        assert columns.tolist() == np.flatnonzero(inside & (w > 0)).tolist()


def test_scaling_keeps_every_households_own_county(made, tmp_path):
    """Scaled, a neighbor from Durham stays a household of Durham, at 0.4 of its weight."""
    w = np.ones(made.n_columns)
    publish(made, tmp_path / "Wake.h5", WAKE, weights=w, counties="scaled", crosswalk=CROSSWALK)
    file = read_h5(tmp_path / "Wake.h5")
    geography = made.clones.geography
    district = geography.code(Level.DISTRICT)
    here = np.flatnonzero(np.isin(district, [3702, 3704]))
    assert file["county_fips"].astype(int).tolist() == geography.code(Level.COUNTY)[here].tolist()
    assert set(file["county_fips"].tolist()) == {"37063", "37183"}
    assert file["household_weight"].tolist() == np.where(district[here] == 3704, 0.4, 1.0).tolist()


def test_own_and_scaled_expect_the_same_total():
    """With blocks drawn by population both totals agree, within the Hoeffding bound at 1e-9."""
    n = 40_000
    chance = CROSSWALK.population / CROSSWALK.population.sum()
    block = np.random.default_rng(0).choice(CROSSWALK.block, n, p=chance)
    geography = GeographyAssignment.from_blocks(CROSSWALK, block, n, 1)
    w = np.ones(n)
    own = area_columns(w, geography, WAKE)[1].sum()
    scaled = area_columns(w, geography, WAKE, counties="scaled", crosswalk=CROSSWALK)[1].sum()
    assert abs(own - scaled) < np.sqrt(n * np.log(2 / 1e-9) / 2)
    assert own != scaled


@pytest.mark.parametrize(
    ("area", "options", "message"),
    [
        (WAKE, {"counties": "both"}, "counties is 'both'; choose 'own' or 'scaled'"),
        (
            Area.district(3702),
            {"counties": "scaled", "crosswalk": CROSSWALK},
            "only areas of count",
        ),
        (WAKE, {"counties": "scaled"}, "needs the crosswalk"),
    ],
)
def test_an_area_that_cannot_be_cut_so_is_an_error(made, tmp_path, area, options, message):
    """A misspelt mode never falls back to another one."""
    with pytest.raises(PublishError, match=message):
        publish(made, tmp_path / "a.h5", area, **options)
    assert not list(tmp_path.iterdir())


# -- weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_an_error(made, tmp_path, bad):
    """A negative or undefined weight names its column, wherever the column lives."""
    weights = made.weights()
    weights[5] = bad
    with pytest.raises(PublishError, match=f"weight of column 5 is {bad}"):
        publish(made, tmp_path / "a.h5", weights=weights)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [31, 33, (8, 4)])
def test_weights_of_another_length_are_an_error(made, tmp_path, shape):
    """One weight for each column, in one axis."""
    with pytest.raises(PublishError, match="weights for 32 columns"):
        publish(made, tmp_path / "a.h5", weights=np.ones(shape))


def test_an_area_without_columns_has_a_status_and_no_file(made, tmp_path):
    """Empty areas are told, not written, and a file of an earlier run does not stay."""
    publish(made, tmp_path / "Wake.h5", WAKE)
    assert (tmp_path / "Wake.h5").exists()
    nobody = np.where(made.clones.geography.code(Level.COUNTY) == 37183, 0.0, 1.0)
    result = publish(made, tmp_path / "Wake.h5", WAKE, weights=nobody)
    assert result.status is AreaStatus.EMPTY
    assert (result.households, result.persons, result.weight) == (0, 0, 0.0)
    assert not list(tmp_path.iterdir())


def test_a_level_that_the_run_does_not_have_is_an_error(made, tmp_path):
    """A run down to districts has no places."""
    codes = {k: v for k, v in made.clones.geography.codes.items() if k is not Level.PLACE}
    clones = replace(made.clones, geography=replace(made.clones.geography, codes=codes))
    with pytest.raises(GeographyError, match="no place codes"):
        publish(replace(made, clones=clones), tmp_path / "a.h5", AREAS[-1])


# -- nothing half-written --------------------------------------------------------------


def test_an_invalid_dataset_leaves_no_file(made, tmp_path):
    """What is not a number is found on the disk, before the file has its name."""
    records = made.clones.dataset
    ages = np.where(np.arange(records.size("person")) == 3, np.nan, records["age"])
    broken = replace(made.clones, dataset=records.with_columns("person", {"age": ages}))
    with pytest.raises(DatasetError, match=r"/US\.h5 is not written.*'age' is not a finite number"):
        publish(replace(made, clones=broken), tmp_path / "US.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "fault",
    [
        ("person_tax_unit_id", lambda v: v + 10_000, "which the tax_unit table does not have"),
        ("person_spm_unit_id", lambda v: v[::-1].copy(), "more than one household"),
        ("age", lambda v: v[:-1], "has .* rows, the table has"),
        ("household_id", lambda v: v * 0, "stands .* times"),
        ("household_weight", lambda v: -v, "'household_weight' is -"),
    ],
)
def test_a_writing_fault_leaves_the_old_file(made, tmp_path, monkeypatch, fault):
    """Checks read what stands on the disk: a fault between memory and disk is caught."""
    column, change, message = fault
    publish(made, tmp_path / "US.h5")
    before = (tmp_path / "US.h5").read_bytes()
    stored = h5_layout._as_stored

    def faulty(dataset: Dataset, name: str) -> np.ndarray:
        return change(stored(dataset, name)) if name == column else stored(dataset, name)

    monkeypatch.setattr(h5_layout, "_as_stored", faulty)
    with pytest.raises(DatasetError, match=message):
        publish(made, tmp_path / "US.h5")
    assert (tmp_path / "US.h5").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["US.h5"]


def test_by_state_columns_cannot_be_written(tmp_path):
    """Records are not a published file; they must be materialised first."""
    with pytest.raises(DatasetError, match="'rent' is by state; materialise"):
        write_h5(tmp_path / "a.h5", dataset(3, 0), attributes={})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(made, tmp_path):
    """A file where the folder should be is told in one line."""
    (tmp_path / "states").write_text("a file")
    with pytest.raises(FileError, match="cannot write"):
        publish(made, tmp_path / "states" / "NC.h5", Area.state(37))


# -- reading what somebody else left ---------------------------------------------------


def test_a_cut_file_is_an_error(made, tmp_path):
    """Cut anywhere, a file is damaged, not a smaller population."""
    publish(made, tmp_path / "US.h5")
    whole = (tmp_path / "US.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    for size in [0, 1, 100, *range(1_000, len(whole), 7_919), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(FileError, match=r"cut\.h5 is damaged"):
            read_h5(cut)
    with pytest.raises(FileError, match=r"none\.h5 does not exist"):
        read_h5(tmp_path / "none.h5")


def add_period(file):
    """Give one variable a second year."""
    file.create_dataset("age/2025", data=file["age/2024"][()]).attrs["entity"] = "person"


def drop_entity(file):
    """Take away what says whose variable it is."""
    del file["age/2024"].attrs["entity"]


def add_metadata(file):
    """Add a group that is no variable."""
    file.create_dataset("_meta/info", data=[1])


def flatten(file):
    """Put a variable at the root, in the other layout."""
    values = file["age/2024"][()]
    del file["age"]
    file["age"] = values


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (add_period, DatasetError, "must hold exactly one year"),
        (drop_entity, DatasetError, "'age' does not say its entity"),
        (add_metadata, DatasetError, "'_meta' does not say its entity"),
        (flatten, FileError, "not such a file"),
    ],
)
def test_another_layout_is_refused(made, tmp_path, edit, error, message):
    """Several years, no entity, groups of metadata: the file and variable are named."""
    publish(made, tmp_path / "US.h5")
    with h5py.File(tmp_path / "US.h5", "a") as file:
        edit(file)
    with pytest.raises(error, match=message):
        read_h5(tmp_path / "US.h5")
