"""Stage 3: clone every household, and give the clone what only tax files know.

Surveys miss the top of the income scale and most of what a tax return says; tax files
miss the household. So every household stands twice. The CPS half keeps its answers and
its survey weight; the PUF half has the same people with tax variables drawn from the tax
file, and weight 0 until calibration gives it one:

    CPS half   id -> 2 id         household_weight = w    design_weight = w / 2
    PUF half   id -> 2 id + 1     household_weight = 0    design_weight = w / 2

A new id is a function of the old id alone, for every entity: ids never collide, and a
household more in the survey changes nobody's id and so nobody's draw. Whatever needs a
positive weight reads `design_weight`; a weight that starts at 0 could never leave it.

The PUF half draws 69 variables, the CPS half 51 of them from a second forest with draws
of its own; `calibration.puf_variables` is the table. Draws are for persons, from age, sex
and role in the tax unit; a variable of the tax unit is that of its head. Then three rooms
make the PUF half consistent with what it drew: parts of Social Security, retirement
contributions, weeks of unemployment. Those three learn from the survey itself.

Axes: entity tables of 2 H households; halves stand side by side, CPS first.

Source: PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py, from which
it differs: (1) the 51 reach the CPS half although the survey has no such columns; (2) ids
do not depend on the largest id; (3) donors count by their weights, also after the top was
kept with certainty; (4) each variable or theme has random numbers of its own; (5) more
dependents than the tax file codes are read as its largest number, by declared policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset, Table
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer, store
from calibration.predictors import Predictor
from calibration.puf_variables import PufVariable, groups, puf_variables
from calibration.qrf import ForestOptions
from calibration.retirement import impute_contributions
from calibration.social_security import FEWEST_DONORS, impute_parts
from calibration.stratify import donor_subsample
from calibration.unemployment import impute_weeks

__all__ = ["PREDICTORS", "PufOptions", "demographics", "double", "impute"]

PREDICTORS = (
    Predictor("age", "amount"),
    Predictor("is_male", "flag"),
    Predictor("tax_unit_is_joint", "flag"),
    Predictor("tax_unit_count_dependents", "count", "clip"),
    Predictor("is_tax_unit_head", "flag"),
    Predictor("is_tax_unit_spouse", "flag"),
    Predictor("is_tax_unit_dependent", "flag"),
)
"""What tax file and survey both know of a person. The tax file codes 3 dependents at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PufOptions:
    """Choices of the PUF stage.

    Parameters
    ----------
    forest : ForestOptions
    grouping : {"joint", "sequential"}
        One donor row for each theme, or a chain of all variables. Joint draws keep what a
        return reports together and need a tenth of the time.
    donor_rows : int
        Target size of the tax file after `donor_subsample`.
    top_percentile : float
        Rows of returns at or above this percentile of income are kept whatever happens.
    min_social_security_donors : int
        Fewest survey recipients to learn the parts from; with fewer, age decides.

    Raises
    ------
    ImputationError
        Naming the field and its value.
    """

    forest: ForestOptions = field(default_factory=ForestOptions)
    grouping: Literal["joint", "sequential"] = "joint"
    donor_rows: int = 20_000
    top_percentile: float = 99.5
    min_social_security_donors: int = FEWEST_DONORS

    def __post_init__(self) -> None:
        """Refuse what no stage could run with; sizes are checked where they are used."""
        if self.grouping not in ("joint", "sequential"):
            raise ImputationError(f"grouping is {self.grouping!r}; give 'joint' or 'sequential'")
        if self.min_social_security_donors < 1:
            raise ImputationError(
                f"min_social_security_donors is {self.min_social_security_donors}; give at least 1"
            )


