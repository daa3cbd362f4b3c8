"""Factored and grid form: the same matrix, entry by entry, in less memory."""

import re
from dataclasses import replace

import numpy as np
import pytest
import stub_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from small_world import (
    CROSSWALK,
    assignment,
    dataset,
    target,
    targets_everywhere,
    thresholds,
    world,
)

from calibration import toy
from calibration.clone_and_assign import Mass, assign
from calibration.clones import Clones
from calibration.compact import CompactMatrix, FactoredMatrix, GridMatrix
from calibration.errors import GeographyError, MatrixError
from calibration.files import read_npz
from calibration.geography import Level
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.matrix import CalibrationMatrix
from calibration.matrix_builder import build_matrix, measure
from calibration.matrix_files import save_sealed
from calibration.measures import Cells, Measures
from calibration.targets import sort_targets

D = len(set(CROSSWALK.district.tolist()))


def equal(one: sparse.csr_array, other: sparse.csr_array) -> bool:
    """Tell whether two CSR arrays are the same in every bit that they store."""
    parts = ("data", "indices", "indptr")
    return one.shape == other.shape and all(
        np.array_equal(getattr(one, p), getattr(other, p))
        and getattr(one, p).dtype == getattr(other, p).dtype
        for p in parts
    )


def complete_world(households=8, seed=0):
    """Place every record in every district once."""
    records = dataset(households, seed)
    district = np.unique(CROSSWALK.district)
    share = np.full((2, D), 1 / D)
    mass = Mass(district, share, np.zeros(households, dtype=np.int64), np.inf)
    home = assign(records, CROSSWALK, mass, seed=seed, design="complete")
    return Clones(records, home, thresholds(seed), stub_engine.ENGINE)


def with_part(targets, fraction, seed):
    """Keep some targets, in another order: rows need not be neighbors, nor areas complete."""
    rng = np.random.default_rng(seed)
    kept = rng.permutation(len(targets))[: max(1, int(fraction * len(targets)))]
    return [targets[i] for i in kept]


# -- equal to the matrix ---------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    households=st.integers(1, 7),
    n_clones=st.integers(1, 4),
    seed=st.integers(0, 99),
    fraction=st.sampled_from([0.02, 0.3, 1.0]),
)
def test_the_factored_form_is_x(households, n_clones, seed, fraction):
    """G Z has the arrays of X, for any targets in any order, at every level."""
    made = world(households, n_clones, seed)
    targets = with_part(made.targets, fraction, seed)
    X = build_matrix(made.clones, targets, w0=np.ones(made.n_columns)).X
    factored = FactoredMatrix.of(measure(made.clones, targets), targets, made.clones.geography)
    assert equal(factored.to_csr(), X)
    assert factored.shape == X.shape
    assert (factored.G.data == 1).all()


@settings(max_examples=25, deadline=None)
@given(
    households=st.integers(1, 7),
    seed=st.integers(0, 99),
    fraction=st.sampled_from([0.02, 0.3, 1.0]),
)
def test_the_grid_form_is_x(households, seed, fraction):
    """Tables, bits and rest have the arrays of X, for any targets in any order."""
    clones = complete_world(households, seed)
    targets = with_part(targets_everywhere(), fraction, seed)
    X = build_matrix(clones, targets, w0=np.ones(clones.geography.n_columns)).X
    grid = GridMatrix.of(measure(clones, targets), targets, clones.geography)
    assert equal(grid.to_csr(), X)
    assert grid.shape == X.shape


def test_both_forms_add_up_as_x_does():
    """Estimates agree to rounding for weights of every size."""
    clones = complete_world(9, 4)
    targets = targets_everywhere()
    matrix = build_matrix(clones, targets, w0=np.ones(clones.geography.n_columns))
    w = np.random.default_rng(0).gamma(0.3, 900, clones.geography.n_columns)
    measures = measure(clones, targets)
    for form in (FactoredMatrix, GridMatrix):
        found = form.of(measures, targets, clones.geography).estimates(w)
        np.testing.assert_allclose(found, matrix.estimates(w), rtol=1e-12)


def test_the_toy_matrix_factored():
    """The stored matrix of the toy run, read back bit for bit."""
    state = toy.after("matrix")
    X, targets = state.matrix.X, state.targets
    factored = FactoredMatrix.of(measure(state.clones, targets), targets, state.geography)
    assert equal(factored.to_csr(), X)


