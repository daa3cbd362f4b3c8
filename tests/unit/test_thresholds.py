"""Resolving thresholds: rates, pools, and a table worked out by hand."""

import csv
import io
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
from small_world import CROSSWALK, dataset
from stub_engine import ENGINE

from calibration.crosswalk import Crosswalk
from calibration.dataset import Dataset
from calibration.errors import TakeupError
from calibration.geography import STATE_LETTERS
from calibration.takeup import (
    CATEGORY,
    CHILDREN,
    NATION,
    PROGRAMMES,
    STATE,
    WIC,
    WIC_CATEGORIES,
)
from calibration.thresholds import Pool, read_rates, residents_of, residual_rate, resolve

RATES = {
    ("snap", "US"): 0.5,
    ("tanf", "US"): 0.22,
    ("ssi", "US"): 0.5,
    ("medicaid", "CA"): 0.8,
    ("medicaid", "NC"): 0.6,
    ("aca", "US"): 0.5,
    ("eitc", "0"): 0.65,
    ("eitc", "1"): 0.86,
    ("eitc", "2"): 0.85,
    ("eitc", "3"): 0.85,
    ("voluntary_filing", "US"): 0.05,
}

NO_LAW = SimpleNamespace(  # entitles nobody to anything, anywhere
    inputs=ENGINE.inputs,
    simulate=lambda dataset, variables, _: {
        name: np.zeros(dataset.size(ENGINE.outputs[name].entity)) for name in variables
    },
)


def four_households() -> Dataset:
    """Make four people who live alone: A, B, C and D."""
    ids = np.arange(4)
    return Dataset(
        2024,
        {
            "person": {
                "person_id": ids,
                "person_household_id": ids,
                "person_tax_unit_id": ids,
                "person_spm_unit_id": ids,
                "age": np.full(4, 40.0),
                "employment_income": np.array([0.0, 10_000.0, 20_000.0, 50_000.0]),
                "is_tax_unit_dependent": np.zeros(4, dtype=bool),
                "ssi_reported": np.zeros(4),
                "has_medicaid_health_coverage_at_interview": ids == 1,
            },
            "household": {
                "household_id": ids,
                "design_weight": np.array([100.0, 200.0, 300.0, 400.0]),
                "rent": np.full(4, 800.0),
            },
            "tax_unit": {
                "tax_unit_id": ids,
                "has_subsidized_marketplace_coverage_at_interview": ids == 3,
            },
            "spm_unit": {"spm_unit_id": ids, "snap_reported": np.array([60.0, 0.0, 0.0, 60.0])},
        },
    ).check()


def resolved(records: Dataset | None = None, **changes) -> dict:
    """Resolve for California and North Carolina; rows by programme and group."""
    options = {"states": (6, 37), "seed": 3, "rates": RATES} | changes
    table = resolve(records or four_households(), CROSSWALK, ENGINE, **options)
    assert table.seed == options["seed"]
    return {(row.programme, row.group): row for row in table.rows}


# -- the known answer ------------------------------------------------------------------


def test_national_anchored_programme_by_hand():
    """SNAP pools A, B, C in California and A, B in North Carolina, each by its people.

    California has 3,200 people, North Carolina 2,000, so their weights are 8/13 and 5/13.
    Entitled: 600 * 8/13 + 300 * 5/13 = 6,300/13. Reporting: A, 100; D reports but is not
    entitled. r = 13/63, threshold = (1/2 - 13/63) / (1 - 13/63) = 0.37.
    """
    row = resolved()["snap", "US"]
    assert row.pool == pytest.approx(6_300 / 13, rel=1e-12)
    assert row.reported == pytest.approx(13 / 63, rel=1e-12)
    assert row.threshold == pytest.approx(0.37, rel=1e-12)
    assert row.rate == 0.5


