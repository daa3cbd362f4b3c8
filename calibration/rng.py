"""Random numbers that belong to things, not to rows.

A draw is a pure function of what it is drawn for: `uniform(seed, "takeup", "snap",
household_id, spm_unit_id, clone)` gives the same number in every file, on every
machine, in any order of rows and beside any other rows. Nothing is consumed, so
nothing can be out of step.

    k_0 = mix(GAMMA)
    k_i = mix((k_{i-1} xor p_i) + GAMMA)        for the parts p_1 ... p_m of the key
    U   = floor(k_m / 2^11) / 2^53              in [0, 1)

`mix` is the output function of SplitMix64. A text part enters as the first eight
bytes of its BLAKE2b digest, a whole number as its 64-bit two's complement. Order
matters: ("a", 1) and (1, "a") are different keys.

Axes: the array parts of a key broadcast against each other; the result has their
common shape.

Sources: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195 (SplitMix64; `mix` is
their mix64variant13); Salmon et al. 2011, doi:10.1145/2063384.2063405 (counter-based
random numbers).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.splitmix import GAMMA, M1, M2, S11, S27, S30, S31, as_uint64

__all__ = ["GAMMA", "exponential", "key", "mix", "text_key", "uniform", "unit"]


def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers one to one; every input bit moves half the output bits.

    Parameters
    ----------
    z : ndarray of uint64, any shape

    Returns
    -------
    ndarray of uint64, same shape
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        z = (z ^ (z >> S30)) * M1
        z = (z ^ (z >> S27)) * M2
    return z ^ (z >> S31)


def text_key(text: str) -> int:
    """Give a text its 64-bit number: the first eight bytes of its BLAKE2b digest.

    Parameters
    ----------
    text : str
        Any text; it enters in UTF-8.

    Returns
    -------
    int
        In [0, 2^64), the same on every machine and in every process.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def key(*parts: str | int | ArrayLike) -> NDArray[np.uint64]:
    """Fold the parts of a key into one 64-bit number each.

    Parameters
    ----------
    *parts : str, int or array of integers
        What the draw is for, in a fixed order. Arrays broadcast.

    Returns
    -------
    ndarray of uint64
        Shape: the broadcast shape of the array parts.

    Raises
    ------
    RandomError
        If a part is neither text nor whole numbers. A float or a boolean is refused
        because two of them that print alike need not be equal.
    """
    k = mix(np.asarray(GAMMA))
    for part in parts:
        with np.errstate(over="ignore"):
            k = mix((k ^ as_uint64(text_key(part) if isinstance(part, str) else part)) + GAMMA)
    return k


def unit(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn keys into uniforms in [0, 1), multiples of 2^-53.

    Parameters
    ----------
    keys : ndarray of uint64, any shape

    Returns
    -------
    ndarray of float64, same shape
    """
    return (keys >> S11).astype(np.float64) * 2.0**-53


def uniform(*parts: str | int | ArrayLike) -> NDArray[np.float64]:
    """Draw uniforms in [0, 1) for a key; see `key` for the parts and the errors.

    Returns
    -------
    ndarray of float64
        Shape: the broadcast shape of the array parts.

    Examples
    --------
    >>> float(uniform(0, "example", 7).round(6)) == float(uniform(0, "example", [7])[0].round(6))
    True
    """
    return unit(key(*parts))


def exponential(*parts: str | int | ArrayLike) -> NDArray[np.float64]:
    """Draw standard exponentials, -log(1 - U), for a key; see `key`.

    Returns
    -------
    ndarray of float64
        In [0, 37); shape: the broadcast shape of the array parts.
    """
    return -np.log1p(-uniform(*parts))
