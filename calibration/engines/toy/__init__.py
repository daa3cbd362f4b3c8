"""The toy engine: a small tax and benefit system of the United States, in numpy.

It answers in milliseconds what a full model answers in minutes, and has the structure that
calibration must cope with: outputs that depend on the state, on the county and on the ZIP
code, on takeup flags of three entities, and on each other (SNAP counts SSI and TANF, Medicaid
bars the premium tax credit, refundable credits decide who files).

    inputs -> income -> deductions -> tax, tax_credits, local_tax -> expenditures
    inputs -> ssi -> benefits, snap, medicaid -> marketplace

Rules are declared one variable at a time; numbers come from `parameters.csv`, each with its
source. The law is that of 2024, in Alaska, California, the District of Columbia, North
Carolina and Utah. What a rule leaves out stands in its docstring, after "Simplified".

Axes: an output has the rows of its entity's table, shape (entity,). Amounts are computed in
float64, whatever the dataset stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from calibration.dataset import Array, Dataset
from calibration.engines import Variable
from calibration.engines.toy import (
    benefits,
    deductions,
    expenditures,
    income,
    local_tax,
    marketplace,
    medicaid,
    snap,
    ssi,
    tax,
    tax_credits,
)
from calibration.engines.toy.inputs import INPUTS
from calibration.engines.toy.parameters import Parameters
from calibration.engines.toy.rule import Rule, Run
from calibration.errors import EngineError, near

__all__ = ["ENGINE", "ToyEngine"]

_PERIOD = 2024
_KINDS = {"float": "if", "int": "i", "bool": "b", "str": "U"}
_TYPES = {"float": np.float64, "int": np.int64, "bool": np.bool_}
_WORDS = {"float": "numbers", "int": "whole numbers", "bool": "true or false", "str": "text"}


class ToyEngine:
    """The built-in engine; see `calibration.engines.Engine` for what each part promises.

    Attributes
    ----------
    parameters : Parameters
        The numbers of the law, with their sources.
    rules : mapping of str to Rule
        Every output's rule, each after the rules that it reads.
    inputs, outputs : mapping of str to Variable
        What a dataset gives and what the engine computes.
    """

    name = "toy"
    version = "toy-2024.1"

    def __init__(self) -> None:
        self.parameters = Parameters.load()
        tax_rules = (*income.RULES, *deductions.RULES, *tax_credits.RULES, *tax.RULES)
        benefit_rules = (*ssi.RULES, *benefits.RULES, *snap.RULES, *medicaid.RULES)
        other_rules = (*local_tax.RULES, *marketplace.RULES, *expenditures.RULES)
        declared = (*tax_rules, *benefit_rules, *other_rules)
        self.rules: Mapping[str, Rule] = MappingProxyType(_in_order(declared))
        self.inputs: Mapping[str, Variable] = INPUTS
        self.outputs: Mapping[str, Variable] = MappingProxyType(_variables(self.rules))

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> dict[str, Array]:
        """Compute outputs for every unit of a dataset.

        Parameters
        ----------
        dataset : Dataset
            Must hold every input that the variables depend on; other columns are not read.
        variables : iterable of str
            Names of outputs.
        period : int
            2024, the dataset's own period.

        Returns
        -------
        dict of str to ndarray
            Values by name, in the order asked for, each of shape (entity of the variable,),
            read-only.

        Raises
        ------
        EngineError
            If a variable is unknown, an input is missing or of the wrong kind, the period or
            a state has no rules, or a county has no rating area.
        """
        wanted = tuple(dict.fromkeys(variables))
        self._check_period(dataset, period)
        for name in wanted:
            if name not in self.outputs:
                self._refuse(name)
        steps = self._steps(wanted)
        run = Run(dataset, self.parameters, self._entity_of, steps)
        for name in sorted({need for step in steps for need in step.needs} & set(self.inputs)):
            run.values[name] = _column(dataset, self.inputs[name])
        for step in steps:
            run.compute(step)
        return {name: run.values[name] for name in wanted}

    def _entity_of(self, name: str) -> str:
        return (self.inputs[name] if name in self.inputs else self.outputs[name]).entity

    def _steps(self, wanted: tuple[str, ...]) -> list[Rule]:
        """List the rules that some outputs need, each after those it reads."""
        needed = set(wanted)
        for name in reversed(list(self.rules)):
            if name in needed:
                needed.update(self.rules[name].needs)
        return [rule for name, rule in self.rules.items() if name in needed]

    def _check_period(self, dataset: Dataset, period: int) -> None:
        if period != _PERIOD:
            raise EngineError(f"the toy engine has the rules of {_PERIOD}, not of {period}")
        if dataset.period != period:
            raise EngineError(
                f"the dataset's amounts are of {dataset.period}; the rules asked for are of "
                f"{period}, and the toy engine does not age amounts"
            )

    def _refuse(self, name: str) -> NoReturn:
        if name in self.inputs:
            raise EngineError(f"{name!r} is an input of the toy engine; read it from the dataset")
        hint = near(name, self.outputs)
        raise EngineError(f"the toy engine has no output {name!r}{hint}")


def _in_order(declared: Iterable[Rule]) -> dict[str, Rule]:
    """Put rules after the rules they read; refuse unknown needs, circles and doubles."""
    rules: dict[str, Rule] = {}
    for rule in declared:
        if rule.name in rules or rule.name in INPUTS:
            raise EngineError(f"two variables of the toy engine are called {rule.name!r}")
        rules[rule.name] = rule
    ordered: dict[str, Rule] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered or name in INPUTS:
            return
        if name in path:
            raise EngineError(f"rules read each other in a circle: {' -> '.join((*path, name))}")
        if name not in rules:
            raise EngineError(f"the rule of {path[-1]!r} needs {name!r}, which nothing provides")
        for need in rules[name].needs:
            visit(need, (*path, name))
        ordered[name] = rules[name]

    for name in rules:
        visit(name, ())
    return ordered


def _variables(rules: Mapping[str, Rule]) -> dict[str, Variable]:
    """Make the outputs, each with the inputs that it depends on through all rules."""
    reach: dict[str, frozenset[str]] = {}
    for name, rule in rules.items():
        direct = frozenset(need for need in rule.needs if need in INPUTS)
        reach[name] = direct.union(*(reach[need] for need in rule.needs if need in reach))
    return {
        name: Variable(
            name=name,
            entity=rule.entity,
            kind=rule.kind,
            label=rule.label,
            unit=rule.unit,
            source=rule.source,
            inputs=reach[name],
        )
        for name, rule in rules.items()
    }


def _column(dataset: Dataset, variable: Variable) -> Array:
    """Read one input once, in the type the rules compute in."""
    name, entity = variable.name, variable.entity
    try:
        column = dataset.tables[entity][name]  # asking first would compute a lazy column twice
    except KeyError as error:
        raise EngineError(
            f"the dataset lacks input {name!r} of the {entity} ({variable.label})"
        ) from error
    if column.ndim != 1:
        raise EngineError(f"input {name!r} has one value for each state; materialise it first")
    if column.dtype.kind not in _KINDS[variable.kind]:
        raise EngineError(
            f"input {name!r} must be {_WORDS[variable.kind]}, not {column.dtype} "
            f"(first value {column[:1].tolist()})"
        )
    return column.astype(_TYPES.get(variable.kind, column.dtype), copy=False)


ENGINE = ToyEngine()
"""The engine that `load_engine("toy")` gives."""
