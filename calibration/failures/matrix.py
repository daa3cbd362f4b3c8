"""Failures of stage 4: how entries are made and added up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration.failures.experiment import Failure
from calibration.matrix import CalibrationMatrix

__all__ = ["FAILURES"]


@contextmanager
def _float32_sums() -> Iterator[None]:
    def estimates(self: CalibrationMatrix, weights: NDArray[np.float64]) -> Any:
        return (self.X @ weights.astype(np.float32)).astype(np.float64)

    with mock.patch.object(CalibrationMatrix, "estimates", estimates):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "float32-sums",
        "national rows are summed in single precision",
        "totals of millions of terms are off by up to a percent",
        "float64_sums",
        _float32_sums,
    ),
)
