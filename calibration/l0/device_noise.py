"""The keyed uniforms of `calibration.rng`, made where the fit runs, bit for bit.

    k = mix((prefix xor column_key) + GAMMA),   U = floor(k / 2^11) / 2^53
    prefix = key(seed, "gate", epoch)           one number an epoch, made by NumPy

A device holds its numbers as int64. Addition and multiplication wrap around modulo 2^64,
so they give the bits of unsigned arithmetic; only the shift to the right needs a mask,
because that of signed numbers copies the sign.

Axes: C columns.

Source: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195, as in `calibration.splitmix`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration import rng
from calibration.splitmix import GAMMA, M1, M2

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["device_keys", "device_uniforms", "epoch_prefixes"]

# The int64 with the same bits; plain numbers, so that PyTorch can compile what uses them.
_GAMMA, _M1, _M2 = (int(bits.view(np.int64)) for bits in (GAMMA, M1, M2))


def epoch_prefixes(seed: int, epochs: int) -> NDArray[np.int64]:
    """Fold seed and epoch into one key each, for epochs 1 to `epochs`.

    Parameters
    ----------
    seed : int
    epochs : int

    Returns
    -------
    (epochs,) array of int64
        Entry e - 1 belongs to epoch e.
    """
    return rng.key(seed, "gate", np.arange(1, epochs + 1)).view(np.int64)


def device_keys(column_key: NDArray[np.uint64], device: str) -> Tensor:
    """Move the identities of columns to a device, as the int64 with the same bits.

    Parameters
    ----------
    column_key : (C,) array of uint64
    device : str

    Returns
    -------
    (C,) tensor of int64
    """
    import torch

    return torch.from_numpy(np.ascontiguousarray(column_key).view(np.int64)).to(device)


def device_uniforms(prefix: Tensor, keys: Tensor) -> Tensor:
    """Draw one uniform for each column.

    Parameters
    ----------
    prefix : tensor of int64, one number
        An entry of `epoch_prefixes`.
    keys : (C,) tensor of int64

    Returns
    -------
    (C,) tensor of float64
        The bits of `rng.uniform(seed, "gate", epoch, column_key)`.
    """
    k = _mix((keys ^ prefix) + _GAMMA)
    return _shift(k, 11).double() * 2.0**-53


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _M1
    z = (z ^ _shift(z, 27)) * _M2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, places: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return (z >> places) & ((1 << (64 - places)) - 1)
