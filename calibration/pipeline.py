"""Stage 9: the whole run, from what it starts from to checked files.

Each stage is a step of `calibration.steps`: it reads what earlier steps stored, calls one
stage module, and stores what that returns. `calibration.artifacts` names the files. A run
ends only if the X w identity holds on every file and every check of `calibration.checks`
passed.

Engines differ in one thing: what a run starts from (`calibration.starts`). There are two
lists of steps, and they share every action that does not depend on it:

    survey     base -> puf -> clones -> sources -> takeup -> targets -> matrix -> ...
    records    base -> clones -> targets -> matrix -> ...
                                    ... -> weights -> files -> diagnostics

A survey's households are cloned and each clone is given a census block. Records that an
engine brings stay in their own state, one column each. The engine's own modules and version
are part of the key of every step that uses it.

Two weight vectors are fitted by default. `local` keeps many columns and makes the files of
states, districts, cities and places; `national` keeps few and makes the file of the
nation. They are different answers to the same targets, so the sum of the state files is
not the nation's file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from calibration import actions
from calibration.artifacts import RunState
from calibration.audit import diagnostics
from calibration.errors import PipelineError
from calibration.fit_stage import weights
from calibration.inputs import DONORS
from calibration.preflight import preflight
from calibration.run_options import RunOptions, Workspace
from calibration.starts import RECORDS, SURVEY, start_of
from calibration.steps import Event, Step, run_steps

__all__ = ["RunOptions", "run", "steps_of"]

_DRAWS = ("seed", "engine", "period")
_WHOSE = ("engine", "period", "states")
_ENGINE = "calibration.engines.{}"  # the name of the run's engine is put in by `steps_of`
_GIVEN = "calibration.inputs"

_TARGETS = (
    "calibration.matrix_files",  # how targets are stored
    "calibration.selection",
    "calibration.target_database",
    "calibration.uprating",
)
_WEIGHTS = (
    # the fit, and the checks of a stored matrix against what it was made of
    "calibration.clones",
    "calibration.matrix",
    "calibration.select",
)
_DIAGNOSTICS = (
    "calibration.checks",
    "calibration.diagnostics",
    "calibration.evaluate",
    "calibration.identity",
    "calibration.publish_local_area",
)


def _step(
    name: str,
    action: Callable[[Workspace], None],
    *,
    reads: tuple[str, ...] = (),
    modules: tuple[str, ...],
    around: tuple[str, ...] = (),
    **parts: Any,
) -> Step[Workspace]:
    """Make a step; whoever reads a table reads it by the dictionary, with the code for that."""
    return Step(
        name=name,
        action=action,
        reads=("dictionary.csv", *reads) if reads else (),
        modules=("calibration.inputs", *modules) if reads else modules,
        around=(
            action.__module__,
            "calibration.artifacts",
            "calibration.run_options",
            "calibration.starts",
            *around,
        ),
        **parts,
    )


_FROM_SURVEY: tuple[Step[Workspace], ...] = (
    _step(
        "base",
        actions.base,
        reads=("survey",),
        parameters=("period",),
        outputs=("artifacts/base.npz",),
        modules=("calibration.survey",),
    ),
    _step(
        "puf",
        actions.puf,
        needs=("base",),
        reads=("donors/puf.csv",),
        parameters=(*_DRAWS, "households", "trees"),
        outputs=("artifacts/records.npz",),
        modules=("calibration.puf_impute", "calibration.stratify", _ENGINE),
        around=("calibration.puf_checks", "calibration.checks"),
    ),
    _step(
        "clones",
        actions.clones,
        needs=("puf",),
        reads=("blocks.csv", "targets.csv"),
        parameters=(*_DRAWS, "clones"),
        outputs=("artifacts/geography.npz", "artifacts/mass.json"),
        modules=("calibration.clone_and_assign", _ENGINE),
    ),
    _step(
        "sources",
        actions.sources,
        needs=("puf",),
        reads=("blocks.csv", *(f"donors/{name}.csv" for name in DONORS if name != "puf")),
        parameters=("seed", "trees"),
        outputs=("artifacts/sources.npz",),
        modules=("calibration.source_impute",),
    ),
    _step(
        "takeup",
        actions.takeup,
        needs=("sources",),
        reads=("blocks.csv",),
        parameters=_DRAWS,
        outputs=("artifacts/takeup.csv",),
        modules=("calibration.thresholds", _ENGINE),
    ),
    _step(
        "targets",
        actions.targets,
        reads=("targets.csv", "blocks.csv"),
        parameters=("engine", "period", "select"),
        outputs=("artifacts/targets.db", "artifacts/targets.json", "artifacts/uprating.csv"),
        modules=(*_TARGETS, _ENGINE),
    ),
    _step(
        "matrix",
        actions.matrix,
        needs=("clones", "sources", "takeup", "targets"),
        reads=("blocks.csv",),
        parameters=("engine",),
        outputs=("artifacts/matrix",),
        modules=("calibration.matrix_builder", "calibration.clone_and_assign", _ENGINE),
    ),
    _step(
        "weights",
        weights,
        needs=("matrix",),
        parameters=("seed", "presets", "records"),
        outputs=("artifacts/weights.npz", "artifacts/fits.json", "artifacts/fit_logs"),
        modules=(*_WEIGHTS, _ENGINE),  # the engine for its version
    ),
    _step(
        "files",
        actions.files,
        needs=("clones", "sources", "takeup", "weights"),
        reads=("areas.csv", "blocks.csv"),
        parameters=("engine", "presets", "records"),
        outputs=("artifacts/files", "artifacts/files.csv"),
        modules=("calibration.publish_local_area", _ENGINE),
    ),
    _step(
        "diagnostics",
        diagnostics,
        needs=("clones", "sources", "takeup", "targets", "matrix", "weights", "files"),
        reads=("areas.csv", "blocks.csv"),
        parameters=("engine",),
        outputs=("diagnostics",),
        modules=(*_DIAGNOSTICS, _ENGINE),
    ),
)
"""The steps that lead from a survey's folder to files."""

