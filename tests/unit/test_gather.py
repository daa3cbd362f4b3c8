"""The shortcut: what it serves is exact, what it refuses would be wrong."""

from dataclasses import replace

import numpy as np
import pytest
import stub_engine
from small_world import target, world

from calibration import toy
from calibration.errors import MatrixError
from calibration.gather import Path, Route, Way, inhabited, residents, routes, row_paths
from calibration.geography import Level
from calibration.matrix_builder import build_matrix, measure

NATION = Level.NATION

SERVED = {
    "person_count": (),
    "adjusted_gross_income": (),
    "employment_income": (),
    "standard_deduction": (),
    "rent": (),
    "person_count/[age>=65]": ("age>=65",),
    "adjusted_gross_income/[age<18]": ("age<18",),
}
"""Measures that the shortcut serves under the toy engine; rent is by state."""

REFUSED = {
    "snap": "takes_up_snap_if_eligible",
    "assigned_aca_ptc": "county_fips",
    "adjusted_gross_income/[tax_unit_is_filer==1]": "would_file_taxes_voluntarily",
    "tax_unit_count/[tax_unit_is_filer==1]": "would_file_taxes_voluntarily",
    "income_tax/[tax_unit_is_filer==1]": "would_file_taxes_voluntarily",
}
"""Measures that it refuses, and an input that each reads."""


def rows(measures):
    """Make a national target of each named measure."""
    made = []
    for name in measures:
        variable, _, scope = name.partition("/")
        made.append(target(variable, NATION, 0, *filter(None, [scope.strip("[]")])))
    return made


def test_the_shortcut_serves_these_measures_of_the_toy_country_bit_for_bit():
    """Gathered and exact values are the same, and only what is served is gathered."""
    clones = toy.after("matrix").clones
    targets = rows([*SERVED, *REFUSED])
    ways = [route.way for route in routes(clones, [t.signature for t in targets])]
    assert all(way is not Way.COLUMN for way in ways[: len(SERVED)])
    assert len({name.partition("/")[0] for name in SERVED}) >= 3
    exact = measure(clones, targets, gather=False).values
    short = measure(clones, targets, gather=True).values
    for part in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(exact, part), getattr(short, part))
    assert np.diff(exact.indptr).min() > 0


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_the_shortcut_in_chunks_of_any_size(chunk):
    """The stored matrix of the toy run, whichever way each row takes."""
    state = toy.after("matrix")
    X = build_matrix(state.clones, state.targets, w0=state.matrix.w0, gather=True, chunk=chunk).X
    assert (X != state.matrix.X).nnz == 0


def test_the_shortcut_saves_simulations():
    """Where it saves it is taken unasked: a record is simulated once in each of its states."""
    clones = toy.after("matrix").clones
    seen = []

    def simulated(names, **options):
        measure(clones, rows(names), observe=lambda *call: seen.append(call), **options)
        done, total = seen[-1]
        assert done == total
        return total

    pairs = len({(s, j % 100) for j, s in enumerate(clones.geography.state.tolist())})
    assert pairs < 300
    assert simulated(["rent"]) == simulated(["rent"], gather=True) == pairs
    assert simulated(["person_count"]) == 100
    assert simulated(["rent", "snap"]) == simulated(["rent"], gather=False) == 300
    assert simulated(["rent", "snap"], gather=True) == pairs + 300


def test_a_record_is_simulated_only_where_a_column_joins_it():
    """A state in which no clone of a record lives may have no value of it at all."""

    class Partial(stub_engine.StubEngine):
        def simulate(self, dataset, variables, period):
            asked.update(zip(dataset["state_fips"].tolist(),
                             dataset["record_household_id"].tolist(), strict=True))  # fmt: skip
            return super().simulate(dataset, variables, period)

    made = world(6, 2, 1)
    asked = set()
    clones = replace(made.clones, engine=Partial())
    measure(clones, [target("rent", NATION, 0)], gather=True)
    home = clones.geography
    R = home.n_records
    lived = {(s, int(clones.household_id[j % R])) for j, s in enumerate(home.state.tolist())}
    assert asked == lived
    assert inhabited(home).tolist() == sorted({s * R + j % R for j, s in enumerate(home.state)})


