"""What can be known to go wrong before the first step runs.

A run takes seconds on the toy country and hours on a real one. A donor file without a
column, a district without an income target, a level that no donor has: each would stop
some step after others have written their artifacts. Here the inputs are held against each
other first, so that such a run stops with one message before it has made a folder.

    year            has the engine its rules, and the retirement accounts their limits?
    households      are there as many as the sample is to keep?
    districts       has each an income target, and blocks enough for its clones?
    targets         can all be brought to the year, and do they fit their variables?
    survey          has it every column that a step reads and no earlier step makes?
    donors          has each its columns, and every level that the survey has?

Records that an engine brings have been checked by the engine. There the targets are held
against the engine, and the number of records to keep against those there are.

Nothing is computed that a run keeps. What depends on imputed values, such as the size of
an amount in donor and receiver, is found out when it is there.

Axes: none; everything is a yes or an error.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.actions import model_targets
from calibration.clone_and_assign import assign, masses
from calibration.dataset import HOUSEHOLD, Dataset, Table
from calibration.engines import Engine, Variable, require
from calibration.errors import EngineError, ImputationError, PipelineError, TargetError, near
from calibration.imputer import store
from calibration.inputs import INCOME, Inputs, income_targets
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.predictors import Predictor, learn
from calibration.puf_impute import PREDICTORS, demographics
from calibration.puf_variables import puf_variables
from calibration.retirement import ACCOUNTS, limit
from calibration.run_options import Workspace
from calibration.social_security import PARTS, check_parts
from calibration.source_impute import DONORS, DonorSpec
from calibration.source_predictors import derive
from calibration.starts import RECORDS, SURVEY
from calibration.takeup import PROGRAMMES
from calibration.targets import Target

__all__ = ["preflight"]

_KINDS = {"float": "if", "int": "i", "bool": "b", "str": "U"}
_PUF_FACTS = ("weight", "return_id", "adjusted_gross_income")


def preflight(work: Workspace) -> None:
    """Hold the inputs of a run against each other, its options and its engine.

    Parameters
    ----------
    work : Workspace

    Raises
    ------
    PipelineError, GeographyError, TargetError, EngineError, ImputationError
        Naming what does not fit, as the step would that needs it.
    """
    work.engine.simulate(work.inputs.survey, (), work.options.period)  # nothing, but of this year
    check = {SURVEY: _check_folder, RECORDS: _check_records}[work.options.start]
    check(work)


def _check_records(work: Workspace) -> None:
    """Hold the targets of a run against an engine that brings its own records."""
    have, wanted = work.inputs.survey.size(HOUSEHOLD), work.options.records
    if wanted is not None and wanted > have:
        raise PipelineError(f"records is {wanted}; give 1 to C = {have}")
    _check_targets(work)


def _check_targets(work: Workspace) -> list[Target]:
    """Give the targets as the run will use them, if their variables can be used so."""
    with tempfile.TemporaryDirectory() as scratch:
        targets, _ = model_targets(work, Path(scratch) / "targets.db")
    for target in targets:
        _check_kinds(target, work.engine)
    return targets


def _check_folder(work: Workspace) -> None:
    """Hold the parts of an input folder against each other."""
    inputs, options = work.inputs, work.options
    limit("ira", options.period, np.zeros(1))
    have = inputs.survey.size(HOUSEHOLD)
    if options.households > have:
        raise PipelineError(f"households is {options.households}; the survey has {have}")
    _check_districts(inputs, options.clones, options.period)
    _check_survey(inputs.survey, _inputs_read(work.engine, _check_targets(work)))
    check_parts(inputs.survey)
    _check_tax_file(inputs.survey, inputs.donors["puf"])
    records = _with_tax_variables(inputs.survey)
    for spec in DONORS:
        _check_donor(records, spec, inputs.donors[spec.table], inputs.states)


def _check_districts(inputs: Inputs, clones: int, year: int) -> None:
    """Let the clones of one household find their blocks: the others need no more."""
    one = inputs.survey.take_households(np.zeros(1, dtype=np.int64))
    wanted = income_targets(inputs.targets, year)
    mass = masses(inputs.crosswalk, wanted, np.zeros(1), threshold=np.inf)
    assign(one, inputs.crosswalk, mass, n_clones=clones, seed=0)


def _check_kinds(target: Target, engine: Engine) -> None:
    """Refuse to add up text, and constraints that compare text with numbers."""
    if not target.is_count and require(engine, target.variable).kind == "str":
        raise TargetError(f"{target.name}: {target.variable} is text; only numbers add up")
    for constraint in target.constraints:
        textual = require(engine, constraint.reads).kind == "str"
        constraint.holds(np.array([""]) if textual else np.zeros(1))


# -- the survey ------------------------------------------------------------------------


def _inputs_read(engine: Engine, targets: list[Target]) -> dict[str, Variable]:
    """Give every engine input that a step of the run reads; no anchor is optional."""
    programmes = [p for p in PROGRAMMES if p.flag in engine.inputs]
    anchors = {p.anchor for p in programmes if p.anchor is not None}
    anchored = [p for p in programmes if p.anchor in anchors]
    named = {INCOME, *(p.eligible for p in anchored)}
    for target in targets:
        named |= {c.reads for c in target.constraints}
        named |= set() if target.is_count else {target.variable}
    read = set(anchors)
    for name in named:
        read |= engine.outputs[name].inputs if name in engine.outputs else {name}
    variables = {name: engine.inputs[name] for name in sorted(read)}
    return variables | {name: replace(variables[name], optional=False) for name in anchors}


def _check_survey(survey: Dataset, read: dict[str, Variable]) -> None:
    """Find the engine's inputs in the survey, but for those that a step makes."""
    made = {v.name for v in puf_variables()} | {p.flag for p in PROGRAMMES}
    made |= {name for spec in DONORS for name in spec.outputs} | set(GEOGRAPHY_COLUMNS)
    for name, variable in read.items():
        if name in made or (variable.optional and name not in survey):
            continue
        entity, kind = variable.entity, variable.kind
        if name not in survey:
            raise EngineError(
                f"the survey has no column {name!r}, an input of the engine"
                f"{near(name, survey.names())}"
            )
        if survey.entity_of(name) != entity or survey[name].dtype.kind not in _KINDS[kind]:
            raise EngineError(
                f"column {name!r} of the survey is {survey[name].dtype} of the "
                f"{survey.entity_of(name)}; the engine reads it as {kind} of the {entity}"
            )
    if "household_weight" not in survey.household:
        raise ImputationError("the household table has no column 'household_weight'")
    kept = [v.name for v in puf_variables() if not v.overridden and v.if_absent is None]
    for name in (*kept, *PARTS, *ACCOUNTS, "weeks_unemployed"):
        if name not in survey.person:
            raise ImputationError(
                f"the person table has no column {name!r}; the PUF stage needs it"
                f"{near(name, survey.person)}"
            )


