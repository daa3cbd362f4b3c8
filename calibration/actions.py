"""What the stages of a run do, one function each, but for the fit and the diagnostics.

An action reads what earlier stages stored, calls one stage module, and stores what that
returns. `calibration.pipeline` puts actions in order.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import RunState, save_mass, save_targets, write_rows
from calibration.clone_and_assign import assign, initial_weights, masses, top_decile
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.engines import Engine
from calibration.gather import row_paths
from calibration.inputs import INCOME, income_targets
from calibration.matrix_builder import build_matrix
from calibration.own_state import design_weights, own_states
from calibration.publish_local_area import build_h5
from calibration.puf_checks import check_puf, require_puf
from calibration.puf_impute import PufOptions
from calibration.puf_impute import impute as impute_puf
from calibration.run_options import Workspace
from calibration.source_impute import SourceOptions
from calibration.source_impute import impute as impute_sources
from calibration.stratify import stratified_sample
from calibration.target_database import TargetDatabase
from calibration.targets import Target
from calibration.thresholds import resolve
from calibration.uprating import AuditRow, read_factors, reconcile, to_year
from calibration.workers import chunk_executor

__all__ = [
    "base",
    "clones",
    "files",
    "household_income",
    "matrix",
    "model_targets",
    "own_matrix",
    "puf",
    "sources",
    "stay",
    "takeup",
    "targets",
]

Floats = NDArray[np.float64]


def base(work: Workspace) -> None:
    """Store the survey in canonical order."""
    work.inputs.survey.save(work.artifacts / "base.npz")


def puf(work: Workspace) -> None:
    """Double the survey, draw tax variables, and keep a stratified sample of records.

    Raises
    ------
    ImputationError
        If a check of `calibration.puf_checks` finds a record that breaks a rule.
    """
    options, survey, donor = work.options, work.after("base").dataset, work.inputs.donors["puf"]
    puf = PufOptions(forest=options.forest)
    dataset = impute_puf(survey, donor, seed=options.seed, options=puf)
    income = household_income(dataset, work.engine)
    records = stratified_sample(dataset, income, households=options.households, seed=options.seed)
    require_puf(check_puf(survey, donor, records, grouping=puf.grouping))
    records.save(work.artifacts / "records.npz")


def clones(work: Workspace) -> None:
    """Give every clone of every record a block."""
    records, inputs = work.after("puf").dataset, work.inputs
    income = household_income(records, work.engine)
    threshold = top_decile(income, records["design_weight"])
    options = work.options
    wanted = income_targets(inputs.targets, options.period)
    mass = masses(inputs.crosswalk, wanted, income, threshold)
    geography = assign(records, inputs.crosswalk, mass, n_clones=options.clones, seed=options.seed)
    geography.save(work.artifacts / "geography.npz")
    save_mass(work.artifacts / "mass.json", mass)


def stay(work: Workspace) -> None:
    """Leave every record in the state that it comes from."""
    own_states(work.after("base").dataset).save(work.artifacts / "geography.npz")


def sources(work: Workspace) -> None:
    """Draw rent, assets and wages from the donors."""
    donors = {name: table for name, table in work.inputs.donors.items() if name != "puf"}
    dataset = impute_sources(
        work.after("puf").dataset,
        donors,
        states=work.inputs.states,
        seed=work.options.seed,
        options=SourceOptions(forest=work.options.forest),
    )
    dataset.save(work.artifacts / "sources.npz")


def takeup(work: Workspace) -> None:
    """Resolve the takeup thresholds."""
    thresholds = resolve(
        work.after("sources").dataset,
        work.inputs.crosswalk,
        work.engine,
        states=work.inputs.states,
        seed=work.options.seed,
    )
    thresholds.save(work.artifacts / "takeup.csv")


def targets(work: Workspace) -> None:
    """Store the published totals, and the consistent ones of the model year."""
    consistent, audit = model_targets(work, work.artifacts / "targets.db")
    save_targets(work.artifacts / "targets.json", consistent)
    columns = [field.name for field in fields(AuditRow)]
    write_rows(work.artifacts / "uprating.csv", [asdict(row) for row in audit], columns)


def matrix(work: Workspace) -> None:
    """Simulate every column and store X with its start weights."""
    state = work.after("targets")
    w0 = initial_weights(state.dataset, state.geography, work.inputs.crosswalk, state.mass)
    _store_matrix(work, state, w0)


def own_matrix(work: Workspace) -> None:
    """Simulate every record and store X with the records' own weights to start from."""
    state = work.after("targets")
    _store_matrix(work, state, design_weights(state.dataset))


def _store_matrix(work: Workspace, state: RunState, w0: Floats) -> None:
    with chunk_executor(work) as executor:
        matrix = build_matrix(
            state.clones,
            state.targets,
            w0=w0,
            executor=executor,
            observe=lambda done, of: work.tell(done, of, "columns"),
        )
        matrix.save(work.artifacts / "matrix")
    rows = [
        {"target": row.target, "path": row.path.name, "because": " ".join(row.because)}
        for row in row_paths(state.clones, state.targets)
    ]
    write_rows(work.artifacts / "matrix" / "paths.csv", rows)


def files(work: Workspace) -> None:
    """Write the file of every area."""
    state = work.after("weights")
    rows = []
    for i, area in enumerate(work.inputs.areas):
        work.tell(i, len(work.inputs.areas), "files")
        vector = work.options.vector_of(area)
        built = build_h5(
            state.weights_by_preset[vector],
            state.geography,
            state.dataset,
            work.artifacts / "files" / area.path,
            area,
            takeup=state.thresholds,
            engine=work.engine,
        )
        rows.append(
            {
                "path": area.path.as_posix(),
                "level": str(area.level),
                "name": area.name,
                "vector": vector,
                "status": built.status.name,
                "households": built.households,
                "persons": built.persons,
                "weight": built.weight,
            }
        )
    write_rows(work.artifacts / "files.csv", rows)


def model_targets(work: Workspace, path: Path) -> tuple[list[Target], list[AuditRow]]:
    """Write the published totals into a database and make them consistent in the model year.

    All totals are written; those that the options do not select have no part in the rest, so
    that nothing is rescaled to them.

    Parameters
    ----------
    work : Workspace
    path : Path
        Of the database.

    Returns
    -------
    targets : list of Target
    audit : list of AuditRow
    """
    year = work.options.period
    database = TargetDatabase.write(path, work.inputs.targets)
    published = database.read(year, {*work.engine.inputs, *work.engine.outputs})
    chosen = work.options.selection.of(published)
    return reconcile(to_year(chosen, year, read_factors()), work.inputs.codes)


def household_income(dataset: Dataset, engine: Engine) -> Floats:
    """Add up the adjusted gross income of each household's tax units.

    Parameters
    ----------
    dataset : Dataset
    engine : Engine

    Returns
    -------
    ndarray of float64, shape (household,)
        USD per year.
    """
    income = engine.simulate(dataset, [INCOME], dataset.period)[INCOME]
    total = np.zeros(dataset.size(HOUSEHOLD))
    np.add.at(total, dataset.household_of("tax_unit"), income)
    return total
