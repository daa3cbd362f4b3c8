"""The toy country, ready at any stage.

    toy.after("matrix").matrix.X          the calibration matrix of the toy run
    toy.after("sources").person["rent"]   a column of the records

`after` reads stored states: what a run with seed 0 left behind, made by the generator in
`calibration.toy_data` and recomputed by a test. Inputs and states are found inside the
installed package or beside it in a checkout, through `importlib.resources`.

`HOUSEHOLD` is one household of the base survey. It is followed through every chapter: two
records, six columns.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from calibration.artifacts import STAGES, RunState
from calibration.errors import PipelineError

__all__ = ["HOUSEHOLD", "STAGES", "after", "folder"]

HOUSEHOLD = 42
"""The `source_household_id` that all chapters follow."""


def folder() -> Path:
    """Give the folder of the toy country's files.

    Raises
    ------
    PipelineError
        If the package is imported from inside an archive.
    """
    found = files("calibration.toy_data")
    if not isinstance(found, Path):
        raise PipelineError("the toy data need an unpacked installation of the package")
    return found


@cache
def after(stage: str) -> RunState:
    """Read the toy run as it is after a stage.

    Parameters
    ----------
    stage : str
        One of `STAGES`.

    Returns
    -------
    RunState
        The same object at every call; its arrays are not to be written to. The files of
        areas and the target database are not stored: `build_h5` and `TargetDatabase.write`
        make them again in a moment.

    Raises
    ------
    PipelineError
        If there is no such stage.
    """
    return RunState(folder() / "states", stage, folder())
