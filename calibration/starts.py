"""Where a run starts from, and what that changes.

    survey     a folder with a survey, donors and census blocks; clones get blocks
    records    the records that an engine brings, each in the state it was sampled in

Engines differ in this alone. `Start` says it as data: which stages there are, the year, which
options have no meaning, and how the inputs are read. Whatever works with a run asks the start
of its engine; nothing asks for an engine by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from calibration.engines import Engine
from calibration.inputs import Inputs, read_engine_inputs, read_inputs

__all__ = ["RECORDS", "SURVEY", "Start", "start_of"]

Read = Callable[[Path, int, Engine, tuple[str, ...]], Inputs]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """What depends on where a run starts from.

    Parameters
    ----------
    name : str
    stages : mapping of str to str
        The stages in the order in which they are executed, and what each does.
    households : mapping of str to str
        Stages that leave the households as they are from then on, with the artifact.
    traced : tuple of str
        Artifacts whose hashes go into the configuration that a run records.
    period : int
        Year of a run that names none.
    meaningless : tuple of str
        Options that would have no effect.
    read : callable
        Reads the inputs, given the input folder, the year, the engine and the states.
    """

    name: str
    stages: Mapping[str, str]
    households: Mapping[str, str]
    traced: tuple[str, ...]
    period: int
    meaningless: tuple[str, ...]
    read: Read


SURVEY = Start(
    name="survey",
    stages={
        "base": "read the survey",
        "puf": "clone households, draw tax variables",
        "clones": "give every clone a census block",
        "sources": "draw rent, assets and wages",
        "takeup": "resolve takeup thresholds",
        "targets": "bring targets to one year",
        "matrix": "simulate every clone",
        "weights": "choose columns and weights",
        "files": "write a file for each area",
        "diagnostics": "read the files again and compare",
    },
    households={"base": "base.npz", "puf": "records.npz", "sources": "sources.npz"},
    traced=("geography.npz", "matrix/matrix.npz", "sources.npz", "takeup.csv", "weights.npz"),
    period=2024,
    meaningless=("states",),
    read=lambda folder, period, engine, _: read_inputs(folder, period, engine),
)

RECORDS = Start(
    name="records",
    stages={
        "base": "read the records",
        "clones": "leave every record in its state",
        "targets": "read published totals",
        "matrix": "simulate every record",
        "weights": "choose columns and weights",
        "files": "write a file for each area",
        "diagnostics": "read the files again and compare",
    },
    households={"base": "base.npz"},
    traced=("base.npz", "geography.npz", "matrix/matrix.npz", "weights.npz"),
    period=2022,
    meaningless=("data", "households", "clones", "trees"),
    read=lambda _, period, engine, states: read_engine_inputs(period, engine, states),
)

_STARTS = {"taxcalc": RECORDS}
"""Engines that do not start from a survey."""


def start_of(engine: str) -> Start:
    """Give the start of an engine's runs, by the engine's name."""
    return _STARTS.get(engine, SURVEY)
