"""Bounds on weights that a fit keeps exactly, and the price of a column.

    cap         w_j <= cap w0_j
    ess_floor   (sum_j w_j)^2 / sum_j w_j^2 >= n              effective sample size (Kish 1965)
    mass        sum_j w_j = M
    price       lambda_0 p_j sum_j P(z_j > 0),  p_j = 1 or v_j / mean(v)
                v_j = sqrt(sum_i c_i (X_ij / d_i)^2)          the norm of the column

At a given sum each of the three sets is convex, and `Controls.hold` goes to a point of all:

    cap and mass   w <- min(s w, cap w0),  s such that the sum is M
    ess_floor      w <- w + a (e - w),     e = min(l, cap w0),  l such that the sums are equal

e are the most even weights of that sum and cap: their effective size is the largest there
is, so if it is below n, nothing holds. If it is not, the line from w to e, on which sum and
cap hold everywhere, meets the floor at the root a of a quadratic. Without a mass, weights
whose sum is too large for any even enough weights under the cap are first scaled down to
the largest sum that is not.

The cap is held from the first epoch on. Sum and effective size are held in the refit: under
noise a third of the weights may be 0 in one epoch and back in the next. The refit removes
from each slope what points out of an active bound, makes Adam's step, and goes back into
the bounds; its stop rule looks at the slope that is left.

A uniform price charges a small record as much as a large one that serves the same targets
with a larger weight, so it deletes kinds of households that are small. The norm price asks
of each column what it can give. A column without an entry then costs nothing, and stays.

Axes: rows i (T), columns j (C), survivors K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError
from calibration.l0.forms import Entries
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem

__all__ = ["Controls", "column_norms", "highest_weights"]

Floats = NDArray[np.float64]

_CLOSE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """The bounds of a fit on some columns; made by `of`.

    Parameters
    ----------
    ceiling : (K,) array of float64
        cap w0; infinite without a cap.
    ess_floor, mass : float or None
    """

    ceiling: Floats
    ess_floor: float | None
    mass: float | None

    @classmethod
    def of(cls, problem: Problem, options: L0Options) -> Controls:
        """Read the bounds that hold for the columns of a problem.

        Parameters
        ----------
        problem : Problem
            Whole, or restricted to survivors.
        options : L0Options

        Returns
        -------
        Controls

        Raises
        ------
        FitError
            If no weights of these columns keep them.
        """
        ceiling = highest_weights(problem, options)
        count, floor, mass = problem.n_columns, options.ess_floor, options.mass
        if floor is not None and floor > count:
            raise FitError(
                f"ess_floor is {floor:g}, but there are only {count} columns, and as many "
                "records are worth no more than their number; lower it, or lower penalty"
            )
        if mass is not None and ceiling.sum() < mass:
            raise FitError(
                f"mass is {mass:g}, but {count} columns at their cap sum to "
                f"{ceiling.sum():g}; raise cap, or lower penalty or mass"
            )
        controls = cls(ceiling, floor, mass)
        if floor is not None and mass is not None:
            most = _effective_size(controls._most_even(mass))
            if most < floor * (1 - _CLOSE):
                raise FitError(
                    f"ess_floor is {floor:g}, but weights under the cap that sum to {mass:g} have "
                    f"an effective size of {most:g} at most; lower ess_floor or raise cap"
                )
        return controls

    def hold(self, weights: Floats) -> Floats:
        """Bring weights within all bounds; those that are stay as they are.

        Parameters
        ----------
        weights : (K,) array of float64, positive

        Returns
        -------
        (K,) array of float64, positive
        """
        w = self._fill(weights)
        if self.ess_floor is None or _effective_size(w) >= self.ess_floor:
            return w
        if self.mass is None and w.sum() > (largest := self._largest_sum(self.ess_floor)):
            w = w * (largest / w.sum())
        total = float(w.sum())
        even = self._most_even(total)
        # |w + a (e - w)|^2 = S^2 / n, a quadratic in a: its smaller root is the way to go.
        way = even - w
        allowed = total * total / (self.ess_floor * (1 + _CLOSE))
        square, half, excess = way @ way, -(w @ way), w @ w - allowed
        inside = half * half - square * excess
        if inside <= 0 or half <= 0:  # the floor is that of the most even weights
            return even
        a = min(1.0, float(excess / (half + np.sqrt(inside))))
        return np.minimum(w + a * way, self.ceiling)

    def inward(self, weights: Floats, slope: Floats) -> Floats:
        """Remove from a slope in log-weights what points out of an active bound.

        Parameters
        ----------
        weights : (K,) array of float64
            Within the bounds.
        slope : (K,) array of float64
            Of the loss in log-weights; a step goes against it.

        Returns
        -------
        (K,) array of float64
        """
        capped = (weights >= self.ceiling * (1 - _CLOSE)) & (slope < 0)
        free = np.where(capped, 0.0, slope)
        out = []
        if self.mass is not None:
            out.append(np.where(capped, 0.0, weights))
            free = _without(free, out[0])
        floor = self.ess_floor
        if floor is not None and _effective_size(weights) <= floor * (1 + 1e-9):
            size = np.sqrt(floor / (weights * weights).sum())
            normal = np.where(capped, 0.0, weights * (size * weights - 1.0))
            if out:
                normal = _without(normal, out[0])
            if free @ normal < 0:  # the step would lower the effective size
                free = _without(free, normal)
        return free

    def _fill(self, weights: Floats) -> Floats:
        """Keep the cap, and scale the others so that the sum is M."""
        w = np.minimum(weights, self.ceiling)
        if self.mass is None or abs(w.sum() - self.mass) <= _CLOSE * self.mass:
            return w
        # Columns reach their cap in the order of ceiling / weight: for each number of them
        # at their cap there is one factor for the rest, and one of these fits its place.
        ratio = self.ceiling / weights
        order = np.argsort(ratio, kind="stable")
        capped = np.concatenate([[0.0], np.cumsum(self.ceiling[order])[:-1]])
        rest = np.cumsum(weights[order][::-1])[::-1]
        factor = (self.mass - capped) / rest
        fits = factor <= ratio[order]
        if not fits.any():
            return self.ceiling.copy()
        return np.minimum(factor[int(np.argmax(fits))] * weights, self.ceiling)

    def _most_even(self, total: float) -> Floats:
        """Give min(l, ceiling) with a given sum, which the ceiling allows."""
        ceiling = np.sort(self.ceiling)
        capped = np.concatenate([[0.0], np.cumsum(ceiling)[:-1]])
        level = (total - capped) / np.arange(ceiling.size, 0, -1)
        fits = level <= ceiling
        return np.minimum(level[int(np.argmax(fits))] if fits.any() else np.inf, self.ceiling)

    def _largest_sum(self, floor: float) -> float:
        """Give the largest sum of weights min(l, ceiling) whose effective size is the floor.

        With k columns at the ceiling it is (S + m l)^2 / (Q + m l^2), S and Q being their sums
        of ceilings and squares and m = K - k; it falls as l rises.
        """
        ceiling = np.sort(self.ceiling)
        if not np.isfinite(ceiling[0]):
            return np.inf
        m = np.arange(ceiling.size, 0, -1)  # columns at the level, where it is ceiling[k]
        S = np.cumsum(ceiling) - ceiling
        Q = np.cumsum(ceiling * ceiling) - ceiling * ceiling
        squares = Q + m * ceiling * ceiling
        enough = (S + m * ceiling) ** 2 >= floor * (1 - _CLOSE) * squares
        k = int(np.flatnonzero(enough)[-1])
        if k + 1 == ceiling.size:
            return float(ceiling.sum())
        m, S, Q = m[k + 1], S[k + 1], Q[k + 1]
        square, half, rest = m * (floor - m), S * m, S * S - floor * Q
        level = (half + np.sqrt(max(0.0, half * half + square * rest))) / square
        return float(S + m * np.clip(level, ceiling[k], ceiling[k + 1]))


def highest_weights(problem: Problem, options: L0Options) -> Floats:
    """Give cap w0, a little less because start weights are rounded to 32 bits; or infinity.

    Parameters
    ----------
    problem : Problem
    options : L0Options

    Returns
    -------
    (C,) array of float64
    """
    if options.cap is None:
        return np.full(problem.n_columns, np.inf)
    return options.cap * (1.0 - 2.0**-31) * problem.start


def _effective_size(weights: Floats) -> float:
    """Give (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / (weights * weights).sum())


def column_norms(problem: Problem) -> Floats:
    """Give v_j = sqrt(sum_i c_i (X_ij / d_i)^2): what a unit of weight does to the loss.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    (C,) array of float64

    Raises
    ------
    FitError
        If X is held in a form without single entries.
    """
    form = problem.form
    if not isinstance(form, Entries):
        raise FitError(
            f"price 'norm' cannot be read from the form {type(form).__name__}; "
            "give a SciPy sparse matrix, or price 'uniform'"
        )
    share = problem.row_weight / (problem.scale * problem.scale)
    parts = form.values * form.values * share[form.rows]
    return np.sqrt(np.bincount(form.columns, parts, minlength=problem.n_columns))


def _without(vector: Floats, direction: Floats) -> Floats:
    """Remove the component along a direction."""
    length = direction @ direction
    return vector - (vector @ direction / length) * direction if length > 0 else vector
