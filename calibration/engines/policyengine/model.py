"""The installed model: its system of variables, its counties, and one run of it.

Nothing else in this package imports policyengine_us. The import takes half a minute and
820 MB, so it happens at the first question, once in a process.

    run(arrays, names, period)    a fresh Microsimulation of arrays in memory

The simulation is made from a stand-in for the model's dataset class, so nothing is written
to disk and nothing is fetched. A tax expenditure is what a deduction saves: income tax with
the deduction at its default, 0, less income tax. Putting the default in its place is what
`neutralize_variable` does, without the minute and the 800 MB that a reform of the system
takes.

Axes: arrays and values have one entry for each row of their entity.

Source: policyengine-core 3.33.12, simulations/simulation.py and data/dataset.py; expenditures:
PolicyEngine/policyengine-us-data e01a0384, calibration/unified_matrix_builder.py.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from calibration.dataset import Array
from calibration.engines import Kind
from calibration.engines.policyengine.dependencies import Graph, reach, read_graph
from calibration.engines.policyengine.translation import REQUIRED, ROLES, UNDRAWN
from calibration.errors import EngineError

__all__ = [
    "EXPENDITURE",
    "counties",
    "depends_on_weights",
    "first_year",
    "graph",
    "kind_of",
    "levels",
    "run",
    "system",
]

EXPENDITURE = "_tax_expenditure"
"""Suffix of the outputs that say what a deduction saves."""

_OFF_SWITCH = "household_health_benefits"  # 0 unless a parameter counts them as income


@cache
def system() -> Any:
    """Give the model's tax-benefit system of current law."""
    from policyengine_us.system import system as installed  # pyright: ignore[reportMissingImports]

    return installed


@cache
def first_year() -> int:
    """Give the first year that the model has rules for."""
    from policyengine_us.tools.parameters import FIRST_MODELED_YEAR  # pyright: ignore[reportMissingImports]

    return int(FIRST_MODELED_YEAR)


@cache
def graph() -> Graph:
    """Give what each variable can read."""
    return read_graph(system(), given=ROLES)


@cache
def depends_on_weights() -> frozenset[str]:
    """Find the variables whose value is defined by the weights of a file."""
    edges = dict(graph())
    if not system().parameters("2024-01-01").gov.simulation.include_health_benefits_in_net_income:
        edges[_OFF_SWITCH] = frozenset()
    readers: dict[str, set[str]] = {}
    for reader, read in edges.items():
        for name in read:
            readers.setdefault(name, set()).add(reader)
    return frozenset(reach(readers, ["household_weight"]))


@cache
def counties() -> frozenset[str]:
    """Give the counties that the model has a name for, of the vintage of 2020."""
    from policyengine_us.tools.geography.county_helpers import load_county_fips_dataset  # pyright: ignore[reportMissingImports]

    return frozenset(load_county_fips_dataset()["county_fips"].tolist())


def kind_of(variable: Any) -> Kind | None:
    """Give the kind of a model variable; None if it is a date."""
    kinds: dict[str, Kind] = {"float": "float", "int": "int", "bool": "bool"}
    kinds |= {"str": "str", "Enum": "str"}
    return kinds.get(variable.value_type.__name__)


def levels(name: str) -> tuple[str, ...]:
    """List the values that a variable can take, if they are listed; else nothing."""
    values = getattr(system().variables[name], "possible_values", None)
    return () if values is None else tuple(values._member_names_)


class _Arrays:
    """What the model takes for a dataset: arrays of one year, in memory."""

    data_format = "arrays"
    name = label = "calibration"
    file_path = None

    def __init__(self, arrays: Mapping[str, Array], period: int) -> None:
        self._arrays = dict(arrays)
        self.time_period = period

    def load(self) -> dict[str, Array]:
        return self._arrays


def run(arrays: Mapping[str, Array], names: Sequence[str], period: int) -> dict[str, Array]:
    """Simulate once, and once more for each tax expenditure.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Ids, memberships and inputs, by the model's names.
    names : sequence of str
        Outputs.
    period : int

    Returns
    -------
    dict of str to ndarray
        float64, int64, bool or text.

    Raises
    ------
    EngineError
        If the model read a required input that the arrays lack.
    """
    simulation = _simulation(arrays, period)
    values: dict[str, Array] = {}
    for name in names:
        if name.endswith(EXPENDITURE):
            deduction = name.removesuffix(EXPENDITURE)
            values[name] = _without(arrays, deduction, period) - _value(
                simulation, "income_tax", period
            )
        else:
            values[name] = _value(simulation, name, period)
    _check_reads(simulation, arrays)
    del simulation
    gc.collect()  # a simulation and its holders refer to each other
    return values


def _simulation(arrays: Mapping[str, Array], period: int) -> Any:
    from policyengine_us import Microsimulation  # pyright: ignore[reportMissingImports]

    return Microsimulation(dataset=_Arrays(arrays, period), start_instant=f"{period}-01-01")


def _value(simulation: Any, name: str, period: int) -> Array:
    try:
        with np.errstate(divide="ignore", invalid="ignore"):  # it divides first, then chooses
            values = np.asarray(simulation.calculate(name, period, use_weights=False))
    except Exception as error:  # whatever a formula raises, it is this output that has no value
        raise EngineError(
            f"policyengine-us cannot compute {name!r} for these households: "
            f"{type(error).__name__}: {error}"
        ) from error
    types = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}
    return values.astype(types.get(values.dtype.kind, np.str_))


def _without(arrays: Mapping[str, Array], deduction: str, period: int) -> Array:
    """Give income tax as if a deduction did not exist."""
    variable = system().variables[deduction]
    units = len(arrays[f"{variable.entity.key}_id"])
    none = {deduction: variable.default_array(units)}
    simulation = _simulation({**arrays, **none}, period)
    values = _value(simulation, "income_tax", period)
    _check_reads(simulation, arrays)
    return values


def _check_reads(simulation: Any, arrays: Mapping[str, Array]) -> None:
    """Refuse values that rest on a fact that the model made up.

    Looks at the simulation itself, not at branches that a formula opens within it.
    """
    for name in (*REQUIRED, *UNDRAWN):
        if name not in arrays and simulation.get_holder(name).get_known_periods():
            raise EngineError(
                f"the dataset lacks input {name!r}, which the model read on the way; it would "
                "take one of its own for everybody"
            )
