"""Bad input has one line for an answer and leaves nothing behind.

Every case goes through the command line. The message names the file, the row or the
option, and what is wrong with it; the exit status is 1 for data and 2 for usage; there is
no traceback, and no run folder where a run could not begin.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from calibration import toy
from calibration.run_folder import locked

Rows = list[list[str]]


def edit(file: str, change: Callable[[Rows], object]) -> Callable[[Path], None]:
    """Change the rows of one CSV, header included, in place."""

    def spoil(data: Path) -> None:
        with (data / file).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        change(rows)
        with (data / file).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)

    return spoil


def cell(file: str, column: str, value: str, row: int = 1) -> Callable[[Path], None]:
    """Write one cell of a row, the first below the header by default."""

    def write(rows: Rows) -> None:
        rows[row][rows[0].index(column)] = value

    return edit(file, write)


def line(file: str, text: str) -> Callable[[Path], None]:
    """Add a line at the end of a file."""

    def spoil(data: Path) -> None:
        with (data / file).open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    return spoil


def cut(file: str, size: int) -> Callable[[Path], None]:
    """Keep the first bytes of a file."""
    return lambda data: (data / file).write_bytes((data / file).read_bytes()[:size])


def drop(file: str) -> Callable[[Path], None]:
    """Remove a file or a folder."""

    def spoil(data: Path) -> None:
        shutil.rmtree(data / file) if (data / file).is_dir() else (data / file).unlink()

    return spoil


def lose_column(file: str, column: str, *, declared: bool) -> Callable[[Path], None]:
    """Remove a column from a file; if it is not declared either, from the dictionary too."""

    def remove(rows: Rows) -> None:
        i = rows[0].index(column)
        for row in rows:
            del row[i]

    def spoil(data: Path) -> None:
        edit(file, remove)(data)
        if not declared:
            edit("dictionary.csv", lambda rows: rows.remove(_entry(rows, file, column)))(data)

    return spoil


def _entry(rows: Rows, file: str, column: str) -> list[str]:
    return next(row for row in rows if row[:2] == [file, column])


def swap_households(rows: Rows) -> None:
    """Let one member of household 1 live in household 2, but stay in the tax unit."""
    rows[1][rows[0].index("person_household_id")] = "2"


def shrink_nation(rows: Rows) -> None:
    """Let the nation have a dollar of income, and its states as much as they had."""
    nation = next(row for row in rows if row[:3] == ["nation", "US", "adjusted_gross_income"])
    nation[rows[0].index("value")] = "1"


def keep(wanted: Callable[[list[str]], bool]) -> Callable[[Rows], None]:
    """Keep the header and the rows that are wanted."""

    def change(rows: Rows) -> None:
        rows[1:] = [row for row in rows[1:] if wanted(row)]

    return change


PERSONS, HOUSEHOLDS, TAX_UNITS = (
    f"survey/{name}.csv" for name in ("persons", "households", "tax_units")
)

# name, what is done to the inputs, what the message must say
SPOILED = [
    # the tables themselves
    ("no folder", shutil.rmtree, ["data does not exist"]),
    *(
        (f"no {name}", drop(name), [name, "does not exist"])
        for name in ("dictionary.csv", "blocks.csv", "areas.csv", PERSONS, HOUSEHOLDS,
                     "donors/puf.csv", "donors/scf.csv", "survey", "donors")
    ),
    ("no targets", drop("targets.csv"), ["targets.csv", "No such file"]),
    ("a folder for a file", lambda d: (drop(TAX_UNITS)(d), (d / TAX_UNITS).mkdir()),
     ["tax_units.csv", "directory"]),
    ("empty file", cut("blocks.csv", 0), ["blocks.csv is empty"]),
    ("cut in a row", cut(PERSONS, 5_000), ["persons.csv", "line", "whole"]),
    ("cut after a cell", lambda d: (d / HOUSEHOLDS).write_bytes(
        (d / HOUSEHOLDS).read_bytes().rstrip(b"\n")), ["households.csv", "cut short"]),
    ("cut donor", cut("donors/org.csv", 9_999), ["org.csv", "line"]),
    ("cut targets", cut("targets.csv", 3_000), ["targets.csv"]),
    ("not UTF-8", lambda d: (d / "areas.csv").write_bytes(b"level,name,codes\nstate,\xff,06\n"),
     ["areas.csv line 2", "UTF-8"]),
    ("unclosed quote", line("areas.csv", '"state'), ["areas.csv", "line"]),
    ("missing column", lose_column(PERSONS, "age", declared=True), ["persons.csv", "'age'"]),
    ("unknown column", edit(HOUSEHOLDS, lambda rows: [row.append("x") for row in rows]),
     ["unknown column 'x'"]),
    ("misspelt column", cell(HOUSEHOLDS, "tenure_type", "tenure", row=0),
     ["'tenure'", "did you mean 'tenure_type'"]),
    ("repeated column", edit(HOUSEHOLDS, lambda rows: [row.append(row[0]) for row in rows]),
     ["household_id", "2 times"]),
    ("unknown type", cell("dictionary.csv", "type", "decimal"), ["dictionary.csv", "'decimal'"]),
    ("undeclared file", edit("dictionary.csv", keep(lambda row: row[0] != "donors/acs.csv")),
     ["no file 'donors/acs.csv'"]),
    # the survey
    ("NaN income", cell(PERSONS, "employment_income", "nan", row=7),
     ["persons.csv line 8", "employment_income", "'nan'", "finite"]),
    ("infinite income", cell(PERSONS, "employment_income", "1e999"), ["finite number"]),
    ("empty cell", cell(PERSONS, "age", ""), ["persons.csv line 2", "age is empty"]),
    ("wrong type", cell(PERSONS, "is_male", "yes"), ["is_male", "'yes'", "true or false"]),
    ("fractional id", cell(HOUSEHOLDS, "household_id", "1.5"), ["household_id", "whole number"]),
    ("duplicate id", cell(PERSONS, "person_id", "102"), ["person_id 102", "2 times"]),
    ("lost household", cell(PERSONS, "person_household_id", "999"),
     ["person 101", "household 999"]),
    ("empty household", line(HOUSEHOLDS, "999,1.0,6,OWNED"), ["household 999 has no members"]),
    ("unit in two homes", edit(PERSONS, swap_households), ["more than one household"]),
    ("negative weight", cell(HOUSEHOLDS, "household_weight", "-1", row=3),
     ["household_weight", "-1", "household_id 3"]),
    ("two heads", edit(PERSONS, lambda rows: [
        row.__setitem__(rows[0].index("is_tax_unit_head"), "true") for row in rows[1:]]),
     ["heads"]),
    ("no engine input", lose_column(PERSONS, "is_disabled", declared=False),
     ["survey has no column 'is_disabled'"]),
    ("no weights", lose_column(HOUSEHOLDS, "household_weight", declared=False),
     ["no column 'household_weight'"]),
    ("text for a number", cell("dictionary.csv", "type", "str", row=0), ["dictionary.csv"]),
    # geography
    ("malformed block", cell("blocks.csv", "block", "0202099010010"), ["15 digits"]),
    ("block of no state", cell("blocks.csv", "block", "990209901001001"), ["lies in no state"]),
    ("block in another state", cell("blocks.csv", "district", "0612"),
     ["020209901001001", "0612", "another state"]),
    ("block twice", edit("blocks.csv", lambda rows: rows.append(rows[1])), ["repeated"]),
    ("empty block", cell("blocks.csv", "population", "0"), ["no population"]),
    ("unknown district", cell("blocks.csv", "district", "02AB"), ["'02AB'", "district"]),
    ("no district", cell("blocks.csv", "district", "none"), ["lies in no district"]),
    ("malformed ZIP", cell("blocks.csv", "zip_code", "9950"), ["'9950'", "ZIP"]),
    ("no blocks", edit("blocks.csv", keep(lambda _: False)), ["no blocks"]),
    ("no ZIP column", lose_column("blocks.csv", "zip_code", declared=False), ["'zip_code'"]),
    # areas
    ("unknown level", cell("areas.csv", "level", "region"), ["'region'", "nation, state"]),
    ("area not there", line("areas.csv", "state,TX,48"), ["TX", "48", "crosswalk"]),
    ("area twice", line("areas.csv", "state,AK,02"), ["two areas", "AK.h5"]),
    ("area outside", line("areas.csv", "state,../../AK,02"), ["cannot be the name of a file"]),
    # targets
    ("unknown variable", line("targets.csv", "state,06,snapp,,2024,1,x"),
     ["'snapp'", "did you mean 'snap'"]),
    ("unknown constraint", line("targets.csv", "state,06,snap,agee<5,2024,1,x"),
     ["'agee'", "'age'"]),
    ("contradiction", line("targets.csv", "state,06,snap,age<5;age>=9,2024,1,x"),
     ["targets.csv, line", "no value meets both"]),
    ("malformed constraint", line("targets.csv", "state,06,snap,age,2024,1,x"),
     ["targets.csv, line", "'age'"]),
    ("duplicate target", edit("targets.csv", lambda rows: rows.append(rows[1])),
     ["two targets national/person_count"]),
    ("target not there", line("targets.csv", "district,4801,snap,,2024,1,x"),
     ["cd_4801/snap", "crosswalk does not have"]),
    ("target not a number", cell("targets.csv", "value", "nan"), ["nan", "finite"]),
    ("target of text", line("targets.csv", "nation,US,zip_code,,2024,1,x"),
     ["zip_code is text"]),
    ("text against number", line("targets.csv", "nation,US,snap,zip_code>=5,2024,1,x"),
     ["zip_code>=5", "text"]),
    ("parts apart from total", cell(PERSONS, "social_security_survivors", "5000"),
     ["person ", "its parts add up to 5000", "make the survey consistent"]),
    ("no factor for year", cell("targets.csv", "period", "1950"), ["from 1950 to 2024"]),
    ("parent and children apart", edit("targets.csv", shrink_nation),
     ["national/adjusted_gross_income", "do not measure the same thing"]),
    ("no income target", edit("targets.csv", keep(
        lambda row: row[:3] != ["district", "3704", "adjusted_gross_income"])),
     ["district 3704 has no income target"]),
    # donors
    ("donor lacks a column", lose_column("donors/scf.csv", "net_worth", declared=False),
     ["donor 'scf' has no column 'net_worth'"]),
    ("tax file lacks a column", lose_column("donors/puf.csv", "farm_income", declared=False),
     ["donor 'puf' has no column 'farm_income'"]),
    ("level no donor has", cell(PERSONS, "race", "9"), ["'race' has 9", "donor 'org'"]),
    ("tenure no donor has", cell(HOUSEHOLDS, "tenure_type", "SQUATTED"),
     ["SQUATTED", "NONE, OWNED, RENTED"]),
    ("state without donors", edit("donors/acs.csv", keep(lambda row: "11" not in row)),
     ["'state_fips' has 11", "acs_rent"]),
    ("donor without rows", edit("donors/acs.csv", keep(lambda _: False)), ["acs"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "says"), [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED]
)
def test_bad_data_is_refused_before_anything_is_written(calibration, data, tmp_path, spoil, says):
    """One line says what and where; the status is 1; no folder is made."""
    spoil(data)
    ended = calibration("run", "--data", data, "--out", tmp_path / "out")
    assert_refused(ended, 1, says)
    assert not (tmp_path / "out").exists()


def assert_refused(ended, status: int, says: list[str]) -> None:
    """Require one line on standard error, nothing else, and the exit status."""
    assert (ended.status, ended.out) == (status, "")
    assert re.fullmatch(r"calibration: [^\n]+\n", ended.err), ended.err
    for part in says:
        assert part in ended.err


# -- usage -----------------------------------------------------------------------------

USAGE = [
    ("no state named", ["run", "--states", ","], ["--states names no state"]),
    ("no workers", ["run", "--workers", "0"], ["--workers", "1"]),
    ("unknown command", ["rum"], ["'rum'", "calibration --help"]),
    ("missing argument of show", ["show"], ["RUN", "calibration show --help"]),
    ("missing argument of check", ["check"], ["RUN"]),
    ("unknown option", ["run", "--sed", "3"], ["--sed", "--seed"]),
    ("unknown preset", ["run", "--preset", "regional"], ["'regional'", "'local'"]),
    ("preset and records", ["run", "--preset", "local", "--records", "9"], ["exclude each other"]),
    ("no records", ["run", "--records", "0"], ["--records", "1"]),
    ("too many records", ["run", "--records", "301"], ["--records is 301", "C = 300"]),
    ("negative seed", ["run", "--seed", "-1"], ["--seed", "0"]),
    ("seed too large", ["run", "--seed", str(2**64)], ["--seed is 18446744073709551616"]),
    ("seed of letters", ["run", "--seed", "zero"], ["--seed", "integer"]),
    ("no clones", ["run", "--clones", "0"], ["--clones"]),
    ("unknown engine", ["run", "--engine", "abacus"], ["--engine", "'abacus'", "toy"]),
    ("stray argument", ["run", "fast"], ["fast"]),
    ("option without value", ["run", "--out"], ["--out"]),
    ("options of a resumed run", ["run", "--resume", "runs/x", "--seed", "1"],
     ["leave out --seed"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"), [case[1:] for case in USAGE], ids=[case[0] for case in USAGE]
)
def test_wrong_usage_has_status_2(calibration, tmp_path, monkeypatch, arguments, says):
    """One line says which option; the status is 2; no folder is made."""
    monkeypatch.chdir(tmp_path)
    assert_refused(calibration(*arguments), 2, says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--households", "61"], "households is 61; the survey has 60"),
        (["--clones", "49"], "district 0612 has 4 blocks, too few for 5 rounds"),
    ],
)
def test_more_than_there_is_cannot_be_asked_for(calibration, tmp_path, options, says):
    """Options that do not fit the data are refused like data, before anything is written."""
    assert_refused(calibration("run", *options, "--out", tmp_path / "out"), 1, [says])
    assert not (tmp_path / "out").exists()


# -- folders ---------------------------------------------------------------------------


@pytest.mark.parametrize("under", ["", "deeper"])
def test_a_file_in_place_of_the_output_folder(calibration, tmp_path, under):
    """Where a folder is needed and a file stands, the file stays as it is."""
    (tmp_path / "out").write_text("mine")
    ended = calibration("run", "--out", tmp_path / "out" / under)
    assert_refused(ended, 1, ["cannot make", str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("command", [["run", "--resume"], ["show"], ["check"]])
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_no_run(calibration, tmp_path, command, there):
    """To continue, show or check a folder without a run is refused, and leaves it as it is."""
    folder = tmp_path / "folder"
    if there:
        folder.mkdir()
    assert_refused(calibration(*command, folder), 1, [str(folder), "not a run folder"])
    assert folder.exists() is there
    assert not there or list(folder.iterdir()) == []


def test_a_locked_run_is_left_alone(calibration, own_run):
    """A folder in which another process works is refused, naming that process."""
    before = contents(own_run)
    with locked(own_run):
        ended = calibration("run", "--resume", own_run)
    assert_refused(ended, 1, ["in use by process", str(os.getpid())])
    assert contents(own_run) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


# -- what lies in a run folder -----------------------------------------------------------


def foreign_matrix(run: Path) -> None:
    """Put the package of another run, whole and sealed, in place of this run's."""
    matrix = toy.after("matrix").matrix
    other = replace(matrix, made_of={**matrix.made_of, "dataset": "0" * 64})
    other.save(run / "artifacts" / "matrix")


