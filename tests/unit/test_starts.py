"""What a run starts from decides its stages, its options and its inputs, and nothing else does."""

import re
from types import MappingProxyType

import numpy as np
import pytest

from calibration import pipeline, toy
from calibration.artifacts import RunState
from calibration.dataset import Dataset
from calibration.engines import Variable, load_engine
from calibration.errors import EngineError, GeographyError, PipelineError, TargetError
from calibration.geography import Area, Level
from calibration.inputs import read_engine_inputs
from calibration.pipeline import RunOptions, steps_of
from calibration.preflight import preflight
from calibration.provenance import import_closure
from calibration.run_options import Workspace
from calibration.starts import RECORDS, SURVEY, start_of
from calibration.steps import Step, run_steps

# -- steps -------------------------------------------------------------------------------


def test_engines_differ_in_where_a_run_starts():
    """Only an engine that brings its own records does not start from a survey."""
    assert start_of("taxcalc") is RECORDS
    assert start_of("toy") is start_of("policyengine") is SURVEY


@pytest.mark.parametrize("engine", ["toy", "policyengine", "taxcalc"])
def test_steps_are_the_stages_of_the_start(engine):
    """In its order; each step needs earlier ones only, and no two make one thing."""
    steps, seen, outputs = steps_of(engine), set(), []
    assert [step.name for step in steps] == list(start_of(engine).stages)
    for step in steps:
        assert set(step.needs) <= seen
        seen.add(step.name)
        outputs += step.outputs
    assert len(set(outputs)) == len(outputs)


def test_the_starts_share_all_that_does_not_depend_on_them():
    """From the weights on, and for base and targets, the same functions are called."""
    survey = {step.name: step.action for step in steps_of("toy")}
    records = {step.name: step.action for step in steps_of("taxcalc")}
    shared = {name for name in records if records[name] is survey[name]}
    assert shared == {"base", "targets", "weights", "files", "diagnostics"}


@pytest.mark.parametrize("engine", ["policyengine", "taxcalc"])
def test_steps_depend_on_the_code_of_their_own_engine(engine):
    """The modules of the run's engine are in the keys, those of the toy engine are not."""
    simulated = {"matrix", "files", "diagnostics", "targets"}
    for step in steps_of(engine):
        closure = import_closure(step.modules)
        assert not any("{" in module for module in step.modules)
        assert not any(module.startswith("calibration.engines.toy") for module in closure), step
        assert (f"calibration.engines.{engine}" in closure) or step.name not in simulated


def test_another_version_of_the_engine_is_another_key(tmp_path):
    """A step is done again if what its option stands for is no longer the same."""
    done = []

    def act(folder):
        done.append(folder)
        (folder / "made.txt").write_text("made")

    steps = [
        Step(name="one", action=act, parameters=("engine",), outputs=("made.txt",),
             modules=("calibration.errors",))
    ]  # fmt: skip
    for version in ("law 1", "law 1", "law 2"):
        run_steps(
            steps, tmp_path / "run", folder=tmp_path / "run", data=tmp_path,
            options={"engine": "law"}, stands_for={"engine": version},
        )  # fmt: skip
    assert len(done) == 2


# -- options -----------------------------------------------------------------------------


def test_the_year_goes_with_the_engine():
    """The toy country is one of 2024, the records are calibrated to figures of 2022."""
    assert RunOptions().period == RunOptions(engine="policyengine").period == 2024
    assert RunOptions(engine="taxcalc").period == 2022
    assert RunOptions(engine="taxcalc", period=2023).period == 2023


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "taxcalc", "households": 60}, "households has no meaning with the taxcalc"),
        ({"engine": "taxcalc", "clones": 2}, "clones has no meaning with the taxcalc engine"),
        ({"engine": "taxcalc", "trees": 5}, "trees has no meaning with the taxcalc engine"),
        ({"engine": "toy", "states": ("VT",)}, "states has no meaning with the toy engine"),
        ({"engine": "taxcalc", "states": "VT"}, "states is 'VT'; give a tuple"),
        ({"engine": "taxcalc", "states": ("VT", "PR")}, "states has 'PR', which is no state's"),
        ({"engine": "taxcalc", "records": 0}, "records is 0; give at least 1"),
    ],
)
def test_options_without_meaning_are_refused(options, says):
    """An option that would change nothing is an error that names it."""
    with pytest.raises(PipelineError, match=says):
        RunOptions(**options)


