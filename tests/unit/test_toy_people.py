"""The people of the toy country obey the laws that their documentation states.

Laws are tested on a draw of 30,000 households, with tolerances of five standard errors of
what is measured; files, on the ones that are installed.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest

from calibration.dataset import Dataset
from calibration.errors import DatasetError
from calibration.puf_variables import puf_variables
from calibration.survey import read_dictionary, read_survey, read_table
from calibration.toy_data import country, homes, incomes, items, laws, people, programs
from calibration.toy_data.donor_files import DESIGNS, MOST_DEPENDENTS
from calibration.toy_data.households import KINDS
from calibration.toy_data.reporting import PARTS, REPORTING, TRIM, report
from calibration.toy_data.requirements import REQUIREMENTS, shortfalls
from calibration.toy_data.sampling import STRATA, pps

FOLDER = Path(str(files("calibration.toy_data")))
CROSSWALK = country.crosswalk(0)
FREE = ("all", "aged", "working", "young_children", "students")  # groups that ignore the rank


@pytest.fixture(scope="module")
def many() -> Dataset:
    """Draw 30,000 households."""
    return people.population(CROSSWALK, households=30_000, seed=11)


@pytest.fixture(scope="module")
def few() -> Dataset:
    """Draw 4,000 households, the size that the files are made from."""
    return people.population(CROSSWALK, households=4_000, seed=12)


def close(value, expected, deviation, n, errors=5.0):
    """Tell whether a mean of n independent values is within so many standard errors."""
    return abs(value - expected) <= errors * deviation / np.sqrt(n)


def of_unit(dataset: Dataset, item: items.LineItem) -> np.ndarray:
    """Give an item of every tax unit, whoever in it has it."""
    values = dataset[item.variable]
    return values if item.entity == "tax_unit" else dataset.sum_to("tax_unit", values)


# -- households ----------------------------------------------------------------------------


def test_weights_make_the_population(many, few):
    """Persons of every block, weighted, add up to its population, whatever the sample size."""
    for dataset in (many, few):
        home = dataset.household_of("person")
        weight = dataset["household_weight"][home]
        blocks = np.searchsorted(CROSSWALK.block, dataset["block_geoid"].astype(np.int64))
        people_in = np.bincount(blocks[home], weight)
        np.testing.assert_allclose(people_in, CROSSWALK.population, rtol=1e-6)


def test_places_agree(few):
    """County, state, district and ZIP code of a household are those of its block."""
    row = CROSSWALK.row_of(few["block_geoid"].astype(np.int64))
    assert (few["congressional_district_geoid"] == CROSSWALK.district[row]).all()
    assert (few["state_fips"] == CROSSWALK.state[row]).all()
    assert (few["county_fips"].astype(np.int64) == CROSSWALK.county[row]).all()
    assert (few["zip_code"].astype(np.int64) == CROSSWALK.zip_code[row]).all()
    assert {len(code) for code in few["county_fips"].tolist()} == {5}


def test_kinds_of_households(many):
    """Household size and the share of couples are those of the table of kinds."""
    shares = np.array([kind.share for kind in KINDS])
    assert shares.sum() == pytest.approx(1)
    children = np.array([np.arange(len(k.children)) @ np.array(k.children) for k in KINDS])
    adults = np.array([1 + k.spouse + (k.other != (0, 0)) for k in KINDS])
    size = np.bincount(many.household_of("person"))
    assert close(size.mean(), shares @ (adults + children), size.std(), len(size))
    married = shares @ np.array([k.spouse for k in KINDS])
    couples = many["is_tax_unit_spouse"].sum() / len(size)
    assert close(couples, married, 0.5, len(size))


def test_roles(many):
    """Every tax unit has one head and at most one spouse; a household's head is its first."""
    heads = many.sum_to("tax_unit", many["is_tax_unit_head"])
    spouses = many.sum_to("tax_unit", many["is_tax_unit_spouse"])
    assert (heads == 1).all()
    assert (spouses <= 1).all()
    first = laws.head_of(many, "household")
    assert many["is_household_head"][first].all()
    assert many["is_household_head"].sum() == many.size("household")
    roles = [many[f"is_tax_unit_{role}"].astype(int) for role in ("head", "spouse", "dependent")]
    assert (sum(roles) == 1).all()
    assert (many["age"][many["is_tax_unit_dependent"]] < 23).all()
    head, spouse = many["is_tax_unit_head"], many["is_tax_unit_spouse"]
    couple = spouses[many.unit_of_person("tax_unit")] > 0
    assert (many["is_male"][head & couple] != many["is_male"][spouse]).all()


