"""Bring totals of different years and levels into one consistent set.

A district total of 2022 and a state total of 2024 cannot both be met. First every total
moves to the model year by a factor for its variable (prices for dollars, population for
counts). Then, from the nation downwards, children are rescaled to their parent:

    HIF(parent)  = parent / sum of its children         (hierarchical inconsistency factor)
    child       <- child * HIF(parent)

Parents and children match on the full signature, the variable and all constraints that
are not about geography, so an age band is never scaled to the sum of all bands. There
are two trees, nation -> state -> district and nation -> state -> county, and nothing
passes from a district to a county. A parent is dropped only if its reconciled children
are complete, one for every area of the country in it; otherwise it stays, and so do its
children, as they are. A level is not skipped: a nation over districts without states stays
beside them, and `calibration.level_gaps` says so.

Complete children so add up to the root's published total times the root's own factor,
whatever they added up to before and whatever year they were of: HIF holds no time, and the
factors of years cancel below the root.

Axes: one factor a parent; the audit has a row for each parent that has children.

Source: PolicyEngine/policyengine-us-data e01a0384, calibration/unified_matrix_builder.py,
from which it departs: (1) full signatures instead of domain names; (2) incomplete
children never replace a parent; (3) a missing factor is an error, not 1; (4) every total
moves to the year first, so that HIF measures levels alone.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from typing import TypeAlias

from calibration.errors import TargetError
from calibration.geography import Level, state_of
from calibration.targets import Signature, Target, check_spelling, sort_targets

__all__ = [
    "BOUNDS",
    "TREES",
    "Areas",
    "AuditRow",
    "Status",
    "factor",
    "read_factors",
    "reconcile",
    "to_year",
]

Areas: TypeAlias = Mapping[Level, Sequence[int]]
"""The areas of a country at each level."""

TREES = ((Level.NATION, Level.STATE), (Level.STATE, Level.DISTRICT), (Level.STATE, Level.COUNTY))
"""Parent and child levels, from the top down."""

BOUNDS = (0.2, 5.0)
"""A factor outside says that parent and children are not the same thing."""


class Status(StrEnum):
    """What happened to a parent and its children."""

    RECONCILED = "children rescaled to the parent; the parent is redundant and left out"
    INCOMPLETE = "children are missing; this tree changes neither them nor the parent"
    ZERO = "children add up to zero; this tree changes neither them nor the parent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """What reconciliation did with one parent.

    Parameters
    ----------
    parent : str
        Name of the parent target.
    children : Level
    n_children, n_areas : int
        Children found, and areas of the country that lie in the parent.
    total, sum_before : float
        The parent's value, and the sum of its children before.
    hif : float
        total / sum_before; 1 where nothing was rescaled.
    status : Status
    """

    parent: str
    children: Level
    n_children: int
    n_areas: int
    total: float
    sum_before: float
    hif: float
    status: Status


def read_factors() -> dict[tuple[str, int], float]:
    """Read the packaged factors: for (index, year), what brings that year to 2024."""
    text = (files("calibration") / "data" / "uprating_factors.csv").read_text(encoding="utf-8")
    return {
        (line["index"], int(line["year"])): float(line["factor_to_2024"])
        for line in csv.DictReader(io.StringIO(text))
    }


def factor(target: Target, year: int, factors: Mapping[tuple[str, int], float]) -> float:
    """Give the factor that moves a target from its period to a year.

    Parameters
    ----------
    target : Target
    year : int
    factors : mapping of (str, int) to float
        From `read_factors`; any common base year will do.

    Returns
    -------
    float

    Raises
    ------
    TargetError
        If the table lacks the target's period or the year.
    """
    if target.period == year:
        return 1.0
    index = "population" if target.is_count else "prices"
    try:
        return factors[index, target.period] / factors[index, year]
    except KeyError:
        raise TargetError(
            f"{target.name}: no {index} factor from {target.period} to {year}"
        ) from None


def to_year(
    targets: Iterable[Target], year: int, factors: Mapping[tuple[str, int], float]
) -> list[Target]:
    """Move every target to a year by its own factor; see `factor` for the errors."""
    return [replace(t, value=t.value * factor(t, year, factors), period=year) for t in targets]


def reconcile(targets: Iterable[Target], areas: Areas) -> tuple[list[Target], list[AuditRow]]:
    """Rescale children to their parents, top down, in both trees.

    Parameters
    ----------
    targets : iterable of Target
        All of one year.
    areas : mapping of Level to sequence of int
        The areas of the country at each level, for telling whether children are complete.

    Returns
    -------
    targets : list of Target
        In the order of the rows of X, redundant parents left out.
    audit : list of AuditRow
        One row for each parent that has children.

    Raises
    ------
    TargetError
        If a factor lies outside `BOUNDS`, a target stands twice, a measure stands in two
        spellings, or a target is for an area that the country does not have.
    """
    targets = list(targets)
    check_spelling(targets)
    cells: dict[Signature, dict[tuple[Level, int], Target]] = defaultdict(dict)
    for target in targets:
        if (target.level, target.code) in cells[target.signature]:
            raise TargetError(f"two targets are named {target.name}; give those of one year")
        if target.level in areas and target.code not in areas[target.level]:
            raise TargetError(f"{target.name} is for a {target.level} that the country lacks")
        cells[target.signature][target.level, target.code] = target
    audit: list[AuditRow] = []
    kept: list[Target] = []
    for cell in cells.values():
        redundant = set()
        for parent_level, child_level in TREES:
            for key in [k for k in cell if k[0] is parent_level]:
                row = _rescale(cell, key, child_level, areas)
                if row is not None:
                    audit.append(row)
                    redundant |= {key} if row.status is Status.RECONCILED else set()
        kept += [target for key, target in cell.items() if key not in redundant]
    return sort_targets(kept), sorted(audit, key=lambda row: (row.parent, row.children))


def _rescale(
    cell: dict[tuple[Level, int], Target], parent: tuple[Level, int], level: Level, areas: Areas
) -> AuditRow | None:
    """Rescale the children of one parent in place; None if there are none."""
    inside = [c for c in areas.get(level, ()) if parent[1] in (0, int(state_of(level, c)))]
    children = [(level, code) for code in inside if (level, code) in cell]
    if not children:
        return None
    total, before = cell[parent].value, sum(cell[key].value for key in children)
    status = Status.INCOMPLETE if len(children) < len(inside) else Status.RECONCILED
    if status is Status.RECONCILED and before == 0:
        status = Status.ZERO
    hif = total / before if status is Status.RECONCILED else 1.0
    if not BOUNDS[0] <= hif <= BOUNDS[1]:
        raise TargetError(
            f"{cell[parent].name} is {total:g}, its children add up to {before:g}: a factor of "
            f"{hif:.3g} lies outside {BOUNDS}; they do not measure the same thing"
        )
    for key in children:
        cell[key] = replace(cell[key], value=cell[key].value * hif)
    return AuditRow(
        parent=cell[parent].name,
        children=level,
        n_children=len(children),
        n_areas=len(inside),
        total=total,
        sum_before=before,
        hif=hif,
        status=status,
    )
