"""Credits for work and for children.

    EITC = min(phase-in rate * earnings, maximum, maximum - phase-out rate * excess)
    CTC  = min(credit, tax) + min(rest of credit, share of earnings, cap * children)

Axes: every rule returns shape (tax_unit,).

Source: 26 U.S.C. 24 and 32 as in force for tax year 2024.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]


# -- earned income tax credit ----------------------------------------------------------


@rule(
    entity="tax_unit",
    kind="int",
    unit="persons",
    needs=("age", "is_disabled", "is_tax_unit_dependent"),
    label="qualifying children for the EITC",
    source="26 U.S.C. 32(c)(3), 152(c)",
)
def _eitc_child_count(view: View) -> Array:
    """Count dependents who are young enough, or disabled at any age.

    Simplified: every dependent has the relationship and residence that 152(c) asks for.
    """
    young = view.people("age") < view.number("qualifying_child_age_end")
    child = view.people("is_tax_unit_dependent") & (young | view.people("is_disabled"))
    return view.count(child).astype(np.int64)


@rule(
    entity="tax_unit",
    needs=(
        "is_tax_unit_dependent",
        "employment_income",
        "self_employment_income",
        "farm_income",
        "self_employment_tax_ald_person",
    ),
    label="earned income of the filers",
    source="26 U.S.C. 32(c)(2)",
)
def _eitc_earned_income(view: View) -> Array:
    """Add up wages and self-employment earnings, less half the tax on the latter."""
    earned = np.maximum(view.people("employment_income"), 0)
    earned = earned + view.add("self_employment_income", "farm_income")
    earned = earned - view.people("self_employment_tax_ald_person")
    return np.maximum(view.filers(earned), 0)


@rule(
    entity="tax_unit",
    kind="bool",
    unit="",
    needs=(
        "age",
        "is_tax_unit_dependent",
        "eitc_child_count",
        "taxable_interest_income",
        "tax_exempt_interest_income",
        "qualified_dividend_income",
        "non_qualified_dividend_income",
        "rental_income",
        "loss_limited_net_capital_gains",
    ),
    label="meets the conditions of the EITC other than income",
    source="26 U.S.C. 32(c)(1)(A), 32(i)",
)
def _eitc_eligible(view: View) -> Array:
    """Ask for a child or a filer of working age, and for little investment income.

    Simplified: everybody has a Social Security number (32(m)).
    """
    filer = ~view.people("is_tax_unit_dependent")
    age = view.people("age")
    of_age = (age >= view.number("eitc_age_min")) & (age < view.number("eitc_age_end"))
    portfolio = view.add(
        "taxable_interest_income",
        "tax_exempt_interest_income",
        "qualified_dividend_income",
        "non_qualified_dividend_income",
    )
    investment = view.filers(portfolio)
    investment += np.maximum(view.filers(view.people("rental_income")), 0)
    investment += np.maximum(view["loss_limited_net_capital_gains"], 0)
    who = (view["eitc_child_count"] > 0) | view.any(filer & of_age)
    return who & (investment <= view.number("eitc_investment_limit"))


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "adjusted_gross_income",
        "eitc_child_count",
        "eitc_earned_income",
        "eitc_eligible",
        "takes_up_eitc",
    ),
    label="earned income tax credit, if claimed",
    source="26 U.S.C. 32(a), (b)",
)
def _eitc(view: View) -> Array:
    """Phase in on earned income, phase out on the larger of earned income and AGI.

    Simplified: exact amounts, not those of the tables of 32(f).
    """
    most = len(view.array("eitc_maximum")) - 1
    children = np.minimum(view["eitc_child_count"], most)
    maximum = view.array("eitc_maximum")[children]
    earned = view["eitc_earned_income"]
    credit = np.minimum(view.array("eitc_phase_in_rate")[children] * earned, maximum)
    joint = np.where(view["filing_status"] == 1, view.number("eitc_joint_bonus"), 0)
    start = view.array("eitc_phase_out_start")[children] + joint
    over = np.maximum(np.maximum(earned, view["adjusted_gross_income"]) - start, 0)
    left = np.maximum(maximum - view.array("eitc_phase_out_rate")[children] * over, 0)
    claimed = view["eitc_eligible"] & view["takes_up_eitc"]
    return np.where(claimed, np.minimum(credit, left), 0)


# -- child tax credit ------------------------------------------------------------------


@rule(
    entity="tax_unit",
    kind="int",
    unit="persons",
    needs=("age", "is_tax_unit_dependent"),
    label="qualifying children for the child tax credit",
    source="26 U.S.C. 24(c)(1)",
)
def _ctc_qualifying_children(view: View) -> Array:
    """Count dependents under the age limit.

    Simplified: every child has a Social Security number (24(h)(7)).
    """
    young = view.people("age") < view.number("ctc_age_end")
    return view.count(view.people("is_tax_unit_dependent") & young).astype(np.int64)


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "adjusted_gross_income",
        "is_tax_unit_dependent",
        "ctc_qualifying_children",
    ),
    label="child tax credit before the limit by tax",
    source="26 U.S.C. 24(a), (b), (h)",
)
def _ctc_before_tax_limit(view: View) -> Array:
    """Give an amount a child, a smaller one for other dependents, less in steps of AGI."""
    children = view["ctc_qualifying_children"]
    others = view.count(view.people("is_tax_unit_dependent")) - children
    credit = view.number("ctc_amount") * children
    credit = credit + view.number("ctc_other_dependent_amount") * others
    over = np.maximum(view["adjusted_gross_income"] - view.by_status("ctc_threshold"), 0)
    steps = np.ceil(over / view.number("ctc_step"))
    return np.maximum(credit - view.number("ctc_step_reduction") * steps, 0)


@rule(
    entity="tax_unit",
    needs=("ctc_before_tax_limit", "income_tax_before_credits"),
    label="nonrefundable child tax credit",
    source="26 U.S.C. 24(a), 26(a)",
)
def _non_refundable_ctc(view: View) -> Array:
    """Take the credit as far as the tax goes."""
    return np.minimum(view["ctc_before_tax_limit"], view["income_tax_before_credits"])


@rule(
    entity="tax_unit",
    needs=(
        "is_tax_unit_dependent",
        "employment_income",
        "self_employment_tax_ald_person",
        "ctc_qualifying_children",
        "eitc_earned_income",
        "eitc",
    ),
    label="limit of the refundable child tax credit",
    source="26 U.S.C. 24(d), (h)(5), (h)(6)",
)
def _refundable_ctc_limit(view: View) -> Array:
    """Limit what is refunded to a share of earnings and to an amount a child.

    With three children or more, payroll taxes in excess of the EITC may serve instead.
    Simplified: the additional Medicare tax is not counted among payroll taxes (24(d)(2)).
    """
    children = view["ctc_qualifying_children"]
    over = np.maximum(view["eitc_earned_income"] - view.number("ctc_earnings_floor"), 0)
    by_earnings = view.number("ctc_earnings_rate") * over
    wages = np.maximum(view.people("employment_income"), 0)
    insured = np.minimum(wages, view.number("social_security_wage_base"))
    payroll = view.number("employee_medicare_rate") * wages
    payroll += view.number("employee_social_security_rate") * insured
    payroll += view.people("self_employment_tax_ald_person")
    large = children >= view.number("ctc_payroll_test_children")
    limit = np.where(
        large, np.maximum(by_earnings, view.filers(payroll) - view["eitc"]), by_earnings
    )
    return np.minimum(limit, view.number("ctc_refundable_maximum") * children)


@rule(
    entity="tax_unit",
    needs=("ctc_before_tax_limit", "non_refundable_ctc", "refundable_ctc_limit"),
    label="refundable child tax credit",
    source="26 U.S.C. 24(d)(1)",
)
def _refundable_ctc(view: View) -> Array:
    """Refund what the tax leaves of the credit, up to the limit."""
    rest = view["ctc_before_tax_limit"] - view["non_refundable_ctc"]
    return np.minimum(rest, view["refundable_ctc_limit"])


@rule(
    entity="tax_unit",
    needs=("non_refundable_ctc", "refundable_ctc"),
    label="child tax credit",
    source="26 U.S.C. 24",
)
def _ctc(view: View) -> Array:
    """Add up both parts of the credit."""
    return view["non_refundable_ctc"] + view["refundable_ctc"]


RULES = rules_in(globals())
"""The rules of this module."""
