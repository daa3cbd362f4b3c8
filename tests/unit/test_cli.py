"""The program does what its help says, for a person at a terminal and for a script."""

import csv
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from calibration import pipeline, toy
from calibration.artifacts import STAGES
from calibration.files import hash_file, read_npz, write_json, write_npz
from calibration.geography import Level
from calibration.report import open_run
from calibration.run_folder import read_meta

PROGRAM = Path(sys.executable).with_name("calibration")


def files(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


# -- what there is -----------------------------------------------------------------------


def test_without_a_command_it_shows_what_there_is(calibration):
    """A bare `calibration` names the commands, as a message to a person, with status 2."""
    ended = calibration()
    assert (ended.status, ended.out) == (2, "")
    for command in ("run", "show", "check", "targets"):
        assert re.search(rf"^  {command} +\w", ended.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["run", "show", "check", "targets", "--version"]),
        (["run"], ["--data", "--out", "--resume", "--seed", "--engine", "--households",
                   "--clones", "--preset", "--records", "[default: runs]"]),
        (["show"], ["RUN"]),
        (["check"], ["RUN", "identity"]),
        (["targets"], ["list", "check", "import"]),
        (["targets", "list"], ["SOURCE", "--year", "--select", "--csv", "database, or a .csv"]),
        (["targets", "check"], ["SOURCE", "--engine", "--select", "switched off"]),
        (["targets", "import"], ["SOURCE", "--out", "--published", "--select", "--replace"]),
    ],
)  # fmt: skip
def test_help_is_asked_for_and_answered(calibration, command, words):
    """`--help` goes to standard output, names every option, and is no error."""
    ended = calibration(*command, "--help")
    assert (ended.status, ended.err) == (0, "")
    for word in words:
        assert word in ended.out


def test_the_version_is_that_of_the_package(calibration):
    """`--version` says what the installed package's metadata say."""
    ended = calibration("--version")
    assert ended.status == 0
    assert ended.out == f"calibration-internals {version('calibration-internals')}\n"


# -- a run -------------------------------------------------------------------------------


def test_a_run_reports_progress_apart_from_results(calibration, tmp_path, monkeypatch):
    """Steps go to standard error, the table with the run's folder to standard output.

    With a number of records there is one weight vector, and all files come from it.
    """
    monkeypatch.chdir(tmp_path)
    ended = calibration("run", "--seed", "7", "--clones", "2", "--records", "90")
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "runs").iterdir()
    first, *steps = ended.err.splitlines()
    assert first == "seed 7, engine toy: 100 records x 2 clones = 200 columns"
    assert len(steps) == len(STAGES)
    assert all(re.fullmatch(r" ?\d+ [a-z, ]+ +\d+\.\d s", step) for step in steps)
    for words in ("records", "effective sample size", "X w identity", "within 1e-05"):
        assert words in ended.out
    kept = int(re.search(r"columns kept +│ +(\d+) of 200", ended.out)[1])
    assert abs(kept - 90) <= 2
    assert re.search(r"columns aimed at +│ +90 │", ended.out)
    assert ended.out.rstrip().endswith(f"run folder: runs/{folder.name}")
    with (folder / "artifacts" / "files.csv").open() as stream:
        assert {row["vector"] for row in csv.DictReader(stream)} == {"records"}
    config = json.loads((folder / "diagnostics" / "unified_run_config.json").read_text())
    assert (config["seed"], config["n_clones"], config["weight_nonzero"]) == (7, 2, kept)


def test_show_repeats_the_table(calibration, finished_run):
    """The table of a finished run: presets, errors before and after, identity, checks."""
    ended = calibration("show", finished_run)
    assert (ended.status, ended.err) == (0, "")
    for words in ("local", "national", "columns kept", "median error after", "worst target",
                  "checks: 7 of 7 passed", str(finished_run)):  # fmt: skip
        assert words in ended.out


def test_check_reads_everything_again(calibration, finished_run):
    """Hashes, identity and checks pass, each with its count, and nothing in the run changes."""
    before = files(finished_run)
    ended = calibration("check", finished_run)
    assert (ended.status, ended.err) == (0, "")
    counts = re.findall(r"(\d+) (?:files |rows |)compared", ended.out)
    assert len(counts) == 9
    assert all(int(count) > 0 for count in counts)
    assert files(finished_run) == before


