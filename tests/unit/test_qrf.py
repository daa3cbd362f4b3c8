"""The forest draws from the conditional law of its donors, and from nothing else."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import check_estimator

from calibration.errors import ImputationError
from calibration.forest import Leaves, _gains, _midranks
from calibration.presorted import Presorted
from calibration.qrf import LARGE, ForestInputError, ForestOptions, QuantileForest
from calibration.rng import uniform


def donors(n, seed=0, targets=3):
    """Make donors whose first target depends on the first predictor."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 40, (n, 3)).astype(float)
    Y = rng.lognormal(1, 1, (n, targets))
    Y[:, 0] += X[:, 0]
    return X, Y, rng.integers(1, 5, n).astype(float)


def uniforms(m, name="test"):
    """Make the two uniforms of m receivers."""
    return uniform(1, name, "tree", np.arange(m)), uniform(1, name, "donor", np.arange(m))


def plain_draw(forest, X, x, u_tree, u_donor):
    """Draw one donor by reading the definition: a tree, its leaf, a walk along the weights."""
    tree = forest.trees_[int(u_tree * len(forest.trees_))]
    members = np.flatnonzero(tree.apply(X.astype(np.float32)) == tree.apply(np.float32([x]))[0])
    walk = sorted(members, key=lambda i: (*X[i], *forest.y_[i], forest.weight_[i]))
    aim, walked = u_donor * sum(forest.weight_[i] for i in walk), 0.0
    for i in walk:
        walked += forest.weight_[i]
        if aim < walked:
            return i
    return walk[-1]


@pytest.mark.filterwarnings("ignore:Estimator QuantileForest does not inherit")  # lazy import
def test_generic_checks_of_scikit_learn_pass():
    """The estimator keeps scikit-learn's contract, all generic checks of it."""
    results = check_estimator(QuantileForest(trees=2), on_skip=None)
    assert {result["status"] for result in results} == {"passed", "skipped"}
    assert clone(QuantileForest(trees=7)).get_params()["trees"] == 7


def test_draws_equal_those_of_a_plain_twin():
    """The compressed leaves give the very donors that a loop over receivers gives."""
    X, Y, w = donors(150)
    forest = QuantileForest(trees=4, seed=3).fit(X, Y, w)
    receivers, _, _ = donors(80, seed=1)
    u_tree, u_donor = uniforms(80)
    plain = [plain_draw(forest, X, *one) for one in zip(receivers, u_tree, u_donor, strict=True)]
    assert forest.draw(receivers, u_tree, u_donor).tolist() == plain


def test_draws_sample_the_law_exactly():
    """Over a fine grid of uniforms each donor is drawn as often as the law says."""
    X, Y, w = donors(60)
    forest = QuantileForest(trees=3, seed=1).fit(X, Y, w)
    law = forest.law(X[:4])
    assert law.sum(axis=1) == pytest.approx(1)
    k = 2_000
    u_tree = np.repeat((np.arange(3) + 0.5) / 3, k)
    u_donor = np.tile((np.arange(k) + 0.5) / k, 3)
    for r in range(4):
        rows = forest.draw(np.repeat(X[r : r + 1], 3 * k, axis=0), u_tree, u_donor)
        frequency = np.bincount(rows, minlength=60) / (3 * k)
        # A donor owns one stretch of u in each tree; a grid of k misses at most 1/k of it.
        assert np.abs(frequency - law[r]).max() <= 1 / k


def test_without_information_the_law_is_the_weights():
    """Receivers that donors cannot be told apart by get each donor by its weight."""
    w = np.array([1.0, 2.0, 0.0, 5.0])
    forest = QuantileForest(trees=5, min_leaf=1).fit(np.zeros((4, 1)), [3.0, 1.0, 9.0, 2.0], w)
    assert forest.law([[0.0], [7.0]]) == pytest.approx(np.tile(w / 8, (2, 1)))
    assert forest.quantiles([[0.0]], [0.0, 0.25, 0.26, 0.875, 0.88, 1.0])[0, :, 0].tolist() == [
        1.0, 1.0, 2.0, 2.0, 3.0, 3.0,
    ]  # fmt: skip


def test_weight_k_is_k_copies_in_given_trees():
    """With the trees given, a donor of weight k and k copies of it make one law."""
    X, Y, w = donors(120)
    forest = QuantileForest(trees=6, seed=2).fit(X, Y, w)
    copies = np.repeat(np.arange(120), w.astype(int))
    copied = forest.refill(X[copies], Y[copies]).law(X)
    summed = np.zeros((120, 120))
    np.add.at(summed.T, copies, copied.T)
    assert summed == pytest.approx(forest.law(X), abs=1e-12)
    assert np.abs(forest.refill(X, Y).law(X) - forest.law(X)).max() > 0.05  # weights matter


