"""What a run writes about itself, and the lock that gives it to one process.

    runs/{version}_{sha[:8]}_{timestamp}/
        meta.json       who, when, status, timings               volatile
        events.jsonl    what happened, line by line              volatile
        run.lock        who works here now                       gone when nobody does
        steps/          one record a step: key and output hashes
        chunks/         parts of the matrix while it is built    gone when it is stored
        artifacts/      the outputs, the same bytes whenever they are made
        diagnostics/    tables about them

The lock is the operating system's. It ends with its owner, however that ends, so what a
killed run leaves behind locks nobody out, and no process id is mistaken for another's.

Source of the run identifier and of `meta.json`: PolicyEngine/policyengine-us-data
e01a0384, modal_app/pipeline.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calibration import __version__
from calibration.errors import PipelineError
from calibration.files import UNFINISHED, read_json, write_json
from calibration.provenance import commit, modified

__all__ = [
    "SCHEMA",
    "locked",
    "log_event",
    "new_run_id",
    "now",
    "read_meta",
    "recorded",
    "resume_command",
    "step_seconds",
    "sweep",
]

SCHEMA = 1
"""Version of `meta.json` and of the records of steps."""

_META = {"data", "options", "resume_history", "sha", "status", "step_timings"}  # read back
# What a killed `files.atomic_path`, or SQLite at work on its file, leaves behind.
_UNFINISHED = re.compile(rf"\..+\.[a-z0-9_]{{8}}{re.escape(UNFINISHED)}(\.[\w-]+)?")


def new_run_id(when: datetime | None = None) -> str:
    """Make a run identifier, {version}_{sha[:8]}_{timestamp} in UTC."""
    when = datetime.now(UTC) if when is None else when
    return f"{__version__}_{commit()[:8]}_{when:%Y%m%d_%H%M%S}"


def now() -> str:
    """Give the time as the records of a run write it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def resume_command(folder: Path) -> str:
    """Write the command that continues a run, for messages."""
    return f"`calibration run --resume {shlex.quote(str(folder))}`"


# -- what happened ---------------------------------------------------------------------


def log_event(folder: Path, step: str, event: str) -> None:
    """Add a line to `events.jsonl`.

    Raises
    ------
    PipelineError
        If it cannot be written.
    """
    line = json.dumps({"time": now(), "step": step, "event": event}, sort_keys=True)
    path = folder / "events.jsonl"
    try:
        with path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else f"\n{line}"  # a kill cut it short
            stream.write(f"{line}\n".encode())
    except OSError as error:
        raise PipelineError(f"cannot write {path}: {error.strerror}") from error


def step_seconds(folder: Path) -> dict[str, float]:
    """Read from `events.jsonl` how long each finished step took when it was last done."""
    began: dict[str, datetime] = {}
    seconds: dict[str, float] = {}
    for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line that a kill cut short says nothing
        step, when = event["step"], datetime.fromisoformat(event["time"])
        if event["event"] == "start":
            began[step] = when
        elif event["event"] == "done" and step in began:
            seconds[step] = (when - began[step]).total_seconds()
    return seconds


# -- the state of the run --------------------------------------------------------------


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
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA or not meta.keys() >= _META:
        raise PipelineError(f"{path} is not of schema {SCHEMA}; start a new run")
    return meta


@contextmanager
def recorded(folder: Path, data: Path, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Keep `meta.json` true while a run works: running, then completed or failed.

    Parameters
    ----------
    folder : Path
    data : Path
        The input folder; may have moved since the run was started.
    options : mapping of str to JSON value

    Yields
    ------
    dict
        Timings by step, to be filled in.

    Raises
    ------
    PipelineError
        If the run was started with other options.
    """
    path = folder / "meta.json"
    plain = json.loads(json.dumps(dict(options)))  # as meta.json holds them: lists, not tuples
    meta = read_meta(folder) if path.is_file() else _new_meta(folder, plain)
    if meta["options"] != plain:
        changed = [
            k for k in {**meta["options"], **plain} if meta["options"].get(k) != plain.get(k)
        ]
        raise PipelineError(
            f"{folder} was started with another {' and '.join(changed)}; use a new folder"
        )
    if meta["status"] != "new":
        resumed = {"resumed_at": now(), "code_sha": commit(), "code_modified": modified()}
        resumed["original_sha"] = meta["sha"]
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
        "modified": modified(),
        "version": __version__,
        "start_time": now(),
        "status": "new",
        "options": options,
        "step_timings": {},
        "error": None,
        "resume_history": [],
    }


def sweep(folder: Path) -> None:
    """Remove what a killed run was writing; only the owner of the lock may do so."""
    for path in sorted(folder.rglob(".*")):
        if path.is_file() and _UNFINISHED.fullmatch(path.name):
            path.unlink()


# -- one process at a time -------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a run folder if it is not there, and keep every other process out of it.

    Raises
    ------
    PipelineError
        If another process works there, the folder cannot be made or written, or it holds
        files that are not those of a run: a run removes what stands where it writes.
    """
    path = folder / "run.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {found.name for found in folder.iterdir()}
    except OSError as error:
        raise PipelineError(f"cannot make {folder}: {error.strerror}") from error
    foreign = [n for n in sorted(names) if n != path.name and not _UNFINISHED.fullmatch(n)]
    if foreign and "meta.json" not in names:
        raise PipelineError(
            f"{folder} holds {foreign[0]!r} and is not a run folder; give a new or an empty one"
        )
    handle = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked: whoever has it open will look again
        os.close(handle)


def _lock(path: Path) -> int:
    """Lock a file, write into it who holds it, and give its open handle."""
    import fcntl  # not on Windows; reading runs works there, making them does not

    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise PipelineError(f"cannot write in {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise PipelineError(
                f"{path.parent} is in use by {_holder(path)}; wait for it, or use a new folder"
            ) from None
        except OSError as error:
            os.close(handle)
            raise PipelineError(f"cannot lock {path}: {error.strerror}") from error
        if _is_still(path, handle):
            os.truncate(handle, 0)
            os.write(handle, json.dumps(owner).encode())
            return handle
        os.close(handle)  # its owner removed it between our open and our lock: once more


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not said who it is yet
