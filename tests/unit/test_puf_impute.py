"""The clone, the 69 variables, and what must be true of the half that was imputed."""

import numpy as np
import pytest

from calibration import imputer as imputer_module
from calibration.dataset import Dataset
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer
from calibration.puf_impute import PREDICTORS, PufOptions, demographics, double, impute
from calibration.puf_variables import THEMES, groups, puf_variables
from calibration.qrf import ForestOptions
from calibration.retirement import ACCOUNTS, cap, earnings, impute_contributions, limit
from calibration.rng import uniform
from calibration.social_security import PARTS, by_age, check_parts, impute_parts, split
from calibration.source_impute import DONORS

OPTIONS = PufOptions(forest=ForestOptions(trees=5), min_social_security_donors=5)


def names(text):
    """Split a list of names."""
    return text.split()


# PolicyEngine/policyengine-us-data e01a0384, calibration/puf_impute.py: IMPUTED_VARIABLES
# without and with OVERRIDDEN_IMPUTED_VARIABLES.
KEPT = names("""
employment_income social_security taxable_pension_income tax_exempt_pension_income
long_term_capital_gains short_term_capital_gains taxable_ira_distributions
self_employment_income sstb_self_employment_income qualified_dividend_income
non_qualified_dividend_income taxable_interest_income tax_exempt_interest_income
rental_income farm_income partnership_se_income alimony_income
self_employment_income_would_be_qualified
""")
OVERRIDDEN = names("""
partnership_s_corp_income interest_deduction unreimbursed_business_employee_expenses
pre_tax_contributions w2_wages_from_qualified_business unadjusted_basis_qualified_property
business_is_sstb sstb_w2_wages_from_qualified_business
sstb_unadjusted_basis_qualified_property charitable_cash_donations
charitable_non_cash_donations self_employed_pension_contribution_ald
self_employed_health_insurance_ald unrecaptured_section_1250_gain
taxable_unemployment_compensation domestic_production_ald cdcc_relevant_expenses
salt_refund_income foreign_tax_credit amt_foreign_tax_credit estate_income
american_opportunity_credit miscellaneous_income alimony_expense health_savings_account_ald
non_sch_d_capital_gains general_business_credit energy_efficient_home_improvement_credit
excess_withheld_payroll_tax savers_credit student_loan_interest
investment_income_elected_form_4952 early_withdrawal_penalty prior_year_minimum_tax_credit
farm_rent_income qualified_tuition_expenses educator_expense
long_term_capital_gains_on_collectibles other_credits casualty_loss unreported_payroll_tax
recapture_of_investment_credit deductible_mortgage_interest qualified_reit_and_ptp_income
qualified_bdc_income farm_operations_income estate_income_would_be_qualified
farm_operations_income_would_be_qualified farm_rent_income_would_be_qualified
partnership_s_corp_income_would_be_qualified rental_income_would_be_qualified
""")
FINER = {
    "sstb_self_employment_income": 0.0,
    "partnership_se_income": 0.0,
    "self_employment_income_would_be_qualified": True,
}


def survey(households=40, seed=0):
    """Make a survey of singles, couples and families of up to five children."""
    rng = np.random.default_rng(seed)
    rows = [
        (h, k, k < adults)
        for h in range(households)
        for adults, kids in [((1, 0), (2, 0), (2, 1 + h % 5), (1, h % 2))[h % 4]]
        for k in range(adults + kids)
    ]
    h, k, adult = (np.array(column) for column in zip(*rows, strict=True))
    n = len(h)
    person = {
        "person_id": np.arange(n),
        "age": np.where(adult, rng.integers(20, 90, n), rng.integers(0, 18, n)).astype(float),
        "is_male": rng.random(n) < 0.5,
        "is_tax_unit_head": k == 0,
        "is_tax_unit_spouse": (k == 1) & adult,
        "is_tax_unit_dependent": ~adult,
        "weeks_unemployed": np.where(adult & (k == 0) & (h % 5 == 0), 1.0 + h % 52, 0.0),
    }
    asked = [name for name in KEPT if name not in FINER] + [*ACCOUNTS]
    for name in asked:
        person[name] = np.round(rng.lognormal(9, 1, n)) * (adult & (rng.random(n) < 0.4))
    part = rng.integers(0, 4, n)
    person |= {p: np.where(part == i, person["social_security"], 0.0) for i, p in enumerate(PARTS)}
    tables = {"household": {"household_weight": rng.uniform(100, 3_000, households)}}
    for entity in ("household", "tax_unit"):
        person[f"person_{entity}_id"] = h
        tables.setdefault(entity, {})[f"{entity}_id"] = np.arange(households)
    return Dataset(2024, {"person": person, **tables}).check()


