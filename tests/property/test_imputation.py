"""What must hold for every donor, receiver, order and company, not for one example."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibration.dataset import Dataset
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor
from calibration.puf_impute import double
from calibration.qrf import ForestOptions, QuantileForest
from calibration.retirement import ACCOUNTS, cap
from calibration.rng import uniform
from calibration.social_security import split
from calibration.stratify import SampleOptions, donor_subsample, stratified_sample
from calibration.unemployment import impute_weeks

LIMITS = {
    2020: (19_500, 6_500, 6_000, 1_000, 57_000),
    2021: (19_500, 6_500, 6_000, 1_000, 58_000),
    2022: (20_500, 6_500, 6_000, 1_000, 61_000),
    2023: (22_500, 7_500, 6_500, 1_000, 66_000),
    2024: (23_000, 7_500, 7_000, 1_000, 69_000),
    2025: (23_500, 7_500, 7_000, 1_000, 70_000),
}
"""By year: 401(k), its catch-up, IRA, its catch-up, own plan; at 60 to 63 in 2025 see the test.

IRS, cost-of-living table, https://www.irs.gov/pub/irs-tege/cola-table.pdf
"""

FEW = settings(max_examples=25, deadline=None)
MANY = settings(max_examples=100, deadline=None)

seeds = st.integers(0, 2**63 - 1)
money = st.one_of(st.just(0.0), st.floats(0.01, 1e9))


@st.composite
def donors(draw):
    """Donors with ties, zeros, constant columns and unequal weights."""
    n = draw(st.integers(2, 60))
    X = draw(arrays(np.float64, (n, 2), elements=st.sampled_from([0.0, 1.0, 2.5, -7.0, 1e6])))
    Y = draw(arrays(np.float64, (n, 2), elements=st.sampled_from([0.0, 1.0, 3.0, 1e9])))
    w = draw(arrays(np.int64, n, elements=st.integers(0, 5))).astype(float)
    w[draw(st.integers(0, n - 1))] = 1.0
    return X, Y, w


def draws(forest, X, ids, seed):
    """Draw for receivers with ids."""
    return forest.draw(X, uniform(seed, "tree", ids), uniform(seed, "donor", ids))


@FEW
@given(donors(), seeds, st.data())
def test_draws_follow_receivers_not_rows(sample, seed, data):
    """Any selection of receivers, in any order, has the draws it has among all."""
    X, Y, w = sample
    forest = QuantileForest(trees=3, min_leaf=2, seed=seed).fit(X, Y, w)
    some = np.array(data.draw(st.lists(st.integers(0, len(X) - 1), max_size=len(X))), dtype=int)
    ids = np.arange(len(X))
    assert np.array_equal(
        draws(forest, X[some], ids[some], seed), draws(forest, X, ids, seed)[some]
    )


@FEW
@given(donors(), seeds)
def test_only_donors_with_weight_are_drawn_and_laws_sum_to_one(sample, seed):
    """Every draw is a donor row of positive weight to which the law gives a chance."""
    X, Y, w = sample
    forest = QuantileForest(trees=3, min_leaf=2, seed=seed).fit(X, Y, w)
    law = forest.law(X)
    rows = draws(forest, X, np.arange(len(X)), seed)
    assert np.allclose(law.sum(axis=1), 1)
    assert (law[:, w == 0] == 0).all()
    assert (law[np.arange(len(X)), rows] > 0).all()


@FEW
@given(donors(), seeds, st.randoms(use_true_random=False))
def test_the_order_of_donors_changes_no_value(sample, seed, random):
    """Donors in another order give every receiver the same values."""
    X, Y, w = sample
    order = list(range(len(X)))
    random.shuffle(order)
    ids = np.arange(len(X))
    one = QuantileForest(trees=3, min_leaf=2, seed=seed).fit(X, Y, w)
    two = QuantileForest(trees=3, min_leaf=2, seed=seed).fit(X[order], Y[order], w[order])
    assert np.array_equal(Y[draws(one, X, ids, seed)], Y[order][draws(two, X, ids, seed)])


@FEW
@given(donors(), seeds)
def test_copies_and_weights_are_one_law(sample, seed):
    """In given trees a donor of weight k is k donors of weight 1."""
    X, Y, w = sample
    forest = QuantileForest(trees=3, min_leaf=2, seed=seed).fit(X, Y, w)
    copies = np.repeat(np.arange(len(X)), w.astype(int))
    law = np.zeros((len(X), len(X)))
    np.add.at(law.T, copies, forest.refill(X[copies], Y[copies]).law(X).T)
    assert np.allclose(law, forest.law(X), atol=1e-12)


@FEW
@given(seeds, st.integers(1, 30), st.integers(1, 30))
def test_newcomers_leave_imputed_values_alone(seed, old, new):
    """Receivers who join a chain with joint groups change nobody's values."""
    rng = np.random.default_rng(0)
    donor = {name: rng.integers(0, 5, 40) * 1.0 for name in "xabc"}
    chain = SequentialImputer(
        "d", (Predictor("x", "amount"),), (("a", "b"), ("c",)), seed=seed,
        options=ForestOptions(trees=2),
    ).fit(donor, np.ones(40))  # fmt: skip
    receiver = {"x": rng.integers(-1, 7, old + new) * 1.0}
    both = chain.draw(receiver, np.arange(old + new))
    alone = chain.draw({"x": receiver["x"][:old]}, np.arange(old))
    for name in "abc":
        assert np.array_equal(both[name][:old], alone[name])


