"""Wages, spells without work, Social Security, and what is set aside for old age.

    wage of a worker   M a(age) x(sex) f(place) h lognormal(0.8), correlation 0.75 with the rank
    P(works)           WORKS(age), less for the disabled and for students
    tips               0.85 of those in tipped work; mean 6,000, s = 1, whatever else

Tips are part of wages, so they never exceed them. A part of Social Security is drawn for
each person by age, sex, disability and family; the parts add up to the total.

Axes: person columns (P,). Source: synthetic (see `laws`); limits of contributions, Internal
Revenue Service, Notice 2023-75 (2024: 23,000 and 7,500 more from age 50 for elective
deferrals, 7,000 and 1,000 more for IRAs, 69,000 for defined contribution plans).
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.toy_data.laws import (
    chance,
    dollars,
    income_factor,
    lognormal,
    mixed,
    of_state,
    step,
)

__all__ = ["MEAN_WAGE", "TIPS", "UNION_RATE", "contributions", "social_security", "wages"]

MEAN_WAGE = 78_000.0  # of a man of 35 to 54 in full-time work, place effect 1
TIPS = (0.85, 6_000.0, 1.0)  # share with tips among the tipped, their mean, sigma
UNION_RATE = {2: 0.17, 6: 0.16, 11: 0.11, 37: 0.03, 49: 0.06}

_WORKS = ((0, 0.0), (16, 0.20), (18, 0.65), (25, 0.86), (55, 0.72), (62, 0.35), (70, 0.12))
_CURVE = ((0, 0.3), (18, 0.6), (25, 0.85), (35, 1.0), (62, 0.85))
_RETIRED = ((0, 0.0), (62, 0.35), (65, 0.60), (67, 0.80), (70, 0.92))


def wages(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw wages, hours, weeks without work, tips, and how people are paid."""
    person, n = dataset.person, dataset.size(PERSON)
    age, rank = person["age"], dataset.to_person(dataset["income_rank"], "tax_unit")
    slowed = np.where(person["is_disabled"], 0.4, 1.0)
    slowed *= np.where(person["is_tax_unit_dependent"], 0.6, 1.0)
    works = chance(step(age, _WORKS) * slowed, rng, n)
    full_time = chance(np.where(age < 18, 0.0, 0.8), rng, n)
    hours = np.where(full_time, 40.0, rng.integers(8, 35, n)) * works
    idle = chance(0.045, rng, n) & (age >= 18) & (age < 65) & ~person["is_tax_unit_dependent"]
    weeks = np.minimum(1 + np.floor(rng.exponential(18, n)), 52) * idle
    mean = MEAN_WAGE * step(age, _CURVE) * np.where(person["is_male"], 1.0, 0.85)
    mean = mean * np.where(full_time, 1.0, 0.5) * income_factor(dataset, PERSON) * (1 - weeks / 52)
    wage = works * lognormal(mean, 0.8, mixed(rank, 0.75, rng))
    tipped = works & chance(0.12 * (1 - rank), rng, n)
    share, mean_tips, sigma = TIPS
    tips = lognormal(mean_tips, sigma, rng.standard_normal(n)) * (tipped & chance(share, rng, n))
    benefit = idle & chance(0.6, rng, n)
    weekly = lognormal(470.0, 0.3, rng.standard_normal(n))
    columns = {
        "employment_income": dollars(wage) + dollars(tips) * (wage > 0),
        "weekly_hours_worked": hours * (wage > 0),
        "weeks_unemployed": weeks,
        "is_tipped_occupation": tipped & (wage > 0),
        "tip_income": dollars(tips) * (wage > 0),
        "taxable_unemployment_compensation": dollars(np.minimum(weeks, 26) * weekly * benefit),
    }
    return {PERSON: columns | _pay(dataset, columns, rng)}


