"""Named checks for faults that the X w identity cannot see.

The identity compares two readings of the same clones, so a fault in what both share, the
expansion kernel, the takeup draws, the threshold table, leaves it intact. Each check here
does one thing of the kernel again in another way, slowly and plainly, and compares:

    takeup_key          flags from a hash in Python integers; homes, groups and reports by id
    thresholds_current  the stored table against one resolved again
    geography_of_block  every code against the digits of the block and the crosswalk
    own_state           the state against that of the record, in a run without blocks
    filer_gate          who files, from the flags of `takeup_key`
    entity_links        which people form which unit, by id, against the records
    columns_copied      every other value, found by id and by the state's code
    float64_sums        X w against exactly rounded sums

Two of them see less than their names promise. `thresholds_current` calls `resolve` itself,
so it sees a table of another run and not a fault in resolving. `filer_gate` says what a
wrong flag does, and never complains without `takeup_key`: who must file is the engine's
to say.

A run has the checks that it can have: those of takeup need an engine that draws it, and a
record's own state is that of its column only in a run without blocks. A check counts what it
compared. A check that compared nothing has failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.clones import Clones
from calibration.crosswalk import Crosswalk
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.engines import native
from calibration.errors import IdentityError
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.matrix import CalibrationMatrix
from calibration.plain_twins import (
    plain_codes,
    plain_flags,
    plain_groups,
    plain_homes,
    plain_members,
    plain_values,
)
from calibration.takeup import (
    Thresholds,
    group_of_units,
    with_flags,
)
from calibration.thresholds import read_rates, resolve

__all__ = [
    "CheckResult",
    "columns_copied",
    "entity_links",
    "filer_gate",
    "float64_sums",
    "geography_of_block",
    "own_state",
    "require_all",
    "resolve_again",
    "run_checks",
    "takeup_key",
    "thresholds_current",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GATE = "tax_unit_is_filer"
_WEIGHTS = ("household_weight", "design_weight")  # a column's own, and a weight of records


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Parameters
    ----------
    name : str
    compared : int
        Things compared; 0 is a failure.
    wrong : int
    example : str
        The first thing that was wrong, in words.
    """

    name: str
    compared: int
    wrong: int
    example: str = ""

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing was wrong."""
        return self.compared > 0 and self.wrong == 0


def run_checks(
    clones: Clones,
    crosswalk: Crosswalk | None,
    matrix: CalibrationMatrix,
    weights: Sequence[Floats],
    *,
    columns: Ints,
) -> list[CheckResult]:
    """Run every check on some columns of a run.

    Parameters
    ----------
    clones : Clones
    crosswalk : Crosswalk or None
        None in a run that goes down to states only.
    matrix : CalibrationMatrix
    weights : sequence of ndarray of float64, shape (C,) each
        Every vector that files are written with.
    columns : ndarray of int64, shape (n,)
        Columns to look at; all of them on a small run, a sample on a large one.

    Returns
    -------
    list of CheckResult
        Those of takeup only if the engine draws any, `filer_gate` only if takeup has a part
        in who files.

    Raises
    ------
    IdentityError
        If takeup is drawn and there are no blocks, without which no pool can be found again.
    """
    households = clones.households(columns)
    results: list[CheckResult] = []
    if clones.programmes:
        if crosswalk is None:
            raise IdentityError("takeup thresholds cannot be checked without census blocks")
        results += [takeup_key(clones, households), thresholds_current(clones, crosswalk)]
    if crosswalk is None:
        results.append(own_state(clones, households))
    else:
        results.append(geography_of_block(clones, households, crosswalk, columns))
    if clones.programmes and GATE in clones.engine.outputs:
        results.append(filer_gate(clones, households))
    results.append(entity_links(clones, households, columns))
    results.append(columns_copied(clones, households, columns))
    results.append(float64_sums(matrix, weights))
    return results


def require_all(results: Sequence[CheckResult]) -> Sequence[CheckResult]:
    """Return the results if every check passed.

    Raises
    ------
    IdentityError
        Naming the first check that did not.
    """
    for result in results:
        if not result.passed:
            what = result.example or "it compared nothing"
            raise IdentityError(
                f"check {result.name}: {result.wrong} of {result.compared} wrong; {what}"
            )
    return results


# -- the checks ------------------------------------------------------------------------


def takeup_key(clones: Clones, households: Dataset) -> CheckResult:
    """Decide every takeup flag again, with a hash in plain Python, and compare.

    The groups are compared too: with thresholds that are close, a unit in a wrong group
    may well decide as it should.
    """
    compared = wrong = 0
    example = ""
    for programme in clones.programmes:
        again, flags = plain_flags(clones, households, programme), households[programme.flag]
        right, group = plain_groups(households, programme), group_of_units(households, programme)
        differ = np.flatnonzero((again != flags) | (np.array(right, dtype=str) != group))
        compared, wrong = compared + len(flags), wrong + len(differ)
        if len(differ) and not example:
            unit = households[f"record_{programme.entity}_id"][differ[0]]
            decides = f"is {flags[differ[0]]} in group {group[differ[0]]}"
            example = f"{programme.name} of {programme.entity} {unit} {decides}"
    return CheckResult("takeup_key", compared, wrong, example)


def thresholds_current(clones: Clones, crosswalk: Crosswalk) -> CheckResult:
    """Resolve the thresholds again and compare them with the stored table."""
    again = resolve_again(clones, crosswalk)
    stored = {(row.programme, row.group): row for row in clones.thresholds.rows}
    wrong = [
        row
        for row in again.rows
        if (row.programme, row.group) not in stored
        or not math.isclose(
            stored[row.programme, row.group].threshold, row.threshold, rel_tol=1e-9, abs_tol=1e-12
        )
    ]
    example = f"{wrong[0].programme} in {wrong[0].group}" if wrong else ""
    return CheckResult("thresholds_current", len(again.rows), len(wrong), example)


def resolve_again(clones: Clones, crosswalk: Crosswalk) -> Thresholds:
    """Resolve the thresholds of a run from its own rates, for every state that it has.

    A group that the stored table lacks is resolved with the packaged rate.
    """
    stored = clones.thresholds
    rates = {(row.programme, row.group): row.rate for row in stored.rows}
    return resolve(
        clones.dataset,
        crosswalk,
        clones.engine,
        states=np.unique(crosswalk.state).tolist(),  # also one in which no clone lives
        seed=stored.seed,
        rates=read_rates(clones.dataset.period) | rates,
    )


def geography_of_block(
    clones: Clones, households: Dataset, crosswalk: Crosswalk, columns: Ints
) -> CheckResult:
    """Read each column's codes off the digits of its block and off the crosswalk.

    Raises
    ------
    IdentityError
        If the run has no blocks.
    """
    if (block := clones.geography.block) is None:
        raise IdentityError("a run without census blocks has no codes to read off them")
    mine = block[columns].tolist()
    rows = np.flatnonzero(np.isin(crosswalk.block, mine)).tolist()
    expected = {int(crosswalk.block[row]): plain_codes(crosswalk, row) for row in rows}
    told = {name: households[name].tolist() for name in GEOGRAPHY_COLUMNS if name in households}
    wrong = []
    for i, (column, code) in enumerate(zip(columns.tolist(), mine, strict=True)):
        right = expected.get(code, {})  # nothing is right in a block that does not exist
        if off := [name for name in told if told[name][i] != right.get(name)]:
            wrong.append(f"{off[0]} of column {column} in block {code:015d} is {told[off[0]][i]!r}")
    return CheckResult("geography_of_block", len(columns), len(wrong), wrong[0] if wrong else "")


def own_state(clones: Clones, households: Dataset) -> CheckResult:
    """Compare the state of each household with the one that its record came with."""
    record = clones.dataset.household
    pairs = zip(record["household_id"].tolist(), record["state_fips"].tolist(), strict=True)
    home = dict(pairs)
    told = zip(
        households["record_household_id"].tolist(), households["state_fips"].tolist(), strict=True
    )
    wrong = [
        f"record {who} is said to live in {state}" for who, state in told if home[who] != state
    ]
    size = households.size(HOUSEHOLD)
    return CheckResult("own_state", size, len(wrong), wrong[0] if wrong else "")


def filer_gate(clones: Clones, households: Dataset) -> CheckResult:
    """Let the engine say who files with flags drawn again, and compare with who is let through."""
    flags = {p: plain_flags(clones, households, p) for p in clones.programmes}
    again = with_flags(households, flags)
    ours = clones.engine.simulate(again, [GATE], households.period)[GATE]
    theirs = clones.engine.simulate(households, [GATE], households.period)[GATE]
    differ = np.flatnonzero(ours != theirs)
    unit = households["record_tax_unit_id"][differ[0]] if len(differ) else 0
    example = f"tax unit {unit} counts as filing: {theirs[differ[0]]}" if len(differ) else ""
    return CheckResult("filer_gate", len(ours), len(differ), example)


def entity_links(clones: Clones, households: Dataset, columns: Ints) -> CheckResult:
    """Compare which people form which unit, by ids of the records, column by column."""
    records = clones.geography.n_records
    compared = wrong = 0
    example = ""
    for entity in households.groups:
        expected = plain_members(clones.dataset, entity, "")
        found = plain_members(households, entity, "record_")
        for column, units in zip(columns.tolist(), found, strict=True):
            compared += 1
            if units != expected[column % records]:
                wrong += 1
                example = example or f"{entity} units of column {column} differ"
    return CheckResult("entity_links", compared, wrong, example)


def columns_copied(clones: Clones, households: Dataset, columns: Ints) -> CheckResult:
    """Look every value up in the records by id, by-state values by the state's code."""
    records = native(clones.engine, clones.dataset)
    homes = households.household["household_id"].tolist()
    clone = np.array([column // clones.geography.n_records for column in columns.tolist()])
    fips = dict(zip(homes, clones.geography.state[columns].tolist(), strict=True))
    elsewhere = {*GEOGRAPHY_COLUMNS, *_WEIGHTS, *(p.flag for p in clones.programmes)}
    elsewhere |= {f"{e}_id" for e in records.tables} | {f"person_{e}_id" for e in records.tables}
    compared, wrong = len(clone), int((households["clone_index"] != clone).sum())
    example = "clone_index differs" if wrong else ""
    for entity, table in records.tables.items():
        row_of = {who: row for row, who in enumerate(table[f"{entity}_id"].tolist())}
        who = households[f"record_{entity}_id"].tolist()
        rows = [row_of.get(i, -1) for i in who]  # ids of nobody are for `entity_links` to find
        state = [fips[home] for home in plain_homes(households, entity)]
        for name in sorted(set(table) - elsewhere):
            right = plain_values(table[name], rows, records.states, state)
            differ = np.flatnonzero(right != households[name])
            compared, wrong = compared + len(rows), wrong + len(differ)
            if len(differ) and not example:
                example = f"{name} of {entity} {who[differ[0]]} is {households[name][differ[0]]}"
    return CheckResult("columns_copied", compared, wrong, example)


def float64_sums(matrix: CalibrationMatrix, weights: Sequence[Floats]) -> CheckResult:
    """Compare each X w with sums that are rounded once, at the end.

    A float64 sum of n terms is off by at most n 2^-53 of sum |x| w; a float32 sum of five
    million terms is off by up to a percent.
    """
    compared, wrong = 0, []
    indptr = matrix.X.indptr
    pairs = ((w, i, estimate) for w in weights for i, estimate in enumerate(matrix.estimates(w)))
    for w, i, estimate in pairs:
        compared += 1
        part = slice(indptr[i], indptr[i + 1])
        terms = matrix.X.data[part].astype(np.float64) * w[matrix.X.indices[part]]
        allowed = max(len(terms), 1) * 2.0**-52 * math.fsum(np.abs(terms))
        if not abs(estimate - math.fsum(terms)) <= allowed:
            wrong.append(f"{matrix.targets[i].name}: {estimate:.9g}, not {math.fsum(terms):.9g}")
    return CheckResult("float64_sums", compared, len(wrong), wrong[0] if wrong else "")
