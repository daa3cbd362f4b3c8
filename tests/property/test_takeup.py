"""What must hold of draws and flags for every population, not one example."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import CROSSWALK, dataset, thresholds

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.materialise import materialise
from calibration.takeup import PROGRAMMES, Thresholds, draws, flags, reports
from calibration.thresholds import residual_rate

CASES = settings(max_examples=40, deadline=None, derandomize=True, database=None)

seeds = st.integers(0, 2**32)
programmes = st.sampled_from(PROGRAMMES)
shares = st.floats(0, 1)


def expanded(records: Dataset, n_clones: int, seed: int = 0) -> Dataset:
    """Materialise every column of N clones; a clone's block depends on its household's id."""
    ids, clones = records["household_id"], np.arange(n_clones)[:, None]
    block = CROSSWALK.block[((ids * 7 + clones * 5 + seed) % len(CROSSWALK.block)).ravel()]
    home = GeographyAssignment.from_blocks(CROSSWALK, block, len(ids), n_clones)
    return materialise(records, home, np.arange(home.n_columns))


def by_unit(households: Dataset, programme, values) -> dict[tuple[int, int, int], float]:
    """Key values by household, unit and clone."""
    home = households.household_of(programme.entity)
    keys = zip(
        households["record_household_id"][home].tolist(),
        households[f"record_{programme.entity}_id"].tolist(),
        households["clone_index"][home].tolist(),
        strict=True,
    )
    return dict(zip(keys, values.tolist(), strict=True))


@CASES
@given(seeds, st.integers(2, 6), programmes, st.randoms(use_true_random=False))
def test_draws_and_flags_follow_units_not_rows(seed, size, programme, random):
    """Permuting the records permutes draws and flags, bit for bit."""
    records = dataset(size, seed)
    order = list(range(size))
    random.shuffle(order)
    shuffled = records.take_households(np.array(order))
    table = thresholds(seed)
    one, other = expanded(records, 2), expanded(shuffled, 2)
    for decide in (lambda d: draws(d, programme, seed), lambda d: flags(d, programme, table)):
        assert by_unit(one, programme, decide(one)) == by_unit(other, programme, decide(other))


@CASES
@given(seeds, st.integers(2, 6), programmes, st.data())
def test_newcomers_leave_draws_and_flags_alone(seed, size, programme, data):
    """Units keep their draw and flag when households join, and when clones are added."""
    records = dataset(size, seed)
    some = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size, unique=True))
    few, all_of_them = expanded(records.take_households(np.array(some)), 1), expanded(records, 3)
    table = thresholds(seed)
    for decide in (lambda d: draws(d, programme, seed), lambda d: flags(d, programme, table)):
        old = by_unit(few, programme, decide(few))
        new = by_unit(all_of_them, programme, decide(all_of_them))
        assert old == {key: new[key] for key in old}


@CASES
@given(seeds, programmes, st.data())
def test_chunks_make_the_flags_of_the_whole(seed, programme, data):
    """However the columns are cut, and in whatever order, each unit decides as in the whole."""
    records, table = dataset(4, seed), thresholds(seed)
    block = CROSSWALK.block[np.arange(12) % len(CROSSWALK.block)]
    home = GeographyAssignment.from_blocks(CROSSWALK, block, 4, 3)
    columns = np.array(data.draw(st.permutations(range(12))))
    cuts = data.draw(st.lists(st.integers(0, 12), max_size=4).map(sorted))
    whole = materialise(records, home, np.arange(12))
    expected = by_unit(whole, programme, flags(whole, programme, table))
    found = {}
    for part in np.split(columns, cuts):
        chunk = materialise(records, home, part)
        found |= by_unit(chunk, programme, flags(chunk, programme, table))
    assert found == expected


@CASES
@given(seeds, programmes, st.sampled_from(["seed", "programme", "household", "unit", "clone"]))
def test_every_part_of_the_key_matters(seed, programme, part):
    """Changing any one part of the key changes every draw: no decorative arguments."""
    households = expanded(dataset(3, seed), 2)
    before = draws(households, programme, seed)
    if part == "seed":
        after = draws(households, programme, seed + 1)
    elif part == "programme":
        after = draws(households, replace(programme, name=f"{programme.name}_2"), seed)
    else:
        entity, column = {
            "household": ("household", "record_household_id"),
            "unit": (programme.entity, f"record_{programme.entity}_id"),
            "clone": ("household", "clone_index"),
        }[part]
        moved = {column: households[column] + 1_000_000}
        after = draws(households.with_columns(entity, moved), programme, seed)
    assert (before != after).all()


@CASES
@given(seeds, programmes, shares, shares)
def test_a_higher_threshold_only_adds_takers(seed, programme, a, b):
    """Raising the thresholds never removes a taker."""
    households = expanded(dataset(5, seed), 2)
    low, high = (
        Thresholds(seed, tuple(replace(row, threshold=t) for row in thresholds().rows))
        for t in sorted((a, b))
    )
    assert (flags(households, programme, low) <= flags(households, programme, high)).all()


@CASES
@given(seeds, programmes)
def test_reporters_always_take_up(seed, programme):
    """Nobody who reports receipt goes without, whatever the draw."""
    households = expanded(dataset(5, seed), 2)
    assert flags(households, programme, thresholds(seed))[reports(households, programme)].all()


@CASES
@given(shares, shares)
def test_reporters_and_residual_rate_give_the_published_rate(rate, reported):
    """Reporters and takers are the rate together, r + (1 - r) * t, unless r alone exceeds it."""
    threshold = residual_rate(rate, reported)
    assert 0 <= threshold <= 1
    total = reported + (1 - reported) * threshold
    assert abs(total - max(rate, reported)) < 1e-12