def test_place_effects_are_neutral(many):
    """Place effects have a weighted mean of 1 and differ between districts as stated."""
    factor = laws.income_factor(many, "household")
    assert np.average(factor, weights=many["household_weight"]) == pytest.approx(1)
    district = many["congressional_district_geoid"]
    wake, charlotte = (factor[district == code][0] for code in (3702, 3712))
    assert wake / charlotte == pytest.approx(laws.DISTRICT_INCOME[3702])


# -- tax variables -------------------------------------------------------------------------


def test_line_items_are_the_imputed_variables():
    """The table has the 69 variables of the PUF stage, with the same entities and kinds."""
    table = {item.variable: item for item in items.line_items()}
    wanted = {v.name: v for v in puf_variables()}
    assert table.keys() == wanted.keys()
    for name, item in table.items():
        assert item.entity == wanted[name].entity, name
        assert (item.law in ("flag", "positive")) == (wanted[name].kind == "bool"), name
        assert item.who in items.GROUPS
        assert item.source


# IRS, Statistics of Income, Publication 1304, tax year 2023: 160,602,107 returns. Table 1.4:
# wages, qualified dividends, net gains of business, of partnerships and S corporations;
# Table 2.1: mortgage interest. Returns with the item, amount in USD.
@pytest.mark.parametrize(
    ("variable", "returns", "amount"),
    [
        ("employment_income", 128_591_050, 10_204_100_000_000),
        ("qualified_dividend_income", 31_106_344, 336_070_300_000),
        ("self_employment_income", 21_411_713, 530_380_000_000),
        ("partnership_s_corp_income", 7_404_385, 1_249_528_000_000),
        ("deductible_mortgage_interest", 11_668_047, 172_408_400_000),
    ],
)
def test_published_lines(variable, returns, amount):
    """Shares and means of the table are the published counts and amounts."""
    item = next(item for item in items.line_items() if item.variable == variable)
    assert item.share == pytest.approx(returns / 160_602_107, abs=1e-6)
    assert item.mean == pytest.approx(amount / returns, rel=1e-4)


def amounts():
    """List the items with a law of amounts that are not always 0, in a group without rank."""
    table = items.line_items()
    return [i for i in table if i.law == "amount" and i.who in FREE and i.share > 0]


@pytest.mark.parametrize("item", amounts(), ids=lambda item: item.variable)
def test_amounts_obey_their_law(many, item):
    """Who has an item, and how much, is the share, mean and sigma of its row."""
    group = items.GROUPS[item.who](many)
    weight = many["household_weight"][many.household_of("tax_unit")]
    p = item.share / np.average(group, weights=weight)
    value = of_unit(many, item)[group] / laws.income_factor(many, "tax_unit")[group]
    has = value > 0
    assert (of_unit(many, item)[~group] == 0).all()
    assert close(has.mean(), p, np.sqrt(p), len(has))
    logs = np.log(value[has])
    assert close(logs.mean(), np.log(item.mean) - item.sigma**2 / 2, item.sigma, len(logs))
    assert close(logs.std(), item.sigma, item.sigma, len(logs))
    loss = -value[value < 0]
    q = item.share_loss / item.share * p
    assert close(len(loss) / len(has), q, np.sqrt(q), len(has))
    if q > 0:
        middle = np.log(item.mean_loss) - item.sigma_loss**2 / 2
        assert close(np.log(loss).mean(), middle, item.sigma_loss, len(loss))