def double(dataset: Dataset) -> Dataset:
    """Put a clone beside every household, person and unit.

    Parameters
    ----------
    dataset : Dataset
        The base survey, with `household_weight`.

    Returns
    -------
    Dataset
        Twice the rows, in ascending order of ids, with `source_household_id`,
        `is_puf_clone` and `design_weight` on the household. All other columns, also those
        by state, are equal in both halves.

    Raises
    ------
    ImputationError
        If the dataset is doubled already, has no weight, has ids too large to double, or
        a column that ends in "_id" or "_weight" and is none that this function knows.
    """
    if "is_puf_clone" in dataset or "source_household_id" in dataset:
        raise ImputationError("the dataset has a PUF half already; double the base survey")
    if "household_weight" not in dataset.household:
        raise ImputationError("the household table has no column 'household_weight'")
    own = {f"{entity}_id" for entity in dataset.tables}
    links = {f"person_{entity}_id" for entity in dataset.groups}
    tables: dict[str, dict[str, Array]] = {}
    for entity, table in dataset.tables.items():
        tables[entity] = {}
        for name in table:
            if name in own or (entity == PERSON and name in links):
                tables[entity][name] = _two_ids(name, table[name])
            elif name.endswith("_id"):
                raise ImputationError(
                    f"{entity} column {name!r} looks like an id of something that has no table; "
                    "rename it or leave it out, lest it point at the wrong half"
                )
            elif name.endswith("_weight") and name != "household_weight":
                raise ImputationError(
                    f"{entity} column {name!r} looks like a weight, and would count both halves; "
                    "leave it out: weights are those of the household"
                )
            else:
                tables[entity][name] = np.repeat(table[name], 2, axis=0)
    old = dataset.household["household_id"]
    weight = np.asarray(dataset["household_weight"], dtype=np.float64)
    tables[HOUSEHOLD] |= {
        "source_household_id": np.repeat(old, 2),
        "is_puf_clone": np.tile([False, True], len(old)),
        "household_weight": np.column_stack([weight, np.zeros_like(weight)]).reshape(-1),
        "design_weight": np.repeat(weight / 2, 2),
    }
    return Dataset(dataset.period, tables, dataset.states).sorted_by_id()


def demographics(dataset: Dataset) -> dict[str, Array]:
    """Derive the predictors of the PUF draws from persons and their roles.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict of str to ndarray, each of shape (person,)
        The names of `PREDICTORS`.

    Raises
    ------
    ImputationError
        If a column is missing, or a tax unit has no head or more than one.
    """
    roles = ("is_tax_unit_head", "is_tax_unit_spouse", "is_tax_unit_dependent")
    for name in ("age", "is_male", *roles):
        if name not in dataset.person:
            raise ImputationError(f"the person table has no column {name!r}; the draws need it")
    heads = dataset.sum_to("tax_unit", dataset["is_tax_unit_head"])
    if (heads != 1).any():
        odd = int(np.argmax(heads != 1))
        raise ImputationError(
            f"tax unit {dataset['tax_unit_id'][odd]} has {heads[odd]:.0f} heads; each has one"
        )
    joint = dataset.any_in("tax_unit", dataset["is_tax_unit_spouse"])
    dependents = dataset.sum_to("tax_unit", dataset["is_tax_unit_dependent"]).astype(np.int64)
    return {name: dataset[name] for name in ("age", "is_male", *roles)} | {
        "tax_unit_is_joint": dataset.to_person(joint, "tax_unit"),
        "tax_unit_count_dependents": dataset.to_person(dependents, "tax_unit"),
    }


def impute(
    dataset: Dataset, donor: Table, *, seed: int, options: PufOptions | None = None
) -> Dataset:
    """Run the stage: double the survey and fill both halves.

    Parameters
    ----------
    dataset : Dataset
        The base survey.
    donor : mapping of str to ndarray, each of shape (n,)
        The tax file, one row for each person of a return: `weight`, `return_id`,
        `adjusted_gross_income` (of the return), the `PREDICTORS` and the 69 variables.
    seed : int
    options : PufOptions, optional

    Returns
    -------
    Dataset
        See `double`; with the 69 variables in the tables of their entities.

    Raises
    ------
    ImputationError
        If donor and survey do not fit each other; the message names the column.
    """
    options = options or PufOptions()
    doubled = double(dataset)
    predictors = demographics(doubled)
    clone = doubled.to_person(doubled["is_puf_clone"], HOUSEHOLD)
    taught, weight = _donors(donor, seed, options)
    ids = doubled.person["person_id"]
    drawn: dict[str, Table] = {}
    for name, half, overridden in (("puf", clone, False), ("override", ~clone, True)):
        imputer = SequentialImputer(
            name,
            PREDICTORS,
            groups(options.grouping, overridden=overridden),
            seed=seed,
            options=options.forest,
        )
        receiver = {column: values[half] for column, values in predictors.items()}
        drawn[name] = imputer.fit(taught, weight).draw(receiver, ids[half])
    columns = {
        variable.name: _both_halves(doubled, variable, clone, drawn) for variable in puf_variables()
    }
    doubled = _store(doubled, columns)
    return _reconcile(doubled, predictors, clone, seed, options)


