"""Takeup: groups, anchors, rates of takers, and the stored table."""

import ast
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_world import CROSSWALK, target, thresholds, world

import calibration
from calibration import toy
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.engines import load_engine
from calibration.errors import GeographyError, TakeupError
from calibration.geography import Area, Level
from calibration.identity import FileClaim, check_identity
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import build_h5
from calibration.takeup import (
    CATEGORY,
    CHILDREN,
    NATION,
    PROGRAMMES,
    WIC,
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
from calibration.thresholds import residual_rate

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
    ("name", "share"), [("snap", 0.19), ("ssi", 0.41), ("medicaid", 0.36), ("aca", 0.21)]
)
def test_share_of_the_others_matches_the_residual_rate(name, share):
    """Of those who do not report, the residual rate; of all together, the published one."""
    n, rate, programme = 400_000, 0.67, BY_NAME[name]
    said = np.arange(n) % 100 < 100 * share
    units = many_units(n).with_columns(programme.entity, {programme.anchor: said.astype(float)})
    units = units.with_columns("household", {"state_fips": np.full(n, 37)})
    threshold = residual_rate(rate, share)
    group = "NC" if name == "medicaid" else "US"
    taken = flags(units, programme, one_row(name, group, threshold, seed=2))
    others = n * (1 - share)
    assert abs(taken[~said].mean() - threshold) < np.sqrt(np.log(2 / ERROR_RATE) / (2 * others))
    assert abs(taken.mean() - rate) < np.sqrt(np.log(2 / ERROR_RATE) / (2 * others))


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


def test_wic_thresholds_differ_by_category():
    """Each person is compared with the threshold of its own category."""
    what = np.array(["INFANT", "NONE", "CHILD", "PREGNANT", "INFANT"])
    people = many_units(5).with_columns("person", {"wic_category": what})
    rows = [Threshold("wic", g, t, 0, 0, t) for g, t in [("INFANT", 1), ("NONE", 0), ("CHILD", 1)]]
    with pytest.raises(TakeupError, match="wic in PREGNANT"):
        flags(people, WIC[0], Thresholds(0, tuple(rows)))
    table = Thresholds(0, (*rows, Threshold("wic", "PREGNANT", 0, 0, 0, 0)))
    assert flags(people, WIC[0], table).tolist() == [True, False, True, False, True]


def test_a_flag_more_changes_no_other():
    """Drawing WIC beside SNAP leaves SNAP as it was, bit for bit."""
    people = many_units(500).with_columns("person", {"wic_category": np.full(500, "CHILD")})
    table = Thresholds(
        4, (Threshold("snap", "US", 0.6, 0, 0, 0.6), Threshold("wic", "CHILD", 0.4, 0, 0, 0.4))
    )
    alone = with_takeup(people, table, [BY_NAME["snap"]])
    both = with_takeup(people, table, [WIC[0], BY_NAME["snap"]])
    flag = BY_NAME["snap"].flag
    assert (alone[flag] == both[flag]).all()
    assert 0 < both["would_claim_wic"].mean() < 1


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


def test_a_blank_block_is_an_error():
    """A column without block has no state and no rate; it is refused where it is placed."""
    block = CROSSWALK.block[[0, 1, 2]].copy()
    block[1] = 0
    with pytest.raises(GeographyError, match="block 000000000000000"):
        GeographyAssignment.from_blocks(CROSSWALK, block, 3, 1)


PUBLISHED = {
    "snap": "spm_unit", "tanf": "spm_unit", "ssi": "person", "medicaid": "person",
    "aca": "tax_unit", "dc_property_tax_credit": "tax_unit", "head_start": "person",
    "early_head_start": "person", "voluntary_filing": "tax_unit",
    "eitc": "tax_unit", "wic": "person", "wic_nutritional_risk": "person",
}  # fmt: skip


def test_who_claims_what():
    """Nine programmes, the EITC and the inputs of WIC, each of the entity that claims it."""
    assert {p.name: p.entity for p in (*PROGRAMMES, *WIC)} == PUBLISHED
    anchored = {p.name for p in PROGRAMMES if p.anchor is not None}
    assert anchored == {"snap", "ssi", "medicaid", "aca"}


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
        ({"groups": "county"}, "groups of x are 'county'; choose nation, state, children or"),
        ({"groups": CHILDREN, "anchor": "x_reported"}, "x has an anchor and groups by children"),
        ({"groups": CATEGORY, "anchor": "x_reported"}, "x has an anchor and groups by category"),
    ],
)
def test_a_programme_whose_pools_nobody_can_tell_apart_is_refused(changes, message):
    """Pools are made by state; groups of children would silently share one."""
    fields = {"name": "x", "flag": "takes_up_x", "entity": "tax_unit", "groups": NATION,
              "eligible": "x"}  # fmt: skip
    assert Programme(**fields, anchor="x_reported").anchor == "x_reported"
    with pytest.raises(TakeupError, match=message):
        Programme(**fields | changes)


# -- one function, three readers --------------------------------------------------------------