def test_the_rich_have_more_and_more_often(many):
    """Ranks of those who have dividends follow u^(1 + a), and the amounts correlate by r."""
    item = next(i for i in items.line_items() if i.variable == "qualified_dividend_income")
    value = of_unit(many, item) / laws.income_factor(many, "tax_unit")
    has = value > 0
    v = many["income_rank"][has] ** (1 + item.tilt)
    assert kstest(v, "uniform").pvalue > 1e-4
    assert kstest(many["income_rank"][has], "uniform").pvalue < 1e-9
    r = np.corrcoef(ndtri(v), np.log(value[has]))[0, 1]
    assert close(r, item.rank_correlation, 1.0, has.sum())


def test_items_that_others_give(many):
    """Multiples are their factor times the other item; a repealed deduction is always 0."""
    mortgage = many.sum_to("tax_unit", np.round(1.207 * many["deductible_mortgage_interest"]))
    assert (many["interest_deduction"] == mortgage).all()
    assert (many["pre_tax_contributions"] == many["traditional_401k_contributions"]).all()
    assert (many["business_is_sstb"] == (many["sstb_self_employment_income"] > 0)).all()
    assert not many["domestic_production_ald"].any()


def test_adjusted_gross_income_adds_up(few):
    """Adjusted gross income is what one adds up by hand, unit by unit."""
    agi = items.adjusted_gross_income(few)
    unit = few.unit_of_person("tax_unit")
    for row in range(0, few.size("tax_unit"), 41):
        who = np.flatnonzero(unit == row)
        total = sum(few[name][who].sum() for name in items.INCOME)
        gains = few["long_term_capital_gains"][who] + few["short_term_capital_gains"][who]
        total += max(gains.sum(), -3_000)
        for name in items.DEDUCTED:
            on_unit = few.entity_of(name) == "tax_unit"
            total -= few[name][row] if on_unit else few[name][who].sum()
        benefits = few["social_security"][who].sum()
        base = 32_000 if few["is_tax_unit_spouse"][who].any() else 25_000
        taxable = min(0.5 * max(total + benefits / 2 - base, 0), 0.85 * benefits)
        assert abs(agi[row] - (total + taxable)) <= 0.5


# -- laws that an imputation should find ---------------------------------------------------


def test_five_percent_events(many):
    """Bonds and other income are 5 % events for all alike; real estate trusts, one of 7 %."""
    share, _, _ = homes.BONDS
    assert share == 0.05
    adult = many["age"] >= 18
    bonds = many["bond_assets"] > 0
    rich = many["employment_income"] > np.median(many["employment_income"][adult])
    top = many.to_person(many["income_rank"] > 0.8, "tax_unit")
    for part in (rich, ~rich, many["age"] < 40, many["is_male"], top):
        assert close(bonds[adult & part].mean(), 0.05, np.sqrt(0.05), (adult & part).sum())
    other = many.sum_to("tax_unit", many["miscellaneous_income"]) > 0
    couple = many.any_in("tax_unit", many["is_tax_unit_spouse"])
    trusts = many.sum_to("tax_unit", many["qualified_reit_and_ptp_income"]) > 0
    filed = items.adjusted_gross_income(many) > 30_000  # trusts are no part of it
    for part in (couple, ~couple, many["income_rank"] > 0.8):
        assert close(other[part].mean(), 0.05, np.sqrt(0.05), part.sum())
        assert close(trusts[part & filed].mean(), 0.07, np.sqrt(0.07), (part & filed).sum())


def test_heavy_tail(many):
    """Tips are lognormal with sigma 1, whatever the age and sex of those in tipped work."""
    share, mean, sigma = incomes.TIPS
    tipped = many["is_tipped_occupation"]
    assert sigma == 1.0
    assert not many["tip_income"][~tipped].any()
    for part in (many["age"] < 35, many["age"] >= 35, many["is_male"]):
        tips = many["tip_income"][tipped & part]
        logs = np.log(tips[tips > 0])
        assert close(len(logs) / len(tips), share, 0.5, len(tips))
        assert close(logs.mean(), np.log(mean) - sigma**2 / 2, sigma, len(logs))
        assert close(logs.std(), sigma, sigma, len(logs))
    assert (many["tip_income"] <= many["employment_income"]).all()


