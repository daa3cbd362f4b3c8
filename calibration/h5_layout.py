"""The file format of published microdata: one HDF5 group a variable, one dataset a year.

    /employment_income/2024        the values of one variable, one row a unit
    attribute "entity"             on each dataset: whose table it belongs to
    attributes of the root         provenance, as text

This is the layout that policyengine-core reads. Its loader takes the format of the whole
file from the first root key and the file's period from that key's first member, so there
are only variables at the root, never a group of metadata, and each has one year.

Text is stored as fixed-width UTF-8 bytes and read back as text. The same dataset gives
the same bytes: sorted names, fixed filters, no time stamps. Writing holds one variable in
memory at a time; the check after it reads the file whole.

Source of the layout: policyengine-core 3.33.12, data/dataset.py, as loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from calibration.dataset import Array, Dataset
from calibration.errors import DatasetError, FileError
from calibration.files import atomic_path

__all__ = ["read_h5", "write_h5"]

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
            for name in dataset.names():
                if name not in skipped:
                    _write_column(file, dataset, name)
        try:
            _read(temporary).check()  # every rule is tested on what stands on the disk
        except DatasetError as error:
            raise DatasetError(f"{path} is not written, it would not be valid: {error}") from error


def _write_column(file: h5py.Group, dataset: Dataset, name: str) -> None:
    values = dataset[name]
    if values.ndim != 1:
        raise DatasetError(f"column {name!r} is by state; materialise the dataset before writing")
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8") if values.dtype.itemsize else values.astype("S1")
    long = len(values) > _CHUNK_ROWS
    filters = {"chunks": (_CHUNK_ROWS,), "compression": "gzip", "shuffle": True} if long else {}
    stored = file.create_group(name).create_dataset(
        str(dataset.period), data=values, track_times=False, **filters
    )
    stored.attrs["entity"] = dataset.entity_of(name)


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
            for name, group in file.items():
                periods |= set(group)
                for stored in group.values():
                    if "entity" not in stored.attrs:
                        raise DatasetError(f"variable {name!r} does not say its entity")
                    tables.setdefault(stored.attrs["entity"], {})[name] = _read_column(stored)
    except (OSError, RuntimeError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is damaged or not such a file ({error})") from error
    if len(periods) != 1 or not (period := periods.pop()).isdecimal():
        raise DatasetError("a file must hold exactly one year")
    return Dataset(int(period), tables)


def _read_column(stored: h5py.Dataset) -> Array:
    values = stored[()]
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
