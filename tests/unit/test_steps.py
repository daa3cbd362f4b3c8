"""A step is done once, again exactly if something it depends on changed, and never half.

The steps here write a line of text each, so that what ran can be counted:

    read -> twice -> sum        side (reads another input, feeds sum)
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from calibration import run_folder, steps
from calibration.errors import FileError, PipelineError
from calibration.files import atomic_path, write_text
from calibration.provenance import commit
from calibration.run_folder import (
    locked,
    log_event,
    new_run_id,
    read_meta,
    resume_command,
    step_seconds,
    sweep,
)
from calibration.steps import Event, Step, run_steps, verify

OPTIONS = {"factor": 2, "names": ("a", "b"), "unused": 0}


@dataclass
class Bench:
    """A workspace that remembers what ran."""

    folder: Path
    data: Path
    options: dict
    ran: list[str] = field(default_factory=list)
    fail: BaseException | None = None


def read(bench: Bench) -> None:
    """Copy the input."""
    bench.ran.append("read")
    write_text(bench.folder / "artifacts/read.txt", (bench.data / "in.txt").read_text())


def twice(bench: Bench) -> None:
    """Multiply by the option, into a folder of two files."""
    bench.ran.append("twice")
    value = int((bench.folder / "artifacts/read.txt").read_text()) * bench.options["factor"]
    write_text(bench.folder / "artifacts/twice/value.txt", str(value))
    if bench.fail is not None:
        raise bench.fail
    write_text(bench.folder / "artifacts/twice/sign.txt", "+" if value >= 0 else "-")


def side(bench: Bench) -> None:
    """Count the files of an input folder."""
    bench.ran.append("side")
    count = len(list((bench.data / "more").iterdir()))
    write_text(bench.folder / "artifacts/side.txt", str(count))


def total(bench: Bench) -> None:
    """Add the sign to the count."""
    bench.ran.append("sum")
    sign = (bench.folder / "artifacts/twice/sign.txt").read_text()
    write_text(
        bench.folder / "artifacts/sum.txt", sign + (bench.folder / "artifacts/side.txt").read_text()
    )


CODE = ("calibration.errors",)
STEPS = (
    Step(name="read", action=read, reads=("in.txt",), outputs=("artifacts/read.txt",),
         modules=CODE),
    Step(name="twice", action=twice, needs=("read",), parameters=("factor", "names"),
         outputs=("artifacts/twice",), modules=CODE),
    Step(name="side", action=side, reads=("more",), outputs=("artifacts/side.txt",),
         modules=("calibration.rng",)),
    Step(name="sum", action=total, needs=("twice", "side"), outputs=("artifacts/sum.txt",),
         modules=CODE),
)  # fmt: skip
ALL = ["read", "twice", "side", "sum"]


@pytest.fixture
def bench(tmp_path) -> Bench:
    """Make inputs, and name a place for the run."""
    data = tmp_path / "data"
    (data / "more").mkdir(parents=True)
    (data / "in.txt").write_text("21")
    (data / "more" / "a.txt").write_text("a")
    return Bench(tmp_path / "run", data, dict(OPTIONS))


def go(bench: Bench, graph=STEPS, **changes) -> list[str]:
    """Run the steps and say which ran."""
    bench.ran.clear()
    parts = {"folder": bench.folder, "data": bench.data, "options": bench.options} | changes
    run_steps(graph, bench, **parts)
    return list(bench.ran)


def outputs(bench: Bench) -> dict[str, bytes]:
    """Read all artifacts."""
    files = (p for p in (bench.folder / "artifacts").rglob("*") if p.is_file())
    return {p.relative_to(bench.folder).as_posix(): p.read_bytes() for p in files}


# -- once, and again only for a reason ---------------------------------------------------


def test_each_step_runs_once_in_order(bench):
    """A second run does nothing and changes nothing."""
    assert go(bench) == ALL
    before = outputs(bench)
    assert before["artifacts/sum.txt"] == b"+1"
    assert go(bench) == []
    assert outputs(bench) == before


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        (lambda b: (b.data / "in.txt").write_text("-4"), ["read", "twice", "sum"]),
        (lambda b: (b.data / "in.txt").write_text("22"), ["read", "twice", "sum"]),
        (lambda b: (b.data / "more" / "b.txt").write_text("b"), ["side", "sum"]),
        (lambda b: (b.data / "more" / "a.txt").write_text("z"), ["side"]),
        (lambda b: (b.data / "more" / "a.txt").rename(b.data / "more" / "c.txt"), ["side"]),
        (lambda b: os.utime(b.data / "in.txt", (1, 1)), []),
    ],
)
def test_a_changed_input_reruns_what_depends_on_it(bench, change, ran):
    """Content and names count, dates do not; what comes out as before stops the chain."""
    go(bench)
    change(bench)
    assert go(bench) == ran
    assert go(bench) == []


@pytest.mark.parametrize(
    ("number", "part", "value", "ran"),
    [
        (0, "modules", ("calibration.files",), ["read"]),
        (0, "around", ("calibration.cli",), ["read"]),
        (2, "reads", ("more", "in.txt"), ["side"]),
        (1, "parameters", ("factor", "names", "unused"), ["twice"]),
        (3, "needs", ("twice", "side", "read"), ["sum"]),
        (2, "name", "aside", ["side"]),
    ],
)
def test_every_part_of_the_key_matters(bench, number, part, value, ran):
    """Another code, input, option, need or name is another key."""
    go(bench)
    graph = list(STEPS)
    graph[number] = replace(graph[number], **{part: value})
    if part == "name":
        graph[3] = replace(graph[3], needs=("twice", value))
        ran = [*ran, "sum"]  # the names of its needs are part of a key too
    assert go(bench, graph) == ran


def test_changed_code_reruns_the_steps_that_run_it(bench, monkeypatch):
    """The hash of the code stands in the key."""
    go(bench)
    real = steps.code_hash
    monkeypatch.setattr(
        steps, "code_hash", lambda *m, around: "new" if m == ("calibration.rng",) else
        real(*m, around=around)
    )  # fmt: skip
    assert go(bench) == ["side"]


def test_another_schema_of_records_reruns_everything(bench):
    """What an older version recorded is not trusted."""
    go(bench)
    for record in (bench.folder / "steps").iterdir():
        record.write_text(record.read_text().replace('"schema": 1', '"schema": 0'))
    assert go(bench) == ALL


# -- never half --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hurt", "ran"),
    [
        (lambda f: (f / "artifacts/read.txt").write_text("99"), ["read"]),
        (lambda f: (f / "artifacts/twice/sign.txt").unlink(), ["twice"]),
        (lambda f: (f / "artifacts/twice/value.txt").write_bytes(b""), ["twice"]),
        (lambda f: (f / "steps/side.json").unlink(), ["side"]),
        (lambda f: (f / "steps/side.json").write_text('{"key": '), ["side"]),
        (lambda f: (f / "steps/side.json").write_text("[]"), ["side"]),
        (lambda f: (f / "steps/side.json").write_text('{"schema": 1, "key": ""}'), ["side"]),
    ],
)
def test_a_damaged_output_or_record_is_made_again(bench, hurt, ran):
    """The step runs again, its result is as before, and what depends on it stays."""
    go(bench)
    before = outputs(bench)
    hurt(bench.folder)
    assert go(bench) == ran
    assert outputs(bench) == before


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), PipelineError("no")])
def test_a_step_that_fails_is_done_again_from_the_start(bench, error):
    """A failure is recorded, leaves no record of the step, and the next run continues there."""
    bench.fail = error
    with pytest.raises(type(error)):
        go(bench)
    assert sorted(p.name for p in (bench.folder / "steps").iterdir()) == ["read.json"]
    meta = read_meta(bench.folder)
    assert meta["status"] == "failed"
    assert meta["error"].startswith(type(error).__name__)
    assert meta["step_timings"]["twice"]["status"] == "failed"
    (bench.folder / "artifacts/twice/stray.txt").write_text("of the failed attempt")
    bench.fail = None
    assert go(bench) == ["twice", "side", "sum"]
    assert "artifacts/twice/stray.txt" not in outputs(bench)
    assert read_meta(bench.folder)["status"] == "completed"
    assert read_meta(bench.folder)["error"] is None


def test_a_step_must_make_what_it_says(bench):
    """A missing output is an error that names step and output; there is no record."""
    graph = [replace(STEPS[0], outputs=("artifacts/read.txt", "artifacts/other.txt"))]
    with pytest.raises(PipelineError, match=r"step 'read' did not make artifacts/other\.txt"):
        go(bench, graph)
    assert not (bench.folder / "steps" / "read.json").exists()


def test_steps_out_of_order_are_refused(bench):
    """A step cannot need what comes later."""
    with pytest.raises(PipelineError, match="step 'sum' needs 'twice', which comes later"):
        go(bench, [STEPS[3], *STEPS[:3]])
    assert bench.ran == []


def test_a_missing_input_is_an_error(bench):
    """An input that is not there cannot be hashed, and nothing runs."""
    (bench.data / "in.txt").unlink()
    with pytest.raises(FileError, match=r"in\.txt"):
        go(bench)
    assert bench.ran == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_steps as t
folder, data = Path(sys.argv[2]), Path(sys.argv[3])
def die(bench):
    bench.ran.append("twice")
    t.write_text(bench.folder / "artifacts/twice/value.txt", "9")
    with t.atomic_path(bench.folder / "artifacts/twice.db") as temporary:
        temporary.write_text("half")
        temporary.with_name(temporary.name + "-journal").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
graph = list(t.STEPS)
graph[1] = t.replace(graph[1], action=die)
t.go(t.Bench(folder, data, dict(t.OPTIONS)), graph)
"""


