"""Named checks of the PUF stage: every record has what the rules say.

Each check reads the survey, the tax file and the records, and does one thing of the stage
again in a plain way, with the ids' own arithmetic and none of the stage's code:

    halves_paired          two records a household, every person and link in both
    weights_of_halves      0 on the PUF half, equal design weights, totals as surveyed
    answers_kept           every column that no rule changes is the survey's, in both halves
    rows_of_donor          what is drawn together stands in one row of the tax file
    parts_add_up           Social Security is the sum of parts that are 0 or more
    contributions_allowed  limits of the year, and nothing out of a loss
    weeks_follow_benefit   up to 52 weeks with compensation, 0 without

Values are compared exactly, so that one record out of place is found; sums of weights and of
parts of a benefit to what rounding leaves, contributions to a cent. They hold before and
after the stratified sample. A check counts what it compared; one that compared nothing has failed.

Axes: records (household,) and their persons (person,), both halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.checks import CheckResult
from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset, Table
from calibration.errors import ImputationError
from calibration.puf_variables import groups, puf_variables
from calibration.retirement import ACCOUNTS, LIMITS, limit
from calibration.social_security import PARTS, ROUNDING

__all__ = [
    "answers_kept",
    "check_puf",
    "contributions_allowed",
    "halves_paired",
    "parts_add_up",
    "require_puf",
    "rows_of_donor",
    "weeks_follow_benefit",
    "weights_of_halves",
]

_CENT = 0.01
_OVERRIDDEN = {v.name for v in puf_variables() if v.overridden}
_CHANGED = {v.name for v in puf_variables()} | {*PARTS, *ACCOUNTS, "weeks_unemployed"}


def check_puf(
    survey: Dataset,
    donor: Table,
    records: Dataset,
    *,
    grouping: Literal["joint", "sequential"] = "joint",
) -> list[CheckResult]:
    """Run every check on what the stage made.

    Parameters
    ----------
    survey : Dataset
        The base survey.
    donor : mapping of str to ndarray, each of shape (n,)
        The tax file.
    records : Dataset
        What `calibration.puf_impute.impute` made of them, or a stratified sample of it.
    grouping : {"joint", "sequential"}
        As the variables were drawn.

    Returns
    -------
    list of CheckResult
        In the order of the module.
    """
    return [
        halves_paired(survey, records),
        weights_of_halves(survey, records),
        answers_kept(survey, records),
        rows_of_donor(donor, records, grouping),
        parts_add_up(records),
        contributions_allowed(records),
        weeks_follow_benefit(records),
    ]


def require_puf(results: Sequence[CheckResult]) -> Sequence[CheckResult]:
    """Return the results if every check passed.

    Raises
    ------
    ImputationError
        Naming the first check that did not.
    """
    for result in results:
        if not result.passed:
            what = result.example or "it compared nothing"
            raise ImputationError(
                f"check {result.name}: {result.wrong} of {result.compared} wrong; {what}"
            )
    return results


# -- the clone -------------------------------------------------------------------------


def halves_paired(survey: Dataset, records: Dataset) -> CheckResult:
    """Find both halves of everybody, with the links of the survey, by id alone."""
    told = zip(*(records[name].tolist() for name in ("household_id", "source_household_id",
                                                     "is_puf_clone")), strict=True)  # fmt: skip
    wrong = [f"household {i} is not 2 x {s} + {c:d}" for i, s, c in told if i != 2 * s + c]
    homes = {i // 2 for i in records["household_id"].tolist()}
    links = [f"person_{entity}_id" for entity in survey.groups]
    expected = {
        (2 * who + half, *(2 * link + half for link in mine))
        for who, *mine in _rows(survey, ["person_id", *links])
        for half in (0, 1)
        if mine[links.index("person_household_id")] in homes
    }
    found = set(_rows(records, ["person_id", *links]))
    wrong += [f"person {row[0]} is in one half only" for row in sorted(expected ^ found)]
    compared = records.size(HOUSEHOLD) + records.size(PERSON)
    return CheckResult("halves_paired", compared, len(wrong), wrong[0] if wrong else "")


def weights_of_halves(survey: Dataset, records: Dataset) -> CheckResult:
    """Compare the two weights of the halves, and their totals with the survey's."""
    names = ("source_household_id", "is_puf_clone", "household_weight", "design_weight")
    pair: dict[int, dict[bool, tuple[float, float]]] = {}
    for source, clone, weight, design in _rows(records, names):
        pair.setdefault(source, {})[clone] = (weight, design)
    wrong = []
    for source, halves in pair.items():
        cps, puf = halves.get(False, (0.0, 0.0)), halves.get(True, (0.0, 0.0))
        if puf[0] != 0 or not puf[1] == cps[1] > 0 or not np.isclose(cps[0], 2 * cps[1]):
            wrong.append(f"household {source} weighs {cps[0]:g} and {puf[0]:g} in its halves")
    total = float(survey["household_weight"].sum())
    wrong += [
        f"{name} adds up to {mine:,.0f}, not {total:,.0f}"
        for name in names[2:]
        if not np.isclose(mine := float(records[name].sum()), total)
    ]
    compared = len(pair) + 2
    return CheckResult("weights_of_halves", compared, len(wrong), wrong[0] if wrong else "")


