"""The random streams of `calibration.rng`, for use inside compiled loops.

A kernel that draws one number for each column and epoch cannot call NumPy for every
number, nor hold them all. Here is the same fold for one key at a time:

    k = fold(k, p)      k <- mix((k xor p) + GAMMA)
    u = unit(k)         floor(k / 2^11) / 2^53, in [0, 1)

Start from a prefix that `calibration.rng.key` made of the seed and the texts, then fold
ids and clone numbers in the same order as there. The bits are those of
`calibration.rng.uniform`; a property test compares them.

Importing this module imports numba, so import it inside the function that needs it.
Compiled code is kept beside the module, or in the user's cache folder if that is
read-only. Where neither can be written it is compiled anew in every process, with the
same results. Numba compiles again when the file of a function has changed, and does not look
at the files of functions that it calls. An installation brings all files anew; who edits
`fold`, `unit` or `calibration.l0.compiled_math` in an editable one removes the `.nbi` files in
the package's `__pycache__` folders.

Axes: `fold` and `unit` take single numbers, `uniform_fold` parts of shape (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from calibration.errors import RandomError
from calibration.splitmix import GAMMA, M1, M2, S11, S27, S30, S31, as_uint64

__all__ = ["compiled", "fold", "uniform_fold", "unit"]


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Compile a function when it is first called, and keep the code if there is a place.

    Parameters
    ----------
    **options
        Of `numba.njit`.

    Returns
    -------
    function
        A decorator.
    """

    def decorate(function: Callable) -> Callable:
        # A loop that may raise is not vectorised.
        chosen: dict[str, Any] = {"error_model": "numpy"} | options
        try:
            return numba.njit(cache=True, **chosen)(function)
        except RuntimeError:  # numba found no folder that it may write to
            return numba.njit(**chosen)(function)

    return decorate


@compiled()
def fold(k, part):  # noqa: ANN001, ANN201  # numba infers the types
    """Fold one more part into a key; compiled, for single numbers.

    Parameters
    ----------
    k : uint64
        Key of the parts so far, from `calibration.rng.key` or from `fold`.
    part : integer
        Whole number of any width, signed or not. A float does not compile.

    Returns
    -------
    uint64
        ``calibration.rng.key(..., part)``.
    """
    # "| 0" changes no whole number and has no meaning for a float.
    z = (np.uint64(k) ^ np.uint64(part | 0)) + GAMMA
    z = (z ^ (z >> S30)) * M1
    z = (z ^ (z >> S27)) * M2
    return z ^ (z >> S31)


@compiled()
def unit(k):  # noqa: ANN001, ANN201
    """Turn a key into a uniform in [0, 1); compiled, for single numbers.

    Parameters
    ----------
    k : uint64

    Returns
    -------
    float64
        ``calibration.rng.unit(k)``.
    """
    return np.float64(np.uint64(k) >> S11) * 2.0**-53


_CHUNK = 4096  # keys that stay in the first cache between the passes over them


@compiled()
def _fold_each(keys, part):  # noqa: ANN001, ANN202
    for i in range(len(keys)):
        keys[i] = fold(keys[i], part[i])


@compiled()
def _unit_each(keys, u):  # noqa: ANN001, ANN202
    for i in range(len(keys)):
        u[i] = unit(keys[i])


@compiled()
def _draw(prefix, parts, out):  # noqa: ANN001, ANN202
    buffer = np.empty(_CHUNK, dtype=np.uint64)
    for start in range(0, len(out), _CHUNK):
        end = min(start + _CHUNK, len(out))
        keys = buffer[: end - start]
        keys[:] = prefix
        for part in parts:
            _fold_each(keys, part[start:end])
        _unit_each(keys, out[start:end])


def uniform_fold(prefix: np.uint64 | int, *parts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Draw a uniform for every row of some parts.

    Parameters
    ----------
    prefix : uint64
        Key of the parts that all rows share, from `calibration.rng.key`.
    *parts : ndarray of integers, shape (n,)
        At least one; all of one length.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1). Bit for bit what `calibration.rng.uniform` draws when the parts follow
        those of the prefix.

    Raises
    ------
    RandomError
        If there is no part, a part is not one row of whole numbers, or lengths differ.
    """
    shapes = [np.shape(part) for part in parts]
    if not shapes or len(shapes[0]) != 1 or len(set(shapes)) != 1:
        raise RandomError(f"parts have shapes {shapes}; give rows of one length, at least one")
    u = np.empty(shapes[0])
    _draw(np.uint64(prefix), tuple(np.ascontiguousarray(as_uint64(p)) for p in parts), u)
    return u
