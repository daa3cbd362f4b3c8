"""What donors of stage 2 know of a person or household, derived from a dataset.

A donor file says `pension_income` or `count_under_18`; a dataset holds pensions by tax
treatment and people by age. Each predictor of a receiver is a pure function of the
dataset, named as the donor names it, with the definition that the donor file is built to:

    children        persons under 18 (or under 6) of the household, each counted once
    own children    persons under 18 of the head's family, the head not counted
    married         shares a marital unit with somebody
    household sums  incomes of all members; demographics are those of the head

Axes: `person` functions give (person,), `household` functions (household,).

Source of the definitions: those of the donor columns in PolicyEngine/policyengine-us-data
e01a0384, calibration/source_impute.py, but for (1) child counts, which it sums over
person-months; (2) household incomes for the SCF, which it takes from one person.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import ImputationError, near

__all__ = ["derive"]

Rule = Callable[[Dataset], Array]


def derive(dataset: Dataset, entity: str, name: str) -> Array:
    """Derive one predictor for every receiver.

    Parameters
    ----------
    dataset : Dataset
    entity : {"person", "household"}
        Whom the donor's rows are about. Names mean different things for the two: the
        `employment_income` of a household is that of all members.
    name : str

    Returns
    -------
    ndarray, shape (entity,)

    Raises
    ------
    ImputationError
        If there is neither a rule nor a column of that name, a rule lacks a column, or
        the column is by state.
    """
    rules = _HOUSEHOLD_RULES if entity == HOUSEHOLD else _PERSON_RULES
    if name in rules:
        return rules[name](dataset)
    if entity != PERSON:
        raise ImputationError(f"no rule for the {entity} predictor {name!r}{near(name, rules)}")
    return _person(dataset, name)


def _person(dataset: Dataset, name: str) -> Array:
    """Give a column of the person, or of a unit to all its members."""
    if name not in dataset:
        raise ImputationError(
            f"no column {name!r} for a predictor{near(name, dataset.names())}; run the stages "
            "that make it first"
        )
    if dataset.is_by_state(name):
        raise ImputationError(f"column {name!r} is by state; a predictor has one value")
    return dataset.to_person(dataset[name], dataset.entity_of(name))


def _sum_of(*names: str) -> Rule:
    def total(dataset: Dataset) -> Array:
        return np.sum(
            [np.asarray(_person(dataset, name), dtype=np.float64) for name in names], axis=0
        )

    return total


def _is_female(dataset: Dataset) -> Array:
    return ~_person(dataset, "is_male")


def _is_married(dataset: Dataset) -> Array:
    unit = dataset.unit_of_person("marital_unit")
    return np.bincount(unit)[unit] > 1


def _under(age: float) -> Rule:
    def children(dataset: Dataset) -> Array:
        count = dataset.sum_to(HOUSEHOLD, _person(dataset, "age") < age).astype(np.int64)
        return dataset.to_person(count, HOUSEHOLD)

    return children


def _size(dataset: Dataset) -> Array:
    home = dataset.unit_of_person(HOUSEHOLD)
    return np.bincount(home, minlength=dataset.size(HOUSEHOLD))[home]


_INTEREST = ("taxable_interest_income", "tax_exempt_interest_income")
_DIVIDENDS = ("qualified_dividend_income", "non_qualified_dividend_income")
_PENSIONS = ("taxable_pension_income", "tax_exempt_pension_income")

_PERSON_RULES: dict[str, Rule] = {
    "is_female": _is_female,
    "is_married": _is_married,
    "household_size": _size,
    "count_under_18": _under(18),
    "count_under_6": _under(6),
    "pension_income": _sum_of(*_PENSIONS),
    "interest_income": _sum_of(*_INTEREST),
    "dividend_income": _sum_of(*_DIVIDENDS),
}


# -- households ------------------------------------------------------------------------


def _heads(dataset: Dataset) -> Array:
    """Give the row of each household's head."""
    heads = np.flatnonzero(_person(dataset, "is_household_head"))
    home = dataset.unit_of_person(HOUSEHOLD)[heads]
    count = np.bincount(home, minlength=dataset.size(HOUSEHOLD))
    if (count != 1).any():
        odd = int(np.argmax(count != 1))
        raise ImputationError(
            f"household {dataset['household_id'][odd]} has {count[odd]} heads; each has one"
        )
    return heads[np.argsort(home, kind="stable")]


def _head(rule: Rule) -> Rule:
    return lambda dataset: rule(dataset)[_heads(dataset)]


def _total(*names: str) -> Rule:
    return lambda dataset: dataset.sum_to(HOUSEHOLD, _sum_of(*names)(dataset))


def _own_children(dataset: Dataset) -> Array:
    family = dataset.unit_of_person("family")
    heads = _heads(dataset)
    child = _person(dataset, "age") < 18
    child[heads] = False
    return dataset.sum_to("family", child)[family[heads]].astype(np.int64)


_HOUSEHOLD_RULES: dict[str, Rule] = {
    "age": _head(lambda dataset: _person(dataset, "age")),
    "race": _head(lambda dataset: _person(dataset, "race")),
    "is_female": _head(_is_female),
    "is_married": _head(_is_married),
    "own_children_in_household": _own_children,
    "employment_income": _total("employment_income"),
    "interest_dividend_income": _total(*_INTEREST, *_DIVIDENDS),
    "social_security_pension_income": _total("social_security", *_PENSIONS),
}
