"""What the weights should reproduce: administrative totals, their scope and their source.

A target says: the sum of one variable over the people of one area who meet some
constraints is this number.

    state_37/adjusted_gross_income/[tax_unit_is_filer==1]  =  2.9e11 USD in 2022
    area     variable              constraints                value       period

Constraints of a target are joined by AND and evaluated at person level (how they carry
over to units and households: `calibration.constraints`). Their order means nothing; names
and comparisons use the sorted form. Their spelling stays as written, because text is
compared as text; so whoever takes a set of targets refuses one number in two spellings
(`check_spelling`). A variable whose name ends in `_count` counts units
(person_count, household_count, tax_unit_count, spm_unit_count), any other is summed.

Axes: targets i in [0, T), sorted by level, variable, constraints and area code.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.errors import GeographyError, TargetError
from calibration.geography import Level, decode, encode

__all__ = [
    "COUNT_SUFFIX",
    "CSV_COLUMNS",
    "Constraint",
    "Operation",
    "Signature",
    "Target",
    "check_constraints",
    "check_spelling",
    "parse_constraint",
    "read_csv",
    "sort_periods",
    "sort_targets",
]

COUNT_SUFFIX = "_count"


class Operation(StrEnum):
    """Comparisons that a constraint can make."""

    EQ = "=="
    NE = "!="
    GE = ">="
    LE = "<="
    GT = ">"
    LT = "<"


_LEVELS = list(Level)
_COMPARE: Mapping[Operation, Callable[[Any, Any], Any]] = {
    Operation.EQ: np.equal,
    Operation.NE: np.not_equal,
    Operation.GE: np.greater_equal,
    Operation.LE: np.less_equal,
    Operation.GT: np.greater,
    Operation.LT: np.less,
}
_OVER = re.compile(r"(all|any)\((\w+)\.(\w+)\)")
_PATTERN = re.compile(
    r"\s*(\w+|(?:all|any)\(\w+\.\w+\))\s*(==|!=|>=|<=|>|<)\s*([^\s=<>!,;\[\]][^\s,;\[\]]*)\s*"
)


@dataclass(frozen=True, slots=True, order=True)
class Constraint:
    """A condition on one variable.

    Parameters
    ----------
    variable : str
        A name; or all(unit.name), any(unit.name), for a condition on all or any members of a
        person's unit (`calibration.constraints`).
    operation : Operation
    value : str
        As written. It is compared as text with a variable that holds text, so that
        "27601" is a ZIP code there, and as a number with any other.
    """

    variable: str
    operation: Operation
    value: str

    def __str__(self) -> str:
        return f"{self.variable}{self.operation}{self.value}"

    @property
    def over(self) -> tuple[str, str] | None:
        """For "all(household.age)" the pair "all", "household"; None for a plain variable."""
        match = _OVER.fullmatch(self.variable)
        return None if match is None else (match[1], match[2])

    @property
    def reads(self) -> str:
        """The variable that is compared: for "all(household.age)" it is age."""
        match = _OVER.fullmatch(self.variable)
        return self.variable if match is None else match[3]

    @property
    def number(self) -> float | None:
        """The value as a number ("True" is 1, "False" 0), or None if it is text."""
        if self.value in {"True", "False"}:
            return float(self.value == "True")
        try:
            return float(self.value)
        except ValueError:
            return None

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Compare values with the constraint's value, elementwise.

        Raises
        ------
        TargetError
            If numbers are compared with text, or text is ordered.
        """
        if values.dtype.kind == "U":
            if self.operation not in {Operation.EQ, Operation.NE}:
                raise TargetError(f"constraint {self} puts {self.variable} in order, which is text")
            return _COMPARE[self.operation](values, self.value)
        if (number := self.number) is None:
            raise TargetError(f"constraint {self} does not fit {self.variable}, which is a number")
        return _COMPARE[self.operation](values, number)