def test_the_toy_country_on_the_grid():
    """The real engine's values on a complete design; some stand in tables, some do not."""
    state = toy.after("matrix")
    home = assign(
        state.dataset, state.inputs.crosswalk, state.mass, seed=state.seed, design="complete"
    )
    clones = replace(state.clones, geography=home)
    X = build_matrix(clones, state.targets, w0=np.ones(home.n_columns)).X
    grid = GridMatrix.of(measure(clones, state.targets), state.targets, home)
    assert equal(grid.to_csr(), X)
    assert 0 < grid.rest.nnz < X.nnz / 4
    assert (grid.plane >= 0).any()
    assert (grid.plane < 0).any()


# -- what stands where -----------------------------------------------------------------


def grid_of_values(grid, targets):
    """Lay out one measure given on a grid, (D, R), of a complete design."""
    grid = np.asarray(grid, dtype=np.float32)
    home = complete_world(grid.shape[1], 0).geography
    district = np.unique(home.code(Level.DISTRICT))
    d = np.searchsorted(district, home.code(Level.DISTRICT))
    record = np.arange(home.n_columns) % home.n_records
    values = sparse.csr_array(grid[d, record][None])
    values.eliminate_zeros()
    measures = Measures((targets[0].signature,), values)
    return GridMatrix.of(measures, targets, home)


def test_one_value_a_state_needs_no_bits():
    """What depends on record and state alone is a table, to the last digit."""
    fips = np.unique(CROSSWALK.district) // 100
    state = np.unique(fips, return_inverse=True)[1]
    table = np.random.default_rng(1).normal(size=(4, state.max() + 1)).astype(np.float32)
    made = grid_of_values(table[:, state].T, [target("x", Level.NATION, 0)])
    assert (made.table[0] == table).all()
    assert made.rest.nnz == 0
    assert made.bits.size == 0


def test_takeup_is_a_bit():
    """A value that counts in some districts of a state is stored once, negative ones too."""
    grid = np.full((D, 3), [5.0, -2.5, 7.0])
    grid[0] = 0
    grid[-1, 1] = 0
    made = grid_of_values(grid, [target("x", Level.NATION, 0)])
    assert made.rest.nnz == 0
    assert (made.table[0] == [[5.0], [-2.5], [7.0]]).all()
    assert (made.values(0) == grid).all()


def test_several_values_in_a_state_are_left_over():
    """A record with two values within a state stands in the rest, in that state alone."""
    state = np.unique(CROSSWALK.district) // 100
    grid = np.full((D, 4), 3.0)
    two = np.flatnonzero(state == 6)
    grid[two[0], 2] = 4.0
    made = grid_of_values(grid, [target("x", Level.NATION, 0)])
    assert made.rest.nnz == len(two)
    assert (made.table[0][2] == [0, 3, 3]).all()
    assert (made.table[0][[0, 1, 3]] == 3).all()


def test_a_measure_with_more_left_over_than_not_is_left_over_whole():
    """No table for values that all differ, nor for a target of a county."""
    grid = np.arange(D * 3).reshape(D, 3) + 1
    assert len(grid_of_values(grid, [target("x", Level.NATION, 0)]).table) == 0
    county = int(CROSSWALK.county[0])
    one = [target("x", Level.NATION, 0), target("x", Level.COUNTY, county)]
    assert len(grid_of_values(np.ones((D, 3)), one).table) == 0


def test_a_finest_row_is_what_targets_tell_apart():
    """A measure of the nation alone has one finest row; each district with a target its own."""
    made = world(5, 3, 0)
    district = int(CROSSWALK.district[0])
    for extra, rows in (((), 1), ((target("snap", Level.DISTRICT, district),), 2)):
        targets = sort_targets([target("snap", Level.NATION, 0), *extra])
        measures = measure(made.clones, targets)
        factored = FactoredMatrix.of(measures, targets, made.clones.geography)
        assert factored.G.shape == (len(targets), rows)


def test_a_column_outside_every_area_has_no_entry():
    """Values that count nowhere are not stored."""
    made = world(5, 3, 0)
    targets = [target("person_count", Level.STATE, 6)]
    measures = measure(made.clones, targets)
    factored = FactoredMatrix.of(measures, targets, made.clones.geography)
    assert factored.Z.nnz == (made.clones.geography.state == 6).sum() < measures.values.nnz


# -- memory and files ------------------------------------------------------------------


