"""The X w identity: it holds for every file, and every fault on one side breaks it."""

import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from reference.evaluator import evaluate
from small_world import AREAS, CROSSWALK, target, toy_world, world
from stub_engine import ENGINE

from calibration import audit, engines, identity, publish_local_area, toy
from calibration.constraints import counted_entity
from calibration.dataset import Dataset
from calibration.errors import FileError, IdentityError
from calibration.evaluate import evaluate_file, main
from calibration.geography import Area, Level
from calibration.h5_layout import read_h5, write_h5
from calibration.identity import (
    TOLERANCE,
    Comparison,
    FileClaim,
    IdentityReport,
    check_identity,
    compare_files,
    evaluate_files,
    targets_to_compare,
)
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import AreaStatus, build_h5
from calibration.takeup import with_takeup

CITY = Area.city("Wake", ["37183"])


@pytest.fixture(scope="module")
def made():
    """Ten records, four clones each."""
    return world(10, 4, 1)


@pytest.fixture(scope="module")
def matrix(made):
    """Every kind of sum in every area of every level."""
    return build_matrix(made.clones, made.targets, w0=np.ones(made.n_columns))


@pytest.fixture
def same_process(monkeypatch, capsys):
    """Answer requests in this process, where the stub engine is known."""
    monkeypatch.setitem(engines._ENGINES, "stub", "stub_engine")

    def run(command, **_):
        try:
            main(command[3:])
        except Exception as error:  # noqa: BLE001  # a process turns any error into its last line
            text = f"{type(error).__name__}: {error}"
            return SimpleNamespace(returncode=1, stdout="", stderr=text)
        return SimpleNamespace(returncode=0, stdout=capsys.readouterr().out, stderr="")

    monkeypatch.setattr(identity.subprocess, "run", run)


def written(made, folder, area, w, **options):
    """Write the file of an area; None if nobody is said to live there."""
    clones = made.clones
    file = build_h5(w, clones.geography, clones.dataset, folder / area.path, area,
                    takeup=clones.thresholds, engine=clones.engine, **options)  # fmt: skip
    return file.path if file.status is AreaStatus.WRITTEN else None


def claims_of(made, folder, areas=AREAS, w=None) -> list[FileClaim]:
    """Write the files of some areas and say what they should hold."""
    w = made.weights() if w is None else w
    paths = [written(made, folder, area, w) for area in areas]
    pairs = zip(areas, paths, strict=True)
    return [FileClaim.of(area, path, w, made.clones.geography) for area, path in pairs]


def check(made, matrix, claims) -> IdentityReport:
    """Compare matrix and files."""
    return check_identity(matrix, claims, made.clones.dataset, made.clones.engine)


# -- it holds --------------------------------------------------------------------------


@pytest.mark.usefixtures("same_process")
def test_the_identity_holds_on_every_kind_of_area(made, matrix, tmp_path):
    """Nation, states, districts, cities, a place: each row that meets it, to float32 rounding."""
    claims = claims_of(made, tmp_path)
    report = check(made, matrix, claims).require()
    assert report.worst.gap < 1e-7
    code = made.clones.geography.code
    for claim, area in zip(claims, AREAS, strict=True):
        here = np.isin(code(area.level), area.codes)
        met = [
            (code(t.level)[here] == t.code).any()
            or (t.level is area.level and t.code in area.codes)
            for t in matrix.targets
        ]
        compared = [c for c in report.comparisons if c.file == claim.name]
        assert [c.target for c in compared] == np.array(matrix.names)[met].tolist()
        scale = abs(matrix.X[:, claim.columns]).astype(float) @ claim.weights
        assert [c.scale for c in compared] == pytest.approx(scale[met].tolist(), rel=1e-12)
    assert sum(c.scale == 0 for c in report.comparisons) > 20


@pytest.mark.usefixtures("same_process")
def test_files_can_be_read_before_they_are_compared(made, matrix, tmp_path):
    """One process reads the files, for the identity and other uses; the report is the same."""
    claims = claims_of(made, tmp_path, [Area.nation(), CITY])
    wanted = {claim.name: targets_to_compare(matrix, claim) for claim in claims}
    paths = {claim.name: claim.path for claim in claims}
    values = evaluate_files(paths, wanted, made.clones.dataset, ENGINE)
    assert compare_files(matrix, claims, values) == check(made, matrix, claims)
    assert {name: len(found) for name, found in values.items()} == {
        name: len(targets) for name, targets in wanted.items()
    }


