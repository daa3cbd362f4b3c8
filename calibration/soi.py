"""Published income statistics of the states, as targets.

The Statistics of Income Division of the IRS publishes for every state how many returns were
filed and what they add up to, by size of adjusted gross income. Two tables of this package
hold what is used, with the columns' own names:

    soi_2022_income.csv   state, agi_stub      N1 returns, A00100 their AGI in 1,000 USD
    soi_2022_eitc.csv     state                N59660 returns with EITC, A59660 in 1,000 USD

Both are tax year 2022, the 50 states and the District of Columbia. The ten classes of income
are those of AGI_STUB 1 to 10: under 1 USD, 1 under 10,000, ..., 1,000,000 or more. The IRS
rounds returns to tens. A return counts once, so every target is of filers only.

    tax_unit_count/[adjusted_gross_income>=1,adjusted_gross_income<10000,tax_unit_is_filer==1]

Source: Internal Revenue Service, SOI Tax Stats, Historic Table 2, tax year 2022, file
https://www.irs.gov/pub/irs-soi/22in55cmcsv.csv, a work of the United States Government.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from calibration.errors import TargetError
from calibration.geography import STATE_LETTERS, Level
from calibration.targets import Target, parse_constraint, sort_targets

__all__ = ["YEAR", "folder", "read_soi"]

YEAR = 2022

_FILE = "22in55cmcsv.csv"
_FILER = "tax_unit_is_filer==1"
_AGI = "adjusted_gross_income"
_STATE_CODES = {letters: code for code, letters in STATE_LETTERS.items()}


def read_soi(states: Iterable[int] | None = None) -> list[Target]:
    """Read the published totals of some states.

    Parameters
    ----------
    states : iterable of int, optional
        FIPS codes; all 51 by default.

    Returns
    -------
    list of Target
        22 a state, in the order of the rows of X: returns and AGI by income, returns with
        EITC and their EITC. Counts, and USD of 2022.

    Raises
    ------
    TargetError
        If there are no figures for a state.
    """
    wanted = set(STATE_LETTERS if states is None else states)
    if unknown := sorted(wanted - set(STATE_LETTERS)):
        raise TargetError(f"there are no figures for a state with FIPS code {unknown[0]:02d}")
    found = [*_income_targets(), *_eitc_targets()]
    return sort_targets(target for target in found if target.code in wanted)


def _income_targets() -> Iterator[Target]:
    for row in _rows("soi_2022_income.csv"):
        scope = [f"{_AGI}>={row['agi_from']}"] if row["agi_from"] else []
        scope += [f"{_AGI}<{row['agi_below']}"] if row["agi_below"] else []
        stub = f"AGI_STUB {row['agi_stub']}"
        yield _target(row, "tax_unit_count", scope, int(row["N1"]), f"{stub}, N1")
        yield _target(row, _AGI, scope, 1000 * int(row["A00100"]), f"{stub}, A00100")


def _eitc_targets() -> Iterator[Target]:
    for row in _rows("soi_2022_eitc.csv"):
        scope, total = ["eitc>0"], "AGI_STUB 0"
        yield _target(row, "tax_unit_count", scope, int(row["N59660"]), f"{total}, N59660")
        yield _target(row, "eitc", scope, 1000 * int(row["A59660"]), f"{total}, A59660")


def folder() -> Path:
    """Give the folder of the two tables."""
    return Path(str(files("calibration"))) / "data"


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (folder() / name).read_text(encoding="utf-8")
    return csv.DictReader(io.StringIO(text))


def _target(row: dict[str, str], variable: str, scope: list[str], value: int, cell: str) -> Target:
    return Target(
        variable=variable,
        level=Level.STATE,
        code=_STATE_CODES[row["state"]],
        constraints=tuple(parse_constraint(text) for text in (*scope, _FILER)),
        period=YEAR,
        value=float(value),
        source=f"IRS SOI Historic Table 2, {_FILE}, {row['state']}, {cell}",
    )
