"""The target database: targets, the strata they describe, and where they came from.

One SQLite file, in the established layout: a *stratum* is a set of people given by
constraints, geography included; a *target* is a total of one variable over one stratum in
one year. The parent of a stratum has the same constraints in the area above it

    nation -> state -> district,    nation -> state -> county,    nation -> state -> place

so that a child always lies within its parent. A database from elsewhere may have other
parents; each child must lie within its own (`calibration.strata`). `target_overview` shows
every target with its level, area and domain.

Writing makes a new file, whole or not at all. Reading opens the file read-only and checks
every stratum and every target, also those that are not asked for.

Source of the layout: PolicyEngine/policyengine-us-data e01a0384, db/create_database_tables.py.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import GeographyError, TargetError, near
from calibration.files import atomic_path
from calibration.strata import LEVEL_VARIABLES, Stratum
from calibration.targets import (
    Constraint,
    Operation,
    Target,
    check_constraints,
    check_spelling,
    parse_constraint,
    sort_periods,
    sort_targets,
)

__all__ = ["Contents", "TargetDatabase", "best_periods", "check_known"]

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

_NEEDED = {
    "strata": ("stratum_id", "parent_stratum_id"),
    "stratum_constraints": ("stratum_id", "constraint_variable", "operation", "value"),
    "targets": (
        *("target_id", "variable", "period", "stratum_id", "reform_id", "value", "active"),
        "source",
    ),
}
"""What is read of each table; a file without is a database of something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a check of a whole database went over.

    Parameters
    ----------
    strata : int
    active : int
        Targets that are used; of all periods, without reforms.
    switched_off : int
        Targets that are not, reforms among them.
    periods : tuple of int
        Years that active targets have, ascending.
    """

    strata: int
    active: int
    switched_off: int
    periods: tuple[int, ...]


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
            strata: dict[Stratum, int] = {}
            for target in targets:
                _check_writable(target)
                stratum = Stratum(target.level, target.code, target.constraints)
                number = _insert_stratum(connection, strata, stratum)
                row = (target.variable, target.period, number, target.value, target.source)
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
            itself, an area or an operation is unknown, a stratum does not lie within its
            parent, a value is no number or a variable is not known, naming the row.
        """
        return best_periods(self.read_periods(variables), year)

    def read_periods(self, variables: Collection[str] | None = None) -> list[Target]:
        """Read the active targets of all periods; see `read`, also for the errors.

        Returns
        -------
        list of Target
            In the order of the rows of X; one name may stand once for each period.
        """
        found = [target for target, used in self._rows()[1] if used]
        if variables is not None:
            for target in found:
                check_known(target, variables)
        return sort_periods(found)

    def check(self, variables: Collection[str] | None = None) -> Contents:
        """Check every stratum and every target, those that are switched off among them.

        Parameters
        ----------
        variables : collection of str, optional
            Names that an engine knows.

        Raises
        ------
        TargetError
            As `read` does.
        """
        strata, rows = self._rows()
        for target, _ in rows if variables is not None else ():
            check_known(target, variables or ())
        used = sort_periods(target for target, active in rows if active)
        return Contents(
            strata=strata,
            active=len(used),
            switched_off=len(rows) - len(used),
            periods=tuple(sorted({target.period for target in used})),
        )

    def _rows(self) -> tuple[int, list[tuple[Target, bool]]]:
        """Read and check everything: the number of strata, each target and whether it is used."""
        with self._connect() as connection:
            _check_tables(connection)
            strata = _read_strata(connection)
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM targets ORDER BY target_id")
            return len(strata), [_row(strata, row) for row in rows]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open the file for reading; what goes wrong in the body is said of the file."""
        if not self.path.is_file():
            raise TargetError(f"{self.path} does not exist; write a target database first")
        try:
            with closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            ) as open_:
                yield open_
        except sqlite3.DatabaseError as error:
            raise TargetError(f"{self.path} is not a usable target database: {error}") from error
        except (TargetError, GeographyError) as error:
            raise TargetError(f"{self.path}: {error}") from error


# -- writing ---------------------------------------------------------------------------


def _check_writable(target: Target) -> None:
    try:
        check_constraints(target.constraints)
    except TargetError as error:
        raise TargetError(f"{target.name}: {error}") from error
    if places := [c for c in target.constraints if c.variable in LEVEL_VARIABLES.values()]:
        raise TargetError(f"{target.name}: {places[0]} is an area; give it as level and code")
    if not math.isfinite(target.value):
        raise TargetError(f"{target.name}: its value {target.value} is not a finite number")


def _insert_stratum(
    connection: sqlite3.Connection, known: dict[Stratum, int], stratum: Stratum
) -> int:
    """Find or insert a stratum and its parents; return its id."""
    if stratum in known:
        return known[stratum]
    parent = stratum.parent
    parent_id = None if parent is None else _insert_stratum(connection, known, parent)
    cursor = connection.execute(
        "INSERT INTO strata (definition_hash, parent_stratum_id, notes) VALUES (?, ?, ?)",
        (stratum.definition_hash, parent_id, stratum.area),
    )
    known[stratum] = number = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT INTO stratum_constraints VALUES (?, ?, ?, ?)",
        [(number, c.variable, str(c.operation), c.value) for c in stratum.all_constraints],
    )
    return number


# -- reading ---------------------------------------------------------------------------


def _check_tables(connection: sqlite3.Connection) -> None:
    """Refuse a database of something else, or of another layout."""
    for table, columns in _NEEDED.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not there:
            raise TargetError(f"not a target database: it has no table {table}")
        if lost := [column for column in columns if column not in there]:
            raise TargetError(f"another layout: its table {table} has no {', '.join(lost)}")


def _read_strata(connection: sqlite3.Connection) -> dict[int, Stratum]:
    """Read every stratum and check that it lies within its parent."""
    parents = dict(connection.execute("SELECT stratum_id, parent_stratum_id FROM strata"))
    constraints: dict[int, list[Constraint]] = {number: [] for number in parents}
    for number, *parts in connection.execute(
        "SELECT stratum_id, constraint_variable, operation, value FROM stratum_constraints"
    ):
        if number not in constraints:
            raise TargetError(f"there is a constraint of stratum {number}, which is not")
        constraints[number].append(_constraint(number, *map(str, parts)))
    strata = {number: _stratum(number, several) for number, several in constraints.items()}
    for number, parent in parents.items():
        if parent is not None and not _is_child(strata[number], strata.get(parent)):
            raise TargetError(f"stratum {number} does not lie within its parent {parent}")
    return strata


def _is_child(stratum: Stratum, parent: Stratum | None) -> bool:
    return parent is not None and stratum != parent and stratum.within(parent)


def _constraint(number: int, variable: str, operation: str, value: str) -> Constraint:
    if operation not in set(Operation):
        raise TargetError(
            f"stratum {number}: no comparison {operation!r} (of {variable} with {value}); "
            f"there are {', '.join(Operation)}"
        )
    try:
        return parse_constraint(f"{variable} {operation} {value}")
    except TargetError as error:
        raise TargetError(f"stratum {number}: {error}") from error


def _stratum(number: int, constraints: list[Constraint]) -> Stratum:
    try:
        return Stratum.of(constraints)
    except (TargetError, GeographyError) as error:
        raise TargetError(f"stratum {number}: {error}") from error


def _row(strata: Mapping[int, Stratum], row: sqlite3.Row) -> tuple[Target, bool]:
    """Check a row of `targets`; SQLite itself would take text for a number."""
    where, stratum = f"target {row['target_id']}", strata.get(row["stratum_id"])
    variable, period, value = row["variable"], row["period"], row["value"]
    if stratum is None:
        raise TargetError(f"{where} is of stratum {row['stratum_id']}, which is not")
    if not isinstance(variable, str) or not variable.isidentifier():
        raise TargetError(f"{where}: {variable!r} is not the name of a variable")
    if not isinstance(period, int):
        raise TargetError(f"{where}: its period {period!r} is not a year")
    if not isinstance(value, float) or not math.isfinite(value):
        raise TargetError(f"{where}: its value {value!r} is not a finite number")
    target = Target(
        variable=variable,
        level=stratum.level,
        code=stratum.code,
        constraints=stratum.constraints,
        period=period,
        value=value,
        source=row["source"] or "",
    )
    return target, row["active"] == 1 and row["reform_id"] == 0


def best_periods(targets: Iterable[Target], year: int) -> list[Target]:
    """Take each total at its best period: the latest not after a year, else the earliest.

    Returns
    -------
    list of Target
        In the order of the rows of X.
    """
    best: dict[tuple[Stratum, str], Target] = {}
    for target in targets:
        total = Stratum(target.level, target.code, target.constraints), target.variable
        one = best.setdefault(total, target)
        best[total] = min(one, target, key=lambda t: (t.period > year, abs(t.period - year)))
    return sort_targets(best.values())


def check_known(
    target: Target, variables: Collection[str], refused: Mapping[str, str] | None = None
) -> None:
    """Refuse a target that names a variable nobody knows, or one that is refused, with why.

    Raises
    ------
    TargetError
        Naming the target, the variable and its near matches.
    """
    named = [c.reads for c in target.constraints]
    if not target.is_count:
        named.append(target.variable)
    for name in named:
        if refused and name in refused:
            raise TargetError(f"{target.name}: {name!r} is refused: {refused[name]}")
        if name not in variables:
            raise TargetError(f"{target.name}: no variable {name!r}{near(name, variables)}")
