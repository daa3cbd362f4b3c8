"""The run as a whole: its options, what it starts from, its fit log and its last word."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibration import audit, fit_stage, toy
from calibration.actions import model_targets
from calibration.artifacts import RunState, read_rows, write_rows
from calibration.audit import prefix_of
from calibration.checks import CheckResult
from calibration.errors import EngineError, FitError, IdentityError, PipelineError
from calibration.files import read_json, read_npz
from calibration.fit_stage import LOG_EVERY
from calibration.geography import Area, Level
from calibration.inputs import income_targets, read_crosswalk
from calibration.l0.run import Status
from calibration.pipeline import RunOptions, run, steps_of
from calibration.preflight import preflight
from calibration.run_options import Workspace
from calibration.target_database import TargetDatabase
from calibration.targets import Target, parse_constraint

# -- options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": -1}, "seed is -1; give 0 to"),
        ({"seed": 2**64}, "give 0 to 2"),
        ({"seed": 1.5}, "seed is 1.5; give a whole number"),
        ({"households": 0}, "households is 0; give at least 1"),
        ({"households": "50"}, "households is '50'; give a whole number"),
        ({"clones": True}, "clones is True; give a whole number"),
        ({"trees": 0}, "trees is 0"),
        ({"period": "2024"}, "period is '2024'"),
        ({"records": 0}, "records is 0; give 1 to C = 300"),
        ({"records": 301}, "give 1 to C = 300"),
        ({"records": 9.0}, "records is 9.0; give a whole number"),
        ({"presets": ("local", "regional")}, "no preset 'regional'; there are local, national"),
        ({"presets": "local"}, "presets is 'local'; give a tuple"),
        ({"presets": ()}, "give a preset or a number of records"),
    ],
)
def test_options_are_checked_when_they_are_made(options, says):
    """A value that no run could use is refused, naming the option and the value."""
    with pytest.raises(PipelineError, match=says.replace("(", r"\(")):
        RunOptions(**options)


def test_options_say_how_many_columns_and_vectors():
    """C = N * 2 * households; presets give a vector each, a number of records gives one."""
    options = RunOptions()
    assert options.columns == 300
    assert options.vectors == ("local", "national")
    assert RunOptions(records=90).vectors == ("records",)


@pytest.mark.parametrize(
    ("options", "nation", "district"),
    [
        ({}, "national", "local"),
        ({"presets": ("local",)}, "local", "local"),
        ({"presets": ("national",)}, "national", "national"),
        ({"records": 9}, "records", "records"),
    ],
)
def test_each_area_has_its_vector(options, nation, district):
    """The nation's file is made from `national`, all others from `local`, or from what there is."""
    chosen = RunOptions(**options)
    assert chosen.vector_of(Area.nation()) == nation
    assert chosen.vector_of(Area.district(3702)) == district


# -- what a run starts from --------------------------------------------------------------


def income(code, value, period=2022, *constraints, level=Level.DISTRICT):
    """Make an income target."""
    parsed = tuple(parse_constraint(c) for c in constraints)
    return Target(variable="adjusted_gross_income", level=level, code=code, constraints=parsed,
                  period=period, value=value)  # fmt: skip


def test_a_selection_limits_the_targets_of_a_run(tmp_path):
    """What is not selected has no part in the run; the database still has every total."""
    options = RunOptions(select="include: [{variable: snap}, {geo_level: nation}]")
    work = Workspace(tmp_path, toy.folder(), options)
    found, _ = model_targets(work, tmp_path / "targets.db")
    every, _ = model_targets(replace(work, options=RunOptions()), tmp_path / "all.db")
    assert 0 < len(found) < len(every)
    assert all(t.variable == "snap" or t.level is Level.NATION for t in found)
    written = [TargetDatabase(tmp_path / name).read_periods() for name in ("targets.db", "all.db")]
    assert written[0] == written[1]
    with pytest.raises(PipelineError, match="select: a selection has no 'inclde'"):
        RunOptions(select="inclde: []")


def test_income_targets_are_those_of_the_widest_scope():
    """Targets of some incomes only, of states, or of other variables do not draw records."""
    targets = [
        income(612, 5.0, 2022, "tax_unit_is_filer==1"),
        income(612, 1.0, 2022, "tax_unit_is_filer==1", "adjusted_gross_income>=100000"),
        income(622, 7.0, 2022, "tax_unit_is_filer==1"),
        income(6, 12.0, 2022, "tax_unit_is_filer==1", level=Level.STATE),
        replace(income(634, 9.0), variable="income_tax"),
    ]
    for order in (targets, targets[::-1]):
        assert income_targets(order, 2024) == {612: 5.0, 622: 7.0}
    assert income_targets([], 2024) == {}


