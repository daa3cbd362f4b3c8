"""The matrix: known entries, executors, gating by area, and the stored artifact."""

import json
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import stub_engine
from scipy import sparse
from small_world import target, toy_world, world

from calibration import engines, toy
from calibration.clone_and_assign import initial_weights
from calibration.crosswalk import GeographyAssignment
from calibration.errors import DatasetError, EngineError, FileError, MatrixError, TargetError
from calibration.files import read_json, read_npz, write_json, write_npz
from calibration.geography import Level
from calibration.matrix import CalibrationMatrix, RowStatus
from calibration.matrix_builder import build_matrix, simulate_columns
from calibration.rng import key, uniform

NATION, STATE = Level.NATION, Level.STATE


def built(made, **options) -> CalibrationMatrix:
    """Build the matrix of a world with initial weights of 1."""
    return build_matrix(made.clones, made.targets, w0=np.ones(made.n_columns), **options)


def same_bits(one: CalibrationMatrix, other: CalibrationMatrix) -> bool:
    """Tell whether two matrices are equal in every array and every fact."""
    parts = ("data", "indices", "indptr")
    return (
        all(np.array_equal(getattr(one.X, p), getattr(other.X, p)) for p in parts)
        and one.X.shape == other.X.shape
        and one.names == other.names
        and dict(one.made_of) == dict(other.made_of)
    )


# -- entries ---------------------------------------------------------------------------


def test_an_entry_by_hand():
    """A SNAP entry is the unit's benefit in the clone's state, if the clone's draw is below 0.7."""
    made = world(6, 3, 3)
    people, geography = made.clones.dataset, made.clones.geography
    X = build_matrix(made.clones, [target("snap", NATION, 0)], w0=np.ones(18)).X.toarray()
    income = people["employment_income"]
    expected = np.zeros(18)
    for j in range(18):
        clone, record = divmod(j, 6)
        home = int(people["household_id"][record])
        state = int(geography.state[j])
        rent = people["rent"][record, stub_engine_states().index(state)]
        for unit in np.unique(people["person_spm_unit_id"][people["person_household_id"] == home]):
            members = people["person_spm_unit_id"] == unit
            row = int(np.flatnonzero(people["spm_unit_id"] == unit)[0])
            ssi = 0.0
            for p in np.flatnonzero(members):
                entitled = people["age"][p] >= 65 and income[p] < 8_000
                u = float(uniform(3, "takeup", "ssi", home, int(people["person_id"][p]), clone))
                if entitled and (u < 0.5 or people["ssi_reported"][p] > 0):
                    ssi += 9_000 - income[p]
            total = income[members].sum() + ssi
            u = float(uniform(3, "takeup", "snap", home, int(unit), clone))
            takes_up = u < 0.7 or people["snap_reported"][row] > 0
            if takes_up and total < stub_engine.SNAP_LIMIT[state]:
                expected[j] += 2_400 + rent - total / 16
    assert np.count_nonzero(expected) > 3
    assert X[0].tolist() == expected.tolist()


def stub_engine_states() -> list[int]:
    """States on the second axis of by-state columns."""
    return [6, 11, 37]


def test_counts_are_whole_households_people_and_units():
    """The rows of unconstrained counts add up to the country's people and households."""
    made = world(7, 3, 1)
    counts = [target(f"{e}_count", NATION, 0) for e in ("household", "person", "tax_unit")]
    X = build_matrix(made.clones, counts, w0=np.ones(21)).X
    sizes = [made.clones.dataset.size(e) for e in ("household", "person", "tax_unit")]
    assert X.sum(axis=1).tolist() == [3.0 * n for n in sizes]
    assert X.dtype == np.float32


def test_a_column_touches_only_its_own_areas():
    """Every nonzero lies in the area of its row, and areas of a level split the nation's row."""
    made = world(8, 3, 2)
    matrix = built(made)
    X = matrix.X.tocoo()
    for i, j in zip(*X.coords, strict=True):
        row = matrix.targets[i]
        assert made.clones.geography.code(row.level)[j] == row.code
    for nation in (t for t in matrix.targets if t.level is NATION):
        whole = matrix.X[[matrix.targets.index(nation)]].toarray()
        for level in (STATE, Level.COUNTY, Level.DISTRICT):
            parts = [i for i, t in enumerate(matrix.targets)
                     if t.level is level and t.signature == nation.signature]  # fmt: skip
            assert (matrix.X[parts].toarray().sum(axis=0) == whole).all()


