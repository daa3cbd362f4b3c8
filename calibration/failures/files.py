"""Failures of stage 7: which columns a file is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import publish_local_area as publish_module
from calibration.crosswalk import GeographyAssignment
from calibration.failures.experiment import Failure

__all__ = ["FAILURES"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Choose = Callable[..., tuple[Ints, Floats]]


def _choosing(fault: Callable[[Choose], Choose]) -> Callable[[], Any]:
    """Replace the function that chooses the columns of a file by something made of it."""

    @contextmanager
    def inject() -> Iterator[None]:
        with mock.patch.object(publish_module, "area_columns", fault(publish_module.area_columns)):
            yield

    return inject


def _last_third_lost(area_columns: Choose) -> Choose:
    def without_last(*parts: Any, **options: Any) -> tuple[Ints, Floats]:
        columns, weights = area_columns(*parts, **options)
        kept = 2 * len(columns) // 3
        return columns[:kept], weights[:kept]

    return without_last


def _stacked(area_columns: Choose) -> Choose:
    def first_of_record(
        weights: Floats, geography: GeographyAssignment, *rest: Any, **options: Any
    ) -> tuple[Ints, Floats]:
        columns, w = area_columns(weights, geography, *rest, **options)
        record = columns % geography.n_records
        _, first, of = np.unique(record, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return columns[first[order]], np.bincount(of, weights=w)[order].astype(np.float64)

    return first_of_record


def _drawn_again(area_columns: Choose) -> Choose:
    def elsewhere(
        weights: Floats, geography: GeographyAssignment, *rest: Any, **options: Any
    ) -> tuple[Ints, Floats]:
        codes = {level: np.roll(code, 1) for level, code in geography.codes.items()}
        return area_columns(weights, replace(geography, codes=codes), *rest, **options)

    return elsewhere


FAILURES: tuple[Failure, ...] = (
    Failure(
        "columns-lost",
        "the last columns of every area are left out of its file",
        "every total of every file is too low",
        "identity",
        _choosing(_last_third_lost),
    ),
    Failure(
        "clones-stacked",
        "clones of a record that meet in an area are merged, weights summed",
        "the first clone's place and takeup stand for all of them",
        "identity",
        _choosing(_stacked),
    ),
    Failure(
        "geography-drawn-again",
        "columns are chosen by an assignment made anew, not by the stored one",
        "files hold households that the weights were not fitted for",
        "identity",
        _choosing(_drawn_again),
    ),
)
