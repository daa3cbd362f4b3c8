"""Supplemental Security Income, person by person, and the incomes that benefits count.

    SSI = 12 * rate - countable income,  for the aged and the disabled with few resources
    countable = (unearned - general exclusion) + (1 - share) * (earned - earned exclusion)

The income of an ineligible spouse or parent is deemed to be the claimant's, less an
allocation for the other children. A couple of whom both are aged or disabled has one rate
and one income, and each gets half.

Axes: every rule returns shape (person,); sums over a family run over its tax unit.

Source: 20 CFR 416 subparts K and L; rates of January 2024. Deeming to a spouse never pays
more than the claimant would get alone: POMS SI 01320.400.

Simplified throughout: everybody lives in a household of their own or their parents', pays
for food and shelter, and is a citizen; no state supplements; no exclusion of students'
earnings (416.1112(c)(3)); the year is twelve equal months.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Array
from calibration.engines.toy.rule import MONTHS, View, rule, rules_in

__all__ = ["RULES"]

_UNEARNED = (
    "taxable_interest_income",
    "tax_exempt_interest_income",
    "qualified_dividend_income",
    "non_qualified_dividend_income",
    "rental_income",
    "partnership_s_corp_income",
    "taxable_pension_income",
    "taxable_ira_distributions",
    "alimony_income",
    "miscellaneous_income",
    "taxable_unemployment_compensation",
    "social_security",
)
_FAMILY = ("age", "is_tax_unit_dependent", "is_ssi_aged_or_disabled")


@rule(
    entity="person",
    needs=("employment_income", "self_employment_income", "farm_income"),
    label="earned income that benefits count",
    source="20 CFR 416.1110; 7 CFR 273.9(b)(1)",
)
def _earned_income(view: View) -> Array:
    """Add up wages and net profits.

    Simplified: one definition for SSI, TANF, SNAP and Head Start; losses count as zero.
    """
    return view.add_gains("employment_income", "self_employment_income", "farm_income")


@rule(
    entity="person",
    needs=_UNEARNED,
    label="unearned cash income that benefits count, other benefits aside",
    source="20 CFR 416.1121; 7 CFR 273.9(b)(2)",
)
def _unearned_income(view: View) -> Array:
    """Add up income from property, pensions and insurance.

    Simplified: one definition for SSI, TANF, SNAP and Head Start; losses count as zero and
    capital gains do not count.
    """
    return view.add_gains(*_UNEARNED)


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("age", "is_disabled", "earned_income"),
    label="aged, or disabled and without substantial earnings",
    source="20 CFR 416.202, 416.974",
)
def _is_ssi_aged_or_disabled(view: View) -> Array:
    """Tell who may get SSI if income and resources are low.

    Simplified: who earns more later keeps no status (42 U.S.C. 1382h).
    """
    gainful = view["earned_income"] > MONTHS * view.number("substantial_gainful_activity")
    return (view["age"] >= view.number("ssi_age")) | (view["is_disabled"] & ~gainful)


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=_FAMILY,
    label="one of a couple who are both aged or disabled",
    source="20 CFR 416.1801, 416.412",
)
def _is_ssi_couple(view: View) -> Array:
    """Find head and spouse of one tax unit, both of whom may get SSI."""
    mine = ~view["is_tax_unit_dependent"] & view["is_ssi_aged_or_disabled"]
    return mine & (view.within(mine.astype(np.float64), "tax_unit") > 1)


def _countable(
    view: View, earned: NDArray[np.float64], unearned: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Take the exclusions of 416.1112 and 416.1124 off a year's income, shape (person,)."""
    general = MONTHS * view.number("ssi_general_exclusion")
    rest = np.maximum(general - unearned, 0)
    work = np.maximum(earned - rest - MONTHS * view.number("ssi_earned_exclusion"), 0)
    return np.maximum(unearned - general, 0) + (1 - view.number("ssi_earned_share")) * work


@rule(
    entity="person",
    needs=("earned_income", "unearned_income", *_FAMILY),
    label="allocation for ineligible children of the tax unit",
    source="20 CFR 416.1163(b), 416.1165(b)",
)
def _ssi_child_allocation(view: View) -> Array:
    """Allow each child who may not get SSI the difference of the rates, less its income."""
    child = view["is_tax_unit_dependent"] & (view["age"] < view.number("ssi_child_age_end"))
    ineligible = child & ~view["is_ssi_aged_or_disabled"]
    rate = MONTHS * (view.number("ssi_couple_rate") - view.number("ssi_individual_rate"))
    needed = np.maximum(rate - view["earned_income"] - view["unearned_income"], 0)
    return view.within(np.where(ineligible, needed, 0), "tax_unit")


