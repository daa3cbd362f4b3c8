"""The target database: what is written, what is read back, and what is refused."""

import sqlite3
from contextlib import closing

import pytest
from small_world import target, targets_everywhere

from calibration.errors import FileError, TargetError
from calibration.geography import Level
from calibration.strata import LEVEL_VARIABLES
from calibration.target_database import Contents, TargetDatabase
from calibration.targets import Target


def of_state(variable="snap", *constraints: str, **changes) -> Target:
    """Make a target of North Carolina."""
    made = target(variable, Level.STATE, 37, *constraints)
    fields = {name: getattr(made, name) for name in Target.__dataclass_fields__}
    return Target(**(fields | changes))


def rows(path, query: str) -> list[tuple]:
    """Ask a database something."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def edit(path, *statements: str) -> None:
    """Change a database by hand."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def database(tmp_path) -> TargetDatabase:
    """Write a nation, a state and a district, filers and all, in two years."""
    filers = "tax_unit_is_filer==1"
    return TargetDatabase.write(
        tmp_path / "targets.db",
        [
            target("snap", Level.NATION, 0),
            of_state("snap", filers, "age>=65"),
            of_state("snap", filers, period=2022, value=5.0),
            target("person_count", Level.DISTRICT, 3702, filers),
        ],
    )


# -- round trip ------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path):
    """All fields of all targets, at every level, with every kind of constraint."""
    made = [
        Target(**{n: getattr(t, n) for n in Target.__dataclass_fields__} | {"source": "π, §1"})
        for t in targets_everywhere()
    ]
    assert TargetDatabase.write(tmp_path / "t.db", made[::-1]).read(2024) == made


def test_the_same_targets_give_the_same_bytes(tmp_path):
    """A database is a function of what is in it."""
    for name in ("a.db", "b.db"):
        TargetDatabase.write(tmp_path / name, targets_everywhere())
    assert (tmp_path / "a.db").read_bytes() == (tmp_path / "b.db").read_bytes()


@pytest.mark.parametrize(
    ("year", "period"), [(2021, 2022), (2022, 2022), (2023, 2022), (2024, 2024), (2030, 2025)]
)
def test_best_period_is_the_latest_not_after_the_year_else_the_earliest(tmp_path, year, period):
    """Of 2022, 2024 and 2025, a model year takes one."""
    made = [of_state(period=p, value=float(p)) for p in (2024, 2022, 2025)]
    (found,) = TargetDatabase.write(tmp_path / "t.db", made).read(year)
    assert (found.period, found.value) == (period, float(period))


def test_the_best_period_is_chosen_for_each_stratum_and_variable(tmp_path):
    """A later year of another variable or another stratum changes nothing."""
    made = [of_state("snap", period=2022), of_state("ssi", period=2024),
            of_state("snap", "age<5", period=2023)]  # fmt: skip
    found = TargetDatabase.write(tmp_path / "t.db", made).read(2024)
    assert {(t.name, t.period) for t in found} == {
        ("state_37/snap", 2022), ("state_37/ssi", 2024), ("state_37/snap/[age<5]", 2023)
    }  # fmt: skip


def test_inactive_targets_and_reforms_are_not_read(database):
    """A target that is switched off, or is about a reform, is as if it were not there."""
    edit(
        database.path,
        "UPDATE targets SET active = 0 WHERE variable = 'person_count'",
        "UPDATE targets SET reform_id = 1 WHERE period = 2022",
    )
    names = [t.name for t in database.read(2024)]
    assert names == ["national/snap", "state_37/snap/[age>=65,tax_unit_is_filer==1]"]


def test_reading_changes_nothing(database):
    """Bytes, time stamps and the folder are as before, also for a file nobody may write."""
    database.path.chmod(0o444)
    before = database.path.read_bytes(), database.path.stat().st_mtime_ns
    assert len(database.read(2024)) == 4
    assert (database.path.read_bytes(), database.path.stat().st_mtime_ns) == before
    assert [p.name for p in database.path.parent.iterdir()] == ["targets.db"]


def test_a_reader_cannot_write(database):
    """The connection of a reader refuses every change."""
    with (
        pytest.raises(TargetError, match="attempt to write a readonly database"),
        database._connect() as connection,
    ):
        connection.execute("DELETE FROM targets")


# -- layout ----------------------------------------------------------------------------


def test_every_stratum_hangs_under_the_area_above_it(database):
    """The nation is the root; parents have the same constraints, one area up."""
    hanging = rows(
        database.path,
        "SELECT c.notes, p.notes FROM strata c LEFT JOIN strata p "
        "ON c.parent_stratum_id = p.stratum_id ORDER BY c.stratum_id",
    )
    filers = [("nation US", None), ("state 37", "nation US")]
    assert hanging == [("nation US", None), *filers, *filers, ("district 3702", "state 37")]


