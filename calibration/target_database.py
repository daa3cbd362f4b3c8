"""The target database: targets, the strata they describe, and where they came from.

One SQLite file, in the established layout: a *stratum* is a set of people given by
constraints, geography included; a *target* is a total of one variable over one stratum in
one year. The parent of a stratum has the same constraints in the area above it

    nation -> state -> district,    nation -> state -> county,    nation -> state -> place

so that a child always lies within its parent. `target_overview` shows every target with
its level, area and domain. Which constraint means which level stands once, in
`LEVEL_VARIABLES`, and is written into the database for the view to read.

Writing makes a new file, whole or not at all. Reading opens the file read-only.

Source of the layout: PolicyEngine/policyengine-us-data e01a0384, db/create_database_tables.py.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import GeographyError, TargetError, near
from calibration.files import atomic_path
from calibration.geography import Level, decode, encode, state_of
from calibration.targets import (
    Constraint,
    Target,
    check_constraints,
    check_spelling,
    parse_constraint,
    sort_targets,
)

__all__ = ["LEVEL_VARIABLES", "TargetDatabase", "check_known"]

LEVEL_VARIABLES: Mapping[Level, str] = {
    Level.STATE: "state_fips",
    Level.COUNTY: "county_fips",
    Level.DISTRICT: "congressional_district_geoid",
    Level.PLACE: "place_fips",
}
"""The constraint variable by which a stratum says that it lies in an area."""

_SCHEMA = """
CREATE TABLE levels (level TEXT PRIMARY KEY, constraint_variable TEXT UNIQUE NOT NULL);
CREATE TABLE strata (
    stratum_id INTEGER PRIMARY KEY,
    definition_hash TEXT UNIQUE NOT NULL,
    parent_stratum_id INTEGER REFERENCES strata,
    notes TEXT NOT NULL
);
CREATE TABLE stratum_constraints (
    stratum_id INTEGER NOT NULL REFERENCES strata,
    constraint_variable TEXT NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('==', '!=', '>=', '<=', '>', '<')),
    value TEXT NOT NULL,
    PRIMARY KEY (stratum_id, constraint_variable, operation)
);
CREATE TABLE targets (
    target_id INTEGER PRIMARY KEY,
    variable TEXT NOT NULL,
    period INTEGER NOT NULL,
    stratum_id INTEGER NOT NULL REFERENCES strata,
    reform_id INTEGER NOT NULL DEFAULT 0,
    value REAL NOT NULL,
    active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    source TEXT NOT NULL,
    UNIQUE (variable, period, stratum_id, reform_id)
);
CREATE VIEW target_overview AS
SELECT t.target_id, t.variable, t.period, t.value, t.active, t.source, t.stratum_id,
    COALESCE(g.level, 'nation') AS geo_level,
    COALESCE(g.value, 'US') AS geographic_id,
    (SELECT GROUP_CONCAT(domain, ',') FROM (
        SELECT DISTINCT c.constraint_variable AS domain FROM stratum_constraints c
        WHERE c.stratum_id = t.stratum_id
            AND c.constraint_variable NOT IN (SELECT constraint_variable FROM levels)
        ORDER BY domain)) AS domain_variable
FROM targets t LEFT JOIN (
    SELECT c.stratum_id, l.level, c.value FROM stratum_constraints c
    JOIN levels l USING (constraint_variable)) g USING (stratum_id);
"""

_READ = """
SELECT t.variable, t.period, t.value, t.source, t.stratum_id FROM targets t
WHERE t.active = 1 AND t.reform_id = 0 AND t.period = (
    SELECT COALESCE(MAX(CASE WHEN s.period <= :year THEN s.period END), MIN(s.period))
    FROM targets s WHERE s.active = 1 AND s.reform_id = 0
        AND s.variable = t.variable AND s.stratum_id = t.stratum_id)
