"""Stage 4: what every column would add to every target.

The entry X[i, j] depends on the record, and on where its clone lives: state rules, county
premiums, the clone's own takeup. So the matrix is read off a simulation of the clones
themselves. Columns are grouped by state, cut into chunks, materialised with their own
counties, takeup flags and state-dependent inputs, and simulated. That is exact, and each
chunk is independent of the others, so states can run side by side.

Rows that share a variable and constraints share one vector of household values: it is
computed once and its nonzeros are scattered to the rows by the column's area code.

Axes: targets i in [0, T), columns j = clone * R + record in [0, C). Values are computed
in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration import __version__
from calibration.clones import Clones
from calibration.constraints import Signature, engine_outputs, household_values
from calibration.engines import load_engine
from calibration.errors import MatrixError
from calibration.geography import GeographyAssignment, Level
from calibration.matrix import CalibrationMatrix
from calibration.targets import Target

__all__ = ["build_matrix", "simulate_columns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CHUNK = 25_000  # columns simulated at once; bounds memory, never changes a value


def build_matrix(
    clones: Clones,
    targets: Sequence[Target],
    *,
    w0: Floats,
    chunk: int = CHUNK,
    executor: Executor | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> CalibrationMatrix:
    """Build X by simulating the clones of every state.

    Parameters
    ----------
    clones : Clones
        The C columns: records, geography, thresholds and engine.
    targets : sequence of Target
        T targets, in the order of the rows; see `targets.sort_targets`.
    w0 : ndarray of float64, shape (C,)
        Weights to start from; stored with the matrix.
    chunk : int
        Columns simulated at once. Any value gives the same bits.
    executor : concurrent.futures.Executor, optional
        Where chunks run; here, one after the other, by default.
    observe : callable, optional
        Called with (columns done, all columns) after each chunk.

    Returns
    -------
    CalibrationMatrix

    Raises
    ------
    MatrixError
        If there are no targets, one stands twice, w0 has another length than C, or the
        engine gives a value that is not a finite number.
    EngineError, TakeupError, DatasetError, GeographyError, TargetError
        If a variable, a threshold, an input or a level is missing: a value that cannot
        be computed is an error, never a zero.
    """
    geography = clones.geography
    if not targets:
        raise MatrixError("there are no targets to build rows for")
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MatrixError(f"two targets are named {twice}; the rows could not be told apart")
    if len(w0) != geography.n_columns:
        raise MatrixError(f"w0 has {len(w0)} entries for {geography.n_columns} columns")
    signatures = sorted({target.signature for target in targets})
    values = np.empty((len(signatures), geography.n_columns), dtype=np.float32)
    done = 0
    for columns, part in _simulated_chunks(clones, signatures, chunk, executor):
        values[:, columns] = part
        done += len(columns)
        if observe is not None:
            observe(done, geography.n_columns)
    X = _scatter(values, signatures, targets, geography)
    made_of = clones.made_of() | {"package": __version__}
    return CalibrationMatrix(X, list(targets), w0, clones.household_id, made_of)


def simulate_columns(
    clones: Clones, columns: Ints, signatures: Sequence[Signature]
) -> NDArray[np.float32]:
    """Simulate some columns and read off their household values.

    Returns
    -------
    ndarray of float32, shape (signatures, columns)
    """
    households = clones.households(columns)
    outputs = engine_outputs(signatures, clones.engine)
    values = clones.engine.simulate(households, outputs, households.period)
    rows = [household_values(households, values, s, clones.engine) for s in signatures]
    for (variable, _), row in zip(signatures, rows, strict=True):
        if not np.isfinite(row).all():
            bad = columns[~np.isfinite(row)]
            raise MatrixError(f"{variable} is {row[columns == bad[0]][0]} in column {bad[0]}")
    return np.array(rows, dtype=np.float32)


def _simulated_chunks(
    clones: Clones, signatures: Sequence[Signature], chunk: int, executor: Executor | None
) -> Iterator[tuple[Ints, NDArray[np.float32]]]:
    """Yield the columns and values of every chunk, in one fixed order."""
    state = clones.geography.state
    tasks = [
        columns[i : i + chunk]
        for columns in (np.flatnonzero(state == code) for code in np.unique(state))
        for i in range(0, len(columns), chunk)
    ]
    if executor is None:
        for columns in tasks:
            yield columns, simulate_columns(clones, columns, signatures)
        return
    parts = replace(clones, engine=None)  # each process loads its own engine by name
    futures = [executor.submit(_remote, parts, clones.engine.name, c, signatures) for c in tasks]
    for columns, future in zip(tasks, futures, strict=True):
        yield columns, future.result()


def _remote(
    clones: Clones, engine: str, columns: Ints, signatures: Sequence[Signature]
) -> NDArray[np.float32]:
    return simulate_columns(replace(clones, engine=load_engine(engine)), columns, signatures)


def _scatter(
    values: NDArray[np.float32],
    signatures: Sequence[Signature],
    targets: Sequence[Target],
    geography: GeographyAssignment,
) -> sparse.csr_array:
    """Place the nonzeros of each signature's values in the rows of its areas."""
    rows_of: dict[tuple[Signature, Level], dict[int, int]] = {}
    for i, target in enumerate(targets):
        rows_of.setdefault((target.signature, target.level), {})[target.code] = i
    rows, columns, data = [], [], []
    for (signature, level), row_of in rows_of.items():
        value = values[signatures.index(signature)]
        codes = np.array(sorted(row_of))
        code = geography.code(level)
        place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
        here = np.flatnonzero((codes[place] == code) & (value != 0))
        rows.append(np.array([row_of[c] for c in codes])[place[here]])
        columns.append(here)
        data.append(value[here])
    coo = sparse.coo_array(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(targets), geography.n_columns),
    )
    X = coo.tocsr()
    X.sort_indices()
    return X
