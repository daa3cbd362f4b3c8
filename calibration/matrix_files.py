"""How a matrix lies on disk, whatever its form: arrays, and facts that seal them.

    matrix.npz     arrays by name, no pickle
    matrix.json    targets, what it was made of, the hash of the arrays, a hash of each of these

The facts are written last, so there is no matrix without them. Whatever is edited
afterwards, or belongs to another matrix, is refused and named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calibration.errors import MatrixError
from calibration.files import hash_file, read_json, read_npz, write_json, write_npz
from calibration.geography import Level
from calibration.targets import Target, parse_constraint

__all__ = ["CSR", "load_sealed", "save_sealed", "target_from_json", "target_to_json"]

CSR = "csr"
"""The form of a matrix whose file names none."""


def save_sealed(
    folder: Path,
    arrays: Mapping[str, NDArray[Any]],
    targets: Sequence[Target],
    made_of: Mapping[str, str],
    form: str = CSR,
) -> None:
    """Write `matrix.npz` and, last, `matrix.json`, which seals it with its hash."""
    write_npz(folder / "matrix.npz", dict(arrays))
    facts = {
        "arrays": hash_file(folder / "matrix.npz"),
        "made_of": dict(made_of),
        "targets": [target_to_json(target) for target in targets],
    }
    sealed = {field: _seal(value) for field, value in facts.items()}
    named = {} if form == CSR else {"form": form}
    write_json(folder / "matrix.json", facts | named | {"schema": 1, "sealed": sealed})


def load_sealed(
    folder: Path,
    expected: Mapping[str, str] | None = None,
    targets: Sequence[Target] | None = None,
    form: str = CSR,
) -> tuple[dict[str, NDArray[Any]], list[Target], dict[str, str]]:
    """Read what `save_sealed` wrote.

    Parameters
    ----------
    folder : Path
    expected : mapping of str to str, optional
        What the matrix must have been made of.
    targets : sequence of Target, optional
        What its rows must be, in order, values included.
    form : str

    Returns
    -------
    arrays, targets, made_of

    Raises
    ------
    MatrixError
        If a file was edited, the two do not belong together, the form or a field of
        `made_of` differs, or the rows are those of other targets.
    """
    facts = _read_facts(folder / "matrix.json", form)
    if facts["arrays"] != hash_file(folder / "matrix.npz"):
        raise MatrixError(f"{folder}: matrix.npz is not the one that matrix.json was made for")
    for field, value in (expected or {}).items():
        if facts["made_of"].get(field) != value:
            raise MatrixError(
                f"{folder}: the matrix was made of another {field} "
                f"({facts['made_of'].get(field)}, not {value}); build it again"
            )
    rows = [target_from_json(fields) for fields in facts["targets"]]
    if targets is not None:
        _compare_targets(folder, rows, targets)
    return read_npz(folder / "matrix.npz"), rows, facts["made_of"]


def _compare_targets(folder: Path, rows: Sequence[Target], targets: Sequence[Target]) -> None:
    said = f"{folder}: the matrix was made of other targets"
    if len(rows) != len(targets):
        raise MatrixError(f"{said}, {len(rows)} rows for {len(targets)} targets; build it again")
    for i, (row, target) in enumerate(zip(rows, targets, strict=True)):
        if row != target:
            raise MatrixError(
                f"{said}: row {i} is {row.name} = {row.value:g}, not {target.name} = "
                f"{target.value:g} (or its period or source differs); build it again"
            )


def _seal(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_facts(path: Path, form: str) -> dict[str, Any]:
    """Read `matrix.json`; refuse it, naming the field, if one was changed after saving."""
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        raise MatrixError(f"{path} is not a calibration matrix of schema 1")
    if (found := facts.get("form", CSR)) != form:
        raise MatrixError(f"{path} is of a matrix in {found} form, not in {form} form")
    sealed = facts.get("sealed")
    if not isinstance(sealed, dict):
        raise MatrixError(f"{path}: sealed was edited after saving; build the matrix again")
    for field in ("arrays", "made_of", "targets"):
        if _seal(facts.get(field)) != sealed.get(field):
            raise MatrixError(f"{path}: {field} was edited after saving; build the matrix again")
    return facts


def target_to_json(target: Target) -> dict[str, Any]:
    """Write a target as plain JSON values."""
    return asdict(target) | {"constraints": [str(c) for c in target.constraints]}


def target_from_json(fields: dict[str, Any]) -> Target:
    """Read what `target_to_json` wrote."""
    constraints = tuple(sorted(parse_constraint(c) for c in fields["constraints"]))
    return Target(**(fields | {"constraints": constraints, "level": Level(fields["level"])}))
