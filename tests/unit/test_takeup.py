"""Takeup: groups, anchors, rates of takers, and the stored table."""

import numpy as np
import pytest
from small_world import thresholds, world

from calibration.dataset import Dataset
from calibration.engines import load_engine
from calibration.errors import TakeupError
from calibration.takeup import (
    CHILDREN,
    NATION,
    PROGRAMMES,
    Programme,
    Threshold,
    Thresholds,
    all_on,
    children,
    draws,
    flags,
    reports,
    with_takeup,
)

BY_NAME = {programme.name: programme for programme in PROGRAMMES}
ERROR_RATE = 1e-9


def many_units(n: int, clone: int = 0) -> Dataset:
    """Make n households of one person who is a tax unit and an SPM unit."""
    ids = np.arange(n)
    entities = ("person", "household", "spm_unit", "tax_unit")
    tables = {e: {f"{e}_id": ids, f"record_{e}_id": ids} for e in entities}
    tables["person"] |= {f"person_{e}_id": ids for e in entities[1:]}
    tables["household"] |= {"clone_index": np.full(n, clone)}
    tables["spm_unit"] |= {"snap_reported": np.zeros(n)}
    return Dataset(2024, tables)


def one_row(programme: str, group: str, value: float, seed: int = 0) -> Thresholds:
    """Make a table of one threshold."""
    return Thresholds(seed, (Threshold(programme, group, value, 0.0, 0.0, value),))


# -- draws and flags -------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.82])
def test_share_of_takers_matches_the_threshold(rate):
    """Of 10^6 units the share that takes up lies within the Hoeffding bound at 1e-9."""
    n = 1_000_000
    taken = flags(many_units(n), BY_NAME["snap"], one_row("snap", "US", rate))
    assert abs(taken.mean() - rate) < np.sqrt(np.log(2 / ERROR_RATE) / (2 * n))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "snap", 0), (0, "tanf", 0)),
        ((0, "snap", 0), (0, "snap", 1)),
        ((0, "snap", 0), (1, "snap", 0)),
        ((0, "aca", 0), (0, "eitc", 0)),
    ],
    ids=["programmes", "clones", "seeds", "programmes of a tax unit"],
)
def test_streams_are_independent(one, other):
    """Quadrants of two streams hold a quarter each, within the Hoeffding bound at 1e-9."""
    n = 200_000
    high = [
        draws(many_units(n, clone), BY_NAME[name], seed) < 0.5 for seed, name, clone in (one, other)
    ]
    bound = np.sqrt(np.log(2 / ERROR_RATE) / (2 * n))
    for a in (high[0], ~high[0]):
        assert abs((a & high[1]).mean() - 0.25) < bound


def test_a_draw_equal_to_the_threshold_does_not_take_up():
    """The comparison is strict, so that a threshold of 0 lets nobody in."""
    units = many_units(50)
    u = draws(units, BY_NAME["snap"], 0)
    assert not flags(units, BY_NAME["snap"], one_row("snap", "US", float(u[7])))[7]
    assert not flags(units, BY_NAME["snap"], one_row("snap", "US", 0.0)).any()
    assert flags(units, BY_NAME["snap"], one_row("snap", "US", 1.0)).all()


def test_reporters_take_up_whatever_the_threshold():
    """With a threshold of 0, exactly the units that report receipt take up."""
    units = many_units(100)
    said = np.arange(100) % 7 == 0
    units = units.with_columns("spm_unit", {"snap_reported": np.where(said, 120.0, 0.0)})
    assert (flags(units, BY_NAME["snap"], one_row("snap", "US", 0.0)) == said).all()


def test_a_programme_without_anchor_has_no_reporters():
    """Nobody reports TANF, though a survey may have the column."""
    units = many_units(10).with_columns("spm_unit", {"tanf_reported": np.ones(10)})
    assert BY_NAME["tanf"].anchor is None
    assert not reports(units, BY_NAME["tanf"]).any()