def test_check_does_not_trust_the_records(calibration, own_run):
    """Where artifact and record were changed together, the identity still says so."""
    path, record = own_run / "artifacts/weights.npz", own_run / "steps/weights.json"
    vectors = {name: w.copy() for name, w in read_npz(path).items()}
    vectors["local"][np.argmax(vectors["local"])] *= 1.01
    write_npz(path, vectors)
    facts = json.loads(record.read_text())
    facts["outputs"]["artifacts/weights.npz"] = hash_file(path)
    write_json(record, facts)
    ended = calibration("check", own_run)
    assert (ended.status, ended.out) == (1, "")
    assert re.fullmatch(
        r"calibration: \d+ of \d+ rows differ between matrix and files; [^\n]+\n", ended.err
    )


# -- a run in several parts --------------------------------------------------------------


def test_resuming_a_finished_run_does_nothing_again(calibration, own_run):
    """Every step says that it was done before; artifacts and diagnostics stay."""
    before = {k: v for k, v in files(own_run).items() if k.startswith(("artifacts", "diagn"))}
    ended = calibration("run", "--resume", own_run)
    assert ended.status == 0
    assert ended.err.count("done before") == len(STAGES)
    after = files(own_run)
    assert {name: after[name] for name in before} == before
    assert len(read_meta(own_run)["resume_history"]) == 1


def test_a_run_goes_on_when_its_inputs_have_moved(calibration, own_run, data):
    """`--data` with `--resume` says where they are now; equal content reruns nothing."""
    ended = calibration("run", "--resume", own_run, "--data", data)
    assert ended.status == 0
    assert ended.err.count("done before") == len(STAGES)
    assert read_meta(own_run)["data"] == str(data)


@pytest.mark.parametrize(
    "option", [["--seed", "1"], ["--out", "x"], ["--preset", "local"], ["--clones", "3"]]
)
def test_options_beside_resume_are_refused(calibration, finished_run, option):
    """An option that would have no effect is an error, even with the value the run has."""
    ended = calibration("run", "--resume", finished_run, *option)
    assert (ended.status, ended.out) == (2, "")
    assert f"leave out {option[0]}" in ended.err


def test_a_selection_that_fits_no_target_stops_a_run_before_it_begins(calibration, tmp_path):
    """The file is read first; a rule without a match is told before any step."""
    rules = tmp_path / "use.yaml"
    for text, said in (("include: 1", "include is a list of rules"),
                       ("include: [{variable: snapp}]", "did you mean 'snap'")):  # fmt: skip
        rules.write_text(text)
        ended = calibration("run", "--out", tmp_path / "runs", "--select", rules)
        assert (ended.status, ended.out) == (1, "")
        assert said in ended.err
    assert not list((tmp_path / "runs").rglob("*.npz"))


SOME = "include: [{variable: snap}, {geo_level: state}]\nexclude: [{variable: ssi, optional: true}]"


def test_the_report_names_what_a_selection_left_out(calibration, own_run):
    """Each kind of published total that has no part in the run, with how many there are."""
    meta = read_meta(own_run)
    assert "selection" not in calibration("show", own_run).out
    meta["options"]["select"] = SOME  # what a run with the rules says of itself
    write_json(own_run / "meta.json", meta)
    (said,) = [s for s in calibration("show", own_run).out.splitlines() if "selection" in s]
    published = toy.after("targets").inputs.targets
    used, out_of = map(int, re.findall(r"(\d+) of (\d+) published", said)[0])
    numbers = [int(n) for n in re.findall(r"(\d+) [a-z_]+", said.split("left out: ")[1])]
    assert 0 < used < out_of <= len(published)
    assert used + sum(numbers) == out_of
    assert "adjusted_gross_income by tax_unit_is_filer (district)" in said
    assert "(state)" not in said


@pytest.mark.slow
def test_a_run_with_a_selection_fits_what_was_selected(calibration, tmp_path):
    """It ends well, with rows for the selected totals alone, and says what it left out."""
    rules = tmp_path / "use.yaml"
    rules.write_text(SOME)
    ended = calibration("run", "--out", tmp_path / "runs", "--select", rules, "--clones", "2",
                        "--records", "90")  # fmt: skip
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "runs").iterdir()
    rows = open_run(folder).targets
    assert all(row.variable == "snap" or row.level is Level.STATE for row in rows)
    assert re.search(rf"targets, reachable +│ +\d+ of {len(rows)} ", ended.out)
    assert "published totals are used; left out: " in ended.out


