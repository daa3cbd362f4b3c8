"""Strata: whom a target speaks of, and how one stratum lies within another.

A stratum is an area and constraints on the people in it.

    state 37, [age>=65, tax_unit_is_filer==1]

One lies within another if its area does and it repeats each of the other's constraints, so
that nobody in it is outside of the other:

    inner within outer   <=>   area(inner) in area(outer),  constraints(outer) <= constraints(inner)

In a database the area is a constraint, too, on a variable of its own for each level; which
variable means which level stands once, in `LEVEL_VARIABLES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from calibration.errors import TargetError
from calibration.geography import NATION_CODE, Level, decode, encode, state_of
from calibration.targets import Constraint, Operation, check_constraints

__all__ = ["LEVEL_VARIABLES", "Stratum"]

LEVEL_VARIABLES: Mapping[Level, str] = {
    Level.STATE: "state_fips",
    Level.COUNTY: "county_fips",
    Level.DISTRICT: "congressional_district_geoid",
    Level.PLACE: "place_fips",
}
"""The constraint variable by which a stratum says that it lies in an area."""

_LEVEL_OF = {variable: level for level, variable in LEVEL_VARIABLES.items()}


@dataclass(frozen=True, slots=True)
class Stratum:
    """A set of people: those of one area who meet some constraints.

    Parameters
    ----------
    level : Level
    code : int
    constraints : tuple of Constraint
        Not about areas; sorted.
    """

    level: Level
    code: int
    constraints: tuple[Constraint, ...]

    @classmethod
    def of(cls, constraints: Iterable[Constraint]) -> Stratum:
        """Make a stratum of constraints of which at most one gives the area.

        Raises
        ------
        TargetError, GeographyError
            If the constraints contradict each other, or give no area or several.
        """
        constraints = list(constraints)
        check_constraints(constraints)
        areas = [c for c in constraints if c.variable in _LEVEL_OF]
        rest = tuple(sorted(c for c in constraints if c.variable not in _LEVEL_OF))
        if len(areas) > 1 or any(c.operation is not Operation.EQ for c in areas):
            raise TargetError(
                f"{' and '.join(map(str, areas))}: a stratum lies in one area, given by =="
            )
        if not areas:
            return cls(Level.NATION, NATION_CODE, rest)
        level = _LEVEL_OF[areas[0].variable]
        return cls(level, encode(level, areas[0].value), rest)

    @property
    def area(self) -> str:
        """Level and code in words, such as "state 37"."""
        return f"{self.level} {decode(self.level, self.code)}"

    @property
    def parent(self) -> Stratum | None:
        """The stratum with the same constraints in the area above; None for the nation's."""
        if self.level is Level.NATION:
            return None
        if self.level is Level.STATE:
            return Stratum(Level.NATION, NATION_CODE, self.constraints)
        return Stratum(Level.STATE, int(state_of(self.level, self.code)), self.constraints)

    @property
    def all_constraints(self) -> tuple[Constraint, ...]:
        """The constraints with that on the area among them, as a database has them."""
        if self.level is Level.NATION:
            return self.constraints
        area = LEVEL_VARIABLES[self.level], Operation.EQ, decode(self.level, self.code)
        return tuple(sorted([*self.constraints, Constraint(*area)]))

    @property
    def definition_hash(self) -> str:
        """SHA-256 of all constraints, which tells strata apart."""
        lines = (f"{c.variable}|{c.operation}|{c.value}" for c in self.all_constraints)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def within(self, outer: Stratum) -> bool:
        """Tell whether everybody in this stratum is in the other one by definition."""
        return self._area_within(outer) and set(outer.constraints) <= set(self.constraints)

    def _area_within(self, outer: Stratum) -> bool:
        if outer.level is Level.NATION or (self.level, self.code) == (outer.level, outer.code):
            return True
        if outer.level is not Level.STATE or self.level is Level.NATION:
            return False
        return int(state_of(self.level, self.code)) == outer.code
