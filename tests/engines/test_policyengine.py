"""The policyengine engine: where the model says nothing, an error or the right answer.

policyengine-us has a default for nearly everything and takes nearly everything. Each trap
here was observed with policyengine-us 2.68.0; the tests run in an environment that has it.
"""

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from calibration import toy
from calibration.artifacts import read_rows, write_rows
from calibration.clones import Clones
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Array, Dataset
from calibration.engines import native
from calibration.engines.policyengine import ENGINE, model, translation, variables
from calibration.engines.toy import ENGINE as TOY
from calibration.errors import DatasetError, EngineError, TargetError
from calibration.failures import find
from calibration.geography import Area, Level
from calibration.identity import FileClaim, check_identity
from calibration.matrix_builder import build_matrix
from calibration.pipeline import RunOptions, run
from calibration.publish_local_area import build_h5
from calibration.targets import Target, parse_constraint, sort_targets

pytestmark = [pytest.mark.engine_policyengine, pytest.mark.filterwarnings("default")]

YEAR = 2024
AGI = "adjusted_gross_income"


def homes(**given: Array) -> Dataset:
    """Make a couple with a baby in Los Angeles, a pensioner in Sacramento, a worker in Utah.

    Columns of the model's own; `given` adds or replaces some, None takes one away.
    """
    home = np.array([0, 0, 0, 1, 2])
    ids = {"household": home, "tax_unit": home, "spm_unit": home, "family": home}
    ids["marital_unit"] = np.array([0, 0, 1, 2, 3])
    tables: dict[str, dict[str, Array]] = {"person": {"person_id": np.arange(5)}}
    for entity, unit in ids.items():
        tables[entity] = {f"{entity}_id": np.unique(unit)}
        tables["person"][f"person_{entity}_id"] = unit
    columns = {
        "age": np.array([30.0, 28.0, 1.0, 70.0, 40.0]),
        "employment_income_before_lsr": np.array([24_000.0, 0, 0, 0, 90_000.0]),
        "social_security_retirement": np.array([0, 0, 0, 9_000.0, 0]),
        "is_tax_unit_head": np.array([1, 0, 0, 1, 1], dtype=bool),
        "is_tax_unit_spouse": np.array([0, 1, 0, 0, 0], dtype=bool),
        "is_tax_unit_dependent": np.array([0, 0, 1, 0, 0], dtype=bool),
        "state_fips": np.array([6, 6, 49]),
        "county_fips": np.array(["06037", "06067", "49035"]),
    }
    data = Dataset(YEAR, tables)
    for name in (*translation.REQUIRED, *translation.UNDRAWN):
        if name not in columns:
            columns[name] = np.ones(data.size(ENGINE.inputs[name].entity), dtype=bool)
    columns |= given
    for name, column in columns.items():
        if column is not None:
            entity = ENGINE.inputs[name].entity if name in ENGINE.inputs else "person"
            tables[entity][name] = column
    return Dataset(YEAR, tables).check()


def ask(data: Dataset, *names: str, year: int = YEAR) -> dict[str, Array]:
    """Simulate."""
    return ENGINE.simulate(data, names, year)


# -- the model's silence -------------------------------------------------------------------


def test_nothing_is_fetched(monkeypatch):
    """A simulation opens no connection: it never asks for the model's own data."""

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert ask(homes(), AGI)[AGI].tolist() == [24_000, 0, 90_000]


def test_another_year_is_an_error():
    """A dataset of 2024 is not aged to 2025, nor the rules of 2024 used for one of 2023."""
    with pytest.raises(EngineError, match="bring the dataset to the year"):
        ask(homes(), AGI, year=2025)
    with pytest.raises(EngineError, match="amounts are of 2023"):
        ask(replace(homes(), period=2023), AGI)
    with pytest.raises(EngineError, match="begin in 2015"):
        ask(replace(homes(), period=1990), AGI, year=1990)


@pytest.mark.parametrize(
    ("name", "entity"),
    [
        ("snap", "spm_unit"),
        ("income_tax", "tax_unit"),
        ("spm_unit_net_income", "spm_unit"),
        ("in_poverty", "spm_unit"),
        ("county", "household"),
        ("in_nyc", "household"),
    ],
)
def test_a_stored_formula_is_an_error(name, entity):
    """A column that the model computes would silently replace the computation."""
    column = {name: np.ones(homes().size(entity))}
    with pytest.raises(EngineError, match=f"'{name}', which the model computes"):
        ask(homes().with_columns(entity, column), AGI)


