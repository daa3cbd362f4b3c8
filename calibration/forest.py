"""Grow trees and file every donor into their leaves.

A tree splits the predictors so that donors in a leaf are alike in all targets at once.
It grows on the donors or a bootstrap of them, survey weights in the splits, targets replaced by
their weighted mid-ranks in (0, 1), so that no target's unit or tail decides alone. Then
*all* donors go down the tree, and the leaves keep lists of them:

    row[start[s] : start[s + 1]]         donors of node slot s, all trees in one array
    cumulative                           running weight along `row`, from 0

A draw from a leaf is one search in `cumulative`, for a million receivers as for one.

Among many predictors few matter, and a deep tree parts its donors more often by the others.
So a first, coarse tree, with leaves of a hundredth of the donors, can *screen* them: a
predictor stays if it brings at least a given share of what that tree gains,

    gain(node) = sum_q  L_q^2 / W_left + R_q^2 / W_right - (L_q + R_q)^2 / (W_left + W_right)

with L_q, R_q the weighted sums of target ranks on both sides of the split.

Axes: donors (n,), targets (n, q), trees t in [0, T), node slots s over all trees.

Differs from scikit-learn's RandomForestRegressor, whose trees it uses: (1) the bootstrap
is ours and unweighted. By weight, the many light rows of an over-sampled tail would miss
most trees; and what `sample_weight` does to that class's bootstrap changed between its
releases. (2) Donors are put into an order of their own before the bootstrap numbers them,
so the order of a file means nothing. (3) Predictors may be screened; the shares are the
importances of Breiman, Friedman, Olshen and Stone 1984, ch. 5.3, of one coarse tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ImputationError
from calibration.rng import key, uniform

__all__ = ["COARSE", "GROWERS", "Leaves", "canonical_order", "fill", "grow"]

GROWERS = ("sklearn", "presorted")
"""Who can grow trees; see `calibration.qrf.ForestOptions`."""

COARSE = 100
"""A leaf of the tree that screens has at least one of so many parts of the donors."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Leaves:
    """Donors of every leaf of every tree; see the module for the layout.

    Parameters
    ----------
    first : ndarray of int64, shape (T,)
        Slot of each tree's root; node k of tree t has slot first[t] + k.
    start : ndarray of int64, shape (slots + 1,)
        Where a slot's donors begin in `row`; inner nodes have none.
    row : ndarray of int64, shape (T * n,)
        Donor rows.
    cumulative : ndarray of float64, shape (T * n + 1,)
        Running weight, from 0.
    """

    first: Ints
    start: Ints
    row: Ints
    cumulative: Floats

    def pick(self, slot: Ints, u: Floats) -> Ints:
        """Draw one donor of each slot, proportional to weight.

        Parameters
        ----------
        slot : ndarray of int64, shape (m,)
            Slots of leaves.
        u : ndarray of float64, shape (m,)
            Uniforms in [0, 1).

        Returns
        -------
        ndarray of int64, shape (m,)
            Donor rows.
        """
        low, high = self.start[slot], self.start[slot + 1]
        base = self.cumulative[low]
        aim = base + u * (self.cumulative[high] - base)
        place = np.searchsorted(self.cumulative, aim, side="right") - 1
        return self.row[np.clip(place, low, high - 1)]  # rounding may reach the next leaf


def canonical_order(X: Matrix, Y: Floats, weight: Floats) -> Ints:
    """Give the donors in the order of what they say, without those of weight 0.

    The bootstrap numbers donors; after this a number is a fact about the donors, not about
    the order of a file.

    Parameters
    ----------
    X : ndarray of float32, shape (n, p)
    Y : ndarray of float64, shape (n, q)
    weight : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of int64, shape (k,)
        Row numbers.
    """
    order = np.lexsort((weight, *Y.T[::-1], *X.T[::-1]))
    return order[weight[order] > 0]