def test_a_value_that_is_no_number_names_the_record_and_the_state():
    """There is no column to name: the record stands for all of its clones in the state."""
    made = world(5, 3, 2)
    row = 3
    rent = made.clones.dataset["rent"].copy()
    state = int(made.clones.geography.state[row])
    rent[row, made.clones.dataset.states.index(state)] = np.nan
    records = made.clones.dataset.with_columns("household", {"rent": rent})
    clones = replace(made.clones, dataset=records)
    home = clones.household_id[row]
    with pytest.raises(MatrixError, match=f"rent is nan for household {home} as a resident of "
                                          f"state {state:02d}"):  # fmt: skip
        measure(clones, [target("rent", NATION, 0)], gather=True)
    with pytest.raises(MatrixError, match=f"in column [0-9]+, household {home} in state {state}"):
        measure(clones, [target("rent", NATION, 0)], gather=False)


def test_every_row_has_a_path():
    """Gathered, refused with the inputs that do it, or simulated because nothing is saved."""
    clones = toy.after("matrix").clones
    targets = rows(["rent", "snap", "person_count"])
    assert [p.path for p in row_paths(clones, targets, gather=True)] == [
        Path.GATHERED, Path.REFUSED, Path.GATHERED]  # fmt: skip
    mixed = row_paths(clones, targets)
    assert [p.path for p in mixed] == [Path.SIMULATED, Path.REFUSED, Path.SIMULATED]
    assert [p.target for p in mixed] == [t.name for t in targets]
    assert "takes_up_snap_if_eligible" in mixed[1].because
    assert [p.path for p in row_paths(clones, targets[:1])] == [Path.GATHERED]


@pytest.mark.parametrize(("name", "reads"), REFUSED.items())
def test_what_is_refused_is_told_by_the_input_that_does_it(name, reads):
    """SNAP and filers read takeup, the premium tax credit a county."""
    (route,) = routes(toy.after("matrix").clones, [rows([name])[0].signature])
    assert route.way is Way.COLUMN
    assert reads in route.because


WRONG_BY = {
    "snap": 0.226,
    "assigned_aca_ptc": 0.429,
    "adjusted_gross_income/[tax_unit_is_filer==1]": 0.000623,
    "tax_unit_count/[tax_unit_is_filer==1]": 0.0180,
    "income_tax/[tax_unit_is_filer==1]": 0.00701,
}
"""Share of the total over all columns by which each would be wrong, column by column."""


@pytest.mark.parametrize("name", REFUSED)
def test_without_the_refusal_these_rows_would_be_wrong(monkeypatch, name):
    """Gathered anyway, each has other entries than the simulated columns."""
    clones = toy.after("matrix").clones
    exact = measure(clones, rows([name]), gather=False).values.toarray()
    for module in ("gather", "matrix_builder"):
        monkeypatch.setattr(
            f"calibration.{module}.routes",
            lambda _, signatures: [Route(Way.STATE)] * len(signatures),
        )
    short = measure(clones, rows([name]), gather=True).values.toarray()
    error = np.abs(short - exact).sum() / np.abs(exact).sum()
    assert error == pytest.approx(WRONG_BY[name], rel=0.01)


def test_an_engine_that_declares_nothing_is_simulated_whole():
    """A variable without declared inputs may read anything."""
    clones = world(4, 2, 0).clones
    silent = {n: replace(v, inputs=frozenset()) for n, v in stub_engine.ENGINE.outputs.items()}
    engine = replace(stub_engine.ENGINE, outputs=silent)
    (route,) = routes(replace(clones, engine=engine), [("snap", ())])
    assert route == Route(Way.COLUMN, ("snap, which declares nothing",))


def test_an_engine_with_columns_of_its_own_takes_the_exact_way():
    """Its inputs have other names than the records' columns, so nothing is known of them."""

    class Native:
        """The toy engine, as if it were one that translates."""

        @property
        def refused(self):
            return {}

        def native(self, dataset):
            return dataset

        def __getattr__(self, name):
            return getattr(toy.after("matrix").engine, name)

    clones = toy.after("matrix").clones
    age = [("age", ())]
    assert routes(clones, age) == [Route(Way.RECORD)]
    assert routes(clones, [("rent", ())]) == [Route(Way.STATE, ("rent",))]
    assert routes(replace(clones, engine=Native()), age)[0].way is Way.COLUMN


def test_residents_live_where_a_column_lives():
    """All codes, block and ZIP code are those of one column of the state."""
    clones = world(5, 4, 1).clones
    for state in np.unique(clones.geography.state).tolist():
        home = residents(clones, state).geography
        assert home.n_columns == 5
        assert set(home.state.tolist()) == {state}
        assert np.isin(home.block, clones.geography.block).all()
        assert len(np.unique(home.block)) == 1
