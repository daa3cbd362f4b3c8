"""Bounds on weights that a fit keeps exactly, and the price of a column.

    cap         w_j <= cap w0_j
    ess_floor   (sum_j w_j)^2 / sum_j w_j^2 >= n              effective sample size (Kish 1965)
    mass        sum_j w_j = M
    price       lambda_0 p_j sum_j P(z_j > 0),  p_j = 1 or v_j / mean(v)
                v_j = sqrt(sum_i c_i (X_ij / d_i)^2)          the norm of the column

Each of the first three sets is convex, and `Controls.hold` goes to a nearby point of all:

    cap and mass   w <- min(s w, cap w0),  s such that the sum is M
    ess_floor      w <- m + a (w - m),  m the mean,  a = sqrt((S^2/n - S^2/K) / sum (w - m)^2)

The latter is the Euclidean projection at constant sum S: it shrinks deviations from the mean
alike, so weights stay positive. Where both are wanted they take turns until both hold.

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

_TURNS = 200
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
                f"ess_floor is {floor:g}, but only {count} columns are kept, and as many "
                "records are worth no more than their number; lower it, or lower penalty"
            )
        if mass is not None and ceiling.sum() < mass:
            raise FitError(
                f"mass is {mass:g}, but {count} kept columns at their cap sum to "
                f"{ceiling.sum():g}; raise cap, or lower penalty or mass"
            )
        return cls(ceiling, floor, mass)

    def hold(self, weights: Floats) -> Floats:
        """Bring weights within all bounds; those that are stay as they are.

        Parameters
        ----------
        weights : (K,) array of float64, positive

        Returns
        -------
        (K,) array of float64, positive

        Raises
        ------
        FitError
            If the bounds contradict each other.
        """
        w = self._fill(weights)
        if self.ess_floor is None:
            return w
        for _ in range(_TURNS):
            if _effective_size(w) >= self.ess_floor:
                return w
            w = self._fill(self._spread(w))
        if self.mass is None:  # the effective size does not feel a common factor
            w = self._spread(w)
            w = np.minimum(w * min(1.0, float((self.ceiling / w).min())), self.ceiling)
        if _effective_size(w) < self.ess_floor * (1 - 1e-6):
            raise FitError(
                f"no weights found with effective size {self.ess_floor:g}, sum {self.mass} and "
                "the cap at once; lower ess_floor or raise cap"
            )
        return w

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

    def _spread(self, weights: Floats) -> Floats:
        """Shrink deviations from the mean until the effective size is the floor."""
        total, mean = weights.sum(), weights.mean()
        deviation = weights - mean
        floor = (self.ess_floor or 1.0) * (1 + 1e-12)
        allowed = max(0.0, total * total / floor - total * mean)
        a = np.sqrt(allowed / (deviation @ deviation)) if deviation.any() else 0.0
        return mean + min(1.0, float(a)) * deviation


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