def test_a_killed_run_goes_on_where_it_stopped(bench, tmp_path):
    """After SIGKILL in a step the lock is free, no piece is left, and the rest runs."""
    undisturbed = Bench(tmp_path / "other", bench.data, bench.options)
    go(undisturbed)
    command = [sys.executable, "-P", "-c", KILLED, Path(__file__).parent, bench.folder, bench.data]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (bench.folder / "run.lock").exists()
    assert read_meta(bench.folder)["status"] == "running"
    assert len(list((bench.folder / "artifacts").glob(".*"))) == 2
    assert go(bench) == ["twice", "side", "sum"]
    assert not list(bench.folder.rglob(".*"))
    assert outputs(bench) == outputs(undisturbed)
    assert read_meta(bench.folder)["status"] == "completed"


def test_sweeping_removes_unfinished_files_only(tmp_path):
    """What `atomic_path` leaves when killed goes; files with names of people's own stay."""
    with atomic_path(tmp_path / "deep" / "a.json") as temporary:
        left = temporary.name
    mine = {".keep", ".hidden.txt", "a.abcd1234.json", ".env.template", ".eslintrc.settings"}
    for name in (left, f"{left}-journal", *mine):
        (tmp_path / "deep" / name).write_text("x")
    sweep(tmp_path)
    names = {p.name for p in (tmp_path / "deep").iterdir()}
    assert names == {"a.json", *mine}


