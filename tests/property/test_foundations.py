"""What must hold of the foundations for every dataset, country and order of rows."""

import hashlib
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from property.strategies import (
    GROUPS,
    Run,
    assignments,
    crosswalks,
    datasets,
    key_parts,
    orders,
    runs,
    seeds,
    shuffles,
    whole_arrays,
)

from calibration import rng
from calibration.clone_and_assign import assign, initial_weights, masses, race
from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import Dataset, segments
from calibration.errors import DatasetError
from calibration.files import hash_arrays, read_npz, write_npz
from calibration.geography import (
    STATE_LETTERS,
    Area,
    Level,
    clone_and_record,
    column_of,
    decode,
    encode,
)
from calibration.materialise import GEOGRAPHY_COLUMNS, materialise

few = settings(max_examples=30, deadline=None)
some = settings(max_examples=50, deadline=None)


# -- rng -------------------------------------------------------------------------------

MASK = 2**64 - 1


def plain_key(parts):
    """Fold a key with Python's own whole numbers: the module's equation, read aloud."""

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    gamma = 0x9E3779B97F4A7C15
    k = mix(gamma)
    for part in parts:
        if isinstance(part, str):
            digest = hashlib.blake2b(part.encode(), digest_size=8).digest()
            part = int.from_bytes(digest, "little")  # noqa: PLW2901
        k = mix(((k ^ (part & MASK)) + gamma) & MASK)
    return k


@some
@given(key_parts)
def test_key_equals_the_equation_in_plain_python(parts):
    """A key, and its uniform, are what the equation gives with unbounded whole numbers."""
    assert int(rng.key(*parts)) == plain_key(parts)
    assert float(rng.uniform(*parts)) == (plain_key(parts) >> 11) / 2**53


@some
@given(key_parts, st.data())
def test_draws_follow_ids_not_rows(parts, data):
    """Permuting or cutting the ids permutes or cuts the draws, bit for bit."""
    ids = data.draw(whole_arrays(data.draw(st.integers(1, 6))))
    order = data.draw(orders(len(ids)))
    drawn = rng.uniform(*parts, ids)
    assert np.array_equal(rng.uniform(*parts, ids[order]), drawn[order])
    assert np.array_equal(rng.uniform(*parts, ids[:1]), drawn[:1])
    assert [float(rng.uniform(*parts, int(i))) for i in ids] == drawn.tolist()


@few
@given(key_parts, st.data())
def test_compiled_streams_are_bit_equal(parts, data):
    """Inside a compiled loop the fold and the uniform have the bits of NumPy's."""
    from calibration.rng_numba import fold, uniform_fold, unit

    size = data.draw(st.integers(1, 5))
    first, second = data.draw(whole_arrays(size)), data.draw(whole_arrays(size))
    prefix, keys = rng.key(*parts), rng.key(*parts, first, second)
    drawn = uniform_fold(prefix, first, second)
    assert np.array_equal(drawn, rng.unit(keys))
    for i in range(size):
        k = np.uint64(fold(np.uint64(fold(prefix, first[i])), second[i]))
        assert k == keys[i]
        assert unit(k) == drawn[i]


# -- files -----------------------------------------------------------------------------

arrays = st.dictionaries(
    st.text("abc/_.", min_size=1, max_size=5).filter(
        lambda name: "//" not in name and ".." not in name
    ),
    st.integers(0, 4).flatmap(whole_arrays)
    | st.lists(st.floats(allow_nan=False)).map(np.array)
    | st.lists(st.text(max_size=3), min_size=1).map(np.array)
    | st.booleans().map(np.array),
    max_size=4,
)