def unfinished(run: Path) -> None:
    """Let the run look as if it had been killed."""
    text = (run / "meta.json").read_text()
    (run / "meta.json").write_text(text.replace('"completed",\n  "step', '"running",\n  "step'))


HURT = [
    ("cut file of an area", cut("artifacts/files/states/CA.h5", 9_000), ["CA.h5", "'files'"]),
    ("lost file of an area", drop("artifacts/files/national/US.h5"), ["US.h5", "'files'"]),
    ("cut archive", cut("artifacts/sources.npz", 10_000), ["sources.npz", "'sources'"]),
    ("foreign matrix", foreign_matrix, ["artifacts/matrix/matrix", "'matrix'"]),
    ("edited thresholds", cell("artifacts/takeup.csv", "threshold", "0.5"),
     ["takeup.csv", "'takeup'"]),
    ("edited weights", drop("artifacts/weights.npz"), ["weights.npz", "'weights'"]),
    ("edited diagnostics", cell("diagnostics/identity.csv", "gap", "0"),
     ["identity.csv", "'diagnostics'"]),
    ("cut targets", cut("artifacts/targets.json", 500), ["targets.json", "'targets'"]),
    ("cut meta.json", cut("meta.json", 100), ["meta.json", "not valid JSON"]),
    ("meta.json of another kind", lambda run: (run / "meta.json").write_text("[1]"),
     ["meta.json", "schema"]),
    ("damaged record", cut("steps/matrix.json", 20), ["steps/matrix.json", "damaged"]),
    ("no records", drop("steps"), ["no record"]),
    ("unfinished", unfinished, ["did not finish", "'running'", "--resume"]),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), [c[1:] for c in HURT], ids=[c[0] for c in HURT])