@pytest.mark.usefixtures("same_process")
def test_the_identity_holds_for_a_scaled_city(made, matrix, tmp_path):
    """With scaled weights on both sides and every household in its own county, it holds."""
    geography, w = made.clones.geography, made.weights()
    path = written(made, tmp_path, CITY, w, counties="scaled", crosswalk=CROSSWALK)
    # people of Wake among those of NC-02 and NC-04, from the table of blocks
    share = {3702: 1_000 / 1_000, 3704: 400 / 1_000}
    scaled = w * [share.get(d, 0.0) for d in geography.code(Level.DISTRICT).tolist()]
    districts = Area(Level.DISTRICT, (3702, 3704), "Wake")
    report = check(made, matrix, [FileClaim.of(districts, path, scaled, geography)]).require()
    assert {t.partition("/")[0] for t in (c.target for c in report.comparisons)} >= {
        "county_37183", "county_37063", "cd_3702", "cd_3704"
    }  # fmt: skip


def test_a_process_of_its_own_agrees(tmp_path):
    """With the toy engine, a new process reads all files and finds what X w says."""
    made = toy_world(10, 3, 0)
    matrix = build_matrix(made.clones, made.targets, w0=np.ones(made.n_columns))
    areas = [AREAS[0], *(a for a in AREAS if a.level is Level.DISTRICT), CITY]
    report = check(made, matrix, claims_of(made, tmp_path, areas)).require()
    assert {c.target.split("/")[1] for c in report.comparisons} >= {
        "income_tax", "snap", "assigned_aca_ptc", "ssi"
    }  # fmt: skip
    assert report.worst.gap < 1e-7


def test_the_process_gets_the_request_and_nothing_else(made, tmp_path, monkeypatch):
    """One process for all files; the request has plain JSON, areas written as constraints."""
    seen = []

    def run(command, **options):
        with open(command[-1], encoding="utf-8") as stream:  # noqa: PTH123
            seen.append((command[1:3], json.load(stream), options["check"]))
        return SimpleNamespace(returncode=0, stdout="{}", stderr="")

    monkeypatch.setattr(identity.subprocess, "run", run)
    name = "county_06037/rent/[medicaid_enrolled==True]"
    (county,) = [t for t in made.targets if t.name == name]
    evaluate_files({"f": tmp_path / "f.h5"}, {"f": [county]}, made.clones.dataset, ENGINE)
    ((command, request, checked),) = seen
    assert command == ["-m", "calibration.evaluate"]
    assert not checked
    assert request["engine"] == "stub"
    assert request["targets"]["f"] == {
        county.name: {
            "variable": "rent",
            "entity": "household",
            "count": False,
            "constraints": [["medicaid_enrolled", "==", "True"], ["county_fips", "==", "06037"]],
        }
    }


# -- every one-sided fault breaks it ---------------------------------------------------


def forget_clone(made, households: Dataset) -> Dataset:
    """Key the draws without the clone: all clones of a unit draw alike."""
    one = households.with_columns("household", {"clone_index": households["clone_index"] * 0})
    again = with_takeup(one, made.clones.thresholds, made.clones.programmes)
    return again.with_columns("household", {"clone_index": households["clone_index"]})


def lower_threshold(made, households: Dataset) -> Dataset:
    """Resolve SNAP again, and find 0.5 instead of 0.7."""
    rows = [replace(row, threshold=0.5) if row.programme == "snap" else row
            for row in made.clones.thresholds.rows]  # fmt: skip
    table = replace(made.clones.thresholds, rows=tuple(rows))
    return with_takeup(households, table, made.clones.programmes)


def other_seed(made, households: Dataset) -> Dataset:
    """Draw with another seed."""
    table = replace(made.clones.thresholds, seed=99)
    return with_takeup(households, table, made.clones.programmes)


