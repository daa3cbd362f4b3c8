"""Relative errors, and what stands for one where the target is zero.

    rel_error = (estimate - target) / |target|

The sign says whether the estimate is too high, also where the target is negative. A zero
target has no relative error: NaN, or the value the caller asks for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["infinite_error", "relative_error"]

Floats = NDArray[np.float64]


def relative_error(error: Floats, target: Floats, at_zero: Floats | float = np.nan) -> Floats:
    """Divide errors by |target|, which broadcasts; give `at_zero` where it is 0."""
    quotient = error / np.where(target == 0, np.nan, np.abs(target))
    return np.where(target == 0, at_zero, quotient)


def infinite_error(error: Floats) -> Floats:
    """Give what a reader that takes an empty cell for 0 must see of a zero target."""
    return np.where(error == 0, 0.0, np.copysign(np.inf, error))