def test_check_notices_what_is_not_as_it_was_left(calibration, own_run, spoil, says):
    """`check` names the file, the step and the command that makes it again; it mends nothing."""
    spoil(own_run)
    before = contents(own_run)
    assert_refused(calibration("check", own_run), 1, says)
    assert contents(own_run) == before


@pytest.mark.parametrize(
    ("spoil", "says"),
    [c[1:] for c in HURT if "area" not in c[0]],
    ids=[c[0] for c in HURT if "area" not in c[0]],
)
def test_show_notices_it_too(calibration, own_run, spoil, says):
    """`show` refuses a run that is not whole, but does not read the files of areas."""
    spoil(own_run)
    assert_refused(calibration("show", own_run), 1, says)


def test_a_foreign_matrix_is_refused_without_the_records_too(own_run):
    """Whoever reads the artifacts by hand is told which part the matrix was not made of."""
    foreign_matrix(own_run)
    state = toy.after("matrix")
    with pytest.raises(Exception, match="made of another dataset"):
        replace(state, folder=own_run).matrix  # noqa: B018  (reading it is what fails)


# -- the installed program ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["run", "--preset", "regional"], 2, "'regional'"),
        (["run", "--data", "nowhere"], 1, "nowhere does not exist"),
        (["show", "nowhere"], 1, "not a run folder"),
    ],
)
def test_the_installed_program_refuses_alike(tmp_path, arguments, status, says):
    """The script beside this Python prints the same single line and exits with the status."""
    script = Path(sys.executable).with_name("calibration")
    done = subprocess.run(
        [script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("calibration: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []
