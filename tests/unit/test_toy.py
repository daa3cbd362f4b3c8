"""The toy run is there at every stage, says no to what comes later, and has one guest.

`toy.HOUSEHOLD` is followed through every chapter, so it must have something to say in each.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from calibration import toy
from calibration.artifacts import STAGES, RunState, save_targets
from calibration.errors import MatrixError, PipelineError
from calibration.geography import column_of
from calibration.inputs import DONORS
from calibration.puf_variables import puf_variables

PARTS = {
    "geography": "clones",
    "mass": "clones",
    "thresholds": "takeup",
    "targets": "targets",
    "matrix": "matrix",
    "weights": "weights",
    "weights_by_preset": "weights",
    "fits": "weights",
    "files": "files",
}
LATER = [
    (stage, part, made)
    for stage in STAGES
    for part, made in PARTS.items()
    if STAGES.index(stage) < STAGES.index(made)
]
READY = [
    (stage, part)
    for stage in STAGES
    for part, made in PARTS.items()
    if STAGES.index(stage) >= STAGES.index(made)
]


# -- stages ------------------------------------------------------------------------------


def test_stages_are_those_of_the_design():
    """Ten, in the order of execution."""
    assert toy.STAGES is STAGES
    assert " ".join(STAGES) == (
        "base puf clones sources takeup targets matrix weights files diagnostics"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_records(stage):
    """60 households of the survey, then the 100 records that the sample keeps, by state later."""
    state = toy.after(stage)
    assert isinstance(state, RunState)
    assert state is toy.after(stage)
    dataset = state.dataset.check()
    assert dataset.size("household") == (60 if stage == "base" else 100)
    assert state.person is dataset.person
    assert state.household is dataset.household
    by_state = STAGES.index(stage) >= STAGES.index("sources")
    assert dataset.states == ((2, 6, 11, 37, 49) if by_state else ())
    assert not by_state or dataset.is_by_state("rent")


@pytest.mark.parametrize(("stage", "part"), READY)
def test_what_a_stage_or_an_earlier_one_made_can_be_read(stage, part):
    """Every part is there from its stage on."""
    assert getattr(toy.after(stage), part) is not None


@pytest.mark.parametrize(("stage", "part", "made"), LATER)
def test_what_comes_later_is_refused_by_name(stage, part, made):
    """The message says which stage makes the part, and which one this is."""
    with pytest.raises(PipelineError, match=f"is made by stage {made!r}, this is after {stage!r}"):
        getattr(toy.after(stage), part)


def test_the_matrix_is_that_of_the_runs_targets(tmp_path):
    """A stored matrix whose targets are not the run's is refused, not fitted."""
    state = toy.after("matrix")
    shutil.copytree(state.folder, tmp_path / "run")
    targets = [replace(t, value=2 * t.value) for t in state.targets]
    save_targets(tmp_path / "run" / "artifacts" / "targets.json", targets)
    with pytest.raises(MatrixError, match="was made of other targets"):
        _ = RunState(tmp_path / "run", "matrix", state.data).matrix


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_tables_come_last(stage):
    """Diagnostics are read after the last stage alone."""
    with pytest.raises(PipelineError, match="'diagnostics'"):
        toy.after(stage).table("unified_diagnostics")


def test_an_unknown_stage_is_refused_with_a_hint():
    """A misspelt stage is an error that names the near one."""
    with pytest.raises(PipelineError, match="no stage 'weight'; did you mean 'weights'"):
        toy.after("weight")


def test_the_sizes_are_those_of_the_book():
    """R = 100 records, N = 3 clones, C = 300 columns, and one row for each target."""
    state = toy.after("diagnostics")
    T = len(state.targets)
    assert (state.geography.n_records, state.geography.n_clones) == (100, 3)
    assert state.matrix.X.shape == (T, 300)
    assert set(state.weights_by_preset) == {"local", "national"}
    assert all(w.shape == (300,) for w in state.weights_by_preset.values())
    assert state.weights is state.weights_by_preset["local"]
    assert [row["target"] for row in state.table("unified_diagnostics")] == state.matrix.names


@pytest.mark.parametrize(
    "table",
    ["unified_diagnostics", "calibration_log", "validation_results", "identity", "areas",
     "untargeted", "groups", "checks", "national_unified_diagnostics", "national_areas"],
)  # fmt: skip
def test_every_table_can_be_read(table):
    """Each stored table has rows, and every row has all columns."""
    rows = toy.after("diagnostics").table(table)
    assert rows
    assert all(row.keys() == rows[0].keys() and None not in row.values() for row in rows)


def test_what_is_shared_cannot_be_written_to():
    """The same object is handed out at every call, so its arrays refuse changes."""
    state = toy.after("weights")
    shared = [state.weights, state.matrix.X.data, state.matrix.w0, state.geography.block]
    shared += [state.person["age"], state.household["household_weight"]]
    for array in shared:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_missing_table_is_an_error():
    """A table that is not stored is named with its path."""
    with pytest.raises(PipelineError, match=r"cannot read .*no_such\.csv"):
        toy.after("diagnostics").table("no_such")


