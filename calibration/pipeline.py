"""Stage 9: the whole run, from a survey to checked files.

    base -> puf -> clones -> sources -> takeup -> targets -> matrix -> weights -> files
         -> diagnostics

Each stage is a step of `calibration.steps`: it reads what earlier steps stored, calls one
stage module, and stores what that returns. `calibration.artifacts` names the files. A run
ends only if the X w identity holds on every file and every check of `calibration.checks`
passed.

Two weight vectors are fitted by default. `local` keeps many columns and makes the files of
states, districts, cities and places; `national` keeps few and makes the file of the
nation. They are different answers to the same targets, so the sum of the state files is
not the nation's file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calibration import actions
from calibration.artifacts import STAGES, RunState
from calibration.audit import diagnostics
from calibration.fit_stage import weights
from calibration.inputs import DONORS
from calibration.preflight import preflight
from calibration.run_options import RunOptions, Workspace
from calibration.steps import Event, Step, run_steps

__all__ = ["STEPS", "RunOptions", "run"]

_DRAWS = ("seed", "engine", "period")
_ENGINE = ("calibration.engines.toy",)


def _step(
    name: str,
    action: Callable[[Workspace], None],
    *,
    reads: tuple[str, ...] = (),
    modules: tuple[str, ...],
    **parts: Any,
) -> Step[Workspace]:
    """Make a step; whoever reads a table reads it by the dictionary, with the code for that."""
    return Step(
        name=name,
        action=action,
        reads=("dictionary.csv", *reads) if reads else (),
        modules=("calibration.inputs", *modules) if reads else modules,
        around=(action.__module__, "calibration.artifacts", "calibration.run_options"),
        **parts,
    )


STEPS: tuple[Step[Workspace], ...] = (
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
        modules=("calibration.puf_impute", "calibration.stratify", *_ENGINE),
    ),
    _step(
        "clones",
        actions.clones,
        needs=("puf",),
        reads=("blocks.csv", "targets.csv"),
        parameters=(*_DRAWS, "clones"),
        outputs=("artifacts/geography.npz", "artifacts/mass.json"),
        modules=("calibration.clone_and_assign", *_ENGINE),
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
        modules=("calibration.thresholds", *_ENGINE),
    ),
    _step(
        "targets",
        actions.targets,
        reads=("targets.csv", "blocks.csv"),
        parameters=("engine", "period"),
        outputs=("artifacts/targets.db", "artifacts/targets.json", "artifacts/uprating.csv"),
        modules=(
            "calibration.matrix",  # how targets are stored
            "calibration.target_database",
            "calibration.uprating",
            *_ENGINE,
        ),
    ),
    _step(
        "matrix",
        actions.matrix,
        needs=("clones", "sources", "takeup", "targets"),
        reads=("blocks.csv",),
        parameters=("engine",),
        outputs=("artifacts/matrix",),
        modules=("calibration.matrix_builder", "calibration.clone_and_assign", *_ENGINE),
    ),
    _step(
        "weights",
        weights,
        needs=("matrix",),
        parameters=("seed", "presets", "records"),
        outputs=("artifacts/weights.npz", "artifacts/fits.json", "artifacts/fit_logs"),
        # the fit, and the checks of a stored matrix against what it was made of
        modules=("calibration.clones", "calibration.matrix", "calibration.select"),
    ),
    _step(
        "files",
        actions.files,
        needs=("clones", "sources", "takeup", "weights"),
        reads=("areas.csv", "blocks.csv"),
        parameters=("engine", "presets", "records"),
        outputs=("artifacts/files", "artifacts/files.csv"),
        modules=("calibration.publish_local_area", *_ENGINE),
    ),
    _step(
        "diagnostics",
        diagnostics,
        needs=("clones", "sources", "takeup", "targets", "matrix", "weights", "files"),
        reads=("areas.csv", "blocks.csv"),
        parameters=("engine",),
        outputs=("diagnostics",),
        modules=(
            "calibration.checks",
            "calibration.diagnostics",
            "calibration.evaluate",
            "calibration.identity",
            "calibration.publish_local_area",
            *_ENGINE,
        ),
    ),
)
"""The steps in the order in which they are executed."""


def run(
    data: Path,
    out: Path,
    options: RunOptions | None = None,
    *,
    observe: Callable[[Event], None] | None = None,
    tell: Callable[[int, int, str], None] | None = None,
) -> RunState:
    """Run all stages on an input folder.

    Parameters
    ----------
    data : Path
        Input folder, see `calibration.inputs`. It is read and checked before anything is
        written.
    out : Path
        Run folder; a run that stopped in it is continued.
    options : RunOptions, optional
    observe, tell : callable, optional
        Called with each `Event` of a step, and with (done, all, unit) within long ones.

    Returns
    -------
    RunState
        After the last stage.

    Raises
    ------
    CalibrationError
        If an input is not valid, a step fails, or the files are not what was calibrated.
    """
    options = options or RunOptions()
    work = Workspace(out, data, options, tell or (lambda *_: None))
    preflight(work)  # before the first byte is written
    run_steps(STEPS, work, folder=out, data=data, options=asdict(options), observe=observe)
    return work.after(STAGES[-1])
