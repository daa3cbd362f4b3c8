"""The arithmetic that the random streams share, in NumPy and in compiled loops alike.

`calibration.rng` folds arrays, `calibration.rng_numba` folds one key at a time. They give
the same bits because the constants of SplitMix64, and the way in which a whole number
becomes 64 bits, stand here once:

    mix(z):   z <- (z xor z >> S30) * M1;   z <- (z xor z >> S27) * M2;   z xor z >> S31
    fold:     k <- mix((k xor p) + GAMMA)
    uniform:  floor(k / 2^S11) / 2^53

Axes: none; `as_uint64` keeps the shape of what it is given.

Source: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195 (SplitMix64; the constants of
`mix` are those of its mix64variant13).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import RandomError

__all__ = ["GAMMA", "M1", "M2", "S11", "S27", "S30", "S31", "as_uint64"]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64: 2^64 divided by the golden ratio, made odd."""

M1 = np.uint64(0xBF58476D1CE4E5B9)
M2 = np.uint64(0x94D049BB133111EB)
S30, S27, S31, S11 = (np.uint64(n) for n in (30, 27, 31, 11))


def as_uint64(part: ArrayLike) -> NDArray[np.uint64]:
    """Give whole numbers their 64 bits, negative ones in two's complement.

    Parameters
    ----------
    part : int or array of integers, any width

    Returns
    -------
    ndarray of uint64, same shape

    Raises
    ------
    RandomError
        If the numbers are not whole: floats, booleans or text.
    """
    values = np.asarray(part)
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    if values.dtype.kind == "i":
        return values.astype(np.int64).view(np.uint64)
    raise RandomError(
        f"a part of a random key is {values.dtype} ({part!r}); "
        "give text or whole numbers (ids, clone numbers, seeds)"
    )
