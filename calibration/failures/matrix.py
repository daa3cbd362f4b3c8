"""Failures of stage 4: entries that are not those of the clone, and how they are added up.

All but the last act while the matrix is built, on what the engine is asked and what it
answers. The files are right, so the X w identity sees each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from calibration import matrix_builder as builder_module
from calibration.clones import Clones
from calibration.dataset import Array, Dataset
from calibration.engines import Engine
from calibration.failures.experiment import Failure
from calibration.failures.takeup import survey_flags
from calibration.matrix import CalibrationMatrix
from calibration.takeup import Thresholds, all_on, with_flags

__all__ = ["FAILURES"]

Answer = dict[str, Array]


class _Faulty:
    """An engine that answers in another way."""

    def __init__(self, engine: Engine, answer: Callable[[Dataset, list[str], int], Answer]) -> None:
        self._engine, self._answer = engine, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> Answer:
        return self._answer(dataset, list(variables), period)


def _answering(fault: Callable[[Clones], Callable[..., Answer]]) -> Callable[[], Any]:
    """Let the builder ask a faulty engine; the fault lasts, and may remember, for a block."""

    @contextmanager
    def inject() -> Iterator[None]:
        simulate_columns, made = builder_module.simulate_columns, []

        def simulate(clones: Clones, *rest: Any, **how: Any) -> Any:
            if not made:
                made.append(_Faulty(clones.engine, fault(clones)))
            return simulate_columns(replace(clones, engine=made[0]), *rest, **how)

        with mock.patch.object(builder_module, "simulate_columns", simulate):
            yield

    return inject


def _eligible_times_takeup(clones: Clones) -> Callable[..., Answer]:
    """Multiply what a unit could have, if all took up everything, by its own flag."""
    ours = {p.eligible: p for p in clones.programmes if p.name in {"snap", "tanf", "ssi", "aca"}}

    def answer(dataset: Dataset, variables: list[str], period: int) -> Answer:
        values = dict(clones.engine.simulate(dataset, variables, period))
        asked = [name for name in variables if name in ours]
        entitled = clones.engine.simulate(all_on(dataset, clones.programmes), asked, period)
        return values | {name: entitled[name] * dataset[ours[name].flag] for name in asked}

    return answer


def _survey_answers(variables_kept: frozenset[str]) -> Callable[[Clones], Callable[..., Answer]]:
    """Answer for some variables as if the flags were still those of the survey."""

    def fault(clones: Clones) -> Callable[..., Answer]:
        def answer(dataset: Dataset, variables: list[str], period: int) -> Answer:
            table: Thresholds = clones.thresholds
            drawn = {p: survey_flags(dataset, p, table) for p in clones.programmes}
            values = dict(clones.engine.simulate(dataset, variables, period))
            asked = [name for name in variables if name in variables_kept]
            old = with_flags(dataset, drawn)
            return values | clones.engine.simulate(old, asked, period)

        return answer

    return fault


def _first_state_remembered(clones: Clones) -> Callable[..., Answer]:
    """Keep the SNAP that a unit had in the first state in which it was simulated."""
    cache: dict[int, float] = {}

    def answer(dataset: Dataset, variables: list[str], period: int) -> Answer:
        values = dict(clones.engine.simulate(dataset, variables, period))
        if "snap" in values:
            units = dataset["record_spm_unit_id"].tolist()
            kept = [cache.setdefault(u, v) for u, v in zip(units, values["snap"], strict=True)]
            values["snap"] = np.array(kept)
        return values

    return answer


def _failed_is_zero(clones: Clones) -> Callable[..., Answer]:
    """Take a variable that could not be computed for zero."""

    def answer(dataset: Dataset, variables: list[str], period: int) -> Answer:
        values = dict(clones.engine.simulate(dataset, variables, period))
        return {k: np.zeros_like(v) if k == "snap" else v for k, v in values.items()}

    return answer


@contextmanager
def _values_of_clone_0() -> Iterator[None]:
    simulate_columns = builder_module.simulate_columns

    def simulate(clones: Clones, columns: NDArray[np.int64], *rest: Any, **how: Any) -> Any:
        return simulate_columns(clones, columns % clones.geography.n_records, *rest, **how)

    with mock.patch.object(builder_module, "simulate_columns", simulate):
        yield


@contextmanager
def _float32_sums() -> Iterator[None]:
    def estimates(self: CalibrationMatrix, weights: NDArray[np.float64]) -> Any:
        return (self.X @ weights.astype(np.float32)).astype(np.float64)

    with mock.patch.object(CalibrationMatrix, "estimates", estimates):
        yield


FAILURES: tuple[Failure, ...] = (
    Failure(
        "eligible-times-takeup",
        "what a unit could have with all takeup on is multiplied by its own flag",
        "SNAP counts SSI and TANF that the household does not claim",
        "identity",
        _answering(_eligible_times_takeup),
        sides=("matrix",),
    ),
    Failure(
        "survey-takeup-in-tax",
        "rows that no flag multiplies are computed with the survey's takeup",
        "income tax and credits of the matrix are those of another draw",
        "identity",
        _answering(_survey_answers(frozenset({"income_tax", "eitc", "adjusted_gross_income"}))),
        sides=("matrix",),
    ),
    Failure(
        "survey-takeup-in-gate",
        "who files is computed with the survey's takeup",
        "rows of tax returns hold other people than the files",
        "identity",
        _answering(_survey_answers(frozenset({"tax_unit_is_filer", "medicaid_enrolled"}))),
        sides=("matrix",),
    ),
    Failure(
        "state-remembered",
        "a simulation object that is used for one state after another keeps values",
        "SNAP is that of the first state in which a unit was simulated",
        "identity",
        _answering(_first_state_remembered),
        sides=("matrix",),
    ),
    Failure(
        "values-of-clone-0",
        "every clone has the values of its record, wherever it lives",
        "populations and benefits by state are those of other states' rules",
        "identity",
        _values_of_clone_0,
        sides=("matrix",),
    ),
    Failure(
        "failed-is-zero",
        "a variable that could not be computed counts as zero",
        "a whole row of the matrix is empty, and the fit goes on without it",
        "identity",
        _answering(_failed_is_zero),
        sides=("matrix",),
    ),
    Failure(
        "float32-sums",
        "national rows are summed in single precision",
        "totals of millions of terms are off by up to a percent",
        "float64_sums",
        _float32_sums,
    ),
)
