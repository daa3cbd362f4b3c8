"""The random streams: published vectors, our own vectors, and statistics of the draws.

The first vectors are those of SplitMix64 itself. The second are ours: any other
implementation of `calibration.rng` must reproduce them (they also stand in
tests/reference/rng_vectors.csv, with the uniforms).

    key                                                hexadecimal
    []                                                 e220a8397b1dcdaf
    [0]                                                a706dd2f4d197e6f
    [-1]                                               2dd82c88fa32b270
    ["café", 1]                                        5e2351854b1904f7
    [0, "takeup", "snap", 1234567, 7654321, 2]         70016392dd29b793
    [0, "district", 8, 3712, 0]                        66652ae850c11e37

The empty key is mix(GAMMA), the first number of SplitMix64 from seed 0.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from calibration import rng
from calibration.errors import RandomError

VECTORS = Path(__file__).parents[1] / "reference" / "rng_vectors.csv"
MILLION = np.arange(1_000_000)
ALPHA = 1e-6  # of every statistical test: the draws are fixed, a failure is a defect


def read_vectors():
    """List (parts, key, uniform) of the published table."""
    with VECTORS.open(newline="", encoding="utf-8") as stream:
        return [
            (json.loads(line["parts"]), int(line["key"], 16), float(line["uniform"]))
            for line in csv.DictReader(stream)
        ]


# -- vectors ---------------------------------------------------------------------------


def test_mix_reproduces_splitmix64():
    """From seed 1234567 the first five outputs are those of the published generator.

    Source: S. Vigna, splitmix64.c; expected values as listed on Rosetta Code,
    "Pseudo-random numbers/Splitmix64".
    """
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * rng.GAMMA
    assert rng.mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize(("parts", "key", "uniform"), read_vectors())
def test_keys_are_the_pinned_ones(parts, key, uniform):
    """Keys and uniforms never change: every stored run depends on them."""
    assert int(rng.key(*parts)) == key
    assert float(rng.uniform(*parts)) == uniform


def test_the_table_above_is_the_table_in_the_file():
    """The module docstring lists the same keys, in the same order, as the file."""
    written = [line.rsplit(None, 1) for line in (__doc__ or "").splitlines() if "    [" in line]
    table = [(json.loads(parts), int(key, 16)) for parts, key in written]
    assert table == [(parts, key) for parts, key, _ in read_vectors()]
    assert len(table) == 6


# -- what a key is ---------------------------------------------------------------------


@pytest.mark.parametrize("changed", range(6))
def test_every_part_of_a_key_matters(changed):
    """Changing any one part, by one, changes about every draw."""
    parts = [0, "takeup", "snap", np.arange(1000), 7, 2]
    other = list(parts)
    other[changed] = other[changed] + ("x" if isinstance(other[changed], str) else 1)
    assert not (rng.uniform(*parts) == rng.uniform(*other)).any()


def test_order_and_number_of_parts_matter():
    """Swapping, dropping or repeating a part gives another key."""
    keys = [rng.key(*p) for p in ((1, 2), (2, 1), (1,), (2,), (1, 2, 2), (0, 1, 2), ("1", 2))]
    assert len({int(k) for k in keys}) == len(keys)


def test_a_number_is_the_same_in_any_integer_type():
    """Width and sign of the type do not enter, only the 64-bit two's complement does."""
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64):
        assert rng.key("a", dtype(100)) == rng.key("a", 100) == rng.key("a", [100])[0]
    assert rng.key("a", np.int8(-1)) == rng.key("a", -1) == rng.key("a", 2**64 - 1)


@pytest.mark.parametrize(
    "part",
    [1.0, np.float32(1), True, np.array([True]), None, b"a", np.array(["a"]), 2**64, [0.5]],
)
def test_other_things_than_text_and_whole_numbers_are_refused(part):
    """A float, a flag, bytes, an array of text or a number beyond 64 bits is an error."""
    with pytest.raises(RandomError, match="give text or whole numbers"):
        rng.uniform(0, "x", part)


def test_parts_broadcast():
    """Array parts give their common shape, and every entry is the draw of its own key."""
    drawn = rng.uniform(0, "x", np.arange(3)[:, None], np.arange(4))
    assert drawn.shape == (3, 4)
    assert drawn[2, 3] == rng.uniform(0, "x", 2, 3)
    assert rng.uniform(0, "x").shape == ()
    assert rng.uniform(0, "x", np.arange(0)).shape == (0,)
    with pytest.raises(ValueError, match="broadcast"):
        rng.uniform(np.arange(3), np.arange(4))


def test_drawing_leaves_no_trace():
    """A draw changes neither a later draw nor NumPy's global generator."""
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # the global state is the point
    before = rng.uniform(0, "a", MILLION[:10])
    rng.exponential(1, "b", MILLION[:10])
    assert np.array_equal(rng.uniform(0, "a", MILLION[:10]), before)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# -- what the numbers are like ---------------------------------------------------------