def test_thresholds_differ_by_the_state_where_the_clone_lives():
    """A Medicaid threshold of 1 in one state and 0 in the others takes exactly its people."""
    made = world(12, 3, 5)
    households = made.clones.households(np.arange(made.n_columns))
    rows = [Threshold("medicaid", g, t, 0, 0, t) for g, t in [("CA", 0), ("DC", 1), ("NC", 0)]]
    table = Thresholds(0, tuple(rows))
    said = reports(households, BY_NAME["medicaid"])
    state = households["state_fips"][households.unit_of_person("household")]
    taken = flags(households, BY_NAME["medicaid"], table)
    assert (taken == (said | (state == 11))).all()


def test_eitc_thresholds_differ_by_children_three_at_most():
    """Groups are "0" to "3"; a fourth dependent changes nothing."""
    dependents = [0, 1, 2, 3, 5]
    person_unit = np.repeat(np.arange(5), np.array(dependents) + 1)
    n = len(person_unit)
    is_dependent = np.ones(n, dtype=bool)
    is_dependent[np.unique(person_unit, return_index=True)[1]] = False
    units = Dataset(
        2024,
        {
            "person": {
                "person_id": np.arange(n),
                "person_household_id": person_unit,
                "person_tax_unit_id": person_unit,
                "is_tax_unit_dependent": is_dependent,
            },
            "household": {
                "household_id": np.arange(5),
                "record_household_id": np.arange(5),
                "clone_index": np.zeros(5, dtype=int),
            },
            "tax_unit": {"tax_unit_id": np.arange(5), "record_tax_unit_id": np.arange(5)},
        },
    )
    assert children(units).tolist() == [0, 1, 2, 3, 3]
    rows = tuple(Threshold("eitc", str(k), t, 0, 0, t) for k, t in enumerate([0, 1, 0, 1]))
    taken = flags(units, BY_NAME["eitc"], Thresholds(0, rows))
    assert taken.tolist() == [False, True, False, True, True]


def test_all_on_sets_every_flag_and_nothing_else():
    """Every unit has every flag of the engine's programmes; other columns are the same."""
    made = world(4, 1, 1)
    households = made.clones.households(np.arange(made.n_columns))
    on = all_on(households, made.clones.programmes)
    for programme in made.clones.programmes:
        assert on[programme.flag].all()
        assert len(on[programme.flag]) == on.size(programme.entity)
    assert set(on.names()) == set(households.names())
    assert (on["age"] == households["age"]).all()


def test_with_takeup_adds_the_flags_it_is_asked_for():
    """Flags are those of `flags`, each in its own entity's table."""
    made = world(4, 2, 2)
    households = made.clones.households(np.arange(made.n_columns))
    table = thresholds(9)
    for programme in made.clones.programmes:
        added = with_takeup(households, table, [programme])
        assert added.entity_of(programme.flag) == programme.entity
        assert (added[programme.flag] == flags(households, programme, table)).all()


# -- what is missing -------------------------------------------------------------------


def test_a_programme_without_thresholds_is_an_error():
    """A table without the programme is refused, naming it."""
    with pytest.raises(TakeupError, match=r"snap in US"):
        flags(many_units(3), BY_NAME["snap"], one_row("tanf", "US", 0.5))


def test_a_state_without_threshold_is_an_error():
    """A resident of a state that the table lacks is refused, naming programme and state."""
    made = world(12, 3, 5)
    households = made.clones.households(np.arange(made.n_columns))
    rows = tuple(r for r in thresholds().rows if r.group != "NC")
    with pytest.raises(TakeupError, match=r"medicaid in NC"):
        flags(households, BY_NAME["medicaid"], Thresholds(0, rows))


def test_a_code_that_is_no_state_is_an_error():
    """FIPS 72 has no letters in the table of states; the message gives the code."""
    made = world(3, 1, 0)
    households = made.clones.households(np.arange(3))
    abroad = households.with_columns("household", {"state_fips": np.full(3, 72)})
    with pytest.raises(TakeupError, match=r"medicaid in FIPS 72"):
        flags(abroad, BY_NAME["medicaid"], thresholds())


