"""Stage 6: who claims what they are entitled to.

A unit takes up a programme when its draw falls below its threshold. The draw belongs to
the unit and the clone, never to a row or a file:

    U          = uniform(seed, "takeup", programme, household_id, entity_id, clone)
    takes_up   = reported  or  U < threshold

Units that report receipt always take up where the programme has an *anchor*. Thresholds
are resolved once, before the matrix (`calibration.thresholds`), and stored. Matrix, files
and checks look them up. A threshold resolved again from the records that happen to be in
a file would depend on the file, and the same household would take up in the state file
but not in the district file.

Axes: units of one entity, in the dataset's order.

Source of the rule: PolicyEngine/policyengine-us-data e01a0384, utils/takeup.py, from
which it departs: (1) the draw is counter-based, one per unit, not a sequence per
household; (2) thresholds are stored, not recomputed; (3) a group without a threshold is
an error, not a guess.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.dataset import Dataset
from calibration.errors import TakeupError
from calibration.files import write_text
from calibration.geography import STATE_LETTERS
from calibration.rng import uniform

__all__ = [
    "CATEGORY",
    "CHILDREN",
    "NATION",
    "PROGRAMMES",
    "STATE",
    "WIC",
    "WIC_CATEGORIES",
    "Programme",
    "Threshold",
    "Thresholds",
    "all_on",
    "children",
    "draws",
    "flags",
    "group_of_units",
    "reports",
    "with_flags",
    "with_takeup",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NATION, STATE, CHILDREN, CATEGORY = "nation", "state", "children", "category"

WIC_CATEGORIES = ("PREGNANT", "POSTPARTUM", "BREASTFEEDING", "INFANT", "CHILD", "NONE")
"""What column `wic_category` of a person may say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """A benefit that people may or may not claim.

    Parameters
    ----------
    name : str
        Name in the rate table and in the key of the draws.
    flag : str
        Engine input that says whether a unit takes up.
    entity : str
        Who claims.
    groups : {"nation", "state", "children", "category"}
        What the rates differ by: nothing, the state, the number of children, or the
        person's `wic_category`.
    eligible : str
        Engine output that, with all takeup on, is greater than 0 for the units that the
        rate is a share of.
    anchor : str or None
        Engine input in which a unit reports receipt; None if reports are not used, as
        they cannot be where rates differ by children or by category.

    Raises
    ------
    TakeupError
        If `groups` is not one of the four, or there is an anchor for groups that are not
        places.
    """

    name: str
    flag: str
    entity: str
    groups: str
    eligible: str
    anchor: str | None = None

    def __post_init__(self) -> None:
        if self.groups not in (NATION, STATE, CHILDREN, CATEGORY):
            raise TakeupError(
                f"groups of {self.name} are {self.groups!r}; choose nation, state, children or "
                "category"
            )
        if self.groups in (CHILDREN, CATEGORY) and self.anchor is not None:
            raise TakeupError(
                f"{self.name} has an anchor and groups by {self.groups}; pools are made by state, "
                f"not by {self.groups}, so leave out the anchor"
            )


PROGRAMMES: tuple[Programme, ...] = (
    Programme(name="snap", flag="takes_up_snap_if_eligible", entity="spm_unit",
              groups=NATION, eligible="snap", anchor="snap_reported"),
    Programme(name="tanf", flag="takes_up_tanf_if_eligible", entity="spm_unit",
              groups=NATION, eligible="tanf"),
    Programme(name="ssi", flag="takes_up_ssi_if_eligible", entity="person",
              groups=NATION, eligible="ssi", anchor="ssi_reported"),
    Programme(name="medicaid", flag="takes_up_medicaid_if_eligible", entity="person",
              groups=STATE, eligible="medicaid_enrolled",
              anchor="has_medicaid_health_coverage_at_interview"),
    Programme(name="aca", flag="takes_up_aca_if_eligible", entity="tax_unit",
              groups=NATION, eligible="assigned_aca_ptc",
              anchor="has_subsidized_marketplace_coverage_at_interview"),
    Programme(name="dc_property_tax_credit", flag="takes_up_dc_ptc", entity="tax_unit",
              groups=NATION, eligible="dc_ptc"),
    Programme(name="head_start", flag="takes_up_head_start_if_eligible", entity="person",
              groups=NATION, eligible="head_start"),
    Programme(name="early_head_start", flag="takes_up_early_head_start_if_eligible",
              entity="person", groups=NATION, eligible="early_head_start"),
    Programme(name="eitc", flag="takes_up_eitc", entity="tax_unit",
              groups=CHILDREN, eligible="eitc"),
    Programme(name="voluntary_filing", flag="would_file_taxes_voluntarily",
              entity="tax_unit", groups=NATION, eligible="tax_unit_is_filer"),
)  # fmt: skip
"""Every programme whose takeup is drawn where the engine reads its flag."""