def move_county(_, households: Dataset) -> Dataset:
    """Write Durham for one household of Wake: county rows and premiums change."""
    county = households["county_fips"].copy()
    county[np.flatnonzero(county == "37183")[0]] = "37063"
    return households.with_columns("household", {"county_fips": county})


def move_state(_, households: Dataset) -> Dataset:
    """Write the District of Columbia for one household of North Carolina."""
    state = households["state_fips"].copy()
    state[np.flatnonzero(state == 37)[0]] = 11
    return households.with_columns("household", {"state_fips": state})


def raise_weight(_, households: Dataset) -> Dataset:
    """Add 1 % to one household's weight."""
    weight = households["household_weight"].copy()
    weight[2] *= 1.01
    return households.with_columns("household", {"household_weight": weight})


def lose_household(_, households: Dataset) -> Dataset:
    """Leave one household out."""
    return households.take_households(np.arange(1, households.size("household")))


def double_household(_, households: Dataset) -> Dataset:
    """Weigh one household twice, as a column that stands twice would."""
    weight = households["household_weight"].copy()
    weight[0] *= 2
    return households.with_columns("household", {"household_weight": weight})


def wrong_state_value(_, households: Dataset) -> Dataset:
    """Give one household the rent of another state."""
    rent = households["rent"].copy()
    rent[1] += 16
    return households.with_columns("household", {"rent": rent})


def age_everybody(_, households: Dataset) -> Dataset:
    """Let one person turn a year older than in the matrix, from 64 or below to 99."""
    age = households["age"].copy()
    age[np.flatnonzero(age < 18)[0]] = 99
    return households.with_columns("person", {"age": age})


FAULTS = [forget_clone, lower_threshold, other_seed, move_county, move_state, raise_weight,
          lose_household, double_household, wrong_state_value, age_everybody]  # fmt: skip


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_on_the_files_side_is_caught(made, matrix, tmp_path, fault):
    """A file written with one thing changed no longer adds up to X w."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    assert not check(made, matrix, [claim]).broken
    households = made.clones.households(claim.columns, claim.weights)
    write_h5(claim.path, fault(made, households), attributes={}, leave_out=ENGINE.outputs)
    report = check(made, matrix, [claim])
    assert report.broken
    with pytest.raises(IdentityError, match="rows differ between matrix and files; worst: "):
        report.require()


@pytest.mark.usefixtures("same_process")
def test_a_member_in_another_unit_is_caught(made, matrix, tmp_path):
    """One person's unit id moved by one in the file: another unit's dollars, or none there."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    with h5py.File(claim.path, "a") as file:
        stored = file["person_tax_unit_id/2024"]
        earner = int(np.argmax(file["employment_income/2024"][()]))
        last = len(file["tax_unit_id/2024"]) - 1
        stored[earner] = stored[earner] + (1 if stored[earner] < last else -1)
    assert check(made, matrix, [claim]).broken


@pytest.mark.usefixtures("same_process")
def test_a_member_of_no_unit_is_an_error(made, matrix, tmp_path):
    """An id that no table has stops the evaluation; it never finds a neighbor's row."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    with h5py.File(claim.path, "a") as file:
        stored = file["person_household_id/2024"]
        stored[0] = 10_000
    with pytest.raises(IdentityError, match=r"could not be evaluated: .*10000"):
        check(made, matrix, [claim])


@pytest.mark.usefixtures("same_process")
def test_a_fault_on_the_matrix_side_is_caught(made, matrix, tmp_path):
    """A matrix built with another threshold, or weights in another order, do not fit the files."""
    claims = claims_of(made, tmp_path, [Area.nation()])
    rows = [replace(r, threshold=r.threshold / 2) for r in made.clones.thresholds.rows]
    table = replace(made.clones.thresholds, rows=tuple(rows))
    other = build_matrix(replace(made.clones, thresholds=table), made.targets,
                         w0=np.ones(made.n_columns))  # fmt: skip
    assert check(made, other, claims).broken
    turned = replace(claims[0], weights=claims[0].weights[::-1])
    assert check(made, matrix, [turned]).broken


@pytest.mark.usefixtures("same_process")
def test_the_file_of_another_area_is_caught(made, matrix, tmp_path):
    """Two districts under each other's name do not pass."""
    one, other = claims_of(made, tmp_path, [Area.district(612), Area.district(3702)])
    swapped = [replace(one, path=other.path), replace(other, path=one.path)]
    assert check(made, matrix, swapped).broken


