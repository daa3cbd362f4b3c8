"""What a deduction costs: income tax under a law without it, less income tax.

    E_d = T(law in which d is 0) - T(law)

Published totals of tax expenditures compare two laws for the same people. So does a rule here:
what reads the deduction, directly or through other rules, is computed again with 0 in its
place; whatever else there is, takeup and who files among it, stays as it is. What a unit saves
is less than its rate times the deduction wherever the standard deduction would have served.

North Carolina's tax follows the federal rule for gifts, so it is higher without it, and counts
among the state taxes that are deducted.

Axes: every rule returns shape (tax_unit,).

Source: 2 U.S.C. 622(3), which says what a tax expenditure is.
"""

from __future__ import annotations

from calibration.dataset import Array
from calibration.engines.toy.rule import Rule, View

__all__ = ["RULES"]


def _saved_by(deduction: str, label: str) -> Rule:
    def compute(view: View) -> Array:
        """Compare with the income tax of a law in which the deduction is 0.

        Simplified: nobody does anything else under the other law.
        """
        return view.without(deduction, "income_tax") - view["income_tax"]

    return Rule(
        name=f"{deduction}_tax_expenditure",
        entity="tax_unit",
        kind="float",
        label=f"income tax saved by the {label}",
        unit="USD/year",
        source="2 U.S.C. 622(3)",
        needs=(deduction, "income_tax"),
        compute=compute,
    )


RULES = (
    _saved_by("charitable_deduction", "deduction for gifts to charity"),
    _saved_by("qualified_business_income_deduction", "qualified business income deduction"),
    _saved_by("salt_deduction", "deduction for state and local taxes"),
)
"""The rules of this module."""
