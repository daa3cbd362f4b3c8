"""Clones and blocks: the law of the draws, and the weights that go with them.

The draws are functions of ids, so the statistical tests are as repeatable as the others:
`ALPHA` is the chance that a correct law would have failed when they were first run.
"""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from calibration import blocks, clone_and_assign
from calibration.clone_and_assign import (
    Mass,
    assign,
    expected_columns,
    initial_weights,
    masses,
    race,
    top_decile,
)
from calibration.crosswalk import Crosswalk
from calibration.dataset import Dataset
from calibration.errors import GeographyError
from calibration.geography import Level
from calibration.toy_data import country

ALPHA = 1e-6
MANY = np.arange(40_000) * 17 + 5  # household ids


def households(ids, size=1, design_weight=None):
    """Make households of `size` people each."""
    ids = np.asarray(ids)
    people = np.repeat(ids, size)
    weight = 1.0 + ids % 4 if design_weight is None else np.asarray(design_weight)
    return Dataset(
        2024,
        {
            "person": {"person_id": np.arange(len(people)), "person_household_id": people},
            "household": {"household_id": ids, "design_weight": weight},
        },
    )


def land(*populations):
    """Lay out districts of California, 0601 first, with the populations of their blocks."""
    rows = [
        (60010000001000 + 100 * d + b, people, 601 + d)
        for d, blocks in enumerate(populations)
        for b, people in enumerate(blocks)
    ]
    block, people, district = (np.array(column) for column in zip(*rows, strict=True))
    none = np.zeros(len(rows), dtype=np.int64)
    return Crosswalk(block, people.astype(float), district, none, none)


def ordinary(share, n_records):
    """Make the mass of records that all follow one share."""
    share = np.asarray(share, dtype=float) / np.sum(share)
    district = 601 + np.arange(len(share))
    return Mass(district, np.stack([share, share]), np.zeros(n_records, dtype=np.int64), 0.0)


def exact_inclusion(share):
    """Give P(district d is among the first N) for N = 1 ... D, shape (D, D).

    Given the time t of d, the others have finished independently with 1 - exp(-m t), so
    the number that has is Poisson-binomial; then integrate over t by Gauss-Legendre.
    """
    D = len(share)
    node, weight = np.polynomial.legendre.leggauss(200)
    v = (node + 1) / 2  # exp(-m_d t) is uniform
    result = np.zeros((D, D))
    for d in range(D):
        ahead = np.zeros((len(v), D))
        ahead[:, 0] = 1
        for m in np.delete(share, d):
            done = 1 - v[:, None] ** (m / share[d])
            ahead[:, 1:] = ahead[:, 1:] * (1 - done) + ahead[:, :-1] * done
            ahead[:, :1] *= 1 - done
        result[:, d] = weight / 2 @ np.cumsum(ahead, axis=1)
    return result


TOY = country.crosswalk(0)
# Income is ten times as dense in some districts as in others, far more than in life.
STEEP = dict(zip(country.DISTRICTS, [1, 8, 0.5, 10, 1, 5, 2, 1, 3, 0.5, 0.3, 0.25], strict=True))


def toy_mass(n_records):
    """Make the mass of the toy country: even records by people, odd ones by steep income."""
    return masses(TOY, STEEP, np.arange(n_records) % 2.0, 1.0)


# -- the top tenth ---------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.7, 1.1, 3.3, 1 / 3])
@pytest.mark.parametrize("n", [10, 20, 70, 300])
def test_a_tenth_of_equal_records_is_a_tenth(n, weight):
    """Of n equally weighted records exactly n / 10 are high, whatever the rounding."""
    income = np.random.default_rng(0).permutation(n) * 1000.0
    threshold = top_decile(income, np.full(n, weight))
    assert (income >= threshold).sum() == n // 10


