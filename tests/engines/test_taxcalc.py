"""Tax-Calculator and its public records, from the packaged file to a checked national file."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import provenance, soi
from calibration.dataset import Dataset
from calibration.diagnostics import summary, unified_table
from calibration.engines import load_engine
from calibration.engines.taxcalc.units import HOUSEHOLDS, UNITS
from calibration.engines.taxcalc.variables import CLAIM, INPUTS
from calibration.errors import EngineError
from calibration.geography import Area
from calibration.h5_layout import read_h5
from calibration.pipeline import RunOptions, run, steps_of
from calibration.provenance import import_closure

pytestmark = [
    pytest.mark.engine_taxcalc,
    # The library warns of its own affairs, such as a pandas idiom that will change.
    pytest.mark.filterwarnings("default"),
]

YEAR = 2022
STATES = ("DC", "VT", "WY")
ALL = ("adjusted_gross_income", "eitc", "income_tax", "tax_unit_is_filer")


@pytest.fixture(scope="module")
def engine():
    """Give the engine."""
    return load_engine("taxcalc")


@pytest.fixture(scope="module")
def records(engine) -> Dataset:
    """Read the public records, aged to 2022."""
    return engine.records(YEAR)


@pytest.fixture(scope="module")
def library():
    """Run the library by itself, as its documentation says, on all of its records."""
    import taxcalc

    calculator = taxcalc.Calculator(
        policy=taxcalc.Policy(), records=taxcalc.Records.cps_constructor(), verbose=False
    )
    calculator.advance_to_year(YEAR)
    calculator.calc_all()
    return calculator


@pytest.fixture(scope="module")
def values(engine, records):
    """Simulate all records once."""
    return engine.simulate(records, ALL, YEAR)


# -- the records -------------------------------------------------------------------------


def test_the_records_are_those_that_are_described(records):
    """280,005 units, each a household of its own; 200,576 survey households, each in one state."""
    assert records.period == YEAR
    for entity in ("household", "tax_unit", "person"):
        assert records.size(entity) == UNITS == 280_005
    source, state = records["source_household_id"], records["state_fips"]
    assert len(np.unique(source)) == HOUSEHOLDS == 200_576
    assert len(np.unique(np.stack([source, state]), axis=1).T) == HOUSEHOLDS
    assert len(np.unique(state)) == 51
    assert (records["household_weight"] > 0).all()
    assert np.array_equal(records["household_weight"], records["design_weight"])


def test_the_records_are_aged_as_the_library_ages_them(records, library):
    """Every column and the weights equal those of the library's own records, bit for bit."""
    for name in INPUTS:
        assert np.array_equal(records[name], library.array(name)), name
    assert np.array_equal(records["household_weight"], np.asarray(library.array("s006")))


@pytest.mark.parametrize("year", [2013, 2037])
def test_records_of_a_year_without_weights_are_refused(engine, year):
    """The years that there are stand in the message."""
    with pytest.raises(EngineError, match=f"weights of 2014 to 2036, not of {year}"):
        engine.records(year)


# -- the law -----------------------------------------------------------------------------


def test_values_are_those_of_the_library(values, library):
    """AGI, EITC and income tax equal the library's own, bit for bit."""
    for ours, theirs in (("adjusted_gross_income", "c00100"), ("eitc", "eitc"),
                         ("income_tax", "iitax")):  # fmt: skip
        assert np.array_equal(values[ours], library.array(theirs)), ours


def test_a_unit_has_its_values_in_any_company(engine, records, values):
    """A few units in another order, alone in a dataset, keep every value."""
    rows = np.random.default_rng(0).permutation(UNITS)[:3_000]
    some = engine.simulate(records.take_households(rows), ALL, YEAR)
    for name in ALL:
        assert np.array_equal(some[name], values[name][rows]), name


def test_claims_drawn_by_position_would_break_that(engine, records, values):
    """Drawn as the library does, for the rows that it sees, some units lose or gain a credit."""
    rows = np.flatnonzero(values["eitc"] > 0)[::40]
    some = records.take_households(rows)
    drawn = np.random.default_rng(seed=192837465).uniform(size=len(rows))  # taxcalc/records.py
    other = engine.simulate(some.with_columns("tax_unit", {CLAIM: drawn}), ["eitc"], YEAR)
    assert 0.01 < np.mean(other["eitc"] != values["eitc"][rows]) < 0.5


