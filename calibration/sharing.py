"""What many tasks have in common, given to each process once.

The chunks of a matrix read the same records and the same geography: hundreds of megabytes,
and hundreds of chunks. As an argument of each task they would be packed, sent, unpacked and
hashed as often. Here they are written to a file once. A task carries a handle of a few hundred
bytes, and a process that meets a handle for the first time maps the file into its memory.

    key = SHA-256 of the value, array by array        (`calibration.keeping.key_of`)

The key stands for the value: tasks on equal values are equal, wherever the file lies, and a
process that finds something else in the file says so. Processes of one machine map the same
pages, so together they hold the arrays once; a contiguous array that is read so cannot be written
to. What is saved grows with records times tasks.

Axes: none; a file is a pickle of everything but the arrays, then the arrays.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Generic, TypeVar

from calibration.errors import FileError
from calibration.keeping import key_of

__all__ = ["Shared", "shared"]

T = TypeVar("T")

_ALIGN = 64  # bytes; where compiled loops like arrays to begin


@dataclass(frozen=True, slots=True)
class Shared(Generic[T]):
    """A handle on a shared value, which is small to send.

    Parameters
    ----------
    key : str
        Hash of the value.
    path : Path
        Where it is written.
    """

    key: str
    path: Path = field(compare=False)
    _here: tuple[T, ...] = field(default=(), compare=False, repr=False)

    def __reduce__(self) -> tuple[type[Shared[T]], tuple[str, Path]]:
        return Shared, (self.key, self.path)  # another process has the file

    def get(self) -> T:
        """Give the value; a process that was not given it yet reads the file.

        Raises
        ------
        FileError
            If the file is not there, as for a worker on another machine, or damaged.
        """
        return self._here[0] if self._here else _read(self.path, self.key)


@contextmanager
def shared(value: T, folder: Path | None = None) -> Iterator[Shared[T]]:
    """Write a value for other processes, which can read it while the block lasts.

    Parameters
    ----------
    value : any
        What `key_of` can hash and pickle can write; not to be changed meanwhile.
    folder : Path, optional
        One that all of them see; the folder for temporary files by default.

    Yields
    ------
    Shared

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with ExitStack() as stack:
        try:
            made = stack.enter_context(TemporaryDirectory(prefix="calibration-", dir=folder))
            _write(path := Path(made) / "shared", value)
        except OSError as error:
            raise FileError(
                f"what chunks share cannot be written to {folder or gettempdir()} ({error}); let "
                "TMPDIR be a folder with room for it"
            ) from error
        yield Shared(key_of(value), path, (value,))


def _write(path: Path, value: object) -> None:
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    with path.open("wb") as file:
        pickle.dump(([array.nbytes for array in arrays], packed), file)
        for array in arrays:
            file.write(bytes(-file.tell() % _ALIGN))
            file.write(array)


@lru_cache(maxsize=1)  # of several values a process keeps the last
def _read(path: Path, key: str) -> Any:
    try:
        value = _mapped(path)
        found = key_of(value)
    except OSError as error:
        raise FileError(
            f"a worker cannot read what chunks share, {path} ({error}); let TMPDIR be a folder "
            "that all workers see"
        ) from error
    except Exception as error:  # a pickle that is damaged can raise anything
        raise FileError(f"{path} is damaged ({error}); build the matrix again") from error
    if found != key:
        raise FileError(f"{path} holds something else than was written; build the matrix again")
    return value


def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        sizes, packed = pickle.load(file)  # noqa: S301  (written by `shared`)
        place, pages = file.tell(), memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    arrays = []
    for size in sizes:
        place += -place % _ALIGN
        arrays.append(pages[place : place + size])
        place += size
    return pickle.loads(packed, buffers=arrays)  # noqa: S301  (as above)
