"""Stage 4: what every column would add to every target.

The entry X[i, j] depends on the record, and on where its clone lives: state rules, county
premiums, the clone's own takeup. So the matrix is read off a simulation of the clones
themselves. Columns are grouped by state, cut into chunks, materialised with their own
counties, takeup flags and state-dependent inputs, and simulated. That is exact, and each
chunk is independent of the others, so states can run side by side.

Where nothing that a row reads depends on a county or on takeup, a clone has the values of its
record as a resident of its state, and may take them from there: `calibration.gather`.

Rows that share a variable and constraints share one vector of household values, of which
only nonzeros are kept; `calibration.measures` scatters them to the rows by area.

Axes: targets i in [0, T), columns j = clone * R + record in [0, C). Values are computed
in float64 and stored in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration import __version__
from calibration.clones import Clones
from calibration.constraints import engine_outputs, household_values
from calibration.engines import load_engine
from calibration.errors import MatrixError
from calibration.gather import Way, inhabited, residents, routes, served
from calibration.matrix import CalibrationMatrix
from calibration.measures import Measures, check_rows, place, scatter
from calibration.sharing import Shared, shared
from calibration.targets import Signature, Target

__all__ = ["build_matrix", "measure", "simulate_columns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Part = NDArray[np.float32]  # values of one task, (signatures, columns)
CHUNK = 25_000  # columns simulated at once; bounds memory, never changes a value


def build_matrix(
    clones: Clones,
    targets: Sequence[Target],
    *,
    w0: Floats,
    chunk: int = CHUNK,
    gather: bool | None = None,
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
    gather : bool, optional
        Whether measures that `calibration.gather` serves take its shortcut, which has the
        same bits; by default where it serves all of them and needs fewer simulations.
    executor : concurrent.futures.Executor, optional
        Where chunks run; here, one after the other, by default. A worker finds the engine
        by its name, and refuses one of another version. It reads records and geography from
        a file in the folder for temporary files, once: see `calibration.sharing`.
    observe : callable, optional
        Called with (columns simulated, columns to simulate) after each chunk.

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
    FileError
        If what workers share cannot be written or read, as when they have no folder for temporary
        files in common.
    """
    geography = clones.geography
    check_rows(targets)
    _check_start(w0, geography.n_columns)
    measures = measure(
        clones, targets, chunk=chunk, gather=gather, executor=executor, observe=observe
    )
    X = scatter(measures, *place(measures.signatures, targets, geography), len(targets))
    made_of = clones.made_of() | {"package": __version__}
    return CalibrationMatrix(X, list(targets), w0, clones.household_id, made_of)


