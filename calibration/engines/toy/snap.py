"""Food: the Supplemental Nutrition Assistance Program.

    SNAP = maximum allotment - share * net income
    net  = gross - standard deduction - share of earnings - shelter costs beyond half the rest

Gross income includes the SSI and the TANF that the unit really gets, after takeup.

Axes: every rule returns shape (spm_unit,); incomes are dollars a month.

Source: 7 U.S.C. 2011-2036, 7 CFR 273; amounts in force in January 2024.

Simplified throughout: the SPM unit is the household of 7 CFR 273.1; everybody is a citizen;
no work requirements and no time limits; January is paid twelve times.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import MONTHS, View, rule, rules_in

__all__ = ["RULES"]


@rule(
    entity="spm_unit",
    unit="USD/month",
    needs=("age", "is_tax_unit_dependent", "earned_income"),
    label="monthly earned income for SNAP",
    source="7 U.S.C. 2014(d)(7)",
)
def _snap_earned_income(view: View) -> Array:
    """Add up earnings, those of minors left out.

    Simplified: every dependent minor is at school.
    """
    minor = view.people("age") < view.number("snap_child_earner_age_end")
    minor = minor & view.people("is_tax_unit_dependent")
    return view.sum(np.where(minor, 0, view.people("earned_income"))) / MONTHS


@rule(
    entity="spm_unit",
    unit="USD/month",
    needs=("snap_earned_income", "unearned_income", "ssi", "tanf"),
    label="monthly gross income for SNAP",
    source="7 CFR 273.9(b)",
)
def _snap_gross_income(view: View) -> Array:
    """Add up all income, with the SSI and TANF that the unit gets."""
    other = view.sum(view.people("unearned_income") + view.people("ssi")) + view["tanf"]
    return view["snap_earned_income"] + other / MONTHS


@rule(
    entity="spm_unit",
    kind="bool",
    unit="",
    needs=("age", "is_disabled"),
    label="has an elderly or disabled member",
    source="7 U.S.C. 2012(j)",
)
def _has_snap_elderly_disabled_member(view: View) -> Array:
    """Find units free of the gross income test and of the cap on shelter costs.

    Simplified: the disabled need not receive a benefit for their disability.
    """
    elderly = view.people("age") >= view.number("snap_elderly_age")
    return view.any(elderly | view.people("is_disabled"))


@rule(
    entity="spm_unit",
    unit="USD/month",
    needs=(
        "state_fips",
        "snap_earned_income",
        "snap_gross_income",
        "has_snap_elderly_disabled_member",
        "rent",
        "real_estate_taxes",
        "deductible_mortgage_interest",
    ),
    label="monthly net income for SNAP",
    source="7 U.S.C. 2014(e)",
)
def _snap_net_income(view: View) -> Array:
    """Take the deductions for everybody, for work, and for shelter off gross income.

    Simplified: every unit has the standard utility allowance of its state, Alaska's that of
    the Central region; no deductions for care, child support and medical costs.
    """
    size = view.size()
    net = view["snap_gross_income"] - view.by_state_and_size("snap_standard_deduction", size)
    net = np.maximum(net - view.number("snap_earned_deduction") * view["snap_earned_income"], 0)
    costs = view.add_gains("rent", "real_estate_taxes", "deductible_mortgage_interest")
    shelter = view.sum(costs) / MONTHS + view.by_state_and_size("snap_utility_allowance", size)
    excess = np.maximum(shelter - view.number("snap_shelter_income_share") * net, 0)
    capped = np.minimum(excess, view.by_state("snap_shelter_cap"))
    excess = np.where(view["has_snap_elderly_disabled_member"], excess, capped)
    return np.maximum(net - excess, 0)


@rule(
    entity="spm_unit",
    kind="bool",
    unit="",
    needs=(
        "state_fips",
        "snap_gross_income",
        "snap_net_income",
        "has_snap_elderly_disabled_member",
        "countable_resources",
        "ssi",
        "tanf",
    ),
    label="meets the tests of SNAP",
    source="7 U.S.C. 2014(a), (c), (g); 7 CFR 273.2(j)",
)
def _is_snap_eligible(view: View) -> Array:
    """Pass by the federal tests, by the state's broad category, or by other benefits.

    Limits of January 2024 are those of the poverty guidelines of 2023.
    Simplified: no rounding of limits; no students' or strikers' rules.
    """
    poverty = view.poverty_line("poverty_guideline_prior") / MONTHS
    gross, net = view["snap_gross_income"], view["snap_net_income"]
    frail = view["has_snap_elderly_disabled_member"]
    limit = np.where(
        frail, view.number("snap_asset_limit_elderly"), view.number("snap_asset_limit")
    )
    by_income = frail | (gross <= view.number("snap_gross_limit") * poverty)
    by_income &= net <= view.number("snap_net_limit") * poverty
    by_income &= view.sum(view.people("countable_resources")) <= limit
    broad = gross <= view.by_state("snap_broad_based_limit") * poverty
    broad &= view.by_state("snap_broad_based_limit") > 0
    aided = ~view.any((view.people("ssi") <= 0) & (view.people("tanf") <= 0))
    return by_income | broad | aided


@rule(
    entity="spm_unit",
    needs=("state_fips", "snap_net_income", "is_snap_eligible", "takes_up_snap_if_eligible"),
    label="Supplemental Nutrition Assistance Program, if claimed",
    source="7 U.S.C. 2017(a); 7 CFR 273.10(e)",
)
def _snap(view: View) -> Array:
    """Take a share of net income off the maximum; units of one or two get a minimum.

    Net income is in whole dollars and the share is rounded up (273.10(e)(1)(ii), (2)(ii)).
    Simplified: Alaska is urban throughout; no supplements of states or of the District.
    """
    size = view.size()
    table = view.array("snap_maximum_allotment")
    maximum = view.by_state_and_size("snap_maximum_allotment", size)
    beyond = np.maximum(size - table.shape[-1], 0)
    maximum = maximum + beyond * view.by_state("snap_additional_allotment")
    single = view.by_state_and_size("snap_maximum_allotment", np.ones(len(size)))
    least = np.round(view.number("snap_minimum_share") * single)
    least = np.where(size <= view.number("snap_minimum_size"), least, 0)
    net = np.floor(view["snap_net_income"] + 1 / 2)
    cents = np.round(view.number("snap_contribution_share") * net, 2)
    allotment = maximum - np.ceil(cents)  # cents first: 0.3 * 90 is 27.000000000000004 or so
    claimed = view["is_snap_eligible"] & view["takes_up_snap_if_eligible"]
    return np.where(claimed, MONTHS * np.maximum(allotment, least), 0)


RULES = rules_in(globals())
"""The rules of this module."""
