"""From CSV files to a `Dataset`: what a column may hold is written down, never guessed.

A folder of tables has a data dictionary, `dictionary.csv`: one row for each column of each
file, in order, with its type, unit and meaning. A table is read by it, strictly:

    float   digits with an optional point and exponent; finite
    int     digits, up to 18 of them
    bool    true or false
    str     text on one line, not empty; leading zeros stay

Nothing is converted, filled in or dropped. A cell that does not fit is an error with the
file, the line, the column and the value, because a survey that reads with one wrong column
gives a run that ends with one wrong total.

The base survey lies in `survey/`: households, persons, tax_units and spm_units. The tables
of families and marital units hold nothing but ids and are made from the persons' ids.

Axes: every column has shape (rows of the file,).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from calibration.dataset import Array, Dataset, Table
from calibration.errors import DatasetError, FileError, near
from calibration.files import write_text

__all__ = ["Column", "read_dictionary", "read_survey", "read_table", "write_table"]

_DICTIONARY = "dictionary.csv"
_FILES = {
    "household": "survey/households.csv",
    "person": "survey/persons.csv",
    "tax_unit": "survey/tax_units.csv",
    "spm_unit": "survey/spm_units.csv",
}
_DERIVED = ("family", "marital_unit")

_CELL = {
    "float": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII),
    "int": re.compile(r"-?\d{1,18}", re.ASCII),
    "bool": re.compile(r"true|false"),
    "str": re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+"),
}
_WANTED = {
    "float": "a finite number",
    "int": "a whole number of at most 18 digits",
    "bool": "true or false",
    "str": "text on one line",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One row of a data dictionary.

    Parameters
    ----------
    name : str
    type : {"float", "int", "bool", "str"}
    unit : str
        What the numbers count ("USD/year", "persons"), or "-".
    description : str
        What it is, in a sentence.
    """

    name: str
    type: str
    unit: str
    description: str


def read_dictionary(folder: Path) -> dict[str, tuple[Column, ...]]:
    """Read which columns each file of a folder has.

    Parameters
    ----------
    folder : Path
        Holds `dictionary.csv`, with the columns file, column, type, unit, description.

    Returns
    -------
    dict of str to tuple of Column
        By file, relative to the folder, with "/"; columns in their order.

    Raises
    ------
    FileError, DatasetError
        If the dictionary is missing or damaged, names a type that there is not, or lists
        a column of a file twice.
    """
    path = folder / _DICTIONARY
    header, rows = _rows(path)
    if header != ["file", "column", "type", "unit", "description"]:
        raise DatasetError(
            f"{path} has the columns {', '.join(header)}; "
            "a dictionary has file, column, type, unit, description"
        )
    files: dict[str, list[Column]] = {}
    for line, (file, *column) in rows:
        known = files.setdefault(file, [])
        if column[0] in [c.name for c in known]:
            raise DatasetError(
                f"{path} line {line} lists column {column[0]!r} of {file} a second time"
            )
        known.append(Column(*column))
        if known[-1].type not in _CELL:
            raise DatasetError(
                f"{path} line {line}: type {known[-1].type!r} is not one of {', '.join(_CELL)}"
            )
    return {file: tuple(columns) for file, columns in files.items()}


def read_table(folder: Path, file: str) -> dict[str, Array]:
    """Read one CSV file by the folder's dictionary.

    Parameters
    ----------
    folder : Path
        Where `dictionary.csv` is.
    file : str
        Name of the file relative to the folder, as the dictionary has it.

    Returns
    -------
    dict of str to ndarray, each of shape (rows,)
        Columns in the dictionary's order: float64, int64, bool or text.

    Raises
    ------
    FileError
        If the folder or the file is missing, empty, cut short, or not UTF-8 text.
    DatasetError
        If a column is missing, unknown or repeated, or a cell is not of its type.
    """
    columns = _columns(folder, file)
    path = folder / file
    header, rows = _rows(path)
    _check_header(path, header, columns)
    cells = dict(zip(header, zip(*(row for _, row in rows), strict=True), strict=False))
    lines = [line for line, _ in rows]
    return {c.name: _typed(path, c, cells.get(c.name, ()), lines) for c in columns}