def test_the_forms_are_smaller():
    """Counts with targets at three levels: a third of the entries, and the grid a tenth."""
    clones = complete_world(60, 0)
    sums = [("person_count", f"age>={a}") for a in range(0, 80, 5)]
    nested = [t for t in targets_everywhere(sums) if t.level not in (Level.COUNTY, Level.PLACE)]
    X = build_matrix(clones, nested, w0=np.ones(clones.geography.n_columns)).X
    measures = measure(clones, nested)
    factored = FactoredMatrix.of(measures, nested, clones.geography)
    grid = GridMatrix.of(measures, nested, clones.geography)
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    assert factored.Z.nnz * 3 == X.nnz
    assert factored.nbytes < 0.5 * size
    assert grid.rest.nnz == 0
    assert grid.nbytes < 0.3 * size


def test_a_grid_is_fitted_as_its_csr_is():
    """Loss at the start to 1e-12, and what a short fit makes of it, to rounding."""
    made = complete_world(40, 0)
    sums = [("person_count", f"age>={a}") for a in range(0, 80, 20)]
    nested = [t for t in targets_everywhere(sums) if t.level not in (Level.COUNTY, Level.PLACE)]
    grid = GridMatrix.of(measure(made, nested), nested, made.geography)
    w0 = 1.0 + np.arange(grid.shape[1]) % 7
    t = grid.estimates(w0 * np.linspace(0.5, 2, w0.size))
    options = L0Options(epochs=10, refit=False, log_every=1)
    one = fit_l0(grid, t, w0=w0, options=options)
    two = fit_l0(grid.to_csr(), t, w0=w0, options=options, compiled=False)
    for name, values in two.history.items():
        np.testing.assert_allclose(one.history[name][0], values[0], rtol=1e-12)
    np.testing.assert_allclose(one.weights, two.weights, rtol=1e-9)


FORMS = {"factored": FactoredMatrix, "grid": GridMatrix}


def packaged(form: str, clones=None, targets=None) -> CompactMatrix:
    """Put a form together with what a consumer needs."""
    clones = complete_world(5, 1) if clones is None else clones
    targets = targets_everywhere() if targets is None else targets
    made = FORMS[form].of(measure(clones, targets), targets, clones.geography)
    w0 = np.linspace(1, 2, clones.geography.n_columns)
    return CompactMatrix(made, targets, w0, clones.household_id, clones.made_of())


@pytest.mark.parametrize("form", FORMS)
def test_a_stored_form_is_read_back(tmp_path, form):
    """The same arrays, targets, start and pedigree, and the same bytes when stored again."""
    made = packaged(form)
    made.save(tmp_path / "a")
    again = CompactMatrix.load(tmp_path / "a", form, made.made_of, made.targets)
    assert equal(again.form.to_csr(), made.form.to_csr())
    assert (again.targets, dict(again.made_of)) == (made.targets, dict(made.made_of))
    assert (again.w0 == made.w0).all()
    assert (again.household_id == made.household_id).all()
    again.save(tmp_path / "b")
    for name in ("matrix.npz", "matrix.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_no_such_form_is_refused(tmp_path, form):
    """Another form, an array that is gone, arrays that do not fit, half a file: one error each."""
    made = packaged(form)
    made.save(tmp_path)
    arrays = read_npz(tmp_path / "matrix.npz")
    other = next(name for name in FORMS if name != form)
    with pytest.raises(MatrixError, match=f"is of a matrix in {form} form, not in {other} form"):
        CompactMatrix.load(tmp_path, other)
    with pytest.raises(MatrixError, match=f"in {form} form, not in csr form"):
        CalibrationMatrix.load(tmp_path)
    with pytest.raises(MatrixError, match="no form 'dense'; there are factored, grid"):
        CompactMatrix.load(tmp_path, "dense")

    def sealed(changed):
        save_sealed(tmp_path, changed, made.targets, made.made_of, form)
        return CompactMatrix.load(tmp_path, form)

    for name in set(arrays):
        with pytest.raises(MatrixError, match=f"no array '{name}'"):
            sealed({k: v for k, v in arrays.items() if k != name})
    with pytest.raises(MatrixError, match=re.escape(str(tmp_path))):
        sealed(arrays | {"G_shape": arrays["G_shape"] + 1})
    far = arrays["G_indices"].copy()
    far[0] = 10_000
    with pytest.raises(MatrixError, match="G is not a sparse array"):
        sealed(arrays | {"G_indices": far})
    with pytest.raises(MatrixError, match="start weights"):
        sealed(arrays | {"w0": arrays["w0"][1:]})
    with pytest.raises(MatrixError, match="made of another dataset"):
        CompactMatrix.load(tmp_path, form, {"dataset": "other"})
    made.save(tmp_path)
    path = tmp_path / "matrix.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(MatrixError, match=r"matrix\.npz is not the one"):
        CompactMatrix.load(tmp_path, form)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("column", np.zeros_like, "each of its columns once"),
        ("plane", lambda a: a - 5, "a plane of a grid matrix is below -1"),
        ("state", lambda a: a[::-1], "its states do not ascend"),
        ("state", lambda a: a - 1, "a state of a grid matrix is -1"),
        ("state", lambda a: a + 9, "sizes that do not fit"),
    ],
)
def test_a_grid_of_impossible_places_is_refused(name, change, message):
    """A column twice, a plane or a state that there is not: never a wrong sum."""
    grid = packaged("grid", targets=[target("person_count", Level.NATION, 0)]).form
    with pytest.raises(MatrixError, match=message):
        replace(grid, **{name: change(getattr(grid, name))})


