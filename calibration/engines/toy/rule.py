"""A rule of the law: a small pure function that sees what it declares and nothing else.

    x_v = f_v( x_u : u in needs(v) ),        inputs(v) = union of inputs(u), u in needs(v)

A rule names the variables that it reads, inputs or other outputs. It gets a `View` that
gives it those, the parameters, and its own units; any other read is an error. So the
declared dependencies are the true ones, and the inputs that an output depends on are
computed, never claimed.

Axes: a rule of entity e returns one value for each row of the table of e, shape (e,). The
view gives a variable of another entity on the rows of e where the law needs no choice (a
person has one tax unit, a tax unit one household); from persons to units a rule chooses
itself, with `sum`, `count` or `any`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.engines import Kind
from calibration.engines.toy.parameters import STATES, Parameters, state_index
from calibration.errors import EngineError

__all__ = ["MONTHS", "Compute", "Rule", "Run", "View", "rule", "rules_in"]

MONTHS = 12
"""Months in a year: monthly programs are computed for January and paid twelve times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One output variable and how it is computed.

    Parameters
    ----------
    name, entity, kind, label, unit, source
        As in `calibration.engines.Variable`.
    needs : tuple of str
        Variables that the rule reads directly.
    compute : callable
        The function; its docstring says what the rule leaves out ("Simplified: ...").
    """

    name: str
    entity: str
    kind: Kind
    label: str
    unit: str
    source: str
    needs: tuple[str, ...]
    compute: Compute

    @property
    def note(self) -> str:
        """What the rule decides and what it simplifies."""
        return self.compute.__doc__ or ""


class Run:
    """One simulation: a dataset, the parameters, and the values computed so far.

    Parameters
    ----------
    dataset : Dataset
    parameters : Parameters
    entity_of : callable from str to str
        Entity of a variable.
    steps : sequence of Rule
        What it computes, each after the rules that it reads.
    """

    def __init__(
        self,
        dataset: Dataset,
        parameters: Parameters,
        entity_of: Callable[[str], str],
        steps: Sequence[Rule] = (),
    ) -> None:
        self.dataset = dataset
        self.parameters = parameters
        self.entity_of = entity_of
        self.steps = steps
        self.values: dict[str, Array] = {}
        self._projected: dict[tuple[str, str], Array] = {}
        self._state: dict[str, NDArray[np.int64]] = {}

    def compute(self, step: Rule) -> None:
        """Compute a variable from those that are there."""
        values = step.compute(View(self, step))
        values.flags.writeable = False  # rules share values; none may change another's
        self.values[step.name] = values

    def without(self, variable: str, wanted: str) -> Run:
        """Compute again, up to a wanted variable, what reads another one, as if that were 0."""
        other = Run(self.dataset, self.parameters, self.entity_of, self.steps)
        other.values = self.values | {variable: np.zeros_like(self.values[variable])}
        moved = {variable}
        for step in self.steps:
            if step.name != variable and moved.intersection(step.needs):
                other.compute(step)
                moved.add(step.name)
            if step.name == wanted:
                break
        return other

    def on(self, name: str, entity: str) -> Array:
        """Give a variable on the rows of an entity.

        Raises
        ------
        EngineError
            If that would need a choice, as from persons to their tax unit.
        """
        source = self.entity_of(name)
        if source == entity:
            return self.values[name]
        if (name, entity) not in self._projected:
            self._projected[name, entity] = self._project(name, source, entity)
        return self._projected[name, entity]

    def state(self, entity: str) -> NDArray[np.int64]:
        """Give the position of each row's state on the axis of states.

        Raises
        ------
        EngineError
            If the engine has no rules for a state.
        """
        if entity not in self._state:
            self._state[entity] = state_index(self.on("state_fips", entity))
        return self._state[entity]

    def _project(self, name: str, source: str, entity: str) -> Array:
        if entity == PERSON:
            return self.dataset.to_person(self.values[name], source)
        if source == HOUSEHOLD:
            return self.values[name][self.dataset.household_of(entity)]
        raise EngineError(
            f"{name!r} belongs to the {source}, so a {entity} has no one value of it; "
            "read it with people() and add it up, count it or ask for any"
        )


class View:
    """What one rule sees.

    Parameters
    ----------
    run : Run
    rule : Rule
        The rule that looks; its `needs` are all that it sees.
    """

    def __init__(self, run: Run, rule: Rule) -> None:
        self._run = run
        self._rule = rule

    # -- variables ---------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        self._check(name)
        return self._run.on(name, self._rule.entity)

    def people(self, name: str) -> Array:
        """Give a variable on the rows of the persons, shape (person,)."""
        self._check(name)
        return self._run.on(name, PERSON)

    def without(self, variable: str, wanted: str) -> Array:
        """Give what a variable would be if another one were 0, on the rows of the rule's entity."""
        self._check(variable)
        self._check(wanted)
        return self._run.without(variable, wanted).on(wanted, self._rule.entity)

    def add(self, *names: str) -> NDArray[np.float64]:
        """Add up variables of a person, in the order given, shape (person,)."""
        return self._total([self.people(name) for name in names])

    def add_gains(self, *names: str) -> NDArray[np.float64]:
        """Add up variables of a person, a loss counting as zero, shape (person,)."""
        return self._total([np.maximum(self.people(name), 0) for name in names])

    @staticmethod
    def _total(columns: list[Array]) -> NDArray[np.float64]:
        total = np.zeros(len(columns[0]))
        for column in columns:  # np.sum would add in an order that depends on the length
            total += column
        return total

    def _check(self, name: str) -> None:
        if name not in self._rule.needs:
            raise EngineError(
                f"the rule of {self._rule.name!r} reads {name!r}, which it does not declare; "
                "add it to its needs"
            )

    # -- from persons to units ---------------------------------------------------------

    def sum(self, values: Array) -> NDArray[np.float64]:
        """Add up values of persons within each unit of the rule's entity."""
        return self._run.dataset.sum_to(self._rule.entity, values)

    def count(self, flags: Array) -> NDArray[np.float64]:
        """Count the persons of each unit who have a flag."""
        return self.sum(flags.astype(np.float64))

    def any(self, flags: Array) -> NDArray[np.bool_]:
        """Tell for each unit whether a person in it has a flag."""
        return self._run.dataset.any_in(self._rule.entity, flags)

    def within(self, values: Array, entity: str) -> NDArray[np.float64]:
        """Give every person the sum over their unit of an entity, shape (person,)."""
        dataset = self._run.dataset
        return dataset.to_person(dataset.sum_to(entity, values), entity)

    def size(self) -> NDArray[np.float64]:
        """Count the persons of each unit of the rule's entity."""
        return self.sum(np.ones(self._run.dataset.size(PERSON)))

    def unit_of_person(self, entity: str) -> NDArray[np.int64]:
        """Give each person's unit of an entity as a row number, shape (person,)."""
        return self._run.dataset.unit_of_person(entity)

    def filers(self, values: Array) -> NDArray[np.float64]:
        """Add up values of heads and spouses; needs `is_tax_unit_dependent`."""
        return self.sum(np.where(self.people("is_tax_unit_dependent"), 0, values))

    # -- parameters --------------------------------------------------------------------

    def number(self, name: str) -> float:
        """Give a parameter that is one number."""
        return float(self._run.parameters.array(name))

    def array(self, name: str) -> NDArray[np.float64]:
        """Give a parameter as it is."""
        return self._run.parameters.array(name)

    def labels(self, name: str) -> tuple[str, ...]:
        """Give the labels of the last axis of a parameter."""
        return self._run.parameters.labels(name)

    def by_status(self, name: str) -> NDArray[np.float64]:
        """Give each unit the parameter of its filing status; needs `filing_status`."""
        return self.array(name)[self["filing_status"]]

    def in_state(self, letters: str) -> NDArray[np.bool_]:
        """Tell which units live in a state; needs `state_fips`."""
        return self._states() == STATES.index(letters)

    def by_state(self, name: str) -> NDArray[np.float64]:
        """Give each unit the parameter of its state; needs `state_fips`."""
        return self.array(name)[self._states()]

    def poverty_line(self, name: str) -> NDArray[np.float64]:
        """Give each unit a poverty guideline for its size, USD a year; needs `state_fips`."""
        return self.by_state(name) + (self.size() - 1) * self.by_state(f"{name}_additional")

    def by_state_and_size(self, name: str, size: Array) -> NDArray[np.float64]:
        """Give each unit the parameter of its state and size, sizes counted from 1.

        Units larger than the table have its last number.
        """
        table = self.array(name)
        column = np.minimum(size.astype(np.int64), table.shape[-1]) - 1
        return table[self._states(), np.maximum(column, 0)]

    def by_state_and_step(self, name: str, values: Array) -> NDArray[np.float64]:
        """Give each unit the parameter of its state that begins at or below its value.

        The labels of the last axis say where each number begins; values below the first
        label have the first number.
        """
        starts = np.array([float(label) for label in self.labels(name)])
        step = np.maximum(np.searchsorted(starts, values, side="right") - 1, 0)
        return self.array(name)[self._states(), step]

    def _states(self) -> NDArray[np.int64]:
        self._check("state_fips")
        return self._run.state(self._rule.entity)


Compute = Callable[[View], Array]


def rule(
    *,
    entity: str,
    needs: tuple[str, ...],
    label: str,
    source: str,
    kind: Kind = "float",
    unit: str = "USD/year",
) -> Callable[[Compute], Rule]:
    """Declare a function as the rule of the variable that bears its name.

    Parameters
    ----------
    entity, label, source, kind, unit
        As in `Rule`.
    needs : tuple of str
        Variables that the function reads directly.

    Returns
    -------
    callable
        Turns the function into a `Rule`; leading underscores of its name are dropped.
    """

    def declare(compute: Compute) -> Rule:
        return Rule(
            name=compute.__name__.lstrip("_"),
            entity=entity,
            kind=kind,
            label=label,
            unit=unit,
            source=source,
            needs=needs,
            compute=compute,
        )

    return declare


def rules_in(namespace: Mapping[str, object]) -> tuple[Rule, ...]:
    """List the rules of a module, in the order in which they stand there."""
    return tuple(value for value in namespace.values() if isinstance(value, Rule))
