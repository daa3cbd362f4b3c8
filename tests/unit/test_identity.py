"""The X w identity: it holds for every file, and every fault on one side breaks it."""

import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from reference.evaluator import evaluate
from small_world import AREAS, CROSSWALK, toy_world, world
from stub_engine import ENGINE

from calibration import engines, identity
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
    targets_with_support,
)
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import AreaStatus, area_columns, build_h5
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


def claims_of(made, folder, areas=AREAS, **options) -> list[FileClaim]:
    """Write the files of some areas and say what they should hold."""
    w, clones = made.weights(), made.clones
    claims = []
    for area in areas:
        path = folder / area.path
        file = build_h5(w, clones.geography, clones.dataset, path, area,
                        takeup=clones.thresholds, engine=clones.engine, **options)  # fmt: skip
        if file.status is AreaStatus.EMPTY:
            continue
        columns, kept = area_columns(w, clones.geography, area, **options)
        claims.append(FileClaim(str(area.path), path, columns, kept))
    return claims


def check(made, matrix, claims) -> IdentityReport:
    """Compare matrix and files."""
    return check_identity(matrix, claims, made.clones.dataset, made.clones.engine)


# -- it holds --------------------------------------------------------------------------


@pytest.mark.usefixtures("same_process")
def test_the_identity_holds_on_every_kind_of_area(made, matrix, tmp_path):
    """Nation, states, districts, cities, a place: each row with support, to float32 rounding."""
    claims = claims_of(made, tmp_path)
    report = check(made, matrix, claims).require()
    assert report.worst.gap < 1e-7
    assert {c.file for c in report.comparisons} == {claim.name for claim in claims}
    for claim in claims:
        supported = np.flatnonzero(abs(matrix.X[:, claim.columns]).sum(axis=1))
        compared = [c for c in report.comparisons if c.file == claim.name]
        assert [c.target for c in compared] == [matrix.names[i] for i in supported]
        scale = abs(matrix.X[:, claim.columns]).astype(float) @ claim.weights
        assert [c.scale for c in compared] == pytest.approx(scale[supported].tolist(), rel=1e-12)


@pytest.mark.usefixtures("same_process")
def test_files_can_be_read_before_they_are_compared(made, matrix, tmp_path):
    """One process reads the files, for the identity and other uses; the report is the same."""
    claims = claims_of(made, tmp_path, [Area.nation(), CITY])
    wanted = {claim.name: targets_with_support(matrix, claim) for claim in claims}
    paths = {claim.name: claim.path for claim in claims}
    written = evaluate_files(paths, wanted, made.clones.dataset, ENGINE)
    assert compare_files(matrix, claims, written) == check(made, matrix, claims)
    assert {name: len(values) for name, values in written.items()} == {
        name: len(targets) for name, targets in wanted.items()
    }


@pytest.mark.usefixtures("same_process")
def test_the_identity_holds_for_a_scaled_city(made, matrix, tmp_path):
    """With scaled weights on both sides and every household in its own county, it holds."""
    claims = claims_of(made, tmp_path, [CITY], counties="scaled", crosswalk=CROSSWALK)
    report = check(made, matrix, claims).require()
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
        "income_tax", "snap", "aca_ptc", "ssi"
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
            "constraints": [["medicaid_enrolled", "==", "1"], ["county_fips", "==", "06037"]],
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
    """A file that adds up to nan, or to something where nothing should be, is broken."""
    for written, scale in [(np.nan, 1.0), (1.0, 0.0), (np.inf, 1.0)]:
        row = Comparison("a.h5", "x", 0.0, written, scale)
        assert IdentityReport((row,)).broken == [row]
    assert not IdentityReport((Comparison("a.h5", "x", 0.0, 0.0, 0.0),)).broken


@pytest.mark.usefixtures("same_process")
def test_no_comparison_is_an_error(made, matrix, tmp_path):
    """An identity that compared nothing says nothing."""
    with pytest.raises(IdentityError, match="compared no row"):
        check(made, matrix, []).require()
    (claim,) = claims_of(made, tmp_path, [Area.nation()])
    none = replace(claim, columns=claim.columns[:0], weights=claim.weights[:0])
    with pytest.raises(IdentityError, match="compared no row"):
        check(made, matrix, [none]).require()


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