def test_who_files_follows_the_stated_rule(values, library):
    """The rule, unit by unit in plain words, for one unit in a hundred."""
    read = {n: library.array(n).tolist() for n in
            ("c00100", "standard", "e00900", "e02100", "eitc", "c11070", "e00200")}  # fmt: skip
    for i in range(0, UNITS, 100):
        agi = read["c00100"][i]
        required = agi >= read["standard"][i] or read["e00900"][i] + read["e02100"][i] >= 400
        refund = read["eitc"][i] > 0 or read["c11070"][i] > 0 or read["e00200"][i] > 0
        assert values["tax_unit_is_filer"][i] == (required or agi < 0 or refund)


def test_filers_are_about_as_many_as_returns(records, values):
    """Within 1 percent of the IRS's 158.7 million; the classes of income were not tuned."""
    returns = [t for t in soi.read_soi() if t.is_count and "eitc" not in t.name]
    filers = records["household_weight"][values["tax_unit_is_filer"]].sum()
    assert abs(filers / sum(t.value for t in returns) - 1) < 0.01


def test_where_a_unit_lives_and_what_it_weighs_change_nothing(engine, records, values):
    """Federal law: columns that are not declared have no effect."""
    rows = np.arange(0, UNITS, 200)
    some = records.take_households(rows)
    other = {"state_fips": np.full(len(rows), 6), "household_weight": np.ones(len(rows))}
    found = engine.simulate(some.with_columns("household", other), ALL, YEAR)
    for name in ALL:
        assert np.array_equal(found[name], values[name][rows]), name


def test_bad_input_is_an_error_where_the_library_says_nothing(engine, records):
    """Another year, a missing column, a wrong type, a typo, an input as an output."""
    some = records.take_households(np.arange(5))
    with pytest.raises(EngineError, match="amounts are of 2022, the law asked for is of 2024"):
        engine.simulate(some, ALL, 2024)
    with pytest.raises(EngineError, match=r"law of 2013 to \d+, not of 1999"):
        engine.simulate(replace(some, period=1999), ALL, 1999)
    table = {k: v for k, v in some.tables["tax_unit"].items() if k != "e00300"}
    lacking = replace(some, tables={**some.tables, "tax_unit": table})
    with pytest.raises(EngineError, match="lacks input 'e00300' of the tax_unit"):
        engine.simulate(lacking, ALL, YEAR)
    text = some.with_columns("tax_unit", {"MARS": np.full(5, 1.5)})
    with pytest.raises(EngineError, match="input 'MARS' must be one int for each tax unit"):
        engine.simulate(text, ALL, YEAR)
    with pytest.raises(EngineError, match="no output 'eitcc'; did you mean 'eitc'"):
        engine.simulate(some, ["eitcc"], YEAR)
    with pytest.raises(EngineError, match="'XTOT' is an input of Tax-Calculator"):
        engine.simulate(some, ["XTOT"], YEAR)
    wrong = some.with_columns("tax_unit", {"e00200": some["e00200"] + 1000.0})
    with pytest.raises(EngineError, match=r"refuses the dataset: .*e00200"):
        engine.simulate(wrong, ALL, YEAR)


def test_nobody_has_no_values(engine, records):
    """An empty dataset gives empty values of the right kind, and no variables give nothing."""
    nobody = records.take_households(np.zeros(0, dtype=np.int64))
    found = engine.simulate(nobody, ALL, YEAR)
    assert {name: (v.dtype.kind, len(v)) for name, v in found.items()} == {
        "adjusted_gross_income": ("f", 0), "eitc": ("f", 0), "income_tax": ("f", 0),
        "tax_unit_is_filer": ("b", 0),
    }  # fmt: skip
    assert engine.simulate(nobody, [], YEAR) == {}


# -- a run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Calibrate the records of three states to their published figures."""
    folder = tmp_path_factory.mktemp("runs") / "records"
    root, ran, current = f"{provenance._PACKAGE}/", {}, set()

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            current.add(frame.f_code.co_filename.removeprefix(root))

    def follow(event):
        if event.kind == "start":
            current.clear()
            sys.setprofile(watch)
        else:
            sys.setprofile(None)
            ran[event.step] = set(current)

    options = RunOptions(engine="taxcalc", states=STATES, records=1_000)
    state = run(soi.folder(), folder, options, observe=follow)
    return state, ran


def test_the_run_keeps_what_it_was_asked_for(finished, records):
    """Three states' units, one column each, 1,000 kept; all 66 targets can be reached."""
    state, _ = finished
    codes = [11, 50, 56]
    assert state.dataset.size("tax_unit") == np.isin(records["state_fips"], codes).sum()
    assert np.array_equal(state.geography.state, state.dataset["state_fips"])
    found = summary(unified_table(state.matrix, state.weights), state.weights)
    assert (found.targets, found.achievable) == (66, 66)
    assert abs(found.retained - 1_000) <= 20
    assert found.initial.mean > 0.2
    assert found.fitted.median < 0.01
    assert found.fitted.within_5 > 0.85