def calls() -> dict[str, set[str]]:
    """Say which modules of the package call which functions, and which write the draws' key."""
    found: dict[str, set[str]] = {}
    root = Path(calibration.__file__).parent
    for path in root.rglob("*.py"):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        if module.startswith("toy_data"):
            continue  # it makes the truth that the toy survey is drawn from
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found.setdefault(name, set()).add(module)
                words = [a.value for a in node.args if isinstance(a, ast.Constant)]
                if name in {"uniform", "plain_draw", "key"} and "takeup" in words:
                    found.setdefault("the key", set()).add(module)
    return found


def test_there_is_one_function_that_decides():
    """Flags come from `takeup.flags` through `Clones.households`; the check alone has a twin."""
    called = calls()
    faults = {"failures.takeup", "failures.matrix"}  # wrong copies are what these are for
    assert called["the key"] - faults == {"takeup", "plain_twins"}
    assert called["draws"] - faults == {"takeup"}
    assert called["flags"] - faults == {"takeup"}
    assert called["with_takeup"] == {"clones"}
    assert called["plain_flags"] == {"checks"}
    assert called["households"] >= {"matrix_builder", "publish_local_area", "checks"}
    assert called["materialise"] == {"clones", "thresholds"}  # pools have no flags of their own


@pytest.fixture(scope="module")
def toy_run():
    """Give the toy run with its weights."""
    return toy.after("weights")


def flags_of_file(state, path: Path, area: Area) -> dict:
    """Write an area's file and read its flags back, by programme, home, unit and clone."""
    parts = (np.ones(300), state.clones.geography, state.dataset, path, area)
    build_h5(*parts, takeup=state.thresholds, engine=state.engine)
    found = {}
    with h5py.File(path) as file:
        column = {name: file[name]["2024"][:] for name in file}
    row_of = {i: row for row, i in enumerate(column["household_id"].tolist())}
    for p in PROGRAMMES:
        link = "person_id" if p.entity == "person" else f"person_{p.entity}_id"
        pairs = zip(column[link].tolist(), column["person_household_id"].tolist(), strict=True)
        home = {unit: row_of[household] for unit, household in pairs}
        ids = zip(
            column[f"{p.entity}_id"].tolist(), column[f"record_{p.entity}_id"].tolist(), strict=True
        )
        for (own, unit), flag in zip(ids, column[p.flag].tolist(), strict=True):
            row = home[own]
            who = column["record_household_id"][row], unit, column["clone_index"][row]
            found[p.name, *map(int, who)] = flag
    return found


def test_district_state_and_nation_agree_person_by_person(toy_run, tmp_path):
    """Whoever stands in a smaller file has there the flags of the larger ones, all ten."""
    nation = flags_of_file(toy_run, tmp_path / "us.h5", Area.nation())
    assert len({name for name, *_ in nation}) == len(PROGRAMMES)
    for state, districts in ((37, (3702, 3704, 3712)), (49, (4901, 4903, 4904))):
        of_state = flags_of_file(toy_run, tmp_path / "state.h5", Area.state(state))
        assert of_state.items() <= nation.items()
        parts = [flags_of_file(toy_run, tmp_path / "d.h5", Area.district(d)) for d in districts]
        assert sum(map(len, parts)) == len(of_state)
        assert {k: v for part in parts for k, v in part.items()} == of_state


ON_EVERY_PROGRAMME = [
    ("spm_unit_count", "snap>0"), ("snap",), ("tanf",), ("ssi",),
    ("person_count", "medicaid_enrolled==True"), ("assigned_aca_ptc",), ("dc_ptc",),
    ("head_start",), ("early_head_start",), ("eitc",),
    ("tax_unit_count", "tax_unit_is_filer==True"), ("income_tax", "tax_unit_is_filer==True"),
]  # fmt: skip


def test_the_identity_holds_on_every_file_with_every_programme(toy_run, tmp_path):
    """X w is what the files of all areas add up to, in rows that every programme moves."""
    geography = toy_run.clones.geography
    places = [(Level.NATION, 0), *((Level.STATE, s) for s in np.unique(geography.state).tolist())]
    places += [(Level.DISTRICT, d) for d in np.unique(geography.code(Level.DISTRICT)).tolist()]
    targets = [target(*row[:1], *place, *row[1:]) for row in ON_EVERY_PROGRAMME for place in places]
    matrix = build_matrix(toy_run.clones, targets, w0=toy_run.matrix.w0)
    weights = np.random.default_rng(6).gamma(2.0, 400.0, 300)
    claims = []
    for area in toy_run.inputs.areas:
        path = tmp_path / area.path.name
        parts = (weights, geography, toy_run.dataset, path, area)
        built = build_h5(*parts, takeup=toy_run.thresholds, engine=toy_run.engine)
        assert built.households
        claims.append(FileClaim.of(area, path, weights, geography))
    report = check_identity(matrix, claims, toy_run.dataset, toy_run.engine).require()
    assert len({c.file for c in report.comparisons}) == len(toy_run.inputs.areas) >= 20
    said = {c.target: c.written for c in report.comparisons if c.file == "national/US.h5"}
    assert all(said[t.name] != 0 for t in targets if t.level is Level.NATION)


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
