"""What a dataset can give, what can be asked for, and what is refused.

    inputs    the model's inputs, the roles in a tax unit, and what this package keeps
    outputs   what the model computes, less what is refused, plus tax expenditures
    refused   everything that leads, step by step, to a formula that reads weights

A column of X must be worth the same in a matrix chunk, in a district file and in the national
file. That fails for what is defined by the file itself. Medicaid dollars, for one, are a
state's spending shared out among the enrolled of the loaded file: with all weights doubled,
everybody's amount is half. What leads there is found in the code of the formulas, not
listed. Two more kinds are refused by name, each with its reason.

Axes: names -> `Variable`; an output's inputs are found when it is looked up.

Source: policyengine-us 2.68.0; the deductions: PolicyEngine/policyengine-us-data e01a0384,
db/etl_national_targets.py and utils/loss.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from calibration.dataset import HOUSEHOLD
from calibration.engines import Kind, Variable
from calibration.engines.policyengine.dependencies import is_response, reach
from calibration.engines.policyengine.model import (
    EXPENDITURE,
    depends_on_weights,
    graph,
    kind_of,
    system,
)
from calibration.engines.policyengine.translation import REQUIRED, ROLES
from calibration.errors import EngineError, near

__all__ = ["DEDUCTIONS", "INSTEAD", "check_output", "inputs", "outputs", "refused"]

DEDUCTIONS = (
    "charitable_deduction",
    "deductible_mortgage_interest",
    "interest_deduction",
    "medical_expense_deduction",
    "qualified_business_income_deduction",
    "salt_deduction",
)
"""Deductions whose tax expenditure can be asked for."""

INSTEAD = {
    "medicaid": "medicaid_enrolled",
    "medicaid_cost": "medicaid_enrolled",
    "medicaid_cost_if_enrolled": "medicaid_enrolled",
    "aca_ptc": "assigned_aca_ptc",
}
"""The quantity of a household that is meant, where a refused one has such."""

_ANCHORS: tuple[tuple[str, str, Kind], ...] = (
    ("snap_reported", "spm_unit", "float"),
    ("tanf_reported", "spm_unit", "float"),
    ("has_subsidized_marketplace_coverage_at_interview", "tax_unit", "bool"),
)
_WEIGHTED = (
    "it is computed from the weights of whatever file it stands in, so it is no quantity of a "
    "household"
)


@cache
def inputs() -> Mapping[str, Variable]:
    """Columns that a dataset can give, by name."""
    found = {
        name: _variable(variable, optional=name not in REQUIRED)
        for name, variable in system().variables.items()
        if (variable.is_input_variable() or name in ROLES)
        and kind_of(variable) is not None
        and not name.endswith("_id")
        and name != f"{HOUSEHOLD}_weight"
    }
    for name, entity, kind in _ANCHORS:
        label = "reported to the survey; not read by the model"
        found[name] = Variable(name=name, entity=entity, kind=kind, label=label)
    return MappingProxyType(found)


@cache
def outputs() -> Mapping[str, Variable]:
    """Variables that can be asked for, by name."""
    return _Outputs()


class _Outputs(Mapping[str, Variable]):
    """Outputs by name, made when they are looked up: the inputs of each are a search."""

    def __init__(self) -> None:
        known = system().variables
        barred = {*refused(), *inputs()}
        names = [
            name
            for name, variable in known.items()
            if name not in barred
            and not name.endswith("_id")
            and not variable.is_input_variable()
            and kind_of(variable) is not None
        ]
        names += [f"{name}{EXPENDITURE}" for name in DEDUCTIONS]
        self._made: dict[str, Variable | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Variable:
        if (made := self._made[name]) is None:
            made = self._made[name] = _output(name)
        return made

    def __contains__(self, name: object) -> bool:
        return name in self._made  # the default would search the inputs to find out

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _output(name: str) -> Variable:
    known = system().variables
    if not name.endswith(EXPENDITURE):
        return _variable(known[name], reads=_inputs_of(name))
    deduction = known[name.removesuffix(EXPENDITURE)]
    return Variable(
        name=name,
        entity="tax_unit",
        kind="float",
        label=f"income tax saved by: {deduction.label}",
        unit="currency-USD",
        source="income tax without the deduction less income tax",
        inputs=_inputs_of("income_tax"),
    )


def _inputs_of(name: str) -> frozenset[str]:
    # The law is that of a state: no variable may pass for one that is the same everywhere.
    return frozenset(reach(graph(), [name]) & inputs().keys() | {"state_fips"})


def _variable(
    variable: Any, *, optional: bool = False, reads: frozenset[str] = frozenset()
) -> Variable:
    kind = kind_of(variable)
    assert kind is not None  # noqa: S101  (callers leave dates out)
    references = variable.reference or ""
    if not isinstance(references, str):
        references = references[0] if references else ""
    return Variable(
        name=variable.name,
        entity=variable.entity.key,
        kind=kind,
        label=str(variable.label or variable.name),
        unit=str(variable.unit or ""),
        source=references,
        inputs=reads,
        optional=optional,
    )


@cache
def refused() -> Mapping[str, str]:
    """Give the reason for every variable of the model that is refused, and what to use."""
    reasons = dict.fromkeys(sorted(depends_on_weights()), _WEIGHTED)
    for name in system().variables:
        if is_response(name):
            reasons[name] = "it compares two laws or two incomes and is no fact about a household"
    reasons["aca_ptc"] = "it ignores who takes the credit up"
    use = {name: f"; use {INSTEAD[name]!r}" for name in INSTEAD}
    return MappingProxyType({name: why + use.get(name, "") for name, why in reasons.items()})


def check_output(name: str) -> None:
    """Refuse a name that cannot be asked for.

    Raises
    ------
    EngineError
        Saying why, and what to ask for instead.
    """
    if name in outputs():
        return
    if name in inputs():
        raise EngineError(f"{name!r} is an input of the model; read it from the dataset")
    if (why := refused().get(name)) is not None:
        raise EngineError(f"{name!r} is refused: {why}")
    raise EngineError(f"the policyengine engine has no output {name!r}{near(name, outputs())}")
