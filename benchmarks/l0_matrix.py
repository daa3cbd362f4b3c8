"""A matrix as production's, at any size: who lives where, what they have, what is counted.

    X = G Z     Z (F, C): 40 variables of the column's own district, F = 40 * 436
                G (T, F): the variables that are targets in districts, and all of them in the
                states and the nation, which are sums of districts

Of the 40 variables 18 are counts by age, 9 say in which class an income lies, 13 are
lognormal amounts that many records do not have. Six vary with the state, as programmes do,
and three carry a takeup flag of their own for each column. Targets are what a log-linear
reweighting of the columns gives, with 2 % noise, so that they can be reached together.

Axes: columns C = records R x clones N, clone-major; districts D = 436 in 51 states; targets T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.compact import FactoredMatrix, GridMatrix

__all__ = ["SIZES", "Instance", "Size", "make"]

DISTRICTS, STATES = 436, 51
COUNTS, CLASSES, AMOUNTS = 18, 9, 13
VARIABLES = COUNTS + CLASSES + AMOUNTS
BY_STATE = (27, 28, 29, 30, 31, 32)
TAKEUP = (37, 38, 39)


@dataclass(frozen=True)
class Size:
    """Records, clones, and every how many variables one is a target in districts."""

    records: int
    clones: int
    every: int


SIZES = {
    "small": Size(6_000, 10, 6),
    "medium": Size(10_000, 50, 6),
    "large": Size(12_000, 430, 1),
    "complete": Size(12_000, 436, 1),
}


@dataclass(frozen=True)
class Instance:
    """One calibration problem in its factored form.

    X in its compact form, which for a complete design is a grid; Z (F, C) by column, G (T, F)
    by row, targets t (T,), start weights w0 (C,), and district (C,), by which columns are
    shared out over the blocks.
    """

    X: FactoredMatrix | GridMatrix
    Z: Any
    G: Any
    t: NDArray[np.float64]
    w0: NDArray[np.float64]
    district: NDArray[np.int64]

    @property
    def block(self) -> NDArray[np.int64]:
        """Neighbouring districts share a block, so that a block's sums have few rows."""
        return self.district * 64 // DISTRICTS


def make(size: Size, seed: int = 1) -> Instance:
    """Draw an instance.

    Parameters
    ----------
    size : Size
    seed : int

    Returns
    -------
    Instance
    """
    rng = np.random.default_rng(seed)
    base = _base(rng, size.records)
    state = np.sort(
        np.concatenate([np.arange(STATES), rng.integers(0, STATES, DISTRICTS - STATES)])
    )
    effect = np.exp(0.3 * rng.standard_normal((STATES, len(BY_STATE)))).astype(np.float32)
    place = np.argsort(rng.random((size.records, DISTRICTS)), axis=1)[:, : size.clones]
    district = place.T.ravel().astype(np.int64)  # clone-major
    Z, takes = _cells(rng, base, effect, state[district], district)
    G = _levels(state, size.every)
    X = FactoredMatrix(G, Z)
    if size.clones == DISTRICTS:
        X = _grid(G, (base, effect, takes), state, district)
    w0 = 1000.0 / size.clones * np.exp(0.5 * rng.standard_normal(district.size))
    truth = (
        w0
        * np.exp(0.3 * rng.standard_normal(VARIABLES) @ (base > 0).T.astype(float) / 3)[
            np.arange(district.size) % size.records
        ]
    )
    t = (G @ (Z @ truth)) * (1 + 0.02 * rng.standard_normal(G.shape[0]))
    return Instance(X, Z, G, t, w0, district)


def _base(rng: np.random.Generator, records: int) -> NDArray[np.float32]:
    """Values of each record, (R, 40)."""
    base = np.zeros((records, VARIABLES), np.float32)
    people = 1 + rng.poisson(1.5, records)
    for i, n in enumerate(people):
        np.add.at(base[i], rng.integers(0, COUNTS, n), 1)
    base[np.arange(records), COUNTS + rng.integers(0, CLASSES, records)] = 1
    has = rng.random((records, AMOUNTS)) < np.linspace(0.15, 0.85, AMOUNTS)
    amounts = np.exp(8 + 1.2 * rng.standard_normal((records, AMOUNTS)))
    base[:, COUNTS + CLASSES :] = has * amounts
    return base


def _cells(
    rng: np.random.Generator,
    base: NDArray[np.float32],
    effect: NDArray[np.float32],
    state: NDArray[np.int64],
    district: NDArray[np.int64],
) -> tuple[Any, NDArray[np.bool_]]:
    """Put together Z by column, one clone of all records at a time, and the flags (C, 3)."""
    values, rows, counts, flags, records = [], [], [], [], len(base)
    for first in range(0, district.size, records):
        here = district[first : first + records]
        cell = base.copy()
        cell[:, BY_STATE] *= effect[state[first : first + records]]
        flags.append(rng.random((records, len(TAKEUP))) < 0.7)
        cell[:, TAKEUP] *= flags[-1]
        record, variable = np.nonzero(cell)
        values.append(cell[record, variable])
        rows.append((variable * DISTRICTS + here[record]).astype(np.int32))
        counts.append(np.count_nonzero(cell, axis=1))
    start = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    shape = (VARIABLES * DISTRICTS, district.size)
    Z = sparse.csc_array((np.concatenate(values), np.concatenate(rows), start), shape=shape)
    return Z, np.concatenate(flags)


def _grid(
    G: Any,
    values: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    state: NDArray[np.int64],
    district: NDArray[np.int64],
) -> GridMatrix:
    """Lay out the same values as tables and bits: every record stands in every district."""
    base, effect, takes = values
    column = np.empty((DISTRICTS, len(base)), np.int32)
    column[district, np.arange(district.size) % len(base)] = np.arange(district.size)
    table = np.repeat(base.T[:, :, np.newaxis], STATES, axis=2)
    table[list(BY_STATE)] *= effect.T[:, np.newaxis, :]
    plane = np.full(VARIABLES, -1)
    plane[list(TAKEUP)] = np.arange(len(TAKEUP))
    bits = np.packbits(takes.T[:, column], axis=0, bitorder="little")
    rest = sparse.csr_array((VARIABLES * DISTRICTS, district.size), dtype=np.float32)
    return GridMatrix(G, table, state, column, plane, bits, rest)


def _levels(state: NDArray[np.int64], every: int) -> Any:
    """G: the targeted variables of districts, then all variables by state and nation."""
    one = sparse.identity(VARIABLES, format="csr", dtype=np.float32)
    districts = sparse.identity(DISTRICTS, format="csr", dtype=np.float32)
    by_state = sparse.csr_array(
        (np.ones(DISTRICTS, np.float32), (state, np.arange(DISTRICTS))), shape=(STATES, DISTRICTS)
    )
    nation = sparse.csr_array(np.ones((1, DISTRICTS), np.float32))
    parts = [sparse.kron(one.tocsr()[::every], districts)]
    parts += [sparse.kron(one, level) for level in (by_state, nation)]
    return sparse.csr_array(sparse.vstack(parts, format="csr"))