# -- what a file should hold is not asked of what writes it ------------------------------


def lose_a_third(columns, w):
    """Leave out the last columns."""
    return columns[: -len(columns) // 3], w[: -len(columns) // 3]


def lose_all(columns, w):
    """Find nobody."""
    return columns[:0], w[:0]


def lose_light(columns, w):
    """Take small weights for none."""
    return columns[w > 1e-3], w[w > 1e-3]


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("lose", [lose_a_third, lose_all, lose_light])
def test_columns_that_the_writer_loses_are_missed(made, matrix, tmp_path, monkeypatch, lose):
    """Whatever it leaves out of an area, down to the whole file, breaks the identity there."""
    light = made.weights() * 1e-9
    check(made, matrix, claims_of(made, tmp_path, w=light)).require()
    choose = publish_local_area.area_columns
    monkeypatch.setattr(
        publish_local_area,
        "area_columns",
        lambda *parts, **options: lose(*choose(*parts, **options)),
    )
    broken = check(made, matrix, claims_of(made, tmp_path, w=light)).broken
    assert {c.file for c in broken} == {area.path.as_posix() for area in AREAS}


def test_an_area_that_a_run_took_for_empty_is_missed(tmp_path):
    """The audit of a run holds X against nothing where a file should have been written."""
    state = toy.after("weights")
    parts = (state.weights, state.geography, state.dataset, tmp_path / "US.h5", Area.nation())
    build_h5(*parts, takeup=state.thresholds, engine=state.engine)
    areas = [Area.nation(), Area.state(2)]
    status = dict(zip(areas, ("WRITTEN", "EMPTY"), strict=True))
    rows = [{"path": a.path.as_posix(), "vector": "local", "status": status[a]} for a in areas]
    inputs = SimpleNamespace(areas=areas, blocks=state.inputs.crosswalk)
    names = ("weights_by_preset", "geography", "dataset", "engine", "clones", "matrix", "targets")
    made = {name: getattr(state, name) for name in names}
    run = SimpleNamespace(files=rows, inputs=inputs, file={areas[0]: parts[3]}.get, **made)
    found = audit.audit(run)
    assert {c.file for c in found.identity.broken} == {"states/AK.h5"}
    assert all(c.written == 0 for c in found.identity.broken)
    alaska = found.validation["sim_value"][found.validation["area_id"] == "02"]
    assert len(alaska)
    assert not alaska.any()


@pytest.mark.usefixtures("same_process")
def test_a_file_where_nobody_should_live_is_caught(made, matrix, tmp_path):
    """Households in the file of an area without a retained column break the identity."""
    geography = made.clones.geography
    path = written(made, tmp_path, CITY, made.weights())
    nobody = np.where(np.isin(geography.code(CITY.level), CITY.codes), 0.0, made.weights())
    claim = FileClaim.of(CITY, path, nobody, geography)
    assert not len(claim.columns)
    assert check(made, matrix, [claim]).broken
    assert not check(made, matrix, [replace(claim, path=None)]).comparisons


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("area", [Area.nation(), Area.district(612)], ids=lambda area: area.name)
def test_a_row_that_x_lost_is_missed(made, matrix, tmp_path, area):
    """Rows that are empty in X, everywhere or in one district, are held against the file."""
    (claim,) = claims_of(made, tmp_path, [area])
    X = matrix.X.tolil()
    lost = [i for i, target in enumerate(matrix.targets) if target.variable == "rent"]
    for i in lost:
        X[i, claim.columns] = 0
    broken = check(made, replace(matrix, X=X.tocsr()), [claim]).broken
    supported = np.flatnonzero(abs(matrix.X[:, claim.columns]).sum(axis=1))
    assert {c.target for c in broken} == {matrix.names[i] for i in supported if i in lost}
    assert len(broken) > 1


# -- reports ---------------------------------------------------------------------------


def test_the_report_names_the_worst_row():
    """Gaps are shares of sum |X| w; the largest comes first, and the message names it."""
    rows = [
        Comparison("a.h5", "x", 100.0, 100.0, 100.0),
        Comparison("a.h5", "y", 100.0, 101.0, 100.0),
        Comparison("b.h5", "z", 1.0, 1.5, 10.0),
    ]
    report = IdentityReport(tuple(rows))
    assert [c.gap for c in rows] == [0.0, 0.01, 0.05]
    assert report.worst == rows[2]
    assert report.broken == [rows[2], rows[1]]
    with pytest.raises(IdentityError, match=r"2 of 3 rows differ.*worst: z on b\.h5, matrix 1, f"):
        report.require()


def test_the_tolerance_is_a_share_of_what_was_added_up():
    """A row of opposite signs is measured by its size, not by its small sum."""
    inside = Comparison("a.h5", "x", 1.0, 1.0 + 0.9 * TOLERANCE * 1e3, 1e3)
    assert IdentityReport((inside,)).require().broken == []
    outside = replace(inside, written=1.0 + 1.1 * TOLERANCE * 1e3)
    assert IdentityReport((outside,)).broken == [outside]


def test_not_a_number_is_never_equal():
    """A file that adds up to nan, or to something where nothing should be, is the worst."""
    off = Comparison("a.h5", "y", 1.0, 2.0, 1.0)
    for value, scale in [(np.nan, 1.0), (1e-9, 0.0), (np.inf, 1.0), (np.nan, 0.0), (0.0, np.nan)]:
        row = Comparison("a.h5", "x", 1e-12 * bool(scale), value, scale)
        for rows in [(row, off), (off, row)]:
            report = IdentityReport(rows)
            assert report.worst is row
            assert report.broken == [row, off]
    assert not IdentityReport((Comparison("a.h5", "x", 0.0, 0.0, 0.0),)).broken


@pytest.mark.usefixtures("same_process")
def test_no_comparison_is_an_error(made, matrix, tmp_path):
    """An identity that compared nothing says nothing."""
    with pytest.raises(IdentityError, match="compared no row"):
        check(made, matrix, []).require()
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    none = FileClaim.of(Area.nation(), None, made.weights() * 0, made.clones.geography)
    with pytest.raises(IdentityError, match="compared no row"):
        check(made, matrix, [none]).require()
    without_rows = replace(matrix, X=matrix.X[:0], targets=[])
    assert not compare_files(without_rows, [claim], {claim.name: {}}).comparisons


def test_two_files_of_one_name_are_an_error(made, matrix, tmp_path):
    """One of the two would go unread."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    with pytest.raises(IdentityError, match="two files have one name"):
        check(made, matrix, [claim, claim])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    """A missing and a cut file fail the check, with the file's name from the other process."""
    made = toy_world(3, 1, 0)
    matrix = build_matrix(made.clones, made.targets, w0=np.ones(3))
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    whole = claim.path.read_bytes()
    claim.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IdentityError, match=r"could not be evaluated: .*US\.h5 is damaged"):
        check(made, matrix, [claim])


