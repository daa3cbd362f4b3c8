"""What a target counts in a household: the semantics of constraints, in one place.

Constraints speak of people: a value of a group is that of each of its members, and all
constraints of a target must hold for the *same* person. The people for whom they hold are
m_p. What a household adds to the target is then

    person_count         the number of its people with m_p
    {e}_count            the number of its units e with at least one member with m_p
    amount of entity e   the sum of value_e over its units e with at least one such member

So a filer-only total takes the dollars of filing tax units and not those of another unit
in the same household, while a household amount is taken whole if anybody qualifies.

That is the one rule there is, "any member". Two other readings that a published figure may
have cannot be asked for. *All members*: homes where everybody is under 65; here "age<65"
takes every home with one such person. *Native entity*: the condition is on the counted
unit itself; here a condition on another kind of unit reaches it through any one of its
people, an SPM unit through the tax unit of one member. Write such a target so that this
rule fits it, or leave it out.

Axes: people p and units e of a materialised dataset; the result has one number a
household, shape (household,), float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.engines import Engine, require
from calibration.errors import TargetError
from calibration.targets import COUNT_SUFFIX, Constraint, Signature

__all__ = [
    "counted_entity",
    "engine_outputs",
    "household_values",
    "qualifying_persons",
]

Values = Mapping[str, Array]


def counted_entity(variable: str, dataset: Dataset) -> str | None:
    """Give the entity that a count variable counts, or None if it is an amount.

    Raises
    ------
    TargetError
        If the dataset does not have that entity.
    """
    if not variable.endswith(COUNT_SUFFIX):
        return None
    entity = variable.removesuffix(COUNT_SUFFIX)
    if entity not in dataset.tables:
        raise TargetError(f"{variable} counts {entity!r}; there are {', '.join(dataset.tables)}")
    return entity


def engine_outputs(signatures: Iterable[Signature], engine: Engine) -> list[str]:
    """List the engine outputs that some signatures need, sorted.

    Raises
    ------
    EngineError
        If a variable is neither an output nor an input of the engine.
    """
    names = set()
    for variable, constraints in signatures:
        names |= {c.variable for c in constraints}
        if not variable.endswith(COUNT_SUFFIX):
            names.add(variable)
    return sorted(name for name in names if require(engine, name).name in engine.outputs)


def qualifying_persons(
    dataset: Dataset, values: Values, constraints: Iterable[Constraint], engine: Engine
) -> NDArray[np.bool_]:
    """Tell for whom all constraints hold, shape (person,).

    Parameters
    ----------
    dataset : Dataset
    values : mapping of str to ndarray
        Simulated outputs by name, each of its own entity's shape.
    constraints : iterable of Constraint
    engine : Engine
        Says which entity a simulated variable belongs to.
    """
    mask = np.ones(dataset.size(PERSON), dtype=bool)
    for constraint in constraints:
        column, entity = _column(dataset, values, constraint.variable, engine)
        mask &= constraint.holds(dataset.to_person(column, entity))
    return mask


def household_values(
    dataset: Dataset, values: Values, signature: Signature, engine: Engine
) -> NDArray[np.float64]:
    """Work out what each household adds to a target, before weighting.

    Parameters
    ----------
    dataset : Dataset
    values : mapping of str to ndarray
        Simulated outputs, see `engine_outputs`.
    signature : tuple
        Variable and constraints.
    engine : Engine

    Returns
    -------
    ndarray of float64, shape (household,)
        Persons, units, or USD per year.

    Raises
    ------
    TargetError
        If the variable is text, or a constraint does not fit its variable.
    """
    variable, constraints = signature
    mask = qualifying_persons(dataset, values, constraints, engine)
    entity = counted_entity(variable, dataset)
    if entity is None:
        amount, entity = _column(dataset, values, variable, engine)
        if amount.dtype.kind == "U":
            raise TargetError(f"{variable} is text; only numbers add up to a target")
        amount = np.asarray(amount, dtype=np.float64)
    else:
        amount = np.ones(dataset.size(entity))
    taken = mask if entity == PERSON else dataset.any_in(entity, mask)
    total = np.zeros(dataset.size(HOUSEHOLD))
    np.add.at(total, dataset.household_of(entity)[taken], amount[taken])
    return total


def _column(dataset: Dataset, values: Values, name: str, engine: Engine) -> tuple[Array, str]:
    if name in values:
        return values[name], engine.outputs[name].entity
    return dataset[name], dataset.entity_of(name)