def grow(
    X: Matrix,
    Y: Floats,
    weight: Floats,
    *,
    trees: int,
    min_leaf: int,
    feature_share: float,
    bootstrap: bool,
    screen: float,
    grower: str,
    seed: int,
) -> tuple[Ints, list[Any]]:
    """Grow trees on the donors, or on bootstraps of them.

    Parameters
    ----------
    X : ndarray of float32, shape (n, p)
    Y : ndarray of float64, shape (n, q)
    weight : ndarray of float64, shape (n,)
        Greater than 0.
    trees, min_leaf, feature_share, bootstrap, screen, grower, seed
        See `calibration.qrf.ForestOptions`.

    Returns
    -------
    used : ndarray of int64, shape (k,)
        The predictors, by number, that the trees know: they are grown on X[:, used].
    trees : list of sklearn.tree._tree.Tree or calibration.presorted.SmallTree
        T grown trees.
    """
    n, p = X.shape
    ranks = np.column_stack([_midranks(y, weight) for y in Y.T])
    weight = weight * (n / weight.sum())
    one = _grower(grower, X)
    used = np.arange(p)
    if screen:
        coarse = one(
            X, ranks, weight, max(min_leaf, n // COARSE), p, int(key(seed, "screen") >> 33)
        )
        share = _gains(coarse, X, ranks, weight, p)
        used = np.flatnonzero(share >= screen) if share.any() else used
        X, p = np.ascontiguousarray(X[:, used]), len(used)
        one = _grower(grower, X)
    grown = []
    for t in range(trees):
        copies = np.ones(n, dtype=np.int64)
        if bootstrap:
            had = (uniform(seed, "bootstrap", t, np.arange(n)) * n).astype(np.int64)
            copies = np.bincount(had, minlength=n)
        tried = max(1, round(feature_share * p))
        random = int(key(seed, "features", t) >> np.uint64(33))
        grown.append(one(X, ranks, copies * weight, min_leaf, tried, random))
    return used, grown


def _gains(tree: Any, X: Matrix, ranks: Floats, weight: Floats, predictors: int) -> Floats:
    """Give each predictor's share of what a tree gains; zeros if it has no split."""
    leaf, nodes = tree.apply(X), tree.node_count
    w = np.bincount(leaf, weight, nodes)
    wy = np.column_stack([np.bincount(leaf, weight * r, nodes) for r in ranks.T])
    gain = np.zeros(predictors)
    for node in range(nodes - 1, -1, -1):  # children stand behind their parents
        if (left := tree.children_left[node]) == -1:
            continue
        right = tree.children_right[node]
        w[node], wy[node] = w[left] + w[right], wy[left] + wy[right]
        gain[tree.feature[node]] += sum(
            sign * (wy[k] @ wy[k]) / w[k] for sign, k in ((1, left), (1, right), (-1, node))
        )
    return gain / (gain.sum() or 1.0)


def _grower(name: str, X: Matrix) -> Callable[..., Any]:
    return _one_by_sklearn if name == "sklearn" else _one_presorted(X)


def _one_by_sklearn(  # noqa: PLR0917
    X: Matrix, ranks: Floats, weight: Floats, min_leaf: int, tried: int, random: int
) -> Any:
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(min_samples_leaf=min_leaf, max_features=tried, random_state=random)
    return tree.fit(X, ranks, sample_weight=weight, check_input=False).tree_


def _one_presorted(X: Matrix) -> Callable[..., Any]:
    from calibration.presorted import Presorted

    sorted_once = Presorted.of(X)

    def one(
        _: Matrix, ranks: Floats, weight: Floats, min_leaf: int, tried: int, random: int
    ) -> Any:
        return sorted_once.tree(ranks, weight, min_leaf=min_leaf, tried=tried, seed=random)

    return one


def fill(trees: list[Any], X: Matrix, weight: Floats, donor: Ints) -> Leaves:
    """List the donors of every leaf of every tree, with their running weight.

    Parameters
    ----------
    trees : list of sklearn.tree._tree.Tree
    X : ndarray of float32, shape (n, p)
    weight : ndarray of float64, shape (n,)
    donor : ndarray of int64, shape (k,)
        Rows to file, in the order in which leaves list them; see `canonical_order`.

    Returns
    -------
    Leaves

    Raises
    ------
    ImputationError
        If a leaf gets no donor: a receiver could reach it and find nobody.
    """
    nodes = np.array([tree.node_count for tree in trees])
    first = np.cumsum(nodes) - nodes
    slot = np.concatenate([f + t.apply(X[donor]) for f, t in zip(first, trees, strict=True)])
    order = np.argsort(slot, kind="stable")
    count = np.bincount(slot, minlength=nodes.sum())
    leaf = np.concatenate([tree.children_left == -1 for tree in trees])
    if (empty := np.flatnonzero(leaf & (count == 0))).size:
        raise ImputationError(f"{empty.size} leaves have no donor; give donors for all of them")
    row = donor[order % len(donor)]
    return Leaves(
        first=first,
        start=np.concatenate([[0], np.cumsum(count)]),
        row=row,
        cumulative=np.concatenate([[0.0], np.cumsum(weight[row])]),
    )


def _midranks(y: Floats, weight: Floats) -> Floats:
    """Rank in (0, 1): the weight below, plus half the weight at the value."""
    _, level = np.unique(y, return_inverse=True)
    mass = np.bincount(level, weights=weight)
    return ((np.cumsum(mass) - mass / 2) / mass.sum())[level]
