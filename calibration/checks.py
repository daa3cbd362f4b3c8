"""Named checks for faults that the X w identity cannot see.

The identity compares two readings of the same clones, so a fault in what both share, the
expansion kernel, the takeup draws, the threshold table, leaves it intact. Each check here
does one thing of the kernel again in another way, slowly and plainly, and compares:

    takeup_key          draws from a hash written with Python integers
    thresholds_current  the stored table against one resolved again
    geography_of_block  state, county and district against the digits of the block
    filer_gate          who files, from flags drawn again by `takeup_key`'s hash
    entity_links        who lives with whom, as sets of ids, against the records
    float64_sums        X w against exactly rounded sums

A check counts what it compared. A check that compared nothing has failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.clones import Clones
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.errors import IdentityError
from calibration.geography import Crosswalk, Level, clone_and_record, decode
from calibration.matrix import CalibrationMatrix
from calibration.rng import text_key
from calibration.takeup import Programme, group_of_units, reports, with_flags
from calibration.thresholds import resolve

__all__ = [
    "CheckResult",
    "entity_links",
    "filer_gate",
    "float64_sums",
    "geography_of_block",
    "plain_draw",
    "require_all",
    "run_checks",
    "takeup_key",
    "thresholds_current",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GATE = "tax_unit_is_filer"


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
    crosswalk: Crosswalk,
    matrix: CalibrationMatrix,
    weights: Sequence[Floats],
    *,
    columns: Ints,
) -> list[CheckResult]:
    """Run every check on some columns of a run.

    Parameters
    ----------
    clones : Clones
    crosswalk : Crosswalk
    matrix : CalibrationMatrix
    weights : sequence of ndarray of float64, shape (C,) each
        Every vector that files are written with.
    columns : ndarray of int64, shape (n,)
        Columns to look at; all of them on a small run, a sample on a large one.

    Returns
    -------
    list of CheckResult
        Without `filer_gate` if the engine does not know who files.
    """
    households = clones.households(columns)
    gate = [filer_gate(clones, households)] if GATE in clones.engine.outputs else []
    return [
        takeup_key(clones, households),
        thresholds_current(clones, crosswalk),
        geography_of_block(households, crosswalk),
        *gate,
        entity_links(clones, households, columns),
        float64_sums(matrix, weights),
    ]


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
    """Draw every takeup flag again with a hash in plain Python and compare."""
    compared = wrong = 0
    example = ""
    for programme in clones.programmes:
        again = _plain_flags(clones, households, programme)
        flags = households[programme.flag]
        differ = np.flatnonzero(again != flags)
        compared, wrong = compared + len(flags), wrong + len(differ)
        if len(differ) and not example:
            unit = households[f"record_{programme.entity}_id"][differ[0]]
            example = f"{programme.name} of {programme.entity} {unit} is {flags[differ[0]]}"
    return CheckResult("takeup_key", compared, wrong, example)


def thresholds_current(clones: Clones, crosswalk: Crosswalk) -> CheckResult:
    """Resolve the thresholds again and compare them with the stored table."""
    states = [int(code) for code in np.unique(clones.geography.state)]
    again = resolve(
        clones.dataset, crosswalk, clones.engine, states=states, seed=clones.thresholds.seed
    )
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


def geography_of_block(households: Dataset, crosswalk: Crosswalk) -> CheckResult:
    """Read state and county off the block's digits, the district off the crosswalk."""
    of_block = dict(zip(crosswalk.block.tolist(), crosswalk.district.tolist(), strict=True))
    told = zip(
        households["block_geoid"].tolist(),
        households["state_fips"].tolist(),
        households["county_fips"].tolist(),
        households["congressional_district_geoid"].tolist(),
        strict=True,
    )
    wrong = [
        f"block {block} is said to lie in county {county}, district {decode(Level.DISTRICT, d)}"
        for block, state, county, d in told
        if (block[:2], block[:5]) != (f"{state:02d}", county) or of_block.get(int(block)) != d
    ]
    size = households.size(HOUSEHOLD)
    return CheckResult("geography_of_block", size, len(wrong), wrong[0] if wrong else "")


def filer_gate(clones: Clones, households: Dataset) -> CheckResult:
    """Work out who files from flags drawn again, and compare with who is let through."""
    flags = [p for p in clones.programmes if p.flag in clones.engine.inputs]
    again = with_flags(households, {p: _plain_flags(clones, households, p) for p in flags})
    ours = clones.engine.simulate(again, [GATE], households.period)[GATE]
    theirs = clones.engine.simulate(households, [GATE], households.period)[GATE]
    differ = np.flatnonzero(ours != theirs)
    unit = households["record_tax_unit_id"][differ[0]] if len(differ) else 0
    example = f"tax unit {unit} counts as filing: {theirs[differ[0]]}" if len(differ) else ""
    return CheckResult("filer_gate", len(ours), len(differ), example)


def entity_links(clones: Clones, households: Dataset, columns: Ints) -> CheckResult:
    """Compare who forms a unit with whom, as sets of record ids, column by column."""
    _, record = clone_and_record(columns, clones.geography.n_records)
    compared = wrong = 0
    example = ""
    for entity in households.groups:
        expected = _companions(clones.dataset, entity, "person_id")
        found = _companions(households, entity, "record_person_id")
        for column, units in enumerate(found):
            compared += 1
            if units != expected[record[column]]:
                wrong += 1
                example = example or f"{entity} units of column {columns[column]} differ"
    return CheckResult("entity_links", compared, wrong, example)


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


# -- plain twins -----------------------------------------------------------------------


def plain_draw(*parts: str | int) -> float:
    """Give the uniform of `rng.uniform` for one key, with Python integers only."""
    full = 2**64 - 1
    gamma = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
        return z ^ (z >> 31)

    k = mix(gamma)
    for part in parts:
        value = text_key(part) if isinstance(part, str) else int(part) & full
        k = mix(((k ^ value) + gamma) & full)
    return (k >> 11) * 2.0**-53


def _plain_flags(clones: Clones, households: Dataset, programme: Programme) -> NDArray[np.bool_]:
    table = {
        row.group: row.threshold
        for row in clones.thresholds.rows
        if row.programme == programme.name
    }
    home = households.household_of(programme.entity).tolist()
    record, clone = households["record_household_id"].tolist(), households["clone_index"].tolist()
    unit = households[f"record_{programme.entity}_id"].tolist()
    group = group_of_units(households, programme).tolist()
    reported = reports(households, programme)
    seed = clones.thresholds.seed
    return np.array(
        [
            bool(reported[i])
            or plain_draw(seed, "takeup", programme.name, record[h], unit[i], clone[h])
            < table[group[i]]
            for i, h in enumerate(home)
        ],
        dtype=bool,
    )


def _companions(dataset: Dataset, entity: str, name: str) -> list[frozenset[frozenset[int]]]:
    """For each household, its units of an entity as sets of people."""
    members: dict[tuple[int, int], set[int]] = {}
    links = zip(
        dataset.person["person_household_id"].tolist(),
        dataset.person[f"person_{entity}_id"].tolist(),
        dataset.person[name].tolist(),
        strict=True,
    )
    for home, unit, who in links:
        members.setdefault((home, unit), set()).add(who)
    units: dict[int, set[frozenset[int]]] = {}
    for (home, _), people in members.items():
        units.setdefault(home, set()).add(frozenset(people))
    homes = dataset.household["household_id"].tolist()
    return [frozenset(units.get(home, set())) for home in homes]