def _with_tax_variables(survey: Dataset) -> Dataset:
    """Add the columns that the tax file gives, all zero: enough to see what else is missing."""
    for entity in ("person", "tax_unit"):
        names = [v.name for v in puf_variables() if v.entity == entity]
        survey = store(survey, entity, dict.fromkeys(names, np.zeros(survey.size(entity))))
    return survey


# -- the donors ------------------------------------------------------------------------


def _check_tax_file(survey: Dataset, donor: Table) -> None:
    names = (*_PUF_FACTS, *(p.name for p in PREDICTORS), *(v.name for v in puf_variables()))
    _require("puf", names, donor)
    learn("puf", PREDICTORS, donor).encode(demographics(survey))


def _check_donor(records: Dataset, spec: DonorSpec, donor: Table, states: tuple[int, ...]) -> None:
    """Find a donor's columns, those of its receivers, and their levels among its levels.

    The size of amounts is not looked at: the records do not have theirs yet.
    """
    names = (spec.weight, *spec.universe, *spec.outputs, *(p.name for p in spec.predictors))
    _require(spec.name, names, donor)
    asked = {*spec.universe, *(p.name for p in spec.predictors)}
    known = {name: derive(records, spec.entity, name) for name in sorted(asked)}
    levels = tuple(p for p in spec.predictors if p.kind != "amount")
    learn(spec.name, levels, donor).encode(known)
    if spec.has_state:
        state = (Predictor("state_fips", "category"),)
        learn(spec.name, state, donor).encode({"state_fips": np.array(states)})
    for name in (name for name, level in spec.universe.items() if isinstance(level, str)):
        strange = np.setdiff1d(known[name], donor[name])
        if len(strange):
            raise ImputationError(
                f"column {name!r} has {strange[0]!s} in the survey; donor {spec.name!r} has "
                f"{', '.join(map(str, np.unique(donor[name])))}. Recode one of them"
            )


def _require(donor: str, names: tuple[str, ...], table: Table) -> None:
    for name in names:
        if name not in table:
            raise ImputationError(f"donor {donor!r} has no column {name!r}{near(name, table)}")