def test_the_matrix_holds_what_the_library_computed(finished, values, records):
    """X, row by row, from the values of all records: who files, in which class, how much."""
    state, _ = finished
    mine = np.flatnonzero(np.isin(records["state_fips"], [11, 50, 56]))
    agi, home = values["adjusted_gross_income"][mine], records["state_fips"][mine]
    filer = values["tax_unit_is_filer"][mine]
    for i, target in enumerate(state.targets):
        if target.variable != "adjusted_gross_income":
            continue
        here = filer & (home == target.code)
        for c in target.constraints:
            if c.variable == "adjusted_gross_income":
                here &= agi >= c.number if c.operation == ">=" else agi < c.number
        row = state.matrix.X[[i]].toarray()[0]
        assert np.array_equal(row, np.where(here, agi, 0.0).astype(np.float32)), target.name


def test_the_national_file_says_what_was_calibrated(finished, engine):
    """Opened again and simulated again, it adds up to X w in every row."""
    state, _ = finished
    file = read_h5(state.file(Area.nation()))
    assert file.size("tax_unit") == np.count_nonzero(state.weights)
    found = engine.simulate(file, ALL, YEAR)
    weight = file["household_weight"]  # one unit a household, in one order
    estimates = state.matrix.estimates(state.weights)
    for target, estimate in zip(state.targets, estimates, strict=True):
        here = file["state_fips"] == target.code
        for c in target.constraints:
            here &= c.holds(found[c.variable])
        amount = 1.0 if target.is_count else found[target.variable]
        assert (weight * here * amount).sum() == pytest.approx(estimate, rel=1e-6)


def test_the_file_has_inputs_and_no_results(finished):
    """What the engine computes is not stored, so that nobody reads a stale value."""
    state, _ = finished
    names = set(read_h5(state.file(Area.nation())).names())
    assert set(INPUTS) <= names
    assert not names & set(ALL)


def test_every_file_was_compared_and_every_check_passed(finished):
    """66 rows on the national file, 22 on each state's; three kinds of checks or more."""
    state, _ = finished
    rows = state.table("identity")
    count = {name: sum(r["file"] == name for r in rows) for name in {r["file"] for r in rows}}
    assert count == {"national/US.h5": 66} | {f"states/{s}.h5": 22 for s in STATES}
    assert max(float(row["gap"]) for row in rows) < 1e-5
    checks = {row["name"]: row for row in state.table("checks")}
    assert {"own_state", "entity_links", "float64_sums"} <= set(checks)
    assert {row["passed"] for row in checks.values()} == {"True"}


def test_what_no_target_names_is_counted(finished):
    """Units, those that do not file, single returns and children, before and after."""
    state, _ = finished
    rows = {row["measure"]: row for row in state.table("untargeted")}
    assert {"tax_units", "non_filing_tax_units", "single_tax_units", "children_under_18"} <= set(
        rows
    )
    weight, w0 = state.weights, state.matrix.w0
    children = state.dataset["nu18"]
    assert float(rows["children_under_18"]["initial"]) == pytest.approx(children @ w0)
    assert float(rows["children_under_18"]["fitted"]) == pytest.approx(children @ weight)
    assert float(rows["tax_units"]["fitted"]) == pytest.approx(weight.sum())


def test_a_key_covers_all_code_that_its_step_runs(finished):
    """Whatever function of the package a step of such a run calls is in the hash of the step."""
    _, ran = finished
    # what puts steps in order and chunks in their places, and changes no value
    order = ("steps", "run_folder", "provenance", "pipeline", "workers", "keeping")
    machinery = {f"calibration.{name}" for name in order}
    for step in steps_of("taxcalc"):
        names = {
            ".".join(("calibration", *Path(f).with_suffix("").parts)).removesuffix(".__init__")
            for f in ran[step.name]
        }
        covered = {*import_closure(step.modules), *step.around}
        assert not names - covered - machinery, step.name


def test_a_finished_run_is_not_done_again(finished):
    """The same options, year and library: every step was done before."""
    state, _ = finished
    kinds = []
    options = RunOptions(engine="taxcalc", states=STATES, records=1_000)
    run(soi.folder(), state.folder, options, observe=lambda event: kinds.append(event.kind))
    assert kinds == ["skip"] * len(state.stages)


def test_the_program_shows_the_run(finished, calibration):
    """`calibration show` has the totals beside the targets, and the checks."""
    state, _ = finished
    ended = calibration("show", state.folder)
    assert (ended.status, ended.err) == (0, "")
    for words in ("66 of 66", "non filing tax units", "X w identity: 132 rows", "passed"):
        assert words in ended.out
