"""Steps in a run folder: each done once, resumable, and never half done.

A run is a folder. Its steps form a graph: each names the steps whose outputs it reads.
A step has a key, and is skipped exactly if it was done under the same key and its outputs
are still what they were:

    key = SHA-256 of (name, parameters, hashes of what it reads, hash of its code)

    runs/{version}_{sha[:8]}_{timestamp}/
        meta.json       who, when, status, timings               volatile
        events.jsonl    what happened, line by line              volatile
        steps/          one record a step: key and output hashes
        artifacts/      the outputs, the same bytes whenever they are made

Every file is written whole or not at all, and the record of a step comes last, so a run
that was killed goes on where it stopped. A lock keeps a second process out; the system
frees it when its owner ends, however it ends.

Source of the run identifier and of `meta.json`: PolicyEngine/policyengine-us-data
e01a0384, modal_app/pipeline.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from calibration import __version__
from calibration.errors import FileError, PipelineError
from calibration.files import hash_file, read_json, write_json
from calibration.provenance import code_hash, commit

__all__ = ["Event", "Step", "new_run_id", "read_meta", "run_steps", "step_seconds", "verify"]

SCHEMA = 1
META = ("data", "options", "resume_history", "sha", "status", "step_timings")  # what is read back
# What a killed `files.atomic_path`, or SQLite at work on its file, leaves behind.
UNFINISHED = re.compile(r"\..+\.[a-z0-9_]{8}(\.[\w-]+)?")
W = TypeVar("W")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[W]):
    """One node of the graph.

    Parameters
    ----------
    name : str
    action : callable
        Does the step, given the workspace; writes the outputs.
    needs : tuple of str
        Earlier steps whose outputs it reads.
    reads : tuple of str
        Input files or folders, relative to the input folder.
    parameters : tuple of str
        Options that it depends on.
    outputs : tuple of str
        Files or folders that it makes, relative to the run folder.
    modules : tuple of str
        Modules whose code it runs, and with it the code of all that they import.
    shell : tuple of str
        Modules around those, of which only their own text counts.
    """

    name: str
    action: Callable[[W], None]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...]
    modules: tuple[str, ...]
    shell: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an observer may want to show.

    Parameters
    ----------
    step : str
    kind : str
        "start", "done", "skip" or "fail".
    seconds : float
        Time the step took; 0 for "start" and "skip".
    """

    step: str
    kind: str
    seconds: float = 0.0


def new_run_id(now: datetime | None = None) -> str:
    """Make a run identifier, {version}_{sha[:8]}_{timestamp} in UTC."""
    now = datetime.now(UTC) if now is None else now
    return f"{__version__}_{commit()[:8]}_{now:%Y%m%d_%H%M%S}"


def run_steps(
    steps: Sequence[Step[W]],
    workspace: W,
    *,
    folder: Path,
    data: Path,
    options: Mapping[str, Any],
    observe: Callable[[Event], None] | None = None,
) -> None:
    """Do the steps of a run that are not done yet, in order.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which every step comes after the steps it needs.
    workspace : object
        Passed to every action.
    folder : Path
        The run folder; made if it is not there, continued if it is.
    data : Path
        The input folder.
    options : mapping of str to JSON value
        Values of the steps' parameters.
    observe : callable, optional
        Called with each `Event`.

    Raises
    ------
    PipelineError
        If another process works in the folder, or the steps are out of order.
    Exception
        Whatever a step raises; the run is marked failed and can be continued.
    """
    tell = observe or (lambda _: None)
    with _locked(folder), _recorded(folder, data, options) as timings:
        _sweep(folder)
        done: dict[str, Mapping[str, str]] = {}
        for step in steps:
            key = _key(step, done, data, options)
            record = folder / "steps" / f"{step.name}.json"
            if (outputs := _outputs_if_done(record, key, folder)) is not None:
                done[step.name] = outputs
                _log(folder, step.name, "skip")
                tell(Event(step.name, "skip"))
                continue
            done[step.name] = _do(step, workspace, folder, key, record, tell, timings)


def _do(  # noqa: PLR0917  (one call, right above)
    step: Step[W],
    workspace: W,
    folder: Path,
    key: str,
    record: Path,
    tell: Callable[[Event], None],
    timings: dict[str, Any],
) -> Mapping[str, str]:
    tell(Event(step.name, "start"))
    _log(folder, step.name, "start")
    record.unlink(missing_ok=True)
    for output in step.outputs:
        _remove(folder / output)
    began, clock = _now(), time.perf_counter()
    timings[step.name] = {"start": began, "status": "running"}
    try:
        step.action(workspace)
    except BaseException:
        timings[step.name]["status"] = "failed"
        _log(folder, step.name, "fail")
        tell(Event(step.name, "fail", time.perf_counter() - clock))
        raise
    seconds = time.perf_counter() - clock
    outputs = _hash_outputs(step, folder)
    write_json(record, {"schema": SCHEMA, "key": key, "outputs": outputs})
    timings[step.name] |= {"end": _now(), "duration_s": round(seconds, 3), "status": "completed"}
    _log(folder, step.name, "done")
    tell(Event(step.name, "done", seconds))
    return outputs


# -- keys ------------------------------------------------------------------------------