_FROM_RECORDS: tuple[Step[Workspace], ...] = (
    _step(
        "base",
        actions.base,
        parameters=_WHOSE,
        outputs=("artifacts/base.npz",),
        modules=(_GIVEN, _ENGINE),
    ),
    _step(
        "clones",
        actions.stay,
        needs=("base",),
        outputs=("artifacts/geography.npz",),
        modules=("calibration.own_state",),
    ),
    _step(
        "targets",
        actions.targets,
        parameters=(*_WHOSE, "select"),
        outputs=("artifacts/targets.db", "artifacts/targets.json", "artifacts/uprating.csv"),
        modules=(_GIVEN, *_TARGETS, _ENGINE),
    ),
    _step(
        "matrix",
        actions.own_matrix,
        needs=("base", "clones", "targets"),
        parameters=("seed", *_WHOSE),
        outputs=("artifacts/matrix",),
        modules=("calibration.matrix_builder", "calibration.own_state", _ENGINE),
    ),
    _step(
        "weights",
        weights,
        needs=("matrix",),
        parameters=("seed", "presets", "records"),
        outputs=("artifacts/weights.npz", "artifacts/fits.json", "artifacts/fit_logs"),
        modules=(*_WEIGHTS, _ENGINE),  # the engine for its version
    ),
    _step(
        "files",
        actions.files,
        needs=("base", "clones", "weights"),
        parameters=("presets", "records", *_WHOSE),
        outputs=("artifacts/files", "artifacts/files.csv"),
        modules=(_GIVEN, "calibration.publish_local_area", _ENGINE),
    ),
    _step(
        "diagnostics",
        diagnostics,
        needs=("base", "clones", "targets", "matrix", "weights", "files"),
        parameters=_WHOSE,
        outputs=("diagnostics",),
        modules=(_GIVEN, *_DIAGNOSTICS, _ENGINE),
    ),
)
"""The steps that lead from records that an engine brings to files."""


def steps_of(engine: str) -> tuple[Step[Workspace], ...]:
    """List the steps of an engine's runs, in the order in which they are executed.

    Parameters
    ----------
    engine : str
        Its name; it need not be installed.

    Returns
    -------
    tuple of Step
    """
    steps = {SURVEY: _FROM_SURVEY, RECORDS: _FROM_RECORDS}[start_of(engine)]
    return tuple(
        replace(step, modules=tuple(module.format(engine) for module in step.modules))
        for step in steps
    )


def run(
    data: Path,
    out: Path,
    options: RunOptions | None = None,
    *,
    observe: Callable[[Event], None] | None = None,
    tell: Callable[[int, int, str], None] | None = None,
    workers: int = 1,
) -> RunState:
    """Run all stages.

    Parameters
    ----------
    data : Path
        Input folder, see `calibration.inputs`. It is read and checked before anything is
        written. Not looked at if the engine brings its own records.
    out : Path
        Run folder; a run that stopped in it is continued.
    options : RunOptions, optional
    observe, tell : callable, optional
        Called with each `Event` of a step, and with (done, all, unit) within long ones.
    workers : int
        Processes that simulate chunks of the matrix. Any number gives the same bits.

    Returns
    -------
    RunState
        After the last stage.

    Raises
    ------
    CalibrationError
        If an input is not valid, a step fails, or the files are not what was calibrated.
    """
    if workers < 1:
        raise PipelineError(f"workers is {workers}; give at least 1")
    options = options or RunOptions()
    work = Workspace(out, data, options, tell or (lambda *_: None), workers)
    preflight(work)  # before the first byte is written
    steps = steps_of(options.engine)
    run_steps(
        steps,
        work,
        folder=out,
        data=data,
        options=asdict(options),
        stands_for={"engine": f"{work.engine.name} {work.engine.version}"},
        observe=observe,
    )
    return work.after(steps[-1].name)