def _two_ids(name: str, ids: Array) -> Array:
    if len(ids) and ids.max() >= 2**62:
        raise ImputationError(f"{name} {ids.max()} is too large to be doubled; renumber the survey")
    return np.column_stack([2 * ids, 2 * ids + 1]).reshape(-1)


def _donors(donor: Table, seed: int, options: PufOptions) -> tuple[Table, NDArray[np.float64]]:
    """Thin out the tax file; give the rows kept and the weights they then have."""
    for name in ("weight", "return_id", "adjusted_gross_income"):
        if name not in donor:
            raise ImputationError(f"the tax file has no column {name!r}")
    weight = np.asarray(donor["weight"], dtype=np.float64)
    sample = donor_subsample(
        np.asarray(donor["adjusted_gross_income"], dtype=np.float64),
        np.asarray(donor["return_id"]),
        weight,
        rows=options.donor_rows,
        top_percentile=options.top_percentile,
        seed=seed,
    )
    kept = {name: np.asarray(donor[name])[sample.rows] for name in donor}
    return kept, weight[sample.rows] * sample.factor


def _both_halves(
    doubled: Dataset, variable: PufVariable, clone: NDArray[np.bool_], drawn: dict[str, Table]
) -> Array:
    """Give a variable for all persons, each half by its rule."""
    puf = drawn["puf"][variable.name]
    wanted = "b" if variable.kind == "bool" else "if"
    if puf.dtype.kind not in wanted:
        raise ImputationError(
            f"variable {variable.name!r} of the tax file is {puf.dtype}, not {variable.kind}"
        )
    result = np.zeros(len(clone), dtype=bool if variable.kind == "bool" else np.float64)
    result[clone] = puf
    if variable.overridden:
        result[~clone] = drawn["override"][variable.name]
    elif variable.name in doubled.person:
        result[~clone] = doubled.person[variable.name][~clone]
    elif variable.if_absent is not None:
        result[~clone] = variable.if_absent
    else:
        raise ImputationError(
            f"the person table has no column {variable.name!r}, which the CPS half keeps"
        )
    return result


def _store(doubled: Dataset, columns: dict[str, Array]) -> Dataset:
    """Put person variables on the person, those of the tax unit on the unit, from its head."""
    head = np.zeros(doubled.size("tax_unit"), dtype=np.int64)
    heads = np.flatnonzero(doubled["is_tax_unit_head"])
    head[doubled.unit_of_person("tax_unit")[heads]] = heads
    on_person = {v.name for v in puf_variables() if v.entity == PERSON}
    person = {name: values for name, values in columns.items() if name in on_person}
    unit = {name: values[head] for name, values in columns.items() if name not in on_person}
    return store(store(doubled, PERSON, person), "tax_unit", unit)


def _reconcile(
    doubled: Dataset,
    predictors: Table,
    clone: NDArray[np.bool_],
    seed: int,
    options: PufOptions,
) -> Dataset:
    """Make the PUF half consistent with its imputed totals, learning from the CPS half."""
    weight = doubled.to_person(doubled["household_weight"], HOUSEHOLD)  # 0 on the PUF half
    forest = options.forest
    parts = impute_parts(
        doubled,
        predictors,
        weight,
        clone,
        seed=seed,
        forest=forest,
        min_donors=options.min_social_security_donors,
    )
    contributions = impute_contributions(
        doubled, predictors, weight, clone, PREDICTORS, seed=seed, forest=forest
    )
    weeks = impute_weeks(doubled, predictors, weight, clone, seed=seed, forest=forest)
    return doubled.with_columns(PERSON, {**parts, **contributions, "weeks_unemployed": weeks})
