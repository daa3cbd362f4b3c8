"""What must hold of the matrix and of files for every population, not one example."""

import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.evaluator import evaluate, household_totals, units
from small_world import AREAS, CROSSWALK, world
from stub_engine import ENGINE

from calibration.geography import Area, Level
from calibration.h5_layout import read_h5
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import area_columns, build_h5, county_share

CASES = settings(max_examples=20, deadline=None, derandomize=True, database=None)
FEW = settings(CASES, max_examples=8)

worlds = st.builds(world, st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32))


def plainly(dataset) -> tuple[dict[str, list], dict[str, str]]:
    """Give all columns of a dataset and all outputs as lists, and their entities."""
    values = ENGINE.simulate(dataset, ENGINE.outputs, dataset.period)
    columns = {name: dataset[name].tolist() for name in dataset.names()}
    entity_of = {name: dataset.entity_of(name) for name in columns}
    columns |= {name: column.tolist() for name, column in values.items()}
    return columns, entity_of | {name: ENGINE.outputs[name].entity for name in values}


@CASES
@given(worlds, st.data())
def test_every_entry_is_that_of_a_column_on_its_own(made, data):
    """Materialised one at a time and added up in loops, columns give X entry by entry."""
    some = st.lists(st.sampled_from(made.targets), min_size=1, max_size=24, unique=True)
    targets = data.draw(some)
    X = build_matrix(made.clones, targets, w0=np.ones(made.n_columns)).X.toarray()
    for j in range(made.n_columns):
        columns, entity_of = plainly(made.clones.households(np.array([j])))
        tables = units(columns, entity_of)
        for i, row in enumerate(targets):
            (total,) = household_totals(tables, entity_of, row.name).values()
            assert X[i, j] == np.float32(total), (row.name, j)


@CASES
@given(worlds, st.integers(1, 20))
def test_any_chunk_size_gives_equal_bits(made, chunk):
    """How many columns are simulated at once changes nothing."""
    w0 = np.ones(made.n_columns)
    one = build_matrix(made.clones, made.targets, w0=w0).X
    other = build_matrix(made.clones, made.targets, w0=w0, chunk=chunk).X
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(one, part), getattr(other, part))


@CASES
@given(worlds, st.integers(0, 2**32), st.sampled_from(AREAS))
def test_matrix_and_file_add_up_to_the_same(made, seed, area):
    """For every row and area, X w over the area's columns is the row evaluated on its file."""
    w = made.weights(seed)
    columns, kept = area_columns(w, made.clones.geography, area)
    X = build_matrix(made.clones, made.targets, w0=np.ones(made.n_columns)).X.astype(float)
    if not len(columns):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "area.h5"
        build_h5(w, made.clones.geography, made.clones.dataset, path, area,
                 takeup=made.clones.thresholds, engine=ENGINE)  # fmt: skip
        file = read_h5(path)
        values = ENGINE.simulate(file, ENGINE.outputs, file.period)
        simulated = {k: (ENGINE.outputs[k].entity, v.tolist()) for k, v in values.items()}
        names = [t.name for t in made.targets]
        right = evaluate(path, names[::5], simulated)
    left, scale = X[:, columns] @ kept, abs(X[:, columns]) @ kept
    for i in range(0, len(names), 5):
        assert abs(left[i] - right[names[i]]) <= 1e-9 * scale[i]


@FEW
@given(
    worlds, st.integers(0, 2**32), st.sampled_from([a for a in AREAS if a.level is Level.COUNTY])
)
def test_scaled_weights_are_own_weights_times_the_share_of_the_district(made, seed, city):
    """A column of a district that touches the city is kept at P(city | district) of its weight."""
    w = made.weights(seed)
    share = county_share(CROSSWALK, city)
    columns, scaled = area_columns(w, made.clones.geography, city, counties="scaled",
                                   crosswalk=CROSSWALK)  # fmt: skip
    district = made.clones.geography.code(Level.DISTRICT)
    expected = {j: w[j] * share[d] for j, d in enumerate(district.tolist()) if d in share and w[j]}
    assert dict(zip(columns.tolist(), scaled.tolist(), strict=True)) == expected


@FEW
@given(worlds, st.integers(0, 2**32))
def test_districts_of_a_state_have_its_columns_once_each(made, seed):
    """States split the nation's columns, districts and counties split a state's: none twice."""
    w = made.weights(seed)
    geography = made.clones.geography

    def of(area: Area) -> list[int]:
        return area_columns(w, geography, area)[0].tolist()

    states = [of(area) for area in AREAS if area.level is Level.STATE]
    districts = [of(area) for area in AREAS if area.level is Level.DISTRICT]
    for parts in (states, districts):
        assert sorted(chain(*parts)) == of(Area.nation()) == np.flatnonzero(w > 0).tolist()