def test_a_folder_with_other_things_is_not_a_run(bench):
    """What somebody keeps there stays; nothing is made, removed or locked."""
    mine = {"notes.txt": "a", "diagnostics/paper.csv": "b", ".env.template": "c"}
    for name, text in mine.items():
        path = bench.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(PipelineError, match=r"holds '.env.template' and is not a run folder"):
        go(bench)
    found = [p for p in sorted(bench.folder.rglob("*")) if p.is_file()]
    assert {p.relative_to(bench.folder).as_posix(): p.read_text() for p in found} == mine


def test_a_run_killed_before_its_first_record_goes_on(bench):
    """A lock and an unfinished `meta.json` are no obstacle."""
    bench.folder.mkdir(parents=True)
    (bench.folder / "run.lock").write_text("")
    with atomic_path(bench.folder / "meta.json") as temporary:
        left = temporary.name
    (bench.folder / "meta.json").unlink()
    (bench.folder / left).write_text("{")
    assert go(bench) == ALL


# -- what is told ------------------------------------------------------------------------


def test_observers_hear_each_step(bench):
    """Start and done, with seconds; skip; fail; in the order in which they happen."""
    heard: list[Event] = []
    go(bench, observe=heard.append)
    assert [(e.step, e.kind) for e in heard] == [(s, k) for s in ALL for k in ("start", "done")]
    assert all((e.seconds > 0) == (e.kind == "done") for e in heard)
    heard.clear()
    (bench.data / "in.txt").write_text("5")
    bench.fail = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        go(bench, observe=heard.append)
    assert [(e.step, e.kind) for e in heard] == [
        ("read", "start"), ("read", "done"), ("twice", "start"), ("twice", "fail"),
    ]  # fmt: skip


