"""From taxable income to tax, and who files a return.

    income tax = rates(taxable income) - nonrefundable credits + tax on investment income
                 - refundable credits taken up

Every amount is computed for every tax unit, whether it files or not; whether it files is a
variable of its own, `tax_unit_is_filer`, because statistics of income count filers only.

Axes: every rule returns shape (tax_unit,).

Source: 26 U.S.C. as in force for tax year 2024, N.C. Gen. Stat. 105, D.C. Code 47; each rule
names its section.

Simplified throughout: no alternative minimum tax (26 U.S.C. 55), no tax on a child's
unearned income (1(g)), no credits for care, education, savings, energy or age (21-25E), and
the premium tax credit is paid in advance and never reconciled (36B(f)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]


def _schedule(
    income: NDArray[np.float64], floors: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tax by brackets: each rate adds its step over the rate below, above its floor.

    Shapes: income (u,), floors (u, b), rates (b,).
    """
    tax = np.zeros(len(income))
    below = 0.0
    for bracket, rate in enumerate(rates):
        tax += (rate - below) * np.maximum(income - floors[:, bracket], 0)
        below = rate
    return tax


@rule(
    entity="tax_unit",
    needs=("filing_status", "taxable_income", "adjusted_net_capital_gain"),
    label="income tax before credits",
    source="26 U.S.C. 1(h), (j)",
)
def _income_tax_before_credits(view: View) -> Array:
    """Tax ordinary income by brackets, and gains, stacked on top of it, at their own rates."""
    income = view["taxable_income"]
    ordinary = np.maximum(income - view["adjusted_net_capital_gain"], 0)
    floors, rates = view.by_status("bracket_floor"), view.array("bracket_rate")
    gain_floors, gain_rates = view.by_status("gain_floor"), view.array("gain_rate")
    on_gains = _schedule(income, gain_floors, gain_rates)
    on_gains -= _schedule(ordinary, gain_floors, gain_rates)
    with_preference = _schedule(ordinary, floors, rates) + on_gains
    return np.minimum(with_preference, _schedule(income, floors, rates))


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "is_tax_unit_dependent",
        "adjusted_gross_income",
        "taxable_interest_income",
        "qualified_dividend_income",
        "non_qualified_dividend_income",
        "rental_income",
        "loss_limited_net_capital_gains",
    ),
    label="net investment income tax",
    source="26 U.S.C. 1411",
)
def _net_investment_income_tax(view: View) -> Array:
    """Tax investment income, or AGI over the threshold if that is less, at one rate.

    Simplified: owners of partnerships and S corporations are active in them (1411(c)(2)).
    """
    portfolio = view.add(
        "taxable_interest_income",
        "qualified_dividend_income",
        "non_qualified_dividend_income",
        "rental_income",
    )
    investment = view.filers(portfolio) + view["loss_limited_net_capital_gains"]
    over = view["adjusted_gross_income"] - view.by_status("niit_threshold")
    return view.number("niit_rate") * np.maximum(np.minimum(investment, over), 0)


@rule(
    entity="tax_unit",
    needs=("income_tax_before_credits", "net_investment_income_tax", "ctc", "eitc"),
    label="federal income tax after refundable credits",
    source="26 U.S.C. 1, 24, 32, 1411",
)
def _income_tax(view: View) -> Array:
    """Subtract the credits; the result is negative where refundable ones exceed the tax.

    Simplified: without self-employment tax and without the additional Medicare tax.
    """
    tax = view["income_tax_before_credits"] + view["net_investment_income_tax"]
    return tax - view["ctc"] - view["eitc"]


# -- who files -------------------------------------------------------------------------


@rule(
    entity="tax_unit",
    kind="bool",
    unit="",
    needs=(
        "is_tax_unit_dependent",
        "gross_income",
        "standard_deduction",
        "self_employment_net_earnings",
    ),
    label="must file a federal return",
    source="26 U.S.C. 6012(a), (f), 6017",
)
def _tax_unit_is_required_to_file(view: View) -> Array:
    """Compare gross income with the standard deduction; self-employment obliges by itself.

    Simplified: an advance premium tax credit alone does not oblige to file (36B(f)(1)).
    """
    net = view.people("self_employment_net_earnings")
    earner = (net >= view.number("self_employment_floor")) & ~view.people("is_tax_unit_dependent")
    return (view["gross_income"] > view["standard_deduction"]) | view.any(earner)


@rule(
    entity="tax_unit",
    kind="bool",
    unit="",
    needs=(
        "tax_unit_is_required_to_file",
        "eitc",
        "ctc_before_tax_limit",
        "refundable_ctc_limit",
        "takes_up_eitc",
        "would_file_taxes_voluntarily",
    ),
    label="files a federal return",
    source="26 U.S.C. 6012, 24(d), 32",
)
def _tax_unit_is_filer(view: View) -> Array:
    """Count those required to file, those who claim a refundable credit, and volunteers.

    One flag, `takes_up_eitc`, speaks for both refundable credits: who would not file for
    the EITC does not file for the child tax credit alone. Who need not file has no tax, so
    the child tax credit is refundable up to its limit, whatever there is to deduct.
    """
    child_credit = np.minimum(view["ctc_before_tax_limit"], view["refundable_ctc_limit"])
    claims = view["takes_up_eitc"] & (view["eitc"] + child_credit > 0)
    required = view["tax_unit_is_required_to_file"]
    return required | claims | view["would_file_taxes_voluntarily"]


RULES = rules_in(globals())
"""The rules of this module."""