Signature: TypeAlias = tuple[str, tuple[Constraint, ...]]
"""What is measured, wherever: a variable and constraints that are not about geography."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One administrative total.

    Parameters
    ----------
    variable : str
        What is counted or summed.
    level : Level
    code : int
        Area code at that level; 0 for the nation.
    constraints : tuple of Constraint
        Not about geography; kept sorted, in whatever order they are given.
    period : int
        Year of the value.
    value : float
        Persons, units, or USD per year.
    source : str
        Where the figure was published.
    """

    variable: str
    level: Level
    code: int
    constraints: tuple[Constraint, ...]
    period: int
    value: float
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraints", tuple(sorted(self.constraints)))

    @property
    def signature(self) -> Signature:
        """What is measured, wherever: the variable and all constraints."""
        return self.variable, self.constraints

    @property
    def name(self) -> str:
        """Canonical name: area, variable, and the constraints in brackets if any."""
        prefix = {Level.NATION: "national", Level.DISTRICT: "cd"}.get(self.level, str(self.level))
        area = prefix if self.level is Level.NATION else f"{prefix}_{decode(self.level, self.code)}"
        scope = f"/[{','.join(map(str, self.constraints))}]" if self.constraints else ""
        return f"{area}/{self.variable}{scope}"

    @property
    def domain(self) -> str:
        """Variables of the constraints, sorted and joined by commas; empty if there are none."""
        return ",".join(sorted({c.variable for c in self.constraints}))

    @property
    def group(self) -> str:
        """Level and variable; groups share the loss equally."""
        return f"{self.level}/{self.variable}"

    @property
    def cells(self) -> tuple[str, ...]:
        """The line of a CSV that `read_csv` reads as this target."""
        constraints = ";".join(map(str, self.constraints))
        where = str(self.level), decode(self.level, self.code)
        value = repr(float(self.value))
        return *where, self.variable, constraints, str(self.period), value, self.source

    @property
    def is_count(self) -> bool:
        """Whether the target counts units instead of summing amounts."""
        return self.variable.endswith(COUNT_SUFFIX)


def parse_constraint(text: str) -> Constraint:
    """Read a constraint such as "age>=65".

    Raises
    ------
    TargetError
        If the text is not a variable, a comparison and a value.
    """
    if (match := _PATTERN.fullmatch(text)) is None:
        raise TargetError(f"cannot read constraint {text!r}; write variable, comparison, value")
    return Constraint(match[1], Operation(match[2]), match[3])


def check_constraints(constraints: Iterable[Constraint]) -> None:
    """Refuse constraint sets that nobody can meet or that say one thing twice.

    Raises
    ------
    TargetError
        Naming the constraints that contradict each other.
    """
    by_variable: dict[str, list[Constraint]] = {}
    for constraint in constraints:
        by_variable.setdefault(constraint.variable, []).append(constraint)
    for variable, several in by_variable.items():
        operations = [c.operation for c in several]
        listing = " and ".join(map(str, several))
        if any(c.number != c.number for c in several):  # only nan differs from itself
            raise TargetError(f"{listing}: nothing compares with {several[0].value}")
        if len(set(operations)) < len(operations):
            raise TargetError(f"{listing}: use each comparison of {variable} at most once")
        if len(several) > 1 and {Operation.EQ, Operation.NE} & set(operations):
            raise TargetError(f"{listing}: == and != leave nothing else to say of {variable}")
        _check_range(several, listing)


def _check_range(constraints: list[Constraint], listing: str) -> None:
    lower = [c for c in constraints if c.operation in {Operation.GT, Operation.GE}]
    upper = [c for c in constraints if c.operation in {Operation.LT, Operation.LE}]
    if len(lower) > 1 or len(upper) > 1:
        raise TargetError(f"{listing}: give one bound on each side")
    if not (lower and upper) or lower[0].number is None or upper[0].number is None:
        return
    low, high = lower[0].number, upper[0].number
    both_closed = (lower[0].operation, upper[0].operation) == (Operation.GE, Operation.LE)
    if low > high or (low == high and not both_closed):
        raise TargetError(f"{listing}: no value meets both")


