"""What Tax-Calculator reads about a tax unit, and what calibration asks it to compute.

Inputs keep the names of Tax-Calculator, with three prefixes: `e` amounts by line of the
forms, a suffix `p` or `s` for taxpayer or spouse, and counts in plain words. Their labels
are read from the library's own dictionary, `records_variables.json`. Outputs have the
names that the other engines use.

    adjusted_gross_income   c00100        26 U.S.C. 62
    eitc                    eitc          26 U.S.C. 32
    income_tax              iitax         after refundable credits; negative where they exceed it
    tax_unit_is_filer       this module   see below

Tax-Calculator has no rule for who files. Statistics of income count returns, so this is
needed, and it is ours. A unit files if one of these holds:

    required      AGI >= its standard deduction             26 U.S.C. 6012(a)(1)
    required      business + farm profit >= 400 USD         26 U.S.C. 6017, 1402(b)(2)
    loss          AGI < 0: a loss counts in other years only on a return    26 U.S.C. 172
    credit        EITC or additional child tax credit > 0   26 U.S.C. 32, 24(d)
    withholding   any wages, from which tax was withheld    26 U.S.C. 3402, 6402

Simplified: AGI stands for gross income, which the records do not have; business profit is
that of the whole unit; everybody who can get money back files.

Axes: one value a tax unit, shape (tax_unit,).

Source: PSL Tax-Calculator 6.8.0, records_variables.json and calcfunctions.py; Internal
Revenue Service, Publication 501 (2022), "Who must file" and "Who should file".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calibration.dataset import Array
from calibration.engines import Kind, Variable
from calibration.errors import EngineError

__all__ = ["COUNTS", "ENTITY", "INPUTS", "OUTPUTS", "Output", "inputs", "outputs"]

ENTITY = "tax_unit"

_AMOUNTS = (
    "e00200", "e00200p", "e00200s", "pencon_p", "pencon_s", "e00300", "e00400", "e00600",
    "e00650", "e00800", "e00900", "e00900p", "e00900s", "e01100", "e01400", "e01500", "e01700",
    "e02100", "e02100p", "e02100s", "e02300", "e02400", "e03150", "e03210", "e03240", "e03270",
    "e03300", "e17500", "e18400", "e18500", "e19200", "e19800", "e20100", "e20400", "e32800",
)  # fmt: skip
COUNTS = (
    "MARS", "DSI", "EIC", "XTOT", "age_head", "age_spouse", "blind_head", "blind_spouse",
    "elderly_dependents", "f2441", "n1820", "n21", "n24", "nu06", "nu13", "nu18",
)  # fmt: skip
"""Inputs that are whole numbers: filing status, people, ages."""

CLAIM = "credit_claim_urn"
"""A uniform number for each unit, which decides whether it claims its credits.

Tax-Calculator draws it by the position of a row among all rows it is given. Here it is drawn
once, for the whole file, and belongs to the unit from then on.
"""

INPUTS = (*_AMOUNTS, *COUNTS, CLAIM)
"""Every column that a dataset must have."""


@cache
def inputs() -> Mapping[str, Variable]:
    """Describe the inputs, with labels from the library's dictionary.

    Raises
    ------
    EngineError
        If the installed library does not have one of them.
    """
    known = _dictionary()
    if missing := [name for name in INPUTS if name not in known]:
        raise EngineError(
            f"the installed Tax-Calculator has no variable {missing[0]!r}; install the version "
            "that the taxcalc extra asks for"
        )
    return {
        name: Variable(
            name=name,
            entity=ENTITY,
            kind="int" if name in COUNTS else "float",
            label=known[name]["desc"],
            unit="USD/year" if name in _AMOUNTS else "",
            source="Tax-Calculator records_variables.json",
        )
        for name in INPUTS
    }


def _dictionary() -> dict[str, Any]:
    spec = find_spec("taxcalc")
    if spec is None or spec.origin is None:
        raise EngineError("Tax-Calculator is not installed")
    text = (Path(spec.origin).parent / "records_variables.json").read_text(encoding="utf-8")
    described = json.loads(text)
    return described["read"] | described["calc"]


@dataclass(frozen=True, slots=True)
class Output:
    """One quantity that calibration asks for.

    Parameters
    ----------
    kind : {"float", "bool"}
    label, unit, source : str
    compute : callable
        Gives the values, shape (tax_unit,), from a function that gives the values of a
        Tax-Calculator variable after all taxes are computed.
    """

    kind: Kind
    label: str
    unit: str
    source: str
    compute: Callable[[Callable[[str], Array]], Array]


def _is_filer(values: Callable[[str], Array]) -> Array:
    """Tell who files, by the rule in the module's docstring."""
    agi = values("c00100")
    # `standard` is 0 for who itemizes, and itemizing lowers a tax: such a unit has to file.
    required = (agi >= values("standard")) | (values("e00900") + values("e02100") >= 400)
    credit = (values("eitc") > 0) | (values("c11070") > 0)
    return required | (agi < 0) | credit | (values("e00200") > 0)


OUTPUTS: Mapping[str, Output] = {
    "adjusted_gross_income": Output(
        "float", "adjusted gross income", "USD/year", "26 U.S.C. 62", lambda v: v("c00100")
    ),
    "eitc": Output(
        "float", "earned income tax credit, as claimed", "USD/year", "26 U.S.C. 32",
        lambda v: v("eitc"),
    ),
    "income_tax": Output(
        "float", "federal income tax after refundable credits", "USD/year", "26 U.S.C. 1",
        lambda v: v("iitax"),
    ),
    "tax_unit_is_filer": Output(
        "bool", "files a return", "", "26 U.S.C. 6012, 6017, 172, 32, 24(d), 3402", _is_filer
    ),
}  # fmt: skip


@cache
def outputs() -> Mapping[str, Variable]:
    """Describe the outputs; each may depend on every input, and on nothing else."""
    return {
        name: Variable(
            name=name,
            entity=ENTITY,
            kind=output.kind,
            label=output.label,
            unit=output.unit,
            source=output.source,
            inputs=frozenset(INPUTS),
        )
        for name, output in OUTPUTS.items()
    }
