"""From adjusted gross income to taxable income.

    taxable income = max(0, AGI - max(standard, itemized)) - qualified business deduction

Axes: every rule returns shape (tax_unit,).

Source: 26 U.S.C. as in force for tax year 2024; each rule names its section.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]

_BUSINESS = ("self_employment_income", "farm_income", "partnership_s_corp_income", "rental_income")


@rule(
    entity="tax_unit",
    needs=("filing_status", "age", "is_tax_unit_dependent"),
    label="standard deduction",
    source="26 U.S.C. 63(c), (f)",
)
def _standard_deduction(view: View) -> Array:
    """Add to the basic amount for each filer of 65 or over."""
    aged = view.people("age") >= view.number("aged_standard_deduction_age")
    count = view.filers(aged.astype(np.float64))
    return view.by_status("standard_deduction") + count * view.by_status("aged_standard_deduction")


@rule(
    entity="tax_unit",
    needs=(
        "adjusted_gross_income",
        "is_tax_unit_dependent",
        "charitable_cash_donations",
        "charitable_non_cash_donations",
    ),
    label="deduction for gifts to charity",
    source="26 U.S.C. 170(b)(1)",
)
def _charitable_deduction(view: View) -> Array:
    """Allow gifts up to a share of AGI, property up to a smaller one.

    Simplified: all gifts go to public charities and no property is capital gain property.
    """
    agi = np.maximum(view["adjusted_gross_income"], 0)
    property_gifts = view.filers(view.people("charitable_non_cash_donations"))
    property_gifts = np.minimum(property_gifts, view.number("charity_property_share") * agi)
    gifts = view.filers(view.people("charitable_cash_donations")) + property_gifts
    return np.minimum(gifts, view.number("charity_share") * agi)


@rule(
    entity="tax_unit",
    needs=("filing_status", "state_income_tax", "real_estate_taxes"),
    label="deduction for state and local taxes",
    source="26 U.S.C. 164(a), (b)(6)",
)
def _salt_deduction(view: View) -> Array:
    """Allow property tax and state income tax up to the cap.

    Simplified: no sales taxes (164(b)(5)), and state income tax only where the engine
    computes it.
    """
    taxes = view.sum(view.people("real_estate_taxes")) + view["state_income_tax"]
    return np.minimum(taxes, view.by_status("salt_cap"))


@rule(
    entity="tax_unit",
    needs=("charitable_deduction", "salt_deduction", "deductible_mortgage_interest"),
    label="itemized deductions",
    source="26 U.S.C. 163(h), 164, 170",
)
def _itemized_taxable_income_deductions(view: View) -> Array:
    """Add up mortgage interest, state and local taxes, and gifts.

    Simplified: no medical expenses (213).
    """
    interest = view.sum(view.people("deductible_mortgage_interest"))
    return interest + view["salt_deduction"] + view["charitable_deduction"]


@rule(
    entity="tax_unit",
    needs=(
        "is_tax_unit_dependent",
        "qualified_dividend_income",
        "loss_limited_net_capital_gains",
        "long_term_capital_gains",
    ),
    label="income taxed as net capital gain",
    source="26 U.S.C. 1(h)(3), (11), 1222(11)",
)
def _adjusted_net_capital_gain(view: View) -> Array:
    """Add qualified dividends to long-term gain that short-term losses leave.

    Simplified: no collectibles and no depreciation recapture (1(h)(4), (6)).
    """
    long_term = view.filers(view.people("long_term_capital_gains"))
    net = np.minimum(long_term, view["loss_limited_net_capital_gains"])
    return np.maximum(net, 0) + view.filers(view.people("qualified_dividend_income"))


@rule(
    entity="tax_unit",
    needs=(
        "adjusted_gross_income",
        "standard_deduction",
        "itemized_taxable_income_deductions",
    ),
    label="taxable income before the qualified business deduction",
    source="26 U.S.C. 63(a), (b)",
)
def _taxable_income_less_qbid(view: View) -> Array:
    """Take the larger of the standard and the itemized deductions off AGI."""
    deduction = np.maximum(view["standard_deduction"], view["itemized_taxable_income_deductions"])
    return np.maximum(view["adjusted_gross_income"] - deduction, 0)


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "is_tax_unit_dependent",
        "taxable_income_less_qbid",
        "adjusted_net_capital_gain",
        "self_employment_tax_ald_person",
        "self_employed_health_insurance_ald",
        *_BUSINESS,
    ),
    label="qualified business income deduction",
    source="26 U.S.C. 199A",
)
def _qualified_business_income_deduction(view: View) -> Array:
    """Deduct a share of business income, phased out for owners with high incomes.

    Simplified: all business income qualifies; no business pays wages or owns property, so
    the limit of 199A(b)(2)(B) is zero and the deduction ends with the phase-in range.
    """
    related = view.people("self_employment_tax_ald_person")
    owned = view.filers(view.add(*_BUSINESS) - related)
    qualified = np.maximum(owned - view["self_employed_health_insurance_ald"], 0)
    income, rate = view["taxable_income_less_qbid"], view.number("qbi_rate")
    over = np.maximum(income - view.by_status("qbi_threshold"), 0)
    left = 1 - np.minimum(over / view.by_status("qbi_phase_in"), 1)
    ordinary = np.maximum(income - view["adjusted_net_capital_gain"], 0)
    return np.minimum(rate * qualified * left, rate * ordinary)


@rule(
    entity="tax_unit",
    needs=("taxable_income_less_qbid", "qualified_business_income_deduction"),
    label="taxable income",
    source="26 U.S.C. 63",
)
def _taxable_income(view: View) -> Array:
    """Take the last deduction off."""
    return view["taxable_income_less_qbid"] - view["qualified_business_income_deduction"]


RULES = rules_in(globals())
"""The rules of this module."""
