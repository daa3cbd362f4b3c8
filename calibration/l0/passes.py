"""An epoch as one compiled pass over X: pull, Adam's step, new gates, new sums.

    pull       q_j = sum_i X_ij v_i
    step       g_theta = (q + 2 l2 w) w,   g_alpha = (q + 2 l2 w) h + lambda_0 P (1 - P),
               then Adam on both, from one array of parameters into another
    gates      w_j = exp(theta_j) z_j,   h_j = dw_j / d alpha_j,   with the noise of the next epoch
    sums       partial sums of X w

What an epoch pulls with depends on the sums of the one before, so a pass ends an epoch and
begins the next: X is read once for both. A pass goes group by group (`calibration.l0.strips`),
with a group's numbers in a buffer that stays in the first cache. From pass to pass
only w and h are kept. Gate noise is hashed where it is used.

One number type T, float64 or float32, is that of the values of X, the parameters, the moments
and the arithmetic of a column. Sums over columns are float64: a strip of at most 512
products is added in T, and its sum to the float64 partial sum of its block. A pass over some
blocks touches nothing of the others, so threads that share out whole blocks change no bit.

Why the loops look as they do: all rows of the buffer are parts of one array at fixed
distances, which is how the compiler knows that they do not overlap; every loop does a
few operations on a few rows, which is what it can vectorise; four strips are taken
together, so that weights are loaded once for the four.

Axes: columns j (C, in the order of the strips), pairs p of block and finest row (P).

Importing this module imports numba; see `calibration.rng_numba` on where compiled code is kept.
"""

from __future__ import annotations

import numpy as np

from calibration.l0.compiled_math import exp, log
from calibration.l0.gates import CLAMP
from calibration.rng_numba import compiled, fold, unit

__all__ = ["WIDTH", "advance", "pull", "sums"]

WIDTH = 512
"""Most columns of a group: a strip of them, and the buffer, stay in the first cache."""

_W = 512


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _dot_4(dense, a, b, c, d, w, at, n):
    a, b, c, d = np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)
    zero, at = w.dtype.type(0), np.uint64(at)
    s, t, u, v = zero, zero, zero, zero
    for i in range(np.uint64(n)):
        x = w[at + i]
        s += dense[a + i] * x
        t += dense[b + i] * x
        u += dense[c + i] * x
        v += dense[d + i] * x
    return s, t, u, v


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _dot(dense, a, w, at, n):
    s, a, at = w.dtype.type(0), np.uint64(a), np.uint64(at)
    for i in range(np.uint64(n)):
        s += dense[a + i] * w[at + i]
    return s


@compiled(fastmath={"contract"})
def _add_4(dense, a, b, c, d, s, t, u, v, q, n):
    a, b, c, d = np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d)
    for i in range(np.uint64(n)):
        q[i] += (dense[a + i] * s + dense[b + i] * t) + (dense[c + i] * u + dense[d + i] * v)


@compiled(fastmath={"contract"})
def _add(dense, a, s, q, n):
    a = np.uint64(a)
    for i in range(np.uint64(n)):
        q[i] += dense[a + i] * s


@compiled()
def _strip_sums(pair, place, dense, s, end, w, at, n, partial):
    """Add the products of strips s to end - 1 with w[at : at + n] to the partial sums."""
    while s + 4 <= end:
        a, b, c, d = place[s], place[s + 1], place[s + 2], place[s + 3]
        r, t, u, v = _dot_4(dense, a, b, c, d, w, at, n)
        partial[pair[s]] += r
        partial[pair[s + 1]] += t
        partial[pair[s + 2]] += u
        partial[pair[s + 3]] += v
        s += 4
    while s < end:
        partial[pair[s]] += _dot(dense, place[s], w, at, n)
        s += 1


@compiled()
def _rest_sums(start, pair, value, first, n, w, at, partial):
    """Add the products of the other entries of n columns with w[at : at + n]."""
    if start[first] == start[first + n]:
        return
    for i in range(n):
        weight = w[at + i]
        for e in range(start[first + i], start[first + i + 1]):
            partial[pair[e]] += value[e] * weight


