"""Failures of stage 6: draws, thresholds, and who is let through by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from calibration import takeup as takeup_module
from calibration.clones import Clones
from calibration.dataset import Dataset
from calibration.failures.experiment import Failure
from calibration.takeup import Programme, Thresholds

__all__ = ["FAILURES"]


@contextmanager
def _clone_not_in_key() -> Iterator[None]:
    draws = takeup_module.draws

    def without_clone(dataset: Dataset, programme: Programme, seed: int) -> Any:
        zero = np.zeros_like(dataset["clone_index"])
        return draws(dataset.with_columns("household", {"clone_index": zero}), programme, seed)

    with mock.patch.object(takeup_module, "draws", without_clone):
        yield


def _stale_thresholds(clones: Clones) -> Clones:
    rows = tuple(replace(r, threshold=0.7 * r.threshold) for r in clones.thresholds.rows)
    return replace(clones, thresholds=Thresholds(clones.thresholds.seed, rows))


@contextmanager
def _everybody_files() -> Iterator[None]:
    flags = takeup_module.flags

    def all_volunteer(dataset: Dataset, programme: Programme, thresholds: Thresholds) -> Any:
        drawn = flags(dataset, programme, thresholds)
        return np.ones_like(drawn) if programme.name == "voluntary_filing" else drawn

    with mock.patch.object(takeup_module, "flags", all_volunteer):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "clone-not-in-key",
        "the clone number is missing from the key of the takeup draws",
        "all clones of a household decide alike; files differ from the matrix by percents",
        "takeup_key",
        _clone_not_in_key,
    ),
    Failure(
        "stale-threshold",
        "thresholds of an earlier run are used",
        "benefit totals of the files are too low or too high everywhere",
        "thresholds_current",
        spoil=_stale_thresholds,
    ),
    Failure(
        "filer-gate-off",
        "every tax unit counts as filing",
        "totals of tax returns include people who file none",
        "filer_gate",
        _everybody_files,
    ),
)