@pytest.mark.usefixtures("same_process")
def test_another_version_of_the_engine_does_not_evaluate(made, matrix, tmp_path):
    """An engine that is found under the same name with other rules is refused, not believed."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    reform = replace(made, clones=replace(made.clones, engine=replace(ENGINE, version="reform")))
    with pytest.raises(IdentityError, match="the stub engine found here has version 1, not reform"):
        check(reform, matrix, [claim])


# -- the evaluators --------------------------------------------------------------------


def test_both_evaluators_agree_on_every_file(made, tmp_path):
    """A second evaluator, of loops and dictionaries, finds the same sums on all files."""
    for claim in claims_of(made, tmp_path):
        file = read_h5(claim.path)
        values = ENGINE.simulate(file, ENGINE.outputs, 2024)
        simulated = {k: (ENGINE.outputs[k].entity, v.tolist()) for k, v in values.items()}
        requests = {t.name: identity._to_request(t, file, ENGINE) for t in made.targets}
        fast = evaluate_file(claim.path, requests, ENGINE)
        slow = evaluate(claim.path, list(requests), simulated)
        for name, value in fast.items():
            assert value == pytest.approx(slow[name], rel=1e-12, abs=1e-9)
        assert sum(value != 0 for value in slow.values()) > 10


@pytest.mark.usefixtures("same_process")
def test_true_is_a_word_in_a_column_of_text(made, tmp_path):
    """Where a town is called True, both sides count its people; a flag is true as a number."""
    towns = np.array(["True", "1", "False"])[np.arange(10) % 3]
    records = made.clones.dataset.with_columns("household", {"town": towns})
    named = replace(made, clones=replace(made.clones, dataset=records))
    wanted = [
        target("person_count", Level.NATION, 0, "town==True"),
        target("person_count", Level.NATION, 0, "medicaid_enrolled==True"),
        target("rent", Level.NATION, 0),
    ]
    sums = build_matrix(named.clones, wanted, w0=np.ones(made.n_columns))
    report = check(named, sums, claims_of(named, tmp_path, [Area.nation()])).require()
    assert all(c.written > 0 for c in report.comparisons)


def test_amounts_are_compared_with_all_their_digits(made, tmp_path):
    """Next to 2^24, where single precision skips every other number, a bound still bounds."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    with h5py.File(claim.path, "a") as file:
        income = file["employment_income/2024"]
        income[:] = 2.0**24
        income[0] = 2.0**24 + 1
    request = {"variable": "person_count", "entity": "person", "count": True}
    request |= {"constraints": [["employment_income", ">=", str(2**24 + 1)]]}
    found = evaluate_file(claim.path, {"p": request}, ENGINE)["p"]
    file = read_h5(claim.path)
    assert found == file["household_weight"][file.unit_of_person("household")[0]]