def test_a_run_that_stops_in_a_step_says_how_to_go_on(calibration, data, tmp_path):
    """What cannot be known before stops the run; mended, it goes on where it stopped."""
    donor = data / "donors" / "acs.csv"
    right = donor.read_text()
    rows = list(csv.reader(right.splitlines()))
    i = rows[0].index("employment_income")
    thousands = [[*row[:i], f"{row[i]}000", *row[i + 1 :]] for row in rows[1:]]
    with donor.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([rows[0], *thousands])
    ended = calibration("run", "--data", data, "--out", tmp_path / "out")
    assert (ended.status, ended.out) == (1, "")
    *progress, message = ended.err.splitlines()
    assert progress[-1].endswith("failed")
    assert "employment_income" in message
    assert "bring both to one unit" in message
    command = re.search(r"once that is mended, continue with `calibration (.*)`$", message)
    donor.write_text(right)
    again = calibration(*shlex.split(command[1]))
    assert again.status == 0, again.err
    assert again.err.count("done before") == 3


def test_an_interrupt_before_the_first_step_says_so(calibration, tmp_path, monkeypatch):
    """Ctrl-C while inputs are read leaves nothing, and there is nothing to continue."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "preflight", interrupt)
    ended = calibration("run", "--out", tmp_path / "out")
    assert (ended.status, ended.out) == (130, "")
    assert ended.err == "calibration: interrupted; no step had begun\n"
    assert not (tmp_path / "out").exists()


def test_ctrl_c_names_the_run_and_it_goes_on(finished_run, tmp_path):
    """SIGINT ends with status 130 and a command that finishes the run, to the same bytes."""
    run = subprocess.Popen(
        [PROGRAM, "run", "--out", "my runs"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background of a shell has them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    with run:
        said = [run.stderr.readline(), run.stderr.readline()]  # the header and the first step
        run.send_signal(signal.SIGINT)
        out, rest = run.communicate()
    assert run.returncode == 130, rest
    assert out == ""
    assert said[0].startswith("seed 0")
    message = rest.splitlines()[-1]
    assert message.startswith("calibration: interrupted; continue with `calibration run --resume ")
    (folder,) = (tmp_path / "my runs").iterdir()
    arguments = shlex.split(message.split("`")[1])[1:]
    assert arguments[-1] == f"my runs/{folder.name}"
    again = subprocess.run([PROGRAM, *arguments], cwd=tmp_path, capture_output=True, check=True)
    assert b"done before" in again.stderr
    assert files(folder / "artifacts") == files(finished_run / "artifacts")


# -- where output goes -------------------------------------------------------------------


def test_a_terminal_sees_progress_move(own_run):
    """On a terminal each step is a line with a bar, and the colors of a terminal."""
    shutil.rmtree(own_run / "diagnostics")  # so that there is something to do
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        [PROGRAM, "run", "--resume", own_run],
        stdout=subprocess.PIPE, stderr=theirs, env=environment,
    ) as run:  # fmt: skip
        os.close(theirs)
        seen = read_all(ours)
        out = run.stdout.read()
    assert run.returncode == 0
    assert "\x1b[" in seen
    assert "read the survey" in seen
    assert "done before" in seen
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in seen  # the bar
    assert b"\x1b[" not in out  # a file or a pipe gets no colors
    assert b"columns kept" in out


def read_all(terminal: int) -> str:
    """Read a terminal until the other side closes it."""
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # how Linux says that the other side is gone
            piece = b""
        if not piece:
            os.close(terminal)
            return seen.decode()
        seen += piece


def test_a_reader_that_stops_early_is_no_accident(finished_run):
    """`calibration show RUN | head -1` leaves no traceback."""
    with subprocess.Popen(
        [PROGRAM, "show", finished_run], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as show:
        show.stdout.close()
        assert show.stderr.read() == b""


def test_the_module_is_the_program():
    """`python -m calibration.cli` does what the script does."""
    command = [sys.executable, "-P", "-m", "calibration.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"calibration-internals {version('calibration-internals')}\n"


def test_the_built_in_country_is_the_default(finished_run):
    """Without `--data` the run is that of the toy country."""
    assert read_meta(finished_run)["data"] == str(toy.folder())