def tax_file(rows=500, seed=1):
    """Make a tax file: heads, spouses and up to three dependents, who have no amounts."""
    rng = np.random.default_rng(seed)
    role = rng.choice(3, rows, p=[0.55, 0.2, 0.25])
    role[0] = 0
    unit = np.cumsum(role == 0)
    file = {
        "weight": rng.uniform(1, 2_000, rows),
        "return_id": unit,
        "age": np.where(role == 2, rng.integers(0, 18, rows), rng.integers(20, 90, rows)) * 1.0,
        "is_male": rng.random(rows) < 0.5,
        "tax_unit_is_joint": np.isin(unit, unit[role == 1]),
        "tax_unit_count_dependents": np.minimum(np.bincount(unit, role == 2)[unit], 3).astype(int),
        "is_tax_unit_head": role == 0,
        "is_tax_unit_spouse": role == 1,
        "is_tax_unit_dependent": role == 2,
    }
    for variable in puf_variables():
        has = (rng.random(rows) < 0.4) & (role < 2)
        amount = np.round(rng.lognormal(9, 1, rows))
        file[variable.name] = has if variable.kind == "bool" else has * amount
    file["adjusted_gross_income"] = np.bincount(unit, file["employment_income"])[unit]
    return file


@pytest.fixture(scope="module")
def stage():
    """Make a survey, a tax file and what the stage makes of them."""
    base, donor = survey(), tax_file()
    return base, donor, impute(base, donor, seed=3, options=OPTIONS)


def halves(dataset):
    """Split persons into the CPS half and the PUF half."""
    clone = dataset.to_person(dataset["is_puf_clone"], "household")
    return ~clone, clone


# -- the table -------------------------------------------------------------------------


def test_the_table_names_the_69_and_the_51():
    """The table has the 18 kept and the 51 overridden variables of the source, no other."""
    table = {v.name: v for v in puf_variables()}
    assert len(table) == len(puf_variables()) == 69
    assert {n for n, v in table.items() if v.role == "imputed"} == set(KEPT)
    assert {n for n, v in table.items() if v.role == "overridden"} == set(OVERRIDDEN)
    assert (len(KEPT), len(OVERRIDDEN)) == (18, 51)


def test_every_variable_has_a_rule_for_each_half():
    """69 variables times two halves: 138 rules, and a unit, a theme and a source for each."""
    for v in puf_variables():
        assert v.puf_half == "draw"
        assert v.cps_half == ("override" if v.name in OVERRIDDEN else "keep")
        assert v.theme in THEMES
        assert v.unit == ("" if v.kind == "bool" else "USD/year")
        assert v.item
        # partnership_se_income is not a variable of policyengine-us 2.68.0.
        assert bool(v.definition) == (v.name != "partnership_se_income")
        assert v.if_absent == FINER.get(v.name)


def test_flags_and_entities_are_those_of_the_model():
    """Seven variables are true or false; thirteen belong to the tax unit."""
    flags = {v.name for v in puf_variables() if v.kind == "bool"}
    assert flags == {n for n in KEPT + OVERRIDDEN if n.endswith("qualified")} | {"business_is_sstb"}
    # policyengine-us 2.68.0, `entity = TaxUnit`.
    assert {v.name for v in puf_variables() if v.entity == "tax_unit"} == {
        "american_opportunity_credit", "cdcc_relevant_expenses", "domestic_production_ald",
        "energy_efficient_home_improvement_credit", "foreign_tax_credit",
        "health_savings_account_ald", "interest_deduction", "recapture_of_investment_credit",
        "savers_credit", "self_employed_health_insurance_ald",
        "self_employed_pension_contribution_ald", "unrecaptured_section_1250_gain",
        "unreported_payroll_tax",
    }  # fmt: skip