def test_a_donor_of_weight_zero_is_not_there():
    """A donor of weight 0 changes neither trees nor draws."""
    X, Y, w = donors(200)
    w[::3] = 0
    kept = np.flatnonzero(w)
    with_zeros = QuantileForest(trees=5).fit(X, Y, w).draw(X, *uniforms(200))
    without = QuantileForest(trees=5).fit(X[kept], Y[kept], w[kept]).draw(X, *uniforms(200))
    assert np.array_equal(with_zeros, kept[without])


def test_the_order_of_donors_means_nothing():
    """Donors in another order give the same donors to the same receivers."""
    X, Y, w = donors(200)
    order = np.random.default_rng(5).permutation(200)
    straight = QuantileForest(trees=5).fit(X, Y, w).draw(X, *uniforms(200))
    shuffled = QuantileForest(trees=5).fit(X[order], Y[order], w[order]).draw(X, *uniforms(200))
    assert np.array_equal(straight, order[shuffled])


def test_no_global_generator_is_touched():
    """Fitting and drawing leave the generators of the process where they were."""
    X, Y, w = donors(50)
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    QuantileForest(trees=3).fit(X, Y, w).draw(X, *uniforms(50))
    assert before == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


def test_weights_enter_the_splits():
    """Where donors of two kinds disagree, the tree splits where the heavy ones do."""
    x = np.linspace(0, 1, 400)
    kind = np.arange(400) % 2 == 0
    y = np.where(kind, x > 0.3, x > 0.7).astype(float)  # two values: ranks say nothing more
    for heavy, border in ((kind, 0.3), (~kind, 0.7)):
        forest = QuantileForest(trees=9, min_leaf=20).fit(x[:, None], y, np.where(heavy, 9.0, 1.0))
        first = [tree.threshold[0] for tree in forest.trees_]
        assert np.median(first) == pytest.approx(border, abs=0.05)


