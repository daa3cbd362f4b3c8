"""What the model is given: every column known, of its kind, in its table, in its place.

The model itself says nothing when a name is misspelled, when a column stops a formula, when
a county is not in its table or lies in another state, or when text stands where a level
should. Each is an error here, before a simulation is made.

Axes: columns of a native dataset, shape (entity,).

Source: what happens otherwise was observed with policyengine-us 2.68.0 and is reproduced in
the tests of this engine.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import HOUSEHOLD, Array, Dataset
from calibration.engines import Variable
from calibration.engines.policyengine.model import counties, levels, system
from calibration.engines.policyengine.translation import (
    LEFT_OUT,
    RENAMED,
    REWRITTEN,
    is_kept,
)
from calibration.engines.policyengine.variables import inputs
from calibration.errors import EngineError, near

__all__ = ["ENTITIES", "checked"]

ENTITIES = ("person", "household", "tax_unit", "spm_unit", "family", "marital_unit")
"""Entities that every dataset of the model has."""

_KINDS = {"float": "if", "int": "i", "bool": "b", "str": "U"}
_WORDS = {"float": "numbers", "int": "whole numbers", "bool": "true or false", "str": "text"}


def checked(dataset: Dataset) -> dict[str, Array]:
    """Give the arrays that the model is to have.

    Parameters
    ----------
    dataset : Dataset
        Native, see `translation.native`.

    Returns
    -------
    dict of str to ndarray
        Ids, memberships and inputs by name.

    Raises
    ------
    EngineError
        Naming the entity, the column and what is wrong with it.
    DatasetError
        If somebody belongs to a unit that is not there.
    """
    if missing := [entity for entity in ENTITIES if entity not in dataset.tables]:
        raise EngineError(f"the dataset has no {missing[0]} table; the model needs {ENTITIES}")
    for group in dataset.groups:
        dataset.unit_of_person(group)  # everybody's unit must be there
    arrays = {}
    for entity, table in dataset.tables.items():
        for name in table:
            if name in _ids(entity):
                arrays[name] = table[name]
            elif not is_kept(name):
                arrays[name] = _checked_column(table[name], entity, _known(name))
    _check_places(arrays)
    return arrays


def _ids(entity: str) -> tuple[str, ...]:
    if entity != "person":
        return (f"{entity}_id",)
    return ("person_id", *(f"person_{group}_id" for group in ENTITIES[1:]))


def _known(name: str) -> Variable:
    """Look up a column among the model's inputs."""
    if name in inputs():
        return inputs()[name]
    if name in system().variables:
        raise EngineError(
            f"the dataset has {name!r}, which the model computes: it would stop computing it "
            "and take the column. Leave it out"
        )
    known = {*inputs(), *RENAMED, *REWRITTEN, *LEFT_OUT}
    raise EngineError(
        f"the model has no variable {name!r}{near(name, sorted(known))}; it would ignore the "
        "column. Rename it or leave it out"
    )


def _checked_column(column: Array, entity: str, variable: Variable) -> Array:
    name, kind = variable.name, variable.kind
    if variable.entity != entity:
        raise EngineError(f"input {name!r} belongs to the {variable.entity}, not to the {entity}")
    if column.ndim != 1:
        raise EngineError(f"input {name!r} has one value for each state; materialise it first")
    if column.dtype.kind not in _KINDS[kind]:
        raise EngineError(
            f"input {name!r} must be {_WORDS[kind]}, not {column.dtype} "
            f"(first value {column[:1].tolist()})"
        )
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        bad = np.flatnonzero(~np.isfinite(column))
        raise EngineError(f"input {name!r} is {column[bad[0]]} in row {bad[0]} of the {entity}")
    if kind == "str" and (known := levels(name)):
        for level in np.unique(column).tolist():
            if level not in known:
                raise EngineError(f"input {name!r} has no level {level!r}{near(level, known)}")
    return column


def _check_places(arrays: dict[str, Array]) -> None:
    """Hold county against state: the model would take the first county of the state."""
    if "county_fips" not in arrays:
        return
    county = arrays["county_fips"]
    if "state_fips" not in arrays:
        raise EngineError("the dataset has county_fips but not state_fips; the model needs both")
    where = f"at {HOUSEHOLD}_id"
    for code in np.unique(county).tolist():
        if code not in counties():
            who = arrays["household_id"][county == code][0]
            raise EngineError(
                f"county {code!r} {where} {who} is not in the model's table of counties of 2020; "
                "it would take the first county of the state. Recode it"
            )
    state = county.astype("U2").astype(np.int64)
    if len(astray := np.flatnonzero(state != arrays["state_fips"])):
        i = astray[0]
        raise EngineError(
            f"county {county[i]} {where} {arrays['household_id'][i]} is not in state "
            f"{arrays['state_fips'][i]:02d}"
        )
