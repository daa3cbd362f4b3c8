"""`calibration targets`: what it prints, what it writes, and with which status it ends."""

import csv
import sqlite3

import pytest

from calibration import toy
from calibration.published import read_published
from calibration.target_database import TargetDatabase
from calibration.targets import CSV_COLUMNS, read_csv

TOY = toy.folder() / "targets.csv"
COUNT = 83


@pytest.fixture
def database(tmp_path, calibration):
    """Import the toy country's targets."""
    path = tmp_path / "toy.db"
    ended = calibration("targets", "import", TOY, "--out", path)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{path}: {COUNT} targets, 86 strata\n"
    return path


def test_without_a_command_it_shows_what_there_is(calibration):
    """As a message to a person, with status 2."""
    ended = calibration("targets")
    assert (ended.status, ended.out) == (2, "")
    for command in ("list", "check", "import"):
        assert f"\n  {command} " in ended.err


def test_what_is_imported_is_what_was_in_the_file(database):
    """Every target with all its fields."""
    assert TargetDatabase(database).read_periods() == read_csv(TOY)


def test_published_totals_are_imported(calibration, tmp_path):
    """All of those in the package, and together with a file."""
    out = tmp_path / "deep" / "all.db"
    assert calibration("targets", "import", "--published", "--out", out).status == 0
    assert TargetDatabase(out).read_periods() == read_published()
    more = tmp_path / "more.csv"
    more.write_text(f"{','.join(CSV_COLUMNS)}\ndistrict,3702,snap,,2024,1,x\n")
    ended = calibration("targets", "import", "--published", more, "--out", out, "--replace")
    assert ended.status == 0, ended.err
    assert len(TargetDatabase(out).read_periods()) == len(read_published()) + 1


def test_a_list_has_a_line_for_each_kind(calibration, database):
    """Level, variable, domain, how many and of which years; a CSV lists the same."""
    ended = calibration("targets", "list", database)
    lines = ended.out.splitlines()
    assert (ended.status, ended.err) == (0, "")
    assert lines[0].split() == ["level", "variable", "domain", "targets", "years"]
    assert sum(int(line.split()[3]) for line in lines[1:-1]) == COUNT
    assert ["district", "spm_unit_count", "snap", "12", "2022"] in [x.split() for x in lines]
    assert lines[-1] == f"{COUNT} targets of {len(lines) - 2} kinds"
    assert calibration("targets", "list", TOY).out == ended.out


def test_a_list_as_csv_can_be_imported(calibration, database, tmp_path):
    """What `list --csv` prints gives the same database again."""
    ended = calibration("targets", "list", database, "--csv")
    again = tmp_path / "again.csv"
    again.write_text(ended.out, encoding="utf-8")
    assert read_csv(again) == read_csv(TOY)


def test_a_list_of_a_year_has_each_total_once(calibration, tmp_path):
    """The latest period that is not after the year."""
    both = tmp_path / "both.csv"
    line = "state,06,snap,,{},{},x"
    text = ["level,code,variable,constraints,period,value,source"]
    both.write_text("\n".join([*text, line.format(2022, 1), line.format(2024, 2)]) + "\n")
    ended = calibration("targets", "list", both, "--year", "2023", "--csv")
    assert [row["period"] for row in csv.DictReader(ended.out.splitlines())] == ["2022"]


def test_a_selection_limits_every_command(calibration, database, tmp_path):
    """`--select` with list, check and import."""
    rules = tmp_path / "use.yaml"
    rules.write_text("include: [{variable: snap}, {geo_level: district}]")
    listed = calibration("targets", "list", database, "--select", rules)
    assert listed.out.splitlines()[-1] == "53 targets of 4 kinds"
    assert "53 targets selected" in calibration("targets", "check", TOY, "--select", rules).out
    out = tmp_path / "some.db"
    assert calibration("targets", "import", TOY, "--out", out, "--select", rules).status == 0
    assert len(TargetDatabase(out).read_periods()) == 53


def test_a_check_says_how_much_it_checked(calibration, database):
    """Strata and targets, switched off ones too; variables only with an engine."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE targets SET active = 0 WHERE variable = 'dc_ptc'")
    connection.close()
    ended = calibration("targets", "check", database)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"86 strata, {COUNT - 1} targets in use, 1 switched off",
        f"{COUNT - 1} targets",
        "variables not compared with an engine; give --engine for that",
    ]
    for source in (database, TOY):
        ended = calibration("targets", "check", source, "--engine", "toy")
        assert ended.status == 0
        assert ended.out.endswith("the toy engine knows every variable\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE targets SET variable = 'snapp' WHERE variable = 'snap'", "did you mean 'snap'"),
        ("UPDATE stratum_constraints SET value = '7201' WHERE value = '0201'", "lies in no state"),
        ("UPDATE targets SET value = 'x' WHERE target_id = 9", "target 9: its value 'x'"),
        ("DROP TABLE targets", "no table targets"),
    ],
)
def test_a_check_that_fails_is_one_line_and_status_1(calibration, database, change, message):
    """The file, the row and what to do, without a traceback."""
    connection = sqlite3.connect(database)
    connection.execute(change)
    connection.commit()
    connection.close()
    ended = calibration("targets", "check", database, "--engine", "toy")
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.err
    assert ended.err.startswith("calibration: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "--out", "new.db"], "give --published"),
        (["import", TOY], "Missing option '--out'"),
        (["check", TOY, "--engine", "tox"], "no engine 'tox'"),
        (["list"], "Missing argument 'SOURCE'"),
        (["liste", TOY], "No such command"),
        (["list", TOY, "--year", "soon"], "for '--year'"),
    ],
)
def test_a_wrong_command_has_status_2(calibration, tmp_path, monkeypatch, arguments, message):
    """And one line that says where help is."""
    monkeypatch.chdir(tmp_path)
    ended = calibration("targets", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert "--help`" in ended.err
    assert not list(tmp_path.iterdir())


def test_an_import_says_what_was_switched_off(calibration, database, tmp_path):
    """Targets of a database that nobody uses do not come along, and not without a word."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE targets SET active = 0 WHERE target_id <= 2")
        connection.execute("UPDATE targets SET reform_id = 1 WHERE target_id = 3")
    connection.close()
    ended = calibration("targets", "import", database, "--out", tmp_path / "new.db")
    assert (ended.status, ended.err) == (0, "")
    said, left = ended.out.splitlines()
    assert f"{COUNT - 3} targets" in said
    assert left == f"{database}: 3 targets are switched off and were left out"


def test_an_import_writes_over_nothing_unless_told_to(calibration, database):
    """A file that is there stays, byte for byte, also if a replacement fails."""
    before = database.read_bytes()
    ended = calibration("targets", "import", TOY, "--out", database)
    assert ended.status == 2
    assert "give --replace" in ended.err
    ended = calibration("targets", "import", TOY, TOY, "--out", database, "--replace")
    assert ended.status == 1
    assert "two targets national/adjusted_gross_income" in ended.err
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["none.csv", "none.db", "use.yaml"])
def test_files_that_are_not_there_are_named(calibration, tmp_path, name):
    """Sources and selections alike."""
    chosen = ["--select", tmp_path / name] if name == "use.yaml" else []
    source = TOY if chosen else tmp_path / name
    ended = calibration("targets", "list", source, *chosen)
    assert (ended.status, ended.out) == (1, "")
    assert name in ended.err