def test_the_first_line_says_what_the_run_works_on():
    """Records and clones where they are chosen; the states where a run is confined to some."""
    assert RunOptions().size == "100 records x 3 clones = 300 columns"
    own = "its records of 2022, each in its own state"
    assert RunOptions(engine="taxcalc").size == own
    some = RunOptions(engine="taxcalc", states=("VT", "WY"))
    assert some.size == "its records of 2022 in VT, WY, each in its own state"
    assert some.columns is None


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--engine", "taxcalc", "--households", "50"], "households"),
        (["--engine", "taxcalc", "--clones", "3"], "clones"),
        (["--engine", "taxcalc", "--data", "."], "data"),
        (["--engine", "toy", "--states", "VT"], "states"),
        (["--states", "VT"], "states"),
    ],
)
def test_giving_such_an_option_is_wrong_usage(calibration, tmp_path, arguments, option):
    """Even with its usual value: status 2, one line, and nothing is made."""
    ended = calibration("run", "--out", tmp_path / "out", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert re.fullmatch(
        rf"calibration: --{option} has no meaning with the \w+ engine; leave it out\n", ended.err
    )
    assert not (tmp_path / "out").exists()


# -- records of an engine ----------------------------------------------------------------


_ASKED = {
    name: Variable(name=name, entity="tax_unit", kind=kind, label=name)
    for name, kind in (
        ("adjusted_gross_income", "float"), ("eitc", "float"), ("tax_unit_is_filer", "bool"),
    )
}  # fmt: skip


class Source:
    """An engine that brings four records, and knows what the published figures ask for."""

    name, version = "source", "1"
    inputs = MappingProxyType({})
    outputs = MappingProxyType(_ASKED)

    def records(self, period):
        """Give two records of Wyoming, one of Vermont and one of the District of Columbia."""
        ids = np.arange(4)
        household = {"household_id": ids, "state_fips": np.array([56, 50, 56, 11])}
        person = {"person_id": ids, "person_household_id": ids, "person_tax_unit_id": ids}
        tables = {"person": person, "household": household, "tax_unit": {"tax_unit_id": ids}}
        return Dataset(period, tables)

    def simulate(self, _, variables, __):
        """Have rules of every year, and no variable to compute."""
        assert not list(variables)
        return {}


def test_records_bring_their_states_and_these_their_targets():
    """States in ascending order, a file for each and for the nation, 22 targets a state."""
    inputs = read_engine_inputs(2022, Source())
    assert inputs.states == (11, 50, 56)
    assert inputs.areas == [Area.nation(), *map(Area.state, (11, 50, 56))]
    assert set(inputs.codes) == {Level.NATION, Level.STATE}
    assert {t.code for t in inputs.targets} == {11, 50, 56}
    assert len(inputs.targets) == 66
    with pytest.raises(GeographyError, match="no census blocks"):
        _ = inputs.crosswalk


def test_a_run_can_be_confined_to_some_states():
    """Others' records, files and targets are left out; a state without records is an error."""
    inputs = read_engine_inputs(2022, Source(), ("WY", "VT", "WY"))
    assert inputs.survey["household_id"].tolist() == [0, 1, 2]
    assert inputs.states == (50, 56)
    assert {t.code for t in inputs.targets} == {50, 56}
    with pytest.raises(GeographyError, match="no record lives in CA"):
        read_engine_inputs(2022, Source(), ("CA", "VT"))
    with pytest.raises(GeographyError, match="no state has the letters 'ZZ'"):
        read_engine_inputs(2022, Source(), ("ZZ",))


def test_an_engine_must_bring_what_is_asked_of_it():
    """One without records is refused, as is one that lacks a variable of the targets."""
    with pytest.raises(EngineError, match="the toy engine brings no records of its own"):
        read_engine_inputs(2024, load_engine("toy"))

    class Lacking(Source):
        outputs = MappingProxyType({k: v for k, v in _ASKED.items() if k != "eitc"})

    with pytest.raises(TargetError, match="no variable 'eitc'"):
        read_engine_inputs(2022, Lacking())


def test_more_records_than_there_are_cannot_be_kept(monkeypatch, tmp_path):
    """How many there are is known before the first step, and said."""
    monkeypatch.setattr("calibration.run_options.load_engine", lambda _: Source())
    preflight(Workspace(tmp_path, tmp_path, RunOptions(engine="taxcalc", records=4)))
    with pytest.raises(PipelineError, match="records is 5; give 1 to C = 4"):
        preflight(Workspace(tmp_path, tmp_path, RunOptions(engine="taxcalc", records=5)))
    assert list(tmp_path.iterdir()) == []


# -- what is left behind -----------------------------------------------------------------


def test_a_run_without_takeup_has_an_empty_table():
    """Nothing was resolved, so nothing is read; the seed is the run's."""
    state = RunState(toy.folder(), "base", toy.folder(), "taxcalc", 2022, 7)
    assert (state.thresholds.seed, state.thresholds.rows) == (7, ())
    with pytest.raises(PipelineError, match="no stage 'takeup'"):
        RunState(toy.folder(), "takeup", toy.folder(), "taxcalc", 2022)


def test_the_run_says_where_it_started(own_run):
    """Options with states come back as they were, whatever JSON makes of a tuple."""
    state = pipeline.run(toy.folder(), own_run)
    assert (state.start, state.seed, state.states) == (SURVEY, 0, ())
