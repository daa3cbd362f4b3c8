"""Files that are whole or not there.

Every artifact is written under a temporary name in its own folder, flushed to the disk
and renamed, so a file that exists is complete, whenever the process was killed. The
formats are open ones without pickles: `.npz` for arrays, JSON for facts, CSV for tables.
The same content gives the same bytes: fixed member order, fixed dates, sorted keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FileError

__all__ = [
    "UNFINISHED",
    "atomic_path",
    "hash_arrays",
    "hash_file",
    "read_json",
    "read_npz",
    "write_json",
    "write_npz",
    "write_text",
]

UNFINISHED = ".unfinished"
"""Part of the name of a file that is still being written."""

# What reading a damaged archive can raise, found by flipping every byte of one.
_DAMAGE = (EOFError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError,
           zipfile.BadZipFile, zlib.error)  # fmt: skip


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it becomes `path` in one step.

    Parameters
    ----------
    path : Path
        Final name. Missing parent folders are made.

    Yields
    ------
    Path
        Where to write. Removed if the body raises.

    Raises
    ------
    FileError
        If the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=f"{UNFINISHED}{path.suffix}"
        )
        os.close(handle)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp makes private files; artifacts are to be read
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    FileError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise FileError(f"{path} is not valid JSON ({error}); write it again") from error


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to a compressed `.npz`, sorted by name, whole or not at all.

    Raises
    ------
    FileError
        If an array holds Python objects, which would need a pickle.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise FileError(f"array {name!r} for {path} holds Python objects; store plain numbers")
    deflated = zipfile.ZIP_DEFLATED
    # Member by member, because savez takes names as keywords and has keywords of its own.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", deflated) as stored:
        for name in sorted(arrays):
            with stored.open(f"{name}.npy", "w", force_zip64=True) as member:
                array = np.asarray(arrays[name], order="C")  # bytes must not tell the layout
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz`; they cannot be written to.

    Raises
    ------
    FileError
        If the file is missing, cut short, or needs a pickle.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
            # No checksum covers the directory; its end says how many arrays there are.
            stream.seek(-12, os.SEEK_END)
            if len(arrays) != int.from_bytes(stream.read(2), "little"):
                raise ValueError("its directory has lost an array")
            for array in arrays.values():
                array.setflags(write=False)  # what is read may be shared: see `toy.after`
            return arrays
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist") from error
    except _DAMAGE as error:
        what = " ".join(str(error).split())
        raise FileError(f"{path} is damaged or not an .npz file ({what})") from error


def hash_file(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Give the SHA-256 of named arrays: names, dtypes, shapes and values, sorted by name.

    Raises
    ------
    FileError
        If an array holds Python objects, whose bytes are addresses.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")  # ascontiguousarray would lose shape ()
        if array.dtype.hasobject:
            raise FileError(f"array {name!r} holds Python objects; hash plain numbers or text")
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