@pytest.mark.parametrize(
    ("periods", "chosen"),
    [((2020, 2022, 2023), 2023), ((2022, 2025), 2022), ((2024,), 2024), ((2027, 2025), 2025)],
)
def test_income_targets_are_of_the_best_period(periods, chosen):
    """The latest period not after the model year, or else the earliest."""
    targets = [income(612, float(period), period) for period in periods]
    assert income_targets(targets, 2024) == {612: float(chosen)}


def test_a_block_may_have_no_place_and_no_zip(data):
    """Where the file says none, the code is 0."""
    path = data / "blocks.csv"
    header, first, *rest = path.read_text().splitlines()
    block, people, district, *_ = first.split(",")
    path.write_text("\n".join([header, f"{block},{people},{district},none,none", *rest]) + "\n")
    crosswalk = read_crosswalk(data)
    row = crosswalk.row_of(np.array([int(block)]))
    assert crosswalk.place[row].tolist() == crosswalk.zip_code[row].tolist() == [0]


def test_preflight_of_the_toy_country_finds_nothing_and_leaves_nothing(tmp_path):
    """Good inputs pass, and no folder is made."""
    preflight(Workspace(tmp_path / "run", toy.folder(), RunOptions()))
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back_as_they_were_written(tmp_path):
    """Floats keep all digits, text its commas and quotes; a table without rows is refused."""
    rows = [{"a": 0.1 + 0.2, "b": 'x, "y"'}, {"a": 1e-300, "b": ""}]
    write_rows(tmp_path / "t.csv", rows)
    back = read_rows(tmp_path / "t.csv")
    assert [(float(row["a"]), row["b"]) for row in back] == [(r["a"], r["b"]) for r in rows]
    with pytest.raises(PipelineError, match="no rows to write"):
        write_rows(tmp_path / "u.csv", [])


# -- the steps ---------------------------------------------------------------------------


def test_steps_read_only_what_earlier_ones_made():
    """Each need comes before; no two steps make the same output; every action is its own."""
    seen, outputs = set(), []
    for step in steps_of("toy"):
        assert set(step.needs) <= seen
        seen.add(step.name)
        outputs += step.outputs
    assert len(set(outputs)) == len(outputs)
    assert [step.name for step in steps_of("toy")] == list(toy.STAGES)
    assert len({step.action for step in steps_of("toy")}) == len(steps_of("toy"))


def test_every_draw_follows_the_seed(tmp_path):
    """With another seed the same households get other incomes, blocks, rents and takeup."""
    runs = [
        run(toy.folder(), tmp_path / str(seed), RunOptions(seed=seed, trees=2, records=90))
        for seed in (1, 2)
    ]
    one, two = map(drawn, runs)
    for name, values in one.items():
        both = sorted(values.keys() & two[name].keys())
        assert len(both) > 20, name
        assert np.mean([values[key] == two[name][key] for key in both]) < 0.9, name
    assert [state.thresholds.seed for state in runs] == [1, 2]
    assert [facts["options"]["seed"] for state in runs for facts in state.fits.values()] == [1, 2]


def drawn(state):
    """Give one kind of draw of every stage by the ids that it belongs to."""
    columns = np.arange(state.geography.n_columns)
    homes = state.clones.households(columns)
    key = list(zip(homes["record_household_id"].tolist(), homes["clone_index"].tolist(),
                   strict=True))  # fmt: skip
    of_spm = homes.household_of("spm_unit")
    unit = homes["record_spm_unit_id"].tolist()
    snap = homes["takes_up_snap_if_eligible"].tolist()
    people = state.dataset
    clone = people.to_person(people["is_puf_clone"], "household")
    paid = ~clone & (people["employment_income"] > 0)  # the CPS half keeps its own predictors
    person = people["person_id"]
    return {
        "imputed": dict(zip(person[clone].tolist(),
                            people["employment_income"][clone].tolist(), strict=True)),
        "wages": dict(zip(person[paid].tolist(),
                          people["hourly_wage"][paid, 0].tolist(), strict=True)),
        "block": dict(zip(key, homes["block_geoid"].tolist(), strict=True)),
        "takeup": {(u, key[h][1]): s for u, h, s in zip(unit, of_spm, snap, strict=True)},
    }  # fmt: skip


def test_one_preset_makes_all_files(tmp_path):
    """With `national` alone, every area's file comes from it, and so do its tables."""
    options = RunOptions(presets=("national",), households=20, clones=4, trees=2)
    state = run(toy.folder(), tmp_path / "run", options)
    assert list(state.weights_by_preset) == ["national"]
    assert state.weights is state.weights_by_preset["national"]
    assert {row["vector"] for row in state.files} == {"national"}
    assert state.table("national_unified_diagnostics")


