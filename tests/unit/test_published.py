"""Published totals: complete, of their years, and in agreement where two offices count the same."""

from collections import Counter, defaultdict

import pytest

from calibration.engines import load_engine
from calibration.geography import STATE_LETTERS, Level
from calibration.published import read_published
from calibration.soi import read_soi
from calibration.target_database import TargetDatabase, check_known
from calibration.uprating import Status, read_factors, reconcile, to_year

TARGETS = read_published()
STATES = {Level.STATE: sorted(STATE_LETTERS)}
BY_NAME = {target.name: target for target in TARGETS}


def measures() -> dict[tuple, dict[int, float]]:
    """Give the values of states by what is measured."""
    found = defaultdict(dict)
    for target in TARGETS:
        if target.level is Level.STATE:
            found[target.signature][target.code] = target.value
    return found


def test_every_measure_is_there_for_every_state_but_ages_in_dc():
    """51 states; the Census table of ages that is used has no line for DC."""
    ages = 0
    for (variable, constraints), values in measures().items():
        is_age = variable == "person_count" and "age" in {c.variable for c in constraints}
        assert set(values) == set(STATE_LETTERS) - ({11} if is_age else set())
        ages += is_age
    assert ages == 18
    assert Counter(target.period for target in TARGETS) == {2022: 1_125, 2023: 951, 2024: 153}


def test_the_tax_statistics_are_among_them():
    """What `read_soi` gives, and three figures of the nation."""
    nation = [target for target in TARGETS if target.level is Level.NATION]
    assert set(TARGETS) >= set(read_soi())
    assert len(nation) == 3


def test_ages_add_up_to_the_population():
    """The survey's ages are controlled to the population estimates: equal but for rounding."""
    people = measures()["person_count", ()]
    total = Counter()
    for (variable, constraints), values in measures().items():
        if variable == "person_count" and {c.variable for c in constraints} == {"age"}:
            total.update(values)
    gaps = {code: total[code] - people[code] for code in total}
    assert len(gaps) == 50
    assert {code: gap for code, gap in gaps.items() if gap} == {20: 1}  # Kansas


def test_ages_leave_no_gap_and_do_not_overlap():
    """Every age from 0 to 99 is in exactly one of 18 ranges."""
    ranges = [
        constraints
        for variable, constraints in measures()
        if variable == "person_count" and {c.variable for c in constraints} == {"age"}
    ]
    for age in range(100):
        inside = [
            r for r in ranges
            if all(age >= c.number if c.operation == ">=" else age < c.number for c in r)
        ]  # fmt: skip
        assert len(inside) == 1, age


def test_snap_pays_a_possible_amount():
    """Between 200 and 800 USD a household and month in every state."""
    cost, households = measures()["snap", ()], None
    for signature, values in measures().items():
        if signature[0] == "spm_unit_count":
            households = values
    assert all(200 < cost[code] / households[code] / 12 < 800 for code in STATE_LETTERS)


def test_each_names_its_source():
    """Office, table and state; no two lines have the same name."""
    assert len(BY_NAME) == len(TARGETS)
    for target in TARGETS:
        assert len(target.source) > 20
        if target.level is Level.STATE:
            assert STATE_LETTERS[target.code] in target.source.split(", ")


def test_one_cell_of_each_table_by_hand():
    """As they stand in the publications' tables."""
    for name, value in {
        "state_01/person_count/[age<5]": 288_019,
        "state_56/person_count": 584_057,
        "state_02/spm_unit_count/[snap>0]": 31_319.25,
        "state_02/snap": 249_618_195,
        "state_01/person_count/[medicaid_enrolled==1]": 766_009,
        "national/eitc/[eitc>0,tax_unit_is_filer==1]": 60_068_922_000,
    }.items():
        assert BY_NAME[name].value == value


def test_the_toy_engine_knows_their_variables():
    """So that they can be used with it."""
    engine = load_engine("toy")
    for target in TARGETS:
        check_known(target, {*engine.inputs, *engine.outputs})


def test_they_can_be_stored_and_brought_to_one_year(tmp_path):
    """Written, read at their best year and reconciled; only EITC has a nation to scale to."""
    database = TargetDatabase.write(tmp_path / "published.db", TARGETS)
    assert database.read(2024) == TARGETS
    found, audit = reconcile(to_year(TARGETS, 2024, read_factors()), STATES)
    assert [(row.parent, row.status) for row in audit] == [
        ("national/eitc/[eitc>0,tax_unit_is_filer==1]", Status.RECONCILED),
        ("national/tax_unit_count/[eitc>0,tax_unit_is_filer==1]", Status.RECONCILED),
    ]
    assert [row.hif for row in audit] == [pytest.approx(1.015053, abs=1e-6),
                                          pytest.approx(1.017178, abs=1e-6)]  # fmt: skip
    assert len(found) == len(TARGETS) - 2