def test_independent_pairs(many):
    """Pairs that share no rank are uncorrelated; a pair that shares one is not."""
    adult = many["age"] >= 18
    pairs = [
        (many["rental_income_would_be_qualified"], many["estate_income_would_be_qualified"]),
        (many["bank_account_assets"][adult] > 0, many["bond_assets"][adult] > 0),
        (many["estate_income_would_be_qualified"], many["employment_income"] > 50_000),
    ]
    for one, other in pairs:
        r = np.corrcoef(one.astype(float), other.astype(float))[0, 1]
        assert close(r, 0, 1, len(one))
    shared = [
        many.sum_to("tax_unit", many[f"{kind}_dividend_income"]) > 0
        for kind in ("qualified", "non_qualified")
    ]
    assert np.corrcoef(*(flags.astype(float) for flags in shared))[0, 1] > 0.1


def test_state_effects(many):
    """Rents and union cover differ by state as their tables say."""
    head = laws.head_of(many, "household")
    renters = many["tenure_type"] == "RENTED"
    size = np.bincount(many.household_of("person"))
    local = np.sqrt(laws.income_factor(many, "household"))
    scaled = many["rent"][head] / (size**0.3 * local)
    paid = many["employment_income"] > 0
    covered = many["is_union_member_or_covered"]
    older, home = many["age"] >= 45, many.household_of("person")
    for state, mean in homes.RENT.items():
        here = renters & (many["state_fips"] == state)
        # renters are poorer than others, and rents correlate with the rank: not the mean itself
        rank = many["income_rank"][many.unit_of_person("tax_unit")[head]][here]
        score = np.log(scaled[here] / mean) + 0.35**2 / 2 - 0.6 * 0.35 * ndtri(rank)
        assert close(score.mean(), 0, 0.8 * 0.35, here.sum())
        for group, factor in ((older, 1.25), (~older, 0.85)):
            part = paid & group & (many["state_fips"][home] == state)
            rate = incomes.UNION_RATE[state] * factor
            assert close(covered[part].mean(), rate, np.sqrt(rate), part.sum())


def test_social_security_adds_up(many):
    """Parts of Social Security are not negative and add up to the total; all four occur."""
    parts = np.array([many[part] for part in PARTS])
    assert (parts >= 0).all()
    assert (parts.sum(axis=0) == many["social_security"]).all()
    assert ((parts > 0).sum(axis=1) > 50).all()
    assert ((parts > 0).sum(axis=0) > 1).any()  # some have two parts: shares are not 0 or 1 alone


def test_contributions_are_lawful(many):
    """Contributions keep the limits of 2024 for both kinds of an account together."""
    older = many["age"] >= 50
    deferral = many["traditional_401k_contributions"] + many["roth_401k_contributions"]
    ira = many["traditional_ira_contributions"] + many["roth_ira_contributions"]
    earned = many["employment_income"] + np.maximum(many["self_employment_income"], 0)
    assert (deferral <= np.minimum(23_000 + 7_500 * older, many["employment_income"])).all()
    assert (ira <= np.minimum(7_000 + 1_000 * older, earned)).all()
    own = many["self_employed_pension_contributions"]
    assert (own <= np.clip(0.25 * many["self_employment_income"], 0, 69_000)).all()
    assert (deferral == 23_000).any()
    assert (own > 0).any()