def test_a_misspelled_column_is_an_error():
    """The model would go on without the column; the error names what was meant."""
    typo = {"self_employment_incme": np.zeros(5)}
    with pytest.raises(EngineError, match=r"did you mean 'self_employment_income'"):
        ask(homes().with_columns("person", typo), AGI)


def test_a_column_in_the_wrong_table_is_an_error():
    """An input belongs to one entity."""
    with pytest.raises(EngineError, match="belongs to the person, not to the tax_unit"):
        ask(homes().with_columns("tax_unit", {"tip_income": np.zeros(3)}), AGI)


@pytest.mark.parametrize(
    ("missing", "output"),
    [
        ("age", "ssi"),
        ("state_fips", AGI),
        ("county_fips", "assigned_aca_ptc"),
        ("is_tax_unit_head", AGI),
        ("takes_up_snap_if_eligible", "snap"),
        ("takes_up_wic_if_eligible", "wic"),
        ("would_file_taxes_voluntarily", "tax_unit_is_filer"),
    ],
)
def test_a_fact_that_everybody_has_is_not_made_up(missing, output):
    """Without age, place, role or takeup the model has one for everybody; here it is an error."""
    gone = {missing: None}
    if missing == "state_fips":
        gone["county_fips"] = None
    with pytest.raises(EngineError, match=missing):
        ask(homes(**gone), output)


def test_every_takeup_is_drawn_required_or_said_to_be_assumed():
    """No flag of takeup has a silent default: each stands in one of three tables."""
    flags = {n for n in ENGINE.inputs if n.startswith(("takes_up_", "would_file_"))}
    required = {n for n in translation.REQUIRED if n.startswith(("takes_up_", "would_file_"))}
    assert flags == required | set(translation.UNDRAWN) | set(translation.ASSUMED)
    assert len(flags) == len(required) + len(translation.UNDRAWN) + len(translation.ASSUMED)


def test_what_is_not_read_may_be_missing():
    """Income needs no county and no takeup, so the survey as it comes in has an income."""
    gone = {name: None for name in translation.REQUIRED if name.startswith(("takes_up", "would"))}
    assert ask(homes(county_fips=None, **gone), AGI)[AGI].tolist() == [24_000, 0, 90_000]


@pytest.mark.parametrize(
    "county",
    [
        "48999",  # no such county: the model takes Anderson, Texas
        "09110",  # a planning region of Connecticut, of 2022
        "02261",  # Valdez-Cordova, Alaska, dissolved in 2019
        "46113",  # Shannon, South Dakota, renamed in 2015
        "",
    ],
)
def test_an_unknown_county_is_an_error(county):
    """The model would take the state's first county; the error names the household."""
    state = int(county[:2] or 49)
    data = homes(county_fips=np.array(["06037", "06067", county]))
    data = data.with_columns("household", {"state_fips": np.array([6, 6, state])})
    with pytest.raises(EngineError, match=rf"county '{county}' at household_id 2"):
        ask(data, AGI)


def test_a_county_of_another_state_is_an_error():
    """State and county go together; the model would mix the laws of two places."""
    with pytest.raises(EngineError, match=r"county 06037 at household_id 0 is not in state 36"):
        ask(homes(state_fips=np.array([36, 6, 49])), AGI)
    with pytest.raises(EngineError, match="not state_fips"):
        ask(homes(state_fips=None), AGI)


def test_a_county_is_text():
    """An integer county, which the model half accepts, is an error."""
    with pytest.raises(EngineError, match=r"'county_fips' must be text, not int64"):
        ask(homes(county_fips=np.array([6037, 6067, 49035])), AGI)


def test_the_county_decides_where_the_law_says_so():
    """The premium tax credit of a couple differs between two counties of California."""
    income = {"employment_income_before_lsr": np.array([45_000.0, 0, 0, 0, 90_000.0])}
    here = ask(homes(**income), "slcsp")["slcsp"]
    moved = homes(**income, county_fips=np.array(["06001", "06067", "49035"]))
    there = ask(moved, "slcsp")["slcsp"]
    assert here[0] != there[0]
    assert here[1:].tolist() == there[1:].tolist()


def test_an_unknown_level_is_an_error():
    """A level that the model does not have is named, with the nearest that it has."""
    tenure = np.array(["RENTED", "OWNED_OUTRIGHT", "OWND_OUTRIGHT"])
    with pytest.raises(EngineError, match=r"no level 'OWND_OUTRIGHT'; did you mean 'OWNED_OUT"):
        ask(homes(tenure_type=tenure), AGI)


