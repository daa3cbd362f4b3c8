"""Donor surveys: who is asked, what the state changes, and what must fit."""

import numpy as np
import pytest

from calibration import source_impute
from calibration.dataset import Dataset
from calibration.errors import ImputationError
from calibration.puf_impute import double
from calibration.qrf import ForestOptions
from calibration.source_impute import DONORS, SourceOptions, impute
from calibration.source_predictors import derive

STATES = (2, 6, 11, 37)
RENTS = {2: 9.0, 6: 10.5, 11: 9.5, 37: 8.5}  # mean log rent: not in the order of the codes
OPTIONS = SourceOptions(forest=ForestOptions(trees=8, feature_share=0.7))

BY_STATE = (
    "rent",
    "real_estate_taxes",
    "hourly_wage",
    "is_paid_hourly",
    "is_union_member_or_covered",
)
FIXED = (
    "tip_income", "bank_account_assets", "stock_assets", "bond_assets",
    "net_worth", "auto_loan_balance", "auto_loan_interest",
)  # fmt: skip
INCOMES = (
    "employment_income", "self_employment_income", "social_security", "taxable_pension_income",
    "tax_exempt_pension_income", "taxable_interest_income", "tax_exempt_interest_income",
    "qualified_dividend_income", "non_qualified_dividend_income", "rental_income",
)  # fmt: skip


def amounts(rng, n, share=0.6):
    """Draw amounts that a share of people have."""
    return np.round(rng.lognormal(9, 1, n)) * (rng.random(n) < share)


def survey(households=60, seed=0):
    """Make households of one or two adults and up to three children."""
    rng = np.random.default_rng(seed)
    rows = [(h, k) for h in range(households) for k in range((1, 2, 4, 5)[h % 4])]
    h, k = (np.array(column) for column in zip(*rows, strict=True))
    n, adult = len(h), k < 2
    marital = np.where(adult, 10 * h, 10 * h + k)
    person = {
        "person_id": np.arange(n),
        "person_household_id": h,
        "person_family_id": h,
        "person_marital_unit_id": marital,
        "age": np.where(adult, rng.integers(18, 90, n), rng.integers(0, 18, n)) * 1.0,
        "is_male": rng.random(n) < 0.5,
        "is_household_head": k == 0,
        "is_hispanic": rng.random(n) < 0.3,
        "is_tipped_occupation": rng.random(n) < 0.3,
        "race": rng.integers(1, 4, n),
        "weekly_hours_worked": np.where(adult & (rng.random(n) < 0.8), 40.0, 0.0),
    }
    person |= {name: amounts(rng, n) * adult for name in INCOMES}
    ids = np.arange(households)
    tenure = np.array(["OWNED", "RENTED", "NONE"])[(ids % 7 > 3) * 1 + (ids % 29 == 28) * 1]
    return Dataset(
        2024,
        {
            "person": person,
            "household": {
                "household_id": ids,
                "household_weight": np.ones(households),
                "tenure_type": tenure,
            },
            "family": {"family_id": ids},
            "marital_unit": {"marital_unit_id": np.unique(marital)},
        },
    ).check()