def test_rows_stand_in_the_order_of_the_targets():
    """Targets in another order give the same rows in that order."""
    made = world(5, 2, 4)
    order = np.random.default_rng(0).permutation(len(made.targets))
    turned = replace(made, targets=[made.targets[i] for i in order])
    assert (built(turned).X.toarray() == built(made).X.toarray()[order]).all()


# -- chunks and executors --------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 5, 1_000])
def test_chunks_do_not_change_a_bit(chunk):
    """Any number of columns at once gives equal arrays."""
    made = world(7, 3, 0)
    assert same_bits(built(made, chunk=chunk), built(made))


def test_threads_do_not_change_a_bit(monkeypatch):
    """Chunks that run side by side give equal arrays."""
    monkeypatch.setitem(engines._ENGINES, "stub", "stub_engine")
    made = world(7, 3, 0)
    with ThreadPoolExecutor(3) as pool:
        assert same_bits(built(made, chunk=2, executor=pool), built(made))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_do_not_change_a_bit(workers):
    """New processes, each with its own copy of the toy engine, give equal arrays."""
    made = toy_world(10, 2, 0)
    expected = built(made)
    assert all(expected.support()[i] for i, t in enumerate(made.targets) if t.level is NATION)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        assert same_bits(built(made, chunk=4, executor=pool), expected)


def test_progress_is_observed():
    """After each chunk the observer hears how many of all columns are done."""
    seen = []
    built(world(4, 3, 0), chunk=5, observe=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert sorted(set(seen)) == seen


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_holds_a_column_at_least(chunk):
    """No chunks, no simulation: what memory happened to hold is never handed out as X."""
    with pytest.raises(MatrixError, match=f"chunks of {chunk} columns"):
        built(world(3, 1, 0), chunk=chunk)


def test_a_worker_refuses_another_version_of_the_engine(monkeypatch):
    """The engine that a process finds by name must be the caller's, or half the sums differ."""
    monkeypatch.setitem(engines._ENGINES, "stub", "stub_engine")
    made = world(4, 2, 0)
    reform = replace(made.clones, engine=stub_engine.StubEngine(version="reform"))
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(EngineError, match="the stub engine found here has version 1, not reform"),
    ):
        built(replace(made, clones=reform), executor=pool)


# -- status ----------------------------------------------------------------------------


def test_the_status_says_whether_weights_can_reach_a_target():
    """No nonzero, no nonzero of the target's sign, a zero target, or none of these."""
    rows = {
        (1, 0, 5.0): RowStatus.OK,
        (0, 0, 5.0): RowStatus.NO_SUPPORT,
        (1, 2, 0.0): RowStatus.ZERO_TARGET,
        (-1, -2, 5.0): RowStatus.WRONG_SIGN,
        (1, 2, -5.0): RowStatus.WRONG_SIGN,
        (-1, 2, -5.0): RowStatus.OK,
        (0, 0, 0.0): RowStatus.ZERO_TARGET,
    }
    X = sparse.csr_array(np.array([row[:2] for row in rows], dtype=np.float32))
    targets = [target("x", STATE, 37, f"a=={i}", value=t) for i, (_, _, t) in enumerate(rows)]
    matrix = CalibrationMatrix(X, targets, np.ones(2), np.array([1]), {})
    assert matrix.status() == list(rows.values())
    assert matrix.support().tolist() == [1, 0, 2, 2, 2, 2, 0]


def test_a_target_that_one_column_exceeds_is_below_the_floor():
    """The floor is the largest |X| w0 of a row, whatever its sign; an empty row has none."""
    X = sparse.csr_array(np.array([[1, -6, 0], [0, 0, 0], [2, 0, 1]], dtype=np.float32))
    targets = [target("x", STATE, 37, f"a=={i}", value=v) for i, v in enumerate((8.0, 8.0, -8.0))]
    matrix = CalibrationMatrix(X, targets, np.array([5.0, 1.5, 4.0]), np.array([1]), {})
    assert matrix.floor().tolist() == [9.0, 0.0, 10.0]
    found = RowStatus.BELOW_FLOOR, RowStatus.NO_SUPPORT, RowStatus.WRONG_SIGN
    assert tuple(matrix.status(floor=True)) == found
    assert matrix.status()[0] is RowStatus.OK
    assert replace(matrix, w0=np.full(3, 1.0)).status(floor=True)[0] is RowStatus.OK