@pytest.mark.parametrize(
    ("income", "weight", "threshold"),
    [
        ([1, 2, 3, 4], [1, 1, 1, 1], 4),  # a fourth is the smallest set that holds a tenth
        ([1, 2, 3, 4], [97, 1, 1, 1], 1),  # the top three hold 3 percent only
        ([1, 2, 3, 4], [90, 4, 4, 2], 2),  # 2, 6, then exactly 10 percent
        ([5, 9, 9, 9, 1], [1, 4, 4, 4, 87], 9),  # ties at the threshold are all high
        ([9, 5, 5, 1], [6, 3, 3, 88], 5),  # the tie is needed to reach a tenth
        ([7, 7, 7], [1, 1, 1], 7),  # equal incomes make everybody high
        ([-5, -1, -3], [1, 1, 1], -1),  # losses are incomes too
        ([3, 8], [100, 0], 3),  # who has no weight holds nothing
    ],
)
def test_the_threshold_by_hand(income, weight, threshold):
    """The threshold is the largest income whose holders weigh a tenth of all."""
    assert top_decile(np.array(income, dtype=float), np.array(weight, dtype=float)) == threshold


def test_the_threshold_does_not_depend_on_the_order_of_records():
    """Permuting records, with ties among incomes, leaves the threshold alone."""
    rng = np.random.default_rng(1)
    income, weight = rng.integers(0, 12, 200) * 1.0, rng.choice([0.1, 0.7, 1.1], 200)
    expected = top_decile(income, weight)
    for _ in range(50):
        order = rng.permutation(200)
        assert top_decile(income[order], weight[order]) == expected


# -- mass ------------------------------------------------------------------------------


def test_mass_is_the_share_of_people_or_of_income():
    """Ordinary records follow people, records at the threshold or above follow income."""
    mass = masses(
        land([10, 20], [30], [40]), {603: 1.0, 602: 2.0, 601: 5.0}, np.array([1.0, 3, 2]), 2
    )
    assert mass.district.tolist() == [601, 602, 603]
    assert mass.share.tolist() == [[0.3, 0.3, 0.4], [0.625, 0.25, 0.125]]
    assert mass.high.tolist() == [0, 1, 1]
    assert mass.of_records().tolist() == [mass.share[i].tolist() for i in (0, 1, 1)]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({601: 1.0}, r"district 0602 has no income target \(2 such\)"),
        ({}, r"district 0601 has no income target \(3 such\)"),
        ({"0601": 1.0, "0602": 1.0, "0603": 1.0}, "district 0601 has no income target"),
        (
            {601: 1.0, 602: 1.0, 603: 1.0, 699: 1.0},
            r"income target for district 0699, which the crosswalk lacks \(1 such\)",
        ),
        ({601: 1.0, 602: 0.0, 603: 1.0}, "target of district 0602 is not greater than 0"),
        ({601: 1.0, 602: -4.0, 603: 1.0}, "target of district 0602 is not greater than 0"),
        ({601: 1.0, 602: 1.0, 603: np.nan}, "target of district 0603 is not greater than 0"),
    ],
)
def test_income_targets_that_do_not_match_the_districts_are_refused(targets, message):
    """A missing, superfluous, zero or negative income target is an error with its district."""
    with pytest.raises(GeographyError, match=message):
        masses(land([1], [1], [1]), targets, np.zeros(1), 1.0)


# -- the race --------------------------------------------------------------------------


def test_clone_0_goes_to_a_district_in_proportion_to_its_mass():
    """Among 40,000 records the first district has the distribution of the mass."""
    mass = toy_mass(len(MANY))
    first = race(0, MANY, mass)[:, 0]
    for kind in (0, 1):
        count = np.bincount(first[mass.high == kind], minlength=12)
        expected = mass.share[kind] * count.sum()
        assert stats.chisquare(count, expected).pvalue > ALPHA


def test_clone_1_follows_mass_among_the_districts_that_are_left():
    """Given the first district, the second has the distribution of the other masses."""
    mass = toy_mass(len(MANY))
    order = race(0, MANY, mass)
    statistic = freedom = 0.0
    for kind in (0, 1):
        share = mass.share[kind]
        for d in range(12):
            mine = order[(order[:, 0] == d) & (mass.high == kind), 1]
            expected = len(mine) * np.delete(share / (1 - share[d]), d)
            count = np.delete(np.bincount(mine, minlength=12), d)
            enough = expected > 5
            statistic += ((count - expected)[enough] ** 2 / expected[enough]).sum()
            freedom += enough.sum() - 1
    assert stats.chi2.sf(statistic, freedom) > ALPHA