def _deemed_from(view: View, source: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add up earned and unearned income of some members of the tax unit, less allocations."""
    earned = view.within(np.where(source, view["earned_income"], 0), "tax_unit")
    unearned = view.within(np.where(source, view["unearned_income"], 0), "tax_unit")
    allocation = view["ssi_child_allocation"]
    earned = np.maximum(earned - np.maximum(allocation - unearned, 0), 0)
    return earned, np.maximum(unearned - allocation, 0)


_DEEMING = ("earned_income", "unearned_income", "ssi_child_allocation", *_FAMILY)


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("is_ssi_couple", *_DEEMING),
    label="income of an ineligible spouse counts",
    source="20 CFR 416.1163(d)",
)
def _is_ssi_spousal_deeming(view: View) -> Array:
    """Compare the spouse's income after allocations with the difference of the two rates."""
    filer = ~view["is_tax_unit_dependent"]
    eligible = view["is_ssi_aged_or_disabled"]
    earned, unearned = _deemed_from(view, filer & ~eligible)
    rate = MONTHS * (view.number("ssi_couple_rate") - view.number("ssi_individual_rate"))
    return filer & eligible & ~view["is_ssi_couple"] & (earned + unearned > rate)


@rule(
    entity="person",
    needs=_DEEMING,
    label="income deemed to a child from ineligible parents",
    source="20 CFR 416.1165",
)
def _ssi_parental_deemed_income(view: View) -> Array:
    """Share the parents' countable income over their needs among the eligible children.

    Simplified: head and spouse of the tax unit are the parents; a parent who may get SSI
    deems nothing.
    """
    dependent, eligible = view["is_tax_unit_dependent"], view["is_ssi_aged_or_disabled"]
    parent = ~dependent & ~eligible
    child = dependent & eligible & (view["age"] < view.number("ssi_child_age_end"))
    parents = view.within(parent.astype(np.float64), "tax_unit")
    rate = np.where(parents > 1, view.number("ssi_couple_rate"), view.number("ssi_individual_rate"))
    countable = _countable(view, *_deemed_from(view, parent))
    over = np.maximum(countable - MONTHS * rate, 0)
    children = np.maximum(view.within(child.astype(np.float64), "tax_unit"), 1)
    return np.where(child, over / children, 0)


@rule(
    entity="person",
    needs=("is_ssi_couple", "is_ssi_spousal_deeming", "ssi_parental_deemed_income", *_DEEMING),
    label="countable income of a person, couple or person with deeming spouse",
    source="20 CFR 416.1104, 416.1163, 416.1165",
)
def _ssi_countable_income(view: View) -> Array:
    """Count what SSI and the Medicaid of the aged and disabled compare with their limits.

    For one of an eligible couple, half of the couple's; with an ineligible spouse whose
    income counts, that of both.
    """
    earned, unearned = view["earned_income"], view["unearned_income"]
    couple = view["is_ssi_couple"]
    both = _countable(
        view,
        view.within(np.where(couple, earned, 0), "tax_unit"),
        view.within(np.where(couple, unearned, 0), "tax_unit"),
    )
    spouse = ~view["is_tax_unit_dependent"] & ~view["is_ssi_aged_or_disabled"]
    more_earned, more_unearned = _deemed_from(view, spouse)
    deemed = _countable(view, earned + more_earned, unearned + more_unearned)
    alone = _countable(view, earned, unearned + view["ssi_parental_deemed_income"])
    return np.where(couple, both / 2, np.where(view["is_ssi_spousal_deeming"], deemed, alone))


@rule(
    entity="person",
    kind="float",
    unit="USD",
    needs=("bank_account_assets", "stock_assets", "bond_assets"),
    label="countable resources of a person",
    source="20 CFR 416.1201; 7 CFR 273.8(c)",
)
def _countable_resources(view: View) -> Array:
    """Add up money and securities.

    Simplified: one definition for SSI, TANF, SNAP and Medicaid; no vehicles, no burial
    funds, no real property.
    """
    return view.add_gains("bank_account_assets", "stock_assets", "bond_assets")


@rule(
    entity="person",
    kind="bool",
    unit="",
    needs=("countable_resources", *_FAMILY),
    label="resources within the limits of SSI",
    source="20 CFR 416.1202, 416.1205",
)
def _meets_ssi_resource_test(view: View) -> Array:
    """Hold a couple's resources against its limit, and deem the parents' excess to children.

    Simplified: the parents' excess is shared by all eligible children once.
    """
    own, dependent = view["countable_resources"], view["is_tax_unit_dependent"]
    of_filers = view.within(np.where(dependent, 0, own), "tax_unit")
    filers = view.within((~dependent).astype(np.float64), "tax_unit")
    one, two = view.number("ssi_individual_resources"), view.number("ssi_couple_resources")
    limit = np.where(filers > 1, two, one)
    child = dependent & view["is_ssi_aged_or_disabled"]
    child &= view["age"] < view.number("ssi_child_age_end")
    children = np.maximum(view.within(child.astype(np.float64), "tax_unit"), 1)
    deemed = np.where(child, np.maximum(of_filers - limit, 0) / children, 0)
    return np.where(dependent, own + deemed <= one, of_filers <= limit)


@rule(
    entity="person",
    needs=(
        "earned_income",
        "unearned_income",
        "is_ssi_aged_or_disabled",
        "meets_ssi_resource_test",
        "is_ssi_couple",
        "is_ssi_spousal_deeming",
        "ssi_countable_income",
        "takes_up_ssi_if_eligible",
    ),
    label="Supplemental Security Income, if claimed",
    source="42 U.S.C. 1382; 20 CFR 416.410, 416.412, 416.1163",
)
def _ssi(view: View) -> Array:
    """Take countable income off the rate."""
    one = MONTHS * view.number("ssi_individual_rate")
    two = MONTHS * view.number("ssi_couple_rate")
    deeming = view["is_ssi_spousal_deeming"]
    rate = np.where(view["is_ssi_couple"], two / 2, np.where(deeming, two, one))
    benefit = rate - view["ssi_countable_income"]
    alone = one - _countable(view, view["earned_income"], view["unearned_income"])
    benefit = np.where(deeming, np.minimum(benefit, alone), benefit)
    eligible = view["is_ssi_aged_or_disabled"] & view["meets_ssi_resource_test"]
    return np.where(eligible & view["takes_up_ssi_if_eligible"], np.maximum(benefit, 0), 0)


RULES = rules_in(globals())
"""The rules of this module."""