def test_the_start_has_the_population_of_every_district():
    """Rows of age bands, multiplied with w0, add up to the district's people, to 1e-6."""
    state = toy.after("matrix")
    people = state.inputs.crosswalk.population_by(Level.DISTRICT)
    bands = (("age<18",), ("age>=18", "age<65"), ("age>=65",))
    rows = [target("person_count", Level.DISTRICT, d, *band) for d in people for band in bands]
    w0 = initial_weights(state.dataset, state.geography, state.inputs.crosswalk, state.mass)
    estimates = build_matrix(state.clones, rows, w0=w0).estimates(w0).reshape(-1, 3)
    np.testing.assert_allclose(estimates.sum(axis=1), list(people.values()), rtol=1e-6)
    assert (estimates > 0).all()


def test_premium_credits_have_the_county_and_los_angeles_its_zip_code():
    """Clones of one record within California differ by county, in Los Angeles by ZIP code."""
    state = toy.after("matrix")
    blocks, R = state.inputs.crosswalk, state.geography.n_records
    zip3 = blocks.zip_code // 100
    where = [(6001, None), (6037, 900), (6037, 911)]
    first = [
        np.flatnonzero((blocks.county == c) & ((zip3 == z) | (z is None)))[0] for c, z in where
    ]
    home = GeographyAssignment.from_blocks(blocks, np.repeat(blocks.block[first], R), R, 3)
    clones = replace(state.clones, geography=home)
    X = build_matrix(clones, [target("assigned_aca_ptc", NATION, 0)], w0=np.ones(3 * R)).X
    of_place = X.toarray().reshape(3, R)
    taken = of_place[:, (of_place > 0).all(axis=0)]  # by all three clones
    assert taken.shape[1] >= 3
    for one, other in combinations(taken, 2):
        assert (one != other).all()


def test_estimates_do_not_lose_what_float32_would():
    """2^24 and a million ones: a float32 sum would stop counting at 2^24."""
    ones = np.ones((1, 1_000_001), dtype=np.float32)
    ones[0, 0] = 2**24
    matrix = CalibrationMatrix(
        sparse.csr_array(ones), [target("x", NATION, 0)], np.ones(1_000_001), np.array([1]), {}
    )
    assert matrix.estimates(np.ones(1_000_001))[0] == 2**24 + 1_000_000


def test_blocks_follow_records():
    """Clones of a record share its block, record * 64 // R."""
    matrix = built(world(5, 3, 0))
    assert matrix.block().tolist() == [0, 12, 25, 38, 51] * 3


def test_every_column_has_a_key_of_its_own():
    """The key folds household id and clone, so no two columns share their gate noise."""
    made = world(5, 3, 0)
    expected = [key("column", h, c) for c in range(3) for h in made.clones.household_id.tolist()]
    assert built(made).column_key().tolist() == expected
    assert len(set(expected)) == made.n_columns


# -- what cannot be built --------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([], MatrixError, "no targets"),
        ([target("snap", NATION, 0), target("snap", NATION, 0)], MatrixError, "national/snap"),
        ([target("snapp", NATION, 0)], EngineError, "no variable 'snapp'; did you mean 'snap'"),
        ([target("snap", NATION, 0, "agee>5")], EngineError, "'agee'; did you mean 'age'"),
        ([target("dog_count", NATION, 0)], TargetError, "dog_count counts 'dog'"),
        ([target("snap", NATION, 0, "card>5")], TargetError, "card>5 puts card in order"),
        ([target("town", NATION, 0)], TargetError, "town is text"),
        (
            [target("snap", NATION, 0, "age>=65"), target("snap", NATION, 0, "age>=65.0")],
            TargetError,
            "one measure in two spellings",
        ),
    ],
)
def test_a_row_that_cannot_be_computed_is_an_error(targets, error, message):
    """Never a row of zeros: the message names the variable, constraint or target."""
    made = world(3, 1, 0)
    with pytest.raises(error, match=message):
        build_matrix(made.clones, targets, w0=np.ones(3))


