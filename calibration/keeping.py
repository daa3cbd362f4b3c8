"""Results of long tasks, kept on disk, so that a killed run goes on where it stopped.

A chunk of a state under a real engine takes seconds to minutes, and the matrix asks an
executor for many. This one stands before another and keeps every result in a folder under
the hash of what was asked:

    key = SHA-256 of (function, arguments, code)

A task whose key is there is not done again. The key covers the arguments whole, arrays byte
by byte, so a result can only come back for the very same question; `code` stands for what
the arguments do not show, such as the hash of the sources. Each result is written whole or
not at all, by the process that computed it, before it is handed over.

Axes: tasks; a result is one array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import PipelineError
from calibration.files import read_npz, write_npz

__all__ = ["KeepingExecutor", "key_of"]


class KeepingExecutor(Executor):
    """An executor that does no task twice.

    Parameters
    ----------
    folder : Path
        Where results are kept; made if it is not there. Remove it to forget them.
    code : str
        Versions or hashes of everything that a result depends on besides the arguments.
    inner : Executor, optional
        Does the tasks; here, one after the other, by default. It is not shut down.

    Attributes
    ----------
    kept, done : int
        Tasks that were found, and tasks that were asked of `inner`.
    """

    def __init__(self, folder: Path, *, code: str, inner: Executor | None = None) -> None:
        self._folder = folder
        self._code = code
        self._inner = inner
        self.kept = self.done = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Find a result, or have it computed and kept.

        Raises
        ------
        PipelineError
            If an argument is of a type that has no hash.
        FileError
            If a kept result is damaged.
        """
        path = (
            self._folder / f"{key_of(fn.__module__, fn.__qualname__, args, kwargs, self._code)}.npz"
        )
        future: Future[Any] = Future()
        if path.is_file():
            self.kept += 1
            future.set_result(read_npz(path)["result"])
            return future
        self.done += 1
        if self._inner is not None:
            return self._inner.submit(_compute, path, fn, args, kwargs)
        future.set_result(_compute(path, fn, args, kwargs))
        return future


def _compute(
    path: Path, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> NDArray[Any]:
    result = fn(*args, **kwargs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {"result": result})
    return result


def key_of(*parts: Any) -> str:
    """Hash values of any depth: numbers, text, arrays, sequences, mappings, dataclasses.

    Raises
    ------
    PipelineError
        If a value is of another type.
    """
    digest = hashlib.sha256()
    _feed(digest.update, parts)
    return digest.hexdigest()


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.hasobject:  # its bytes are addresses
            raise PipelineError("a task has an array of Python objects, not hashable")
        update(f"array {array.dtype.str} {array.shape} ".encode())
        update(np.ascontiguousarray(array).tobytes())
    elif value is None or isinstance(value, (Enum, str, int, float, Path)):
        update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, (list, tuple)):
        update(f"sequence {len(value)} ".encode())
        for part in value:
            _feed(update, part)
    elif isinstance(value, Mapping):
        update(f"mapping {len(value)} ".encode())
        for name in sorted(value, key=lambda name: (str(name), type(name).__name__)):
            _feed(update, (name, value[name]))
    elif is_dataclass(value):
        update(f"{type(value).__qualname__} ".encode())
        parts = [part.name for part in fields(value) if part.compare]  # no caches
        _feed(update, [(name, getattr(value, name)) for name in parts])
    else:
        raise PipelineError(f"a task has an argument of type {type(value).__name__}, not hashable")
