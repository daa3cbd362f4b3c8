"""Failures of stage 7: which columns a file is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import publish_local_area as publish_module
from calibration.failures.experiment import Failure

__all__ = ["FAILURES"]

Ints = NDArray[np.int64]


@contextmanager
def _last_third_lost() -> Iterator[None]:
    area_columns = publish_module.area_columns

    def without_last(*parts: Any, **options: Any) -> tuple[Ints, NDArray[np.float64]]:
        columns, weights = area_columns(*parts, **options)
        kept = 2 * len(columns) // 3
        return columns[:kept], weights[:kept]

    with mock.patch.object(publish_module, "area_columns", without_last):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "columns-lost",
        "the last columns of every area are left out of its file",
        "every total of every file is too low",
        "identity",
        _last_third_lost,
    ),
)