def test_state_anchored_programme_by_hand():
    """Medicaid pools A and B in California, of whom B reports; only A in North Carolina.

    California: r = 200/300, threshold = (0.8 - 2/3) / (1/3) = 0.4. North Carolina: r = 0.
    """
    rows = resolved()
    california, carolina = rows["medicaid", "CA"], rows["medicaid", "NC"]
    assert (california.pool, carolina.pool) == (300.0, 100.0)
    assert california.reported == pytest.approx(2 / 3, rel=1e-12)
    assert california.threshold == pytest.approx(0.4, rel=1e-12)
    assert (carolina.reported, carolina.threshold) == (0.0, 0.6)


def test_programmes_without_anchor_take_their_rate():
    """Their threshold is the rate, and they have no pool."""
    rows = resolved()
    for key in [("tanf", "US"), ("eitc", "0"), ("eitc", "3"), ("voluntary_filing", "US")]:
        assert (rows[key].threshold, rows[key].pool) == (RATES[key], 0.0)


def test_more_reporters_than_the_rate_leave_no_room():
    """D alone is 4/7 of the ACA pool of C and D; at a rate of 1/2 the others get 0."""
    row = resolved()["aca", "US"]
    assert row.pool == pytest.approx(700.0, rel=1e-12)
    assert row.reported == pytest.approx(4 / 7, rel=1e-12)
    assert row.threshold == 0.0


def test_an_empty_pool_lets_nobody_in():
    """Nobody is 65: SSI has no pool and a threshold of 0, not a division by zero."""
    row = resolved()["ssi", "US"]
    assert (row.pool, row.reported, row.threshold) == (0.0, 0.0, 0.0)


def test_a_pool_of_reporters_needs_nobody_else():
    """Where all who are entitled report, r is 1 and the threshold 0."""
    records = four_households()
    all_report = {"has_medicaid_health_coverage_at_interview": np.ones(4, dtype=bool)}
    row = resolved(records.with_columns("person", all_report))["medicaid", "NC"]
    assert (row.pool, row.reported, row.threshold) == (100.0, 1.0, 0.0)


def test_without_anchored_programmes_nothing_is_simulated():
    """An engine that reads no anchored flag is never asked to compute."""
    asked = []
    idle = SimpleNamespace(
        inputs={k: v for k, v in ENGINE.inputs.items() if "tanf" in k},
        simulate=lambda _, variables, __: asked.extend(variables) or {},
    )
    table = resolve(four_households(), CROSSWALK, idle, states=(6,), seed=0, rates=RATES)
    assert not asked
    assert [row.programme for row in table.rows] == ["tanf"]


def test_the_table_has_every_programme_and_group_once():
    """One row for the nation, each state, each number of children."""
    assert set(resolved()) == set(RATES)


def test_thresholds_do_not_depend_on_the_order_of_the_records():
    """Records in another order give the same pools and thresholds, to rounding."""
    records = dataset(9, 4)
    turned = records.take_households(np.arange(9)[::-1])
    one, other = resolved(records), resolved(turned)
    for key, row in one.items():
        assert other[key].threshold == pytest.approx(row.threshold, rel=1e-12)
        assert other[key].pool == pytest.approx(row.pool, rel=1e-12)


def test_integer_weight_equals_copies():
    """A design weight of 3 gives the table of three records of weight 1."""
    heavy = four_households().with_columns("household", {"design_weight": np.array([3.0, 1, 2, 1])})
    copies = four_households().with_columns("household", {"design_weight": np.ones(4)})
    rows = np.repeat(np.arange(4), [3, 1, 2, 1])
    tables = {
        e: {k: v[rows] for k, v in t.items() if not k.endswith("_id")}
        | {k: np.arange(len(rows)) for k in t if k.endswith("_id")}
        for e, t in copies.tables.items()
    }
    one, other = resolved(heavy), resolved(Dataset(2024, tables).check())
    for key in one:
        assert other[key].threshold == pytest.approx(one[key].threshold, rel=1e-12, abs=1e-15)
        assert other[key].pool == pytest.approx(one[key].pool, rel=1e-12, abs=1e-15)