def donor_tables(n=600, seed=1):
    """Make the five donors; rents have a known law by state, everything else is unrelated."""
    rng = np.random.default_rng(seed)
    flag, state = (lambda p=0.5: rng.random(n) < p), rng.choice(STATES, n)
    tenure = rng.choice(["OWNED", "RENTED", "NONE"], n, p=[0.48, 0.48, 0.04])
    common = {"weight": rng.uniform(1, 9, n), "age": rng.integers(16, 90, n) * 1.0}
    wage = amounts(rng, n, 0.8)
    log_rent = np.array([RENTS[s] for s in state]) + 0.3 * rng.standard_normal(n)
    acs = common | {
        "state_fips": state,
        "is_household_head": np.ones(n, dtype=bool),
        "is_male": flag(),
        "tenure_type": tenure,
        "household_size": rng.integers(1, 5, n),
        "rent": np.round(np.exp(log_rent)) * (tenure == "RENTED"),
        "real_estate_taxes": np.round(rng.lognormal(8, 0.4, n)) * (tenure == "OWNED"),
    }
    for name in (
        "employment_income",
        "self_employment_income",
        "social_security",
        "pension_income",
    ):
        acs[name] = amounts(rng, n)
    children = {"count_under_18": rng.integers(0, 4, n), "count_under_6": rng.integers(0, 2, n)}
    tips = common | children | {"employment_income": wage, "is_tipped_occupation": flag(0.3)}
    tips["tip_income"] = amounts(rng, n) * tips["is_tipped_occupation"] * (wage > 0)
    assets = (
        common | children | {"employment_income": wage, "is_female": flag(), "is_married": flag()}
    )
    for name in ("interest_income", "dividend_income", "rental_income", *FIXED[1:4]):
        assets[name] = amounts(rng, n)
    hours = np.where(wage > 0, rng.integers(10, 60, n), 0) * 1.0
    org = common | {
        "state_fips": state,
        "employment_income": wage,
        "weekly_hours_worked": hours,
        "is_female": flag(),
        "is_hispanic": flag(0.3),
        "race": rng.integers(1, 4, n),
        "hourly_wage": np.round(wage / np.maximum(hours * 52, 1), 2),
        "is_paid_hourly": flag() & (wage > 0),
        "is_union_member_or_covered": flag(0.1) & (wage > 0),
    }
    scf = common | {"is_female": flag(), "race": rng.integers(1, 4, n), "is_married": flag()}
    scf["own_children_in_household"] = rng.integers(0, 4, n)
    for name in ("employment_income", "interest_dividend_income", "social_security_pension_income"):
        scf[name] = 2 * amounts(rng, n)
    scf |= {"net_worth": np.round(1e5 * rng.standard_normal(n))}
    scf |= {name: amounts(rng, n, 0.3) for name in FIXED[5:]}
    return {"acs": acs, "sipp_tips": tips, "sipp_assets": assets, "org": org, "scf": scf}


@pytest.fixture(scope="module")
def stage():
    """Make a survey, the donors, and what the stage makes of them."""
    base, donors = survey(), donor_tables()
    return base, donors, impute(base, donors, states=STATES, seed=5, options=OPTIONS).check()


def without(table, *names):
    """Give a table without some columns."""
    return {name: values for name, values in table.items() if name not in names}


# -- shapes and places -----------------------------------------------------------------


def test_the_declared_donors_give_the_twelve_outputs():
    """Every output stands once, in its donor's entity, by state if the donor knows the state."""
    outputs = {name: spec for spec in DONORS for name in spec.outputs}
    assert sorted(outputs) == sorted(BY_STATE + FIXED)
    assert {name for name, spec in outputs.items() if spec.has_state} == set(BY_STATE)
    # Neither SIPP nor SCF publishes the state: no predictor of theirs may be geographic.
    assert not any("state" in p.name for spec in DONORS for p in spec.predictors)


def test_state_aware_outputs_are_by_state_and_others_are_not(stage):
    """ACS and ORG columns are (person, S); SIPP columns (person,); SCF columns (household,)."""
    _, donors, result = stage
    assert result.states == STATES
    for name in BY_STATE:
        assert result[name].shape == (result.size("person"), len(STATES))
    for name in FIXED[:4]:
        assert result[name].shape == (result.size("person"),)
    for name in FIXED[4:]:
        assert result.entity_of(name) == "household"
    for table, name in (("acs", "rent"), ("org", "is_paid_hourly"), ("scf", "net_worth")):
        assert np.isin(result[name], np.append(donors[table][name], 0)).all()
        assert result[name].dtype == donors[table][name].dtype


def test_a_column_of_that_name_is_replaced(stage):
    """An older rent, even of another entity or other states, gives way."""
    base, donors, result = stage
    old = base.with_columns("household", {"rent": np.full(60, -1.0)})
    assert np.array_equal(
        impute(old, donors, states=STATES, seed=5, options=OPTIONS)["rent"], result["rent"]
    )
    other = impute(result, donors, states=(2, 6), seed=5, options=OPTIONS)
    assert np.array_equal(other["rent"], result["rent"][:, :2])


# -- who is asked ----------------------------------------------------------------------


def test_only_renting_heads_pay_rent_and_owning_heads_taxes(stage):
    """Rent and property tax are the head's, by tenure, and 0 for everybody else."""
    _, _, result = stage
    tenure = result.to_person(result["tenure_type"], "household")
    head = result["is_household_head"]
    for name, level in (("rent", "RENTED"), ("real_estate_taxes", "OWNED")):
        asked = head & (tenure == level)
        assert asked.any()
        # Every donor asked pays something, so nobody asked draws the 0 of one who was not.
        assert (result[name][asked] > 0).all()
        assert (result[name][~asked] == 0).all()


