"""Published totals of the United States, as targets, each with its source.

    soi_2022_*.csv                tax returns by state and income (`calibration.soi`)      1,122
    irs_2022_nation.csv           returns and EITC of the nation, abroad included              3
    acs_2023_age.csv              people by state and five years of age; not of DC           900
    census_2023_population.csv    people by state, 1 July 2023                                51
    fns_2024_snap.csv             SNAP by state: households in a mean month, USD a year      102
    cms_2024_medicaid.csv         people enrolled in Medicaid by state, a month of 2024       51

They are of different years, and some are of one level only, as published totals are:
`calibration.uprating` is what makes one consistent set of them. A SNAP household is read
as an SPM unit that receives SNAP.

Sources: IRS Statistics of Income and Publications 1304 and 4801, as each row says; U.S.
Census Bureau, American Community Survey 2023, 1-year estimates, subject table S0101, and
Vintage 2023 population estimates; USDA Food and Nutrition Service, SNAP data tables, fiscal
year 2024; Centers for Medicare & Medicaid Services, Medicaid enrollment 2024. Works of the
United States Government. The last four as collected in PolicyEngine/policyengine-us-data
e01a0384, policyengine_us_data/storage, which does not record the month of Medicaid.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from calibration.geography import NATION_CODE, STATE_LETTERS, Level
from calibration.soi import folder, read_soi
from calibration.targets import Target, parse_constraint, sort_targets

__all__ = ["read_published"]

_CODES = {letters: code for code, letters in STATE_LETTERS.items()}


def read_published() -> list[Target]:
    """Read all published totals that are in the package.

    Returns
    -------
    list of Target
        2,229, each of the year it was published for, in the order of the rows of X. Persons,
        units, and USD of that year.
    """
    return sort_targets([*read_soi(), *_nation(), *_ages(), *_people(), *_snap(), *_medicaid()])


def _nation() -> Iterator[Target]:
    for row in _rows("irs_2022_nation.csv"):
        yield _target(row, row["variable"], row["constraints"], 2022, "value", row["source"])


def _ages() -> Iterator[Target]:
    source = "Census Bureau, ACS 2023 1-year, S0101"
    for row in _rows("acs_2023_age.csv"):
        scope = [f"age>={row['age_from']}"] if row["age_from"] != "0" else []
        scope += [f"age<{row['age_below']}"] if row["age_below"] else []
        yield _target(row, "person_count", ";".join(scope), 2023, "persons", source)


def _people() -> Iterator[Target]:
    source = "Census Bureau, population estimates, Vintage 2023"
    for row in _rows("census_2023_population.csv"):
        yield _target(row, "person_count", "", 2023, "persons", source)


def _snap() -> Iterator[Target]:
    source = "USDA FNS, SNAP data tables, fiscal year 2024"
    for row in _rows("fns_2024_snap.csv"):
        yield _target(row, "spm_unit_count", "snap>0", 2024, "households", source)
        yield _target(row, "snap", "", 2024, "cost", source)


def _medicaid() -> Iterator[Target]:
    source = "CMS, Medicaid enrollment, 2024"
    for row in _rows("cms_2024_medicaid.csv"):
        yield _target(row, "person_count", "medicaid_enrolled==1", 2024, "enrollment", source)


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (folder() / name).read_text(encoding="utf-8")
    return csv.DictReader(io.StringIO(text))


def _target(  # noqa: PLR0917  (one line a table, right above)
    row: dict[str, str], variable: str, scope: str, year: int, column: str, source: str
) -> Target:
    """Make a target of a line: of its state, or of the nation if it names none."""
    state = row.get("state")
    return Target(
        variable=variable,
        level=Level.STATE if state else Level.NATION,
        code=_CODES[state] if state else NATION_CODE,
        constraints=tuple(parse_constraint(text) for text in scope.split(";") if text),
        period=year,
        value=float(row[column]),
        source=f"{source}, {state}" if state else source,
    )