def test_benefits(many):
    """Benefits go to the poor, within the published maximum of SSI and minimum of SNAP."""
    ratio = programs.poverty_ratio(many)
    snap = many["snap_reported"] > 0
    assert close(snap[ratio < 1.3].mean(), 0.8, 0.4, (ratio < 1.3).sum())
    assert not snap[ratio >= 2].any()
    assert many["snap_reported"][snap].min() == 12 * 23
    assert many["ssi_reported"].max() <= 12 * 943
    single = laws.head_of(many, "spm_unit")[np.bincount(many.unit_of_person("spm_unit")) == 1]
    one = ratio[many.unit_of_person("spm_unit")[single]]
    np.testing.assert_allclose(one, programs.cash_income(many)[single] / 15_060)


# -- sampling and reporting ----------------------------------------------------------------


def test_pps_probabilities():
    """Rows are drawn as often as their probability says; the largest, always."""
    size = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 50.0])
    expected = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    rng = np.random.default_rng(1)
    count = np.zeros(6)
    for _ in range(4_000):
        rows, probability = pps(size, 3, rng)
        assert len(set(rows.tolist())) == 3
        np.testing.assert_allclose(probability, expected[rows])
        count[rows] += 1
    assert count[0] == 0
    assert count[5] == 4_000
    assert (np.abs(count / 4_000 - expected) <= 5 * 0.5 / np.sqrt(4_000)).all()


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_pps_of_equal_sizes(n):
    """Rows of equal size have equal probabilities, up to all of them."""
    rows, probability = pps(np.ones(6), n, np.random.default_rng(n))
    assert len(rows) == n
    np.testing.assert_allclose(probability, n / 6)


def test_pps_refuses_too_many():
    """More rows than there are to draw from is an error."""
    with pytest.raises(DatasetError, match="cannot draw 3 of 2"):
        pps(np.array([0.0, 1.0, 1.0]), 3, np.random.default_rng(0))


def test_reports_fall_short_by_their_factors(many):
    """A column is told by the stated share of those who have it, at the stated part."""
    told = report(many, np.random.default_rng(5))
    for name, (share, part) in REPORTING.items():
        has = many[name] > 0
        kept = told[name][has] > 0
        assert close(kept.mean(), share, np.sqrt(share * (1 - share)), has.sum()), name
        assert not (told[name][~has] > 0).any()
        if many[name].dtype != bool:
            assert (told[name][many[name] < 0] == many[name][many[name] < 0]).all()
            ratio = told[name][has][kept].sum() / many[name][has][kept].sum()
            assert ratio == pytest.approx(part, abs=2e-3), name
    assert (sum(told[part] for part in PARTS) == told["social_security"]).all()
    limit, rest = TRIM
    wage = many["employment_income"]
    assert (told["employment_income"][wage <= limit] == wage[wage <= limit]).all()
    top = wage > limit
    expected = limit + rest * (wage[top] - limit)
    assert (np.abs(told["employment_income"][top] - expected) <= 0.5).all()


def as_dataset(tables) -> Dataset:
    """Make a dataset of the survey's tables, as the reader does."""
    person = tables["survey/persons.csv"]
    derived = {
        e: {f"{e}_id": np.unique(person[f"person_{e}_id"])} for e in ("family", "marital_unit")
    }
    named = {
        "household": tables["survey/households.csv"],
        "person": person,
        "tax_unit": tables["survey/tax_units.csv"],
        "spm_unit": tables["survey/spm_units.csv"],
    }
    return Dataset(2024, named | derived).check()