def answers_kept(survey: Dataset, records: Dataset) -> CheckResult:
    """Look up in the survey every value that no rule changes."""
    compared = wrong = 0
    example = ""
    for entity, name, rows, half in _unchanged(survey, records):
        ids = records[f"{entity}_id"][rows].tolist()
        place = {who: row for row, who in enumerate(survey[f"{entity}_id"].tolist())}
        strange = [i for i in ids if i // 2 not in place]
        compared, wrong = compared + len(strange), wrong + len(strange)
        if strange and not example:
            example = f"{entity} {strange[0]} is nobody of the survey"
        known = [k for k, i in enumerate(ids) if i // 2 in place]
        ids = [ids[k] for k in known]
        right = survey[name][[place[i // 2] for i in ids]]
        kept = records[name][rows[known]]
        # Parts of a benefit that do not add up to the cent are made to, so they may move as much.
        differ = np.abs(right - kept) > ROUNDING if name in PARTS else right != kept
        differ = differ.any(axis=tuple(range(1, differ.ndim)))  # one column, or one a state
        compared, wrong = compared + len(ids), wrong + int(differ.sum())
        if differ.any() and not example:
            example = f"{name} of {entity} {ids[int(differ.argmax())]}, {half} half, is another"
    return CheckResult("answers_kept", compared, wrong, example)


def _unchanged(
    survey: Dataset, records: Dataset
) -> Iterator[tuple[str, str, NDArray[np.int64], str]]:
    """Give entity, column, rows of a half, and its name, wherever the survey's answer stays."""
    for entity, table in survey.tables.items():
        of_puf = records[f"{entity}_id"] % 2 == 1
        for name in table:
            if name.endswith("_id") or name == "household_weight":
                continue
            if name not in _OVERRIDDEN:
                yield entity, name, np.flatnonzero(~of_puf), "CPS"
            if name not in _CHANGED:
                yield entity, name, np.flatnonzero(of_puf), "PUF"


# -- the draws -------------------------------------------------------------------------


def rows_of_donor(
    donor: Table, records: Dataset, grouping: Literal["joint", "sequential"]
) -> CheckResult:
    """Find what each person drew together in one row of the tax file.

    A head has the variables of the tax unit too, and must have them from that same row.
    """
    head, unit = records["is_tax_unit_head"], records.unit_of_person("tax_unit")
    clone = records["person_id"] % 2 == 1
    of_unit = {v.name for v in puf_variables() if v.entity == "tax_unit"}
    compared, wrong = 0, []
    for half, overridden in ((clone, False), (~clone, True)):
        for group in groups(grouping, overridden=overridden):
            for who in (True, False):
                names = [name for name in group if who or name not in of_unit]
                rows = np.flatnonzero(half & (head == who))
                if not names or not len(rows):
                    continue
                at = {name: unit[rows] if name in of_unit else rows for name in names}
                mine = _bytes([records[name][at[name]] for name in names])
                known = set(_bytes([donor[name] for name in names]))
                compared += len(mine)
                wrong += [
                    f"nobody in the tax file has the {group[0]}, ... of person {person}"
                    for person, row in zip(records["person_id"][rows].tolist(), mine, strict=True)
                    if row not in known
                ]
    return CheckResult("rows_of_donor", compared, len(wrong), wrong[0] if wrong else "")


def parts_add_up(records: Dataset) -> CheckResult:
    """Add up the parts of Social Security, person by person."""
    total = records["social_security"]
    parts = np.column_stack([records[part] for part in PARTS])
    off = ~((parts >= 0).all(axis=1) & (np.abs(parts.sum(axis=1) - total) <= 1e-6))  # also NaN
    example = ""
    if off.any():
        i = int(off.argmax())
        example = f"person {records['person_id'][i]}: {parts[i].tolist()} of {total[i]:g}"
    return CheckResult("parts_add_up", len(total), int(off.sum()), example)


def contributions_allowed(records: Dataset) -> CheckResult:
    """Hold the contributions of the PUF half against the limits, one person after the other."""
    incomes = ("employment_income", "self_employment_income", "sstb_self_employment_income")
    names = ("person_id", "person_tax_unit_id", "is_tax_unit_dependent", "age", *incomes)
    rows = [row for row in _rows(records, [*names, *ACCOUNTS]) if row[0] % 2]
    couple: dict[int, float] = {}
    for _, unit, dependent, _, *money in rows:
        if not dependent:
            earned = max(money[0], 0.0) + max(money[1] + money[2], 0.0)
            couple[unit] = couple.get(unit, 0.0) + earned
    wrong = []
    for who, unit, dependent, age, wage, own, special, *put in rows:
        business, wages = max(own + special, 0.0), max(wage, 0.0)
        earned = wages + business if dependent else couple[unit]
        of = {name: _limit(name, records.period, age) for name in LIMITS}
        held = (
            (put[0] + put[1], min(of["401k"] + of["401k_catch_up"], wages)),
            (put[2] + put[3], min(of["ira"] + of["ira_catch_up"], earned)),
            (put[4], min(of["self_employed"], of["self_employed_share"] * business)),
        )
        if min(put) < 0 or any(paid > most + _CENT for paid, most in held):
            wrong.append(f"person {who} puts {[round(p) for p in put]} into {', '.join(ACCOUNTS)}")
    return CheckResult("contributions_allowed", len(rows), len(wrong), wrong[0] if wrong else "")


def _limit(name: str, year: int, age: float) -> float:
    return float(limit(name, year, np.array([age]))[0])


def weeks_follow_benefit(records: Dataset) -> CheckResult:
    """Compare weeks out of work with unemployment compensation in the PUF half."""
    names = ("person_id", "taxable_unemployment_compensation", "weeks_unemployed")
    rows = [row for row in _rows(records, names) if row[0] % 2]
    wrong = [
        f"person {who} has {weeks:g} weeks and a benefit of {benefit:g}"
        for who, benefit, weeks in rows
        if not (0 < weeks <= 52 if benefit > 0 else weeks == 0)
    ]
    return CheckResult("weeks_follow_benefit", len(rows), len(wrong), wrong[0] if wrong else "")


def _rows(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Give columns of one entity as rows of plain numbers."""
    return zip(*(dataset[name].tolist() for name in names), strict=True)


def _bytes(columns: list[Array]) -> list[bytes]:
    """Give rows as bytes; + 0.0 makes -0.0 the same as 0.0."""
    matrix = np.column_stack([np.asarray(c, dtype=np.float64) for c in columns]) + 0.0
    return [row.tobytes() for row in np.ascontiguousarray(matrix)]