def test_without_wages_or_hours_there_is_no_hourly_wage(stage):
    """Workers from 16 have a wage; all others have none, and are in no union."""
    _, _, result = stage
    works = (result["employment_income"] > 0) & (result["weekly_hours_worked"] > 0)
    works &= result["age"] >= 16
    assert 10 < works.sum() < result.size("person") - 10
    assert (result["hourly_wage"][works] > 0).all()
    for name in BY_STATE[2:]:
        assert not result[name][~works].any()


def test_tips_need_wages_and_children_own_nothing(stage):
    """The SIPP asks people from 15; tips are wages."""
    _, _, result = stage
    assert not result["tip_income"][result["employment_income"] == 0].any()
    assert (result["tip_income"] > 0).any()
    for name in FIXED[1:4]:
        assert not result[name][result["age"] < 15].any()
        assert (result[name] > 0).any()


# -- what the state changes ------------------------------------------------------------


def test_the_state_effect_is_recovered_where_the_donor_knows_the_state(stage):
    """Mean log rents of the same people in four states are those of the four states."""
    _, _, result = stage
    rent = result["rent"][result["rent"][:, 0] > 0]
    means = np.log(rent).mean(axis=0)
    # 25 renters: 4 standard errors of 0.3 / 5; leaves that mix states cost up to 0.1.
    assert np.abs(means - [RENTS[s] for s in STATES]).max() < 4 * 0.3 / np.sqrt(len(rent)) + 0.1
    assert np.argsort(means).tolist() == np.argsort([RENTS[s] for s in STATES]).tolist()


def test_a_state_effect_is_not_invented(stage):
    """Where donors' rents have nothing to do with the state, imputed rents have not either."""
    base, donors, _ = stage
    state = np.random.default_rng(0).permutation(donors["acs"]["state_fips"])
    acs = donors["acs"] | {"state_fips": state}
    result = impute(base, donors | {"acs": acs}, states=STATES, seed=5, options=OPTIONS)
    rent = np.log(result["rent"][result["rent"][:, 0] > 0])
    # Donor states differ by chance: 72 renters each, spread 0.8, so 4 x 0.8 / sqrt(72).
    assert np.ptp(rent.mean(axis=0)) < 4 * 0.8 * np.hypot(1 / np.sqrt(72), 1 / np.sqrt(len(rent)))
    assert np.ptp([*RENTS.values()]) > 1.9  # the true effect would be far outside


def test_draws_by_state_are_independent_draws(stage):
    """A record is drawn anew for each state, not moved up and down a scale."""
    _, _, result = stage
    taxes = result["real_estate_taxes"][result["real_estate_taxes"][:, 0] > 0]
    rank = np.argsort(np.argsort(taxes, axis=0), axis=0)
    rho = np.corrcoef(rank.T)[np.triu_indices(len(STATES), 1)]
    assert np.abs(rho).max() < 4 / np.sqrt(len(taxes))


def test_more_states_leave_the_draws_of_the_others(stage):
    """A run of two states has the very values that a run of four has for them."""
    base, donors, result = stage
    few = impute(base, donors, states=(6, 37), seed=5, options=OPTIONS)
    for name in BY_STATE:
        assert np.array_equal(few[name], result[name][:, [1, 3]])
    for name in FIXED:
        assert np.array_equal(few[name], result[name])


# -- what does not matter --------------------------------------------------------------


def test_order_and_company_mean_nothing(stage):
    """Fewer households in another order have the same values as before."""
    base, donors, result = stage
    some = np.random.default_rng(2).permutation(60)[:35]
    order = np.random.default_rng(3).permutation(600)
    shuffled = {t: {n: v[order] for n, v in table.items()} for t, table in donors.items()}
    fewer = impute(base.take_households(some), shuffled, states=STATES, seed=5, options=OPTIONS)
    fewer = fewer.sorted_by_id()
    for name in BY_STATE + FIXED:
        entity = result.entity_of(name)
        rows = np.isin(result[f"{entity}_id"], fewer[f"{entity}_id"])
        assert np.array_equal(result[name][rows], fewer[name]), name


