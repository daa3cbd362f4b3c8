"""Stage 2: what no tax file and no base survey asks, from five donor surveys.

    donor          gives                                           knows the state
    ACS            rent, real_estate_taxes                         yes
    ORG            hourly_wage, is_paid_hourly, union membership   yes
    SIPP (tips)    tip_income                                      no
    SIPP (assets)  bank, stock and bond assets                     no
    SCF            net_worth, auto loans                           no

A clone of a record may live in any state of the run, and rent is not the same in all of
them. So a donor that knows the state is drawn once for every record *and state*,

    y_rs ~ F(y | x_r, state = s),     u keyed on (seed, donor, variable, id_r, s)

and stored by state, shape (entity, S); `calibration.materialise` picks the state of each
clone. A donor that does not is drawn once for each record: wherever its clones live they
have the same assets, and only weights can tell states apart.

Whom a donor's question is not put to gets 0 (or false), and those it is put to draw from
donors it was put to: `DonorSpec.universe` says who they are. The ACS asks rent of renters
and property tax of owners, so tenure separates the donors before any tree grows, and
nobody can draw the zero of somebody who was never asked.

Axes: entity rows r, states s in ascending order of FIPS codes.

Source: donors, outputs and predictors as in PolicyEngine/policyengine-us-data e01a0384,
calibration/source_impute.py, from which it differs: (1) draws per state; (2) the state is
a category, not a number; (3) donors count by their weights; (4) SCF receivers are
households, on both sides; (5) union membership is drawn like everything else, from a leaf,
not assigned by rank to meet published counts; (6) tenure and headship are conditions of a
question, not predictors that a tree may miss; (7) a donor that fails stops the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset, Table
from calibration.errors import ImputationError, near
from calibration.imputer import SequentialImputer, store
from calibration.predictors import Predictor
from calibration.qrf import ForestOptions
from calibration.source_predictors import derive

__all__ = ["DONORS", "DonorSpec", "SourceOptions", "impute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DonorSpec:
    """A donor survey as data.

    Parameters
    ----------
    name : str
        Part of every random key, and named in messages.
    table : str
        Key of its table among the donors.
    entity : {"person", "household"}
        What a row of it is, and which table gets the outputs.
    outputs : tuple of str
        Variables it gives.
    predictors : tuple of Predictor
        Without the state. Policies for unseen levels are theirs.
    weight : str
        Column of survey weights.
    has_state : bool
        Whether it knows the state (`state_fips`); its outputs are then by state.
    universe : mapping of str to (str, int or None)
        Whom the questions are put to, in donor and receiver alike: columns and the text
        they must have, the number they must reach, or None if they must be true or above
        0. All others get 0.
    """

    name: str
    table: str
    entity: str
    outputs: tuple[str, ...]
    predictors: tuple[Predictor, ...]
    weight: str = "weight"
    has_state: bool = False
    universe: Mapping[str, str | int | None] = field(default_factory=dict)


def _amounts(*names: str) -> tuple[Predictor, ...]:
    return tuple(Predictor(name, "amount") for name in names)


def _flags(*names: str) -> tuple[Predictor, ...]:
    return tuple(Predictor(name, "flag") for name in names)


_STATE = Predictor("state_fips", "category")

_ACS = (
    *_flags("is_male"),
    *_amounts("age", "employment_income", "self_employment_income"),
    *_amounts("social_security", "pension_income"),
    Predictor("household_size", "count", "clip"),
)

DONORS: tuple[DonorSpec, ...] = (
    DonorSpec(
        name="acs_rent",
        table="acs",
        entity=PERSON,
        outputs=("rent",),
        predictors=_ACS,
        has_state=True,
        universe={"is_household_head": None, "tenure_type": "RENTED"},
    ),
    DonorSpec(
        name="acs_taxes",
        table="acs",
        entity=PERSON,
        outputs=("real_estate_taxes",),
        predictors=_ACS,
        has_state=True,
        universe={"is_household_head": None, "tenure_type": "OWNED"},
    ),
    DonorSpec(
        name="sipp_tips",
        table="sipp_tips",
        entity=PERSON,
        outputs=("tip_income",),
        predictors=(
            *_amounts("employment_income", "age"),
            Predictor("count_under_18", "count", "clip"),
            Predictor("count_under_6", "count", "clip"),
            *_flags("is_tipped_occupation"),
        ),
        universe={"age": 15, "employment_income": None},
    ),
    DonorSpec(
        name="sipp_assets",
        table="sipp_assets",
        entity=PERSON,
        outputs=("bank_account_assets", "stock_assets", "bond_assets"),
        predictors=(
            *_amounts("employment_income", "interest_income", "dividend_income"),
            *_amounts("rental_income", "age"),
            *_flags("is_female", "is_married"),
            Predictor("count_under_18", "count", "clip"),
        ),
        universe={"age": 15},
    ),
    DonorSpec(
        name="org",
        table="org",
        entity=PERSON,
        outputs=("hourly_wage", "is_paid_hourly", "is_union_member_or_covered"),
        predictors=(
            *_amounts("employment_income", "weekly_hours_worked", "age"),
            *_flags("is_female", "is_hispanic"),
            Predictor("race", "category"),
        ),
        has_state=True,
        universe={"age": 16, "employment_income": None, "weekly_hours_worked": None},
    ),
    DonorSpec(
        name="scf",
        table="scf",
        entity=HOUSEHOLD,
        outputs=("net_worth", "auto_loan_balance", "auto_loan_interest"),
        predictors=(
            *_amounts("age"),
            *_flags("is_female", "is_married"),
            Predictor("race", "category"),
            Predictor("own_children_in_household", "count", "clip"),
            *_amounts("employment_income", "interest_dividend_income"),
            *_amounts("social_security_pension_income"),
        ),
    ),
)
"""The donors in the order in which they are drawn; none uses what another gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Choices of the source stage.

    Parameters
    ----------
    forest : ForestOptions
    donors : tuple of DonorSpec
        Those to draw from; each needs a table.
    sequential : bool
        Draw the outputs of a donor one after the other, not from one donor row.
    """

    forest: ForestOptions = field(default_factory=ForestOptions)
    donors: tuple[DonorSpec, ...] = DONORS
    sequential: bool = False


def impute(
    dataset: Dataset,
    donors: Mapping[str, Table],
    *,
    states: tuple[int, ...],
    seed: int,
    options: SourceOptions | None = None,
) -> Dataset:
    """Draw the outputs of every donor for every record.

    Parameters
    ----------
    dataset : Dataset
        The records, with their own incomes.
    donors : mapping of str to mapping of str to ndarray
        Donor tables by `DonorSpec.table`: "acs", "sipp_tips", "sipp_assets", "org", "scf".
    states : tuple of int
        FIPS codes of all states that a clone can live in, ascending.
    seed : int
    options : SourceOptions, optional

    Returns
    -------
    Dataset
        With the outputs as columns, replacing what had their names, those of state-aware
        donors of shape (entity, S); `states` is set.

    Raises
    ------
    ImputationError
        If a donor is missing or unknown, donor and receiver do not fit each other, a
        state has no donors, or the dataset is by state for other states already.
    """
    options = options or SourceOptions()
    wanted = [spec.table for spec in options.donors]
    for name in donors:
        if name not in wanted:
            raise ImputationError(f"no donor {name!r} is declared{near(name, wanted)}")
    if missing := sorted(set(wanted) - set(donors)):
        raise ImputationError(f"no table for donor {', '.join(missing)}; give it or declare less")
    dataset = _with_states(dataset, states, options)
    for spec in options.donors:
        columns = _draw(dataset, spec, donors[spec.table], seed, options)
        dataset = store(dataset, spec.entity, columns)
    return dataset


def _with_states(dataset: Dataset, states: tuple[int, ...], options: SourceOptions) -> Dataset:
    if not states or list(states) != sorted(set(states)):
        raise ImputationError(f"states are {states}; give distinct FIPS codes in ascending order")
    outputs = {name for spec in options.donors for name in spec.outputs}
    kept = [n for n in dataset.names() if n not in outputs and dataset.is_by_state(n)]
    if kept and dataset.states != tuple(states):
        raise ImputationError(
            f"column {kept[0]!r} is by state for {dataset.states}, not for {states}; impute for "
            "the same states"
        )
    stale = [n for n in dataset.names() if n in outputs and dataset.is_by_state(n)]
    tables = {e: {n: t[n] for n in t if n not in stale} for e, t in dataset.tables.items()}
    return Dataset(dataset.period, tables, tuple(states))


def _draw(
    dataset: Dataset, spec: DonorSpec, donor: Table, seed: int, options: SourceOptions
) -> dict[str, Array]:
    """Learn from one donor and draw for all receivers of its universe."""
    predictors = (*spec.predictors, _STATE) if spec.has_state else spec.predictors
    groups = tuple((v,) for v in spec.outputs) if options.sequential else (spec.outputs,)
    imputer = SequentialImputer(spec.name, predictors, groups, seed=seed, options=options.forest)
    _require(spec, predictors, donor)
    asked = _asked(spec, donor, donor)
    imputer.fit(
        {name: np.asarray(donor[name])[asked] for name in donor},
        np.asarray(donor[spec.weight])[asked],
    )
    names = {*(p.name for p in spec.predictors), *spec.universe}
    known = {name: derive(dataset, spec.entity, name) for name in sorted(names)}
    rows = np.flatnonzero(_asked(spec, known, donor))
    ids = dataset[f"{spec.entity}_id"][rows]
    table = {name: values[rows] for name, values in known.items()}
    if not spec.has_state:
        shape: tuple[int, ...] = (len(rows),)
        drawn = imputer.draw(table, ids)
    else:
        shape = (len(rows), len(dataset.states))
        table = {name: np.repeat(values, shape[1]) for name, values in table.items()}
        table["state_fips"] = state = np.tile(np.array(dataset.states, dtype=np.int64), shape[0])
        drawn = imputer.draw(table, np.repeat(ids, shape[1]), state)
    result = {}
    for name, values in drawn.items():
        result[name] = np.zeros((dataset.size(spec.entity), *shape[1:]), dtype=values.dtype)
        result[name][rows] = values.reshape(shape)
    return result


def _require(spec: DonorSpec, predictors: tuple[Predictor, ...], donor: Table) -> None:
    names = (spec.weight, *spec.universe, *spec.outputs, *(p.name for p in predictors))
    for name in names:
        if name not in donor:
            raise ImputationError(f"donor {spec.name!r} has no column {name!r}{near(name, donor)}")


def _asked(spec: DonorSpec, table: Table, donor: Table) -> NDArray[np.bool_]:
    """Tell which rows the questions are put to."""
    asked = np.ones(len(next(iter(table.values()))), dtype=bool)
    for name, level in spec.universe.items():
        values = np.asarray(table[name])
        if not isinstance(level, str):
            asked &= values > 0 if level is None else values >= level
            continue
        levels = np.unique(donor[name])
        if (strange := values[~np.isin(values, levels)]).size:
            raise ImputationError(
                f"column {name!r} has {strange[0]!s} in {strange.size} receivers; donor "
                f"{spec.name!r} has {', '.join(map(str, levels))}. Recode one of them"
            )
        asked &= values == level
    return asked
