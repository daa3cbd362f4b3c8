"""What a target counts in a household: the semantics of constraints, in one place.

Constraints speak of people: a value of a group is that of each of its members, and all
constraints of a target must hold for the *same* person. The people for whom they hold are
m_p. What a household adds to the target is then

    person_count         the number of its people with m_p
    {e}_count            the number of its units e with at least one member with m_p
    amount of entity e   the sum of value_e over its units e with at least one such member

So a filer-only total takes the dollars of filing tax units and not those of another unit
in the same household, while a household amount is taken whole if anybody qualifies.

That is the rule of a plain constraint, "any member": "age<65" takes every home with one such
person. A variable of the counted unit itself has one value for all members, so for it the
rule is the condition on the unit, its *native entity*. What else a published figure may mean
is written out, for any kind of unit, and is again a condition on a person:

    all(household.age)<65                   everybody in the person's household is under 65
    any(household.age)>=65                  somebody in it is 65 or over
    all(spm_unit.tax_unit_is_filer)==1      all of the person's SPM unit are in filing tax units

so that homes of two generations are "any(household.age)>=65, any(household.age)<18", which no
condition on one person can say.

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
        names |= {c.reads for c in constraints}
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

    Raises
    ------
    TargetError
        If a constraint does not fit its variable, or is over a unit that there is not.
    """
    mask = np.ones(dataset.size(PERSON), dtype=bool)
    for constraint in constraints:
        column, entity = _column(dataset, values, constraint.reads, engine)
        held = constraint.holds(dataset.to_person(column, entity))
        mask &= held if constraint.over is None else _over_unit(dataset, held, constraint)
    return mask


def _over_unit(
    dataset: Dataset, held: NDArray[np.bool_], constraint: Constraint
) -> NDArray[np.bool_]:
    """Tell for each person whether a condition holds for all or any of a unit, (person,)."""
    quantifier, entity = constraint.over or ("", "")
    if entity not in dataset.tables or entity == PERSON:
        groups = ", ".join(name for name in dataset.tables if name != PERSON)
        raise TargetError(f"constraint {constraint} is over {entity!r}; there are {groups}")
    if quantifier == "any":
        return dataset.to_person(dataset.any_in(entity, held), entity)
    return ~dataset.to_person(dataset.any_in(entity, ~held), entity)


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