"""

_Scope = tuple[Level, int, tuple[Constraint, ...]]


@dataclass(frozen=True, slots=True)
class TargetDatabase:
    """A target database on disk.

    Parameters
    ----------
    path : Path
    """

    path: Path

    @classmethod
    def write(cls, path: Path, targets: Iterable[Target]) -> TargetDatabase:
        """Make a database of targets, their strata and all parents of those.

        Raises
        ------
        TargetError
            If two targets have the same variable, area, constraints and period, a measure
            stands in two spellings, a value is not a finite number, or constraints
            contradict each other or speak of areas.
        FileError
            If the file cannot be written.
        """
        targets = list(targets)
        check_spelling(targets)
        with atomic_path(path) as temporary, closing(sqlite3.connect(temporary)) as connection:
            connection.executescript("PRAGMA foreign_keys = ON;" + _SCHEMA)
            connection.executemany(
                "INSERT INTO levels VALUES (?, ?)",
                [(str(k), v) for k, v in LEVEL_VARIABLES.items()],
            )
            strata: dict[_Scope, int] = {}
            for target in targets:
                _check_writable(target)
                stratum = _stratum(
                    connection, strata, (target.level, target.code, target.constraints)
                )
                row = (target.variable, target.period, stratum, target.value, target.source)
                try:
                    connection.execute(
                        "INSERT INTO targets (variable, period, stratum_id, value, source) "
                        "VALUES (?, ?, ?, ?, ?)",
                        row,
                    )
                except sqlite3.IntegrityError:
                    raise TargetError(f"two targets {target.name} for {target.period}") from None
            connection.commit()
        return cls(path)

    def read(self, year: int, variables: Collection[str] | None = None) -> list[Target]:
        """Read the active targets, each at its best period for a model year.

        Parameters
        ----------
        year : int
            The latest period not after it is taken; if there is none, the earliest.
        variables : collection of str, optional
            Names that an engine knows; any other variable or constraint is an error.

        Returns
        -------
        list of Target
            In the order of the rows of X.

        Raises
        ------
        TargetError
            If the file is missing or no target database, a constraint set contradicts
            itself, an area is unknown or a variable is not known, naming the target.
        """
        with self._connect() as connection:
            scopes = _read_scopes(connection, self.path)
            rows = connection.execute(_READ, {"year": year}).fetchall()
        if lost := sorted({row[-1] for row in rows} - set(scopes)):
            raise TargetError(f"{self.path}: there are targets of stratum {lost[0]}, which is not")
        targets = [
            Target(
                variable=variable,
                level=scopes[stratum][0],
                code=scopes[stratum][1],
                constraints=scopes[stratum][2],
                period=period,
                value=value,
                source=source,
            )
            for variable, period, value, source, stratum in rows
        ]
        if variables is not None:
            for target in targets:
                check_known(target, variables)
        return sort_targets(targets)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise TargetError(f"{self.path} does not exist; write a target database first")
        try:
            with closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            ) as open_:
                yield open_
        except sqlite3.DatabaseError as error:
            raise TargetError(f"{self.path} is not a usable target database: {error}") from error


def _check_writable(target: Target) -> None:
    try:
        check_constraints(target.constraints)
    except TargetError as error:
        raise TargetError(f"{target.name}: {error}") from error
    if places := [c for c in target.constraints if c.variable in LEVEL_VARIABLES.values()]:
        raise TargetError(f"{target.name}: {places[0]} is an area; give it as level and code")
    if not math.isfinite(target.value):
        raise TargetError(f"{target.name}: its value {target.value} is not a finite number")


def _parent(scope: _Scope) -> _Scope | None:
    level, code, constraints = scope
    if level is Level.NATION:
        return None
    if level is Level.STATE:
        return Level.NATION, 0, constraints
    return Level.STATE, int(state_of(level, code)), constraints


def _stratum(connection: sqlite3.Connection, known: dict[_Scope, int], scope: _Scope) -> int:
    """Find or insert a stratum and its parents; return its id."""
    if scope in known:
        return known[scope]
    level, code, constraints = scope
    parent = _parent(scope)
    parent_id = None if parent is None else _stratum(connection, known, parent)
    rows = [(c.variable, str(c.operation), c.value) for c in constraints]
    if level is not Level.NATION:
        rows.append((LEVEL_VARIABLES[level], "==", decode(level, code)))
    definition = "\n".join("|".join(row) for row in sorted(rows))
    cursor = connection.execute(
        "INSERT INTO strata (definition_hash, parent_stratum_id, notes) VALUES (?, ?, ?)",
        (
            hashlib.sha256(definition.encode()).hexdigest(),
            parent_id,
            f"{level} {decode(level, code)}",
        ),
    )
    known[scope] = stratum = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT INTO stratum_constraints VALUES (?, ?, ?, ?)", [(stratum, *row) for row in rows]
    )
    return stratum


def _read_scopes(connection: sqlite3.Connection, path: Path) -> dict[int, _Scope]:
    """Read every stratum as level, area code and remaining constraints."""
    strata = connection.execute("SELECT stratum_id, parent_stratum_id FROM strata").fetchall()
    constraints: dict[int, list[Constraint]] = {stratum: [] for stratum, _ in strata}
    for stratum, *parts in connection.execute(
        "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints"
    ):
        constraints[stratum].append(parse_constraint("".join(parts)))
    scopes = {stratum: _scope(path, stratum, constraints[stratum]) for stratum, _ in strata}
    for stratum, parent in strata:
        expected = _parent(scopes[stratum])
        if parent is not None and scopes.get(parent) != expected:
            raise TargetError(f"{path}: stratum {stratum} does not lie within its parent {parent}")
    return scopes


def _scope(path: Path, stratum: int, constraints: list[Constraint]) -> _Scope:
    level_of = {variable: level for level, variable in LEVEL_VARIABLES.items()}
    places = [c for c in constraints if c.variable in level_of]
    rest = tuple(sorted(c for c in constraints if c.variable not in level_of))
    try:
        check_constraints(constraints)
        if len(places) > 1 or any(c.operation != "==" for c in places):
            raise TargetError("a stratum lies in one area, given by ==")
        if not places:
            return Level.NATION, 0, rest
        level = level_of[places[0].variable]
        return level, encode(level, places[0].value), rest
    except (TargetError, GeographyError) as error:
        raise TargetError(f"{path}, stratum {stratum}: {error}") from error


def check_known(
    target: Target, variables: Collection[str], refused: Mapping[str, str] | None = None
) -> None:
    """Refuse a target that names a variable nobody knows, or one that is refused, with why.

    Raises
    ------
    TargetError
        Naming the target, the variable and its near matches.
    """
    named = [c.variable for c in target.constraints]
    if not target.is_count:
        named.append(target.variable)
    for name in named:
        if refused and name in refused:
            raise TargetError(f"{target.name}: {name!r} is refused: {refused[name]}")
        if name not in variables:
            raise TargetError(f"{target.name}: no variable {name!r}{near(name, variables)}")