def measure(
    clones: Clones,
    targets: Sequence[Target],
    *,
    chunk: int = CHUNK,
    gather: bool | None = None,
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
    check_rows(targets)
    if chunk < 1:
        raise MatrixError(f"chunks of {chunk} columns; give at least 1")
    signatures = sorted({target.signature for target in targets})
    short = served(clones, signatures, gather)
    long = [signature for signature in signatures if signature not in short]
    of_records = _record_tasks(clones, short, chunk)
    of_columns = _column_tasks(clones, long, chunk)
    tasks, made = [*of_records, *of_columns], []
    with _running(clones, tasks, executor) as parts:
        results = _watched(tasks, parts, observe)
        if short:
            states, table = _table(clones, short, zip(of_records, results, strict=False))
            made.append(Measures.gather(short, table, states, clones.geography))
        if long:
            values = ((task.columns, part) for task, part in zip(of_columns, results, strict=True))
            made.append(Measures.collect(long, clones.geography.n_columns, values))
    return Measures.merge(made)


def _check_start(w0: Floats, n_columns: int) -> None:
    if np.shape(w0) != (n_columns,):
        raise MatrixError(f"w0 has shape {np.shape(w0)} for {n_columns} columns")
    if not (usable := np.isfinite(w0) & np.greater(w0, 0)).all():
        bad = np.argmin(usable)
        raise MatrixError(f"w0 is {w0[bad]} in column {bad}; a fit starts from weights above 0")


def simulate_columns(
    clones: Clones, columns: Ints, signatures: Sequence[Signature], *, residents: bool = False
) -> NDArray[np.float32]:
    """Simulate some columns and read off their household values.

    Parameters
    ----------
    clones : Clones
    columns : ndarray of int64, shape (n,)
    signatures : sequence of Signature, length M
    residents : bool
        Whether columns stand for records, as those of `calibration.gather.residents` do; an
        error then names a household and a state, for which there may be no column.

    Returns
    -------
    ndarray of float32, shape (M, n)

    Raises
    ------
    MatrixError
        If a value is no finite number; the first is named.
    """
    households = clones.households(columns)
    outputs = engine_outputs(signatures, clones.engine)
    values = clones.engine.simulate(households, outputs, households.period)
    rows = [household_values(households, values, s, clones.engine) for s in signatures]
    for (variable, _), row in zip(signatures, rows, strict=True):
        if not np.isfinite(row).all():
            bad = int(np.argmin(np.isfinite(row)))
            where = _name(clones, int(columns[bad]), residents=residents)
            raise MatrixError(f"{variable} is {row[bad]} {where}")
    return np.array(rows, dtype=np.float32)


def _name(clones: Clones, column: int, *, residents: bool) -> str:
    home = clones.household_id[column % clones.geography.n_records]
    state = f"state {clones.geography.state[column]:02d}"
    if residents:
        return f"for household {home} as a resident of {state}"
    return f"in column {column}, household {home} in {state}"


# -- tasks -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Task:
    """Some columns, or some records as residents of a state, and what is wanted of them."""

    columns: Ints
    signatures: Sequence[Signature]
    state: int | None = None

    def values(self, clones: Clones) -> Part:
        """Simulate, shape (signatures, columns)."""
        if self.state is None:
            return simulate_columns(clones, self.columns, self.signatures)
        homes = residents(clones, self.state)
        return simulate_columns(homes, self.columns, self.signatures, residents=True)


def _record_tasks(clones: Clones, signatures: Sequence[Signature], chunk: int) -> list[_Task]:
    """Simulate the records in each of their states, or in one if none of the measures reads it."""
    if not signatures:
        return []
    R = clones.geography.n_records
    by_state = any(route.way is Way.STATE for route in routes(clones, signatures))
    state, record = np.divmod(inhabited(clones.geography), R)
    if not by_state:
        state, record = np.full(R, state[0]), np.arange(R)
    return [
        _Task(columns, signatures, code)
        for code in np.unique(state).tolist()
        for columns in _cut(record[state == code], chunk)
    ]


def _table(
    clones: Clones,
    signatures: Sequence[Signature],
    parts: Iterable[tuple[_Task, Part]],
) -> tuple[list[int], NDArray[np.float32]]:
    """Lay out values of the records by state, (S, M, R); 0 where no column needs one."""
    states = np.unique(clones.geography.state).tolist()
    R = clones.geography.n_records
    found: dict[int | None, Part] = {}
    for task, part in parts:
        table = found.setdefault(task.state, np.zeros((len(signatures), R), dtype=np.float32))
        table[:, task.columns] = part
    if len(found) < len(states):  # no measure reads the state
        (only,) = found.values()
        return states, np.broadcast_to(only, (len(states), *only.shape))
    return states, np.array([found[state] for state in states])


def _column_tasks(clones: Clones, signatures: Sequence[Signature], chunk: int) -> list[_Task]:
    """Simulate every column, state by state."""
    if not signatures:
        return []
    state = clones.geography.state
    groups = [np.flatnonzero(state == code) for code in np.unique(state)]
    return [_Task(part, signatures) for group in groups for part in _cut(group, chunk)]


def _cut(columns: Ints, chunk: int) -> list[Ints]:
    return [columns[i : i + chunk] for i in range(0, len(columns), chunk)]


@contextmanager
def _running(
    clones: Clones, tasks: Sequence[_Task], executor: Executor | None
) -> Iterator[Iterator[Part]]:
    """Give the values of every task, in order, while the block lasts."""
    if executor is None:
        yield (task.values(clones) for task in tasks)
        return
    engine = clones.engine.name, clones.engine.version  # each process loads its own
    with shared(replace(clones, engine=None)) as common:
        futures = [executor.submit(_remote, common, engine, task) for task in tasks]
        try:
            yield (future.result() for future in futures)
        finally:
            for future in futures:
                future.cancel()  # one that has not begun would not find what is shared


def _remote(common: Shared[Clones], engine: tuple[str, str], task: _Task) -> Part:
    return task.values(replace(common.get(), engine=load_engine(*engine)))


def _watched(
    tasks: Sequence[_Task],
    parts: Iterator[Part],
    observe: Callable[[int, int], None] | None,
) -> Iterator[Part]:
    done, total = 0, sum(len(task.columns) for task in tasks)
    for task, part in zip(tasks, parts, strict=True):
        done += len(task.columns)
        if observe is not None:
            observe(done, total)
        yield part
