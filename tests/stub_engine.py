"""A tax-benefit engine of seven rules and a country of thirteen blocks, for tests.

The rules are no country's law. Each exists for one thing that calibration can get wrong:

    ssi                 a person's benefit; takeup with a reported anchor
    snap                a unit's benefit that counts the SSI actually received; its limit
                        differs by state; rent, a by-state column, raises it
    tanf                takeup without an anchor
    adjusted_gross_income, eitc, tax_unit_is_filer
                        a filer flag that depends on another programme's takeup
    income_tax          an amount of either sign
    medicaid_enrolled   a person's flag, with rates by state
    assigned_aca_ptc             a credit that depends on the county

All amounts are multiples of 1/16, so sums of a household are exact in any order.

Axes: values of a variable have one entry for each row of its entity's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.dataset import Array, Dataset
from calibration.engines import Engine, Variable
from calibration.errors import EngineError

__all__ = ["ENGINE", "MEDICAID_LIMIT", "PREMIUM", "SNAP_LIMIT", "StubEngine"]

SNAP_LIMIT = {6: 24_000.0, 11: 20_000.0, 37: 16_000.0}
MEDICAID_LIMIT = {6: 18_000.0, 11: 26_000.0, 37: 6_000.0}
PREMIUM = {"06001": 7_200.0, "06037": 5_600.0, "11001": 6_400.0, "37063": 8_000.0, "37183": 9_600.0}

_INPUTS = {
    "person": {
        "age": "float",
        "employment_income": "float",
        "is_tax_unit_dependent": "bool",
        "card": "str",
        "ssi_reported": "float",
        "has_medicaid_health_coverage_at_interview": "bool",
        "takes_up_ssi_if_eligible": "bool",
        "takes_up_medicaid_if_eligible": "bool",
    },
    "spm_unit": {
        "snap_reported": "float",
        "takes_up_snap_if_eligible": "bool",
        "takes_up_tanf_if_eligible": "bool",
    },
    "tax_unit": {
        "has_subsidized_marketplace_coverage_at_interview": "bool",
        "takes_up_aca_if_eligible": "bool",
        "takes_up_eitc": "bool",
        "would_file_taxes_voluntarily": "bool",
    },
    "household": {
        "rent": "float",
        "town": "str",
        "state_fips": "int",
        "county_fips": "str",
        "zip_code": "str",
    },
}
_OUTPUTS = {
    "person": {"ssi": "float", "medicaid_enrolled": "bool"},
    "spm_unit": {"snap": "float", "tanf": "float"},
    "tax_unit": {
        "adjusted_gross_income": "float",
        "eitc": "float",
        "tax_unit_is_filer": "bool",
        "income_tax": "float",
        "assigned_aca_ptc": "float",
    },
}


def _variables(by_entity: Mapping[str, Mapping[str, str]]) -> dict[str, Variable]:
    return {
        name: Variable(name=name, entity=entity, kind=kind, label=name)  # type: ignore[arg-type]
        for entity, kinds in by_entity.items()
        for name, kind in kinds.items()
    }


@dataclass(frozen=True)
class StubEngine:
    """The rules of the module as an `Engine`."""

    name: str = "stub"
    version: str = "1"
    inputs: Mapping[str, Variable] = field(default_factory=lambda: _variables(_INPUTS))
    outputs: Mapping[str, Variable] = field(default_factory=lambda: _variables(_OUTPUTS))

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> dict[str, Array]:
        """Compute outputs; an unknown variable or another year is an error."""
        if period != 2024:
            raise EngineError(f"the stub engine has rules for 2024, not for {period}")
        if unknown := [name for name in variables if name not in self.outputs]:
            raise EngineError(f"the stub engine does not compute {unknown[0]!r}")
        return {name: _RULES[name](dataset) for name in variables}


def _of_home(d: Dataset, entity: str, column: str) -> Array:
    return d[column][d.household_of(entity)]


def _by_key(table: Mapping, keys: Array) -> Array:
    return np.array([table[key] for key in keys.tolist()], dtype=np.float64)


def _ssi(d: Dataset) -> Array:
    entitled = (d["age"] >= 65) & (d["employment_income"] < 8_000)
    paid = entitled & d["takes_up_ssi_if_eligible"]
    return np.where(paid, 9_000 - d["employment_income"].astype(np.float64), 0.0)


def _snap(d: Dataset) -> Array:
    income = d.sum_to("spm_unit", d["employment_income"] + _ssi(d))
    limit = _by_key(SNAP_LIMIT, _of_home(d, "spm_unit", "state_fips"))
    benefit = 2_400 + _of_home(d, "spm_unit", "rent") - income / 16
    return np.where((income < limit) & d["takes_up_snap_if_eligible"], benefit, 0.0)


def _tanf(d: Dataset) -> Array:
    entitled = d.any_in("spm_unit", d["is_tax_unit_dependent"])
    entitled &= d.sum_to("spm_unit", d["employment_income"]) < 10_000
    return np.where(entitled & d["takes_up_tanf_if_eligible"], 1_200.0, 0.0)


def _agi(d: Dataset) -> Array:
    return d.sum_to("tax_unit", d["employment_income"])


def _eitc(d: Dataset) -> Array:
    agi, children = _agi(d), d.sum_to("tax_unit", d["is_tax_unit_dependent"])
    entitled = (agi > 0) & (agi < 30_000)
    return np.where(entitled & d["takes_up_eitc"], 500 + 1_000 * children, 0.0)


def _is_filer(d: Dataset) -> Array:
    return (_agi(d) >= 14_600) | (_eitc(d) > 0) | d["would_file_taxes_voluntarily"]


def _income_tax(d: Dataset) -> Array:
    return np.maximum(_agi(d) - 14_600, 0) / 16 - _eitc(d)


def _medicaid(d: Dataset) -> Array:
    income = d.to_person(_agi(d), "tax_unit")
    limit = _by_key(MEDICAID_LIMIT, _of_home(d, "person", "state_fips"))
    return (income < limit) & d["takes_up_medicaid_if_eligible"]


def _assigned_aca_ptc(d: Dataset) -> Array:
    agi = _agi(d)
    premium = _by_key(PREMIUM, _of_home(d, "tax_unit", "county_fips"))
    credit = np.maximum(premium - agi / 16, 0)
    return np.where((agi >= 16_000) & d["takes_up_aca_if_eligible"], credit, 0.0)


_RULES: dict[str, Callable[[Dataset], Array]] = {
    "ssi": _ssi,
    "snap": _snap,
    "tanf": _tanf,
    "adjusted_gross_income": _agi,
    "eitc": _eitc,
    "tax_unit_is_filer": _is_filer,
    "income_tax": _income_tax,
    "medicaid_enrolled": _medicaid,
    "assigned_aca_ptc": _assigned_aca_ptc,
}

ENGINE: Engine = StubEngine()