def test_requests_name_what_is_counted(made):
    """Every count names its entity and every amount its own."""
    for t in made.targets:
        request = identity._to_request(t, made.clones.dataset, ENGINE)
        assert request["count"] == t.is_count
        assert request["entity"] == (
            counted_entity(t.variable, made.clones.dataset)
            or (ENGINE.outputs | ENGINE.inputs)[t.variable].entity
        )


@pytest.mark.parametrize("moved", [-1, 10_000])
def test_people_are_matched_by_id(made, tmp_path, moved):
    """Without an engine in the way, an id that no table has is found by the evaluator itself."""
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    people = {"variable": "person_count", "entity": "person", "count": True, "constraints": []}
    w, size = claim.weights, read_h5(claim.path).sum_to("household", 1.0)
    assert evaluate_file(claim.path, {"p": people}, ENGINE)["p"] == pytest.approx(w @ size)
    with h5py.File(claim.path, "a") as file:
        file["person_household_id/2024"][0] = moved
    with pytest.raises(FileError, match=f"id {moved} is named in the file but is in no table"):
        evaluate_file(claim.path, {"p": people}, ENGINE)


def test_a_file_of_something_else_cannot_be_evaluated(tmp_path):
    """No file, and a file that is not HDF5, are told by name."""
    (tmp_path / "a.h5").write_text("age,weight\n")
    for name in ("a.h5", "none.h5"):
        with pytest.raises(FileError, match=name):
            evaluate_file(tmp_path / name, {}, ENGINE)


def test_the_command_answers_in_json(tmp_path):
    """Run as a module, it prints one JSON object and nothing else."""
    made = toy_world(3, 1, 0)
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    request = {
        "engine": "toy",
        "version": made.clones.engine.version,
        "files": {"US": str(claim.path)},
        "targets": {"US": {"people": {"variable": "person_count", "entity": "person",
                                      "count": True, "constraints": [["age", ">=", "0"]]}}},
    }  # fmt: skip
    (tmp_path / "request.json").write_text(json.dumps(request))
    command = [
        identity.sys.executable,
        "-m",
        "calibration.evaluate",
        str(tmp_path / "request.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    file = read_h5(claim.path)
    expected = file["household_weight"][file.unit_of_person("household")].sum()
    assert json.loads(done.stdout) == {"US": {"people": pytest.approx(expected, rel=1e-12)}}
    assert done.stderr == ""
