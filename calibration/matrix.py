"""The calibration matrix as an artifact: X, its targets, its start, and its pedigree.

    X[i, j] = what one unit-weight copy of column j adds to target i,    X w = estimates

Axes: targets i in [0, T), columns j = clone * R + record in [0, C). X is CSR float32.
Stored without pickle: `matrix.npz` for arrays, `matrix.json` for targets and hashes.
`calibration.matrix_builder` makes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.errors import MatrixError
from calibration.files import hash_file, read_json, read_npz, write_json, write_npz
from calibration.geography import Level
from calibration.rng import key
from calibration.targets import Target, parse_constraint

__all__ = ["CalibrationMatrix", "RowStatus", "target_from_json", "target_to_json"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RowStatus(StrEnum):
    """Whether weights can reach a target at all.

    A row with entries of both signs, such as an income tax with refundable credits, is OK
    like any other: some column moves it towards its target. Only a row without an entry of
    the target's sign is out of reach.
    """

    OK = "ok"
    NO_SUPPORT = "no column adds anything to it"
    ZERO_TARGET = "the target is zero, so relative errors are not defined"
    WRONG_SIGN = "no column adds anything of the target's sign"


@dataclass(frozen=True, slots=True)
class CalibrationMatrix:
    """The matrix with everything that a consumer needs to use or check it.

    Parameters
    ----------
    X : scipy.sparse.csr_array of float32, shape (T, C)
    targets : list of Target, length T
    w0 : ndarray of float64, shape (C,)
        Weights to start from.
    household_id : ndarray of int64, shape (R,)
        Ids of the records, which key every draw.
    made_of : mapping of str to str
        Hashes and versions of what the matrix was made from.
    """

    X: sparse.csr_array
    targets: list[Target]
    w0: Floats
    household_id: Ints
    made_of: Mapping[str, str]

    @property
    def values(self) -> Floats:
        """Target values t, shape (T,)."""
        return np.array([target.value for target in self.targets])

    @property
    def names(self) -> list[str]:
        """Canonical target names, length T."""
        return [target.name for target in self.targets]

    @property
    def groups(self) -> list[str]:
        """Group of each target, length T."""
        return [target.group for target in self.targets]

    def support(self) -> Ints:
        """Count the columns that add something to each target, shape (T,)."""
        return np.diff(self.X.indptr).astype(np.int64)

    def status(self) -> list[RowStatus]:
        """Tell for each target whether weights can reach it, length T."""
        result = []
        for i, t in enumerate(self.values):
            row = self.X.data[self.X.indptr[i] : self.X.indptr[i + 1]]
            if t == 0:
                result.append(RowStatus.ZERO_TARGET)
            elif not len(row):
                result.append(RowStatus.NO_SUPPORT)
            elif not (row * t > 0).any():
                result.append(RowStatus.WRONG_SIGN)
            else:
                result.append(RowStatus.OK)
        return result

    def estimates(self, weights: Floats) -> Floats:
        """X w in float64, shape (T,).

        A float32 sum of 5 million terms loses up to a percent, so both factors are
        widened first.
        """
        return self.X.astype(np.float64) @ np.asarray(weights, dtype=np.float64)

    def block(self) -> Ints:
        """Give each column its block of records, record * 64 // R, shape (C,)."""
        records = len(self.household_id)
        return np.arange(len(self.w0)) % records * 64 // records

    def column_key(self) -> NDArray[np.uint64]:
        """Give each column its identity, which keys its gate noise, shape (C,).

        A function of the record's household id and the clone: other records in the run,
        or their order, change nothing.
        """
        clones = np.arange(len(self.w0) // len(self.household_id))[:, None]
        return key("column", self.household_id, clones).reshape(-1)

    def save(self, folder: Path) -> None:
        """Write `matrix.npz` and, last, `matrix.json`, which seals it with its hash."""
        arrays = {
            "data": self.X.data,
            "indices": self.X.indices.astype(np.int64),  # a file does not tell what memory saved
            "indptr": self.X.indptr.astype(np.int64),
            "shape": np.array(self.X.shape),
            "w0": self.w0,
            "household_id": self.household_id,
        }
        write_npz(folder / "matrix.npz", arrays)
        facts = {
            "arrays": hash_file(folder / "matrix.npz"),
            "made_of": dict(self.made_of),
            "targets": [target_to_json(target) for target in self.targets],
        }
        sealed = {field: _seal(value) for field, value in facts.items()}
        write_json(folder / "matrix.json", facts | {"schema": 1, "sealed": sealed})

    @classmethod
    def load(
        cls,
        folder: Path,
        expected: Mapping[str, str] | None = None,
        targets: Sequence[Target] | None = None,
    ) -> CalibrationMatrix:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : Path
        expected : mapping of str to str, optional
            What the matrix must have been made of, as `made_of` says it.
        targets : sequence of Target, optional
            What its rows must be, in order, values included.

        Raises
        ------
        MatrixError
            If a file was edited, the two do not belong together, a field of `made_of`
            differs, or the rows are those of other targets.
        """
        facts = _read_facts(folder / "matrix.json")
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
        a = read_npz(folder / "matrix.npz")
        width = np.int32 if len(a["data"]) <= np.iinfo(np.int32).max else np.int64
        at = a["indices"].astype(width), a["indptr"].astype(width)
        X = sparse.csr_array((a["data"], *at), shape=tuple(a["shape"]))
        return cls(X, rows, a["w0"], a["household_id"], facts["made_of"])


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


def _read_facts(path: Path) -> dict[str, Any]:
    """Read `matrix.json`; refuse it, naming the field, if one was changed after saving."""
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("schema") != 1:
        raise MatrixError(f"{path} is not a calibration matrix of schema 1")
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