@few
@given(arrays, st.randoms(use_true_random=False))
def test_npz_gives_back_what_was_stored_in_any_order(stored, random):
    """Values, dtypes and shapes come back; the order of insertion moves no byte."""
    names = list(stored)
    random.shuffle(names)
    again = {name: stored[name] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one.npz", Path(folder) / "two.npz"
        write_npz(one, stored)
        write_npz(two, again)
        assert one.read_bytes() == two.read_bytes()
        read = read_npz(one)
    assert hash_arrays(read) == hash_arrays(stored) == hash_arrays(again)
    assert set(read) == set(stored)


# -- dataset ---------------------------------------------------------------------------


def rows(dataset, entity):
    """List the rows of a table as dicts of plain Python values."""
    table = {name: np.asarray(column).tolist() for name, column in dataset.tables[entity].items()}
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def contents(dataset):
    """Hash every array of a dataset."""
    return hash_arrays(dataset.arrays())


@some
@given(datasets())
def test_checks_pass_and_files_give_the_same_back(dataset):
    """A valid dataset passes, and comes back from a file bit for bit, by-state columns too."""
    assert dataset.check() is dataset
    with tempfile.TemporaryDirectory() as folder:
        dataset.save(Path(folder) / "data.npz")
        loaded = Dataset.load(Path(folder) / "data.npz")
    assert contents(loaded) == contents(dataset)
    assert (loaded.period, loaded.states) == (dataset.period, dataset.states)


@some
@given(st.data())
def test_canonical_order_forgets_the_order_of_rows(data):
    """However the rows of the tables stood, sorting by id gives one dataset."""
    dataset = data.draw(datasets())
    other = data.draw(shuffles(dataset))
    assert contents(dataset.sorted_by_id()) == contents(other.sorted_by_id())
    assert contents(other.sorted_by_id().sorted_by_id()) == contents(other.sorted_by_id())


@some
@given(st.data())
def test_taking_households_keeps_everybody_in_them_and_nobody_else(data):
    """The rows taken are those of the households named, by household and then as they stood."""
    dataset = data.draw(datasets())
    wanted = data.draw(orders(dataset.size("household")))
    wanted = wanted[: data.draw(st.integers(0, len(wanted)))]
    taken = dataset.take_households(wanted).check()
    ids = dataset.household["household_id"][wanted].tolist()
    home = {r["person_id"]: r["person_household_id"] for r in rows(dataset, "person")}
    for entity in dataset.tables:
        link = f"person_{entity}_id"
        lives = {r[link]: home[r["person_id"]] for r in rows(dataset, "person") if link in r}
        lives = home if entity == "person" else lives
        expected = [r for i in ids for r in rows(dataset, entity) if lives[r[f"{entity}_id"]] == i]
        assert rows(taken, entity) == expected


@some
@given(datasets(), st.sampled_from(("household", *GROUPS)))
def test_sums_and_flags_of_units_are_those_of_their_members(dataset, entity):
    """Adding up, asking whether any, and handing down agree with loops over members."""
    amount, flag = dataset["person_amount"], dataset["person_flag"]
    link = dataset.person[f"person_{entity}_id"].tolist()
    ids = dataset.tables[entity][f"{entity}_id"].tolist()
    total = dict.fromkeys(ids, 0.0)
    seen = dict.fromkeys(ids, False)
    for i, x, f in zip(link, amount.tolist(), flag.tolist(), strict=True):
        total[i] += x
        seen[i] |= f
    assert dataset.sum_to(entity, amount).tolist() == [total[i] for i in ids]
    assert dataset.any_in(entity, flag).tolist() == [seen[i] for i in ids]
    assert dataset.to_person(dataset.tables[entity][f"{entity}_id"], entity).tolist() == link


@some
@given(st.data())
def test_a_member_moved_to_another_household_is_noticed(data):
    """If one of several members of a unit lives elsewhere, the check says which unit."""
    dataset = data.draw(datasets())
    entity = data.draw(st.sampled_from(GROUPS))
    members = Counter(dataset.person[f"person_{entity}_id"].tolist())
    several = [i for i, n in members.items() if n > 1]
    assume(several and dataset.size("household") > 1)
    unit = data.draw(st.sampled_from(several))
    who = np.flatnonzero(dataset.person[f"person_{entity}_id"] == unit)[0]
    home = dataset.person["person_household_id"].copy()
    lonely = Counter(home.tolist())[int(home[who])] == 1
    assume(not lonely)
    home[who] = next(i for i in dataset.household["household_id"] if i != home[who])
    broken = dataset.with_columns("person", {"person_household_id": home})
    with pytest.raises(DatasetError, match="members in more than one household"):
        broken.check()


@some
@given(st.lists(st.tuples(st.integers(-5, 50), st.integers(0, 4))))
def test_segments_are_the_ranges_in_turn(ranges):
    """The list is that of the ranges, one after the other."""
    starts, counts = (np.array([r[i] for r in ranges], dtype=np.int64) for i in (0, 1))
    expected = [s + k for s, n in ranges for k in range(n)]
    assert segments(starts, counts).tolist() == expected


# -- geography -------------------------------------------------------------------------

below_state = {Level.STATE: 1, Level.COUNTY: 1000, Level.DISTRICT: 97, Level.PLACE: 100_000}


@some
@given(st.sampled_from(list(below_state)), st.sampled_from(sorted(STATE_LETTERS)), st.data())
def test_codes_survive_writing_and_reading(level, state, data):
    """Reading a written code gives the code, with its leading zeros or without."""
    size = {Level.DISTRICT: 100}.get(level, below_state[level])
    number = data.draw(st.integers(0, below_state[level] - 1))
    if level is Level.DISTRICT:
        number += 1  # 01 to 97; 00 and 98 are other names of 01
    code = state * size + number
    text = decode(level, code)
    assert encode(level, text) == code == encode(level, text.lstrip("0"))


@some
@given(st.data())
def test_columns_and_their_clones_and_records_are_one_to_one(data):
    """Columns run through 0 ... C - 1 clone by clone, and give clone and record back."""
    n_records, n_clones = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    pairs = [(c, h) for c in range(n_clones) for h in range(n_records)]
    clone, record = np.array(pairs).T
    column = column_of(clone, record, n_records)
    assert column.tolist() == list(range(n_records * n_clones))
    assert np.array_equal(clone_and_record(column, n_records), [clone, record])


@few
@given(st.data())
def test_a_column_has_the_codes_of_its_block(data):
    """Every code of a column is that of its block, and areas list the columns that have it."""
    crosswalk = data.draw(crosswalks())
    geography = data.draw(assignments(crosswalk, data.draw(st.integers(1, 4))))
    block = geography.block
    assert block is not None
    of_block = dict(zip(crosswalk.block.tolist(), crosswalk.district.tolist(), strict=True))
    assert geography.code(Level.DISTRICT).tolist() == [of_block[b] for b in block.tolist()]
    assert [f"{b:015d}"[:5] for b in block] == [
        decode(Level.COUNTY, c) for c in geography.code(Level.COUNTY)
    ]
    assert [f"{b:015d}"[:2] for b in block] == [decode(Level.STATE, c) for c in geography.state]
    for state in set(geography.state.tolist()):
        inside = [j for j, s in enumerate(geography.state.tolist()) if s == state]
        assert geography.columns_in(Area.state(state)).tolist() == inside
    assert geography.columns_in(Area.nation()).tolist() == list(range(geography.n_columns))


@few
@given(st.data())
def test_a_stored_assignment_is_the_same_one(data):
    """Saving and loading keeps the hash; another home of one column changes it."""
    crosswalk = data.draw(crosswalks(min_districts=2))
    geography = data.draw(assignments(crosswalk, data.draw(st.integers(1, 4))))
    with tempfile.TemporaryDirectory() as folder:
        geography.save(Path(folder) / "g.npz")
        assert GeographyAssignment.load(Path(folder) / "g.npz").hash() == geography.hash()
    assert geography.block is not None
    moved = geography.block.copy()
    moved[-1] = next(b for b in crosswalk.block if b != moved[-1])
    sizes = geography.n_records, geography.n_clones
    other = GeographyAssignment.from_blocks(crosswalk, moved, *sizes)
    assert other.hash() != geography.hash()


# -- clone_and_assign ------------------------------------------------------------------


def people_of_one(ids):
    """Make a dataset of one-person households with given ids."""
    return Dataset(
        2024,
        {
            "person": {"person_id": ids.copy(), "person_household_id": ids},
            "household": {"household_id": ids, "design_weight": 1.0 + ids % 5},
        },
    )


def mass_of(crosswalk: Crosswalk, ids):
    """Weigh districts by people, and by a made-up income for every third household id."""
    money = {d: 1e6 * (1 + d % 7) for d in crosswalk.population_by(Level.DISTRICT)}
    return masses(crosswalk, money, (ids % 3 == 0) * 1.0, 1.0)


ids_of_households = st.lists(st.integers(0, 10**15), min_size=1, max_size=8, unique=True).map(
    lambda values: np.array(values, dtype=np.int64)
)


@some
@given(crosswalks(min_blocks=3), ids_of_households, seeds, st.data())
def test_clones_fill_districts_in_whole_rounds(crosswalk, ids, seed, data):
    """With N clones a record stands floor(N/D) or ceil(N/D) times in each of D districts.

    So while N <= D it stands nowhere twice, and never twice in one block.
    """
    districts = np.unique(crosswalk.district)
    n_clones = data.draw(st.integers(1, 3 * len(districts)))
    mass = mass_of(crosswalk, ids)
    geography = assign(people_of_one(ids), crosswalk, mass, n_clones=n_clones, seed=seed)
    where = geography.code(Level.DISTRICT).reshape(n_clones, len(ids))
    assert geography.block is not None
    blocks = geography.block.reshape(n_clones, len(ids))
    low, rest = divmod(n_clones, len(districts))
    for h in range(len(ids)):
        times = Counter(where[:, h].tolist())
        counts = sorted(times.get(d, 0) for d in districts.tolist())
        assert counts == [low] * (len(districts) - rest) + [low + 1] * rest
        assert len(set(blocks[:, h].tolist())) == n_clones


@some
@given(crosswalks(min_blocks=3), ids_of_households, seeds, st.data())
def test_a_clone_depends_on_seed_household_and_clone_alone(crosswalk, ids, seed, data):
    """Fewer clones, other rows, another order: the clones that remain do not move."""
    n_clones = data.draw(st.integers(1, 3 * len(np.unique(crosswalk.district))))
    fewer = data.draw(st.integers(1, n_clones))
    kept = data.draw(orders(len(ids)))[: data.draw(st.integers(1, len(ids)))]

    def blocks(some_ids, n):
        dataset, mass = people_of_one(some_ids), mass_of(crosswalk, some_ids)
        block = assign(dataset, crosswalk, mass, n_clones=n, seed=seed).block
        assert block is not None
        return block.reshape(n, len(some_ids))

    assert np.array_equal(blocks(ids, n_clones)[:fewer][:, kept], blocks(ids[kept], fewer))


@few
@given(crosswalks(min_blocks=3), ids_of_households, seeds, st.booleans(), st.data())
def test_initial_weights_give_every_district_its_people(crosswalk, ids, seed, uniform_mass, data):
    """The weighted people of each district are its population to 1e-9; every weight is positive."""
    dataset, mass = people_of_one(ids), mass_of(crosswalk, ids)
    rounds = data.draw(st.integers(1, 3))
    n_clones = rounds * len(mass.district)  # every district has a column
    geography = assign(dataset, crosswalk, mass, n_clones=n_clones, seed=seed)
    w = initial_weights(dataset, geography, crosswalk, mass, uniform_mass=uniform_mass)
    assert (w > 0).all()
    for d, people in crosswalk.population_by(Level.DISTRICT).items():
        assert w[geography.code(Level.DISTRICT) == d].sum() == pytest.approx(people, rel=1e-9)


@some
@given(crosswalks(), ids_of_households, seeds, st.integers(0, 3))
def test_a_race_places_every_district_once(crosswalk, ids, seed, turn):
    """The finishing order of a record is a permutation of the districts."""
    order = race(seed, ids, mass_of(crosswalk, ids), turn)
    D = len(np.unique(crosswalk.district))
    assert np.array_equal(np.sort(order, axis=1), np.tile(np.arange(D), (len(ids), 1)))


# -- materialise -----------------------------------------------------------------------


def padded(code, width):
    """Write a code with its zeros; no code is an empty text."""
    return f"{code:0{width}d}" if code else ""


def place_of(geography: GeographyAssignment, j):
    """List the geography columns of column j, straight from the definitions."""
    block, zip_code = geography.block, geography.zip_code
    assert block is not None
    assert zip_code is not None
    return {
        "state_fips": int(block[j]) // 10**13,
        "county_fips": padded(int(block[j]), 15)[:5],
        "tract_geoid": padded(int(block[j]), 15)[:11],
        "block_geoid": padded(int(block[j]), 15),
        "congressional_district_geoid": int(geography.codes[Level.DISTRICT][j]),
        "place_fips": padded(int(geography.codes[Level.PLACE][j]), 7),
        "zip_code": padded(int(zip_code[j]), 5),
    }


def slow_materialise(run: Run, weights):
    """Expand columns household by household, with dicts and loops."""
    dataset, geography = run.dataset, run.geography
    people, homes = rows(dataset, "person"), rows(dataset, "household")
    made = {entity: [] for entity in dataset.tables}
    for j, weight in zip(run.columns.tolist(), weights, strict=True):
        clone, record = divmod(j, len(homes))
        place = place_of(geography, j)
        mine = [p for p in people if p["person_household_id"] == homes[record]["household_id"]]
        new_id = {}
        for entity in dataset.tables:
            if entity == "person":
                old = mine
            else:
                units = {p[f"person_{entity}_id"] for p in mine}
                old = [r for r in rows(dataset, entity) if r[f"{entity}_id"] in units]
            for row in old:
                new_id[entity, row[f"{entity}_id"]] = len(made[entity])
                made[entity].append(
                    {
                        name: value[dataset.states.index(place["state_fips"])]
                        if isinstance(value, list)
                        else value
                        for name, value in row.items()
                    }
                    | {
                        f"record_{entity}_id": row[f"{entity}_id"],
                        f"{entity}_id": len(made[entity]),
                    }
                )
        for person in made["person"][-len(mine) :]:
            for entity in dataset.groups:
                person[f"person_{entity}_id"] = new_id[entity, person[f"person_{entity}_id"]]
        home = made["household"][-1]
        del home["design_weight"]
        home |= place | {"clone_index": clone, "household_weight": weight}
    return made


@some
@given(runs(), st.data())
def test_the_kernel_equals_loops_entry_by_entry(run, data):
    """Every column of every table is what dicts and loops make of the same columns of X."""
    given_weights = data.draw(st.booleans())
    weights = [0.25 * (i + 1) if given_weights else 1.0 for i in range(len(run.columns))]
    made = materialise(
        run.dataset,
        run.geography,
        run.columns,
        weights=np.array(weights) if given_weights else None,
    )
    expected = slow_materialise(run, weights)
    assert made.states == ()
    for entity, table in made.tables.items():
        if expected[entity]:
            assert set(table) == set(expected[entity][0])
        for name in table:
            values = table[name]
            assert values.shape == (len(expected[entity]),)
            assert values.tolist() == [row[name] for row in expected[entity]]


@some
@given(runs())
def test_what_the_kernel_makes_is_valid_and_does_not_change_when_read_twice(run):
    """The result passes every check; its links, lazy and stored, agree; reading repeats."""
    made = materialise(run.dataset, run.geography, run.columns).check()
    read = Dataset(
        made.period, {e: {n: t[n] for n in t} for e, t in made.tables.items()}, made.states
    ).check()
    assert contents(made) == contents(read)
    for entity in made.groups:  # `made` brings its links, `read` finds them from the ids
        assert np.array_equal(made.unit_of_person(entity), read.unit_of_person(entity))
        assert np.array_equal(made.household_of(entity), read.household_of(entity))


@some
@given(runs(), st.data())
def test_order_and_company_change_only_the_new_ids(run, data):
    """Columns in another order, and fewer of them, give the same households by provenance."""
    columns = np.unique(run.columns)
    kept = data.draw(orders(len(columns)))[: data.draw(st.integers(0, len(columns)))]

    def by_provenance(dataset):
        found = {}
        for entity in dataset.tables:
            home = dataset.household_of(entity)
            clone = dataset.household["clone_index"][home].tolist()
            for c, row in zip(clone, rows(dataset, entity), strict=True):
                who = entity, c, row[f"record_{entity}_id"]
                assert who not in found
                found[who] = {k: v for k, v in row.items() if not is_new_id(k)}
        return found

    def is_new_id(name):
        return name.endswith("_id") and not name.startswith("record_")

    all_of_them = by_provenance(materialise(run.dataset, run.geography, columns))
    part = by_provenance(materialise(run.dataset, run.geography, columns[kept]))
    assert all(all_of_them[who] == row for who, row in part.items())
    sizes = Counter(who[0] for who in part)
    assert sizes["household"] == len(kept)


@few
@given(runs(groups=(), states=()))
def test_people_and_households_alone_are_a_dataset_too(run):
    """Without other units and without by-state columns the kernel works as well."""
    made = materialise(run.dataset, run.geography, run.columns).check()
    assert set(made.tables) == {"person", "household"}
    assert set(GEOGRAPHY_COLUMNS) <= set(made.household)
