"""Cash and preschool for families with children: TANF and Head Start.

    TANF         share * (payment standard - earnings after disregards - other income)
    Head Start   cost of a place, for small children of poor families

Axes: TANF returns shape (spm_unit,), Head Start shape (person,).

Source: 45 CFR 260 and the states' own rules for TANF, amounts in force in January 2024; 45
CFR 1302 for Head Start.

Simplified throughout: the SPM unit is the assistance unit; everybody is a citizen; no work
requirements and no time limits; monthly amounts of January are paid twelve times.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import MONTHS, View, rule, rules_in

__all__ = ["RULES"]


# -- TANF ------------------------------------------------------------------------------


@rule(
    entity="spm_unit",
    kind="int",
    unit="persons",
    needs=("ssi",),
    label="members who do not get SSI",
    source="42 U.S.C. 602(a)(1), the plans of the states",
)
def _tanf_unit_size(view: View) -> Array:
    """Leave recipients of SSI out of the assistance unit."""
    return view.count(view.people("ssi") <= 0).astype(np.int64)


@rule(
    entity="spm_unit",
    unit="USD/month",
    needs=("ssi", "earned_income", "unearned_income"),
    label="monthly gross income for TANF",
    source="7 AAC 45.520; Utah Admin. Code R986-200-239",
)
def _tanf_gross_income(view: View) -> Array:
    """Add up income of the assistance unit; recipients of SSI stand outside with theirs."""
    income = view.add("earned_income", "unearned_income")
    return view.sum(np.where(view.people("ssi") > 0, 0, income)) / MONTHS


@rule(
    entity="spm_unit",
    unit="USD/month",
    needs=("state_fips", "ssi", "earned_income", "unearned_income"),
    label="monthly countable income for TANF",
    source="7 AAC 45.480; Cal. Welf. & Inst. Code 11451.5; D.C. Code 4-205.11; "
    "Utah Admin. Code R986-200-239",
)
def _tanf_countable_income(view: View) -> Array:
    """Count earnings after a flat and a proportional disregard, and other income in full.

    Simplified: the rules are those for families already on the program; no deduction for
    child care; North Carolina disregards no earnings.
    """
    member = view.people("ssi") <= 0
    earned = view.people("earned_income") / MONTHS
    disregard = view.by_state("tanf_disregard_per_earner")[view.unit_of_person("spm_unit")]
    earned = np.where(member, np.maximum(earned - disregard, 0), 0)
    counted = np.maximum(view.sum(earned) - view.by_state("tanf_disregard_per_unit"), 0)
    counted *= 1 - view.by_state("tanf_disregard_share")
    return counted + view.sum(np.where(member, view.people("unearned_income"), 0)) / MONTHS


@rule(
    entity="spm_unit",
    kind="bool",
    unit="",
    needs=("state_fips", "ssi", "age", "is_disabled", "countable_resources"),
    label="has a child and resources within the limits of TANF",
    source="45 CFR 260.30; 7 AAC 45.280; CDSS ACL 23-71; D.C. Code 4-205.37; "
    "Utah Admin. Code R986-200-230",
)
def _meets_tanf_family_test(view: View) -> Array:
    """Ask for a minor in the unit, and few resources; more with an elderly or disabled member.

    Simplified: Alaska's higher limit is for the elderly alone; North Carolina's limit is
    left out.
    """
    age, member = view.people("age"), view.people("ssi") <= 0
    child = view.any(member & (age < view.number("tanf_child_age_end")))
    frail = view.any((age >= view.number("tanf_elderly_age")) | view.people("is_disabled"))
    limit = np.where(
        frail, view.by_state("tanf_asset_limit_elderly"), view.by_state("tanf_asset_limit")
    )
    return child & (view.sum(view.people("countable_resources")) <= limit)


@rule(
    entity="spm_unit",
    needs=(
        "state_fips",
        "tanf_unit_size",
        "tanf_gross_income",
        "tanf_countable_income",
        "meets_tanf_family_test",
        "takes_up_tanf_if_eligible",
    ),
    label="Temporary Assistance for Needy Families, if claimed",
    source="7 AAC 45.520, 45.523; Cal. Welf. & Inst. Code 11450; D.C. Code 4-205.52; "
    "NCDHHS Work First manual 114; Utah Admin. Code R986-200-239",
)
def _tanf(view: View) -> Array:
    """Pay a share of what income lacks to the payment standard.

    Simplified: units of more than ten get what ten get; California pays the amounts of its
    Region 1 for families with a member able to work, in every county.
    """
    size, income = view["tanf_unit_size"], view["tanf_countable_income"]
    standard = view.by_state_and_size("tanf_payment_standard", size)
    need = view.by_state_and_size("tanf_need_standard", size)
    deficit = standard - income
    eligible = view["meets_tanf_family_test"] & (income <= need)
    eligible &= view["tanf_gross_income"] <= view.by_state("tanf_gross_limit") * need
    eligible &= deficit >= view.by_state("tanf_minimum_deficit") * size
    payment = view.by_state("tanf_payment_share") * np.maximum(deficit, 0)
    return np.where(eligible & view["takes_up_tanf_if_eligible"], MONTHS * payment, 0)


# -- Head Start ------------------------------------------------------------------------


@rule(
    entity="spm_unit",
    kind="bool",
    unit="",
    needs=("state_fips", "earned_income", "unearned_income", "ssi", "tanf", "snap"),
    label="poor, or on public assistance",
    source="45 CFR 1302.12(c)(1)",
)
def _is_head_start_family(view: View) -> Array:
    """Ask for income up to the poverty guideline, or for SSI, TANF or SNAP.

    Simplified: foster and homeless children are not known.
    """
    income = view.sum(view.add("earned_income", "unearned_income"))
    line = view.poverty_line("poverty_guideline")
    poor = income <= view.number("head_start_limit") * line
    return poor | (view.sum(view.people("ssi")) + view["tanf"] + view["snap"] > 0)


@rule(
    entity="person",
    needs=("state_fips", "age", "is_head_start_family", "takes_up_head_start_if_eligible"),
    label="cost of a place in Head Start, if attended",
    source="45 CFR 1302.12(b)(2); Head Start Program Facts FY 2024",
)
def _head_start(view: View) -> Array:
    """Give children from three to school age the state's spending per place."""
    cost = view.by_state("head_start_spending") / view.by_state("head_start_enrollment")
    age = view["age"]
    old = age >= view.number("early_head_start_age_end")
    eligible = old & (age < view.number("head_start_age_end")) & view["is_head_start_family"]
    return np.where(eligible & view["takes_up_head_start_if_eligible"], cost, 0)


@rule(
    entity="person",
    needs=("state_fips", "age", "is_head_start_family", "takes_up_early_head_start_if_eligible"),
    label="cost of a place in Early Head Start, if attended",
    source="45 CFR 1302.12(b)(1); Head Start Program Facts FY 2024",
)
def _early_head_start(view: View) -> Array:
    """Give children under three the state's spending per place.

    Simplified: no places for pregnant women.
    """
    cost = view.by_state("early_head_start_spending") / view.by_state("early_head_start_enrollment")
    young = view["age"] < view.number("early_head_start_age_end")
    eligible = young & view["is_head_start_family"]
    return np.where(eligible & view["takes_up_early_head_start_if_eligible"], cost, 0)


RULES = rules_in(globals())
"""The rules of this module."""