@compiled()
def _strip_pull(pair, place, dense, s, end, values, q, n):
    """Put the pull of strips s to end - 1 into q[:n]."""
    for i in range(n):
        q[i] = 0
    while s + 4 <= end:
        a, b, c, d = place[s], place[s + 1], place[s + 2], place[s + 3]
        r, t, u, v = values[pair[s]], values[pair[s + 1]], values[pair[s + 2]], values[pair[s + 3]]
        _add_4(dense, a, b, c, d, r, t, u, v, q, n)
        s += 4
    while s < end:
        _add(dense, place[s], values[pair[s]], q, n)
        s += 1


@compiled()
def _rest_pull(start, pair, value, first, n, values, q):
    """Add the pull of the other entries of n columns to q[:n]."""
    if start[first] == start[first + n]:
        return
    for i in range(n):
        total = q[i]
        for e in range(start[first + i], start[first + i + 1]):
            total += value[e] * values[pair[e]]
        q[i] = total


@compiled(nogil=True)
def sums(x, lo, hi, weights, partial):
    """Make the partial sums of some blocks.

    Parameters
    ----------
    x : Layout
    lo, hi : int
        Blocks lo to hi - 1.
    weights : (C,) array of T
    partial : (P,) array of float64
        Added to, at the pairs of these blocks.
    """
    cut, strip, pair, place, dense = x[1:6]
    start, other, value = x[6:9]
    for g in range(x.block_group[lo], x.block_group[hi]):
        first, n = cut[g], cut[g + 1] - cut[g]
        _strip_sums(pair, place, dense, strip[g], strip[g + 1], weights, first, n, partial)
        _rest_sums(start, other, value, first, n, weights, first, partial)


@compiled(nogil=True)
def pull(x, lo, hi, values, out):
    """Give the pull of a vector over pairs on the columns of some blocks.

    Parameters
    ----------
    x : Layout
    lo, hi : int
        Blocks lo to hi - 1.
    values : (P,) array of T
    out : (C,) array of T
        Written at the columns of these blocks.
    """
    cut, strip, pair, place, dense = x[1:6]
    start, other, value = x[6:9]
    q = np.empty(_W, out.dtype)
    for g in range(x.block_group[lo], x.block_group[hi]):
        first, n = cut[g], cut[g + 1] - cut[g]
        _strip_pull(pair, place, dense, strip[g], strip[g + 1], values, q, n)
        _rest_pull(start, other, value, first, n, values, q)
        for i in range(n):
            out[first + i] = q[i]


@compiled()
def _noise(b, at, n, keys, prefix, given, first, odds):
    """Put the logistic noise of n columns into b[at : at + n]."""
    if given.size:
        _load(b, at, given[first : first + n])
        return
    key = keys[first : first + n]
    for i in range(n):
        u = min(max(unit(fold(prefix, key[i])), CLAMP), 1 - CLAMP)
        odds[i] = u / (1 - u)
    for i in range(n):
        b[at + i] = odds[i]
    for i in range(n):
        b[at + i] = log(b[at + i])


@compiled()
def _load(b, at, row):
    at = np.uint64(at)  # a signed place might count from the end, one copy at a time
    for i in range(np.uint64(len(row))):
        b[at + i] = row[i]


@compiled()
def _store(b, at, row):
    at = np.uint64(at)
    for i in range(np.uint64(len(row))):
        row[i] = b[at + i]


@compiled(inline="always")
def _adam(b, gradient, at, n, rates):
    """Move b[at], its moments being in the two rows after it, against b[gradient]."""
    one = rates.dtype.type(1)
    step, root, epsilon = rates[0], rates[1], rates[2]
    b1, b2 = rates[3], rates[4]
    for i in range(n):
        slope = b[gradient + i]
        m = b1 * b[at + _W + i] + (one - b1) * slope
        v = b2 * b[at + 2 * _W + i] + (one - b2) * (slope * slope)
        b[at + _W + i] = m
        b[at + 2 * _W + i] = v
        b[at + i] -= step * m / (np.sqrt(v) / root + epsilon)