@pytest.mark.parametrize("feature_share", [0.3, 1.0])
def test_seed_changes_the_forest_and_nothing_else_does(feature_share):
    """Two fits with one seed are equal, two seeds differ, in bootstrap and features alike."""
    _, Y, w = donors(150)
    X = np.random.default_rng(8).random((150, 3))  # no ties: with all features, one best split
    one, two, other = (
        QuantileForest(trees=5, feature_share=feature_share, seed=s).fit(X, Y, w).law(X)
        for s in (4, 4, 5)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


# -- who grows the trees -----------------------------------------------------------------


def partition(tree, X):
    """Name each row's leaf by the first row in it."""
    _, first, leaf = np.unique(tree.apply(X), return_index=True, return_inverse=True)
    return first[leaf]


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("min_leaf", [3, 7])  # with fewer, unlike splits gain the same
def test_presorted_trees_are_those_of_scikit_learn(targets, min_leaf):
    """With every predictor tried, both growers part the donors alike."""
    rng = np.random.default_rng(6)
    X, Y = rng.random((400, 4)).astype(np.float32), rng.random((400, targets))
    w = rng.integers(0, 4, 400).astype(float)
    mine = Presorted.of(X).tree(Y, w, min_leaf=min_leaf, tried=4, seed=1)
    other = DecisionTreeRegressor(min_samples_leaf=min_leaf, random_state=0)
    theirs = other.fit(X, Y, sample_weight=w).tree_
    assert mine.node_count == theirs.node_count > 50
    # Rows of weight 0 decide nothing; where two predictors part the rest alike, they may differ.
    assert np.array_equal(partition(mine, X[w > 0]), partition(theirs, X[w > 0]))


def test_a_presorted_split_is_never_between_equal_values():
    """Rows that the predictors cannot tell apart, by float32 too, share a leaf; so do all alike."""
    X = np.float32([[1], [1], [1], [np.nextafter(np.float32(1), np.float32(2))]])
    grown = Presorted.of(X)
    tree = grown.tree(
        np.array([[0.0], [1.0], [2.0], [9.0]]), np.ones(4), min_leaf=1, tried=1, seed=0
    )
    leaf = tree.apply(X)
    assert leaf[0] == leaf[1] == leaf[2] != leaf[3]
    assert grown.tree(np.ones((4, 1)), np.ones(4), min_leaf=1, tried=1, seed=0).node_count == 1
    assert grown.tree(np.ones((4, 2)), np.zeros(4), min_leaf=1, tried=1, seed=0).node_count == 1


def test_the_options_for_many_donors_grow_the_same_law():
    """The options LARGE: order, weight 0 and seed mean what they mean elsewhere."""
    X, Y, w = donors(300)
    w[::3] = 0
    order, kept = np.random.default_rng(5).permutation(300), np.flatnonzero(w)

    def drawn(rows, seed=0):
        some = asdict(replace(LARGE, feature_share=0.5, screen=0.0))  # of three, not all
        forest = QuantileForest(**some, seed=seed).fit(X[rows], Y[rows], w[rows])
        return rows[forest.draw(X, *uniforms(300))]

    assert np.array_equal(drawn(np.arange(300)), drawn(order))
    assert np.array_equal(drawn(np.arange(300)), drawn(kept))
    assert not np.array_equal(drawn(order), drawn(order, seed=1))


@pytest.mark.parametrize("grower", ["sklearn", "presorted"])
def test_a_screened_forest_is_one_that_never_had_the_useless_predictors(grower):
    """Predictors that bring nothing are left out: as if they were not in the file."""
    X, _, w = donors(600)
    X[:, 1:] = np.random.default_rng(7).random((600, 2))
    y = X[:, 0] + np.random.default_rng(8).standard_normal(600)
    options = {"trees": 4, "feature_share": 0.9, "grower": grower}
    screened = QuantileForest(**options, screen=0.05).fit(X, y, w)
    assert screened.used_.tolist() == [0]
    alone = QuantileForest(**options).fit(X[:, :1], y, w)
    assert np.array_equal(screened.law(X), alone.law(X[:, :1]))
    assert np.array_equal(
        screened.refill(X[:400], y[:400]).law(X), alone.refill(X[:400, :1], y[:400]).law(X[:, :1])
    )
    everything = QuantileForest(**options).fit(X, y, w)
    assert everything.used_.tolist() == [0, 1, 2]
    assert not np.array_equal(everything.law(X), screened.law(X))


def test_what_a_predictor_brings_is_what_its_splits_gain():
    """Shares of gain equal those of scikit-learn's importances; with no split all stay."""
    X, Y, w = donors(500)
    ranks = np.column_stack([_midranks(y, w) for y in Y.T])
    tree = DecisionTreeRegressor(min_samples_leaf=20, random_state=0).fit(X, ranks, w)
    mine = _gains(tree.tree_, X.astype(np.float32), ranks, w, 3)
    assert mine == pytest.approx(tree.feature_importances_, rel=1e-6)
    nothing = QuantileForest(trees=2, screen=0.5).fit(X, np.ones(500), w)
    assert nothing.used_.tolist() == [0, 1, 2]


# -- laws ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    """Draw for 10,000 receivers from 4,000 donors whose laws are known."""
    rng = np.random.default_rng(11)

    def law(n):
        X = np.column_stack([rng.integers(0, 5, n), rng.uniform(20, 80, n), rng.random(n)])
        event = rng.random(n) < 0.05
        tail = rng.lognormal(0, 1.5, n)
        zero = np.where(rng.random(n) < 0.7, 0.0, rng.lognormal(8, 1, n))
        step = (X[:, 0] >= 3) * 10.0 + rng.standard_normal(n)
        return X.astype(float), np.column_stack([event, tail, zero, step])

    (X, Y), (R, _) = law(4_000), law(10_000)
    forest = QuantileForest(trees=25, min_leaf=5, feature_share=0.7).fit(X, Y)
    return Y, R, Y[forest.draw(R, *uniforms(10_000))]


def test_rare_events_stay_rare_events(drawn):
    """An event of 5 percent is drawn in 5 percent, not never, as the most likely class is."""
    Y, _, y = drawn
    share = Y[:, 0].mean()
    # 10,000 draws of a rate: 4 standard errors; forest weights of 200 events add about 1/5.
    assert abs(y[:, 0].mean() - share) < 4 * np.sqrt(0.05 * 0.95 / 10_000) + 0.002
    assert set(np.unique(y[:, 0])) == {0.0, 1.0}


def test_zeros_stay_zeros_and_tails_keep_their_length(drawn):
    """The share of zeros, the mean and the top percentile are those of the donors."""
    Y, _, y = drawn
    zeros = (Y[:, 2] == 0).mean()
    assert abs((y[:, 2] == 0).mean() - zeros) < 4 * np.sqrt(0.21 / 10_000) + 0.01
    # SE of log p99 = sigma sqrt(.01 * .99 / m) / phi(2.326) = 0.056 at m = 10,000.
    ratio = np.quantile(y[:, 1], 0.99) / np.quantile(Y[:, 1], 0.99)
    assert abs(np.log(ratio)) < 4 * 0.056
    assert y[:, 1].max() > np.quantile(Y[:, 1], 0.999)  # a grid of quantiles ends far below
    # SE of a lognormal mean: sqrt(e^(s^2) - 1) / sqrt(m) = 2.9 percent of it.
    assert y[:, 1].mean() == pytest.approx(Y[:, 1].mean(), rel=4 * 0.029)


def test_a_step_in_the_predictor_is_a_step_in_the_draws(drawn):
    """Receivers on both sides of a step draw from the donors of their side."""
    _, R, y = drawn
    high = R[:, 0] >= 3
    # 10 apart with unit spread: a draw beyond 5 comes from the wrong side.
    assert ((y[:, 3] > 5) != high).mean() < 0.001


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 0}, "trees is 0"),
        ({"min_leaf": -1}, "min_leaf is -1"),
        ({"feature_share": 0.0}, "feature_share is 0"),
        ({"feature_share": 1.5}, r"feature_share is 1\.5"),
        ({"screen": 1.0}, r"screen is 1\.0; give 0 <= share < 1"),
        ({"grower": "sorted"}, "grower is 'sorted'; give sklearn or presorted"),
    ],
)
def test_options_that_grow_nothing_are_refused(options, message):
    """An impossible option is an error that names it, when made and when fitted."""
    with pytest.raises(ImputationError, match=message):
        ForestOptions(**options)
    with pytest.raises(ImputationError, match=message):
        QuantileForest(**options).fit([[0.0], [1.0]], [0.0, 1.0])