def test_no_number_and_no_unit_are_errors():
    """NaN, and a person whose tax unit is not there, never reach the model."""
    with pytest.raises(EngineError, match=r"'tip_income' is nan in row 3"):
        ask(homes().with_columns("person", {"tip_income": np.array([0, 0, 0, np.nan, 0])}), AGI)
    lost = homes().with_columns("person", {"person_tax_unit_id": np.array([0, 0, 0, 1, 9])})
    with pytest.raises(DatasetError, match="belongs to tax_unit 9"):
        ask(lost, AGI)


def test_an_entity_that_is_missing_is_an_error():
    """All six entities must be there."""
    data = homes()
    tables = {e: t for e, t in data.tables.items() if e != "family"}
    with pytest.raises(EngineError, match="no family table"):
        ask(Dataset(YEAR, tables), AGI)


# -- what may not be asked -----------------------------------------------------------------


def test_what_the_file_decides_is_refused():
    """Medicaid dollars are shared out over a file; enrollment is what a person has."""
    with pytest.raises(EngineError, match=r"'medicaid' is refused.*use 'medicaid_enrolled'"):
        ask(homes(), "medicaid")
    assert {"person_weight", "household_income_decile", "medicaid_cost"} <= set(variables.refused())
    assert not variables.refused().keys() & ENGINE.outputs.keys()
    assert {"household_net_income", "medicaid_enrolled", "chip"} <= ENGINE.outputs.keys()


def test_what_ignores_takeup_is_refused():
    """`aca_ptc` is the same with and without takeup; `assigned_aca_ptc` is 0 without."""
    with pytest.raises(EngineError, match=r"'aca_ptc' is refused.*use 'assigned_aca_ptc'"):
        ask(homes(), "aca_ptc")
    income = np.array([62_000.0, 0, 0, 0, 25_000.0])
    on = homes(employment_income_before_lsr=income)
    off = homes(employment_income_before_lsr=income, takes_up_aca_if_eligible=np.zeros(3, bool))
    assert ask(on, "assigned_aca_ptc")["assigned_aca_ptc"].max() > 0
    assert ask(off, "assigned_aca_ptc")["assigned_aca_ptc"].max() == 0


def test_no_weight_reaches_the_model():
    """Net income, which nearly everything leads to, is bitwise the same under other weights."""
    names = ("household_net_income", "medicaid_enrolled", "income_tax")
    plain = ask(homes(), *names)
    heavy = homes().with_columns("household", {"household_weight": np.array([1.0, 1e6, 0.0])})
    for name, values in ask(heavy, *names).items():
        np.testing.assert_array_equal(values, plain[name])


def test_programmes_have_their_outputs():
    """Every flag of takeup is an input of its entity, every eligible output one of it."""
    from calibration.takeup import PROGRAMMES

    for programme in PROGRAMMES:
        assert ENGINE.inputs[programme.flag].entity == programme.entity
        assert not ENGINE.inputs[programme.flag].optional
        assert ENGINE.outputs[programme.eligible].entity == programme.entity


# -- translation ---------------------------------------------------------------------------


def test_every_input_of_the_toy_engine_has_a_decision():
    """Each is an input of the model, or is renamed, rewritten, left out or kept, with a reason."""
    decided = {*translation.RENAMED, *translation.REWRITTEN, *translation.LEFT_OUT}
    decided |= translation.KEPT.keys() | set(translation.ROLES)
    for name, variable in TOY.inputs.items():
        if name not in decided:
            assert ENGINE.inputs[name].entity == variable.entity, name
            assert ENGINE.inputs[name].kind == variable.kind, name


def test_every_decision_is_true():
    """What is renamed was a formula or unknown; what it becomes is an input of its entity."""
    known = model.system().variables
    for name, (becomes, why) in (translation.RENAMED | translation.ALSO).items():
        assert ENGINE.inputs[becomes].optional, name
        assert why
        if name in known and name not in translation.ALSO:
            assert not known[name].is_input_variable(), name
            assert known[name].entity.key == known[becomes].entity.key, name
    for name in translation.LEFT_OUT:
        assert name not in known or not known[name].is_input_variable(), name
    for name in translation.ROLES:
        assert not known[name].is_input_variable()


def test_translation_is_done_once():
    """A native dataset stays as it is, and the records of the toy country become native."""
    state = toy.after("matrix")
    households = Clones(state.dataset, state.geography, state.thresholds, ENGINE).households(
        np.arange(5)
    )
    again = native(ENGINE, households)
    assert again.names() == households.names()
    assert not set(households.names()) & {*translation.RENAMED, *translation.LEFT_OUT}
    for name in households.names():
        np.testing.assert_array_equal(again[name], households[name])
    assert set(households["tenure_type"].tolist()) <= {*model.levels("tenure_type")}


