"""The shortcut of stage 4: values gathered from simulations of the records.

A clone has the value of its record as a resident of the clone's state, if nothing that the
value depends on differs between clones otherwise. Then no clone need be simulated:

    V[m, j] = value of measure m for record h(j) in a simulation with everybody in state s(j)

That is S simulations of R records, or one if not even the state is read, and not N * R
columns. It is exact for such measures and wrong for all others: a clone's county sets its
premiums, and its own draws decide what it takes up. What a measure depends on is what its
engine declares of its variable and of every constraint. One that reads a county, a ZIP code
or a takeup flag is refused, and the input that does it is named.

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
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.targets import Signature

__all__ = ["Route", "Way", "residents", "routes"]

_STATE = "state_fips"


class Way(StrEnum):
    """How the values of a measure may be found."""

    RECORD = "one simulation of the records"
    STATE = "a simulation of the records for each state"
    COLUMN = "a simulation of every column"


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


def _route(clones: Clones, signature: Signature) -> Route:
    engine = clones.engine
    if isinstance(engine, Translates):
        return Route(Way.COLUMN, ("columns of the engine's own",))
    variable, constraints = signature
    read = {variable} | {constraint.variable for constraint in constraints}
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
