"""From incomes to adjusted gross income.

    AGI = wages + interest + dividends + business + gains (losses up to a limit)
          + pensions + other + taxable Social Security - deductions above the line

Axes: rules of a tax unit return shape (tax_unit,), rules of a person shape (person,). Only
the head and the spouse of a tax unit earn its income; a dependent's income is the
dependent's own.

Source: 26 U.S.C. as in force for tax year 2024; each rule names its section.

Simplified in all of the income tax: nobody is blind, a full-time student or a nonresident;
there is no foreign income, no casualty, no carryover from another year. Alaska's dividend
to its residents is not computed; a dataset that has it gives it as miscellaneous income.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]

_BUSINESS = ("self_employment_income", "farm_income", "partnership_s_corp_income", "rental_income")
_OTHER = (
    "taxable_interest_income",
    "qualified_dividend_income",
    "non_qualified_dividend_income",
    "taxable_pension_income",
    "taxable_ira_distributions",
    "alimony_income",
    "miscellaneous_income",
    "taxable_unemployment_compensation",
)
_GAINS = ("long_term_capital_gains", "short_term_capital_gains")
_ABOVE_THE_LINE = ("self_employment_tax_ald_person", "alimony_expense")
_ABOVE_THE_LINE_OF_UNIT = ("self_employed_health_insurance_ald", "health_savings_account_ald")


@rule(
    entity="tax_unit",
    kind="int",
    unit="",
    needs=("is_tax_unit_spouse", "is_tax_unit_dependent"),
    label="filing status: 0 single, 1 joint, 2 head of household",
    source="26 U.S.C. 1(a)-(c), 2(b)",
)
def _filing_status(view: View) -> Array:
    """Let couples file jointly and others with a dependent be heads of household.

    Simplified: no separate returns and no surviving spouses (2(a)); every dependent is a
    qualifying person who lives with the head (2(b)(1)).
    """
    married = view.any(view.people("is_tax_unit_spouse"))
    with_dependent = view.any(view.people("is_tax_unit_dependent"))
    return np.where(married, 1, np.where(with_dependent, 2, 0))


@rule(
    entity="person",
    needs=("self_employment_income", "farm_income"),
    label="net earnings from self-employment",
    source="26 U.S.C. 1402(a)",
)
def _self_employment_net_earnings(view: View) -> Array:
    """Take off net profit the half of the tax on it that 1402(a)(12) lets off.

    Simplified: income from partnerships is not self-employment income (1402(a)(13)).
    """
    rate = view.number("self_employment_social_security_rate")
    rate += view.number("self_employment_medicare_rate")
    relief = view.number("self_employment_deductible_share") * rate
    profit = view.add("self_employment_income", "farm_income")
    return np.maximum(profit, 0) * (1 - relief)


@rule(
    entity="person",
    needs=("self_employment_net_earnings", "employment_income"),
    label="deductible half of self-employment tax",
    source="26 U.S.C. 164(f), 1401, 1402(b)",
)
def _self_employment_tax_ald_person(view: View) -> Array:
    """Halve the tax on net earnings; Social Security tax stops at the wage base."""
    net = view["self_employment_net_earnings"]
    net = np.where(net < view.number("self_employment_floor"), 0, net)
    wages = np.maximum(view["employment_income"], 0)
    room = np.maximum(view.number("social_security_wage_base") - wages, 0)
    tax = view.number("self_employment_social_security_rate") * np.minimum(net, room)
    tax += view.number("self_employment_medicare_rate") * net
    return view.number("self_employment_deductible_share") * tax


@rule(
    entity="tax_unit",
    needs=("is_tax_unit_dependent", *_GAINS),
    label="net capital gain or deductible loss",
    source="26 U.S.C. 1211(b), 1222",
)
def _loss_limited_net_capital_gains(view: View) -> Array:
    """Net the gains and losses of the return; a loss counts up to the limit."""
    net = view.filers(view.add(*_GAINS))
    return np.maximum(net, -view.number("capital_loss_limit"))


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "is_tax_unit_dependent",
        "employment_income",
        "loss_limited_net_capital_gains",
        "educator_expense",
        *_BUSINESS,
        *_OTHER,
        *_ABOVE_THE_LINE,
        *_ABOVE_THE_LINE_OF_UNIT,
    ),
    label="AGI before Social Security and student loan interest",
    source="26 U.S.C. 61, 62, 461(l)",
)
def _income_before_social_security(view: View) -> Array:
    """Add up all other income, less the other deductions above the line.

    Simplified: losses of rentals and partnerships are not limited as passive (469).
    """
    business = view.filers(view.add(*_BUSINESS))
    business = np.maximum(business, -view.by_status("excess_business_loss"))
    wages = np.maximum(view.people("employment_income"), 0)
    income = view.filers(wages + view.add(*_OTHER)) + business
    income += view["loss_limited_net_capital_gains"]
    classroom = np.minimum(view.people("educator_expense"), view.number("educator_expense_cap"))
    income -= view.filers(classroom + view.add(*_ABOVE_THE_LINE))
    for deduction in _ABOVE_THE_LINE_OF_UNIT:
        income = income - view[deduction]
    return income


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "is_tax_unit_dependent",
        "social_security",
        "tax_exempt_interest_income",
        "income_before_social_security",
    ),
    label="taxable Social Security benefits",
    source="26 U.S.C. 86",
)
def _tax_unit_taxable_social_security(view: View) -> Array:
    """Include more of the benefits as other income rises, up to half and then beyond."""
    benefits = view.filers(np.maximum(view.people("social_security"), 0))
    first, second = (
        view.number("social_security_first_rate"),
        view.number("social_security_second_rate"),
    )
    combined = view["income_before_social_security"]
    combined = combined + view.filers(view.people("tax_exempt_interest_income"))
    combined = combined + view.number("social_security_income_share") * benefits
    base = view.by_status("social_security_base_amount")
    adjusted = view.by_status("social_security_adjusted_base_amount")
    tier_one = np.minimum(first * benefits, first * np.maximum(combined - base, 0))
    below = np.minimum(tier_one, first * (adjusted - base))
    tier_two = second * np.maximum(combined - adjusted, 0) + below
    return np.where(combined > adjusted, np.minimum(tier_two, second * benefits), tier_one)


@rule(
    entity="tax_unit",
    needs=(
        "filing_status",
        "is_tax_unit_dependent",
        "student_loan_interest",
        "income_before_social_security",
        "tax_unit_taxable_social_security",
    ),
    label="adjusted gross income",
    source="26 U.S.C. 62, 221",
)
def _adjusted_gross_income(view: View) -> Array:
    """Finish with student loan interest, which phases out with all other income."""
    income = view["income_before_social_security"] + view["tax_unit_taxable_social_security"]
    interest = view.filers(view.people("student_loan_interest"))
    interest = np.minimum(interest, view.number("student_loan_interest_cap"))
    excess = np.maximum(income - view.by_status("student_loan_interest_start"), 0)
    left = 1 - np.minimum(excess / view.by_status("student_loan_interest_width"), 1)
    return income - interest * left


@rule(
    entity="tax_unit",
    needs=(
        "is_tax_unit_dependent",
        "employment_income",
        "loss_limited_net_capital_gains",
        "tax_unit_taxable_social_security",
        *_BUSINESS,
        *_OTHER,
    ),
    label="gross income, losses counted as zero",
    source="26 U.S.C. 61, 6012(a)",
)
def _gross_income(view: View) -> Array:
    """Add up what decides whether a return is due.

    Simplified: a business counts with its net profit, not with its receipts.
    """
    income = view.filers(view.add_gains("employment_income", *_BUSINESS, *_OTHER))
    income += np.maximum(view["loss_limited_net_capital_gains"], 0)
    return income + view["tax_unit_taxable_social_security"]


RULES = rules_in(globals())
"""The rules of this module."""