@pytest.mark.parametrize("form", FORMS.values())
def test_targets_that_are_not_those_of_the_measures_are_refused(form):
    """None, one twice, an unknown measure, a measure without a target, columns of another run."""
    clones = complete_world(4, 1)
    targets = [target("snap", Level.NATION, 0), target("ssi", Level.NATION, 0)]
    measures, home = measure(clones, targets), clones.geography
    for wrong, message in (
        ([], "no targets"),
        ([*targets, targets[0]], "two targets are named national/snap"),
        ([*targets, target("rent", Level.STATE, 6)], "state_06/rent is none of the measures"),
        (targets[:1], r"the measures have ssi \[\], of which there is no target"),
    ):
        with pytest.raises(MatrixError, match=message):
            form.of(measures, wrong, home)
    with pytest.raises(MatrixError, match="24 columns, the geography 30"):
        form.of(measures, targets, complete_world(5, 1).geography)


# -- what has no such form -------------------------------------------------------------


def test_an_incomplete_design_has_no_grid():
    """A district that a record misses is told, and which design has none."""
    made = world(4, D, 0)
    measures = measure(made.clones, made.targets)
    with pytest.raises(MatrixError, match=r'design="complete"'):
        GridMatrix.of(measures, made.targets, made.clones.geography)


def test_a_complete_design_is_the_race_run_to_its_end():
    """N = D clones, one in every district, in the blocks that the race gives."""
    home = complete_world(6, 3).geography
    assert home.n_clones == D
    columns = home.code(Level.DISTRICT).reshape(D, 6)
    assert (np.sort(columns, axis=0) == np.unique(CROSSWALK.district)[:, None]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"design": "complete", "n_clones": 2}, "a clone for each of 6 districts, not 2"),
        ({"design": "whole"}, "no design 'whole'"),
        ({}, "None clones; give at least 1"),
    ],
)
def test_a_design_that_cannot_be_is_refused(options, message):
    """The message says what there is."""
    records = dataset(3, 0)
    district = np.unique(CROSSWALK.district)
    mass = Mass(district, np.full((2, D), 1 / D), np.zeros(3, dtype=np.int64), np.inf)
    with pytest.raises(GeographyError, match=message):
        assign(records, CROSSWALK, mass, seed=0, **options)


# -- measures and cells ----------------------------------------------------------------


def test_gathered_values_are_those_of_the_record_in_the_columns_state():
    """Every column takes its value from its own state's array."""
    made = world(5, 4, 2).clones.geography
    states = (6, 11, 37)
    by_state = np.random.default_rng(0).integers(0, 3, (3, 2, 5)).astype(np.float32)
    measures = Measures.gather([("a", ()), ("b", ())], by_state, states, made)
    expected = [
        [by_state[states.index(s), m, j % 5] for j, s in enumerate(made.state)] for m in (0, 1)
    ]
    assert (measures.values.toarray() == expected).all()
    assert (measures.values.data != 0).all()
    with pytest.raises(MatrixError, match="state 37, for which there are no values"):
        Measures.gather([("a", ())], by_state[:2, :1], states[:2], made)


def test_columns_that_were_not_simulated_are_missed():
    """A part that is lost is no row of zeros."""
    parts = [(np.arange(3), np.ones((1, 3), dtype=np.float32))]
    with pytest.raises(MatrixError, match="3 columns were simulated, X has 4"):
        Measures.collect([("a", ())], 4, parts)


def test_cells_are_the_map_cut_at_all_borders():
    """Columns share a cell exactly where they share every code."""
    home = assignment(30, 4, 1)
    levels = list(Level)
    cells = Cells.of(home, levels)
    codes = np.array([home.code(level) for level in levels])
    assert (np.array([cells.codes[level] for level in levels])[:, cells.of_column] == codes).all()
    assert len(np.unique(codes, axis=1).T) == len(cells.codes[Level.STATE])
