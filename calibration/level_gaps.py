"""Whether targets of different levels agree, and no published total got lost.

A check of reconciliation that knows nothing of its factors. It is given the published
totals of one year and the targets that are used instead, and asks of each published total:

    LOST      it is not used, and no complete set of areas below carries it
    MIXED     it is used beside areas below that are complete and add up to something else
    MOVED     the areas below carry it, and add up to something else
    CHANGED   it is used, at another value than was published

Each of the trees nation -> state -> district and nation -> state -> county is asked by
itself. What an area below carries is its own target if that is used, else the sum over the
areas below it in turn. A total below one that was published, too, may move with it, so it
is never MOVED or CHANGED.

Axes: one row a contradiction; a consistent set has none.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from calibration.geography import NATION_CODE, Level, state_of
from calibration.targets import Signature, Target
from calibration.uprating import Areas

__all__ = ["Gap", "LevelGap", "level_gaps"]

TOLERANCE = 1e-9

_TREES = tuple((Level.NATION, Level.STATE, leaf) for leaf in (Level.DISTRICT, Level.COUNTY))
_Key: TypeAlias = tuple[Signature, Level, int]


class Gap(StrEnum):
    """What is wrong with a published total."""

    LOST = "neither used nor carried by complete areas below"
    MIXED = "used beside areas below that add up to something else"
    MOVED = "carried by areas below that add up to something else"
    CHANGED = "used at another value than was published"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelGap:
    """A published total that the used targets contradict.

    Parameters
    ----------
    target : str
        Name of the published target.
    gap : Gap
    published : float
    carried : float or None
        What stands in its place: the value used if it was CHANGED, else the sum of the areas
        below; None where they are not complete.
    """

    target: str
    gap: Gap
    published: float
    carried: float | None


def level_gaps(published: Iterable[Target], used: Iterable[Target], areas: Areas) -> list[LevelGap]:
    """List the published totals that the used targets lose or contradict.

    Parameters
    ----------
    published, used : iterable of Target
        Of one year; before and after reconciliation.
    areas : mapping of Level to sequence of int
        The areas of the country at each level.

    Returns
    -------
    list of LevelGap
        In the order of `published`.
    """
    asked = list(published)
    values = {_key(target): target.value for target in used}
    named = {_key(target) for target in asked}
    return [
        LevelGap(target=t.name, gap=gap, published=t.value, carried=value)
        for t in asked
        for gap, value in _gaps(t, values, areas, free=_has_parent(named, t))
    ]


def _gaps(
    t: Target, values: Mapping[_Key, float], areas: Areas, *, free: bool
) -> Iterator[tuple[Gap, float | None]]:
    """Tell what contradicts a published total, and by which value; `free` if it may move."""
    sums = (_sum_below(values, t, tree, areas) for tree in _TREES)
    carried = [total for total in sums if total is not None]
    own = values.get(_key(t))
    if own is not None:
        if not free and not _same(own, t.value):
            yield Gap.CHANGED, own
        yield from ((Gap.MIXED, total) for total in carried if not _same(total, own))
    elif not carried:
        yield Gap.LOST, None
    elif not free:
        yield from ((Gap.MOVED, total) for total in carried if not _same(total, t.value))


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE)


def _sum_below(
    values: Mapping[_Key, float], target: Target, tree: Sequence[Level], areas: Areas
) -> float | None:
    """Add up what the areas right below a target carry; None if one of them carries nothing."""
    if target.level not in tree[:-1]:
        return None
    level = tree[tree.index(target.level) + 1]
    parts = []
    for code in areas.get(level, ()):
        if target.code in {NATION_CODE, int(state_of(level, code))}:
            below = replace(target, level=level, code=code)
            part = values.get(_key(below))
            if part is None:
                part = _sum_below(values, below, tree, areas)
            if part is None:
                return None
            parts.append(part)
    return math.fsum(parts) if parts else None


def _has_parent(named: Container[_Key], target: Target) -> bool:
    """Tell whether a total above this one was published, which may have moved it."""
    if target.level is Level.NATION:
        return False
    above = [replace(target, level=Level.NATION, code=NATION_CODE)]
    if target.level is not Level.STATE:
        state = int(state_of(target.level, target.code))
        above.append(replace(target, level=Level.STATE, code=state))
    return any(_key(total) in named for total in above)


def _key(target: Target) -> _Key:
    return target.signature, target.level, target.code