def test_the_two_halves_of_a_household_draw_apart(stage):
    """Household ids of the halves differ, so their draws do, from the incomes of each."""
    base, donors, _ = stage
    result = impute(double(base), donors, states=STATES, seed=5, options=OPTIONS)
    worth = result["net_worth"].reshape(60, 2)
    assert (worth[:, 0] != worth[:, 1]).mean() > 0.9


def test_the_chain_of_single_outputs_draws_donor_values_too(stage):
    """One output after the other gives donor values that need not come from one row."""
    base, donors, _ = stage
    options = SourceOptions(forest=OPTIONS.forest, sequential=True)
    result = impute(base, donors, states=STATES, seed=5, options=options)
    pairs = set(zip(donors["scf"]["net_worth"], donors["scf"]["auto_loan_balance"], strict=True))
    drawn = set(zip(result["net_worth"], result["auto_loan_balance"], strict=True))
    assert not drawn <= pairs
    assert np.isin(result["net_worth"], donors["scf"]["net_worth"]).all()


# -- predictors of receivers -----------------------------------------------------------


def test_predictors_of_persons():
    """Children count children, pensions add up, and spouses are married."""
    base = survey(8)
    age = base["age"].copy()
    age[:4] = [18.0, 6.0, 17.9, 5.9]  # on the borders: 18 and 6 are not under 18 and 6
    base = base.with_columns("person", {"age": age})
    home = base["person_household_id"]
    for p in range(base.size("person")):
        members = home == home[p]
        assert derive(base, "person", "household_size")[p] == members.sum()
        assert derive(base, "person", "count_under_18")[p] == (age[members] < 18).sum()
        assert derive(base, "person", "count_under_6")[p] == (age[members] < 6).sum()
        assert (
            derive(base, "person", "is_married")[p]
            == (base["person_marital_unit_id"] == base["person_marital_unit_id"][p]).sum() - 1
        )
        assert derive(base, "person", "is_female")[p] != base["is_male"][p]
        pensions = base["taxable_pension_income"][p] + base["tax_exempt_pension_income"][p]
        assert derive(base, "person", "pension_income")[p] == pensions
        assert derive(base, "person", "tenure_type")[p] == base["tenure_type"][home[p]]


def test_predictors_of_households():
    """Households are totals of all members, with the demographics of the head."""
    base = survey(8)
    # The head of household 3 stands last among its members.
    heads = base["is_household_head"].copy()
    members = np.flatnonzero(base["person_household_id"] == 3)
    heads[members] = members == members[1]
    base = base.with_columns("person", {"is_household_head": heads})
    expected = {name: base[name][heads] for name in ("age", "race")}
    order = np.random.default_rng(1).permutation(base.size("person"))
    person = {name: values[order] for name, values in base.person.items()}
    base = Dataset(2024, {**base.tables, "person": person})
    assert np.array_equal(derive(base, "household", "age"), expected["age"])
    assert np.array_equal(derive(base, "household", "race"), expected["race"])
    for name, parts in (
        ("employment_income", INCOMES[:1]),
        ("interest_dividend_income", INCOMES[5:9]),
        ("social_security_pension_income", INCOMES[2:5]),
    ):
        total = sum(base.sum_to("household", base[part]) for part in parts)
        assert np.array_equal(derive(base, "household", name), total)
    children = base.sum_to("household", base["age"] < 18)
    assert np.array_equal(derive(base, "household", "own_children_in_household"), children)


def test_a_teenage_head_is_not_an_own_child():
    """A head under 18 is no child of the household's own."""
    base = survey(8)
    age = np.where(base["is_household_head"], 17.0, base["age"])
    young = base.with_columns("person", {"age": age})
    expected = base.sum_to("household", base["age"] < 18)
    assert np.array_equal(derive(young, "household", "own_children_in_household"), expected)


def test_predictors_that_cannot_be_derived_are_refused(stage):
    """A missing column, an unknown rule, two heads or a by-state column is an error."""
    base, _, result = stage
    with pytest.raises(ImputationError, match="no column 'wages'"):
        derive(base, "person", "wages")
    with pytest.raises(ImputationError, match="no rule for the household predictor 'rent'"):
        derive(base, "household", "rent")
    with pytest.raises(ImputationError, match="'rent' is by state"):
        derive(result, "person", "rent")
    heads = base.with_columns("person", {"is_household_head": np.ones(base.size("person"), bool)})
    with pytest.raises(ImputationError, match="household 1 has 2 heads"):
        derive(heads, "household", "age")


