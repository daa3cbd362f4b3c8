"""What a column of X is: a record in a place, with its own takeup.

    column  ->  materialise (people, units, geography, state values)  ->  takeup flags

The matrix reads the values of these households, the files hold these households, and the
checks rebuild them. All three ask `Clones.households`, so they cannot disagree.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.engines import Engine, native
from calibration.files import hash_arrays
from calibration.materialise import materialise
from calibration.takeup import PROGRAMMES, Programme, Thresholds, with_takeup

__all__ = ["Clones"]


@dataclass(frozen=True, slots=True)
class Clones:
    """The C columns of a run.

    Parameters
    ----------
    dataset : Dataset
        The R records, with by-state columns for every state of the run.
    geography : GeographyAssignment
        Where each column lives.
    thresholds : Thresholds
        The stored takeup table.
    engine : Engine
        Whose inputs say which programmes' takeup is drawn.
    """

    dataset: Dataset
    geography: GeographyAssignment
    thresholds: Thresholds
    engine: Engine

    @property
    def household_id(self) -> NDArray[np.int64]:
        """Ids of the records, shape (R,)."""
        return self.dataset.household["household_id"]

    @property
    def programmes(self) -> list[Programme]:
        """Programmes whose takeup the engine reads."""
        return [p for p in PROGRAMMES if p.flag in self.engine.inputs]

    def households(
        self, columns: NDArray[np.int64], weights: NDArray[np.float64] | None = None
    ) -> Dataset:
        """Materialise columns, draw their takeup, and put them into the engine's columns.

        Parameters
        ----------
        columns : ndarray of int64, shape (n,)
        weights : ndarray of float64, shape (n,), optional
            `household_weight`; 1 by default.

        Returns
        -------
        Dataset
            n households in the order of `columns`, in the engine's own columns.
        """
        households = materialise(self.dataset, self.geography, columns, weights=weights)
        return native(self.engine, with_takeup(households, self.thresholds, self.programmes))

    def made_of(self) -> dict[str, str]:
        """Hash the parts: what a matrix or a file depends on."""
        table = json.dumps([self.thresholds.seed, *(asdict(r) for r in self.thresholds.rows)])
        return {
            "dataset": hash_arrays(self.dataset.arrays()),
            "engine": f"{self.engine.name} {self.engine.version}",
            "geography": self.geography.hash(),
            "thresholds": hash_arrays({"table": np.array(table)}),
        }