def test_meta_says_who_and_when(bench):
    """The established fields, the options as JSON has them, and a timing for each step."""
    go(bench)
    meta = read_meta(bench.folder)
    assert meta["run_id"] == "run"
    assert meta["sha"] == commit()
    assert meta["data"] == str(bench.data)
    assert meta["options"] == {"factor": 2, "names": ["a", "b"], "unused": 0}
    assert (meta["status"], meta["error"], meta["resume_history"]) == ("completed", None, [])
    assert list(meta["step_timings"]) == sorted(ALL)  # as JSON is written
    for timing in meta["step_timings"].values():
        began, ended = (datetime.fromisoformat(timing[k]) for k in ("start", "end"))
        assert began <= ended
        assert timing["status"] == "completed"


def test_a_resumed_run_remembers_it(bench):
    """Each continuation is one entry of the history, with both commits."""
    go(bench)
    go(bench)
    go(bench)
    history = read_meta(bench.folder)["resume_history"]
    assert len(history) == 2
    assert history[0]["code_sha"] == history[0]["original_sha"] == commit()


def test_inputs_may_move(bench):
    """The same content elsewhere reruns nothing, and the run knows where its inputs are."""
    go(bench)
    bench.data = bench.data.rename(bench.data.with_name("moved"))
    assert go(bench) == []
    assert read_meta(bench.folder)["data"] == str(bench.data)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"factor": 3}, "factor"),
        ({"unused": 1, "names": ("a",)}, "names and unused"),
        ({"new": 1}, "new"),
    ],
)
def test_other_options_are_refused(bench, options, named):
    """A run has one set of options; another one, used or not, needs another folder."""
    go(bench)
    before = outputs(bench), read_meta(bench.folder)
    with pytest.raises(PipelineError, match=f"was started with another {named}; use a new folder"):
        go(bench, options=bench.options | options)
    assert (outputs(bench), read_meta(bench.folder)) == before


def test_an_option_that_is_gone_is_named(bench):
    """Fewer options are other options."""
    go(bench)
    with pytest.raises(PipelineError, match="another unused"):
        go(bench, options={k: v for k, v in OPTIONS.items() if k != "unused"})


def test_events_are_kept(bench):
    """Every start, end and skip of every attempt is a line of `events.jsonl`."""
    go(bench)
    go(bench)
    lines = (bench.folder / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["event"] for e in events] == ["start", "done"] * 4 + ["skip"] * 4
    assert [e["step"] for e in events[-4:]] == ALL


def test_step_seconds_are_those_of_the_last_time(tmp_path, monkeypatch):
    """From start to done of the latest attempt that ended; a line cut short is passed over."""
    times = iter([0, 9, 10, 12.5, 13])
    monkeypatch.setattr(
        run_folder, "now", lambda: datetime.fromtimestamp(next(times), UTC).isoformat()
    )
    for event in ("start", "done", "start", "done"):
        log_event(tmp_path, "a", event)
    log_event(tmp_path, "b", "start")
    with (tmp_path / "events.jsonl").open("a") as stream:
        stream.write('{"time": "19')
    assert step_seconds(tmp_path) == {"a": 2.5}


def test_a_line_cut_short_costs_that_line_alone(tmp_path):
    """The next event begins a line of its own; an end without a start has no length."""
    (tmp_path / "events.jsonl").write_text('{"time": "2024-01-01T00:00:00+00:00", "st')
    for event in ("start", "done"):
        log_event(tmp_path, "b", event)
    log_event(tmp_path, "a", "done")
    assert set(step_seconds(tmp_path)) == {"b"}


def test_events_that_cannot_be_written_are_an_error(tmp_path):
    """A folder in place of the log is named."""
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(PipelineError, match=r"cannot write .*events\.jsonl"):
        log_event(tmp_path, "a", "start")