def test_programmes_fit_the_toy_engine():
    """Flags and anchors are its inputs, eligibilities its outputs, of the entity that claims."""
    engine = load_engine("toy")
    assert len({p.name for p in PROGRAMMES}) == len({p.flag for p in PROGRAMMES}) == len(PROGRAMMES)
    for p in PROGRAMMES:
        assert engine.inputs[p.flag].entity == p.entity
        assert engine.inputs[p.flag].kind == "bool"
        assert engine.outputs[p.eligible].entity == p.entity
        if p.anchor is not None:
            assert engine.inputs[p.anchor].entity == p.entity


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": "county"}, "groups of x are 'county'; choose nation, state or children"),
        ({"groups": CHILDREN, "anchor": "x_reported"}, "x has an anchor and groups by children"),
    ],
)
def test_a_programme_whose_pools_nobody_can_tell_apart_is_refused(changes, message):
    """Pools are made by state; groups of children would silently share one."""
    fields = {"name": "x", "flag": "takes_up_x", "entity": "tax_unit", "groups": NATION,
              "eligible": "x"}  # fmt: skip
    assert Programme(**fields, anchor="x_reported").anchor == "x_reported"
    with pytest.raises(TakeupError, match=message):
        Programme(**fields | changes)


# -- the stored table ------------------------------------------------------------------


def test_a_stored_table_is_read_back_exactly(tmp_path):
    """Seed, groups and every bit of every number survive, NumPy's numbers too."""
    numbers = [0.1 + 0.2, 1 / 3, np.float64(2 / 3), 5e-324, 1.0, 0.0]
    rows = tuple(
        Threshold(f"p{i}", g, x, np.float64(x * 1e6), x, x)
        for i, x in enumerate(numbers)
        for g in ("US", "NC", "3")
    )
    Thresholds(2**40 + 1, rows).save(tmp_path / "takeup.csv")
    assert Thresholds.load(tmp_path / "takeup.csv") == Thresholds(2**40 + 1, rows)


def test_a_table_without_rows_keeps_its_seed(tmp_path):
    """An engine that draws no takeup has no thresholds; its run is read back all the same."""
    Thresholds(7, ()).save(tmp_path / "takeup.csv")
    assert Thresholds.load(tmp_path / "takeup.csv") == Thresholds(7, ())


HEADER = "seed,programme,group,rate,pool,reported,threshold\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEADER.encode(),
        b"seed,programme,group\n1,snap,US\n",
        HEADER.encode() + b"1\n",
        HEADER.encode() + b"1,,,,,,\n1,,,,,,\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,0.4\n1,,,,,,\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,half\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,nan\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,1.5\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,0.4\n2,tanf,US,0.5,0,0,0.5\n",
        HEADER.encode() + b"1,snap,US,0.5,10,0.1,0.4\n1,snap,US,0.5,10,0.1,0.6\n",
        b"\x89HDF\r\n\x1a\n\x00\xff",
    ],
    ids=[
        "empty",
        "header",
        "columns",
        "seed cut short",
        "two seeds alone",
        "seed alone among rows",
        "short",
        "word",
        "nan",
        "above 1",
        "two seeds",
        "twice",
        "binary",
    ],
)
def test_a_damaged_table_is_an_error(tmp_path, content):
    """Whatever is wrong with the file, the message names it."""
    path = tmp_path / "takeup.csv"
    path.write_bytes(content)
    with pytest.raises(TakeupError, match=r"takeup\.csv is not a threshold table"):
        Thresholds.load(path)


def test_a_missing_table_is_an_error(tmp_path):
    """There is no default table."""
    with pytest.raises(TakeupError, match=r"cannot read .*none\.csv"):
        Thresholds.load(tmp_path / "none.csv")
