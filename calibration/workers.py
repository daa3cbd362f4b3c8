"""Where the chunks of the matrix are simulated: here, or in processes of their own.

An engine that takes long to start and to run says so with `warm`. Its chunks are kept in
`chunks/` of the run folder until the matrix is stored, so that a run that was killed goes
on with the next chunk. With more than one worker, chunks are simulated side by side; each
worker is a new process, and warms its engine once.

Neither changes a value: every chunk is computed from its arguments alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from calibration.engines import Engine, Heavy, load_engine
from calibration.keeping import KeepingExecutor
from calibration.provenance import code_hash
from calibration.run_options import Workspace

__all__ = ["chunk_executor", "warm"]


@contextmanager
def chunk_executor(work: Workspace) -> Iterator[Executor | None]:
    """Give `build_matrix` an executor while the matrix of a run is built.

    Parameters
    ----------
    work : Workspace

    Yields
    ------
    Executor or None
        None where one process in memory is enough.
    """
    heavy = isinstance(work.engine, Heavy)
    if work.workers == 1 and not heavy:
        yield None
        return
    pool = _pool(work)
    try:
        if not heavy:
            yield pool
            return
        folder = work.folder / "chunks"
        yield KeepingExecutor(folder, code=_code(work.engine), inner=pool)
        shutil.rmtree(folder, ignore_errors=True)  # the matrix is stored
    finally:
        pool.shutdown(cancel_futures=True)


def warm(engine: str) -> None:
    """Start an engine in a worker."""
    if isinstance(found := load_engine(engine), Heavy):
        found.warm()


def _pool(work: Workspace) -> Executor:
    if work.workers == 1:
        return ThreadPoolExecutor(1)  # so that progress is shown while chunks are computed
    return ProcessPoolExecutor(
        work.workers,
        mp_context=get_context("spawn"),
        initializer=warm,
        initargs=(work.engine.name,),
    )


def _code(engine: Engine) -> str:
    """Hash what a chunk depends on beside its arguments."""
    sources = code_hash("calibration.matrix_builder", type(engine).__module__)
    return f"{sources} {engine.name} {engine.version}"
