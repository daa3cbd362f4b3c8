"""Exponential and logarithm that compiled loops can take eight at a time.

The C library's `exp` and `log` are calls, one number each, and stop a compiler from
working on several numbers at once. Those here are arithmetic alone:

    exp(x)  = 2^k p(r),                     k = round(x / ln 2),   r = x - k ln 2
    log(x)  = k ln 2 + 2 artanh(s),         x = m 2^k,  s = (m - 1) / (m + 1)

In float64 they are those of `calibration.l0.portable` to 1e-15 of the value; in float32
within 3e-7. Unlike there, products and sums may be fused into one rounding, so that bits
depend on the processor; within one machine they do not.

Axes: `exp` and `log` take and give single numbers; they compile for either type.

Sources: as in `calibration.l0.portable`; in float32 p is the Taylor polynomial of degree 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

__all__ = ["exp", "log"]

_LOG2_E = 1.4426950408889634
_HEAD = float.fromhex("0x1.62e42fee00000p-1")
_TAIL = float.fromhex("0x1.a39ef35793c76p-33")
_HEAD_32, _TAIL_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
_F = np.float32
_I = np.int32
_FAST: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


def exp(x: Any) -> Any:
    """Raise e to a power, inside compiled loops alone.

    Parameters
    ----------
    x : float64 or float32
        Powers beyond those of normal numbers saturate; NaN gives no meaningful result.

    Returns
    -------
    float of the same type
    """
    raise NotImplementedError(f"exp({x}) is for compiled loops; use calibration.l0.portable")


def log(x: Any) -> Any:
    """Take the natural logarithm of a positive normal number, inside compiled loops alone.

    Parameters
    ----------
    x : float64 or float32

    Returns
    -------
    float of the same type
    """
    raise NotImplementedError(f"log({x}) is for compiled loops; use calibration.l0.portable")


@overload(exp, jit_options=_FAST)
def _exp(x):
    return _exp_32 if x == types.float32 else _exp_64


@overload(log, jit_options=_FAST)
def _log(x):
    return _log_32 if x == types.float32 else _log_64


def _exp_64(x):
    x = min(max(x, -708.0), 709.0)
    k = np.floor(x * _LOG2_E + 0.5)
    r = (x - k * _HEAD) - k * _TAIL
    t = r * r
    bottom = t * (-691 / 653837184000) + 1 / 23950080
    bottom = bottom * t - 1 / 604800
    bottom = bottom * t + 1 / 15120
    bottom = bottom * t - 1 / 360
    bottom = bottom * t + 1 / 6
    bottom = bottom * t + (2.0 - r)
    scale = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    return (1.0 + 2.0 * (r / bottom)) * scale


def _exp_32(x):
    x = min(max(x, _F(-87.0)), _F(88.0))
    k = np.floor(x * _F(_LOG2_E) + _F(0.5))
    r = (x - k * _HEAD_32) - k * _TAIL_32
    p = r * _F(1 / 5040) + _F(1 / 720)
    p = p * r + _F(1 / 120)
    p = p * r + _F(1 / 24)
    p = p * r + _F(1 / 6)
    p = p * r + _F(1 / 2)
    p = p * r + _F(1)
    p = p * r + _F(1)
    return p * _I((_I(k) + _I(127)) << _I(23)).view(np.float32)


def _log_64(x):
    bits = np.float64(x).view(np.int64) - 0x3FE6A09E667F3BCD  # so that m starts at sqrt(1/2)
    k = bits >> 52
    m = np.int64((bits & 0xFFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    t = s * s
    series = t * (2 / 19) + 2 / 17
    series = series * t + 2 / 15
    series = series * t + 2 / 13
    series = series * t + 2 / 11
    series = series * t + 2 / 9
    series = series * t + 2 / 7
    series = series * t + 2 / 5
    series = series * t + 2 / 3
    series = series * t + 2.0
    return k * _HEAD + (s * series + k * _TAIL)


def _log_32(x):
    bits = _I(np.float32(x).view(np.int32) - _I(0x3F3504F3))
    k = _F(_I(bits >> _I(23)))
    m = _I(_I(bits & _I(0x7FFFFF)) + _I(0x3F3504F3)).view(np.float32)
    s = (m - _F(1)) / (m + _F(1))
    t = s * s
    series = t * _F(2 / 9) + _F(2 / 7)
    series = series * t + _F(2 / 5)
    series = series * t + _F(2 / 3)
    series = series * t + _F(2)
    return k * _HEAD_32 + (s * series + k * _TAIL_32)