def read_survey(folder: Path, period: int) -> Dataset:
    """Read the base survey.

    Parameters
    ----------
    folder : Path
        Holds `dictionary.csv` and the folder `survey`.
    period : int
        Year that the amounts belong to.

    Returns
    -------
    Dataset
        Checked, in order of ids; with the tables household, person, tax_unit, spm_unit,
        family and marital_unit.

    Raises
    ------
    FileError, DatasetError
        As `read_table`; or if ids repeat, somebody belongs to a unit that is not there,
        a unit has nobody or lies in two households, or a weight is negative.
    """
    tables: dict[str, Table] = {e: read_table(folder, file) for e, file in _FILES.items()}
    for entity in _DERIVED:
        link = f"person_{entity}_id"
        if link not in tables["person"]:
            raise DatasetError(f"{folder / _FILES['person']} has no column {link!r}")
        tables[entity] = {f"{entity}_id": np.unique(tables["person"][link])}
    try:
        return Dataset(period, tables).check().sorted_by_id()
    except DatasetError as error:
        raise DatasetError(f"the survey in {folder / 'survey'} is not valid: {error}") from error


def write_table(folder: Path, file: str, table: Mapping[str, Array]) -> None:
    """Write one CSV file by the folder's dictionary; `read_table` gives it back bit for bit.

    Numbers are written in the fewest digits that read back the same, whole ones without a
    point; -0 becomes 0.

    Parameters
    ----------
    folder : Path
        Where `dictionary.csv` is.
    file : str
        Name of the file relative to the folder.
    table : mapping of str to ndarray, each of shape (rows,)
        Exactly the columns that the dictionary has for the file, in any order.

    Raises
    ------
    FileError
        If the file cannot be written.
    DatasetError
        If a column is missing or unknown, or has a value that the dictionary excludes.
    """
    columns = _columns(folder, file)
    path = folder / file
    _check_header(path, list(table), columns)
    if len({len(column) for column in table.values()}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in table.items())
        raise DatasetError(f"the columns for {path} differ in length: {sizes}")
    texts = []
    for column in columns:
        cells = [_text(value) for value in table[column.name].tolist()]
        _typed(path, column, cells, range(2, len(cells) + 2))
        texts.append(cells)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(zip(*texts, strict=True))
    write_text(path, stream.getvalue())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        return str(int(value))
    return str(value)


# -- the steps of reading ----------------------------------------------------------------


def _columns(folder: Path, file: str) -> tuple[Column, ...]:
    files = read_dictionary(folder)
    if file not in files:
        raise DatasetError(f"{folder / _DICTIONARY} has no file {file!r}{near(file, files)}")
    return files[file]


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Split a file into its header and its rows, each with the line that it ends on."""
    text = _decoded(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise FileError(f"{path} line {reader.line_num}: {error}; is the file whole?") from error
    header = numbered[0][1]
    for line, row in numbered[1:]:
        if len(row) != len(header):
            raise FileError(
                f"{path} line {line} has {len(row)} cells, the header has {len(header)}; "
                "is the file whole?"
            )
    if not text.endswith("\n"):
        raise FileError(
            f"{path} line {numbered[-1][0]} does not end; the file is cut short, "
            "or lacks the line break at its end"
        )
    return header, numbered[1:]


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        what = path if path.parent.is_dir() else f"the folder {path.parent}"
        raise FileError(f"{what} does not exist") from None
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FileError(
            f"{path} line {line} is not UTF-8 text (byte {raw[error.start]:#04x}); save it as UTF-8"
        ) from error
    if not text.strip():
        raise FileError(f"{path} is empty; it needs a header line at least")
    return text


def _check_header(path: Path, header: Sequence[str], columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    for name in header:
        if header.count(name) > 1:
            raise DatasetError(f"{path} has the column {name!r} {header.count(name)} times")
        if name not in names:
            raise DatasetError(f"{path} has an unknown column {name!r}{near(name, names)}")
    for name in names:
        if name not in header:
            raise DatasetError(f"{path} has no column {name!r}{near(name, header)}")


def _typed(path: Path, column: Column, cells: Sequence[str], lines: Sequence[int]) -> Array:
    """Turn the texts of a column into an array of its type."""
    fits = _CELL[column.type].fullmatch
    for line, cell in zip(lines, cells, strict=True):
        if not fits(cell):
            _refuse(path, line, column, cell)
    if column.type == "bool":
        return np.array([cell == "true" for cell in cells], dtype=bool)
    if column.type == "int":
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    texts = np.array(cells, dtype=np.str_)
    if column.type == "str":
        return texts
    values = texts.astype(np.float64)
    if not np.isfinite(values).all():  # digits enough to be infinite
        row = int(np.argmin(np.isfinite(values)))
        _refuse(path, lines[row], column, cells[row])
    return values


def _refuse(path: Path, line: int, column: Column, cell: str) -> NoReturn:
    found = f"is {cell!r}" if cell else "is empty"
    raise DatasetError(
        f"{path} line {line}: {column.name} {found}; it must be {_WANTED[column.type]}"
    )
