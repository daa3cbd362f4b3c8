"""A compact form of X with everything that a consumer needs to use or check it, and on disk.

    compact.form.estimates(w)    X w, for weights that start from compact.w0

Stored as a matrix is, without pickle: see `calibration.matrix_files`.

Axes: targets i in [0, T), columns j = clone * R + record in [0, C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.compact.factored import FactoredMatrix
from calibration.compact.finest import named
from calibration.compact.grid import GridMatrix
from calibration.errors import MatrixError
from calibration.matrix_files import load_sealed, save_sealed
from calibration.targets import Target

__all__ = ["CompactMatrix"]

_FORMS: Mapping[str, type[FactoredMatrix | GridMatrix]] = {
    "factored": FactoredMatrix,
    "grid": GridMatrix,
}
_BESIDE = ("w0", "household_id")


@dataclass(frozen=True, slots=True, eq=False)
class CompactMatrix:
    """A form of X, its targets, its start, and its pedigree.

    Parameters
    ----------
    form : FactoredMatrix or GridMatrix
        Of shape (T, C).
    targets : list of Target, length T
    w0 : ndarray of float64, shape (C,)
        Weights to start from.
    household_id : ndarray of int64, shape (R,)
        Ids of the records, which key every draw.
    made_of : mapping of str to str
        Hashes and versions of what it was made from, as `Clones.made_of` gives them.

    Raises
    ------
    MatrixError
        If the sizes of these do not fit each other.
    """

    form: FactoredMatrix | GridMatrix
    targets: list[Target]
    w0: NDArray[np.float64]
    household_id: NDArray[np.int64]
    made_of: Mapping[str, str]

    def __post_init__(self) -> None:
        beside = len(self.targets), len(self.w0)
        if self.form.shape != beside:
            raise MatrixError(
                f"the form has shape {self.form.shape}, for {beside[0]} targets and {beside[1]} "
                "start weights"
            )
        if len(self.w0) % max(1, len(self.household_id)):
            raise MatrixError(
                f"{len(self.w0)} columns are no clones of {len(self.household_id)} records"
            )

    def save(self, folder: Path) -> None:
        """Write `matrix.npz` and, last, `matrix.json`, which seals it with its hash."""
        (form,) = (name for name, kind in _FORMS.items() if isinstance(self.form, kind))
        arrays = self.form.arrays() | {name: getattr(self, name) for name in _BESIDE}
        save_sealed(folder, arrays, self.targets, self.made_of, form)

    @classmethod
    def load(
        cls,
        folder: Path,
        form: str,
        expected: Mapping[str, str] | None = None,
        targets: Sequence[Target] | None = None,
    ) -> CompactMatrix:
        """Read what `save` wrote.

        Parameters
        ----------
        folder : Path
        form : {"factored", "grid"}
        expected : mapping of str to str, optional
            What it must have been made of.
        targets : sequence of Target, optional
            What its rows must be, in order, values included.

        Raises
        ------
        MatrixError, FileError
            If there is no such form, a file is damaged, was edited or holds another form,
            a field of `made_of` differs, or the rows are those of other targets.
        """
        if form not in _FORMS:
            raise MatrixError(f"no form {form!r}; there are {', '.join(_FORMS)}")
        arrays, rows, made_of = load_sealed(folder, expected, targets, form)
        try:
            made = _FORMS[form].of_arrays(arrays)
            w0, household_id = (named(name, arrays) for name in _BESIDE)
            return cls(made, rows, w0, household_id, made_of)
        except MatrixError as error:
            raise MatrixError(f"{folder}: {error}") from error
