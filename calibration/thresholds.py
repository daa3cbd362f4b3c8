"""What a unit must draw below: takeup rates turned into stored thresholds.

A published rate is a share of those entitled. Reporters always take up, so the others
need less. With r the reporters' share of the pool,

    threshold = max(0, (rate - r) / (1 - r))

The pool is what the rate is a share of: the eligible units among all R records, simulated
with all takeup on as residents of each state of the group, in that state's most populous
county, weighted by design weight times the state's share of the group's people. Without
an anchor the threshold is the rate, and nothing is simulated.

Axes: pools are sums over units; the table has a row for each (programme, group).

Source of the anchored rule: PolicyEngine/policyengine-us-data e01a0384, utils/takeup.py,
from which it departs: (1) the pool is the eligible, weighted, not all rows of a file,
counted; (2) no rounding down to whole units; (3) a missing rate is an error, not 0.8.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.engines import Engine
from calibration.errors import TakeupError
from calibration.geography import STATE_LETTERS, Level
from calibration.materialise import materialise
from calibration.takeup import (
    CATEGORY,
    CHILDREN,
    PROGRAMMES,
    STATE,
    WIC,
    WIC_CATEGORIES,
    Programme,
    Threshold,
    Thresholds,
    all_on,
    reports,
)

__all__ = ["Pool", "read_rates", "residents_of", "residual_rate", "resolve"]


def residual_rate(rate: float, reported: float) -> float:
    """Give the share of the others that brings the pool to its rate, (rate - r) / (1 - r).

    0 if the reporters alone reach the rate, or are everybody.
    """
    return 0.0 if reported >= 1 else max(0.0, (rate - reported) / (1 - reported))


def read_rates(year: int, path: Path | None = None) -> dict[tuple[str, str], float]:
    """Read the rate of every (programme, group) in force in a year.

    Parameters
    ----------
    year : int
    path : Path, optional
        A table with the columns of the packaged one; by default the packaged one.

    Returns
    -------
    dict of (str, str) to float
        The latest rate not later than the year.

    Raises
    ------
    TakeupError
        If the table cannot be read, a rate is not in [0, 1], two rows say different
        things, or a row names another anchor than its programme has.
    """
    source = files("calibration") / "data" / "takeup_rates.csv" if path is None else path
    try:
        lines = [
            (
                (line["programme"], line["group"]),
                int(line["year"]),
                float(line["rate"]),
                line["anchor"],
            )
            for line in csv.DictReader(io.StringIO(source.read_text(encoding="utf-8")))
        ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise TakeupError(f"{source} is not a table of takeup rates ({error})") from error
    latest: dict[tuple[str, str], tuple[int, float]] = {}
    anchors = {p.name: p.anchor or "" for p in (*PROGRAMMES, *WIC)}
    for key, since, rate, anchor in lines:
        if anchor != anchors.get(key[0], anchor):
            raise TakeupError(
                f"takeup rate of {key[0]} in {key[1]} is anchored at {anchor!r}, the programme at "
                f"{anchors[key[0]]!r}"
            )
        if not 0 <= rate <= 1:
            raise TakeupError(f"takeup rate of {key[0]} in {key[1]} is {rate}, not in [0, 1]")
        if since == latest.get(key, (None,))[0]:
            raise TakeupError(f"two takeup rates of {key[0]} in {key[1]} for {since}")
        if since <= year and since >= latest.get(key, (since,))[0]:
            latest[key] = (since, rate)
    return {key: rate for key, (_, rate) in latest.items()}


def resolve(
    dataset: Dataset,
    crosswalk: Crosswalk,
    engine: Engine,
    *,
    states: Sequence[int],
    seed: int,
    rates: Mapping[tuple[str, str], float] | None = None,
    programmes: Sequence[Programme] | None = None,
) -> Thresholds:
    """Resolve the threshold of every programme and group of a run, once.

    Parameters
    ----------
    dataset : Dataset
        The R records, with `design_weight` and by-state columns for the states.
    crosswalk : Crosswalk
    engine : Engine
    states : sequence of int
        States of the run.
    seed : int
        Seed of the draws; stored with the table.
    rates : mapping of (str, str) to float, optional
        From `read_rates`; by default the packaged table for the dataset's period.
    programmes : sequence of Programme, optional
        By default those whose flag the engine reads.

    Returns
    -------
    Thresholds

    Raises
    ------
    TakeupError
        If a group of the run has no rate.
    """
    rates = read_rates(dataset.period) if rates is None else rates
    if programmes is None:
        programmes = [p for p in PROGRAMMES if p.flag in engine.inputs]
    pools = {s: _pools(residents_of(dataset, crosswalk, s), programmes, engine) for s in states}
    people = crosswalk.population_by(Level.STATE)
    rows = []
    for programme in programmes:
        for group, members in _groups(programme, states):
            if (programme.name, group) not in rates:
                raise TakeupError(f"no takeup rate for {programme.name} in {group}")
            rate = rates[programme.name, group]
            if programme.anchor is None:
                rows.append(Threshold(programme.name, group, rate, 0.0, 0.0, rate))
                continue
            total = sum(people[s] for s in members)
            pool = Pool(0.0, 0.0)
            for s in members:
                pool += pools[s][programme.name].times(people[s] / total)
            rows.append(pool.threshold(programme.name, group, rate))
    return Thresholds(seed, tuple(rows))


@dataclass(frozen=True, slots=True)
class Pool:
    """The weighted units that a rate is a share of.

    Parameters
    ----------
    eligible : float
        Weighted number of eligible units.
    reporting : float
        Weighted number of those that report receipt.
    """

    eligible: float
    reporting: float

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.eligible + other.eligible, self.reporting + other.reporting)

    def times(self, factor: float) -> Pool:
        """Scale the weights."""
        return Pool(self.eligible * factor, self.reporting * factor)

    def threshold(self, programme: str, group: str, rate: float) -> Threshold:
        """Make the row of the table; an empty pool lets nobody in but reporters."""
        if self.eligible == 0:
            return Threshold(programme, group, rate, 0.0, 0.0, 0.0)
        r = self.reporting / self.eligible
        return Threshold(programme, group, rate, self.eligible, r, residual_rate(rate, r))


def _groups(programme: Programme, states: Sequence[int]) -> list[tuple[str, Sequence[int]]]:
    if programme.groups == STATE:
        return [(STATE_LETTERS.get(s, f"FIPS {s}"), [s]) for s in states]
    if programme.groups == CHILDREN:
        return [(str(n), states) for n in range(4)]
    if programme.groups == CATEGORY:
        return [(category, states) for category in WIC_CATEGORIES]
    return [("US", states)]


def _pools(residents: Dataset, programmes: Sequence[Programme], engine: Engine) -> dict[str, Pool]:
    """Weigh the eligible, and those of them who report, of every anchored programme."""
    anchored = [p for p in programmes if p.anchor is not None]
    entitled = all_on(residents, programmes)
    values = engine.simulate(entitled, [p.eligible for p in anchored], residents.period)
    pools = {}
    for p in anchored:
        weight = residents["household_weight"][residents.household_of(p.entity)]
        eligible = values[p.eligible] > 0
        reporting = eligible & reports(residents, p)
        pools[p.name] = Pool(float(weight[eligible].sum()), float(weight[reporting].sum()))
    return pools


def residents_of(dataset: Dataset, crosswalk: Crosswalk, state: int) -> Dataset:
    """Let all R records live in the most populous block of a state's most populous county.

    Parameters
    ----------
    dataset : Dataset
        The R records, with `design_weight`.
    crosswalk : Crosswalk
    state : int
        FIPS code.

    Returns
    -------
    Dataset
        R households whose `household_weight` is the design weight.

    Raises
    ------
    TakeupError
        If the crosswalk has no block in the state.
    """
    people = {c: n for c, n in crosswalk.population_by(Level.COUNTY).items() if c // 1000 == state}
    if not people:
        raise TakeupError(f"the crosswalk has no block in state {state:02d}")
    rows = np.flatnonzero(crosswalk.county == max(people, key=lambda c: people[c]))
    block = crosswalk.block[rows[np.argmax(crosswalk.population[rows])]]
    records = dataset.size(HOUSEHOLD)
    home = GeographyAssignment.from_blocks(crosswalk, np.full(records, block), records, 1)
    return materialise(dataset, home, np.arange(records), weights=dataset["design_weight"])