def test_groups_hold_every_variable_once():
    """Themes or single variables, both arrangements cover the 69, or the 51."""
    for grouping, count in (("joint", 3), ("sequential", 69)):
        arranged = groups(grouping, overridden=False)
        assert len(arranged) == count
        assert sorted(n for group in arranged for n in group) == sorted(KEPT + OVERRIDDEN)
        chosen = [n for group in groups(grouping, overridden=True) for n in group]
        assert sorted(chosen) == sorted(OVERRIDDEN)


# -- the clone -------------------------------------------------------------------------


def test_new_ids_are_a_function_of_the_old_id():
    """Household h becomes 2h and 2h + 1, persons and units too; 0 collides with nothing."""
    doubled = double(survey(8)).check()
    assert doubled["household_id"].tolist() == list(range(16))
    assert doubled["source_household_id"].tolist() == [h // 2 for h in range(16)]
    assert doubled["is_puf_clone"].tolist() == [False, True] * 8
    assert np.array_equal(doubled["person_id"] % 2, halves(doubled)[1])
    assert np.array_equal(doubled["person_tax_unit_id"] // 2, doubled["person_household_id"] // 2)


def test_weights_of_the_halves():
    """The CPS half carries the survey weight, the PUF half 0, and each half the design weight."""
    base = survey(8)
    doubled, weight = double(base), base["household_weight"]
    assert np.array_equal(doubled["household_weight"][::2], weight)
    assert (doubled["household_weight"][1::2] == 0).all()
    assert np.array_equal(doubled["design_weight"], np.repeat(weight / 2, 2))


def test_everything_else_is_equal_in_both_halves():
    """Other columns, by-state ones too, stand twice."""
    base = survey(8)
    rent = np.arange(16.0).reshape(8, 2)
    base = Dataset(2024, base.tables, (6, 37)).with_columns("household", {"rent": rent})
    doubled = double(base).check()
    assert np.array_equal(doubled["rent"], np.repeat(rent, 2, axis=0))
    assert doubled.states == (6, 37)
    for name in ("age", "is_tax_unit_head", "employment_income"):
        assert np.array_equal(doubled[name][halves(doubled)[0]], base[name])
        assert np.array_equal(doubled[name][halves(doubled)[1]], base[name])


def test_what_cannot_be_doubled_is_refused():
    """A second doubling, a missing weight, a huge id and a stray id column are errors."""
    base = survey(4)
    with pytest.raises(ImputationError, match="has a PUF half already"):
        double(double(base))
    with pytest.raises(ImputationError, match="'mother_id' looks like an id"):
        double(base.with_columns("person", {"mother_id": base["person_id"]}))
    with pytest.raises(ImputationError, match="person column 'final_weight' looks like a weight"):
        double(base.with_columns("person", {"final_weight": np.ones(base.size("person"))}))
    huge = base["household_id"] + 2**62
    moved = base.with_columns("person", {"person_household_id": huge[base["person_household_id"]]})
    with pytest.raises(ImputationError, match="too large to be doubled"):
        double(moved.with_columns("household", {"household_id": huge}))
    tables = {**base.tables, "household": {"household_id": base["household_id"]}}
    with pytest.raises(ImputationError, match="no column 'household_weight'"):
        double(Dataset(2024, tables))


# -- the draws -------------------------------------------------------------------------


def test_the_cps_half_keeps_its_answers(stage):
    """The variables that the survey asks are bit for bit as asked in the CPS half."""
    base, _, result = stage
    cps, _ = halves(result.check())
    for name in (*KEPT, *PARTS, *ACCOUNTS, "weeks_unemployed"):
        expected = FINER[name] if name in FINER else base[name]
        assert (result[name][cps] == expected).all(), name


def test_overrides_reach_the_cps_half(stage):
    """Both halves hold values for all 51, though the survey has no such column."""
    base, donor, result = stage
    for variable in puf_variables():
        if variable.overridden:
            assert variable.name not in base
            of_clone = result[f"{variable.entity}_id"] % 2 == 1
            for half in (of_clone, ~of_clone):
                values = result[variable.name][half]
                assert (values != 0).any(), variable.name
                assert np.isin(values, donor[variable.name]).all()


def test_the_halves_draw_independently(stage):
    """The second draw of the 51 is not the first one again."""
    result = stage[2]
    cps, clone = halves(result)
    same = result["charitable_cash_donations"][cps] == result["charitable_cash_donations"][clone]
    adult = result["age"][cps] >= 18
    # Independent draws agree in about 0.6^2 of cases, when both are 0.
    assert same[adult].mean() < 0.7


def test_no_random_number_is_used_twice(stage, monkeypatch):
    """Halves, variables and rooms have streams of their own: all numbers of a run differ."""
    base, donor, _ = stage
    real, used = imputer_module.uniform, []

    def noted(*parts):
        used.append(real(*parts))
        return used[-1]

    monkeypatch.setattr(imputer_module, "uniform", noted)
    impute(base, donor, seed=3, options=OPTIONS)
    numbers = np.concatenate(used)
    assert len(numbers) > 10 * base.size("person")
    assert len(np.unique(numbers)) == len(numbers)


def test_losses_stay_losses(stage):
    """What the tax file has below 0 is drawn below 0: business and capital losses are legal."""
    base, donor, _ = stage
    row = np.arange(500)
    donor = donor | {"rental_income": np.where(row % 2, -9_000.0, 9_000.0)}
    result = impute(base, donor, seed=3, options=OPTIONS)
    drawn = result["rental_income"][halves(result)[1]]
    # 4 standard errors of a share of a half over some 110 persons.
    assert abs((drawn < 0).mean() - 0.5) < 4 * np.sqrt(0.25 / len(drawn))


def test_flags_are_drawn_as_flags(stage):
    """True and false stay true and false, in the donor's proportion and never the mode."""
    _, donor, result = stage
    for name in ("business_is_sstb", "rental_income_would_be_qualified"):
        assert result[name].dtype == bool
        adult = result["age"] >= 18
        expected = donor[name][donor["age"] >= 18].mean()
        # 4 standard errors of a share over some 110 adults.
        assert abs(result[name][adult].mean() - expected) < 4 * np.sqrt(0.25 / adult.sum())


def test_a_tax_unit_takes_the_draw_of_its_head(stage):
    """A variable of the tax unit is the head's draw, not the first person's nor a sum."""
    base, donor, _ = stage
    # Two variables of one theme, one of the unit and one of the person, tell the donor row.
    row = np.arange(500.0)
    donor = donor | {"interest_deduction": row, "other_credits": row}
    members = np.argsort(base["is_tax_unit_head"], kind="stable")  # heads stand last
    person = {name: values[members] for name, values in base.person.items()}
    person["person_id"] = np.arange(len(members))
    shuffled = Dataset(2024, {**base.tables, "person": person}).check()
    result = impute(shuffled, donor, seed=3, options=OPTIONS)
    heads = np.flatnonzero(result["is_tax_unit_head"])
    unit = result.unit_of_person("tax_unit")[heads]
    assert np.array_equal(result["interest_deduction"][unit], result["other_credits"][heads])


def test_dependents_get_no_amounts(stage):
    """Roles are predictors, so dependents draw from dependents, also where all are of one age."""
    base, donor, _ = stage
    twenty = {"age": np.full(base.size("person"), 20.0)}
    donor = donor | {"age": np.full(len(donor["age"]), 20.0)}
    result = impute(base.with_columns("person", twenty), donor, seed=3, options=OPTIONS)
    child = result["is_tax_unit_dependent"]
    assert child.any()
    wages = result["employment_income"]
    assert (wages[child] > 0).mean() < 0.05 < (wages[~child] > 0).mean()


def test_roles_and_counts_come_from_persons():
    """Joint returns and dependents are counted, whatever columns say."""
    base = survey(12)
    derived = demographics(base)
    assert set(derived) == {p.name for p in PREDICTORS}
    for unit in range(12):
        members = base["person_tax_unit_id"] == unit
        assert (
            derived["tax_unit_count_dependents"][members] == (base["age"][members] < 18).sum()
        ).all()
        assert (
            derived["tax_unit_is_joint"][members] == base["is_tax_unit_spouse"][members].any()
        ).all()
    heads = base["is_tax_unit_head"].copy()
    heads[0] = False
    with pytest.raises(ImputationError, match="tax unit 0 has 0 heads"):
        demographics(base.with_columns("person", {"is_tax_unit_head": heads}))


def test_more_dependents_than_the_file_codes_are_read_as_its_largest(stage):
    """A tax unit with five dependents draws as one with three, not as one without."""
    base, donor, _ = stage
    receiver = demographics(base)
    assert receiver["tax_unit_count_dependents"].max() > 3
    chain = SequentialImputer(
        "puf", PREDICTORS, (("cdcc_relevant_expenses",),), seed=1, options=OPTIONS.forest
    ).fit(donor, donor["weight"])
    ids = np.arange(base.size("person"))
    drawn = {
        count: chain.draw(receiver | {"tax_unit_count_dependents": np.full(len(ids), count)}, ids)
        for count in (0, 3, 5)
    }
    values = {count: draw["cdcc_relevant_expenses"] for count, draw in drawn.items()}
    assert np.array_equal(values[5], values[3])
    assert not np.array_equal(values[5], values[0])


def test_donor_weights_count(stage):
    """A tax file whose weight lies with one kind of return gives that kind of value."""
    base, donor, _ = stage
    marked = np.arange(len(donor["weight"])) % 2 == 0
    donor = donor | {
        "casualty_loss": np.where(marked, 5.0, 0.0),
        "weight": np.where(marked, 99.0, 1.0),
    }
    result = impute(base, donor, seed=3, options=OPTIONS)
    assert (result["casualty_loss"] == 5).mean() > 0.95


def test_sequential_draws_fill_the_same_variables(stage):
    """The chain of single variables gives donor values for all 69."""
    base, donor, _ = stage
    options = PufOptions(forest=ForestOptions(trees=1), grouping="sequential")
    result = impute(base.take_households(np.arange(12)), donor, seed=3, options=options).check()
    for v in puf_variables():
        values = result[v.name]
        half = result[f"{v.entity}_id"] % 2 == 1
        assert np.isin(values[half], donor[v.name]).all(), v.name


# -- what does not matter --------------------------------------------------------------


def test_the_order_of_rows_means_nothing(stage):
    """Survey and tax file in another order give the same result, bit for bit."""
    base, donor, result = stage
    rng = np.random.default_rng(0)
    tables = {}
    for entity, table in base.tables.items():
        order = rng.permutation(base.size(entity))
        tables[entity] = {name: values[order] for name, values in table.items()}
    order = rng.permutation(len(donor["weight"]))
    again = impute(
        Dataset(2024, tables), {n: v[order] for n, v in donor.items()}, seed=3, options=OPTIONS
    )
    for name in result.names():
        assert np.array_equal(result[name], again[name]), name


def test_a_newcomer_changes_nobodys_draws(stage):
    """With more households in the survey, those already there keep their 69 variables."""
    base, donor, result = stage
    fewer = impute(base.take_households(np.arange(25)), donor, seed=3, options=OPTIONS)
    kept = np.isin(result["person_household_id"], fewer["household_id"])
    units = np.isin(result["tax_unit_id"], fewer["tax_unit_id"])
    for v in puf_variables():
        rows = kept if v.entity == "person" else units
        assert np.array_equal(result[v.name][rows], fewer[v.name]), v.name


# -- Social Security -------------------------------------------------------------------


def test_parts_sum_to_the_total_in_every_record(stage):
    """The parts of the PUF half are 0 or more and add up to its imputed total."""
    result = stage[2]
    clone = halves(result)[1]
    parts = np.column_stack([result[p] for p in PARTS])[clone]
    total = result["social_security"][clone]
    assert (total > 0).sum() > 10
    assert (parts >= 0).all()
    assert np.abs(parts.sum(axis=1) - total).max() <= 1e-6
    assert (parts[total == 0] == 0).all()
    assert len(np.unique(parts.argmax(axis=1)[total > 0])) >= 3  # drawn, not all one kind


def test_parts_sum_to_the_total_on_the_survey_s_half_too(stage):
    """The CPS half keeps the survey's parts, and they are those of its total."""
    result = stage[2]
    survey = ~halves(result)[1]
    parts = np.column_stack([result[p] for p in PARTS])[survey]
    total = result["social_security"][survey]
    assert (total > 0).sum() > 10
    assert np.abs(parts.sum(axis=1) - total).max() <= 0.01


def test_a_survey_whose_parts_do_not_add_up_is_refused(stage):
    """The message names a person, the total and the sum."""
    survey = stage[0]
    person = int(np.argmax(survey["social_security"] > 0))
    more = survey["social_security_disability"].copy()
    more[person] += 5_000
    spoilt = survey.with_columns("person", {"social_security_disability": more})
    who = survey["person_id"][person]
    with pytest.raises(ImputationError, match=rf"person {who} has social_security .* \(1 persons"):
        check_parts(spoilt)


def test_a_survey_s_cents_do_not_stay_in_the_sum(stage):
    """Parts that miss the total by rounding are made to meet it; others keep their bits."""
    survey, donor, _ = stage
    person = int(np.argmax(survey["social_security"] > 0))
    less = survey["social_security"].copy()
    less[person] -= 0.004
    result = impute(
        survey.with_columns("person", {"social_security": less}), donor, seed=3, options=OPTIONS
    )
    cps = ~halves(result)[1]
    parts = np.column_stack([result[p] for p in PARTS])[cps]
    assert np.abs(parts.sum(axis=1) - less).max() <= 1e-6
    others = np.arange(len(less)) != person
    assert np.array_equal(parts[others], np.column_stack([survey[p] for p in PARTS])[others])


def test_a_negative_part_is_refused(stage):
    """Parts that add up, one of them below 0, are no parts."""
    survey = stage[0]
    person = int(np.argmax(survey["social_security"] > 0))
    moved = {PARTS[0]: survey[PARTS[0]].copy(), PARTS[1]: survey[PARTS[1]].copy()}
    part = int(np.argmax([survey[p][person] for p in PARTS[:2]]))
    moved[PARTS[part]][person] += 1e5
    moved[PARTS[1 - part]][person] -= 1e5
    with pytest.raises(ImputationError, match="a part of social_security of -"):
        check_parts(survey.with_columns("person", moved))


def test_parts_are_drawn_and_never_the_most_frequent(stage):
    """Where three in ten recipients are survivors, whoever they are, so are three in ten clones."""
    _, donor, _ = stage
    base = survey(200)
    paid = base["social_security"]
    survivor = uniform(0, "test", base["person_id"]) < 0.3
    parts = dict.fromkeys(PARTS, np.zeros(len(paid)))
    parts |= {PARTS[0]: paid * ~survivor, PARTS[2]: paid * survivor}
    result = impute(base.with_columns("person", parts), donor, seed=3, options=OPTIONS)
    clone = halves(result)[1] & (result["social_security"] > 0)
    share = (result[PARTS[2]] > 0)[clone].mean()
    # 4 standard errors over some 150 clones, who draw from as many recipients.
    assert abs(share - 0.3) < 4 * np.sqrt(2 * 0.21 / clone.sum())


def test_an_error_while_learning_shares_is_an_error(stage, monkeypatch):
    """Nothing falls back to age because something else went wrong."""

    def broken(*_):
        raise ZeroDivisionError("inside the forest")

    monkeypatch.setattr("calibration.social_security.SequentialImputer.draw", broken)
    result = stage[2]
    with pytest.raises(ZeroDivisionError):
        impute_parts(
            result,
            demographics(result),
            result.to_person(result["household_weight"], "household"),
            halves(result)[1],
            seed=3,
            forest=OPTIONS.forest,
            min_donors=5,
        )


def test_no_later_stage_draws_what_this_one_made_consistent():
    """Variables of other donors are none of the 69, and neither parts, accounts nor weeks."""
    made = {v.name for v in puf_variables()} | {*PARTS, *ACCOUNTS, "weeks_unemployed"}
    assert not made & {name for spec in DONORS for name in spec.outputs}


def test_shares_that_vanish_follow_age():
    """A total never disappears: without shares, 62 and older is retirement, younger disability."""
    shares = np.array([[0.0, 0, 0, 0], [0, 0, -1, 0], [1, 0, 2, 0]])
    parts = split(np.array([100.0, 100.0, 90.0]), shares, np.array([62.0, 61.9, 30.0]))
    assert parts.tolist() == [[100, 0, 0, 0], [0, 100, 0, 0], [30, 0, 60, 0]]
    assert by_age(np.array([61.0, 62.0])).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_too_few_recipients_leave_it_to_age(stage):
    """With fewer donors than asked for, every clone follows the age rule."""
    base, donor, _ = stage
    options = PufOptions(forest=ForestOptions(trees=2), min_social_security_donors=10_000)
    result = impute(base, donor, seed=3, options=options)
    clone, total = halves(result)[1], result["social_security"]
    old = result["age"] >= 62
    assert np.array_equal(result[PARTS[0]][clone], (total * old)[clone])
    assert np.array_equal(result[PARTS[1]][clone], (total * ~old)[clone])


def test_a_negative_benefit_is_an_error():
    """A benefit below 0 is refused, not split."""
    with pytest.raises(ImputationError, match="social_security is -5"):
        split(np.array([-5.0]), np.ones((1, 4)), np.array([70.0]))


# -- retirement and unemployment -------------------------------------------------------


def test_limits_are_the_published_ones():
    """2024: 23,000 + 7,500; 7,000 + 1,000; 69,000. 2025: 11,250 more at 60 to 63."""
    # IRS, cost-of-living table, https://www.irs.gov/pub/irs-tege/cola-table.pdf
    ages = np.array([49.0, 50.0, 60.0, 64.0])
    assert limit("401k", 2024, ages).tolist() == [23_000] * 4
    assert limit("401k_catch_up", 2024, ages).tolist() == [0, 7_500, 7_500, 7_500]
    assert limit("401k_catch_up", 2025, ages).tolist() == [0, 7_500, 11_250, 7_500]
    assert limit("ira", 2024, ages).tolist() == [7_000] * 4
    assert limit("ira_catch_up", 2024, ages).tolist() == [0, 1_000, 1_000, 1_000]
    caps = [limit("self_employed", year, ages)[0] for year in range(2020, 2026)]
    assert caps == [57_000, 58_000, 61_000, 66_000, 69_000, 70_000]
    with pytest.raises(ImputationError, match="no retirement limit '401k' for 1999"):
        limit("401k", 1999, ages)


def test_contributions_obey_the_law():
    """Pairs share one limit; no wages, no 401(k); a loss supports no pension."""
    #                401k pair         IRA pair        own   age   wages    business
    cases = [
        ((20_000, 10_000, 0, 0, 0), 40, 90_000, 0, (15_333.33, 7_666.67, 0, 0, 0)),
        ((20_000, 10_000, 0, 0, 0), 50, 90_000, 0, (20_000, 10_000, 0, 0, 0)),
        ((5_000, 0, 3_000, 3_000, 9), 40, 0, 0, (0, 0, 0, 0, 0)),
        ((5_000, 0, 3_000, 3_000, 9), 40, 0, -4_000, (0, 0, 0, 0, 0)),
        ((5_000, 5_000, 0, 0, 0), 40, 4_000, 0, (2_000, 2_000, 0, 0, 0)),
        ((0, 0, 7_000, 7_000, 0), 40, 50_000, 0, (0, 0, 3_500, 3_500, 0)),
        ((0, 0, 0, 0, 90_000), 40, 0, 100_000, (0, 0, 0, 0, 25_000)),
        ((0, 0, 0, 0, 90_000), 40, 0, 1e6, (0, 0, 0, 0, 69_000)),
        ((-5, 0, 0, -5, -5), 40, 50_000, 1e5, (0, 0, 0, 0, 0)),
    ]  # fmt: skip
    wanted, age, wages, business, expected = (
        np.array(c, dtype=float) for c in zip(*cases, strict=True)
    )
    incomes = (
        np.maximum(wages, 0),
        np.maximum(business, 0),
        np.maximum(wages, 0) + np.maximum(business, 0),
    )
    capped = cap(dict(zip(ACCOUNTS, wanted.T, strict=True)), age, incomes, 2024)
    assert np.column_stack([capped[name] for name in ACCOUNTS]) == pytest.approx(expected, abs=0.01)


def test_imputed_contributions_obey_the_law(stage):
    """In the PUF half no one contributes more than limits and imputed earnings allow."""
    result = stage[2]
    clone = halves(result)[1]
    wages, business, couple = earnings(result)
    k401 = result[ACCOUNTS[0]] + result[ACCOUNTS[1]]
    ira = result[ACCOUNTS[2]] + result[ACCOUNTS[3]]
    assert (k401 > 0)[clone].any()
    assert (k401 <= np.minimum(30_500, wages) + 1e-6)[clone].all()
    assert (ira <= np.minimum(8_000, couple) + 1e-6)[clone].all()
    assert (result[ACCOUNTS[4]] <= np.minimum(69_000, 0.25 * business) + 1e-6)[clone].all()


def test_earnings_count_both_kinds_of_business_and_the_couple():
    """Specified service income is business income, and a spouse's IRA rests on the couple's."""
    base = survey(12)
    spouse, child = base["is_tax_unit_spouse"], base["is_tax_unit_dependent"]
    base = base.with_columns(
        "person",
        {
            "employment_income": np.where(child, 700.0, -50.0),
            "self_employment_income": np.full(base.size("person"), -1_000.0),
            "sstb_self_employment_income": np.where(spouse, 5_000.0, 0),
        },
    )
    wages, business, couple = earnings(base)
    assert np.array_equal(wages, np.where(child, 700.0, 0.0))
    assert np.array_equal(business, np.where(spouse, 4_000.0, 0.0))
    joint = demographics(base)["tax_unit_is_joint"]
    assert np.array_equal(couple, np.where(child, 700.0, np.where(joint, 4_000.0, 0.0)))


def test_weeks_follow_compensation(stage):
    """Weeks lie in 1 to 52 for who has compensation and are 0 for who has none."""
    result = stage[2]
    clone = halves(result)[1]
    paid = result["taxable_unemployment_compensation"][clone] > 0
    weeks = result["weeks_unemployed"][clone]
    assert paid.any()
    assert ((weeks >= 1) & (weeks <= 52))[paid].all()
    assert (weeks[~paid] == 0).all()


def test_an_error_while_learning_contributions_is_an_error(stage, monkeypatch):
    """Nobody contributes 0 because something went wrong."""

    def broken(*_):
        raise ZeroDivisionError("inside the forest")

    monkeypatch.setattr("calibration.retirement.SequentialImputer.fit", broken)
    result = stage[2]
    weight = result.to_person(result["household_weight"], "household")
    parts = (result, demographics(result), weight, halves(result)[1], PREDICTORS)
    with pytest.raises(ZeroDivisionError):
        impute_contributions(*parts, seed=3, forest=OPTIONS.forest)


@pytest.mark.parametrize("weeks", [-1.0, 53.0, np.nan])
def test_weeks_that_no_year_has_are_refused(stage, weeks):
    """A code for "not asked", a 53rd week and no number are errors that name the person."""
    base, donor, _ = stage
    coded = base["weeks_unemployed"].copy()
    coded[4] = weeks
    with pytest.raises(ImputationError, match=f"person 4 has weeks_unemployed {weeks:g}"):
        impute(
            base.with_columns("person", {"weeks_unemployed": coded}),
            donor,
            seed=3,
            options=PufOptions(forest=ForestOptions(trees=1)),
        )


def test_nobody_to_learn_weeks_from_is_an_error(stage):
    """A survey without unemployed people cannot say how long unemployment lasts."""
    base, donor, _ = stage
    idle = base.with_columns("person", {"weeks_unemployed": np.zeros(base.size("person"))})
    with pytest.raises(ImputationError, match="nobody to learn from"):
        impute(idle, donor, seed=3, options=OPTIONS)


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["rental_income", "age", *PARTS[:1], *ACCOUNTS[:1], "weeks_unemployed"]
)
def test_a_survey_without_what_it_must_have_is_refused(stage, name):
    """A missing survey column is an error that names it, never a column of zeros."""
    base, donor, _ = stage
    person = {n: v for n, v in base.person.items() if n != name}
    with pytest.raises(ImputationError, match=f"no column '{name}'"):
        impute(Dataset(2024, {**base.tables, "person": person}), donor, seed=3, options=OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"casualty_loss": None}, "no variable 'casualty_loss'"),
        ({"weight": None}, "no column 'weight'"),
        ({"return_id": None}, "no column 'return_id'"),
        ({"is_male": None}, "no predictor 'is_male'"),
        ({"business_is_sstb": np.zeros(500)}, "'business_is_sstb' of the tax file is float64"),
        ({"weight": np.zeros(500)}, "some above 0"),
    ],
)
def test_a_tax_file_that_does_not_fit_is_refused(stage, change, message):
    """A missing, mistyped or weightless tax file is an error that names the column."""
    base, donor, _ = stage
    broken = {n: v for n, v in (donor | change).items() if v is not None}
    with pytest.raises(ImputationError, match=message):
        impute(base, broken, seed=3, options=OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grouping": "both"}, "grouping is 'both'"),
        ({"min_social_security_donors": 0}, "min_social_security_donors is 0"),
    ],
)
def test_senseless_options_are_refused(options, message):
    """An impossible option is an error when it is made."""
    with pytest.raises(ImputationError, match=message):
        PufOptions(**options)