def check_spelling(targets: Iterable[Target]) -> None:
    """Refuse targets that measure one thing and spell a number of it in two ways.

    "age>=65" and "age>=65.0" would be two rows with the same entries, and a state under
    one spelling would have no part in its districts under the other.

    Raises
    ------
    TargetError
        Naming both targets.
    """
    first: dict[tuple[Any, ...], Target] = {}
    for target in targets:
        scope = ((c.variable, c.operation, c.number, c.number is None and c.value)
                 for c in target.constraints)  # fmt: skip
        one = first.setdefault((target.variable, frozenset(scope)), target)
        if one.signature != target.signature:
            raise TargetError(
                f"{one.name} and {target.name}: one measure in two spellings; write one of them"
            )


def sort_targets(targets: Iterable[Target]) -> list[Target]:
    """Put targets in the order of the rows of X.

    Raises
    ------
    TargetError
        If two targets have the same name, or a measure stands in two spellings: the rows
        could not be told apart.
    """
    ordered = sorted(targets, key=_row_order)
    check_spelling(ordered)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise TargetError(f"two targets are named {one.name}")
    return ordered


def sort_periods(targets: Iterable[Target]) -> list[Target]:
    """Put targets of several years in the order of the rows of X, then of years.

    Raises
    ------
    TargetError
        If two targets have the same name and period, or a measure stands in two spellings.
    """
    ordered = sorted(targets, key=_row_order)
    for one, other in pairwise(ordered):
        if (one.name, one.period) == (other.name, other.period):
            raise TargetError(f"two targets {one.name} for {one.period}")
    check_spelling(ordered)
    return ordered


def _row_order(target: Target) -> tuple[Any, ...]:
    level = _LEVELS.index(target.level)
    return level, target.variable, target.constraints, target.code, target.period


CSV_COLUMNS = ("level", "code", "variable", "constraints", "period", "value", "source")
"""Of a CSV of targets; constraints are joined by semicolons."""


def read_csv(path: Path) -> list[Target]:
    """Read targets from a CSV.

    Parameters
    ----------
    path : Path
        Columns level, code, variable, constraints (joined by ";"), period, value, source.

    Returns
    -------
    list of Target
        As `sort_targets` orders them; one name may stand once for each period.

    Raises
    ------
    TargetError
        Naming the file, the line and what is wrong with it, the target that stands twice
        for one period, or the measure that stands in two spellings.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != CSV_COLUMNS:
                raise TargetError(f"{path} must have the columns {', '.join(CSV_COLUMNS)}")
            found = [_read_line(path, reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TargetError(f"cannot read {path}: {error}") from error
    try:
        return sort_periods(found)
    except TargetError as error:
        raise TargetError(f"{path}: {error}") from error


def _read_line(path: Path, number: int, line: dict[str, str]) -> Target:
    try:
        if None in line or None in line.values():  # how DictReader says too many, too few
            raise TargetError(f"a line has the {len(CSV_COLUMNS)} cells {', '.join(CSV_COLUMNS)}")
        if not line["variable"].isidentifier():
            raise TargetError(f"{line['variable']!r} is not the name of a variable")
        level = Level(line["level"])
        constraints = [parse_constraint(c) for c in line["constraints"].split(";") if c]
        check_constraints(constraints)
        value = float(line["value"])
        if not np.isfinite(value):
            raise TargetError(f"value {line['value']} is not a finite number")
        return Target(
            variable=line["variable"],
            level=level,
            code=encode(level, line["code"]),
            constraints=tuple(sorted(constraints)),
            period=int(line["period"]),
            value=value,
            source=line["source"],
        )
    except (ValueError, TargetError, GeographyError) as error:
        raise TargetError(f"{path}, line {number}: {error}") from error
