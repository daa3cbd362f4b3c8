"""Elementary functions that give the same bits on every machine.

A fit with gates amplifies differences: a change of 1e-9 in the start weights has grown to
between 1e-7 and 1 in the logarithms of the weights after 600 epochs (78 rows, 300 to 3,000
columns), and where it nears 1, other columns are retained. The exponential and the
logarithm of NumPy, of SciPy and of the C library differ in their last bit between
processors, instruction sets and library versions. The functions here do not, because
they use nothing but addition, multiplication, division and rounding, which IEEE 754
fixes to the bit, one operation at a time (no fused multiply-add can arise between two
NumPy calls).

    exp(x)  = 2^k (1 + 2r / (R(r) - r)),   k = round(x / ln 2),   r = x - k ln 2
              R(r) = r coth(r/2) = 2 + sum_j 2 B_2j r^2j / (2j)!      (Bernoulli numbers)
    log(x)  = k ln 2 + 2 artanh(s),        x = m 2^k,  s = (m - 1) / (m + 1)
    sin(y)  = y - y^3/3! + y^5/5! - ...

`exp` is within two and `log` within three units of the last place of the true value; a
test compares them with high-precision arithmetic.

Axes: every function works element by element on an array of any shape, in float64.

Sources: NIST Digital Library of Mathematical Functions 4.19.6 (hyperbolic cotangent, as
R), 4.6.4 (artanh form of the logarithm), 4.19.1; splitting ln 2 into a short head and a
tail: Cody & Waite 1980, "Software Manual for the Elementary Functions".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["exp", "half_cosine", "log", "logit", "sigmoid"]

Floats = NDArray[np.float64]

_LOG2_E = 1.4426950408889634
_LN2_HEAD = float.fromhex("0x1.62e42fee00000p-1")  # 32 bits: k * head is exact for |k| < 2^21
_LN2_TAIL = float.fromhex("0x1.a39ef35793c76p-33")
_ROUND = 1.5 * 2.0**52  # adding it leaves the nearest whole number in the low bits
_COTH = (2.0, 1 / 6, -1 / 360, 1 / 15120, -1 / 604800, 1 / 23950080, -691 / 653837184000)
_ARTANH = tuple(2.0 / (2 * j + 1) for j in range(10))
_SINE = (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800)
_SINE += (-1 / 1307674368000, 1 / 355687428096000, -1 / 121645100408832000)
_SINE += (1 / 51090942171709440000,)
_LOWEST, _HIGHEST = -708.0, 709.0  # beyond them 2^k is not a normal number
_CHUNK = 8192  # numbers at a time: the dozen passes over them then stay in the cache


def exp(x: ArrayLike) -> Floats:
    """Raise e to each power.

    Parameters
    ----------
    x : array of float, any shape
        Powers below -708 count as -708 and above 709 as 709: the result is always a
        positive normal number. NaN stays NaN.

    Returns
    -------
    ndarray of float64, same shape
    """
    powers = np.asarray(x, dtype=np.float64)
    flat = powers.reshape(-1)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        _exp_chunk(flat[start : start + _CHUNK], out[start : start + _CHUNK])
    return out.reshape(powers.shape)


def log(x: ArrayLike) -> Floats:
    """Take the natural logarithm of positive normal numbers.

    Parameters
    ----------
    x : array of float, any shape
        Positive; 0 and negative numbers give meaningless results, so callers check.

    Returns
    -------
    ndarray of float64, same shape
    """
    mantissa, power = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < 0.7071067811865476
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    k = (power - low).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    series = _polynomial(_ARTANH, s * s)
    return k * _LN2_HEAD + (s * series + k * _LN2_TAIL)


def sigmoid(x: ArrayLike) -> Floats:
    """Give 1 / (1 + exp(-x)).

    Parameters
    ----------
    x : array of float, any shape

    Returns
    -------
    ndarray of float64, same shape
        In (0, 1].
    """
    return 1.0 / (1.0 + exp(-np.asarray(x, dtype=np.float64)))


def logit(p: ArrayLike) -> Floats:
    """Give log(p / (1 - p)), the inverse of `sigmoid`.

    Parameters
    ----------
    p : array of float, any shape
        Strictly between 0 and 1; callers check.

    Returns
    -------
    ndarray of float64, same shape
    """
    probability = np.asarray(p, dtype=np.float64)
    return log(probability / (1.0 - probability))


def half_cosine(fraction: ArrayLike) -> Floats:
    """Give (1 + cos(pi * fraction)) / 2, which falls smoothly from 1 to 0.

    Parameters
    ----------
    fraction : array of float, any shape
        In [0, 1].

    Returns
    -------
    ndarray of float64, same shape
        1 at 0, 1/2 at 1/2, 0 at 1.
    """
    y = np.pi * (0.5 - np.asarray(fraction, dtype=np.float64))
    return 0.5 + 0.5 * (y * _polynomial(_SINE, y * y))


def _polynomial(coefficients: tuple[float, ...], t: Floats) -> Floats:
    """Horner's rule, lowest power first in `coefficients`."""
    total = coefficients[-1] * t
    total += coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total *= t
        total += coefficient
    return total


def _exp_chunk(x: Floats, out: Floats) -> None:
    r = np.maximum(x, _LOWEST)  # on short arrays np.clip takes three times as long
    np.minimum(r, _HIGHEST, out=r)
    shifted = r * _LOG2_E
    shifted += _ROUND
    k = shifted - _ROUND
    np.multiply(k, _LN2_HEAD, out=out)
    r -= out
    k *= _LN2_TAIL
    r -= k
    np.multiply(r, r, out=k)
    bottom = _polynomial(_COTH, k)
    bottom -= r
    np.divide(r, bottom, out=out)
    out *= 2.0
    out += 1.0
    scale = shifted.view(np.int64)  # its low 12 bits hold k; with the bias, an exponent
    scale += 1023
    scale <<= 52
    out *= scale.view(np.float64)
