"""Draw from the conditional law of a donor sample with a forest.

Given donors (x_i, y_i) with survey weights w_i, draw y for a receiver x from

    F(y | x) = 1/T  sum_t  sum_{i in leaf_t(x)} w_i 1[y_i <= y] / sum_{i in leaf_t(x)} w_i

A draw chooses a tree with one uniform, then one donor row in the leaf, proportional to
weight, with another: an exact sample of F. The result is a donor *row*. Nothing is
averaged, interpolated or cut to a grid of quantiles, so zeros stay zeros, booleans stay
booleans, tails keep their length, and one row can serve several targets at once, with
their correlations.

Axes: donors i in [0, n), receivers r in [0, m), predictors p, targets q, trees t in
[0, T). `calibration.forest` grows the trees and files the donors.

Source: Meinshausen 2006, "Quantile Regression Forests", JMLR 7:983-999, from which it
differs: (1) the law is drawn from, by tree and then by row, not inverted at quantiles;
(2) *all* donors in a leaf count, also those outside the tree's bootstrap, by survey
weight.
"""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import ImputationError
from calibration.forest import GROWERS, canonical_order, fill, grow

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["LARGE", "ForestInputError", "ForestOptions", "QuantileForest"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ForestInputError(ImputationError, ValueError):
    """An array cannot be used; also a ValueError, as scikit-learn's contract has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestOptions:
    """How to grow a forest.

    Parameters
    ----------
    trees : int
        T. More trees make the law smoother; time and memory grow with them.
    min_leaf : int
        Fewest different rows of the bootstrap in a leaf; with 1 a draw is often the nearest
        donor.
    feature_share : float
        Share of the predictors tried at a split, in (0, 1].
    bootstrap : bool
        Whether each tree sees a sample of the donors with replacement, or all of them; then
        trees differ by the predictors tried alone.
    screen : float
        Least share of what a coarse tree gains that a predictor must bring to be used at all,
        in [0, 1); 0 uses all. Deep in a tree, splits by predictors that say nothing part the
        donors before those that matter can; see `calibration.forest`. What a weak predictor
        says is lost with it.
    grower : {"sklearn", "presorted"}
        Who grows the trees: scikit-learn, ready at once, or `calibration.presorted`, which is
        compiled at its first use and quicker for thousands of donors. Each has random
        streams of its own, so their draws differ as those of two seeds do.

    Raises
    ------
    ImputationError
        Naming the field and its value.
    """

    trees: int = 30
    min_leaf: int = 5
    feature_share: float = 0.5
    bootstrap: bool = True
    screen: float = 0.0
    grower: Literal["sklearn", "presorted"] = "sklearn"

    def __post_init__(self) -> None:
        """Refuse what cannot grow a forest."""
        if self.grower not in GROWERS:
            raise ImputationError(f"grower is {self.grower!r}; give {' or '.join(GROWERS)}")
        for name in ("trees", "min_leaf"):
            if getattr(self, name) < 1:
                raise ImputationError(f"{name} is {getattr(self, name)}; give at least 1")
        if not 0 < self.feature_share <= 1:
            raise ImputationError(f"feature_share is {self.feature_share}; give 0 < share <= 1")
        if not 0 <= self.screen < 1:
            raise ImputationError(f"screen is {self.screen}; give 0 <= share < 1")


LARGE = ForestOptions(
    trees=10, min_leaf=10, feature_share=0.9, bootstrap=False, screen=0.01, grower="presorted"
)
"""Options for thousands of donors, as measured in `benchmarks/qrf.py`.

A draw reads one leaf of one tree, so its law is as sharp as single trees are: they see all
donors, and nearly all predictors that bring anything. More trees would draw no better, only
average `quantiles` over more leaves."""


class QuantileForest:
    """A regression forest whose leaves are drawn from; scikit-learn's estimator contract.

    Parameters
    ----------
    trees, min_leaf, feature_share, bootstrap, screen, grower
        See `ForestOptions`.
    seed : int
        Key of the bootstrap and of the features tried. No global generator is touched.

    Attributes
    ----------
    used_ : ndarray of int64, shape (k,)
        The predictors that the trees know, by number.
    trees_ : list
        The grown trees.
    leaves_ : Leaves
        Donors by leaf.
    y_ : ndarray of float64, shape (n, q)
        Targets of the donors.
    weight_ : ndarray of float64, shape (n,)
        Donor weights.
    n_features_in_ : int
    """

    def __init__(
        self,
        trees: int = 30,
        min_leaf: int = 5,
        feature_share: float = 0.5,
        seed: int = 0,
        *,
        bootstrap: bool = True,
        screen: float = 0.0,
        grower: Literal["sklearn", "presorted"] = "sklearn",
    ) -> None:
        self.trees = trees
        self.min_leaf = min_leaf
        self.feature_share = feature_share
        self.seed = seed
        self.bootstrap = bootstrap
        self.screen = screen
        self.grower: Literal["sklearn", "presorted"] = grower

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> QuantileForest:
        """Grow the trees and file every donor into its leaves.

        Parameters
        ----------
        X : array-like of float, shape (n, p)
            Predictors. Trees compare them as float32.
        y : array-like of float, shape (n, q) or (n,)
            Targets.
        sample_weight : array-like of float, shape (n,), optional
            Donor weights, 0 or more; a donor of weight 0 might as well not be there.

        Returns
        -------
        QuantileForest
            Itself. Equal donors in another order give an equal forest.

        Raises
        ------
        ForestInputError
            If an array has a wrong shape, no rows, or a value that is not finite.
        ImputationError
            If an option is not valid.
        """
        options = ForestOptions(
            trees=self.trees,
            min_leaf=self.min_leaf,
            feature_share=self.feature_share,
            bootstrap=self.bootstrap,
            screen=self.screen,
            grower=self.grower,
        )
        X32, targets, weight = self._check(X, y, sample_weight)
        self.n_features_in_ = X32.shape[1]
        self.y_, self.weight_ = targets, weight
        order = canonical_order(X32, targets, weight)
        self.used_, self.trees_ = grow(
            X32[order], targets[order], weight[order], **asdict(options), seed=self.seed
        )
        self.leaves_ = fill(self.trees_, self._used(X32), weight, order)
        return self

    def refill(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> QuantileForest:
        """Put other donors into the leaves of the same trees; see `fit` for the arguments.

        Returns
        -------
        QuantileForest
            A new forest. A donor of weight k and k copies of it give the same law.

        Raises
        ------
        ImputationError
            As `fit`, and if a leaf that a receiver can reach is left without donors.
        """
        other = QuantileForest(**self.get_params())
        other.trees_, other.n_features_in_ = self._fitted(), self.n_features_in_
        other.used_ = self.used_
        X32, other.y_, other.weight_ = self._check(X, y, sample_weight)
        self._same_width(X32)
        order = canonical_order(X32, other.y_, other.weight_)
        other.leaves_ = fill(other.trees_, self._used(X32), other.weight_, order)
        return other

    def draw(self, X: ArrayLike, u_tree: ArrayLike, u_donor: ArrayLike) -> Ints:
        """Draw a donor row for every receiver.

        Parameters
        ----------
        X : array-like of float, shape (m, p)
        u_tree, u_donor : array-like of float, shape (m,)
            Uniforms in [0, 1): which tree, and which donor of its leaf.

        Returns
        -------
        ndarray of int64, shape (m,)
            Row numbers of the donors as they were given to `fit`. Each depends on its
            own row of X and its own uniforms alone.

        Raises
        ------
        ForestInputError
            If the forest is not fitted or an array does not fit it.
        """
        X32 = self._receivers(X)
        u_tree, u_donor = (np.asarray(u, dtype=np.float64) for u in (u_tree, u_donor))
        for u in (u_tree, u_donor):
            if u.shape != (len(X32),) or not ((u >= 0) & (u < 1)).all():
                raise ForestInputError(
                    f"uniforms of shape {u.shape} for {len(X32)} receivers; give each one in [0, 1)"
                )
        tree = np.minimum((u_tree * len(self.trees_)).astype(np.int64), len(self.trees_) - 1)
        node = np.zeros(len(X32), dtype=np.int64)
        for t, grown in enumerate(self.trees_):
            here = np.flatnonzero(tree == t)
            if len(here):
                node[here] = grown.apply(X32[here])
        return self.leaves_.pick(self.leaves_.first[tree] + node, u_donor)

    def law(self, X: ArrayLike) -> Floats:
        """Give the probability of every donor row for every receiver: the law `draw` samples.

        Returns
        -------
        ndarray of float64, shape (m, n)
            Each row sums to 1.
        """
        X32 = self._receivers(X)
        leaves = self.leaves_
        result = np.zeros((len(X32), len(self.weight_)))
        for t, grown in enumerate(self.trees_):
            slot = leaves.first[t] + grown.apply(X32)
            for s in np.unique(slot):
                row = leaves.row[leaves.start[s] : leaves.start[s + 1]]
                weight = self.weight_[row]
                result[np.ix_(slot == s, row)] += weight / weight.sum()
        return result / len(self.trees_)

    def quantiles(self, X: ArrayLike, q: ArrayLike) -> Floats:
        """Give quantiles of each target: the least donor value that reaches the share q.

        Parameters
        ----------
        X : array-like of float, shape (m, p)
        q : array-like of float, shape (k,)
            Shares in [0, 1].

        Returns
        -------
        ndarray of float64, shape (m, k, targets)
        """
        law, q = self.law(X), np.atleast_1d(np.asarray(q, dtype=np.float64))
        result = np.empty((len(law), len(q), self.y_.shape[1]))
        for target, y in enumerate(self.y_.T):
            order = np.argsort(y, kind="stable")
            reached = np.cumsum(law[:, order], axis=1)
            for k, share in enumerate(q):
                # The sums are rounded: a share of 0.5 may be reached at 0.5 - 1e-16.
                place = (reached < share - 1e-12).sum(axis=1)
                result[:, k, target] = y[order[np.minimum(place, len(y) - 1)]]
        return result

    # -- scikit-learn's contract -----------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        """Give the constructor's arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> QuantileForest:
        """Change constructor arguments; takes effect at the next `fit`.

        Raises
        ------
        ForestInputError
            If there is no such argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise ForestInputError(f"no parameter {name!r}; there are {[*self.get_params()]}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"QuantileForest({arguments})"

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True, multi_output=True),
            input_tags=InputTags(),
        )

    def _fitted(self) -> list[Any]:
        if not hasattr(self, "trees_"):
            raise ForestInputError("the forest is not fitted; call fit with donors first")
        return self.trees_

    def _check(self, X: ArrayLike, y: ArrayLike, weight: ArrayLike | None) -> tuple[Any, ...]:
        from sklearn.utils.validation import check_X_y

        try:
            X32, y = check_X_y(X, y, dtype="float32", multi_output=True, y_numeric=True)
        except ValueError as error:
            raise ForestInputError(f"donors cannot be learned from: {error}") from error
        targets = np.asarray(y, dtype=np.float64).reshape(len(X32), -1)
        w = np.ones(len(X32)) if weight is None else np.asarray(weight, dtype=np.float64)
        if w.shape != (len(X32),) or not np.isfinite(w).all() or (w < 0).any():
            raise ForestInputError(
                f"donor weights of shape {w.shape} for {len(X32)} donors; give one finite "
                "weight each, 0 or more"
            )
        if not w.any():
            raise ForestInputError("every donor weight is zero; give donors that count")
        return np.ascontiguousarray(X32), targets, w

    def _receivers(self, X: ArrayLike) -> NDArray[np.float32]:
        from sklearn.utils.validation import check_array

        self._fitted()
        try:
            X32 = check_array(X, dtype="float32", ensure_min_samples=0)
        except ValueError as error:
            raise ForestInputError(f"receivers cannot be used: {error}") from error
        self._same_width(X32)
        return self._used(X32)

    def _used(self, X32: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(X32[:, self.used_])

    def _same_width(self, X32: NDArray[np.float32]) -> None:
        if X32.shape[1] != self.n_features_in_:
            raise ForestInputError(
                f"X has {X32.shape[1]} features, but QuantileForest is expecting "
                f"{self.n_features_in_} features as input"
            )