@compiled(fastmath={"contract"})
def _step(b, q, first, n, moments, second, weights, slopes, prices, rates):
    """Turn the pull q into gradients and move theta, in b[0], and log alpha, in b[3 W].

    Once it is used, q holds exponentials: a loop that takes them does nothing else.
    """
    penalty, threshold, gated, ungated = prices[0], prices[1], prices[2], prices[3]
    one = rates.dtype.type(1)
    for row in range(2):
        _load(b, (3 * row + 1) * _W, moments[row, first : first + n])
        _load(b, (3 * row + 2) * _W, second[row, first : first + n])
    _load(b, 6 * _W, weights[first : first + n])
    for i in range(n):
        b[7 * _W + i] = q[i] + gated * b[6 * _W + i]
    for i in range(n):
        b[6 * _W + i] = b[6 * _W + i] * b[7 * _W + i]
    if ungated != 0:
        for i in range(n):
            q[i] = exp(b[i])
        for i in range(n):
            b[6 * _W + i] += ungated * q[i] * q[i]
    slope = slopes[first : first + n]
    for i in range(n):
        b[7 * _W + i] *= slope[i]
    for i in range(n):
        q[i] = exp(threshold - b[3 * _W + i])
    for i in range(n):
        p = one / (one + q[i])
        b[7 * _W + i] += penalty * (q[i] * p * p)
    _adam(b, 6 * _W, 0, n, rates)
    _adam(b, 7 * _W, 3 * _W, n, rates)
    for row in range(2):
        _store(b, (3 * row + 1) * _W, moments[row, first : first + n])
        _store(b, (3 * row + 2) * _W, second[row, first : first + n])


@compiled(fastmath={"contract"})
def _gates(b, first, n, shape, weights, slopes):
    """Put w into b[6 W] and h into b[7 W], theta, log alpha, noise being in 0, 3 W and 6 W."""
    beta, gamma, zeta = shape[0], shape[1], shape[2]
    one, zero = weights.dtype.type(1), weights.dtype.type(0)
    width = zeta - gamma
    for i in range(n):
        b[6 * _W + i] = (b[6 * _W + i] + b[3 * _W + i]) / -beta
    for i in range(n):
        b[6 * _W + i] = one / (one + exp(b[6 * _W + i]))
    for i in range(n):
        b[_W + i] = exp(b[i])
    for i in range(n):
        s = b[6 * _W + i]
        stretched = s * width + gamma
        gate = min(max(stretched, zero), one)
        moves = one if gate == stretched else zero
        b[6 * _W + i] = b[_W + i] * gate
        b[7 * _W + i] = b[_W + i] * (s * (one - s) * (width / beta)) * moves
    _store(b, 6 * _W, weights[first : first + n])
    _store(b, 7 * _W, slopes[first : first + n])


@compiled(nogil=True)
def advance(x, lo, hi, values, state, terms, noise, partial):
    """End an epoch of some blocks' columns, and begin the next.

    Parameters
    ----------
    x : Layout
    lo, hi : int
        Blocks lo to hi - 1.
    values : (P,) array of T
        dL/dy of the row of each pair; empty if no epoch has begun.
    state : tuple of arrays of T
        Parameters, new parameters, first and second moments (2, C), w and h (C,). All but
        the first are written at the columns of these blocks.
    terms : tuple of arrays of T
        (beta, gamma, zeta); (lambda_0, the gate threshold, twice lambda_2 on gated and on
        ungated weights); (step, root, epsilon, Adam's two decays).
    noise : tuple
        Keys (C,) of uint64, the key of seed and epoch, and (C,) noise to use in place of the
        hashed, empty if none.
    partial : (P,) array of float64
        Added to, at the pairs of these blocks.
    """
    parameters, out, moments, second, weights, slopes = state
    shape, prices, rates = terms
    keys, prefix, given = noise
    cut, strip, pair, place, dense = x[1:6]
    start, other, value = x[6:9]
    b = np.empty(8 * _W, weights.dtype)
    q = np.empty(_W, weights.dtype)
    odds = np.empty(_W)
    for g in range(x[0][lo], x[0][hi]):
        first, n = cut[g], cut[g + 1] - cut[g]
        for row in range(2):
            _load(b, 3 * row * _W, parameters[row, first : first + n])
        if values.size:
            _strip_pull(pair, place, dense, strip[g], strip[g + 1], values, q, n)
            _rest_pull(start, other, value, first, n, values, q)
            _step(b, q, first, n, moments, second, weights, slopes, prices, rates)
            for row in range(2):
                _store(b, 3 * row * _W, out[row, first : first + n])
        _noise(b, 6 * _W, n, keys, prefix, given, first, odds)
        _gates(b, first, n, shape, weights, slopes)
        _strip_sums(pair, place, dense, strip[g], strip[g + 1], b, 6 * _W, n, partial)
        _rest_sums(start, other, value, first, n, b, 6 * _W, partial)
