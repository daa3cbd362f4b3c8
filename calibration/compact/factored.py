"""X as a product of two sparse arrays, exactly: see `calibration.compact`.

    X = G Z

Axes: rows i in [0, T), finest rows f in [0, F), columns j in [0, C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from calibration.compact.finest import Finest, check_layout, flat, product, unflat
from calibration.crosswalk import GeographyAssignment
from calibration.errors import MatrixError
from calibration.measures import Measures, place, scatter, size
from calibration.targets import Target

__all__ = ["FactoredMatrix"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FactoredMatrix:
    """X as G Z, exactly.

    Parameters
    ----------
    G : scipy.sparse.csr_array of float32, shape (T, F)
        Ones where a row of X takes in a finest row. Finest rows that share a column are
        never taken in by the same row.
    Z : scipy.sparse.csr_array of float32, shape (F, C)
        Values of each measure in each finest area; columns ascend in every row.
    """

    G: sparse.csr_array
    Z: sparse.csr_array

    def __post_init__(self) -> None:
        if size(self.G)[1] != size(self.Z)[0]:
            raise MatrixError(f"G is {size(self.G)} and Z is {size(self.Z)}; they do not fit")

    @classmethod
    def of(
        cls, measures: Measures, targets: Sequence[Target], geography: GeographyAssignment
    ) -> FactoredMatrix:
        """Factor the matrix of some targets, without making it.

        Parameters
        ----------
        measures : Measures
            Of the signatures of the targets.
        targets : sequence of Target
            T targets, in the order of the rows.
        geography : GeographyAssignment
            Where the columns live.

        Raises
        ------
        MatrixError, TargetError
            If there are no targets, one stands twice, they are not those of the measures, or
            the measures have other columns than the geography.
        """
        check_layout(measures, targets, geography)
        cells, rows = place(measures.signatures, targets, geography)
        finest = Finest.of(rows, {})
        Z = scatter(measures, cells, [[row] for row in finest.row], finest.count)
        return cls(finest.taken_in_by(len(targets)), Z)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return size(self.G)[0], size(self.Z)[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def to_csr(self) -> sparse.csr_array:
        """Multiply out: X, with equal bits."""
        return product(self.G, self.Z)

    def estimates(self, weights: Floats) -> Floats:
        """X w in float64, shape (T,)."""
        w = np.asarray(weights, dtype=np.float64)
        return self.G.astype(np.float64) @ (self.Z.astype(np.float64) @ w)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the plain arrays that the form is made of, by name."""
        return flat("G", self.G) | flat("Z", self.Z)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> FactoredMatrix:
        """Make the form of what `arrays` gave.

        Raises
        ------
        MatrixError
            If an array is missing, or holds what the form cannot.
        """
        return cls(unflat("G", arrays), unflat("Z", arrays))
