"""Failures of stage 3: what the clone gets, and what its parts must agree with.

They act while `calibration.puf_impute.impute` runs, long before there is a matrix, so what
notices them is a check of `calibration.puf_checks`. To see one:

    with find("overrides-lost").inject():
        records = impute(survey, donor, seed=0)
    check_puf(survey, donor, records)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import numpy as np

from calibration import puf_impute as puf_module
from calibration import retirement as retirement_module
from calibration import social_security as parts_module
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset, Table
from calibration.failures.experiment import Failure
from calibration.imputer import SequentialImputer, store
from calibration.puf_variables import PufVariable, puf_variables

__all__ = ["FAILURES"]


def _in_place_of(module: Any, name: str, faulty: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Replace a function for as long as a block lasts."""
    return lambda: mock.patch.object(module, name, faulty)


def _behind_the_largest(_name: str, ids: Array) -> Array:
    return np.column_stack([ids, ids + ids.max()]).reshape(-1)


@contextmanager
def _weight_twice() -> Iterator[None]:
    double = puf_module.double

    def heavy(dataset: Dataset) -> Dataset:
        doubled = double(dataset)
        weight = {"household_weight": 2 * doubled["design_weight"]}
        return doubled.with_columns(HOUSEHOLD, weight)

    with mock.patch.object(puf_module, "double", heavy):
        yield


@contextmanager
def _zeros_on_the_cps_half() -> Iterator[None]:
    both = puf_module._both_halves

    def lost(doubled: Dataset, variable: PufVariable, clone: Array, drawn: Any) -> Array:
        values = both(doubled, variable, clone, drawn)
        return values * clone if variable.overridden else values

    with mock.patch.object(puf_module, "_both_halves", lost):
        yield


@contextmanager
def _no_losses() -> Iterator[None]:
    both = puf_module._both_halves

    def clipped(doubled: Dataset, variable: PufVariable, clone: Array, drawn: Any) -> Array:
        values = both(doubled, variable, clone, drawn)
        return values if variable.kind == "bool" else np.maximum(values, 0)

    with mock.patch.object(puf_module, "_both_halves", clipped):
        yield


def _last_person_wins(doubled: Dataset, columns: dict[str, Array]) -> Dataset:
    of_unit = {v.name for v in puf_variables() if v.entity == "tax_unit"}
    person = {name: values for name, values in columns.items() if name not in of_unit}
    unit = {name: np.zeros(doubled.size("tax_unit")) for name in columns if name in of_unit}
    for name, values in unit.items():
        values[doubled.unit_of_person("tax_unit")] = columns[name]
    return store(store(doubled, PERSON, person), "tax_unit", unit)


@contextmanager
def _each_share_alone() -> Iterator[None]:
    class OneByOne(SequentialImputer):
        """Draws each share from a recipient of its own, as if the others did not exist."""

        def fit(self, donor: Table, weight: Any) -> OneByOne:
            self.alone = [
                SequentialImputer(
                    f"{self.name} {part}", self.predictors, ((part,),), seed=self.seed,
                    options=self.options,
                ).fit(donor, weight)
                for part in parts_module.PARTS
            ]  # fmt: skip
            return self

        def draw(self, receiver: Table, *ids: Any) -> dict[str, Array]:
            return {k: v for one in self.alone for k, v in one.draw(receiver, *ids).items()}

    def hole(total: Array, shares: Array, _age: Array) -> Array:
        whole = shares.sum(axis=1, keepdims=True)
        return total[:, None] * np.divide(shares, whole, out=np.zeros_like(shares), where=whole > 0)

    with (
        mock.patch.object(parts_module, "SequentialImputer", OneByOne),
        mock.patch.object(parts_module, "split", hole),
    ):
        yield


