"""The file format of published microdata: one HDF5 group a variable, one dataset a year.

    /employment_income/2024        the values of one variable, one row a unit
    attribute "entity"             on each dataset: whose table it belongs to
    attributes of the root         provenance, as text

This is the layout that policyengine-core reads. Its loader takes the format of the whole
file from the first root key and the file's period from that key's first member, so there
are only variables at the root, never a group of metadata, and each has one year.

Text is stored as fixed-width UTF-8 bytes and read back as text. The same dataset gives
the same bytes: sorted names, fixed filters, no time stamps. Writing holds one variable in
memory at a time; the check after it reads the file whole. A file of hundreds of columns is
mostly structure, so columns are written and read through the low-level interface of h5py,
which takes less than half the time, and HDF5 is asked once about each type.

Source of the layout: policyengine-core 3.33.12, data/dataset.py, as loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5p, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]

from calibration.dataset import Array, Dataset
from calibration.errors import DatasetError, FileError
from calibration.files import atomic_path

__all__ = ["read_h5", "write_h5"]

_TEXT = h5t.py_create(h5py.string_dtype(), logical=True)  # in a file
_STRING = h5t.py_create(h5py.string_dtype())  # in memory, a string of Python
_CHUNK_ROWS = 65_536  # longer columns are cut into compressed chunks of this many rows


def write_h5(
    path: Path,
    dataset: Dataset,
    *,
    attributes: Mapping[str, str],
    leave_out: Iterable[str] = (),
) -> None:
    """Write a dataset, check what was written, and only then give it its name.

    Parameters
    ----------
    path : Path
    dataset : Dataset
        Without by-state columns. Its tables may be lazy.
    attributes : mapping of str to str
        Provenance, stored as attributes of the root.
    leave_out : iterable of str
        Columns not to store; whatever the engine computes must be among them.

    Raises
    ------
    FileError
        If the file cannot be written.
    DatasetError
        If what was written breaks a rule of `Dataset`, or a column is by state.
    """
    skipped = set(leave_out)
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w") as file:
            file.attrs.update(dict(sorted(attributes.items())))
            columns = _Columns(file, dataset.period)
            for name in dataset.names():
                if name not in skipped:
                    columns.write(name, _as_stored(dataset, name), dataset.entity_of(name))
        try:
            _read(temporary).check()  # every rule is tested on what stands on the disk
        except DatasetError as error:
            raise DatasetError(f"{path} is not written, it would not be valid: {error}") from error


class _Columns:
    """Writes columns; what all of them share is made once, it costs more than their data.

    Parameters
    ----------
    file : h5py.File
    period : int
    """

    def __init__(self, file: h5py.File, period: int) -> None:
        self._file, self._period = file, str(period)
        self._group = h5p.create(h5p.GROUP_CREATE)
        self._short = h5p.create(h5p.DATASET_CREATE)
        for timeless in (self._group, self._short):
            timeless.set_obj_track_times(False)
        self._one = h5s.create(h5s.SCALAR)
        self._kind = cache(lambda dtype: h5t.py_create(dtype, logical=True))
        self._said = cache(lambda entity: np.array(entity, dtype=h5py.string_dtype()))

    def write(self, name: str, values: Array, entity: str) -> None:
        """Write the values of a variable of an entity."""
        group = h5g.create(self._file.id, name.encode(), gcpl=self._group)
        write = self._write_long if len(values) > _CHUNK_ROWS else self._write_short
        stored = write(group, np.ascontiguousarray(values))
        attribute = h5a.create(stored, b"entity", _TEXT, self._one)
        attribute.write(self._said(entity), _STRING)

    def _write_short(self, group: h5g.GroupID, values: Array) -> h5d.DatasetID:
        kind, space = self._kind(values.dtype), h5s.create_simple(values.shape)
        stored = h5d.create(group, self._period.encode(), kind, space, dcpl=self._short)
        stored.write(h5s.ALL, h5s.ALL, values, kind)
        return stored

    def _write_long(self, group: h5g.GroupID, values: Array) -> h5d.DatasetID:
        filters = {"chunks": (_CHUNK_ROWS,), "compression": "gzip", "shuffle": True}
        long = h5py.Group(group).create_dataset(
            self._period, data=values, track_times=False, **filters
        )
        return long.id


def _as_stored(dataset: Dataset, name: str) -> Array:
    values = dataset[name]
    if values.ndim != 1:
        raise DatasetError(f"column {name!r} is by state; materialise the dataset before writing")
    if values.dtype.kind == "U":
        return np.char.encode(values, "utf-8") if values.dtype.itemsize else values.astype("S1")
    return values


def read_h5(path: Path) -> Dataset:
    """Read a file that `write_h5` wrote, and check it.

    Raises
    ------
    FileError
        If the file is missing, cut short or not HDF5.
    DatasetError
        If it has several periods, a variable without an entity, or breaks a rule.
    """
    if not path.is_file():
        raise FileError(f"{path} does not exist")
    try:
        return _read(path).check()
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _read(path: Path) -> Dataset:
    tables: dict[str, dict[str, Array]] = {}
    periods: set[str] = set()
    try:
        with h5py.File(path, "r") as file:
            for name, members in _variables(file).items():
                if not members:
                    raise TypeError(f"{name!r} at the root is no group of years")
                for period in members:
                    stored = h5d.open(file.id, f"{name}/{period}".encode())
                    if not h5a.exists(stored, b"entity"):
                        raise DatasetError(f"variable {name!r} does not say its entity")
                    tables.setdefault(_entity(stored), {})[name] = _values(stored)
                    periods.add(period)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{path} is damaged or not such a file ({error})") from error
    if len(periods) != 1 or not (period := periods.pop()).isdecimal():
        raise DatasetError("a file must hold exactly one year")
    return Dataset(int(period), tables)


def _variables(file: h5py.File) -> dict[str, list[str]]:
    """List the members of every group at the root, in one walk."""
    root, links = h5g.open(file.id, b"/"), []
    root.links.visit(links.append)
    found: dict[str, list[str]] = {}
    for link in links:
        name, _, member = link.decode().partition("/")
        found.setdefault(name, []).extend([member] if member else [])
    return found


def _entity(stored: h5d.DatasetID) -> str:
    text: Array = np.empty((), dtype=h5py.string_dtype())
    h5a.open(stored, b"entity").read(text, _STRING)
    return text.item().decode()


def _values(stored: h5d.DatasetID) -> Array:
    kind, dtype = _kind(stored.get_type().encode())
    values: Array = np.empty(stored.shape, dtype=dtype)
    stored.read(h5s.ALL, h5s.ALL, values, kind)
    return np.char.decode(values, "utf-8") if dtype.kind == "S" else values


@cache
def _kind(encoded: bytes) -> tuple[h5t.TypeID, np.dtype[Any]]:
    kind = h5t.decode(encoded)
    return kind, kind.dtype
