r"""Stage 1: copy every record N times and give each copy a census block.

A record stands for people in many places. Its N clones live in N different districts,
drawn by successive sampling: clone 0 is a draw proportional to mass, clone c a draw
proportional to mass among the districts that the record has not had yet. Successive
sampling is a race. Give each district an exponential time divided by its mass and let
them finish in order:

    E_hd = Exp(seed, household_id, d) / m_hd,     clone c goes to the (c+1)-th smallest E_hd

While N <= D no record stands twice in one district, by construction. Beyond D districts
the race starts again with new times, whole rounds of D. In which block of a district a
record lives, another one each round, `calibration.blocks` draws by population.

Mass m_hd is the district's share of the population, or, for a record in the top decile
of income, its share of the income target: rich households are put where income is.

Because a race gives everybody *every* district as N grows to D, mass then decides only
which clone goes where, and population has to enter through the initial weights:

    w0_j = a_d * design_weight_h * m_hd / pi_hd,      column j = (h, d)

with pi_hd the expected number of the record's columns in d, and a_d such that the
persons of a district add up to its population. pi_hd = 1 - exp(-tau_h m_hd) with tau_h
from sum_d pi_hd = N, an approximation for large D (Rosen 1972).

Axes: records h in [0, R), clones c in [0, N), districts d in [0, D), columns
j = c * R + h. A clone depends on (seed, household_id, clone) alone.

Source: Rosen 1972, doi:10.1214/aoms/1177692692 (successive sampling); Efraimidis and
Spirakis 2006, doi:10.1016/j.ipl.2005.11.003 (the exponential race).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.blocks import Blocks
from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.errors import GeographyError
from calibration.geography import Level
from calibration.rng import exponential

__all__ = [
    "Mass",
    "assign",
    "expected_columns",
    "initial_weights",
    "masses",
    "race",
    "top_decile",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RACE, COMPLETE = "race", "complete"


@dataclass(frozen=True, slots=True)
class Mass:
    """What draws a record to a district.

    Parameters
    ----------
    district : ndarray of int64, shape (D,)
        District codes, ascending.
    share : ndarray of float64, shape (2, D)
        Mass of ordinary records (row 0) and of high-income records (row 1); each row
        sums to 1.
    high : ndarray of int64, shape (R,)
        Row of `share` that holds for each record.
    threshold : float
        Income at which a record counts as high, USD per year.
    """

    district: Ints
    share: Floats
    high: Ints
    threshold: float

    def of_records(self) -> Floats:
        """Mass m_hd, shape (R, D)."""
        return self.share[self.high]


def top_decile(income: Floats, weight: Floats) -> float:
    """Find the income that the top tenth of the weighted records reach.

    Parameters
    ----------
    income : ndarray of float64, shape (R,)
        Adjusted gross income of each record, USD per year.
    weight : ndarray of float64, shape (R,)
        Design weights.

    Returns
    -------
    float
        The largest income y such that records with income >= y hold at least a tenth of
        the weight.
    """
    order = np.argsort(-income, kind="stable")
    # Equal weights often reach a tenth exactly; rounding must not ask for one record more.
    reached = np.cumsum(weight[order]) >= 0.1 * weight.sum() * (1 - 1e-12)
    return float(income[order[np.argmax(reached)]])


def masses(
    crosswalk: Crosswalk, income_targets: dict[int, float], income: Floats, threshold: float
) -> Mass:
    """Weigh districts by people, and by income for high-income records.

    Parameters
    ----------
    crosswalk : Crosswalk
    income_targets : dict of int to float
        Adjusted gross income by district code, USD per year; every district of the
        crosswalk must have one, greater than 0.
    income : ndarray of float64, shape (R,)
    threshold : float
        See `top_decile`. Store it with a run: it is the only thing about *other* records
        that a clone depends on.

    Raises
    ------
    GeographyError
        If a district has no usable income target, or a target no district: the keys do
        not match, and high-income records would silently go anywhere.
    """
    people = crosswalk.population_by(Level.DISTRICT)
    for have, need, what in (
        (income_targets, people, "district {} has no income target"),
        (people, income_targets, "income target for district {}, which the crosswalk lacks"),
    ):
        if missing := sorted(set(need) - set(have)):
            raise GeographyError(what.format(f"{missing[0]:04d}") + f" ({len(missing)} such)")
    money = np.array([income_targets[d] for d in people])
    if not (usable := np.isfinite(money) & (money > 0)).all():
        bad = list(people)[np.argmin(usable)]
        raise GeographyError(f"the income target of district {bad:04d} is not greater than 0")
    head = np.array(list(people.values()))
    share = np.stack([head / head.sum(), money / money.sum()])
    return Mass(np.array(list(people)), share, (income >= threshold).astype(np.int64), threshold)


def assign(
    dataset: Dataset,
    crosswalk: Crosswalk,
    mass: Mass,
    *,
    n_clones: int | None = None,
    seed: int,
    design: str = RACE,
) -> GeographyAssignment:
    """Give every clone of every record a census block.

    Parameters
    ----------
    dataset : Dataset
        The R records; household ids key the draws.
    crosswalk : Crosswalk
    mass : Mass
        From `masses`.
    n_clones : int
        N, at least 1. A complete design makes D of them.
    seed : int
    design : {"race", "complete"}
        How many clones there are: as many as are asked for, or one for each district, so
        that every record stands in every district once. Which clone stands where, and in
        which block, the race says in both.

    Returns
    -------
    GeographyAssignment
        C = N * R columns, clone-major.

    Raises
    ------
    GeographyError
        If N is below 1 or not given, a design is unknown or does not have N clones, a
        district has fewer blocks than rounds of the race, or the mass was made from other
        records or another crosswalk.
    """
    n_clones = _clones_of(design, n_clones, len(mass.district))
    household_id = dataset.household["household_id"]
    _check_fit(mass, crosswalk, len(household_id))
    blocks = Blocks.of(crosswalk)
    clones: list[Ints] = []
    drawn: list[Ints] = []
    while len(clones) < n_clones:
        turn = len(drawn)
        order = race(seed, household_id, mass, turn)
        drawn.append(blocks.draw(seed, household_id, drawn))
        clones.extend(np.take_along_axis(drawn[turn], order, axis=1).T)  # D clones of (R,)
    block = blocks.code[np.concatenate(clones[:n_clones])]
    return GeographyAssignment.from_blocks(crosswalk, block, len(household_id), n_clones)


def _clones_of(design: str, n_clones: int | None, districts: int) -> int:
    if design not in (RACE, COMPLETE):
        raise GeographyError(f"no design {design!r}; choose {RACE!r} or {COMPLETE!r}")
    if design == COMPLETE:
        if n_clones not in {None, districts}:
            raise GeographyError(
                f"a complete design has a clone for each of {districts} districts, not {n_clones}; "
                "leave n_clones out"
            )
        return districts
    if n_clones is None or n_clones < 1:
        raise GeographyError(f"{n_clones} clones; give at least 1")
    return n_clones


def race(seed: int, household_id: Ints, mass: Mass, turn: int = 0) -> Ints:
    """Order the districts of every record by successive sampling.

    Parameters
    ----------
    seed : int
    household_id : ndarray of int64, shape (R,)
    mass : Mass
    turn : int
        Round of the race: clones turn * D to turn * D + D - 1.

    Returns
    -------
    ndarray of int64, shape (R, D)
        Positions in `mass.district`, first finisher first.
    """
    times = exponential(seed, "district", household_id[:, None], mass.district, turn)
    return np.argsort(times / mass.of_records(), axis=1, kind="stable")


def _check_fit(mass: Mass, crosswalk: Crosswalk, n_records: int) -> None:
    if len(mass.high) != n_records:
        raise GeographyError(
            f"the mass was made for {len(mass.high)} records, the dataset has {n_records}"
        )
    if len(other := np.setxor1d(mass.district, crosswalk.district)):
        raise GeographyError(
            f"only one of mass and crosswalk has district {other[0]:04d}; make the mass from "
            "this crosswalk"
        )


# -- initial weights -------------------------------------------------------------------


def expected_columns(mass: Mass, n_clones: int) -> Floats:
    """Work out pi_hd, the expected number of columns of a record in each district.

    Parameters
    ----------
    mass : Mass
    n_clones : int
        N; whole rounds count 1 for every district.

    Returns
    -------
    ndarray of float64, shape (2, D)
        For the two kinds of records of `mass.share`; each row sums to N.
    """
    from scipy.optimize import root_scalar

    rounds, rest = divmod(n_clones, len(mass.district))
    if rest == 0:
        return np.full(mass.share.shape, float(rounds))
    expected = []
    for share in mass.share:

        def surplus(tau: float, share: Floats = share) -> float:
            return float(-np.expm1(-tau * share).sum() - rest)

        high = 1.0
        while surplus(high) < 0:
            high *= 2
        tau = root_scalar(surplus, bracket=(0.0, high), xtol=1e-12).root
        expected.append(rounds - np.expm1(-tau * share))
    return np.array(expected)


def _places(district: Ints, of_column: Ints) -> Ints:
    """Find each column's district among the D that there are, shape (C,)."""
    place = np.minimum(np.searchsorted(district, of_column), len(district) - 1)
    if (foreign := district[place] != of_column).any():
        j = np.flatnonzero(foreign)[0]
        raise GeographyError(
            f"column {j} lives in district {of_column[j]:04d}, which mass and crosswalk do not have"
        )
    return place