@contextmanager
def _account_by_account() -> Iterator[None]:
    def earnings(dataset: Dataset) -> tuple[Array, Array, Array]:
        own = dataset["self_employment_income"]
        return dataset["employment_income"], own, dataset["employment_income"] + own

    def cap(contributions: Table, age: Array, incomes: Any, year: int) -> Table:
        wages, business, earned = incomes
        of = {name: retirement_module.limit(name, year, age) for name in retirement_module.LIMITS}
        most = {
            "401k": (of["401k"] + of["401k_catch_up"]) * (wages != 0),
            "ira": (of["ira"] + of["ira_catch_up"]) * (earned != 0),
            "pension": np.minimum(of["self_employed_share"] * business, of["self_employed"]),
        }
        return {
            name: np.minimum(values, next(most[kind] for kind in most if kind in name))
            for name, values in contributions.items()
        }

    with (
        mock.patch.object(retirement_module, "earnings", earnings),
        mock.patch.object(retirement_module, "cap", cap),
    ):
        yield


@contextmanager
def _sexes_again() -> Iterator[None]:
    reconcile = puf_module._reconcile

    def rematched(doubled: Dataset, predictors: Table, clone: Array, *more: Any) -> Dataset:
        male = doubled["is_male"].copy()
        male[clone] = np.roll(male[clone], 1)
        return reconcile(doubled, predictors, clone, *more).with_columns(PERSON, {"is_male": male})

    with mock.patch.object(puf_module, "_reconcile", rematched):
        yield


def _weeks_as_asked(doubled: Dataset, *_parts: Any, **_options: Any) -> Array:
    return np.array(doubled["weeks_unemployed"], dtype=np.float64)


FAILURES: tuple[Failure, ...] = (
    Failure(
        "ids-behind-the-largest",
        "the clone of id v becomes v + max(v)",
        "ids depend on who else is in the survey, and with an id 0 two households have one",
        "halves_paired",
        _in_place_of(puf_module, "_two_ids", _behind_the_largest),
        sides=(),
    ),
    Failure(
        "weight-on-both-halves",
        "the PUF half is given the survey weight too",
        "every total of the records is twice the survey's",
        "weights_of_halves",
        _weight_twice,
        sides=(),
    ),
    Failure(
        "overrides-lost",
        "variables that the survey lacks are 0 on the CPS half; its own draws are thrown away",
        "half of all deductions and credits are missing once the halves share the weight",
        "rows_of_donor",
        _zeros_on_the_cps_half,
        sides=(),
    ),
    Failure(
        "losses-clipped",
        "negative amounts are set to 0 after the draw",
        "nobody loses money; income is too high where businesses are",
        "rows_of_donor",
        _no_losses,
        sides=(),
    ),
    Failure(
        "last-person-wins",
        "a tax unit takes the draw of whichever person is written last, not its head's",
        "families with children deduct nothing, because their children do not",
        "rows_of_donor",
        _in_place_of(puf_module, "_store", _last_person_wins),
        sides=(),
    ),
    Failure(
        "sexes-drawn-again",
        "a later match gives the clone the sex of another person, after sex was a predictor",
        "the halves are no longer the same people, and draws go with another sex",
        "answers_kept",
        _sexes_again,
        sides=(),
    ),
    Failure(
        "shares-apart",
        "each share of Social Security is drawn alone, and shares that sum to 0 stay 0",
        "people with a benefit have none of its four parts",
        "parts_add_up",
        _each_share_alone,
        sides=(),
    ),
    Failure(
        "caps-apart",
        "each retirement account is held against the limit alone, and only income of 0 counts "
        "as none",
        "contributions above the joint limit, and negative ones out of a loss",
        "contributions_allowed",
        _account_by_account,
        sides=(),
    ),
    Failure(
        "weeks-as-asked",
        "the clone keeps the survey's weeks out of work beside the benefit that it drew",
        "people with unemployment compensation who were never out of work",
        "weeks_follow_benefit",
        _in_place_of(puf_module, "impute_weeks", _weeks_as_asked),
        sides=(),
    ),
)
