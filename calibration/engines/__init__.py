"""What calibration asks of a tax-benefit engine, and how engines are found.

An engine knows variables and their rules. Calibration asks it three things: which
inputs and outputs it has, which inputs each output depends on, and the values of some
outputs for a dataset. An engine keeps no state between calls, draws no random numbers
and never looks at weights, so the value of a unit depends on that unit's inputs alone:
it is the same in a matrix chunk, in a district file and in the national file.

Values have the axes of the variable's own entity, (entity,), as float64, int64, bool or
text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol, runtime_checkable

from calibration.dataset import Array, Dataset
from calibration.errors import EngineError, near

__all__ = [
    "Engine",
    "Heavy",
    "Kind",
    "Translates",
    "Variable",
    "load_engine",
    "native",
    "refused",
    "require",
]

Kind = Literal["float", "int", "bool", "str"]

_ENGINES = {
    "policyengine": "calibration.engines.policyengine",
    "taxcalc": "calibration.engines.taxcalc",
    "toy": "calibration.engines.toy",
}
_NEEDS = {"policyengine": "policyengine_us", "taxcalc": "taxcalc"}
"""Libraries that come with the extra of the same name as the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One quantity that an engine reads or computes.

    Parameters
    ----------
    name, entity : str
        Column name and the entity whose table holds it.
    kind : {"float", "int", "bool", "str"}
        Type of the values.
    label, unit, source : str
        What it is, what it counts in ("USD/year", "persons", ""), and where its rule stands.
    inputs : frozenset of str
        For an output, every input it depends on, directly or through other outputs; empty
        for an input.
    optional : bool
        For an input: whether the engine has a documented value of its own for a dataset
        without the column. One that is not optional must be there for every output that
        reads it.
    """

    name: str
    entity: str
    kind: Kind
    label: str
    unit: str = ""
    source: str = ""
    inputs: frozenset[str] = frozenset()
    optional: bool = False


@runtime_checkable
class Engine(Protocol):
    """A tax-benefit model as calibration sees it."""

    @property
    def name(self) -> str:
        """Short name, as in `calibration run --engine`."""
        ...

    @property
    def version(self) -> str:
        """Version of the rules; stored in every artifact."""
        ...

    @property
    def inputs(self) -> Mapping[str, Variable]:
        """Columns that a dataset can give, by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, Variable]:
        """Variables that the engine computes, by name."""
        ...

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> dict[str, Array]:
        """Compute outputs for every unit of a dataset.

        Parameters
        ----------
        dataset : Dataset
            Must hold every input that the variables depend on.
        variables : iterable of str
            Names of outputs.
        period : int
            Year of the rules; the dataset's own period.

        Returns
        -------
        dict of str to ndarray
            Values by name, each of shape (entity of the variable,).

        Raises
        ------
        EngineError
            If a variable is unknown, an input is missing, or the period has no rules.
        """
        ...


@runtime_checkable
class Translates(Protocol):
    """An engine whose own columns and outputs are not those of this package.

    Such an engine simulates datasets in either form. Files are written in its own, so that
    the library under it can open them without this package.
    """

    @property
    def refused(self) -> Mapping[str, str]:
        """What the library computes and no target may use, with why, and what to use."""
        ...

    def native(self, dataset: Dataset) -> Dataset:
        """Put a dataset into the engine's own columns; one that is stays as it is."""
        ...


@runtime_checkable
class Heavy(Protocol):
    """An engine that takes long to start, and seconds for a chunk of the matrix."""

    def warm(self) -> None:
        """Start it: whoever works for others does so once, before the first chunk."""
        ...


def native(engine: Engine, dataset: Dataset) -> Dataset:
    """Put a dataset into the columns of an engine.

    Raises
    ------
    EngineError
        If the engine cannot translate a column.
    """
    return engine.native(dataset) if isinstance(engine, Translates) else dataset


def refused(engine: Engine) -> Mapping[str, str]:
    """Give the variables that an engine refuses to compute, with why."""
    return engine.refused if isinstance(engine, Translates) else {}


def load_engine(name: str, version: str | None = None) -> Engine:
    """Find an engine by name.

    Parameters
    ----------
    name : str
    version : str, optional
        What its `version` must be. A process that simulates for another one gives it, so
        that both have the same rules.

    Raises
    ------
    EngineError
        If there is no such engine, the library it stands on is not installed, or its
        version is another.
    """
    if name not in _ENGINES:
        raise EngineError(f"no engine {name!r}; there are: {', '.join(sorted(_ENGINES))}")
    if name in _NEEDS and find_spec(_NEEDS[name]) is None:
        raise EngineError(
            f"the {name} engine needs {_NEEDS[name]}, which is not installed; "
            f"pip install 'calibration-internals[{name}]'"
        )
    engine: Engine = import_module(_ENGINES[name]).ENGINE
    if version not in {None, engine.version}:
        raise EngineError(
            f"the {name} engine found here has version {engine.version}, not {version}; a process "
            "that simulates for another one must find the same engine by its name"
        )
    return engine


def require(engine: Engine, name: str) -> Variable:
    """Look up an output or an input of an engine.

    Raises
    ------
    EngineError
        If the engine has neither; near matches are named, and why it refuses one.
    """
    for known in (engine.outputs, engine.inputs):
        if name in known:
            return known[name]
    if (why := refused(engine).get(name)) is not None:
        raise EngineError(f"{name!r} is refused: {why}")
    hint = near(name, [*engine.outputs, *engine.inputs])
    raise EngineError(f"the {engine.name} engine has no variable {name!r}{hint}")
