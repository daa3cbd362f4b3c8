"""Grow regression trees from predictors that are sorted once.

A split is the cut of one predictor that leaves the least weighted spread of the targets,

    maximise   sum_q  L_q^2 / W_left + R_q^2 / W_right,      L_q, R_q = sum of w y_q per side

over the predictors tried at the node and over the gaps between different values that leave
`min_leaf` rows on each side (Breiman, Friedman, Olshen and Stone 1984, ch. 8). Sorting is
what growing costs: each node, each predictor tried, again. Here every predictor is sorted
once for the whole forest. A tree takes its bootstrap from these lists, and a split parts all
lists in two, each in its order, so a node finds its rows already sorted.

    order[f, a:b]     rows of the node that owns [a, b), by predictor f

Differs from scikit-learn's `DecisionTreeRegressor`, whose trees it grows where every
predictor is tried and no two splits tie (a test compares them): (1) predictors that are
constant in a node are not counted among those tried; (2) a split must gain something.

Axes: rows (n,), predictors (p, n), targets (n, q), nodes in order of growth, the root first.

Importing this module imports numba; import it inside the function that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.rng import key
from calibration.rng_numba import compiled, fold, unit

__all__ = ["Presorted", "SmallTree"]

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SmallTree:
    """A grown tree, in the words of scikit-learn's.

    Parameters
    ----------
    feature : ndarray of int32, shape (nodes,)
        Predictor of the split; -1 in a leaf.
    threshold : ndarray of float32, shape (nodes,)
        Rows with a value at most this go left.
    children_left, children_right : ndarray of int32, shape (nodes,)
        Nodes; -1 in a leaf.
    """

    feature: NDArray[np.int32]
    threshold: Matrix
    children_left: NDArray[np.int32]
    children_right: NDArray[np.int32]

    @property
    def node_count(self) -> int:
        """How many nodes there are, leaves included."""
        return len(self.feature)

    def apply(self, X: Matrix) -> NDArray[np.int64]:
        """Find the leaf of every row.

        Parameters
        ----------
        X : ndarray of float32, shape (m, p)

        Returns
        -------
        ndarray of int64, shape (m,)
        """
        return _apply(X, self.feature, self.threshold, self.children_left, self.children_right)


@dataclass(frozen=True, slots=True)
class Presorted:
    """Donors, sorted by each predictor.

    Parameters
    ----------
    X : ndarray of float32, shape (p, n)
    order : ndarray of int32, shape (p, n)
        Rows by predictor, ascending.
    """

    X: Matrix
    order: NDArray[np.int32]

    @classmethod
    def of(cls, X: Matrix) -> Presorted:
        """Sort rows of predictors, (n, p)."""
        columns = np.ascontiguousarray(X.T)
        return cls(columns, np.argsort(columns, axis=1, kind="stable").astype(np.int32))

    def tree(self, Y: Floats, weight: Floats, *, min_leaf: int, tried: int, seed: int) -> SmallTree:
        """Grow one tree.

        Parameters
        ----------
        Y : ndarray of float64, shape (n, q)
        weight : ndarray of float64, shape (n,)
            0 leaves a row out.
        min_leaf, tried : int
            Fewest rows in a leaf; predictors tried at a split.
        seed : int
            Key of the order in which predictors are tried.

        Returns
        -------
        SmallTree
        """
        grown = _grow(self.X, self.order, Y, weight, min_leaf, tried, key(seed, "tried"))
        return SmallTree(*grown)


@compiled()
def _apply(X, feature, threshold, left, right):  # noqa: ANN001, ANN202  # numba infers
    leaf = np.empty(len(X), dtype=np.int64)
    for i in range(len(X)):
        node = 0
        while feature[node] >= 0:
            node = left[node] if X[i, feature[node]] <= threshold[node] else right[node]
        leaf[i] = node
    return leaf


@compiled()
def _best_gap(row, x, w, wy, total_w, total, min_leaf):  # noqa: ANN001, ANN202, PLR0917
    """Find the best gap of one predictor: its score and the rows left of it."""
    best, place = -np.inf, 0
    n, q = len(row), wy.shape[1]
    left_w, left = 0.0, np.zeros(q)
    for k in range(n - min_leaf):
        r = row[k]
        left_w += w[r]
        for j in range(q):
            left[j] += wy[r, j]
        if k + 1 >= min_leaf and x[row[k + 1]] > x[r]:
            score = 0.0
            for j in range(q):
                rest = total[j] - left[j]
                score += left[j] * left[j] / left_w + rest * rest / (total_w - left_w)
            if score > best:
                best, place = score, k + 1
    return best, place


@compiled()
def _best_gap_of_one(row, x, w_wy, total_w, total, min_leaf):  # noqa: ANN001, ANN202, PLR0917
    """Do the same for a single target, twice as fast."""
    best, place = -np.inf, 0
    left_w = left = 0.0
    for k in range(min_leaf - 1):
        left_w += w_wy[row[k], 0]
        left += w_wy[row[k], 1]
    here = x[row[min_leaf - 1]]
    for k in range(min_leaf - 1, len(row) - min_leaf):
        r, there = row[k], x[row[k + 1]]
        left_w += w_wy[r, 0]
        left += w_wy[r, 1]
        if there > here:
            right_w, right = total_w - left_w, total - left
            score = (left * left * right_w + right * right * left_w) / (left_w * right_w)
            if score > best:
                best, place = score, k + 1
        here = there
    return best, place


@compiled()
def _part(row, goes_left, buffer):  # noqa: ANN001, ANN202
    """Move the rows that go left to the front; both sides keep their order."""
    front = back = 0
    for k in range(len(row)):
        r = row[k]
        buffer[back] = r
        row[front] = r
        went = goes_left[r]
        front += went
        back += 1 - went
    row[front:] = buffer[:back]


@compiled()
def _take(X, order, weight):  # noqa: ANN001, ANN202
    """Leave out rows of weight 0: predictors and lists of those that stay, renumbered."""
    p, n = X.shape
    number = np.cumsum(weight > 0) - 1
    kept = np.flatnonzero(weight > 0)
    some, lists = np.empty((p, len(kept)), X.dtype), np.empty((p, len(kept)), order.dtype)
    for f in range(p):
        some[f] = X[f][kept]
        k = 0
        for i in range(n):
            r = order[f, i]
            if weight[r] > 0:
                lists[f, k] = number[r]
                k += 1
    return kept, some, lists


@compiled()
def _sums(row, y, w, wy):  # noqa: ANN001, ANN202
    """Sum a node: its weight, its weighted targets, and whether all rows are alike in them."""
    total_w, total, alike = 0.0, np.zeros(y.shape[1]), True
    for r in row:
        total_w += w[r]
        for j in range(y.shape[1]):
            total[j] += wy[r, j]
            alike &= y[r, j] == y[row[0], j]
    return total_w, total, alike


@compiled()
def _search(lists, x, w_wy, sums, min_leaf, tried, choice, random):  # noqa: ANN001, ANN202, PLR0917
    """Try predictors in random order: the best one, its rows to the left, and the next key."""
    w, wy, (total_w, total, _) = w_wy[:, 0], w_wy[:, 1:], sums
    best = (total**2).sum() / total_w * (1 + 1e-12)  # a split gains more than rounding can
    which, cut, had, p = -1, 0, 0, len(choice)
    for k in range(p):
        random = fold(random, k)
        other = k + int(unit(random) * (p - k))
        choice[k], choice[other] = choice[other], choice[k]
        f = choice[k]
        row = lists[f]
        if x[f, row[0]] == x[f, row[-1]]:
            continue
        if len(total) == 1:
            score, place = _best_gap_of_one(row, x[f], w_wy, total_w, total[0], min_leaf)
        else:
            score, place = _best_gap(row, x[f], w, wy, total_w, total, min_leaf)
        if score > best:
            best, which, cut = score, f, place
        had += 1
        if had >= tried and which >= 0:
            break
    return which, cut, random


@compiled()
def _split(lists, which, cut, goes_left, buffer):  # noqa: ANN001, ANN202
    """Part the lists of a node behind the first rows of one of them."""
    row = lists[which]
    for k in range(len(row)):
        goes_left[row[k]] = k < cut
    for f in range(len(lists)):
        if f != which:
            _part(lists[f], goes_left, buffer)


@compiled()
def _grow(X, order, Y, weight, min_leaf, tried, random):  # noqa: ANN001, ANN202, PLR0917
    kept, x, lists = _take(X, order, weight)
    n, y = len(kept), Y[kept]
    w_wy = np.empty((n, 1 + Y.shape[1]))  # side by side: one visit to memory for a row
    w_wy[:, 0] = weight[kept]
    w_wy[:, 1:] = y * w_wy[:, :1]
    most = 2 * max(n // min_leaf, 1)
    feature = np.full(most, -1, np.int32)
    left, right = feature.copy(), feature.copy()
    threshold = np.zeros(most, np.float32)
    begin, end = np.zeros(most, np.int64), np.zeros(most, np.int64)
    end[0], nodes = n, 1
    choice, goes_left, buffer = np.arange(len(x)), np.zeros(n, np.int64), np.empty(n, np.int32)
    for node in range(most):
        if node == nodes:
            break
        a, b = begin[node], end[node]
        sums = _sums(lists[0, a:b], y, w_wy[:, 0], w_wy[:, 1:])
        if b - a < 2 * min_leaf or sums[2]:
            continue
        which, cut, random = _search(lists[:, a:b], x, w_wy, sums, min_leaf, tried, choice, random)
        if which < 0:
            continue
        low, high = x[which, lists[which, a + cut - 1]], x[which, lists[which, a + cut]]
        middle = np.float32((np.float64(low) + np.float64(high)) / 2)
        threshold[node] = middle if middle < high else low
        feature[node], left[node], right[node] = which, nodes, nodes + 1
        begin[nodes], end[nodes] = a, a + cut
        begin[nodes + 1], end[nodes + 1] = a + cut, b
        nodes += 2
        _split(lists[:, a:b], which, cut, goes_left, buffer)
    return feature[:nodes], threshold[:nodes], left[:nodes], right[:nodes]
