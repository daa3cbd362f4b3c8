"""Failures of uprating: how totals of several levels are made into one set.

They act on `calibration.uprating.reconcile` and are noticed by `calibration.level_gaps`,
which is given the published totals and what came of them. Matrix and files take targets as
they are, so that neither identity nor checks of columns could say anything of these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest import mock

from calibration import uprating
from calibration.failures.experiment import Failure
from calibration.geography import Level, state_of
from calibration.targets import Signature, Target, sort_targets
from calibration.uprating import Areas, AuditRow, reconcile

__all__ = ["FAILURES"]

Reconciled = tuple[list[Target], list[AuditRow]]


def _as_published(targets: Iterable[Target], areas: Areas) -> Reconciled:  # noqa: ARG001
    return sort_targets(targets), []


def _by_variable(targets: Iterable[Target], areas: Areas) -> Reconciled:  # noqa: ARG001
    """Rescale districts to states by variable, whatever the constraints; drop the states."""
    first: dict[tuple[str, int], float] = {}
    total: dict[tuple[str, int], float] = defaultdict(float)
    targets = sort_targets(targets)
    for t in targets:
        if t.level is Level.STATE:
            first.setdefault((t.variable, t.code), t.value)
        elif t.level is Level.DISTRICT:
            total[t.variable, int(state_of(t.level, t.code))] += t.value
    made = []
    for t in targets:
        key = t.variable, t.code if t.level is Level.STATE else t.code // 100
        if t.level is Level.DISTRICT and key in first:
            made.append(replace(t, value=t.value * first[key] / total[key]))
        elif t.level is not Level.STATE or key not in total:
            made.append(t)
    return made, []


def _whoever_is_there(targets: Iterable[Target], areas: Areas) -> Reconciled:
    """Take the areas that have a figure for all areas of the country, measure by measure."""
    alike: dict[Signature, list[Target]] = defaultdict(list)
    for t in targets:
        alike[t.signature].append(t)
    made, audit = [], []
    for several in alike.values():
        there = {level: [t.code for t in several if t.level is level] for level in areas}
        used, rows = reconcile(several, there)
        made, audit = [*made, *used], [*audit, *rows]
    return sort_targets(made), audit


def _instead(faulty: Callable[[Iterable[Target], Areas], Reconciled]) -> AbstractContextManager:
    return mock.patch.object(uprating, "reconcile", faulty)


FAILURES: tuple[Failure, ...] = (
    Failure(
        "levels-as-published",
        "totals of all levels go into the fit as they were published",
        "state and districts contradict each other, and the fit lands between them",
        "level_gaps",
        lambda: _instead(_as_published),
        sides=(),
    ),
    Failure(
        "matched-by-variable",
        "parents and children are matched by variable, without their constraints",
        "every bin is scaled to the first bin of its state; most of the people are gone",
        "level_gaps",
        lambda: _instead(_by_variable),
        sides=(),
    ),
    Failure(
        "incomplete-children",
        "a parent is replaced by whichever of its children are there",
        "the districts without a figure get nothing, and the others get their share",
        "level_gaps",
        lambda: _instead(_whoever_is_there),
        sides=(),
    ),
)