@pytest.mark.parametrize(
    ("X", "y", "w", "message"),
    [
        ([[np.nan], [1.0]], [0.0, 1.0], None, "NaN"),
        ([[0.0], [1.0]], [0.0, np.inf], None, "infinity"),
        ([[0.0], [1.0]], [0.0], None, "inconsistent numbers"),
        ([[0.0], [1.0]], [0.0, 1.0], [1.0], r"shape \(1,\) for 2 donors"),
        ([[0.0], [1.0]], [0.0, 1.0], [1.0, -1.0], "0 or more"),
        ([[0.0], [1.0]], [0.0, 1.0], [0.0, 0.0], "weight is zero"),
    ],
)
def test_donors_that_teach_nothing_are_refused(X, y, w, message):
    """Donors with holes, of unequal length or without weight are an error."""
    with pytest.raises(ForestInputError, match=message):
        QuantileForest(trees=2).fit(X, y, w)


def test_draws_need_a_fit_and_fitting_receivers():
    """Drawing unfitted, with other columns or with other uniforms is an error."""
    with pytest.raises(ForestInputError, match="not fitted"):
        QuantileForest().draw([[0.0]], [0.1], [0.1])
    forest = QuantileForest(trees=2).fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ForestInputError, match="expecting 1 features"):
        forest.draw([[0.0, 1.0]], [0.1], [0.1])
    with pytest.raises(ForestInputError, match="expecting 1 features"):
        forest.refill([[0.0, 1.0]], [0.1])
    with pytest.raises(ForestInputError, match=r"shape \(2,\) for 1"):
        forest.draw([[0.0]], [0.1, 0.2], [0.1])
    with pytest.raises(ForestInputError, match=r"\[0, 1\)"):
        forest.draw([[0.0]], [1.0], [0.1])


def test_a_leaf_without_donors_is_an_error():
    """Refilling trees with donors who reach only some leaves is refused."""
    X, Y, w = donors(100)
    forest = QuantileForest(trees=3).fit(X, Y, w)
    with pytest.raises(ImputationError, match="no donor"):
        forest.refill(X[:3], Y[:3])


def test_a_donor_owns_its_stretch_of_the_leaf():
    """A uniform on a border belongs to the upper donor; rounding never leaves the leaf."""
    weight = np.array([1e9, 0.25, 0.25, 1.0])
    leaves = Leaves(
        first=np.array([0]),
        start=np.array([0, 1, 3, 4]),
        row=np.array([3, 0, 1, 2]),
        cumulative=np.concatenate([[0.0], np.cumsum(weight)]),
    )
    # 1e9 + 0.5 (1 - 2^-53) rounds to 1e9 + 0.5, where the next leaf begins.
    u = np.array([0.0, 0.49, 0.5, np.nextafter(1.0, 0.0)])
    assert leaves.pick(np.array([1, 1, 1, 1]), u).tolist() == [0, 0, 1, 1]
    assert leaves.pick(np.array([0, 2]), u[:2]).tolist() == [3, 2]
