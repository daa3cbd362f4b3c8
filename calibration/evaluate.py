"""Read files again, in a process of their own, and say what they add up to.

This is the right-hand side of the X w identity. It shares the engine with the matrix,
because the law is one, and the `Dataset` through which an engine looks up who belongs to
whom. The rest is its own: it opens the HDF5 file itself, matches people to units by id
and not by position, evaluates every predicate of a target, geography included, on the
columns of the file, and sums in float64.

    python -m calibration.evaluate REQUEST.json

reads a request {"engine", "version", "files": {name: path}, "targets": {name: [...]}} and
prints one JSON object, {file name: {target name: value}}. Another version of the engine than
the one asked for is an error.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from calibration.dataset import Dataset
from calibration.engines import Engine, load_engine
from calibration.errors import FileError

__all__ = ["evaluate_file", "main"]

Arrays = dict[str, NDArray[Any]]

_COMPARE = {
    "==": np.equal,
    "!=": np.not_equal,
    ">=": np.greater_equal,
    "<=": np.less_equal,
    ">": np.greater,
    "<": np.less,
}


def evaluate_file(
    path: Path, targets: Mapping[str, Mapping[str, Any]], engine: Engine
) -> dict[str, float]:
    """Give the value of every target on one file.

    Parameters
    ----------
    path : Path
        An area's file.
    targets : mapping of str to mapping
        By name: "variable", "entity" (what is counted or whose amount is summed), "count"
        (whether units are counted), and "constraints", a list of [variable, comparison,
        value as written], the area's among them.
    engine : Engine

    Returns
    -------
    dict of str to float
        Weighted sums by target name.

    Raises
    ------
    FileError
        If the file is not readable.
    """
    columns, entity_of, period = _read(path)
    tables: dict[str, Arrays] = {}
    for name, values in columns.items():
        tables.setdefault(entity_of[name], {})[name] = values
    asked = {t["variable"] for t in targets.values()}
    asked |= {_parts(text)[-1] for t in targets.values() for text, _, _ in t["constraints"]}
    outputs = sorted(name for name in asked if name in engine.outputs)
    columns |= engine.simulate(Dataset(period, tables), outputs, period)
    entity_of |= {name: engine.outputs[name].entity for name in outputs}
    units = _Units(columns)
    return {name: _evaluate_target(columns, entity_of, units, t) for name, t in targets.items()}


def _evaluate_target(
    columns: Arrays, entity_of: Mapping[str, str], units: _Units, target: Mapping[str, Any]
) -> float:
    """Sum one target over a file: weight times value over the units that qualify."""
    qualifies = np.ones(len(columns["person_id"]), dtype=bool)
    for text, comparison, value in target["constraints"]:
        quantifier, unit, variable = _parts(text)
        of_person = columns[variable]
        if (owner := entity_of[variable]) != "person":
            of_person = of_person[units.row_of_person(owner)]
        wanted = value if of_person.dtype.kind == "U" else _number(value)
        held = _COMPARE[comparison](of_person, wanted)
        if quantifier:
            ids = columns[f"person_{unit}_id"]
            some = quantifier == "any"
            held = np.isin(ids, ids[held if some else ~held], invert=not some)
        qualifies &= held
    entity = target["entity"]
    weight = units.weight(entity)
    value = np.ones(len(weight)) if target["count"] else columns[target["variable"]]
    if entity == "person":
        taken = qualifies
    else:
        taken = np.isin(columns[f"{entity}_id"], columns[f"person_{entity}_id"][qualifies])
    return math.fsum(np.asarray(value, dtype=np.float64)[taken] * weight[taken])


def _parts(text: str) -> tuple[str, str, str]:
    """Split "all(household.age)" into its three words; of a plain name the first two are empty."""
    head, _, inside = text.rstrip(")").partition("(")
    return (head, *inside.split(".")) if inside else ("", "", head)  # pyright: ignore[reportReturnType]


def _number(text: str) -> float:
    return float({"True": "1", "False": "0"}.get(text, text))


class _Units:
    """Who belongs to which row, and which weight a row has, found once for each entity."""

    def __init__(self, columns: Arrays) -> None:
        self._columns = columns
        self._rows: dict[str, NDArray[np.int64]] = {}
        self._weights: dict[str, NDArray[np.float64]] = {}

    def row_of_person(self, entity: str) -> NDArray[np.int64]:
        """Give the row of each person's unit, matched by id."""
        if entity not in self._rows:
            ids, wanted = self._columns[f"{entity}_id"], self._columns[f"person_{entity}_id"]
            self._rows[entity] = _find(ids, wanted)
        return self._rows[entity]

    def weight(self, entity: str) -> NDArray[np.float64]:
        """Give the weight of each row's household, found through a member."""
        if entity not in self._weights:
            weight = self._columns["household_weight"].astype(np.float64)
            weight = weight[self.row_of_person("household")]
            if entity != "person":
                ids, members = self._columns[f"{entity}_id"], self._columns[f"person_{entity}_id"]
                weight = weight[_find(members, ids)]
            self._weights[entity] = weight
        return self._weights[entity]


def _find(ids: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)
    found = order[place]
    if (lost := ids[found] != wanted).any():
        raise FileError(f"id {wanted[lost][0]} is named in the file but is in no table")
    return found


def _read(path: Path) -> tuple[Arrays, dict[str, str], int]:
    columns: Arrays = {}
    entity_of: dict[str, str] = {}
    period = 0
    try:
        with h5py.File(path, "r") as file:
            root, links = h5g.open(file.id, b"/"), []
            root.links.visit(links.append)
            for link in links:
                name, _, year = link.decode().partition("/")
                if year:
                    period, stored = int(year), h5d.open(root, link)
                    columns[name] = _values(stored)
                    entity_of[name] = _text(h5a.open(stored, b"entity"))
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{path} is damaged or not such a file ({error})") from error
    return columns, entity_of, period


# h5py's low-level interface: on hundreds of short columns the other one takes twice as long.
# Asking HDF5 about a type takes longer than the read, so each type is asked about once.

_STRING = h5t.py_create(h5py.string_dtype())


def _text(attribute: h5a.AttrID) -> str:
    text: NDArray[Any] = np.empty((), dtype=h5py.string_dtype())
    attribute.read(text, _STRING)
    return text.item().decode()


def _values(stored: h5d.DatasetID) -> NDArray[Any]:
    kind, dtype = _kind(stored.get_type().encode())
    values: NDArray[Any] = np.empty(stored.shape, dtype=dtype)
    stored.read(h5s.ALL, h5s.ALL, values, kind)
    return np.char.decode(values, "utf-8") if dtype.kind == "S" else values


@cache
def _kind(encoded: bytes) -> tuple[h5t.TypeID, np.dtype[Any]]:
    kind = h5t.decode(encoded)
    return kind, kind.dtype


def main(arguments: list[str]) -> None:
    """Answer one request; see the module."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    engine = load_engine(request["engine"], request["version"])
    answer = {
        name: evaluate_file(Path(path), request["targets"][name], engine)
        for name, path in request["files"].items()
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