# -- what must fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("acs", {"employment_income": 1_000.0}, "'employment_income' has a median size"),
        ("sipp_assets", {"interest_income": 0.001}, "'interest_income' has a median size"),
        ("acs", {"rent": None}, "donor 'acs_rent' has no column 'rent'"),
        ("scf", {"weight": None}, "donor 'scf' has no column 'weight'"),
        ("org", {"state_fips": None}, "donor 'org' has no column 'state_fips'"),
    ],
)
def test_a_donor_that_does_not_fit_is_refused(stage, table, change, message):
    """A missing column or an amount in another unit stops the stage, by name."""
    base, donors, _ = stage
    ((name, factor),) = change.items()
    broken = without(donors[table], name)
    if factor is not None:
        broken[name] = donors[table][name] * factor
    with pytest.raises(ImputationError, match=message):
        impute(base, donors | {table: broken}, states=STATES, seed=5, options=OPTIONS)


def test_a_state_without_donors_is_refused(stage):
    """A state that no ACS row comes from is an error that names it."""
    base, donors, _ = stage
    with pytest.raises(ImputationError, match="'state_fips' has 49 in"):
        impute(base, donors, states=(*STATES, 49), seed=5, options=OPTIONS)


def test_a_race_or_tenure_the_donor_never_had_is_refused(stage):
    """An unseen level stops the stage, in a predictor and in a condition of a question."""
    base, donors, _ = stage
    strange = base.with_columns("person", {"race": np.full(base.size("person"), 7)})
    with pytest.raises(ImputationError, match=r"'race' has 7 in .* donor 'org' has 1, 2, 3"):
        impute(strange, donors, states=STATES, seed=5, options=OPTIONS)
    squat = base.with_columns("household", {"tenure_type": np.full(60, "SQUAT")})
    with pytest.raises(ImputationError, match="'tenure_type' has SQUAT in"):
        impute(squat, donors, states=STATES, seed=5, options=OPTIONS)


def test_a_donor_that_asked_nobody_is_refused(stage):
    """A donor without a single row in its universe is an error, not a column of zeros."""
    base, donors, _ = stage
    idle = donors["org"] | {"weekly_hours_worked": np.zeros(600)}
    with pytest.raises(ImputationError, match="'org' has no rows"):
        impute(base, donors | {"org": idle}, states=STATES, seed=5, options=OPTIONS)


@pytest.mark.parametrize(
    ("names", "states", "message"),
    [
        (["acs", "org"], STATES, "no table for donor scf, sipp_assets, sipp_tips"),
        (["acs", "orgg"], STATES, "no donor 'orgg' is declared; did you mean 'org'"),
        (None, (), "distinct FIPS codes"),
        (None, (6, 2), "distinct FIPS codes"),
    ],
)
def test_donors_and_states_must_be_those_declared(stage, names, states, message):
    """A donor too few or too many, or states out of order, is an error."""
    base, donors, _ = stage
    chosen = donors if names is None else {name: donors.get(name, {}) for name in names}
    with pytest.raises(ImputationError, match=message):
        impute(base, chosen, states=states, seed=5, options=OPTIONS)


def test_a_column_by_other_states_is_refused(stage):
    """A dataset that is by state for other states cannot be imputed for these."""
    base, donors, _ = stage
    other = Dataset(2024, base.tables, (1, 4)).with_columns(
        "person", {"x": np.ones((len(base["age"]), 2))}
    )
    with pytest.raises(ImputationError, match="'x' is by state for"):
        impute(other, donors, states=STATES, seed=5, options=OPTIONS)


def test_fewer_donors_may_be_declared(stage):
    """A run that declares the SCF alone needs and gives the SCF alone."""
    base, donors, result = stage
    chosen = SourceOptions(forest=OPTIONS.forest, donors=DONORS[-1:])
    few = impute(base, {"scf": donors["scf"]}, states=STATES, seed=5, options=chosen)
    assert np.array_equal(few["net_worth"], result["net_worth"])
    assert "rent" not in few
    assert source_impute.DONORS[-1].name == "scf"