# -- the log of the fit --------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["local", "national"])
def test_the_log_is_of_the_fit_that_was_kept(preset):
    """Its last row has the stored weights' estimates, bit for bit; the others are gate epochs."""
    state = toy.after("weights")
    log = read_npz(state.folder / "artifacts" / "fit_logs" / f"{preset}.npz")
    weights, facts = state.weights_by_preset[preset], state.fits[preset]
    assert log["phase"].tolist() == ["gates"] * (len(log["phase"]) - 1) + ["refit"]
    epochs = log["epochs"][:-1]
    assert epochs[0] == 0
    assert np.diff(epochs).tolist() == [LOG_EVERY] * (len(epochs) - 1)
    assert np.array_equal(log["estimates"][-1], state.matrix.estimates(weights))
    assert log["retained"][-1] == np.count_nonzero(weights) == facts["retained"]
    assert log["losses"][-1] == facts["loss"]
    assert facts["options"]["penalty"] in [penalty for penalty, _ in facts["trials"]]


def test_a_ruined_fit_is_no_result(tmp_path, monkeypatch):
    """A fit that diverged stops the run at once, and says so; nothing is published from it."""
    real = fit_stage.fit_to_budget

    def wild(*parts, **options):
        found = real(*parts, **options)
        return replace(found, fit=replace(found.fit, status=Status.DIVERGED, message="row 7"))

    monkeypatch.setattr(fit_stage, "fit_to_budget", wild)
    with pytest.raises(FitError, match="the fit of 'local' is no result: row 7"):
        run(toy.folder(), tmp_path / "run")
    assert not (tmp_path / "run" / "artifacts" / "files").exists()
    assert read_json(tmp_path / "run" / "meta.json")["status"] == "failed"


def test_preflight_asks_for_the_rules_of_the_year(tmp_path):
    """A year that the engine has no rules for is refused before a folder is made."""
    with pytest.raises(EngineError, match="rules of 2024, not of 2025"):
        run(toy.folder(), tmp_path / "run", RunOptions(period=2025))
    assert not (tmp_path / "run").exists()


# -- the last word -------------------------------------------------------------------------


def test_a_run_that_fails_its_checks_can_be_looked_into(own_run, monkeypatch):
    """All tables are written before the run is refused; the fault stands in `checks.csv`."""
    before = {path.name for path in (own_run / "diagnostics").iterdir()}
    real = audit.run_checks

    def with_a_fault(*parts, **options):
        return [*real(*parts, **options)[1:], CheckResult("takeup_key", 5, 1, "unit 7 is odd")]

    monkeypatch.setattr(audit, "run_checks", with_a_fault)
    (own_run / "steps" / "diagnostics.json").unlink()
    with pytest.raises(IdentityError, match="check takeup_key: 1 of 5 wrong; unit 7 is odd"):
        run(toy.folder(), own_run)
    assert {path.name for path in (own_run / "diagnostics").iterdir()} == before
    passed = {row["name"]: row["passed"] for row in read_rows(own_run / "diagnostics/checks.csv")}
    assert passed.pop("takeup_key") == "False"
    assert set(passed.values()) == {"True"}
    assert read_json(own_run / "meta.json")["status"] == "failed"


def test_the_checks_look_at_every_column_that_a_file_holds(finished_run, monkeypatch):
    """A column that only the national vector keeps is checked, and both vectors' sums are."""
    stored = read_npz(finished_run / "artifacts" / "weights.npz")
    vectors = {name: w.copy() for name, w in stored.items()}
    column = np.flatnonzero(vectors["national"])[0]
    vectors["local"][column] = 0.0
    monkeypatch.setattr(RunState, "weights_by_preset", vectors)
    seen = {}

    def remember(*parts, columns):
        seen.update(vectors=parts[3], columns=columns)
        return []

    monkeypatch.setattr(audit, "run_checks", remember)
    audit.audit(RunState(finished_run, "files", toy.folder()))
    assert column in seen["columns"]
    assert len(seen["columns"]) == np.count_nonzero(vectors["local"]) + 1
    assert [id(w) for w in seen["vectors"]] == [id(w) for w in vectors.values()]


@pytest.mark.parametrize("vector", ["local", "national"])
def test_the_configuration_says_what_was_used(finished_run, vector):
    """Options, seed, sizes, hashes and versions of each vector, for whoever asks later."""
    name = f"{prefix_of(vector)}unified_run_config.json"
    config = json.loads((finished_run / "diagnostics" / name).read_text())
    state = toy.after("weights")
    assert config["options"]["vector"] == vector
    assert config["options"]["fit"] == state.fits[vector]["options"]
    assert (config["n_records"], config["n_clones"]) == (100, 3)
    assert config["weight_nonzero"] == np.count_nonzero(state.weights_by_preset[vector])
    assert config["elapsed_seconds"] > 0
    assert set(config["artifacts"]) == {
        "geography.npz", "matrix/matrix.npz", "sources.npz", "takeup.csv", "weights.npz"
    }  # fmt: skip
    assert config["made_of"] == dict(state.matrix.made_of)
    assert {"python", "numpy"} <= set(config["versions"])