def test_one_fact_stands_once():
    """A dataset with both names of a fact is refused."""
    both = homes().with_columns("person", {"employment_income": np.ones(5)})
    with pytest.raises(EngineError, match=r"'employment_income'.*one fact"):
        ask(both, AGI)


def test_either_name_of_an_income_gives_the_same():
    """Wages under this package's name are wages under the model's."""
    wages = homes()["employment_income_before_lsr"]
    ours = homes(employment_income_before_lsr=None).with_columns(
        "person", {"employment_income": wages}
    )
    np.testing.assert_array_equal(ask(ours, AGI)[AGI], ask(homes(), AGI)[AGI])


def test_social_security_must_be_the_sum_of_its_parts():
    """The model adds the parts; a total that says something else is an error."""
    parts = {f"social_security_{p}": np.zeros(5) for p in ("dependents", "disability", "survivors")}
    total = {"social_security": np.array([0, 0, 0, 9_000.0, 0])}
    whole = homes().with_columns("person", parts | total)
    assert ask(whole, AGI)[AGI].tolist() == [24_000, 0, 90_000]
    with pytest.raises(EngineError, match="person 3's Social Security"):
        ask(whole.with_columns("person", {"social_security": 2 * total["social_security"]}), AGI)
    with pytest.raises(EngineError, match="not its part"):
        ask(homes().with_columns("person", total), AGI)


# -- the model opened without this package -------------------------------------------------


def _columns(codes: tuple[int, ...], each: int) -> tuple[Clones, Array]:
    state = toy.after("matrix")
    clones = Clones(state.dataset, state.geography, state.thresholds, ENGINE)
    here = [np.flatnonzero(state.geography.state == code)[:each] for code in codes]
    return clones, np.concatenate(here)


def test_a_file_opens_in_the_model_itself(tmp_path):
    """`Microsimulation(dataset=path)` computes from a written file what the engine computes."""
    from policyengine_us import Microsimulation

    state = toy.after("matrix")
    clones, columns = _columns((11, 37), 6)
    weights = np.zeros(state.geography.n_columns)
    weights[columns] = 100.0
    path = tmp_path / "US.h5"
    build_h5(
        weights, state.geography, state.dataset, path, Area.nation(),
        takeup=state.thresholds, engine=ENGINE,
    )  # fmt: skip
    names = (AGI, "income_tax", "snap", "ssi", "medicaid_enrolled", "state_income_tax")
    ours = ask(clones.households(np.sort(columns)), *names)
    simulation = Microsimulation(dataset=str(path))
    with h5py.File(path) as file:
        assert not {name for name in file if name in ENGINE.outputs}
    for name in names:
        theirs = np.asarray(simulation.calculate(name, YEAR))
        np.testing.assert_array_equal(theirs.astype(ours[name].dtype), ours[name], err_msg=name)


def test_nothing_is_read_that_is_not_declared():
    """A watched simulation reads no input that the outputs do not declare."""
    from policyengine_us import Microsimulation

    from calibration.engines.policyengine.checking import checked

    clones, columns = _columns((2, 6, 11, 37, 49), 3)
    arrays = checked(clones.households(columns))
    for name in ("ssi", "snap", "state_income_tax", "assigned_aca_ptc"):
        simulation = Microsimulation(dataset=model._Arrays(arrays, YEAR), trace=True)
        simulation.calculate(name, YEAR)
        read = {node.name for node in simulation.tracer.browse_trace()}
        declared = ENGINE.outputs[name].inputs
        given = set(arrays) & read & ENGINE.inputs.keys()
        assert given
        assert not given - declared, (name, given - declared)


# -- tax expenditures ----------------------------------------------------------------------


def test_an_expenditure_is_what_a_deduction_saves():
    """An itemizer's charity lowers income tax, and the expenditure is that difference."""
    gifts = {"charitable_cash_donations": np.array([0, 0, 0, 0, 30_000.0])}
    giver = homes().with_columns("person", gifts)
    saved = ask(giver, "charitable_deduction_tax_expenditure", "income_tax")
    without = ask(homes(), "income_tax")["income_tax"]
    expected = without - saved["income_tax"]
    assert expected[2] > 1_000
    np.testing.assert_allclose(
        saved["charitable_deduction_tax_expenditure"], expected, rtol=0, atol=0.02
    )
    variable = ENGINE.outputs["charitable_deduction_tax_expenditure"]
    assert (variable.entity, variable.kind) == ("tax_unit", "float")