def test_whole_orders_have_the_law_of_successive_sampling():
    """All 24 orders of four districts come with the product of their conditional shares."""
    share = np.array([0.5, 0.25, 0.15, 0.1])
    order = race(3, MANY, ordinary(share, len(MANY)))
    count, expected = [], []
    for p in permutations(range(4)):
        left = np.cumsum(share[list(p)][::-1])[::-1]
        expected.append(len(MANY) * np.prod(share[list(p)] / left))
        count.append((order == p).all(axis=1).sum())
    assert stats.chisquare(count, expected).pvalue > ALPHA


def test_rounds_are_independent():
    """The first district of the second round does not tell that of the first."""
    mass = ordinary([4, 3, 2, 1], len(MANY))
    one, two = (race(0, MANY, mass, turn)[:, 0] for turn in (0, 1))
    table = np.bincount(one * 4 + two, minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(table).pvalue > ALPHA


def test_a_time_of_zero_wins_the_race(monkeypatch):
    """A uniform of 0 gives the time 0: first, and no division goes wrong."""

    def times(*_):
        return np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])

    monkeypatch.setattr(clone_and_assign, "exponential", times)
    assert race(0, np.array([1, 2]), ordinary([1, 1, 1], 2)).tolist() == [[1, 2, 0], [0, 1, 2]]


# -- clones ----------------------------------------------------------------------------


def blocks_of(crosswalk, mass, ids, n_clones, seed=0):
    """Assign, and give blocks and districts, each of shape (N, R)."""
    geography = assign(households(ids), crosswalk, mass, n_clones=n_clones, seed=seed)
    shape = n_clones, len(ids)
    return geography.block.reshape(shape), geography.code(Level.DISTRICT).reshape(shape)


def test_no_record_stands_twice_in_a_district_of_the_toy_country():
    """With as many clones as districts every record has every district once."""
    _, district = blocks_of(TOY, toy_mass(500), MANY[:500], 12)
    assert (np.sort(district, axis=0) == np.array(sorted(country.DISTRICTS))[:, None]).all()


