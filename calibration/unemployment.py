"""Weeks out of work for people whose unemployment compensation was imputed.

The survey counts weeks, the tax file knows the benefit. A person of the PUF half with
compensation above 0 draws the weeks of somebody of the survey who was unemployed for at
least one; without compensation there are none. A year has 52 weeks, so a survey with more,
or with a code such as -1 where there is no answer, is refused.

The CPS half keeps its weeks, which are answers, while its compensation is drawn from the
tax file like that of the other half. There the two need not agree person by person.

Axes: persons (n,).

Source: PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py, from which
it differs: donors are the unemployed alone, so a recipient never draws 0 weeks; the
amount of compensation is no predictor, because the survey's own amount is not kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Dataset, Table
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor
from calibration.qrf import ForestOptions

__all__ = ["WEEKS", "impute_weeks"]

WEEKS = 52.0

# Roles and sexes that no unemployed person of a small survey has are left out of the draw.
_PREDICTORS = (
    Predictor("age", "amount"),
    Predictor("is_male", "flag", "marginal"),
    Predictor("tax_unit_is_joint", "flag", "marginal"),
    Predictor("is_tax_unit_head", "flag", "marginal"),
    Predictor("is_tax_unit_spouse", "flag", "marginal"),
    Predictor("is_tax_unit_dependent", "flag", "marginal"),
)


def impute_weeks(
    dataset: Dataset,
    predictors: Table,
    weight: NDArray[np.float64],
    clone: NDArray[np.bool_],
    *,
    seed: int,
    forest: ForestOptions,
) -> NDArray[np.float64]:
    """Draw weeks of unemployment for the PUF half.

    Parameters
    ----------
    dataset : Dataset
        Doubled; `taxable_unemployment_compensation` is imputed already.
    predictors : mapping of str to ndarray, each of shape (person,)
    weight : ndarray of float64, shape (person,)
        Survey weight of the CPS half.
    clone : ndarray of bool, shape (person,)
        The PUF half.
    seed : int
    forest : ForestOptions

    Returns
    -------
    ndarray of float64, shape (person,)
        Weeks in 0 to 52; the CPS half as it was.

    Raises
    ------
    ImputationError
        If the survey has no column `weeks_unemployed`, weeks outside 0 to 52, or nobody
        who was unemployed though the tax file has recipients.
    """
    if "weeks_unemployed" not in dataset.person:
        raise ImputationError("the person table has no column 'weeks_unemployed'")
    weeks = np.array(dataset["weeks_unemployed"], dtype=np.float64)
    if not (possible := (weeks >= 0) & (weeks <= WEEKS)).all():
        odd = int(np.argmin(possible))
        raise ImputationError(
            f"person {dataset['person_id'][odd] // 2} has weeks_unemployed {weeks[odd]:g}; give 0 "
            f"to {WEEKS:g}, and 0 for who was not asked"
        )
    donor = ~clone & (weeks > 0) & (weight > 0)
    asked = clone & (dataset["taxable_unemployment_compensation"] > 0)
    weeks[clone] = 0.0
    if not asked.any():
        return weeks
    if not donor.any():
        raise ImputationError(
            f"{asked.sum()} persons have imputed unemployment compensation and nobody of the "
            "survey has weeks_unemployed above 0; there is nobody to learn from"
        )
    imputer = SequentialImputer(
        "weeks unemployed", _PREDICTORS, (("weeks_unemployed",),), seed=seed, options=forest
    )
    table = {name: np.asarray(predictors[name]) for name in predictors}
    taught = {name: table[name][donor] for name in table} | {"weeks_unemployed": weeks[donor]}
    imputer.fit(taught, weight[donor])
    receiver = {name: table[name][asked] for name in table}
    drawn = imputer.draw(receiver, dataset.person["person_id"][asked])
    weeks[asked] = drawn["weeks_unemployed"]
    return weeks