# -- the clone -------------------------------------------------------------------------


@st.composite
def surveys(draw):
    """Households of one to three people with ids in no order, 0 among them."""
    ids = draw(st.lists(st.integers(0, 2**61), min_size=1, max_size=12, unique=True))
    size = draw(st.lists(st.integers(1, 3), min_size=len(ids), max_size=len(ids)))
    home = np.repeat(np.array(ids, dtype=np.int64), size)
    people = draw(st.permutations(range(len(home))))
    weight = draw(arrays(np.float64, len(ids), elements=st.floats(1, 1e6)))
    return Dataset(
        2024,
        {
            "person": {"person_id": np.array(people, dtype=np.int64), "person_household_id": home},
            "household": {
                "household_id": np.array(ids, dtype=np.int64),
                "household_weight": weight,
            },
        },
    ).check()


@MANY
@given(surveys())
def test_doubling_keeps_every_rule_of_a_dataset(base):
    """The doubled survey is valid, has both halves of everybody, and the same weight."""
    doubled = double(base).check()
    for entity in base.tables:
        old, new = base[f"{entity}_id"], doubled[f"{entity}_id"]
        assert sorted(new.tolist()) == sorted(
            [2 * i for i in old.tolist()] + [2 * i + 1 for i in old.tolist()]
        )
    assert (doubled["person_id"] % 2 == doubled["person_household_id"] % 2).all()
    total = base["household_weight"].sum()
    assert np.isclose(doubled["household_weight"].sum(), total)
    assert np.isclose(doubled["design_weight"].sum(), total)


@MANY
@given(surveys(), st.integers(1, 12))
def test_a_household_more_changes_no_id(base, count):
    """Ids of a household in a part of the survey are those it has in the whole."""
    part = base.take_households(np.arange(min(count, base.size("household"))))
    whole, some = double(base), double(part)
    for name in ("person_id", "household_id", "source_household_id"):
        assert np.isin(some[name], whole[name]).all()


@MANY
@given(surveys(), seeds, st.data())
def test_samples_keep_halves_counts_and_weights(base, seed, data):
    """Any stratified sample has the count asked for, whole households, and all the weight."""
    doubled = double(base)
    H = base.size("household")
    agi = data.draw(arrays(np.float64, 2 * H, elements=st.floats(-1e6, 1e9)))
    options = SampleOptions(
        top_share=data.draw(st.floats(0, 0.4)), strata=data.draw(st.integers(1, 4))
    )
    top = int(np.ceil(options.top_share * H))
    keep = data.draw(st.integers(min(top + 1, H), H))
    sample = stratified_sample(doubled, agi, households=keep, seed=seed, options=options).check()
    assert sample.size("household") == 2 * keep
    assert np.isclose(sample["design_weight"].sum(), doubled["design_weight"].sum())
    assert np.isclose(sample["household_weight"].sum(), doubled["household_weight"].sum())


