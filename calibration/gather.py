"""The shortcut of stage 4: values gathered from simulations of the records.

A clone has the value of its record as a resident of the clone's state, if nothing that the
value depends on differs between clones otherwise. Then no clone need be simulated:

    V[m, j] = value of measure m for record h(j) in a simulation with everybody in state s(j)

That is one simulation for each record and state that some column joins, or one for each
record if not even the state is read, and not N * R columns. It is exact for such measures and
wrong for all others: a clone's county sets its premiums, and its own draws decide what it
takes up. What a measure depends on is what its engine declares of its variable and of every
constraint. One that reads a county, a ZIP code or a takeup flag is refused, and the input that
does it is named. `row_paths` says of every row of X which way it takes.

Axes: measures m, columns j = clone * R + record h, states s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from calibration.clones import Clones
from calibration.crosswalk import GeographyAssignment
from calibration.engines import Translates
from calibration.geography import clone_and_record
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.targets import Signature, Target

__all__ = [
    "Path",
    "Route",
    "RowPath",
    "Way",
    "inhabited",
    "residents",
    "routes",
    "row_paths",
    "served",
]

_STATE = "state_fips"


class Way(StrEnum):
    """How the values of a measure may be found."""

    RECORD = "one simulation of the records"
    STATE = "a simulation of the records for each state"
    COLUMN = "a simulation of every column"


class Path(StrEnum):
    """How the values of a row are found."""

    GATHERED = "taken from simulations of the records"
    REFUSED = "simulated column by column: the shortcut would be wrong"
    SIMULATED = "simulated column by column: the shortcut would save nothing, or was not wanted"


@dataclass(frozen=True, slots=True)
class RowPath:
    """The path of one row of X.

    Parameters
    ----------
    target : str
        Name of the target.
    path : Path
    because : tuple of str
        Inputs for which the shortcut is refused, sorted; empty where it is not.
    """

    target: str
    path: Path
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The shortest exact way for a measure.

    Parameters
    ----------
    way : Way
    because : tuple of str
        Inputs that leave no shorter one, sorted.
    """

    way: Way
    because: tuple[str, ...] = ()


def routes(clones: Clones, signatures: Sequence[Signature]) -> list[Route]:
    """Find the way for each measure, from what the engine declares.

    Parameters
    ----------
    clones : Clones
    signatures : sequence of Signature, length M

    Returns
    -------
    list of Route, length M
    """
    return [_route(clones, signature) for signature in signatures]


def served(clones: Clones, signatures: Sequence[Signature], gather: bool | None) -> list[Signature]:  # noqa: FBT001  (as given to `build_matrix`)
    """List the measures that take the shortcut.

    Parameters
    ----------
    clones : Clones
    signatures : sequence of Signature
    gather : bool or None
        Whether those take it that may; None where it serves all of them and saves
        simulations, since one that is refused means that every column is simulated anyway.
    """
    ways = [route.way for route in routes(clones, signatures)]
    if gather is None:
        geography = clones.geography
        fewer = len(inhabited(geography)) < geography.n_columns
        gather = Way.COLUMN not in ways and (fewer or Way.STATE not in ways)
    return [s for s, way in zip(signatures, ways, strict=True) if gather and way is not Way.COLUMN]


def row_paths(
    clones: Clones, targets: Sequence[Target], *, gather: bool | None = None
) -> list[RowPath]:
    """Tell for each target how `build_matrix` finds the values of its row, and why.

    Parameters
    ----------
    clones : Clones
    targets : sequence of Target, length T
    gather : bool, optional
        As given to `build_matrix`.

    Returns
    -------
    list of RowPath, length T
    """
    signatures = sorted({target.signature for target in targets})
    short = set(served(clones, signatures, gather))
    route = dict(zip(signatures, routes(clones, signatures), strict=True))
    made = []
    for target in targets:
        if target.signature in short:
            made.append(RowPath(target.name, Path.GATHERED))
        elif (way := route[target.signature]).way is Way.COLUMN:
            made.append(RowPath(target.name, Path.REFUSED, way.because))
        else:
            made.append(RowPath(target.name, Path.SIMULATED))
    return made


def _route(clones: Clones, signature: Signature) -> Route:
    engine = clones.engine
    if isinstance(engine, Translates):
        return Route(Way.COLUMN, ("columns of the engine's own",))
    variable, constraints = signature
    read = {variable} | {constraint.reads for constraint in constraints}
    for name in sorted(read & set(engine.outputs)):
        if not engine.outputs[name].inputs:
            return Route(Way.COLUMN, (f"{name}, which declares nothing",))
        read |= engine.outputs[name].inputs
    own = {*GEOGRAPHY_COLUMNS, "clone_index", *(p.flag for p in clones.programmes)} - {_STATE}
    if found := read & own:
        return Route(Way.COLUMN, tuple(sorted(found)))
    dataset = clones.dataset
    by_state = {name for name in read if name in dataset and dataset.is_by_state(name)}
    if found := by_state | (read & {_STATE}):
        return Route(Way.STATE, tuple(sorted(found)))
    return Route(Way.RECORD)


def inhabited(geography: GeographyAssignment) -> NDArray[np.int64]:
    """List the pairs of a state and a record that some column joins, as state * R + record."""
    R = geography.n_records
    record = clone_and_record(np.arange(geography.n_columns), R)[1]
    return np.unique(geography.state * R + record)


def residents(clones: Clones, state: int) -> Clones:
    """Give every record one clone, all of them where the first column of a state lives.

    County, block and ZIP code are that column's, so that any measure can be simulated; only
    what does not read them means anything.

    Parameters
    ----------
    clones : Clones
    state : int
        FIPS code of a state that has a column.
    """
    home, R = clones.geography, clones.geography.n_records
    first = int(np.argmax(home.state == state))

    def spread(codes: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        return None if codes is None else np.full(R, codes[first])

    codes = {level: np.full(R, code[first]) for level, code in home.codes.items()}
    one = GeographyAssignment(R, 1, codes, spread(home.block), spread(home.zip_code))
    return replace(clones, geography=one)
