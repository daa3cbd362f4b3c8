"""Medicaid and the children's program beside it.

    eligible   income / poverty guideline <= limit of the state for the person's group
    cost       spending / enrollees of the state and group, for those who enroll

A person's cost is a published average, whoever else is in the dataset. (A cost that shares
a state's spending out among the enrolled of the dataset would depend on their weights, and
no matrix of unit values could hold it.)

Axes: incomes of the tax unit return shape (tax_unit,), all else shape (person,).

Source: 42 CFR 435 and the states' limits of 2024, which include the five points of
435.603(d)(4); MACPAC MACStats for costs.

Simplified throughout: the tax unit is the household of 42 CFR 435.603(f), and its income
is that of its filers; everybody is a citizen; nobody is pregnant, in foster care or in an
institution; no spend-down and no buy-in.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]


@rule(
    entity="tax_unit",
    needs=(
        "is_tax_unit_dependent",
        "adjusted_gross_income",
        "tax_unit_taxable_social_security",
        "tax_exempt_interest_income",
        "social_security",
    ),
    label="modified adjusted gross income for health coverage",
    source="26 U.S.C. 36B(d)(2)(B); 42 CFR 435.603(e)",
)
def _medicaid_magi(view: View) -> Array:
    """Add tax-exempt interest and untaxed Social Security back to AGI."""
    untaxed = np.maximum(view.people("social_security"), 0)
    untaxed = untaxed + view.people("tax_exempt_interest_income")
    taxed = view["tax_unit_taxable_social_security"]
    return np.maximum(view["adjusted_gross_income"] - taxed + view.filers(untaxed), 0)


@rule(
    entity="tax_unit",
    unit="1",
    needs=("state_fips", "medicaid_magi"),
    label="income over the poverty guideline of 2024",
    source="42 CFR 435.603(b), (h)",
)
def _medicaid_income_level(view: View) -> Array:
    """Express modified AGI in guidelines for the size of the tax unit."""
    return view["medicaid_magi"] / view.poverty_line("poverty_guideline")


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("state_fips", "age", "medicaid_income_level"),
    label="eligible for Medicaid as a child",
    source="42 CFR 435.118",
)
def _is_child_for_medicaid(view: View) -> Array:
    """Cover minors, with a limit for infants, one for young children and one for others."""
    age = view["age"]
    older = age >= view.number("medicaid_young_child_age_end")
    limit = np.where(
        older,
        view.by_state("medicaid_older_child_limit"),
        view.by_state("medicaid_young_child_limit"),
    )
    infant = age < view.by_state("medicaid_infant_age_end")
    limit = np.where(infant, view.by_state("medicaid_infant_limit"), limit)
    child = age < view.number("medicaid_child_age_end")
    return child & (view["medicaid_income_level"] <= limit)


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("state_fips", "age", "is_tax_unit_dependent", "medicaid_income_level"),
    label="eligible for Medicaid as a parent or young adult",
    source="42 CFR 435.110, 435.222",
)
def _is_other_adult_for_medicaid(view: View) -> Array:
    """Cover parents of minors, and young adults where the state has that group.

    Simplified: no category of their own for pregnant women (435.116).
    """
    age, dependent = view["age"], view["is_tax_unit_dependent"]
    minor = dependent & (age < view.number("medicaid_dependent_child_age_end"))
    level, adult = view["medicaid_income_level"], age >= view.number("medicaid_child_age_end")
    parent = ~dependent & (view.within(minor.astype(np.float64), "tax_unit") > 0)
    parent &= level <= view.by_state("medicaid_parent_limit")
    young = adult & (age < view.number("medicaid_young_adult_age_end"))
    limit = view.by_state("medicaid_young_adult_limit")
    return adult & (parent | (young & (limit > 0) & (level <= limit)))


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("state_fips", "age", "medicaid_income_level"),
    label="eligible for Medicaid as an expansion adult",
    source="42 CFR 435.119",
)
def _is_expansion_adult_for_medicaid(view: View) -> Array:
    """Cover adults up to Medicare age.

    Simplified: people under 65 on Medicare are not known.
    """
    age = view["age"]
    adult = age >= view.number("medicaid_child_age_end")
    adult &= age < view.number("medicaid_adult_age_end")
    return adult & (view["medicaid_income_level"] <= view.by_state("medicaid_adult_limit"))


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=(
        "state_fips",
        "is_tax_unit_dependent",
        "is_ssi_aged_or_disabled",
        "is_ssi_couple",
        "is_ssi_spousal_deeming",
        "ssi_countable_income",
        "countable_resources",
    ),
    label="eligible for Medicaid as aged or disabled",
    source="42 U.S.C. 1396a(a)(10)(A)(i)(II), (m)(1)",
)
def _is_senior_or_disabled_for_medicaid(view: View) -> Array:
    """Cover the aged and disabled whose income and resources are low.

    The limits of the five states are above those of SSI, so everybody who gets SSI is
    covered without being asked whether they do.
    Simplified: income counts as in SSI, without the states' further disregards; the working
    disabled cannot buy in.
    """
    one = view.by_state("poverty_guideline")
    two = one + view.by_state("poverty_guideline_additional")
    couple, deeming = view["is_ssi_couple"], view["is_ssi_spousal_deeming"]
    guideline = np.where(couple, two / 2, np.where(deeming, two, one))
    poor = view["ssi_countable_income"] <= view.by_state("medicaid_aged_disabled_limit") * guideline
    filer, own = ~view["is_tax_unit_dependent"], view["countable_resources"]
    held = np.where(filer, view.within(np.where(filer, own, 0), "tax_unit"), own)
    pair = filer & (view.within(filer.astype(np.float64), "tax_unit") > 1)
    limit = np.where(
        pair, view.by_state("medicaid_couple_assets"), view.by_state("medicaid_individual_assets")
    )
    return view["is_ssi_aged_or_disabled"] & poor & (held <= limit)


@rule(
    entity="person",
    kind="int",
    unit="",
    needs=(
        "age",
        "is_senior_or_disabled_for_medicaid",
        "is_child_for_medicaid",
        "is_other_adult_for_medicaid",
        "is_expansion_adult_for_medicaid",
    ),
    label="Medicaid group: 0 none, then child, other adult, expansion adult, aged, disabled",
    source="MACPAC MACStats, eligibility groups",
)
def _medicaid_group(view: View) -> Array:
    """Choose the group whose average cost stands for the person: the first that applies.

    Groups are numbered from 1 in the order of the labels of `medicaid_spending`.
    """
    place = {label: n + 1 for n, label in enumerate(view.labels("medicaid_spending"))}
    aged = view["age"] >= view.number("medicaid_adult_age_end")
    frail = view["is_senior_or_disabled_for_medicaid"]
    return np.select(
        [
            frail & aged,
            frail,
            view["is_child_for_medicaid"],
            view["is_other_adult_for_medicaid"],
            view["is_expansion_adult_for_medicaid"],
        ],
        [
            place["aged"],
            place["disabled"],
            place["child"],
            place["other_adult"],
            place["expansion_adult"],
        ],
        0,
    )


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("medicaid_group",),
    label="eligible for Medicaid",
    source="42 U.S.C. 1396a(a)(10)",
)
def _medicaid_eligible(view: View) -> Array:
    """Find everybody who is in a group."""
    return view["medicaid_group"] > 0


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("medicaid_eligible", "takes_up_medicaid_if_eligible"),
    label="enrolled in Medicaid",
    source="42 U.S.C. 1396a(a)(8)",
)
def _medicaid_enrolled(view: View) -> Array:
    """Enroll the eligible who take it up."""
    return view["medicaid_eligible"] & view["takes_up_medicaid_if_eligible"]


@rule(
    entity="person",
    needs=("state_fips", "medicaid_enrolled", "medicaid_group"),
    label="cost of Medicaid, average of the state and group",
    source="MACPAC MACStats, Exhibits 14 and 21, fiscal year 2022",
)
def _medicaid(view: View) -> Array:
    """Give the enrolled the spending per enrollee of their state and group.

    Simplified: costs of 2022; North Carolina's expansion adults cost what its other adults do.
    """
    per_head = view.by_state("medicaid_spending") / view.by_state("medicaid_enrollment")
    group = np.maximum(view["medicaid_group"] - 1, 0)
    cost = np.take_along_axis(per_head, group[:, None], axis=1)[:, 0]
    return np.where(view["medicaid_enrolled"], cost, 0)


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("state_fips", "age", "medicaid_income_level", "medicaid_eligible"),
    label="eligible for a separate Children's Health Insurance Program",
    source="42 U.S.C. 1397jj(b)",
)
def _is_chip_eligible_child(view: View) -> Array:
    """Cover children over Medicaid's limit in a state with a program apart from it."""
    child = view["age"] < view.number("medicaid_child_age_end")
    poor = view["medicaid_income_level"] <= view.by_state("chip_limit")
    return child & poor & ~view["medicaid_eligible"]


RULES = rules_in(globals())
"""The rules of this module."""