WIC: tuple[Programme, ...] = (
    Programme(name="wic", flag="would_claim_wic", entity="person",
              groups=CATEGORY, eligible="wic"),
    Programme(name="wic_nutritional_risk", flag="is_wic_at_nutritional_risk", entity="person",
              groups=CATEGORY, eligible="wic"),
)  # fmt: skip
"""Inputs of WIC, for survey files that tell each person's `wic_category`.

No engine here has categories before it has simulated, so these are drawn on request:
`resolve` and `with_takeup` take any programmes.
"""


# -- the stored table ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Threshold:
    """One row of the stored table.

    Parameters
    ----------
    programme : str
    group : str
        "US", postal letters of a state, a number of children, or a WIC category.
    rate : float
        Published share of the pool that takes up.
    pool : float
        Weighted size of the pool, in units; 0 where no pool was needed or found.
    reported : float
        Share of the pool that reports receipt.
    threshold : float
        What a unit that does not report compares its draw with.
    """

    programme: str
    group: str
    rate: float
    pool: float
    reported: float
    threshold: float


_WIDTH = len(fields(Threshold))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a run and the seed of its draws, stored together.

    Parameters
    ----------
    seed : int
    rows : tuple of Threshold
    """

    seed: int
    rows: tuple[Threshold, ...]

    def of(self, programme: str, group: NDArray[np.str_]) -> Floats:
        """Look up the threshold of each unit, given its group, shape (unit,).

        Raises
        ------
        TakeupError
            If the table has no row for a programme and group.
        """
        known = {row.group: row.threshold for row in self.rows if row.programme == programme}
        groups, index = np.unique(group, return_inverse=True)
        if missing := [str(g) for g in groups if g not in known]:
            raise TakeupError(
                f"no takeup threshold for {programme} in {missing[0]}; resolve the thresholds "
                "with that group in the run"
            )
        return np.array([known[g] for g in groups])[index]

    def save(self, path: Path) -> None:
        """Write a CSV with the seed in every row; numbers keep all their digits.

        A table without rows, of an engine that draws no takeup, is one line with the seed.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["seed", *(f.name for f in fields(Threshold))])
        cells = [list(asdict(row).values()) for row in self.rows] or [[""] * _WIDTH]
        writer.writerows([self.seed, *row] for row in cells)
        write_text(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> Thresholds:
        """Read what `save` wrote.

        Raises
        ------
        TakeupError
            If the file is missing, empty, a cell is not what it should be, or a group
            stands twice.
        """
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                lines = list(csv.DictReader(stream))
            seeds = {int(line.pop("seed")) for line in lines}
            if [list(line.values()) for line in lines] == [[""] * _WIDTH]:
                lines = []
            rows = tuple(
                Threshold(line["programme"], line["group"],
                          *(float(line[f.name]) for f in fields(Threshold)[2:]))
                for line in lines
            )  # fmt: skip
            (seed,) = seeds
            _check_rows(rows)
        except OSError as error:
            raise TakeupError(f"cannot read {path}: {error.strerror}") from error
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise TakeupError(f"{path} is not a threshold table ({error})") from error
        return cls(seed, rows)


def _check_rows(rows: Iterable[Threshold]) -> None:
    seen = set()
    for row in rows:
        if (row.programme, row.group) in seen:
            raise ValueError(f"{row.programme} in {row.group} stands twice")
        if not 0 <= row.threshold <= 1:
            raise ValueError(f"{row.programme} in {row.group} has threshold {row.threshold}")
        seen.add((row.programme, row.group))


# -- draws and flags -------------------------------------------------------------------


def draws(dataset: Dataset, programme: Programme, seed: int) -> Floats:
    """Draw a uniform for each unit of a materialised dataset.

    Parameters
    ----------
    dataset : Dataset
        With `record_{e}_id` and `clone_index`, as `materialise` leaves them.
    programme : Programme
    seed : int

    Returns
    -------
    ndarray of float64, shape (unit,)
        In [0, 1). The key is (seed, programme, household, unit, clone): ids of the R
        records, so order, subset and area of the rows do not matter.
    """
    home = dataset.household_of(programme.entity)
    return uniform(
        seed,
        "takeup",
        programme.name,
        dataset["record_household_id"][home],
        dataset[f"record_{programme.entity}_id"],
        dataset["clone_index"][home],
    )


def flags(dataset: Dataset, programme: Programme, thresholds: Thresholds) -> Bools:
    """Decide which units take up; the one function that matrix, files and checks call.

    Returns
    -------
    ndarray of bool, shape (unit,)
    """
    groups, index = _groups(dataset, programme)
    threshold = thresholds.of(programme.name, groups)[index]
    below = draws(dataset, programme, thresholds.seed) < threshold
    return below | reports(dataset, programme)


def with_takeup(
    dataset: Dataset, thresholds: Thresholds, programmes: Iterable[Programme]
) -> Dataset:
    """Add the takeup flags of some programmes to a materialised dataset."""
    return with_flags(dataset, {p: flags(dataset, p, thresholds) for p in programmes})


def all_on(dataset: Dataset, programmes: Iterable[Programme]) -> Dataset:
    """Let every unit take up everything: eligibility without takeup."""
    return with_flags(dataset, {p: np.ones(dataset.size(p.entity), dtype=bool) for p in programmes})


def with_flags(dataset: Dataset, given: Mapping[Programme, Bools]) -> Dataset:
    """Add given takeup flags, of shape (unit,) each."""
    columns: dict[str, dict[str, Bools]] = {}
    for programme, flag in given.items():
        columns.setdefault(programme.entity, {})[programme.flag] = flag
    for entity, table in columns.items():
        dataset = dataset.with_columns(entity, table)
    return dataset


def reports(dataset: Dataset, programme: Programme) -> Bools:
    """Tell which units report receipt in the programme's anchor, shape (unit,)."""
    if programme.anchor is None:
        return np.zeros(dataset.size(programme.entity), dtype=bool)
    return dataset[programme.anchor] > 0


def group_of_units(dataset: Dataset, programme: Programme) -> NDArray[np.str_]:
    """Give the threshold group of each unit, shape (unit,): "US", letters, number, category."""
    labels, index = _groups(dataset, programme)
    return labels[index]


def _groups(dataset: Dataset, programme: Programme) -> tuple[NDArray[np.str_], Ints]:
    """List the groups that there are, and which of them each unit is in, shape (unit,)."""
    if programme.groups == STATE:
        state = dataset["state_fips"]
        fips = np.unique(state)
        labels = np.array([STATE_LETTERS.get(int(code), f"FIPS {code}") for code in fips])
        return labels, np.searchsorted(fips, state)[dataset.household_of(programme.entity)]
    if programme.groups == CHILDREN:
        found, index = np.unique(children(dataset), return_inverse=True)
        return found.astype(str), index
    if programme.groups == CATEGORY:
        return np.unique(dataset["wic_category"], return_inverse=True)
    return np.array(["US"]), np.zeros(dataset.size(programme.entity), dtype=np.int64)


def children(dataset: Dataset) -> Ints:
    """Count the dependents of each tax unit, three at most, shape (tax_unit,)."""
    count = dataset.sum_to("tax_unit", dataset["is_tax_unit_dependent"])
    return np.minimum(count, 3).astype(np.int64)