# -- where the pool lives --------------------------------------------------------------


def test_residents_live_in_the_largest_block_of_the_largest_county():
    """California: Los Angeles County (2,000 of 3,200), its block of 800, district 630."""
    residents = residents_of(dataset(5, 0), CROSSWALK, 6)
    assert set(residents["county_fips"].tolist()) == {"06037"}
    assert set(residents["congressional_district_geoid"].tolist()) == {630}
    assert set(residents["zip_code"].tolist()) == {"90012"}


def test_residents_carry_the_design_weight_and_the_state_values():
    """Weights are the design weights; a by-state column is that of the state."""
    records = dataset(5, 0)
    residents = residents_of(records, CROSSWALK, 37)
    assert (residents["household_weight"] == records["design_weight"]).all()
    assert (residents["rent"] == records["rent"][:, 2]).all()


def test_a_state_that_is_none_is_an_error():
    """A crosswalk with blocks in state 72 finds no letters for it, and no rate."""
    one = {name: np.array([n]) for name, n in [("population", 9.0), ("place", 0), ("zip_code", 0)]}
    abroad = Crosswalk(block=np.array([72001 * 10**10]), district=np.array([7201]), **one)
    people = four_households().with_columns("household", {"rent": np.full(4, 800.0)})
    with pytest.raises(TakeupError, match="no takeup rate for medicaid in FIPS 72"):
        resolve(people, abroad, NO_LAW, states=(72,), seed=0, rates=RATES)


def test_a_state_without_blocks_is_an_error():
    """Utah is not in this country."""
    with pytest.raises(TakeupError, match="no block in state 49"):
        residents_of(dataset(2, 0), CROSSWALK, 49)


# -- rates -----------------------------------------------------------------------------


def test_a_group_without_rate_is_an_error():
    """A missing rate is never guessed; the message names programme and group."""
    rates = {key: rate for key, rate in RATES.items() if key != ("medicaid", "NC")}
    with pytest.raises(TakeupError, match="no takeup rate for medicaid in NC"):
        resolved(rates=rates)


def write_rates(path, *rows: str):
    """Write a rate table of "programme,group,year,rate" rows."""
    lines = ["programme,group,year,rate,share_of,anchor,source"]
    lines += [f"{row},all,,made up" for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_latest_rate_not_after_the_year_is_in_force(tmp_path):
    """Order of the rows means nothing; before the first year there is no rate."""
    path = write_rates(tmp_path / "r.csv", "a,US,2021,0.3", "a,US,2018,0.4", "a,US,2030,0.9")
    assert read_rates(2024, path) == {("a", "US"): 0.3}
    assert read_rates(2020, path) == {("a", "US"): 0.4}
    assert read_rates(2018, path) == {("a", "US"): 0.4}
    assert read_rates(2017, path) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,US,2020,0.3", "a,US,2020,0.4"], "two takeup rates of a in US for 2020"),
        (["a,US,2021,0.2", "a,NC,2020,1.5"], r"a in NC is 1.5, not in \[0, 1\]"),
        (["a,US,2020,-0.1"], r"a in US is -0.1, not in \[0, 1\]"),
        (["a,US,2020,nan"], r"a in US is nan, not in \[0, 1\]"),
        (["snap,US,2018,0.8"], "snap in US is anchored at '', the programme at 'snap_reported'"),
        (["a,US,soon,0.5"], r"r\.csv is not a table of takeup rates"),
        (["a,US,2020,half"], r"r\.csv is not a table of takeup rates"),
    ],
)
def test_a_wrong_rate_table_is_an_error(tmp_path, rows, message):
    """The message names the programme and group, or the file."""
    with pytest.raises(TakeupError, match=message):
        read_rates(2024, write_rates(tmp_path / "r.csv", *rows))


@pytest.mark.parametrize("content", [None, "programme,group\na,US\n"])
def test_a_table_that_cannot_be_read_is_an_error(tmp_path, content):
    """A missing file and a missing column are errors of this package."""
    path = tmp_path / "r.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TakeupError, match=r"r\.csv is not a table of takeup rates"):
        read_rates(2024, path)