def test_a_default_in_place_of_a_deduction_is_its_neutralization():
    """It gives what a reform of the system that neutralizes the variable gives."""
    from policyengine_core.reforms import Reform
    from policyengine_us import Microsimulation

    from calibration.engines.policyengine.checking import checked

    class Neutralized(Reform):
        def apply(self):
            self.neutralize_variable("salt_deduction")

    itemized = {
        "real_estate_taxes": np.array([0, 0, 0, 0, 40_000.0]),
        "charitable_cash_donations": np.array([0, 0, 0, 0, 15_000.0]),
    }
    owner = homes().with_columns("person", itemized)
    arrays = checked(native(ENGINE, owner))
    reform = Microsimulation(dataset=model._Arrays(arrays, YEAR), reform=Neutralized)
    tax = np.asarray(reform.calculate("income_tax", YEAR, use_weights=False), dtype=np.float64)
    ours = ask(owner, "income_tax", "salt_deduction_tax_expenditure")
    assert ours["salt_deduction_tax_expenditure"][2] > 0
    np.testing.assert_array_equal(ours["salt_deduction_tax_expenditure"], tax - ours["income_tax"])


# -- whole runs ----------------------------------------------------------------------------


def three_states(folder: Path) -> Path:
    """Copy the toy country's inputs, less Alaska and Utah."""
    shutil.copytree(toy.folder(), folder, ignore=shutil.ignore_patterns("states", "*.py"))
    for file, column in {"blocks": "block", "areas": "codes", "targets": "code"}.items():
        rows = read_rows(folder / f"{file}.csv")
        kept = [row for row in rows if row[column][:2] not in {"02", "49"}]
        write_rows(folder / f"{file}.csv", kept)
    return folder


def test_a_target_on_a_refused_variable_stops_before_anything_is_written(tmp_path):
    """The error names what to use, and there is no run folder."""
    data = three_states(tmp_path / "data")
    targets = (data / "targets.csv").read_text(encoding="utf-8")
    (data / "targets.csv").write_text(
        targets.replace("assigned_aca_ptc", "aca_ptc"), encoding="utf-8"
    )
    with pytest.raises((EngineError, TargetError), match="assigned_aca_ptc"):
        run(data, tmp_path / "run", RunOptions(engine="policyengine"))
    assert not (tmp_path / "run").exists()


def test_a_hundred_records_in_three_states_under_real_law(tmp_path):
    """A whole run holds the X w identity on every row with support of every file."""
    data = three_states(tmp_path / "data")
    state = run(data, tmp_path / "run", RunOptions(engine="policyengine", clones=1))
    assert state.dataset.size("household") == 100
    assert state.inputs.states == (6, 11, 37)
    assert len({target.variable for target in state.targets}) >= 6
    rows = state.table("identity")
    assert len({row["file"] for row in rows}) >= 10
    assert max(float(row["gap"]) for row in rows) <= 1e-5
    assert {row["passed"] for row in state.table("checks")} == {"True"}


def test_a_mismatch_of_takeup_is_caught_under_real_law(tmp_path):
    """Files whose draws forget the clone break the identity; right ones do not."""
    state = toy.after("matrix")
    rows = np.arange(20)
    records = state.dataset.take_households(rows)
    crosswalk = state.inputs.crosswalk
    blocks = crosswalk.block[np.isin(crosswalk.state, (11, 37))]
    home = GeographyAssignment.from_blocks(crosswalk, np.resize(blocks, 60), 20, 3)
    clones = Clones(records, home, state.thresholds, ENGINE)
    wanted = [("snap",), ("ssi",), ("income_tax",), ("assigned_aca_ptc",)]
    wanted += [("person_count", "medicaid_enrolled==1"), ("tax_unit_count", "eitc>0")]
    targets = sort_targets(
        Target(
            variable=variable, level=Level.NATION, code=0, period=YEAR, value=1e6,
            constraints=tuple(parse_constraint(c) for c in constraints),
        )
        for variable, *constraints in wanted
    )  # fmt: skip
    weights = np.linspace(50, 150, 60)
    matrix = build_matrix(clones, targets, w0=weights)

    def identity():
        path = tmp_path / "US.h5"
        build_h5(
            weights, home, records, path, Area.nation(), takeup=state.thresholds, engine=ENGINE
        )
        claim = FileClaim.of(Area.nation(), path, weights, home)
        return check_identity(matrix, [claim], records, ENGINE)

    assert not identity().broken
    with find("clone-not-in-key").inject():
        broken = identity()
    assert broken.broken
    assert {row.target for row in broken.broken} & {t.name for t in targets if "snap" in t.name}


def test_a_worker_imports_once():
    """The initializer of a pool leaves the model imported."""
    from calibration.workers import warm

    warm("policyengine")
    assert "policyengine_us" in os.sys.modules