def _pay(dataset: Dataset, work: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Draw pay by the hour (less likely at high wages) and union cover (by state and age)."""
    n, age = dataset.size(PERSON), dataset.person["age"]
    paid = work["employment_income"] > 0
    worked = work["weekly_hours_worked"] * np.maximum(52 - work["weeks_unemployed"], 1)
    hourly = work["employment_income"] / np.where(paid, worked, 1)
    rate = of_state(UNION_RATE, dataset) * np.where(age >= 45, 1.25, 0.85)
    return {
        "hourly_wage": np.round(hourly, 2) * paid,
        "is_paid_hourly": paid & chance(1 / (1 + np.exp(hourly / 12 - 3)), rng, n),
        "is_union_member_or_covered": paid & chance(rate, rng, n),
    }


def social_security(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw the four parts of Social Security and their total.

    Retirement: by age. Disability: 55 % of disabled adults under 67 without wages, 20 %
    with. Survivors: 15 % of unmarried women of 60 or more, in place of retirement or (three
    in ten) beside a smaller one; 5 % of children of lone parents. Dependents: 12 % of
    spouses of 62 or more in place of retirement; 30 % of children of a beneficiary.
    """
    person, n = dataset.person, dataset.size(PERSON)
    age, home = person["age"], dataset.household_of(PERSON)
    child, spouse = person["is_tax_unit_dependent"] & (age < 18), person["is_tax_unit_spouse"]
    married = dataset.any_in("marital_unit", spouse)[dataset.unit_of_person("marital_unit")]
    retired = chance(step(age, _RETIRED), rng, n)
    working = person["employment_income"] > 0
    disabled = person["is_disabled"] & (age >= 18) & (age < 67) & ~retired
    disabled &= chance(np.where(working, 0.2, 0.55), rng, n)
    widowed = (age >= 60) & ~person["is_male"] & ~married & ~disabled & chance(0.15, rng, n)
    dual = chance(0.3, rng, n)
    as_spouse = spouse & retired & chance(0.12, rng, n)
    claims = dataset.any_in(HOUSEHOLD, person["is_household_head"] & (retired | disabled))[home]
    lone = ~dataset.any_in("tax_unit", spouse)[dataset.unit_of_person("tax_unit")]
    of_claimant = child & claims & chance(0.3, rng, n)
    orphan = child & lone & ~of_claimant & chance(0.05, rng, n)
    own = retired & ~as_spouse & (~widowed | dual)
    scale = np.where(person["is_male"], 1.0, 0.8) * np.where(widowed, 0.5, 1.0)
    who = {
        "retirement": (own, 25_500.0 * scale),
        "disability": (disabled, 18_500.0),
        "survivors": (widowed | orphan, np.where(orphan, 12_000.0, 17_500.0)),
        "dependents": (as_spouse | of_claimant, np.where(of_claimant, 7_500.0, 10_500.0)),
    }
    parts = {
        f"social_security_{part}": dollars(has * lognormal(mean, 0.35, rng.standard_normal(n)))
        for part, (has, mean) in who.items()
    }
    return {PERSON: parts | {"social_security": sum(parts.values(), np.zeros(n))}}


def contributions(dataset: Dataset, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Draw retirement contributions, within the limits of 2024 and out of earnings."""
    person, n = dataset.person, dataset.size(PERSON)
    rank = dataset.to_person(dataset["income_rank"], "tax_unit")
    wage, profit = person["employment_income"], np.maximum(person["self_employment_income"], 0)
    older = person["age"] >= 50
    adult = person["age"] >= 18
    deferral = wage * rng.uniform(0.03, 0.12, n) * (adult & chance(0.2 + 0.5 * rank, rng, n))
    deferral = np.minimum(deferral, 23_000 + 7_500 * older)
    roth = np.where(chance(0.2, rng, n), 1.0, np.where(chance(0.1, rng, n), 0.4, 0.0))
    ira = np.minimum(rng.uniform(500, 9_000, n), 7_000 + 1_000 * older)
    ira = np.minimum(ira, wage + profit) * (adult & chance(0.05 + 0.12 * rank, rng, n))
    to_roth = chance(0.6, rng, n)
    keogh = np.minimum(0.2 * profit, 69_000) * (adult & chance(0.12, rng, n))
    columns = {
        "traditional_401k_contributions": deferral * (1 - roth),
        "roth_401k_contributions": deferral * roth,
        "traditional_ira_contributions": ira * ~to_roth,
        "roth_ira_contributions": ira * to_roth,
        "self_employed_pension_contributions": keogh,
    }
    return {PERSON: {name: np.floor(amount) for name, amount in columns.items()}}
