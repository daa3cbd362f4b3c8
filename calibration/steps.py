"""Steps in a run folder: each done once, resumable, and never half done.

A run is a folder. Its steps form a graph: each names the steps whose outputs it reads.
A step has a key, and is skipped exactly if it was done under the same key and its outputs
are still what they were:

    key = SHA-256 of (name, parameters, hashes of what it reads, hash of its code)

Every file is written whole or not at all, and the record of a step comes last, so a run
that was killed goes on where it stopped. `calibration.run_folder` says what else a run
writes about itself.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from calibration.errors import FileError, PipelineError
from calibration.files import hash_file, read_json, write_json
from calibration.provenance import code_hash
from calibration.run_folder import SCHEMA, locked, log_event, now, recorded, resume_command, sweep

__all__ = ["Event", "Step", "run_steps", "verify"]

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
    around : tuple of str
        Modules around those, of which only their own text counts.
    """

    name: str
    action: Callable[[W], None]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    outputs: tuple[str, ...]
    modules: tuple[str, ...]
    around: tuple[str, ...] = ()


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


def run_steps(
    steps: Sequence[Step[W]],
    workspace: W,
    *,
    folder: Path,
    data: Path,
    options: Mapping[str, Any],
    stands_for: Mapping[str, str] | None = None,
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
    stands_for : mapping of str to str, optional
        What options stand for today, such as the name of an engine for its version. Keys
        have these values in place of the options' own.
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
    meant = {**options, **(stands_for or {})}
    with locked(folder), recorded(folder, data, options) as timings:
        sweep(folder)
        done: dict[str, Mapping[str, str]] = {}
        for step in steps:
            key = _key(step, done, data, meant)
            record = folder / "steps" / f"{step.name}.json"
            if (outputs := _outputs_if_done(record, key, folder)) is not None:
                done[step.name] = outputs
                log_event(folder, step.name, "skip")
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
    log_event(folder, step.name, "start")
    record.unlink(missing_ok=True)
    for output in step.outputs:
        _remove(folder / output)
    began, clock = now(), time.perf_counter()
    timings[step.name] = {"start": began, "status": "running"}
    try:
        step.action(workspace)
    except BaseException:
        timings[step.name]["status"] = "failed"
        log_event(folder, step.name, "fail")
        tell(Event(step.name, "fail", time.perf_counter() - clock))
        raise
    seconds = time.perf_counter() - clock
    outputs = _hash_outputs(step, folder)
    write_json(record, {"schema": SCHEMA, "key": key, "outputs": outputs})
    timings[step.name] |= {"end": now(), "duration_s": round(seconds, 3), "status": "completed"}
    log_event(folder, step.name, "done")
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
        "code": code_hash(*step.modules, around=step.around),
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
    facts = _read_record(record)
    if facts is None or facts["key"] != key or _changed(folder, facts["outputs"]):
        return None
    return facts["outputs"]


def _read_record(record: Path) -> dict[str, Any] | None:
    """Read what a finished step recorded; a damaged record is no record."""
    try:
        facts = read_json(record)
    except FileError:
        return None
    if not isinstance(facts, dict) or not facts.keys() >= {"schema", "key", "outputs"}:
        return None
    return facts if facts["schema"] == SCHEMA else None


def _changed(folder: Path, outputs: Mapping[str, str]) -> list[str]:
    return [
        name
        for name, digest in outputs.items()
        if not (folder / name).is_file() or hash_file(folder / name) != digest
    ]


def verify(folder: Path, *, leave_out: str | None = None) -> int:
    """Hold every output of a run against what its step recorded, and count them.

    Parameters
    ----------
    folder : Path
    leave_out : str, optional
        Outputs whose names begin with this are not read.

    Raises
    ------
    PipelineError
        If an output is missing or has another content, or no step has a record.
    """
    compared = 0
    again = f"make it again with {resume_command(folder)}"
    for record in sorted((folder / "steps").glob("*.json")):
        if (facts := _read_record(record)) is None:
            raise PipelineError(f"{record} is damaged or of another version; {again}")
        outputs = {
            name: digest
            for name, digest in facts["outputs"].items()
            if leave_out is None or not name.startswith(leave_out)
        }
        compared += len(outputs)
        if changed := _changed(folder, outputs):
            name = folder / changed[0]
            raise PipelineError(f"{name} is not what step {record.stem!r} left; {again}")
    if not compared:
        raise PipelineError(f"{folder} has no record of a finished step")
    return compared


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