@MANY
@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), seeds, st.integers(1, 60), st.data())
def test_a_thinned_tax_file_keeps_weight_returns_and_top(sizes, seed, rows, data):
    """Whatever the file, weights survive, returns stay whole, and the top is all there."""
    return_id = np.repeat(np.arange(len(sizes)), sizes)
    incomes = data.draw(arrays(np.float64, len(sizes), elements=st.floats(-1e6, 1e9)))
    agi, n = incomes[return_id], len(return_id)
    weight = np.random.default_rng(0).uniform(1, 9, n)
    top = agi >= np.percentile(agi, 80)
    rows = max(rows, top.sum() + 1)
    sample = donor_subsample(agi, return_id, weight, rows=rows, top_percentile=80, seed=seed)
    assert np.isclose((weight[sample.rows] * sample.factor).sum(), weight.sum())
    assert np.isin(return_id, return_id[sample.rows]).sum() == len(sample.rows) >= min(rows, n)
    assert np.isin(np.flatnonzero(top), sample.rows).all()


# -- rooms -----------------------------------------------------------------------------


@MANY
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=money),
            arrays(np.float64, (n, 4), elements=st.floats(-1, 1e300)),
            arrays(np.float64, n, elements=st.floats(0, 110)),
        )
    )
)
def test_parts_of_a_benefit_always_add_up(case):
    """Whatever the shares, parts are 0 or more and sum to the total."""
    total, shares, age = case
    parts = split(total, shares, age)
    assert (parts >= 0).all()
    assert np.abs(parts.sum(axis=1) - total).max() <= 1e-6


@MANY
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, (5, n), elements=st.floats(-1e6, 1e9)),
            arrays(np.float64, n, elements=st.floats(0, 110)),
            arrays(np.float64, (2, n), elements=money),
        )
    ),
    st.integers(2020, 2025),
)
def test_capped_contributions_obey_every_limit(case, year):
    """Capping never raises a contribution, leaves none negative, and caps only once."""
    wanted, age, (wages, business) = case
    incomes = (wages, business, wages + business)
    once = cap(dict(zip(ACCOUNTS, wanted, strict=True)), age, incomes, year)
    twice = cap(once, age, incomes, year)
    for name, asked in zip(ACCOUNTS, wanted, strict=True):
        assert (once[name] >= 0).all()
        assert (once[name] <= np.maximum(asked, 0)).all()
        assert np.allclose(once[name], twice[name], rtol=1e-12)
    k401, ira = once[ACCOUNTS[0]] + once[ACCOUNTS[1]], once[ACCOUNTS[2]] + once[ACCOUNTS[3]]
    most_401k, more_401k, most_ira, more_ira, most_own = LIMITS[year]
    more_401k = np.where((age >= 60) & (age < 64) & (year == 2025), 11_250, more_401k)
    catch_up, within = age >= 50, 1 + 1e-12
    assert (k401 <= np.minimum(most_401k + more_401k * catch_up, wages) * within).all()
    assert (ira <= np.minimum(most_ira + more_ira * catch_up, wages + business) * within).all()
    assert (once[ACCOUNTS[4]] <= np.minimum(0.25 * business, most_own) * within).all()


@MANY
@given(
    st.lists(
        st.tuples(st.integers(1, 52), st.sampled_from([0.0, 0.0, 1.0, 8_000.0])),
        min_size=1,
        max_size=15,
    ),
    seeds,
)
def test_weeks_lie_in_a_year_and_follow_compensation(people, seed):
    """Whoever was paid and however long others were out of work, 0 to 52, and 0 for the unpaid."""
    weeks, paid = (np.array(column, dtype=float) for column in zip(*people, strict=True))
    ids, n = np.arange(len(people)), len(people)
    base = Dataset(
        2024,
        {
            "person": {
                "person_id": ids,
                "person_household_id": ids,
                "weeks_unemployed": weeks,
                "taxable_unemployment_compensation": paid,
            },
            "household": {"household_id": ids, "household_weight": np.ones(n)},
        },
    )
    doubled = double(base)
    clone = doubled["is_puf_clone"]
    flags = ("is_male", "tax_unit_is_joint", "is_tax_unit_head", "is_tax_unit_spouse",
             "is_tax_unit_dependent")  # fmt: skip
    predictors = {"age": np.full(2 * n, 40.0)} | {f: np.ones(2 * n, dtype=bool) for f in flags}
    forest = ForestOptions(trees=1)
    drawn = impute_weeks(doubled, predictors, np.ones(2 * n), clone, seed=seed, forest=forest)
    assert np.array_equal(drawn[~clone], weeks)
    assert (drawn[clone][paid == 0] == 0).all()
    assert np.isin(drawn[clone][paid > 0], weeks).all()
