"""The calibration matrix as an artifact: X, its targets, its start, and its pedigree.

    X[i, j] = what one unit-weight copy of column j adds to target i,    X w = estimates

Axes: targets i in [0, T), columns j = clone * R + record in [0, C). X is CSR float32.
Stored without pickle: `matrix.npz` for arrays, `matrix.json` for targets and hashes.
`calibration.matrix_builder` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.matrix_files import load_sealed, save_sealed
from calibration.rng import key
from calibration.targets import Target

__all__ = ["CalibrationMatrix", "RowStatus"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RowStatus(StrEnum):
    """Whether weights can reach a target at all.

    A row with entries of both signs, such as an income tax with refundable credits, is OK
    like any other: some column moves it towards its target. Only a row without an entry of
    the target's sign is out of reach. A row BELOW_FLOOR can be reached, but not told apart
    from the accident of one record, so its relative error says little; asked for by `floor`.
    """

    OK = "ok"
    NO_SUPPORT = "no column adds anything to it"
    ZERO_TARGET = "the target is zero, so relative errors are not defined"
    WRONG_SIGN = "no column adds anything of the target's sign"
    BELOW_FLOOR = "one column alone adds more than the target at its start weight"


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

    def floor(self) -> Floats:
        """Give the most that one column adds to each target at the start, shape (T,).

        max_j |X[i, j]| w0[j], in the target's unit. A target below it is smaller than the
        smallest step in which the start can move it (l0-paper's identifiability floor).
        """
        moved = np.abs(self.X.data.astype(np.float64)) * self.w0[self.X.indices]
        filled = np.flatnonzero(np.diff(self.X.indptr))
        result = np.zeros(len(self.targets))
        if len(filled):
            result[filled] = np.maximum.reduceat(moved, self.X.indptr[filled])
        return result

    def status(self, *, floor: bool = False) -> list[RowStatus]:
        """Tell for each target whether weights can reach it, length T.

        Parameters
        ----------
        floor : bool
            Whether targets that can be reached but lie below their `floor` are told apart.
        """
        result = []
        least = self.floor() if floor else np.zeros(len(self.targets))
        for i, t in enumerate(self.values):
            row = self.X.data[self.X.indptr[i] : self.X.indptr[i + 1]]
            if t == 0:
                result.append(RowStatus.ZERO_TARGET)
            elif not len(row):
                result.append(RowStatus.NO_SUPPORT)
            elif not (row * t > 0).any():
                result.append(RowStatus.WRONG_SIGN)
            elif abs(t) < least[i]:
                result.append(RowStatus.BELOW_FLOOR)
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
        save_sealed(folder, arrays, self.targets, self.made_of)

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
        a, rows, made_of = load_sealed(folder, expected, targets)
        width = np.int32 if len(a["data"]) <= np.iinfo(np.int32).max else np.int64
        at = a["indices"].astype(width), a["indptr"].astype(width)
        X = sparse.csr_array((a["data"], *at), shape=tuple(a["shape"]))
        return cls(X, rows, a["w0"], a["household_id"], made_of)
