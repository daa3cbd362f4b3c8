"""Failures of stage 6: keys, thresholds, and flags that are not those of the clone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import takeup as takeup_module
from calibration.clones import Clones
from calibration.dataset import Dataset
from calibration.failures.experiment import Failure
from calibration.rng import text_key, uniform
from calibration.takeup import Programme, Threshold, Thresholds, group_of_units, reports
from calibration.thresholds import residual_rate

__all__ = ["FAILURES", "survey_flags"]

Bools = NDArray[np.bool_]
Decide = Callable[[Dataset, Programme, Thresholds], Bools]


@contextmanager
def _clone_not_in_key() -> Iterator[None]:
    draws = takeup_module.draws

    def without_clone(dataset: Dataset, programme: Programme, seed: int) -> Any:
        zero = np.zeros_like(dataset["clone_index"])
        return draws(dataset.with_columns("household", {"clone_index": zero}), programme, seed)

    with mock.patch.object(takeup_module, "draws", without_clone):
        yield


@contextmanager
def _block_in_key() -> Iterator[None]:
    def in_block(dataset: Dataset, programme: Programme, seed: int) -> Any:
        home = dataset.household_of(programme.entity)
        block = dataset["block_geoid"].astype(np.int64)
        unit = dataset[f"record_{programme.entity}_id"]
        return uniform(seed, "takeup", programme.name, block[home], unit)

    with mock.patch.object(takeup_module, "draws", in_block):
        yield


@contextmanager
def _in_sequence() -> Iterator[None]:
    def next_in_line(dataset: Dataset, programme: Programme, seed: int) -> Any:
        stream = np.random.default_rng([seed, text_key(programme.name)])
        return stream.random(dataset.size(programme.entity))

    with mock.patch.object(takeup_module, "draws", next_in_line):
        yield


def _stale_thresholds(clones: Clones) -> Clones:
    rows = tuple(replace(r, threshold=0.7 * r.threshold) for r in clones.thresholds.rows)
    return replace(clones, thresholds=Thresholds(clones.thresholds.seed, rows))


def _deciding(decide: Callable[[Decide], Decide]) -> Callable[[], Any]:
    """Replace the one function that decides by something made of it."""

    @contextmanager
    def inject() -> Iterator[None]:
        with mock.patch.object(takeup_module, "flags", decide(takeup_module.flags)):
            yield

    return inject


def _of_this_file(flags: Decide) -> Decide:
    """Anchor at the units that happen to be at hand, counted, in whole units."""

    def resolved_again(dataset: Dataset, programme: Programme, stored: Thresholds) -> Bools:
        if programme.anchor is None:
            return flags(dataset, programme, stored)
        said, group = reports(dataset, programme), group_of_units(dataset, programme)
        rows = []
        for row in stored.rows:
            if row.programme == programme.name and (here := group == row.group).any():
                rate = np.floor(row.rate * here.sum()) / here.sum()
                r = float(said[here].mean())
                rows.append(Threshold(row.programme, row.group, rate, 0, r, residual_rate(rate, r)))
        return flags(dataset, programme, Thresholds(stored.seed, tuple(rows)))

    return resolved_again


def survey_flags(dataset: Dataset, programme: Programme, thresholds: Thresholds) -> Bools:
    """Decide as a survey file does that was made before anybody thought of clones.

    One draw for each unit of the survey, compared with the published rate.
    """
    u = uniform(thresholds.seed, "survey", programme.name, dataset[f"record_{programme.entity}_id"])
    rates = tuple(replace(row, threshold=row.rate) for row in thresholds.rows)
    rate = Thresholds(thresholds.seed, rates).of(programme.name, group_of_units(dataset, programme))
    return (u < rate) | reports(dataset, programme)


def _always(name: str | None, value: bool) -> Callable[[Decide], Decide]:  # noqa: FBT001
    """Give one programme, or all, one flag for everybody."""

    def decide(flags: Decide) -> Decide:
        def fixed(dataset: Dataset, programme: Programme, thresholds: Thresholds) -> Bools:
            drawn = flags(dataset, programme, thresholds)
            return np.full_like(drawn, value) if name in {None, programme.name} else drawn

        return fixed

    return decide


FAILURES: tuple[Failure, ...] = (
    Failure(
        "clone-not-in-key",
        "the clone number is missing from the key of the takeup draws",
        "all clones of a household decide alike; files differ from the matrix by percents",
        "takeup_key",
        _clone_not_in_key,
    ),
    Failure(
        "block-in-key",
        "the key has the census block instead of household and clone",
        "a unit decides anew wherever it is put; two clones in one block decide alike",
        "takeup_key",
        _block_in_key,
    ),
    Failure(
        "draws-in-sequence",
        "draws are the next numbers of a generator, taken in the order of the rows",
        "a household more or less in a file changes the decisions of all after it",
        "takeup_key",
        _in_sequence,
    ),
    Failure(
        "stale-threshold",
        "thresholds of an earlier run are used",
        "benefit totals of the files are too low or too high everywhere",
        "thresholds_current",
        spoil=_stale_thresholds,
    ),
    Failure(
        "threshold-per-file",
        "thresholds are resolved again from the units of the file or chunk at hand",
        "a household takes up in its state's file and not in its district's",
        "takeup_key",
        _deciding(_of_this_file),
    ),
    Failure(
        "survey-takeup-kept",
        "the flags that were drawn once for the survey are kept",
        "benefits of the files are those of another draw, the same for all clones",
        "takeup_key",
        _deciding(lambda _: survey_flags),
    ),
    Failure(
        "takeup-left-on",
        "the flags that were set for everybody, to see who is entitled, are left on",
        "benefit totals are those of full takeup, and everybody files",
        "takeup_key",
        _deciding(_always(None, value=True)),
    ),
    Failure(
        "would-file-ignored",
        "nobody files voluntarily",
        "totals of tax returns lack those who need not file",
        "filer_gate",
        _deciding(_always("voluntary_filing", value=False)),
    ),
    Failure(
        "filer-gate-off",
        "every tax unit counts as filing",
        "totals of tax returns include people who file none",
        "filer_gate",
        _deciding(_always("voluntary_filing", value=True)),
    ),
)
