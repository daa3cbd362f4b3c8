"""Stage 4: what every column would add to every target.

The entry X[i, j] depends on the record, and on where its clone lives: state rules, county
premiums, the clone's own takeup. So the matrix is read off a simulation of the clones
themselves. Columns are grouped by state, cut into chunks, materialised with their own
counties, takeup flags and state-dependent inputs, and simulated. That is exact, and each
chunk is independent of the others, so states can run side by side.

Where nothing that the rows read depends on the place or on takeup, a clone has the values of
its record wherever it lives. Then each record is simulated once and its clones take over the
values. What depends on what is declared by the engine; one variable that reads the state is
enough for all rows to take the exact way above.

Rows that share a variable and constraints share one vector of household values, of which
only nonzeros are kept; `calibration.measures` scatters them to the rows by area.

Axes: targets i in [0, T), columns j = clone * R + record in [0, C). Values are computed
in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration import __version__
from calibration.clones import Clones
from calibration.constraints import engine_outputs, household_values
from calibration.engines import Translates, load_engine
from calibration.errors import MatrixError
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.matrix import CalibrationMatrix
from calibration.measures import Measures, place, scatter
from calibration.targets import Signature, Target, check_spelling

__all__ = ["build_matrix", "measure", "simulate_columns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Part: TypeAlias = tuple[Ints, NDArray[np.float32]]
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
        Weights to start from, greater than 0; stored with the matrix.
    chunk : int
        Columns simulated at once, at least 1. Any value gives the same bits.
    executor : concurrent.futures.Executor, optional
        Where chunks run; here, one after the other, by default. A worker finds the engine
        by its name, and refuses one of another version.
    observe : callable, optional
        Called with (columns done, all columns) after each chunk.

    Returns
    -------
    CalibrationMatrix

    Raises
    ------
    MatrixError
        If there are no targets, one stands twice, `chunk` is below 1, w0 is not a number
        greater than 0 for each of the C columns, or the engine gives a value that is not a
        finite number.
    EngineError, TakeupError, DatasetError, GeographyError, TargetError
        If a variable, a threshold, an input or a level is missing, or a measure stands in
        two spellings: a value that cannot be computed is an error, never a zero.
    """
    geography = clones.geography
    _check_rows(targets)
    _check_start(w0, geography.n_columns)
    measures = measure(clones, targets, chunk=chunk, executor=executor, observe=observe)
    X = scatter(measures, *place(measures.signatures, targets, geography), len(targets))
    made_of = clones.made_of() | {"package": __version__}
    return CalibrationMatrix(X, list(targets), w0, clones.household_id, made_of)


def measure(
    clones: Clones,
    targets: Sequence[Target],
    *,
    chunk: int = CHUNK,
    executor: Executor | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> Measures:
    """Simulate all columns and keep what each is worth to each measure.

    X, and its forms in `calibration.compact`, are made of the result. Parameters and errors
    are those of `build_matrix`.

    Returns
    -------
    Measures
        Of the signatures of the targets, sorted.
    """
    _check_rows(targets)
    if chunk < 1:
        raise MatrixError(f"chunks of {chunk} columns; give at least 1")
    signatures = sorted({target.signature for target in targets})
    parts = _simulated_chunks(clones, signatures, chunk, executor)
    seen = _watched(parts, clones.geography.n_columns, observe)
    return Measures.collect(signatures, clones.geography.n_columns, seen)


def _watched(
    parts: Iterable[Part], total: int, observe: Callable[[int, int], None] | None
) -> Iterator[Part]:
    done = 0
    for columns, values in parts:
        yield columns, values
        done += len(columns)
        if observe is not None:
            observe(done, total)


def _check_rows(targets: Sequence[Target]) -> None:
    if not targets:
        raise MatrixError("there are no targets to build rows for")
    names = [target.name for target in targets]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MatrixError(f"two targets are named {twice}; the rows could not be told apart")
    check_spelling(targets)


def _check_start(w0: Floats, n_columns: int) -> None:
    if np.shape(w0) != (n_columns,):
        raise MatrixError(f"w0 has shape {np.shape(w0)} for {n_columns} columns")
    if not (usable := np.isfinite(w0) & np.greater(w0, 0)).all():
        bad = np.argmin(usable)
        raise MatrixError(f"w0 is {w0[bad]} in column {bad}; a fit starts from weights above 0")


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
) -> Iterator[Part]:
    """Yield the columns and values of every chunk, in one fixed order."""
    geography = clones.geography
    R, N = geography.n_records, geography.n_clones
    if _follows_the_record(clones, signatures):
        groups, copies = [np.arange(R)], N  # the columns of clone 0
    else:
        groups = [np.flatnonzero(geography.state == code) for code in np.unique(geography.state)]
        copies = 1
    tasks = [g[i : i + chunk] for g in groups for i in range(0, len(g), chunk)]
    for columns, part in zip(tasks, _parts(clones, tasks, signatures, executor), strict=True):
        yield np.add.outer(np.arange(copies) * R, columns).ravel(), np.tile(part, copies)


def _parts(
    clones: Clones,
    tasks: Sequence[Ints],
    signatures: Sequence[Signature],
    executor: Executor | None,
) -> Iterator[NDArray[np.float32]]:
    if executor is None:
        for columns in tasks:
            yield simulate_columns(clones, columns, signatures)
        return
    parts = replace(clones, engine=None)  # each process loads its own engine by name
    engine = clones.engine.name, clones.engine.version
    futures = [executor.submit(_remote, parts, engine, c, signatures) for c in tasks]
    for future in futures:
        yield future.result()


def _follows_the_record(clones: Clones, signatures: Sequence[Signature]) -> bool:
    """Tell whether all values are those of the record, wherever the clone lives."""
    if isinstance(clones.engine, Translates):
        return False  # its columns have other names: which of them are by state is not known here
    read = {variable for variable, _ in signatures}
    read |= {constraint.variable for _, constraints in signatures for constraint in constraints}
    outputs = clones.engine.outputs
    for name in read & set(outputs):
        if not outputs[name].inputs:
            return False  # an engine that declares nothing may read anything
        read |= outputs[name].inputs
    dataset = clones.dataset
    changing = {*GEOGRAPHY_COLUMNS, "clone_index", *(p.flag for p in clones.programmes)}
    changing |= {name for name in read if name in dataset and dataset.is_by_state(name)}
    return not read & changing


def _remote(
    clones: Clones, engine: tuple[str, str], columns: Ints, signatures: Sequence[Signature]
) -> NDArray[np.float32]:
    return simulate_columns(replace(clones, engine=load_engine(*engine)), columns, signatures)