def test_the_inputs_come_with_every_stage():
    """Survey, donors, crosswalk, areas and targets can be read beside any state."""
    inputs = toy.after("base").inputs
    assert inputs.survey.size("household") == 60
    assert set(inputs.donors) == set(DONORS)
    assert len(np.unique(inputs.crosswalk.district)) == 12
    assert len({area.path for area in inputs.areas}) == len(inputs.areas) == 20
    assert inputs.states == (2, 6, 11, 37, 49)


def test_the_files_of_the_stored_run_can_be_named():
    """Where an area's file would lie is known, though the files themselves are not stored."""
    state = toy.after("files")
    for area, row in zip(state.inputs.areas, state.files, strict=True):
        assert row["path"] == area.path.as_posix()
        assert state.file(area) == state.folder / "artifacts" / "files" / area.path


def test_the_stored_states_are_small():
    """Under 2 MB in all."""
    states = toy.folder() / "states"
    assert sum(p.stat().st_size for p in states.rglob("*") if p.is_file()) < 2_000_000


# -- the household -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def columns() -> np.ndarray:
    """Columns of X that the household has."""
    records = np.flatnonzero(toy.after("puf").household["source_household_id"] == toy.HOUSEHOLD)
    return np.sort(column_of(np.arange(3)[:, None], records, 100).reshape(-1))


@pytest.fixture(scope="module")
def homes(columns):
    """Materialise those columns."""
    return toy.after("weights").clones.households(columns)


def by_home(homes, name, values=None) -> list[list]:
    """Give the values of a unit's variable, household by household."""
    entity = homes.entity_of(name) if values is None else name
    column = homes[name] if values is None else values
    home = homes.household_of(entity)
    return [column[home == i].tolist() for i in range(homes.size("household"))]


def test_it_exists_at_every_stage():
    """One household in the survey, then a CPS half and a PUF half."""
    assert toy.HOUSEHOLD in toy.after("base").household["household_id"]
    for stage in STAGES[1:]:
        household = toy.after(stage).household
        mine = household["source_household_id"] == toy.HOUSEHOLD
        assert household["is_puf_clone"][mine].tolist() == [False, True]


def test_it_has_six_columns_in_different_districts(columns):
    """Two records, three clones each; no record stands twice in a district."""
    assert len(columns) == 6
    districts = toy.after("clones").geography.code("district")[columns]
    for record in np.unique(columns % 100):
        assert len(set(districts[columns % 100 == record].tolist())) == 3


def test_it_pays_rent(homes):
    """Somebody in every one of its columns pays rent, not the same in all states."""
    assert set(homes["tenure_type"]) == {"RENTED"}
    rents = [max(rent) for rent in by_home(homes, "rent")]
    assert min(rents) > 0
    assert len(set(rents)) > 1


def test_it_has_social_security_in_parts(homes):
    """Somebody receives Social Security in both halves, and its parts add up."""
    total = [sum(values) for values in by_home(homes, "social_security")]
    assert min(total) > 0
    parts = ("retirement", "disability", "survivors", "dependents")
    added = np.sum([homes[f"social_security_{part}"] for part in parts], axis=0)
    assert added == pytest.approx(homes["social_security"], rel=1e-12)


def test_its_tax_variables_differ_between_the_halves(homes):
    """The tax file gave the PUF half other incomes than the CPS half has."""
    values = {v.name: by_home(homes, v.name) for v in puf_variables()}
    differ = [name for name, of in values.items() if len({tuple(v) for v in of}) > 1]
    assert len(differ) >= 5
    assert "employment_income" in differ or "taxable_pension_income" in differ


def test_the_filer_gate_does_not_treat_its_tax_units_alike(homes):
    """It has two tax units, and who files differs between columns."""
    engine = toy.after("weights").engine
    files = engine.simulate(homes, ["tax_unit_is_filer"], 2024)["tax_unit_is_filer"]
    who = by_home(homes, "tax_unit", files)
    assert {len(units) for units in who} == {2}
    assert len({tuple(units) for units in who}) > 1


def test_it_reports_snap_and_its_snap_depends_on_where_it_lives(homes):
    """It reports receipt, so its takeup is anchored; what it gets differs between columns."""
    assert (homes["snap_reported"] > 0).any()
    reporting = homes["snap_reported"] > 0
    assert homes["takes_up_snap_if_eligible"][reporting].all()
    snap = toy.after("weights").engine.simulate(homes, ["snap"], 2024)["snap"]
    amounts = {sum(units) for units in by_home(homes, "spm_unit", snap)}
    assert len(amounts) > 1
    assert max(amounts) > 0


def test_it_is_kept_by_both_presets(columns):
    """At least one of its columns has a weight under `local` and under `national`."""
    weights = toy.after("weights").weights_by_preset
    kept = (weights["local"][columns] > 0) & (weights["national"][columns] > 0)
    assert kept.any()