@pytest.mark.parametrize("w0", [np.ones(5), np.ones((6, 2)), np.ones((1, 6)), np.float64(1)])
def test_initial_weights_of_another_shape_are_an_error(w0):
    """Every column needs its weight, and one only."""
    made = world(3, 2, 0)
    with pytest.raises(MatrixError, match=rf"w0 has shape {re.escape(str(w0.shape))} for 6 col"):
        build_matrix(made.clones, made.targets, w0=w0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_an_initial_weight_that_no_fit_can_start_from_is_an_error(bad):
    """A start must be a number greater than 0; the first column without one is named."""
    made = world(3, 2, 0)
    w0 = np.where(np.arange(6) < 4, 1.0, bad)
    with pytest.raises(MatrixError, match=f"w0 is {bad} in column 4"):
        build_matrix(made.clones, made.targets, w0=w0)


def test_a_value_that_is_no_number_is_an_error():
    """An engine that divides by zero stops the build; the column is named."""

    class Broken(stub_engine.StubEngine):
        def simulate(self, dataset, variables, period):
            values = super().simulate(dataset, variables, period)
            return {k: np.where(v > 1_000, np.inf, v) for k, v in values.items()}

    made = world(6, 2, 0)
    snap = [target("snap", NATION, 0)]
    column = int(built(replace(made, targets=snap)).X.indices[0])
    clones = replace(made.clones, engine=Broken())
    with pytest.raises(MatrixError, match="snap is inf in column"):
        build_matrix(clones, snap, w0=np.ones(12))
    with pytest.raises(MatrixError, match=f"snap is inf in column {column}"):
        simulate_columns(clones, np.array([column]), [("snap", ())])


def test_a_failure_in_a_worker_is_the_callers_error(monkeypatch):
    """A state without by-state values stops the build with its own message."""
    monkeypatch.setitem(engines._ENGINES, "stub", "stub_engine")
    made = world(6, 2, 0)
    records = replace(made.clones.dataset, states=(6, 11, 36))
    with ThreadPoolExecutor(2) as pool, pytest.raises(DatasetError, match="state 37"):
        built(replace(made, clones=replace(made.clones, dataset=records)), chunk=3, executor=pool)


# -- the artifact ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def matrix() -> CalibrationMatrix:
    """Build a small matrix, with initial weights that tell columns apart."""
    made = world(5, 2, 0)
    return build_matrix(made.clones, made.targets, w0=np.linspace(1, 2, 10))


def test_a_stored_matrix_is_read_back(tmp_path, matrix):
    """X bit for bit, targets, start, ids and pedigree; the same matrix gives the same bytes."""
    matrix.save(tmp_path / "a")
    matrix.save(tmp_path / "b")
    again = CalibrationMatrix.load(tmp_path / "a", expected=matrix.made_of)
    assert same_bits(matrix, again)
    assert again.X.dtype == np.float32
    assert again.targets == matrix.targets
    assert (again.w0 == matrix.w0).all()
    assert (again.household_id == matrix.household_id).all()
    for name in ("matrix.npz", "matrix.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_pedigree_tells_what_changed(matrix):
    """Each part of a run has a hash of its own: one that changes changes alone."""
    made = world(5, 2, 0)
    geography, thresholds = made.clones.geography, made.clones.thresholds
    state = geography.codes | {STATE: np.roll(geography.state, 1)}
    weight = {"design_weight": made.clones.dataset["design_weight"] + 1}
    other = {
        "dataset": replace(
            made.clones, dataset=made.clones.dataset.with_columns("household", weight)
        ),
        "geography": replace(made.clones, geography=replace(geography, codes=state)),
        "thresholds": replace(made.clones, thresholds=replace(thresholds, seed=1)),
        "engine": replace(made.clones, engine=stub_engine.StubEngine(version="2")),
    }
    before = made.clones.made_of()
    for field, clones in other.items():
        after = clones.made_of()
        assert {key for key in before if before[key] != after[key]} == {field}
    assert set(matrix.made_of) == {*before, "package"}


@pytest.mark.parametrize("field", ["dataset", "engine", "geography", "thresholds", "package"])
def test_a_matrix_made_of_something_else_is_refused(tmp_path, matrix, field):
    """The message names the field that differs."""
    matrix.save(tmp_path)
    with pytest.raises(MatrixError, match=f"made of another {field}"):
        CalibrationMatrix.load(tmp_path, expected={**matrix.made_of, field: "another"})


def test_a_matrix_of_other_targets_is_refused(tmp_path, matrix):
    """Targets of another value, order or number are not those of the rows; the first is named."""
    matrix.save(tmp_path)
    again = CalibrationMatrix.load(tmp_path, targets=matrix.targets)
    assert again.targets == matrix.targets
    twice = [replace(t, value=2 * t.value) for t in matrix.targets]
    for other in (twice, matrix.targets[::-1], [matrix.targets[1], *matrix.targets[1:]]):
        with pytest.raises(MatrixError, match=f"row 0 is {re.escape(matrix.names[0])}"):
            CalibrationMatrix.load(tmp_path, targets=other)
    with pytest.raises(MatrixError, match=f"{len(twice)} rows for 1 targets"):
        CalibrationMatrix.load(tmp_path, targets=matrix.targets[:1])


def edit_targets(facts):
    """Raise a target's value by 1."""
    facts["targets"][0]["value"] += 1


def drop_target(facts):
    """Lose a row's target."""
    del facts["targets"][-1]


def edit_pedigree(facts):
    """Claim another dataset."""
    facts["made_of"]["dataset"] = "0" * 64


def drop_pedigree(facts):
    """Lose the pedigree."""
    del facts["made_of"]


def break_seal(facts):
    """Put a list where the seals were."""
    facts["sealed"] = []


def edit_hash(facts):
    """Claim other arrays."""
    facts["arrays"] = "0" * 64


@pytest.mark.parametrize(
    ("edit", "field"),
    [(edit_targets, "targets"), (drop_target, "targets"), (edit_pedigree, "made_of"),
     (drop_pedigree, "made_of"), (edit_hash, "arrays"), (break_seal, "sealed")],
)  # fmt: skip
def test_an_edited_matrix_is_refused(tmp_path, matrix, edit, field):
    """Whatever is changed in `matrix.json` after saving, the message names the field."""
    matrix.save(tmp_path)
    facts = read_json(tmp_path / "matrix.json")
    edit(facts)
    write_json(tmp_path / "matrix.json", facts)
    with pytest.raises(MatrixError, match=f"{field} was edited after saving"):
        CalibrationMatrix.load(tmp_path)


def test_arrays_of_another_matrix_are_refused(tmp_path, matrix):
    """The two files seal each other: other arrays under the same name do not pass."""
    matrix.save(tmp_path)
    arrays = read_npz(tmp_path / "matrix.npz")
    write_npz(tmp_path / "matrix.npz", arrays | {"w0": arrays["w0"] * 2})
    with pytest.raises(MatrixError, match=r"matrix\.npz is not the one"):
        CalibrationMatrix.load(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"schema": 2}', "{}"])
def test_another_schema_is_refused(tmp_path, matrix, content):
    """A JSON file that is no matrix of this schema is named."""
    matrix.save(tmp_path)
    (tmp_path / "matrix.json").write_text(content)
    with pytest.raises(MatrixError, match="not a calibration matrix of schema 1"):
        CalibrationMatrix.load(tmp_path)


def test_half_a_matrix_is_an_error(tmp_path, matrix):
    """A missing or damaged file is told by name; without `matrix.json` there is no matrix."""
    with pytest.raises(FileError, match=r"matrix\.json"):
        CalibrationMatrix.load(tmp_path)
    matrix.save(tmp_path)
    (tmp_path / "matrix.json").write_text(json.dumps({"schema": 1})[:-3])
    with pytest.raises(FileError, match=r"matrix\.json is not valid JSON"):
        CalibrationMatrix.load(tmp_path)
    matrix.save(tmp_path)
    (tmp_path / "matrix.npz").unlink()
    with pytest.raises(FileError, match=r"matrix\.npz"):
        CalibrationMatrix.load(tmp_path)
