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
that was killed goes on where it stopped. A lock keeps a second process out.

Source of the run identifier and of `meta.json`: PolicyEngine/policyengine-us-data
e01a0384, modal_app/pipeline.py.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from calibration.errors import PipelineError
from calibration.files import hash_file, read_json, write_json
from calibration.provenance import code_hash, commit

__all__ = ["Event", "Step", "new_run_id", "run_steps"]

SCHEMA = 1
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
        Modules whose code it runs.
    """

    name: str
    action: Callable[[W], None]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...]
    modules: tuple[str, ...]


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
        "code": code_hash(*step.modules),
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
    facts = read_json(record)
    if facts.get("schema") != SCHEMA or facts.get("key") != key:
        return None
    for name, digest in facts["outputs"].items():
        if not (folder / name).is_file() or hash_file(folder / name) != digest:
            return None
    return facts["outputs"]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# -- the run's own records -------------------------------------------------------------


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _log(folder: Path, step: str, event: str) -> None:
    line = json.dumps({"time": _now(), "step": step, "event": event}, sort_keys=True)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


@contextmanager
def _recorded(folder: Path, data: Path, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Keep `meta.json` true while a run works: running, then completed or failed."""
    path = folder / "meta.json"
    meta = read_json(path) if path.is_file() else _new_meta(folder, data, options)
    plain = json.loads(json.dumps(dict(options)))  # as meta.json holds them: lists, not tuples
    if meta["options"] != plain:
        changed = [k for k in plain if meta["options"].get(k) != plain[k]]
        raise PipelineError(
            f"{folder} was started with another {' and '.join(changed)}; use a new folder"
        )
    if meta["status"] != "new":
        resumed = {"resumed_at": _now(), "code_sha": commit(), "original_sha": meta["sha"]}
        meta["resume_history"].append(resumed)
    meta |= {"status": "running", "error": None}
    write_json(path, meta)
    try:
        yield meta["step_timings"]
    except BaseException as error:
        meta |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        write_json(path, meta)
        raise
    meta["status"] = "completed"
    write_json(path, meta)


def _new_meta(folder: Path, data: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run_id": folder.name,
        "branch": None,
        "sha": commit(),
        "version": __version__,
        "start_time": _now(),
        "status": "new",
        "data": str(data.resolve()),
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
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        _take_over(path)
        handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    except OSError as error:
        raise PipelineError(f"cannot write in {folder}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(owner, stream)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take_over(path: Path) -> None:
    """Refuse a lock whose owner lives; accept one that a killed process left."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        pid, host = int(owner["pid"]), str(owner["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # a lock cut short by a kill belongs to nobody
    if host == socket.gethostname() and not _alive(pid):
        return
    raise PipelineError(
        f"{path.parent} is in use by process {pid} on {host}; wait for it, or delete {path.name} "
        "if that process is gone"
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