def initial_weights(
    dataset: Dataset,
    geography: GeographyAssignment,
    crosswalk: Crosswalk,
    mass: Mass,
    *,
    uniform_mass: bool = False,
) -> Floats:
    """Give every column a weight with which each district has its population.

    Parameters
    ----------
    dataset : Dataset
        The R records, with `design_weight`, greater than 0.
    geography : GeographyAssignment
    crosswalk : Crosswalk
    mass : Mass
    uniform_mass : bool
        Leave out the factor m_hd / pi_hd: all columns of a district keep the proportions
        of the design weights.

    Returns
    -------
    ndarray of float64, shape (C,)
        w0, greater than 0.

    Raises
    ------
    GeographyError
        If a design weight is 0 or missing (a weight that starts at 0 never leaves it),
        a district has no column, dataset, geography and mass have different records, or a
        column lives in a district that mass and crosswalk do not have.
    """
    if "design_weight" not in dataset or not (dataset["design_weight"] > 0).all():
        raise GeographyError("every record needs a design_weight greater than 0")
    N, R = geography.n_clones, geography.n_records
    if (records := dataset.size(HOUSEHOLD)) != R:
        raise GeographyError(f"the geography assigns {R} records, the dataset has {records}")
    _check_fit(mass, crosswalk, R)
    where = _places(mass.district, geography.code(Level.DISTRICT))
    w = np.tile(dataset["design_weight"], N)
    if not uniform_mass:
        kind = np.tile(mass.high, N)
        w = w * (mass.share / expected_columns(mass, N))[kind, where]
    members = np.bincount(dataset.unit_of_person(HOUSEHOLD), minlength=R)
    persons = np.bincount(where, np.tile(members, N) * w, minlength=len(mass.district))
    people = np.array(list(crosswalk.population_by(Level.DISTRICT).values()))
    if (persons == 0).any():
        empty = mass.district[persons == 0][0]
        raise GeographyError(f"no clone lives in district {empty:04d}; use more clones")
    return w * (people / persons)[where]