def test_the_columns_are_those_of_the_race():
    """Clone c of a record lives in the district that finished in place c + 1."""
    mass = toy_mass(50)
    _, district = blocks_of(TOY, mass, MANY[:50], 29, seed=4)
    for clone in range(29):
        finish = race(4, MANY[:50], mass, clone // 12)[:, clone % 12]
        assert district[clone].tolist() == mass.district[finish].tolist()


def test_blocks_of_a_district_are_drawn_by_population():
    """In the first round, 40,000 records spread over the blocks of a district as people do."""
    crosswalk = land([1, 2, 3, 4], [70, 30])
    block, district = blocks_of(crosswalk, ordinary([1, 1], len(MANY)), MANY, 1)
    for d in (601, 602):
        mine = crosswalk.block[crosswalk.district == d]
        people = crosswalk.population[crosswalk.district == d]
        drawn = block[0][district[0] == d]
        count = (drawn[:, None] == mine).sum(axis=0)
        assert stats.chisquare(count, people / people.sum() * len(drawn)).pvalue > ALPHA


def test_later_rounds_draw_among_the_blocks_that_are_left():
    """Pairs and triples of blocks have the law of drawing without replacement."""
    people = np.array([50.0, 30, 15, 5])
    block, _ = blocks_of(land(people), ordinary([1], len(MANY)), MANY, 3)
    drawn = block.T - block.min()
    count, expected = [], []
    for p in permutations(range(4), 3):
        left = 100 - np.concatenate([[0], np.cumsum(people[list(p)])[:-1]])
        expected.append(len(MANY) * np.prod(people[list(p)] / left))
        count.append((drawn == p).all(axis=1).sum())
    assert stats.chisquare(count, expected).pvalue > ALPHA


def test_hardly_inhabited_blocks_are_found_when_nothing_else_is_left():
    """Once all other blocks are taken, the block of one person in 2 million is drawn."""
    crosswalk = land([1e6, 1e6, 1], [1, 1, 1])
    block, district = blocks_of(crosswalk, ordinary([1, 1], 50), MANY[:50], 6)
    assert (np.sort(block, axis=0) == np.sort(crosswalk.block)[:, None]).all()
    assert (district[:2] != district[1::-1]).all()


@pytest.mark.parametrize("u", [0.0, 2.0**-53, 0.5, 1 - 2.0**-53])
@pytest.mark.parametrize("people", [[0.1] * 10, [0.3] * 7, [1 / 3] * 3, [1e9, 1e-3, 1e9]])
def test_draws_at_the_ends_of_the_scale_stay_in_their_district(monkeypatch, u, people):
    """The smallest and the largest uniform give blocks of the district they are drawn for."""

    def uniform(*parts):
        return np.full(np.broadcast_shapes(*(np.shape(p) for p in parts)), u)

    monkeypatch.setattr(blocks, "uniform", uniform)
    crosswalk = land(*[people] * 9)
    mass = ordinary(np.ones(9), 4)
    block, district = blocks_of(crosswalk, mass, MANY[:4], 27)
    row = crosswalk.row_of(block)
    assert (np.sort(district[:9], axis=0) == mass.district[:, None]).all()
    assert (crosswalk.district[row] == district).all()
    for record in block.T:
        assert len(set(record.tolist())) == 27
    first = crosswalk.block[crosswalk.district == 605][0]
    if u == 0:
        assert (block[:9][district[:9] == 605] == first).all()


def test_too_few_blocks_for_the_rounds_are_an_error():
    """A third round needs three blocks in every district; the error names the poorest one."""
    crosswalk = land([1, 1, 1], [1, 1], [1, 1, 1])
    mass = ordinary([1, 1, 1], 2)
    assert blocks_of(crosswalk, mass, MANY[:2], 6)[0].shape == (6, 2)
    with pytest.raises(GeographyError, match="district 0602 has 2 blocks, too few for 3 rounds"):
        blocks_of(crosswalk, mass, MANY[:2], 7)


@pytest.mark.parametrize("n_clones", [0, -1])
def test_at_least_one_clone_is_needed(n_clones):
    """No clones, or fewer, are an error."""
    with pytest.raises(GeographyError, match="give at least 1"):
        blocks_of(TOY, toy_mass(3), MANY[:3], n_clones)


def test_mass_and_crosswalk_have_the_same_districts():
    """A mass made from another country, or for other records, is an error."""
    with pytest.raises(GeographyError, match="only one of mass and crosswalk has district 0201"):
        blocks_of(TOY, ordinary([1, 1], 3), MANY[:3], 1)
    with pytest.raises(GeographyError, match="has district 0602"):
        blocks_of(land([1]), ordinary([1, 1], 3), MANY[:3], 1)
    with pytest.raises(GeographyError, match="made for 4 records, the dataset has 3"):
        blocks_of(TOY, toy_mass(4), MANY[:3], 1)


def test_seed_and_household_decide():
    """Another seed, or other ids, give other places; the same give the same."""
    mass = toy_mass(40)
    block, _ = blocks_of(TOY, mass, MANY[:40], 3)
    assert (blocks_of(TOY, mass, MANY[:40], 3)[0] == block).all()
    for other in (blocks_of(TOY, mass, MANY[:40], 3, seed=1), blocks_of(TOY, mass, MANY[1:41], 3)):
        assert (other[0] == block).mean() < 0.2


def test_prefix_order_and_company():
    """Three clones are the first three of five, in any order of rows, beside any others.

    The threshold of high income is fixed; it is all that a clone knows of other records.
    """
    income = (MANY[:60] % 10) * 1e4

    def blocks(rows, n_clones):
        mass = masses(TOY, STEEP, income[rows], 8e4)
        return blocks_of(TOY, mass, MANY[rows], n_clones)[0]

    rows = np.random.default_rng(0).permutation(60)
    all_of_them = blocks(np.arange(60), 5)
    assert (blocks(np.arange(60), 3) == all_of_them[:3]).all()
    assert (blocks(rows, 5) == all_of_them[:, rows]).all()
    assert (blocks(rows[:7], 3) == all_of_them[:3, rows[:7]]).all()
    assert (blocks(np.arange(60), 29)[:5] == all_of_them).all()


def test_the_share_of_a_district_follows_mass_less_and_less():
    """The slope of share on mass falls from 1 with one clone to 0 with all districts."""
    mass = toy_mass(len(MANY))
    order = race(0, MANY, mass)[mass.high == 1]
    centred = mass.share[1] - 1 / 12
    slopes = []
    for n in range(1, 13):
        share = np.bincount(order[:, :n].ravel(), minlength=12) / order[:, :n].size
        slopes.append(share @ centred / (centred @ centred))
    # With one clone it is a mean of 20,000 terms below 2.5 in size: 5 deviations < 0.09.
    assert slopes[0] == pytest.approx(1, abs=0.09)
    assert (np.diff(slopes) < 0).all()
    assert slopes[-1] == pytest.approx(0, abs=1e-12)


# -- expected columns ------------------------------------------------------------------


@pytest.mark.parametrize("n_clones", [1, 2, 5, 11, 12, 13, 24, 30])
def test_expected_columns_add_up_to_the_number_of_clones(n_clones):
    """They sum to N for each kind of record, grow with mass, and count whole rounds once."""
    mass = toy_mass(1)
    expected = expected_columns(mass, n_clones)
    assert expected.shape == (2, 12)
    assert expected.sum(axis=1) == pytest.approx(n_clones, rel=1e-12)
    rounds = n_clones // 12
    assert (expected >= rounds).all()
    assert (expected <= rounds + 1).all()
    for share, row in zip(mass.share, expected, strict=True):
        assert (np.diff(row[np.argsort(share)]) >= 0).all()
    if n_clones % 12 == 0:
        assert (expected == rounds).all()


def test_equal_masses_expect_equal_columns():
    """Where all districts weigh the same the formula is exact: N / D."""
    for n in range(1, 9):
        assert expected_columns(ordinary(np.ones(8), 1), n) == pytest.approx(n / 8, rel=1e-10)


def test_simulated_races_have_the_exact_inclusion_probabilities():
    """For every N and district, 20,000 races agree with quadrature to five deviations."""
    mass = toy_mass(len(MANY))
    order = race(0, MANY, mass)
    for kind in (0, 1):
        exact = exact_inclusion(mass.share[kind])
        assert exact.sum(axis=1) == pytest.approx(np.arange(1, 13), abs=1e-5)
        place = np.argsort(order[mass.high == kind], axis=1)  # of each district
        for n in range(1, 12):
            simulated = (place < n).mean(axis=0)
            deviation = np.sqrt(exact[n - 1] * (1 - exact[n - 1]) / len(place))
            assert (np.abs(simulated - exact[n - 1]) < 5 * deviation).all()


@pytest.mark.parametrize(("kind", "worst"), [(0, 0.002), (1, 0.025)])
def test_the_formula_is_near_the_exact_probabilities(kind, worst):
    """With 12 districts Rosen's formula errs by 0.002 at most for people, 0.025 for steep income.

    It is the limit for many districts; the error is largest where masses differ most.
    """
    mass = toy_mass(1)
    exact = exact_inclusion(mass.share[kind])
    errors = [np.abs(expected_columns(mass, n)[kind] - exact[n - 1]).max() for n in range(1, 12)]
    assert worst / 2 < max(errors) < worst


# -- initial weights -------------------------------------------------------------------


def weights(n_clones, *, uniform_mass=False, size=3, n_records=60):
    """Make a toy run and its initial weights."""
    dataset, mass = households(MANY[:n_records], size), toy_mass(n_records)
    geography = assign(dataset, TOY, mass, n_clones=n_clones, seed=0)
    w = initial_weights(dataset, geography, TOY, mass, uniform_mass=uniform_mass)
    return dataset, mass, geography, w


@pytest.mark.parametrize("uniform_mass", [True, False])
@pytest.mark.parametrize("n_clones", [3, 5, 12, 15])
def test_the_people_of_every_district_are_its_population(n_clones, uniform_mass):
    """Persons times weights give each district its population to 1e-9; no weight is 0."""
    _, _, geography, w = weights(n_clones, uniform_mass=uniform_mass)
    assert w.shape == (60 * n_clones,)
    assert (w > 0).all()
    for district, people in TOY.population_by(Level.DISTRICT).items():
        persons = 3 * w[geography.code(Level.DISTRICT) == district].sum()
        assert persons == pytest.approx(people, rel=1e-9)


def test_households_of_different_sizes_count_their_people():
    """A household of four counts four times in the population, not once."""
    person = {"person_id": np.arange(5), "person_household_id": np.array([1, 2, 2, 2, 2])}
    household = {"household_id": np.array([1, 2]), "design_weight": np.array([2.0, 1.0])}
    dataset = Dataset(2024, {"person": person, "household": household})
    crosswalk, mass = land([60], [30]), ordinary([1, 1], 2)
    geography = assign(dataset, crosswalk, mass, n_clones=2, seed=0)
    w = initial_weights(dataset, geography, crosswalk, mass)
    # One person at 2 a and four at 1 a are 60 people: a = 10; in the other district, a = 5.
    for district, expected in ((601, [20.0, 10.0]), (602, [10.0, 5.0])):
        columns = np.flatnonzero(geography.code(Level.DISTRICT) == district)
        assert w[columns[np.argsort(columns % 2)]].tolist() == expected


def test_weights_within_a_district_are_those_of_the_formula():
    """In a district, w0 is in proportion to design weight times mass over expected columns."""
    dataset, mass, geography, w = weights(5)
    expected = (mass.share / expected_columns(mass, 5))[mass.high]  # (R, D)
    where = np.searchsorted(mass.district, geography.code(Level.DISTRICT))
    record = np.arange(len(w)) % 60
    ratio = w / (dataset["design_weight"][record] * expected[record, where])
    for d in range(12):
        assert np.ptp(ratio[where == d]) < 1e-9 * ratio[where == d].mean()


def test_uniform_weights_keep_the_proportions_of_the_design():
    """Without the factor for mass, weights of a district are design weights times a constant."""
    dataset, mass, geography, w = weights(5, uniform_mass=True)
    district = geography.code(Level.DISTRICT)
    ratio = w / np.tile(dataset["design_weight"], 5)
    for d in mass.district:
        assert np.ptp(ratio[district == d]) < 1e-9 * ratio[district == d].mean()


def test_a_whole_round_of_one_kind_gives_uniform_weights():
    """When everybody is everywhere, mass cancels within a district: both options agree."""
    crosswalk, mass = land([5, 5], [20, 10], [60]), ordinary([1, 3, 6], 30)
    dataset = households(MANY[:30])
    geography = assign(dataset, crosswalk, mass, n_clones=3, seed=0)
    by_mass, by_design = (
        initial_weights(dataset, geography, crosswalk, mass, uniform_mass=flag)
        for flag in (False, True)
    )
    assert by_mass == pytest.approx(by_design, rel=1e-12)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_a_design_weight_must_be_greater_than_zero(bad):
    """A weight of zero, a negative one and NaN are errors: they could never leave zero."""
    dataset, mass, geography, _ = weights(12)
    weight = dataset["design_weight"].copy()
    weight[3] = bad
    broken = dataset.with_columns("household", {"design_weight": weight})
    with pytest.raises(GeographyError, match="design_weight greater than 0"):
        initial_weights(broken, geography, TOY, mass)


def test_columns_of_a_foreign_district_have_no_initial_weight():
    """A district that mass and crosswalk lack is an error, not the next one in order."""
    dataset, mass, geography, _ = weights(12)
    district = geography.code(Level.DISTRICT).copy()
    district[7] = 3703  # between 3702 and 3704, which the toy country has
    abroad = replace(geography, codes={**geography.codes, Level.DISTRICT: district})
    with pytest.raises(GeographyError, match="column 7 lives in district 3703"):
        initial_weights(dataset, abroad, TOY, mass)


def test_initial_weights_are_for_the_records_of_the_geography():
    """A dataset of fewer records is an error that says both numbers."""
    dataset, mass, geography, _ = weights(12)
    half = dataset.take_households(np.arange(30))
    with pytest.raises(GeographyError, match="assigns 60 records, the dataset has 30"):
        initial_weights(half, geography, TOY, mass)


def test_a_missing_design_weight_is_an_error():
    """The survey weight does not stand in for the design weight."""
    dataset, mass, geography, _ = weights(12)
    tables = {
        e: {k: v for k, v in t.items() if k != "design_weight"} for e, t in dataset.tables.items()
    }
    with pytest.raises(GeographyError, match="design_weight greater than 0"):
        initial_weights(Dataset(2024, tables), geography, TOY, mass)


def test_a_district_without_a_clone_is_an_error():
    """One clone of one record leaves eleven districts empty; the first is named."""
    dataset, mass = households(MANY[:1]), toy_mass(1)
    geography = assign(dataset, TOY, mass, n_clones=1, seed=0)
    taken = geography.code(Level.DISTRICT)[0]
    first = next(d for d in mass.district if d != taken)
    with pytest.raises(GeographyError, match=f"no clone lives in district {first:04d}"):
        initial_weights(dataset, geography, TOY, mass)