def test_published_rates():
    """Rates of 2024, from policyengine-us-data e01a0384 parameters/take_up."""
    rates = read_rates(2024)
    assert rates["snap", "US"] == 0.82
    assert rates["aca", "US"] == 0.672
    assert rates["medicaid", "UT"] == 0.53
    assert rates["head_start", "US"] == 0.30  # 0.40 in 2020
    assert [rates["eitc", str(n)] for n in range(4)] == [0.65, 0.86, 0.85, 0.85]


def test_the_packaged_table_has_every_group():
    """Every programme has a rate in the nation, or in each of 51 states, or in each kind."""
    rates = read_rates(2024)
    kinds = {STATE: set(STATE_LETTERS.values()), CHILDREN: set("0123"),
             CATEGORY: set(WIC_CATEGORIES), NATION: {"US"}}  # fmt: skip
    assert len(kinds[STATE]) == 51
    wanted = {(p.name, group) for p in (*PROGRAMMES, *WIC) for group in kinds[p.groups]}
    assert set(rates) == wanted


def test_medicaid_rates_of_the_states():
    """Lowest in Utah, highest in three states; policyengine-us-data e01a0384 medicaid.yaml."""
    rate = {group: r for (name, group), r in read_rates(2024).items() if name == "medicaid"}
    assert min(rate, key=lambda state: rate[state]) == "UT"
    assert {state for state, r in rate.items() if r == max(rate.values())} == {"CO", "DC", "IN"}
    assert rate["CO"] == 0.99


def test_wic_rates_are_those_of_the_year():
    """Participation of infants fell in 2020; nobody outside the five categories takes part."""
    assert read_rates(2019)["wic", "INFANT"] == 0.984
    assert read_rates(2020)["wic", "INFANT"] == 0.817
    assert [read_rates(2024)["wic", c] for c in WIC_CATEGORIES] == [
        0.456, 0.689, 0.663, 0.784, 0.46, 0.0
    ]  # fmt: skip
    assert read_rates(2024)["wic_nutritional_risk", "CHILD"] == 0.752


def test_every_rate_says_what_it_is_a_share_of_and_where_it_is_from():
    """No row of the packaged table has an empty share or source."""
    text = (files("calibration") / "data" / "takeup_rates.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) > 90
    assert all(row["share_of"] and "policyengine-us-data e01a0384" in row["source"] for row in rows)


def test_programmes_can_be_asked_for_by_name():
    """WIC is resolved on request, although the engine reads neither of its flags."""
    table = resolve(four_households(), CROSSWALK, ENGINE, states=(6,), seed=3, programmes=WIC)
    assert {(r.programme, r.group): r.threshold for r in table.rows} == {
        key: rate for key, rate in read_rates(2024).items() if key[0].startswith("wic")
    }


# -- the formula -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "reported", "expected"),
    [(0.8, 0.0, 0.8), (0.8, 0.6, 0.5), (0.8, 0.8, 0.0), (0.8, 0.9, 0.0), (1.0, 0.5, 1.0),
     (0.8, 1.0, 0.0), (0.0, 0.0, 0.0)],
)  # fmt: skip
def test_residual_rate(rate, reported, expected):
    """(rate - r) / (1 - r), never below 0, and 0 where everybody reports."""
    assert residual_rate(rate, reported) == pytest.approx(expected, abs=1e-15)


def test_pools_add_and_scale():
    """Pools are sums over units, so they add up and scale with the weights."""
    pool = Pool(2.0, 1.0) + Pool(4.0, 1.0).times(0.5)
    assert pool == Pool(4.0, 1.5)
    row = pool.threshold("snap", "US", 0.5)
    assert (row.pool, row.reported) == (4.0, 0.375)
    assert row.threshold == pytest.approx(0.2, rel=1e-12)  # (0.5 - 0.375) / 0.625