def _key(
    step: Step[Any],
    done: Mapping[str, Mapping[str, str]],
    data: Path,
    options: Mapping[str, Any],
) -> str:
    if missing := [name for name in step.needs if name not in done]:
        raise PipelineError(f"step {step.name!r} needs {missing[0]!r}, which comes later")
    facts = {
        "schema": SCHEMA,
        "step": step.name,
        "code": code_hash(*step.modules, shell=step.shell),
        "options": {name: options[name] for name in step.parameters},
        "needs": {name: done[name] for name in step.needs},
        "reads": {name: _hash_input(data / name) for name in step.reads},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_input(path: Path) -> str | dict[str, str]:
    if path.is_dir():
        return {p.name: hash_file(p) for p in sorted(path.iterdir()) if p.is_file()}
    return hash_file(path)


def _hash_outputs(step: Step[Any], folder: Path) -> dict[str, str]:
    hashes = {}
    for output in step.outputs:
        path = folder / output
        if not path.exists():
            raise PipelineError(f"step {step.name!r} did not make {output}")
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                hashes[file.relative_to(folder).as_posix()] = hash_file(file)
    return hashes


def _outputs_if_done(record: Path, key: str, folder: Path) -> Mapping[str, str] | None:
    """Give the outputs of a step that was done under this key and still stands."""
    if not record.is_file():
        return None
    try:
        facts = read_json(record)
    except FileError:
        return None  # a damaged record is no record: the step is done again
    if facts.get("schema") != SCHEMA or facts.get("key") != key:
        return None
    return None if _changed(folder, facts["outputs"]) else facts["outputs"]


def _changed(folder: Path, outputs: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, digest in outputs.items()
        if not (folder / name).is_file() or hash_file(folder / name) != digest
    ]


def verify(folder: Path) -> int:
    """Hold every output of a run against what its step recorded, and count them.

    Raises
    ------
    PipelineError
        If an output is missing or has another content, or no step has a record.
    """
    compared = 0
    for record in sorted((folder / "steps").glob("*.json")):
        outputs = read_json(record)["outputs"]
        compared += len(outputs)
        if changed := _changed(folder, outputs):
            raise PipelineError(
                f"{folder / changed[0]} is not what step {record.stem!r} left; make it again "
                f"with `calibration run --resume {folder}`"
            )
    if not compared:
        raise PipelineError(f"{folder} has no record of a finished step")
    return compared


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed run was writing: no other process writes here now."""
    for path in sorted(folder.rglob(".*")):
        if path.is_file() and UNFINISHED.fullmatch(path.name):
            path.unlink()


# -- the run's own records -------------------------------------------------------------


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _log(folder: Path, step: str, event: str) -> None:
    line = json.dumps({"time": _now(), "step": step, "event": event}, sort_keys=True)
    path = folder / "events.jsonl"
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise PipelineError(f"cannot write {path}: {error.strerror}") from error


def step_seconds(folder: Path) -> dict[str, float]:
    """Read from `events.jsonl` how long each finished step took when it was last done."""
    began: dict[str, datetime] = {}
    seconds: dict[str, float] = {}
    for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        step, when = event["step"], datetime.fromisoformat(event["time"])
        if event["event"] == "start":
            began[step] = when
        elif event["event"] == "done":
            seconds[step] = (when - began[step]).total_seconds()
    return seconds


def read_meta(folder: Path) -> dict[str, Any]:
    """Read `meta.json` of a run folder.

    Raises
    ------
    PipelineError
        If the folder is not a run, or was made by another version of this package.
    FileError
        If the file is damaged.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise PipelineError(f"{folder} is not a run folder: it has no meta.json")
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA or not meta.keys() >= set(META):
        raise PipelineError(f"{path} is not of schema {SCHEMA}; start a new run")
    return meta


@contextmanager
def _recorded(folder: Path, data: Path, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Keep `meta.json` true while a run works: running, then completed or failed."""
    path = folder / "meta.json"
    meta = read_meta(folder) if path.is_file() else _new_meta(folder, options)
    plain = json.loads(json.dumps(dict(options)))  # as meta.json holds them: lists, not tuples
    if meta["options"] != plain:
        changed = [k for k in plain if meta["options"].get(k) != plain[k]]
        raise PipelineError(
            f"{folder} was started with another {' and '.join(changed)}; use a new folder"
        )
    if meta["status"] != "new":
        resumed = {"resumed_at": _now(), "code_sha": commit(), "original_sha": meta["sha"]}
        meta["resume_history"].append(resumed)
    meta |= {"status": "running", "error": None, "data": str(data.resolve())}
    write_json(path, meta)
    try:
        yield meta["step_timings"]
    except BaseException as error:
        meta |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        write_json(path, meta)
        raise
    meta["status"] = "completed"
    write_json(path, meta)


def _new_meta(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run_id": folder.name,
        "branch": None,
        "sha": commit(),
        "version": __version__,
        "start_time": _now(),
        "status": "new",
        "options": json.loads(json.dumps(dict(options))),
        "step_timings": {},
        "error": None,
        "resume_history": [],
    }


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a run folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PipelineError(f"cannot make {folder}: {error.strerror}") from error
    path = folder / "run.lock"
    handle = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked: whoever opened it finds another file here
        os.close(handle)


def _lock(path: Path) -> int:
    """Lock a file and write into it who holds it; give its open handle.

    The lock is the system's, not the file's existence: it ends with its process, so what a
    killed run leaves locks nobody out.
    """
    import fcntl  # not on Windows, where nothing else of this module is missing

    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise PipelineError(f"cannot write in {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                os.write(handle, json.dumps(owner).encode())
                return handle
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8") if path.exists() else ""
            os.close(handle)
            raise PipelineError(
                f"{path.parent} is in use by another process {holder}".rstrip()
                + "; wait for it, or use a new folder"
            ) from None
        os.close(handle)  # its owner removed it between our open and our lock: once more
