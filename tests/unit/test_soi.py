"""The published income statistics hold together, and with the nation's own figures."""

import math
from collections import defaultdict
from itertools import pairwise

import pytest

from calibration.errors import TargetError
from calibration.geography import STATE_LETTERS, Level
from calibration.soi import YEAR, folder, read_soi

# Total of all individual returns filed for tax year 2022: IRS Publication 4801 (Rev. 12-2024).
ALL_RETURNS = 161_336_659
# Returns with EITC and their EITC, tax year 2022: IRS Publication 1304, Table 2.5, added up
# over classes of income and numbers of children.
EITC_RETURNS, EITC_AMOUNT = 24_086_348, 60_068_922_000
# Largest EITC of 2022, with three children: Rev. Proc. 2021-45, section 3.06.
LARGEST_EITC = 6_935

BOUNDS = [-math.inf, 1, 10_000, 25_000, 50_000, 75_000, 100_000, 200_000, 500_000, 1_000_000,
          math.inf]  # fmt: skip

TARGETS = read_soi()


def cells(variable: str, scope: str) -> dict[tuple[int, tuple], float]:
    """Give the targets of a variable that are limited by another, by state and range."""
    found = {}
    for target in TARGETS:
        limits = {c.operation: c.number for c in target.constraints if c.variable == scope}
        if target.variable == variable and limits:
            low, high = limits.get(">=", -math.inf), limits.get("<", math.inf)
            found[target.code, (low, high)] = target.value
    return found


RETURNS = cells("tax_unit_count", "adjusted_gross_income")
INCOME = cells("adjusted_gross_income", "adjusted_gross_income")
CLAIMS, CREDIT = cells("tax_unit_count", "eitc"), cells("eitc", "eitc")


def test_every_state_has_every_figure():
    """51 states, each with ten classes of income that leave no gap, and its EITC."""
    ranges = set(pairwise(BOUNDS))
    wanted = {(code, limits) for code in STATE_LETTERS for limits in ranges}
    assert RETURNS.keys() == INCOME.keys() == wanted
    assert {code for code, _ in CLAIMS} == {code for code, _ in CREDIT} == set(STATE_LETTERS)
    assert len(TARGETS) == 51 * 22
    assert len({target.name for target in TARGETS}) == len(TARGETS)


def test_every_figure_is_of_filers_in_a_state_in_2022():
    """Each says its year, its file and cell, and that a return was filed."""
    for target in TARGETS:
        assert (target.level, target.period) == (Level.STATE, YEAR)
        assert "tax_unit_is_filer==1" in map(str, target.constraints)
        assert "22in55cmcsv.csv" in target.source
        assert f" {STATE_LETTERS[target.code]}, AGI_STUB" in target.source


@pytest.mark.parametrize("figures", [RETURNS, CLAIMS])
def test_counts_are_rounded_as_they_are_published(figures):
    """The IRS rounds numbers of returns to tens; none is 0."""
    assert all(value > 0 and value % 10 == 0 for value in figures.values())


def test_mean_income_lies_in_its_class():
    """In each of 510 cells dollars over returns is an income of that class."""
    for (code, (low, high)), returns in RETURNS.items():
        assert low <= INCOME[code, (low, high)] / returns < high, (code, low)


def test_the_lowest_class_has_losses():
    """Below 1 USD the sum is negative in every state."""
    assert all(value < 0 for (_, (_, high)), value in INCOME.items() if high == 1)


def test_credits_are_possible_ones():
    """Claims are fewer than returns under 75,000 USD, and the mean is below the largest credit."""
    low = defaultdict(float)
    for (code, (_, high)), returns in RETURNS.items():
        low[code] += returns * (high <= 75_000)
    for (code, limits), claims in CLAIMS.items():
        assert claims < low[code]
        assert 1_000 < CREDIT[code, limits] / claims < LARGEST_EITC


@pytest.mark.parametrize(
    ("figures", "nation"), [(RETURNS, ALL_RETURNS), (CLAIMS, EITC_RETURNS), (CREDIT, EITC_AMOUNT)]
)
def test_the_states_add_up_to_nearly_the_nation(figures, nation):
    """The nation's totals include returns from Puerto Rico and abroad, less than 2 percent."""
    assert 0.98 * nation < sum(figures.values()) < nation


def test_totals_are_those_that_were_compared():
    """The sums over states, to the dollar, as when the tables were made."""
    assert sum(RETURNS.values()) == 158_710_110
    assert sum(INCOME.values()) == 14_675_623_299_000
    assert (sum(CLAIMS.values()), sum(CREDIT.values())) == (23_679_560, 59_178_091_000)


def test_one_cell_by_hand():
    """Wyoming, 1,000,000 USD or more: 1,760 returns with 9,958,409 thousand USD."""
    name = "state_56/{}/[adjusted_gross_income>=1000000,tax_unit_is_filer==1]"
    by_name = {target.name: target for target in TARGETS}
    assert by_name[name.format("tax_unit_count")].value == 1_760
    income = by_name[name.format("adjusted_gross_income")]
    assert income.value == 9_958_409_000
    assert income.source.endswith("22in55cmcsv.csv, WY, AGI_STUB 10, A00100")


def test_some_states_can_be_read_alone():
    """The figures of one state are those that it has among all."""
    assert read_soi([56]) == [target for target in TARGETS if target.code == 56]
    with pytest.raises(TargetError, match="no figures for a state with FIPS code 03"):
        read_soi([3, 56])


def test_the_tables_are_in_the_folder():
    """Where a run without an input folder starts from."""
    assert {p.name for p in folder().glob("soi_2022_*.csv")} == {
        "soi_2022_income.csv", "soi_2022_eitc.csv"
    }  # fmt: skip