def test_uniforms_are_in_the_half_open_interval():
    """The smallest key gives 0, the largest the last number before 1."""
    ends = rng.unit(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert ends.tolist() == [0.0, 1 - 2.0**-53]


def test_exponentials_are_finite_even_at_the_ends(monkeypatch):
    """A uniform of 0 gives 0, the largest gives less than 37: no race time is infinite."""
    monkeypatch.setattr(rng, "key", lambda *parts: np.array(parts, dtype=np.uint64))
    low, high = rng.exponential(0, 2**64 - 1)
    assert low == 0.0
    assert not np.signbit(low)
    assert 36 < high < 37


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_a_million_draws_are_uniform(seed):
    """Kolmogorov-Smirnov and chi-squared accept a million consecutive ids."""
    u = rng.uniform(seed, "uniformity", MILLION)
    assert stats.kstest(u, "uniform").pvalue > ALPHA
    for shift in (0, 8, 30, 45):  # the top bits, and bits further down
        digit = (np.ldexp(u, shift) % 1 * 256).astype(int)
        assert stats.chisquare(np.bincount(digit, minlength=256)).pvalue > ALPHA


def test_exponentials_are_exponential():
    """A hundred thousand draws pass Kolmogorov-Smirnov against the standard exponential."""
    assert stats.kstest(rng.exponential(3, "e", MILLION[:100_000]), "expon").pvalue > ALPHA


def test_every_input_bit_flips_half_the_output_bits():
    """Of 64 x 64 pairs of input and output bits, each flips in half of 4,096 cases.

    The standard deviation of a share is 1/90 at most: flips of the lowest 12 bits lead from
    one id to another, so those cases are 2,048 pairs. None of 4,096 shares strays 5.5 of them.
    """
    ids = np.arange(4096, dtype=np.uint64)
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    flipped = rng.key("avalanche", ids[:, None] ^ bits) ^ rng.key("avalanche", ids)[:, None]
    share = np.array([((flipped >> b) & np.uint64(1)).mean(axis=0) for b in range(64)])
    assert np.abs(share - 0.5).max() < 5.5 / 90


STREAMS = {
    "names": (lambda i: rng.uniform(0, "snap", i), lambda i: rng.uniform(0, "ssi", i)),
    "seeds": (lambda i: rng.uniform(0, "x", i), lambda i: rng.uniform(1, "x", i)),
    "clones": (lambda i: rng.uniform(0, "x", i, 0), lambda i: rng.uniform(0, "x", i, 1)),
    "neighbours": (lambda i: rng.uniform(0, "x", i), lambda i: rng.uniform(0, "x", i + 1)),
    "even and odd": (
        lambda i: rng.uniform(0, "x", 2 * i),
        lambda i: rng.uniform(0, "x", 2 * i + 1),
    ),
    "swapped": (lambda i: rng.uniform(0, "x", i, i + 1), lambda i: rng.uniform(0, "x", i + 1, i)),
    "prefix": (lambda i: rng.uniform(0, i), lambda i: rng.uniform(0, i, 0)),
    "sign": (lambda i: rng.uniform(0, "x", i + 1), lambda i: rng.uniform(0, "x", -i - 1)),
}


@pytest.mark.parametrize("which", STREAMS)
def test_streams_are_independent(which):
    """The joint distribution of two streams in 16 x 16 cells is uniform."""
    first, second = (stream(MILLION[:200_000]) for stream in STREAMS[which])
    cell = (first * 16).astype(int) * 16 + (second * 16).astype(int)
    assert stats.chisquare(np.bincount(cell, minlength=256)).pvalue > ALPHA


# -- compiled streams ------------------------------------------------------------------


def test_the_package_does_not_import_numba_by_itself():
    """Importing the streams leaves numba alone; only `rng_numba` brings it."""
    code = "import sys, calibration, calibration.rng; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_compiled_streams_equal_the_pinned_ones():
    """The compiled fold gives our vectors, whatever the length of the rows."""
    from calibration.rng_numba import uniform_fold

    prefix = rng.key(0, "takeup", "snap")
    for n in (0, 1, 4095, 4096, 4097, 10_000):  # around the chunk of the kernel
        ids = MILLION[: 2 * n : 2] * 7919  # not contiguous
        expected = rng.uniform(0, "takeup", "snap", ids, -ids)
        assert np.array_equal(uniform_fold(prefix, ids, -ids), expected)
    drawn = uniform_fold(prefix, *(np.array([n]) for n in (1234567, 7654321, 2)))
    assert drawn.tolist() == [0.43752119384331567]


def test_compiled_streams_refuse_what_the_others_refuse():
    """Floats, flags, single numbers, no part and rows of two lengths are errors."""
    from calibration.rng_numba import uniform_fold

    one, two = np.arange(1), np.arange(2)
    for parts in ((), (np.int64(3),), (one, two), (two[:, None],)):
        with pytest.raises(RandomError, match="give rows of one length"):
            uniform_fold(rng.key(), *parts)
    for part in (two * 0.5, two > 0):
        with pytest.raises(RandomError, match="give text or whole numbers"):
            uniform_fold(rng.key(), part)


def test_a_float_does_not_compile_into_a_key():
    """The compiled fold refuses a float when it is compiled, and does not truncate it."""
    from numba.core.errors import TypingError

    from calibration.rng_numba import fold

    with pytest.raises(TypingError):
        fold(rng.key(), 1.5)


def test_compiled_streams_need_no_folder_to_keep_their_code_in(monkeypatch):
    """Where numba may write nowhere, as in a read-only installation, code still compiles."""
    import numba
    from numba.core import caching

    from calibration.rng_numba import compiled

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(lambda x: x + 1)
    assert compiled()(lambda x: x + 1)(1) == 2