@pytest.mark.parametrize("seed", range(4))
def test_survey_has_what_lessons_need(few, seed):
    """A survey of 60 meets all requirements, and its weights are the country's households."""
    survey = as_dataset(people.survey(few, seed=seed))
    assert shortfalls(survey) == ()
    assert survey.size("household") == 60
    total = few["household_weight"].sum()
    assert survey["household_weight"].sum() == pytest.approx(total, abs=1e-3)
    assert survey["household_id"].tolist() == list(range(1, 61))
    assert (survey["person_household_id"] == survey["person_id"] // 100).all()


def test_design_weights_are_unbiased(many):
    """Weighted totals of a large survey are near those of the population."""
    survey = as_dataset(people.survey(many, households=1_500, seed=3))
    weight = survey["household_weight"][survey.household_of("person")]
    truth = many["household_weight"][many.household_of("person")]
    assert weight.sum() == pytest.approx(truth.sum(), rel=0.04)
    for name in ("is_disabled", "is_tax_unit_dependent", "has_esi"):
        assert weight @ survey[name] == pytest.approx(truth @ many[name], rel=0.12), name
    assert sum(n for _, n, _ in STRATA) == 60


def test_shortfalls_say_what_is_missing(few):
    """A survey without old people is told so, with the count and the words."""
    age = few["age"]
    young = few.with_columns("person", {"age": np.minimum(age, 64)})
    assert shortfalls(young)[0] == "0 households with somebody of 65 or older, not 12"
    assert len(REQUIREMENTS) >= 20


# -- donor files ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(few):
    """Draw the donor files."""
    return people.donors(few, 7)


def test_donor_weights_are_those_of_the_population(few, drawn):
    """The weights of each file add up to those it stands for."""
    person = few["household_weight"][few.household_of("person")]
    homes_in = few["household_weight"].sum()
    totals = {
        "acs": homes_in,
        "scf": homes_in,
        "sipp_tips": person[few["age"] >= 15].sum(),
        "sipp_assets": person[few["age"] >= 15].sum(),
        "org": person[few["age"] >= 16].sum(),
    }
    for name, total in totals.items():
        table = drawn[f"donors/{name}.csv"]
        assert len(table["weight"]) == 1_000
        assert table["weight"].sum() == pytest.approx(total, rel=0.04), name
        assert (table["weight"] > 0).all()


def test_tax_file_holds_the_rich(few, drawn):
    """The tax file has more of the rich than the country, and its weights take that back."""
    table = drawn["donors/puf.csv"]
    head = table["is_tax_unit_head"]
    agi, weight = table["adjusted_gross_income"][head], table["weight"][head]
    rich = agi >= 500_000
    truth = items.adjusted_gross_income(few)
    people_in = few["household_weight"][few.household_of("tax_unit")]
    middle = (agi >= 75_000) & (agi < 200_000)
    middle_in = people_in[(truth >= 75_000) & (truth < 200_000)].sum()
    assert weight[middle].sum() == pytest.approx(middle_in, rel=0.1)
    share = people_in[truth >= 500_000].sum() / people_in.sum()
    assert rich.mean() > 5 * share
    assert weight[rich].sum() == pytest.approx(people_in[truth >= 500_000].sum(), rel=0.25)
    assert weight[rich] @ agi[rich] == pytest.approx(
        people_in[truth >= 500_000] @ truth[truth >= 500_000], rel=0.25
    )


def test_tax_file_structure(drawn):
    """A return has one head, a spouse if joint, and at most three dependents, all on file."""
    table = drawn["donors/puf.csv"]
    returns, index = np.unique(table["return_id"], return_inverse=True)
    assert (np.diff(table["return_id"]) >= 0).all()
    for role, expected in (
        ("head", np.ones(len(returns))),
        ("spouse", np.bincount(index, table["tax_unit_is_joint"]) > 0),
    ):
        assert (np.bincount(index, table[f"is_tax_unit_{role}"]) == expected).all()
    count = np.bincount(index, table["is_tax_unit_dependent"])
    assert (count[index] == table["tax_unit_count_dependents"]).all()
    assert table["tax_unit_count_dependents"].max() == MOST_DEPENDENTS
    for item in items.line_items():
        if item.entity == "tax_unit":
            assert not table[item.variable][~table["is_tax_unit_head"]].any()
    for name in ("weight", "adjusted_gross_income"):
        first = np.unique(index, return_index=True)[1]
        assert (table[name] == table[name][first][index]).all()


def test_donors_lack_a_level_that_the_survey_has(few, drawn):
    """Somebody of the survey has four dependents; nobody in the tax file has."""
    survey = as_dataset(people.survey(few, seed=1))
    most = survey.sum_to("tax_unit", survey["is_tax_unit_dependent"]).max()
    assert most >= 4 > drawn["donors/puf.csv"]["tax_unit_count_dependents"].max()


def test_donor_columns_mean_what_they_say(few, drawn):
    """Columns that a donor names in its own way are sums and counts of the population's."""
    scf, acs = drawn["donors/scf.csv"], drawn["donors/acs.csv"]
    assert acs["is_household_head"].all()
    assert not acs["rent"][acs["tenure_type"] != "RENTED"].any()
    assert not acs["real_estate_taxes"][acs["tenure_type"] != "OWNED"].any()
    home = few.household_of("person")
    wages = np.bincount(home, few["employment_income"])
    worth = dict(zip(zip(few["net_worth"], wages, strict=True), wages, strict=True))
    assert all(key in worth for key in zip(scf["net_worth"], scf["employment_income"], strict=True))
    org = drawn["donors/org.csv"]
    paid = org["hourly_wage"] > 0
    assert (paid == (org["employment_income"] > 0)).all()
    assert not org["is_union_member_or_covered"][~paid].any()
    assert len(np.unique(acs["state_fips"])) == len(np.unique(org["state_fips"])) == 5
    assert np.bincount(acs["state_fips"])[[2, 6, 11, 37, 49]].min() > 150


# -- the same again ------------------------------------------------------------------------


def test_same_seed_same_bits(few):
    """The same seed gives the same population, survey and donors; another seed does not."""
    again = people.population(CROSSWALK, households=4_000, seed=12)
    for name, array in few.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
    other = people.population(CROSSWALK, households=4_000, seed=13)
    assert (other["age"][:500] != few["age"][:500]).any()
    for one, two in (
        (people.survey(few, seed=2), people.survey(again, seed=2)),
        (people.donors(few, 2), people.donors(again, 2)),
    ):
        assert one.keys() == two.keys()
        for file, table in one.items():
            for name, column in table.items():
                np.testing.assert_array_equal(column, two[file][name])


def test_impossible_populations():
    """Too few households, or a state without laws, is an error that says so."""
    with pytest.raises(DatasetError, match="ask for at least 368"):
        people.population(CROSSWALK, households=367, seed=0)
    small = people.population(CROSSWALK, households=400, seed=0)
    with pytest.raises(DatasetError, match="make the population larger"):
        people.donors(small, 0)
    moved = small.with_columns("household", {"state_fips": np.full(400, 56)})
    with pytest.raises(DatasetError, match="no law for state 56"):
        laws.income_factor(moved, "household")


# -- the files that are installed ----------------------------------------------------------


def test_installed_survey():
    """The installed survey can be read, has the sizes of the toy run and what lessons need."""
    survey = read_survey(FOLDER, 2024)
    assert survey.size("household") == 60
    assert 130 <= survey.size("person") <= 175
    assert shortfalls(survey) == ()
    assert (
        np.array([survey[part] for part in PARTS]).sum(axis=0) == survey["social_security"]
    ).all()


def test_installed_donors():
    """The installed donor files can be read and have about a thousand rows each."""
    for file in DESIGNS:
        table = read_table(FOLDER, file)
        assert 900 <= len(table["weight"]) <= 1_100
        assert (table["weight"] > 0).all()


def test_installed_files_are_small():
    """The survey is below 100 kB and the donors are below 1.2 MB."""
    size = {
        name: sum(f.stat().st_size for f in (FOLDER / name).iterdir())
        for name in ("survey", "donors")
    }
    assert size["survey"] < 100_000
    assert size["donors"] < 1_200_000


def test_dictionary_is_whole():
    """Every column has a unit and a description, and stands once in its file."""
    dictionary = read_dictionary(FOLDER)
    assert {"line_items.csv", *DESIGNS} <= dictionary.keys()
    for file, columns in dictionary.items():
        names = [column.name for column in columns]
        assert len(set(names)) == len(names), file
        for column in columns:
            assert column.unit, (file, column.name)
            assert len(column.description) > 3, (file, column.name)