def test_a_run_id_has_version_commit_and_time():
    """The established form, in UTC."""
    when = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    version, sha, *time = new_run_id(when).split("_")
    assert version == run_folder.__version__
    assert sha == commit()[:8]
    assert time == ["20260203", "040506"]
    assert len(new_run_id().split("_")) == 4


def test_the_command_to_resume_can_be_pasted():
    """A folder with a space is quoted."""
    assert resume_command(Path("a b/c")) == "`calibration run --resume 'a b/c'`"
    assert resume_command(Path("a/b")) == "`calibration run --resume a/b`"


# -- verification --------------------------------------------------------------------------


def test_verify_counts_what_it_compared(bench):
    """All outputs of all steps, or those that are not left out."""
    go(bench)
    assert verify(bench.folder) == 5
    assert verify(bench.folder, leave_out="artifacts/twice/") == 3


def test_verify_names_what_is_not_as_it_was_left(bench):
    """File, step and the command that makes it again; files that are left out are not read."""
    go(bench)
    (bench.folder / "artifacts/twice/sign.txt").write_text("?")
    with pytest.raises(PipelineError, match=r"sign\.txt is not what step 'twice' left; .*--resume"):
        verify(bench.folder)
    assert verify(bench.folder, leave_out="artifacts/twice/") == 3


def test_verify_of_nothing_fails(tmp_path):
    """A folder without records has not been verified."""
    with pytest.raises(PipelineError, match="no record of a finished step"):
        verify(tmp_path)


# -- the lock ------------------------------------------------------------------------------


def test_one_process_at_a_time(bench):
    """While a folder is locked nothing runs there; the message says who works."""
    with locked(bench.folder), pytest.raises(PipelineError, match=f"process {os.getpid()} on "):
        go(bench)
    assert bench.ran == []
    assert go(bench) == ALL
    assert not (bench.folder / "run.lock").exists()


@pytest.mark.parametrize("left", ["", '{"pid": 1, "host": "elsewhere"}', "garbage"])
def test_what_a_dead_run_left_locks_nobody_out(bench, left):
    """A lock file without a living owner is taken over, whatever it says."""
    bench.folder.mkdir()
    (bench.folder / "run.lock").write_text(left)
    assert go(bench) == ALL


def test_an_owner_without_a_name_is_another_process(bench):
    """A lock that was taken a moment ago keeps others out before it says who holds it."""
    with locked(bench.folder):
        (bench.folder / "run.lock").write_text("")
        with pytest.raises(PipelineError, match="in use by another process"):
            go(bench)


HOLD = """
import sys, time
from pathlib import Path
from calibration.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_another_process_ends_with_it(bench):
    """A living process keeps its lock; once it is killed the folder is free."""
    command = [sys.executable, "-P", "-c", HOLD, bench.folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(PipelineError, match=f"process {owner.pid} on "):
            go(bench)
        owner.kill()
    assert go(bench) == ALL


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(bench, monkeypatch):
    """If the owner frees the file between our opening and locking it, ours is the new file."""
    real, calls = fcntl.flock, []

    def late(handle, how):
        calls.append(handle)
        if len(calls) == 1:  # the owner is just done, and somebody else has not come yet
            (bench.folder / "run.lock").unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(bench.folder):
        assert len(calls) == 2
        with pytest.raises(PipelineError, match="in use"):
            go(bench)


RACE = """
import sys
from pathlib import Path
from calibration.errors import PipelineError
from calibration.run_folder import locked
folder, inside = Path(sys.argv[1]), Path(sys.argv[2])
won = 0
while won < 40:
    try:
        with locked(folder):
            inside.mkdir()  # fails if anybody else is inside
            inside.rmdir()
            won += 1
    except PipelineError:
        pass
"""


def test_many_at_once_are_never_inside_together(tmp_path):
    """Processes that take and free a lock as fast as they can exclude each other."""
    command = [sys.executable, "-P", "-c", RACE, tmp_path / "run", tmp_path / "inside"]
    contenders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    complaints = [contender.communicate()[1] for contender in contenders]
    assert complaints == ["", "", ""]
    assert [contender.returncode for contender in contenders] == [0, 0, 0]
