"""What both compact forms share: finest rows, and the plain arrays that a form is stored as.

A *finest row* is a measure in the smallest piece of the map that the targets of the measure
tell apart. Rows of X take in finest rows, which is what G says:

    G[i, f] = 1 if the finest row f lies in the area of row i, else 0

Axes: rows i in [0, T), finest rows f in [0, F), cells k in [0, K).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.crosswalk import GeographyAssignment
from calibration.errors import MatrixError
from calibration.measures import NOWHERE, Measures, check_rows, size
from calibration.targets import Target

__all__ = ["Finest", "check_layout", "flat", "named", "product", "unflat"]

Ints = NDArray[np.int64]
_PARTS = ("data", "indices", "indptr")


def check_layout(
    measures: Measures, targets: Sequence[Target], geography: GeographyAssignment
) -> None:
    """Refuse targets that are not those of some measures, and columns of another run.

    Raises
    ------
    MatrixError, TargetError
        If there are no targets, one stands twice, one has no measure, a measure has no
        target, or measures and geography have different columns.
    """
    check_rows(targets)
    asked = {target.signature: target.name for target in targets}
    if lost := asked.keys() - set(measures.signatures):
        raise MatrixError(
            f"{min(asked[s] for s in lost)} is none of the measures; measure these targets first"
        )
    if idle := set(measures.signatures) - asked.keys():
        variable, constraints = min(idle)
        raise MatrixError(
            f"the measures have {variable} [{','.join(map(str, constraints))}], of which there is "
            "no target; give all targets that were measured, or measure these"
        )
    if (columns := size(measures.values)[1]) != geography.n_columns:
        raise MatrixError(
            f"the measures have {columns} columns, the geography {geography.n_columns}; they are "
            "of different runs"
        )


@dataclass(frozen=True, slots=True)
class Finest:
    """Finest rows of all measures.

    row[m] gives the finest row of each cell, (K,); `taken` the pairs of a row of X and a
    finest row that it takes in, (2, n).
    """

    count: int
    row: list[Ints]
    taken: Ints

    @classmethod
    def of(cls, rows: Sequence[Sequence[Ints]], given: Mapping[int, Ints]) -> Finest:
        """Give numbers to what the rows of each measure tell apart; some measures have them."""
        used = max((int(row.max()) + 1 for row in given.values()), default=0)
        number, pairs = [], [np.zeros((2, 0), dtype=np.int64)]
        for m, levels in enumerate(rows):
            if m in given:
                number.append(given[m])
            else:
                found, atom = np.unique(np.array(levels), axis=1, return_inverse=True)
                inside = (found != NOWHERE).any(axis=0)
                number.append(np.where(inside, used + np.cumsum(inside) - 1, NOWHERE)[atom])
                used += int(inside.sum())
            for row in levels:
                both = np.stack([row, number[m]])
                pairs.append(np.unique(both[:, row != NOWHERE], axis=1))
        return cls(used, number, np.concatenate(pairs, axis=1))

    def taken_in_by(self, n_rows: int) -> sparse.csr_array:
        """Write G."""
        ones = np.ones(self.taken.shape[1], dtype=np.float32)
        at = tuple(self.taken.astype(np.int32))
        G = sparse.coo_array((ones, at), shape=(n_rows, self.count)).tocsr()
        G.sort_indices()
        return G


# -- sparse arrays ---------------------------------------------------------------------


def product(G: sparse.csr_array, Z: sparse.csr_array) -> sparse.csr_array:
    """Give G Z; every entry is one entry of Z, so nothing is rounded."""
    X = sparse.csr_array(G @ Z)
    X.sort_indices()
    return X


def flat(name: str, matrix: sparse.csr_array) -> dict[str, NDArray[Any]]:
    """Give the plain arrays of a sparse one, named after it."""
    parts = {part: getattr(matrix, part) for part in _PARTS}
    return {f"{name}_{part}": a for part, a in parts.items()} | {
        f"{name}_shape": np.array(matrix.shape)
    }


def unflat(name: str, arrays: Mapping[str, NDArray[Any]]) -> sparse.csr_array:
    """Make a sparse array of what `flat` gave.

    Raises
    ------
    MatrixError
        If an array is missing, or an index lies outside of the shape.
    """
    data, indices, indptr = (named(f"{name}_{part}", arrays) for part in _PARTS)
    try:
        made = sparse.csr_array((data, indices, indptr), tuple(named(f"{name}_shape", arrays)))
        made.check_format(full_check=True)
    except ValueError as error:
        raise MatrixError(f"{name} is not a sparse array ({error})") from error
    return made


def named(name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Give an array by its name.

    Raises
    ------
    MatrixError
        If it is missing.
    """
    if name not in arrays:
        raise MatrixError(f"there is no array {name!r}; write the matrix again")
    return arrays[name]