def test_one_scope_is_one_stratum(tmp_path):
    """Targets of the same people share a stratum, whatever the order of constraints."""
    one, other = of_state("snap", "age<9", "age>=5"), of_state("ssi", "age>=5", "age<9")
    path = TargetDatabase.write(tmp_path / "t.db", [one, other]).path
    assert len({s for (s,) in rows(path, "SELECT stratum_id FROM targets")}) == 1
    assert rows(path, "SELECT COUNT(*) FROM strata") == [(2,)]  # the state's and the nation's


def test_the_overview_shows_level_area_and_domain(tmp_path):
    """One line a target: its level, its area's code, and what its constraints speak of."""
    filers = ("tax_unit_is_filer==1", "age>=65")
    codes = {Level.NATION: 0, Level.STATE: 6, Level.COUNTY: 6037, Level.DISTRICT: 630,
             Level.PLACE: 644000}  # fmt: skip
    made = [target("snap", level, code, *filers) for level, code in codes.items()]
    path = TargetDatabase.write(tmp_path / "t.db", [*made, target("ssi", Level.STATE, 6)]).path
    assert rows(
        path,
        "SELECT variable, geo_level, geographic_id, domain_variable FROM target_overview "
        "ORDER BY target_id",
    ) == [
        ("snap", "nation", "US", "age,tax_unit_is_filer"),
        ("snap", "state", "06", "age,tax_unit_is_filer"),
        ("snap", "county", "06037", "age,tax_unit_is_filer"),
        ("snap", "district", "0630", "age,tax_unit_is_filer"),
        ("snap", "place", "0644000", "age,tax_unit_is_filer"),
        ("ssi", "state", "06", None),
    ]


def test_levels_in_the_database_are_those_of_the_code(database):
    """The view reads the same table of levels as the reader."""
    assert dict(rows(database.path, "SELECT level, constraint_variable FROM levels")) == {
        str(level): variable for level, variable in LEVEL_VARIABLES.items()
    }
    assert set(LEVEL_VARIABLES) == set(Level) - {Level.NATION}


# -- what cannot be written ------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([of_state(), of_state(value=2.0)], "two targets state_37/snap for 2024"),
        ([of_state(value=float("nan"))], "its value nan is not a finite number"),
        ([of_state("snap", "age>9", "age<3")], "no value meets both"),
        (
            [of_state("snap", "age>=65"), target("snap", Level.NATION, 0, "age>=65.0")],
            "one measure in two spellings",
        ),
        ([of_state("snap", "state_fips==37")], "state_fips==37 is an area"),
        ([target("snap", Level.NATION, 0, "county_fips==37183")], "county_fips==37183 is an area"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, targets, message):
    """The target is named and no file is left."""
    with pytest.raises(TargetError, match=message):
        TargetDatabase.write(tmp_path / "t.db", targets)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_database(database):
    """An error half way keeps what was there, byte for byte."""
    before = database.path.read_bytes()
    with pytest.raises(TargetError):
        TargetDatabase.write(database.path, [of_state("ssi"), of_state(), of_state()])
    assert database.path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """A file where the folder should be is told in one line."""
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(FileError, match="cannot write"):
        TargetDatabase.write(tmp_path / "folder" / "t.db", [of_state()])


# -- what cannot be read ---------------------------------------------------------------


def test_an_unknown_variable_is_named_with_its_neighbors(database):
    """A target or constraint that no engine knows is an error before anything is built."""
    known = {"snap", "age", "tax_unit_is_filer"}
    assert len(database.read(2024, known)) == 4
    with pytest.raises(TargetError, match=r"no variable 'snap'; did you mean 'snaps'"):
        database.read(2024, {"snaps", "age", "tax_unit_is_filer"})
    with pytest.raises(TargetError, match=r"\[age>=65.*no variable 'age'"):
        database.read(2024, {"snap", "tax_unit_is_filer"})


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE strata SET parent_stratum_id = 2 WHERE notes = 'state 37'", "stratum 5 does not"),
        ("UPDATE strata SET parent_stratum_id = 99 WHERE notes = 'district 3702'", "parent 99"),
        ("UPDATE strata SET parent_stratum_id = stratum_id WHERE stratum_id = 3", "its parent 3"),
        ("UPDATE stratum_constraints SET value = '0612' WHERE value = '3702'", "not lie within"),
        (
            "UPDATE stratum_constraints SET value = '66' WHERE stratum_id = 3 AND value = '65'",
            "its p",
        ),
        ("UPDATE stratum_constraints SET value = '99' WHERE value = '37'", "lies in no state"),
        ("UPDATE stratum_constraints SET value = '3 7' WHERE value = '37'", "stratum 3: cannot"),
        ("UPDATE stratum_constraints SET operation = '>=' WHERE value = '37'", "given by =="),
        ("INSERT INTO stratum_constraints VALUES (3, 'county_fips', '==', '37183')", "one area"),
        ("INSERT INTO stratum_constraints VALUES (2, 'age', '<', '60')", "no value meets both"),
        ("INSERT INTO stratum_constraints VALUES (2, 'age', '==', '70')", "nothing else to say"),
        ("INSERT INTO stratum_constraints VALUES (99, 'age', '<', '60')", "of stratum 99"),
        ("UPDATE targets SET stratum_id = 77 WHERE period = 2022", "target 3 is of stratum 77"),
        ("UPDATE targets SET value = 'many' WHERE target_id = 2", "target 2: its value 'many'"),
        ("UPDATE targets SET value = 9e999 WHERE target_id = 2", "target 2: its value inf"),
        ("UPDATE targets SET period = 'FY24' WHERE target_id = 2", "target 2: its period 'FY24'"),
        ("UPDATE targets SET variable = 'a b' WHERE target_id = 2", "target 2: 'a b' is not"),
        ("DROP TABLE strata", "no table strata"),
        ("DROP TABLE targets", "no table targets"),
    ],
)
def test_a_database_edited_by_hand_is_checked(database, statement, message):
    """A child outside its parent, a place that is none, a set nobody meets: the row is named."""
    edit(database.path, statement)
    for read in (lambda: database.read(2024), database.check):
        with pytest.raises(TargetError, match=message) as caught:
            read()
        assert "targets.db" in str(caught.value)


