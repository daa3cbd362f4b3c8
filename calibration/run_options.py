"""The choices of a run, and the workbench that its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from calibration.artifacts import RunState
from calibration.engines import Engine, load_engine
from calibration.errors import PipelineError
from calibration.geography import Area, Level
from calibration.inputs import Inputs, read_inputs
from calibration.qrf import ForestOptions
from calibration.select import PRESETS

__all__ = ["RunOptions", "Workspace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Choices of a run, checked when made.

    Parameters
    ----------
    seed : int
        The one seed of everything that is drawn, 0 to 2**64 - 1.
    engine : str
        Name of the tax-benefit engine.
    period : int
        Year of the survey, the rules and the targets as used.
    households : int
        Source households that the stratified sample keeps; R is twice that.
    clones : int
        N, copies of each record.
    presets : tuple of str
        Which weight vectors to fit, names of `calibration.select.PRESETS`.
    records : int or None
        Columns to retain, in place of presets.
    trees : int
        Trees of each forest.

    Raises
    ------
    PipelineError
        Naming the option and the value.
    """

    seed: int = 0
    engine: str = "toy"
    period: int = 2024
    households: int = 50
    clones: int = 3
    presets: tuple[str, ...] = ("local", "national")
    records: int | None = None
    trees: int = 20

    def __post_init__(self) -> None:
        records = () if self.records is None else ("records",)
        for name in ("seed", "period", "households", "clones", "trees", *records):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int):
                raise PipelineError(f"{name} is {value!r}; give a whole number")
        for name in ("households", "clones", "trees"):
            if getattr(self, name) < 1:
                raise PipelineError(f"{name} is {getattr(self, name)}; give at least 1")
        if not 0 <= self.seed < 2**64:
            raise PipelineError(f"seed is {self.seed}; give 0 to 2**64 - 1")
        if self.records is not None and not 1 <= self.records <= self.columns:
            raise PipelineError(f"records is {self.records}; give 1 to C = {self.columns}")
        if isinstance(self.presets, str):
            raise PipelineError(f"presets is {self.presets!r}; give a tuple of names")
        if unknown := [p for p in self.presets if p not in PRESETS]:
            raise PipelineError(f"no preset {unknown[0]!r}; there are {', '.join(PRESETS)}")
        if not self.presets and self.records is None:
            raise PipelineError("give a preset or a number of records")

    @property
    def columns(self) -> int:
        """C = N * R."""
        return self.clones * self.households * 2

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the weight vectors of the run."""
        return self.presets if self.records is None else ("records",)

    def vector_of(self, area: Area) -> str:
        """Say which vector makes the file of an area."""
        wanted = "national" if area.level is Level.NATION else "local"
        return wanted if wanted in self.vectors else self.vectors[0]

    @property
    def forest(self) -> ForestOptions:
        """Options of every forest."""
        return ForestOptions(trees=self.trees)


@dataclass(frozen=True)
class Workspace:
    """What an action works with.

    Parameters
    ----------
    folder, data : Path
        Run folder and input folder.
    options : RunOptions
    tell : callable
        Called with (done, all, unit) while a long step works.
    """

    folder: Path
    data: Path
    options: RunOptions
    tell: Callable[[int, int, str], None] = field(default=lambda *_: None)

    @property
    def artifacts(self) -> Path:
        """Where outputs go."""
        return self.folder / "artifacts"

    @cached_property
    def engine(self) -> Engine:
        """The engine of the run."""
        return load_engine(self.options.engine)

    @cached_property
    def inputs(self) -> Inputs:
        """The content of the input folder."""
        return read_inputs(self.data, self.options.period, self.engine)

    def after(self, stage: str) -> RunState:
        """Read the run as an earlier stage left it."""
        options = self.options
        return RunState(self.folder, stage, self.data, options.engine, options.period)
