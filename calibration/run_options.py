"""The choices of a run, and the workbench that its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from calibration.artifacts import RunState
from calibration.engines import Engine, load_engine
from calibration.errors import PipelineError, TargetError
from calibration.geography import STATE_LETTERS, Area, Level
from calibration.inputs import Inputs
from calibration.qrf import ForestOptions
from calibration.select import PRESETS
from calibration.selection import Selection, parse_selection
from calibration.starts import SURVEY, Start, start_of

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
        Year of the households, the rules and the targets as used; 0, the default, stands for
        the year that goes with the engine, 2024 for a survey and 2022 for records of its own.
    households : int
        Source households that the stratified sample keeps; R is twice that.
    clones : int
        N, copies of each record.
    states : tuple of str
        Postal letters of the states to which a run is confined; empty for all of them.
    presets : tuple of str
        Which weight vectors to fit, names of `calibration.select.PRESETS`.
    records : int or None
        Columns to retain, in place of presets.
    trees : int
        Trees of each forest.
    select : str
        Which of the published totals to use: YAML as `calibration.selection` reads it; empty
        for all of them.

    Raises
    ------
    PipelineError
        Naming the option and the value: also of one that has no meaning with the engine.
    """

    seed: int = 0
    engine: str = "toy"
    period: int = 0
    households: int = 50
    clones: int = 3
    states: tuple[str, ...] = ()
    presets: tuple[str, ...] = ("local", "national")
    records: int | None = None
    trees: int = 20
    select: str = ""

    def __post_init__(self) -> None:
        self._check_meaning()
        self._check_numbers()
        self._check_selection()
        if self.period == 0:
            object.__setattr__(self, "period", self.start.period)
        if isinstance(self.presets, str):
            raise PipelineError(f"presets is {self.presets!r}; give a tuple of names")
        if unknown := [p for p in self.presets if p not in PRESETS]:
            raise PipelineError(f"no preset {unknown[0]!r}; there are {', '.join(PRESETS)}")
        if not self.presets and self.records is None:
            raise PipelineError("give a preset or a number of records")

    def _check_numbers(self) -> None:
        counts = ("households", "clones", "trees")
        counts += () if self.records is None else ("records",)
        for name in ("seed", "period", *counts):
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, int):
                raise PipelineError(f"{name} is {value!r}; give a whole number")
        for name in counts:
            if getattr(self, name) < 1:
                raise PipelineError(f"{name} is {getattr(self, name)}; give {self._allowed(name)}")
        if not 0 <= self.seed < 2**64:
            raise PipelineError(f"seed is {self.seed}; give 0 to 2**64 - 1")
        if self.records is not None and self.records > (self.columns or self.records):
            raise PipelineError(f"records is {self.records}; give {self._allowed('records')}")

    def _check_selection(self) -> None:
        try:
            self.selection  # noqa: B018  (parsed to be checked)
        except TargetError as error:
            raise PipelineError(f"select: {error}") from error

    @property
    def selection(self) -> Selection:
        """Which of the published totals to use."""
        return parse_selection(self.select) if self.select else Selection()

    def _allowed(self, name: str) -> str:
        bounded = name == "records" and self.columns is not None
        return f"1 to C = {self.columns}" if bounded else "at least 1"

    def _check_meaning(self) -> None:
        if isinstance(self.states, str):
            raise PipelineError(f"states is {self.states!r}; give a tuple of postal letters")
        known = set(STATE_LETTERS.values())
        for letters in self.states:
            if letters not in known:
                raise PipelineError(f"states has {letters!r}, which is no state's letters")
        usual = {field.name: field.default for field in fields(self)}
        for name in self.start.meaningless:
            if name in usual and getattr(self, name) != usual[name]:
                raise PipelineError(f"{name} has no meaning with the {self.engine} engine")

    @property
    def start(self) -> Start:
        """Where the run starts from."""
        return start_of(self.engine)

    @property
    def columns(self) -> int | None:
        """C = N * R; None where it depends on the records that an engine brings."""
        return self.clones * self.households * 2 if self.start is SURVEY else None

    @property
    def size(self) -> str:
        """What the run works on, in words."""
        if self.columns is not None:
            return f"{2 * self.households} records x {self.clones} clones = {self.columns} columns"
        states = f" in {', '.join(self.states)}" if self.states else ""
        return f"its records of {self.period}{states}, each in its own state"

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
    workers : int
        Processes that simulate chunks of the matrix. Any number gives the same bits.
    """

    folder: Path
    data: Path
    options: RunOptions
    tell: Callable[[int, int, str], None] = field(default=lambda *_: None)
    workers: int = 1

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
        """What the run starts from."""
        options = self.options
        return options.start.read(self.data, options.period, self.engine, options.states)

    def after(self, stage: str) -> RunState:
        """Read the run as an earlier stage left it."""
        options = self.options
        return RunState(
            self.folder,
            stage,
            self.data,
            options.engine,
            options.period,
            options.seed,
            options.states,
            given=self.__dict__.get("inputs"),  # what the run works with, if it was read
        )