def test_a_child_repeats_its_parent_and_may_add(database):
    """Filers of a state may hang under all people of the nation, as other writers have it."""
    edit(database.path, "UPDATE strata SET parent_stratum_id = 1 WHERE notes = 'state 37'")
    assert len(database.read(2024)) == 4


@pytest.mark.parametrize("operation", ["~", "=", "IN", ">==", ""])
def test_an_unknown_comparison_names_its_stratum(database, operation):
    """It is an error, never a condition that everybody meets; the file's schema refuses it, too.

    policyengine-us-data e01a0384 takes everybody where it does not know the comparison.
    """
    change = f"UPDATE stratum_constraints SET operation = '{operation}' WHERE value = '65'"  # noqa: S608
    with pytest.raises(sqlite3.IntegrityError):
        edit(database.path, change)
    edit(database.path, "PRAGMA ignore_check_constraints = ON", change)
    with pytest.raises(TargetError, match=f"stratum 2: no comparison '{operation}' .of age with"):
        database.read(2024)


def test_a_comparison_cannot_hide_in_a_value(database):
    """Operation > with value =65 is not >=65."""
    hidden = "UPDATE stratum_constraints SET operation = '>', value = '=65' WHERE value = '65'"
    edit(database.path, hidden)
    with pytest.raises(TargetError, match="stratum 2: cannot read constraint"):
        database.read(2024)


def test_what_is_switched_off_is_checked_all_the_same(database):
    """A check goes over all rows; reading does, too, and leaves those out."""
    edit(database.path, "UPDATE targets SET active = 0 WHERE period = 2022")
    assert database.check() == Contents(strata=6, active=3, switched_off=1, periods=(2024,))
    with pytest.raises(TargetError, match="no variable 'snap'"):
        database.check({"age", "tax_unit_is_filer"})
    edit(database.path, "UPDATE targets SET value = 'x' WHERE period = 2022")
    with pytest.raises(TargetError, match="target 3: its value 'x'"):
        database.read(2024)


def test_all_periods_can_be_read(tmp_path):
    """A total of three years is three targets, the years ascending."""
    made = [of_state(period=p, value=float(p)) for p in (2024, 2022, 2025)]
    found = TargetDatabase.write(tmp_path / "t.db", made).read_periods()
    assert [(t.name, t.period) for t in found] == [("state_37/snap", p) for p in (2022, 2024, 2025)]


def test_a_database_of_something_else_is_an_error(tmp_path, database):
    """Other tables, or other columns: the message says which of ours are not there."""
    other = tmp_path / "other.db"
    edit(other, "CREATE TABLE prices (year INTEGER, cpi REAL)")
    with pytest.raises(TargetError, match=r"other\.db: not a target database: .* no table strata"):
        TargetDatabase(other).read(2024)
    edit(database.path, "DROP VIEW target_overview", "ALTER TABLE targets RENAME value TO amount")
    with pytest.raises(TargetError, match="another layout: its table targets has no value"):
        database.check()


def test_what_is_no_database_is_an_error(tmp_path, database):
    """Missing, empty, cut short or something else: one line that names the file."""
    whole = database.path.read_bytes()
    for content in (b"level,code\n" * 100, whole[:700], whole[: len(whole) // 2]):
        broken = tmp_path / "broken.db"
        broken.write_bytes(content)
        with pytest.raises(TargetError, match=r"broken\.db is not a usable target database"):
            TargetDatabase(broken).read(2024)
    (tmp_path / "empty.db").touch()  # which SQLite takes for a database without tables
    with pytest.raises(TargetError, match=r"empty\.db: not a target database"):
        TargetDatabase(tmp_path / "empty.db").read(2024)
    with pytest.raises(TargetError, match=r"none\.db does not exist"):
        TargetDatabase(tmp_path / "none.db").read(2024)
