"""The 69 tax variables that the clone gets, and what happens to each half.

Every variable of the table is drawn from the tax file for the PUF half. The two roles
differ in what the CPS half has:

    imputed      18 that the survey asks too: the CPS half keeps its answers
    overridden   51 that the survey does not ask, or asks badly: the CPS half gets a
                 second, independent draw, whether or not the survey has such a column

Three of the 18 are finer than any survey question. There the CPS half gets `if_absent`:
nothing in a "specified service" or partnership split, so that the survey's whole
self-employment income stays where it is, and the legal default that a trade or business
qualifies.

The table is `calibration/data/puf_variables.csv`: entity and unit as policyengine-us
2.68.0 defines the variable (`definition`, a file under policyengine_us/variables; empty
where it has none), role and tax-file item (`item`; "simulated" where the file's makers
assume it) as in PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py and
datasets/puf/puf.py. The themes, groups that are drawn together, are ours.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

__all__ = ["THEMES", "PufVariable", "groups", "puf_variables"]

THEMES = ("income", "business", "deductions")
"""Themes in the order in which they are drawn, each given those before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PufVariable:
    """One row of the table.

    Parameters
    ----------
    name : str
    entity : {"person", "tax_unit"}
        Table that holds it; a tax unit takes the value drawn for its head.
    kind : {"float", "bool"}
    unit : str
        "USD/year", or empty.
    theme : str
        One of `THEMES`.
    overridden : bool
        Whether the CPS half gets a draw of its own.
    if_absent : float or bool or None
        What the CPS half has if the survey lacks a column that it would keep; None if
        the survey must have it.
    item : str
        Where the tax file has it.
    definition : str
        File that defines it in policyengine-us.
    """

    name: str
    entity: Literal["person", "tax_unit"]
    kind: Literal["float", "bool"]
    unit: str
    theme: str
    overridden: bool
    if_absent: float | bool | None
    item: str
    definition: str

    @property
    def role(self) -> Literal["imputed", "overridden"]:
        """What the table calls it."""
        return "overridden" if self.overridden else "imputed"

    @property
    def cps_half(self) -> Literal["keep", "override"]:
        """Rule for the CPS half."""
        return "override" if self.overridden else "keep"

    @property
    def puf_half(self) -> Literal["draw"]:
        """Rule for the PUF half."""
        return "draw"


@cache
def puf_variables() -> tuple[PufVariable, ...]:
    """Read the table.

    Returns
    -------
    tuple of PufVariable
        69 of them, in the order in which a sequential chain draws them.
    """
    text = files("calibration").joinpath("data", "puf_variables.csv").read_text(encoding="utf-8")
    return tuple(_row(row) for row in csv.DictReader(text.splitlines()))


def groups(
    grouping: Literal["joint", "sequential"], *, overridden: bool
) -> tuple[tuple[str, ...], ...]:
    """Arrange the variables for a `SequentialImputer`.

    Parameters
    ----------
    grouping : {"joint", "sequential"}
        One group for each theme, or for each variable.
    overridden : bool
        Only the 51, for the draw of the CPS half.

    Returns
    -------
    tuple of tuple of str
    """
    chosen = [v for v in puf_variables() if v.overridden or not overridden]
    if grouping == "sequential":
        return tuple((v.name,) for v in chosen)
    return tuple(tuple(v.name for v in chosen if v.theme == theme) for theme in THEMES)


def _row(row: dict[str, str]) -> PufVariable:
    absent: float | bool | None = None
    if row["if_absent"]:
        absent = row["if_absent"] == "true" if row["kind"] == "bool" else float(row["if_absent"])
    entity: Literal["person", "tax_unit"] = "tax_unit" if row["entity"] == "tax_unit" else "person"
    return PufVariable(
        name=row["name"],
        entity=entity,
        kind="bool" if row["kind"] == "bool" else "float",
        unit=row["unit"],
        theme=row["theme"],
        overridden=row["overridden"] == "true",
        if_absent=absent,
        item=row["item"],
        definition=row["definition"],
    )
