"""What must hold for the toy engine on every population: dependencies, locality, law.

Populations are drawn from a seed: households of one or two SPM units of one or two tax
units, ids sparse, people scattered over the table, and amounts from nothing to wealth, so
that every threshold of the law has people on both sides.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import Array, Dataset
from calibration.engines.toy import ENGINE
from calibration.errors import EngineError

YEAR = 2024
INPUTS = ENGINE.inputs
COUNTIES = (
    "02020", "02090", "02110", "06001", "06029", "06031", "06037", "06107", "11001",
    "37063", "37119", "37135", "37183", "49005", "49011", "49035", "49049", "49057",
)  # fmt: skip
ZIP_CODES = ("90012", "91101")
LOSSES = {"self_employment_income", "farm_income", "partnership_s_corp_income", "rental_income",
          "long_term_capital_gains", "short_term_capital_gains"}  # fmt: skip

seeds = st.integers(0, 2**31)
sizes = st.integers(1, 12)
outputs = tuple(ENGINE.outputs)


def amounts(name: str, size: int, rng: np.random.Generator) -> Array:
    """Draw amounts: mostly none, some small, a few very large, losses where they exist."""
    often = 0.5 if name in {"employment_income", "rent", "bank_account_assets"} else 0.15
    value = np.exp(rng.uniform(np.log(50), np.log(400_000), size)).round(2)
    value = np.where(rng.random(size) < 0.7, np.minimum(value, 30_000), value)
    if name in LOSSES:
        value *= np.where(rng.random(size) < 0.3, -1, 1)
    return np.where(rng.random(size) < often, value, 0.0)


def ages(dependent: Array, rng: np.random.Generator) -> Array:
    """Draw ages: adults of all ages, dependents mostly children."""
    adult = rng.uniform(18, 90, len(dependent)).round(1)
    child = np.where(rng.random(len(dependent)) < 0.85, rng.uniform(0, 20, len(dependent)), adult)
    return np.where(dependent, child.round(1), adult)


def members(count: int, rng: np.random.Generator) -> list[tuple[int, int, int, str]]:
    """List people as household, SPM unit, tax unit, part in the tax unit."""
    people, spm_unit, tax_unit = [], 0, 0
    for household in range(count):
        for _ in range(1 + (rng.random() < 0.1)):
            for _ in range(1 + (rng.random() < 0.15)):
                parts = ["head"] + ["spouse"] * (rng.random() < 0.45)
                parts += ["dependent"] * int(rng.choice(6, p=[0.35, 0.2, 0.2, 0.12, 0.08, 0.05]))
                people += [(household, spm_unit, tax_unit, part) for part in parts]
                tax_unit += 1
            spm_unit += 1
    return people


def population(seed: int, count: int) -> Dataset:
    """Draw a population of some households."""
    rng = np.random.default_rng(seed)
    people = members(count, rng)
    rng.shuffle(people)
    part = np.array([person[3] for person in people])
    tables: dict[str, dict[str, Array]] = {"person": {"person_id": sparse(len(people), rng)}}
    for axis, entity in enumerate(("household", "spm_unit", "tax_unit")):
        unit = np.array([person[axis] for person in people])
        ids = sparse(unit.max() + 1, rng)
        tables[entity] = {f"{entity}_id": ids}
        tables["person"][f"person_{entity}_id"] = ids[unit]
    data = Dataset(YEAR, tables)
    for name, variable in INPUTS.items():
        size = data.size(variable.entity)
        if variable.kind == "bool":
            often = 0.7 if name.startswith("takes_up") else 0.15
            tables[variable.entity][name] = rng.random(size) < often
        elif variable.kind == "float":
            tables[variable.entity][name] = amounts(name, size, rng)
    for name in ("head", "spouse", "dependent"):
        tables["person"][f"is_tax_unit_{name}"] = part == name
    tables["person"]["age"] = ages(part == "dependent", rng)
    county = rng.choice(COUNTIES, count)
    tables["household"] |= {
        "county_fips": county,
        "zip_code": rng.choice(ZIP_CODES, count),
        "state_fips": county.astype("U2").astype(np.int64),
    }
    return data.check()


def sparse(size: int, rng: np.random.Generator) -> Array:
    """Draw ids that are neither contiguous nor in order."""
    return rng.permutation(7 * np.arange(size) + rng.integers(0, 7, size))


def perturbed(data: Dataset, name: str, seed: int) -> Dataset:
    """Change one input everywhere; flags are turned over, numbers drawn anew."""
    rng, entity, old = np.random.default_rng(seed), INPUTS[name].entity, data[name]
    if name == "state_fips":
        others = np.array([2, 6, 11, 37, 49])
        new = others[(np.searchsorted(others, old) + rng.integers(1, 5, len(old))) % 5]
    elif name == "county_fips":
        near = [[c for c in COUNTIES if c[:2] == here[:2]] for here in old.tolist()]
        new = np.array([rng.choice(counties) for counties in near])
    elif name == "zip_code":
        new = np.where(old == ZIP_CODES[0], *ZIP_CODES[::-1])
    elif name == "age":
        new = ages(data["is_tax_unit_dependent"], rng)
    else:
        new = ~old if INPUTS[name].kind == "bool" else amounts(name, len(old), rng)
    return data.with_columns(entity, {name: new})


# -- dependencies ------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(seeds, sizes, st.sampled_from(sorted(INPUTS)))
def test_an_undeclared_input_never_matters(seed, count, name):
    """Changing an input leaves every output that does not declare it bitwise as it was."""
    data = population(seed, count)
    blind = [output for output in outputs if name not in ENGINE.outputs[output].inputs]
    before = ENGINE.simulate(data, blind, YEAR)
    after = ENGINE.simulate(perturbed(data, name, seed + 1), blind, YEAR)
    for output in blind:
        np.testing.assert_array_equal(before[output], after[output], err_msg=output)


# Households for whom an input decides that hardly ever does. A head with children and a
# student loan, in DC and once in Utah: with a spouse the interest is deductible, and AGI falls
# below a limit of Medicaid or CHIP. A mother in Alaska over the income limit of SNAP and Head
# Start: with TANF she is eligible all the same. A pensioner with three children and low
# wages, so that payroll taxes less the EITC limit the child tax credit.
RARE = (
    ("11001", 3, {"employment_income": 102_000.0, "student_loan_interest": 2500.0}),
    ("11001", 5, {"employment_income": 94_000.0, "student_loan_interest": 2500.0}),
    ("11001", 5, {"employment_income": 92_000.0, "student_loan_interest": 2500.0}),
    ("49035", 7, {"employment_income": 109_500.0, "student_loan_interest": 2500.0}),
    ("02020", 1, {"employment_income": 33_000.0}),
    (
        "37183",
        3,
        {
            "employment_income": 4000.0,
            "taxable_pension_income": 56_000.0,
            "educator_expense": 300.0,
            "health_savings_account_ald": 300.0,
        },
    ),
)

# An input that another rule on the way makes irrelevant.
NEVER = {
    # student loan interest is no longer deductible where these two begin
    ("student_loan_interest", "ctc_before_tax_limit"),
    ("student_loan_interest", "net_investment_income_tax"),
    # a disabled adult raises the EITC only of units with fewer than three children, and the
    # EITC limits the child tax credit only of units with three or more
    ("is_disabled", "refundable_ctc_limit"),
    ("is_disabled", "refundable_ctc"),
    ("is_disabled", "ctc"),
    # no deduction moves the EITC, so it drops out of the difference of two laws, but for rounding
    ("is_disabled", "charitable_deduction_tax_expenditure"),
    ("is_disabled", "salt_deduction_tax_expenditure"),
    ("is_disabled", "qualified_business_income_deduction_tax_expenditure"),
}


def rare() -> Dataset:
    """Give the rare households, everybody else's inputs at 0 and all flags up."""
    home = np.repeat(np.arange(len(RARE)), [1 + children for _, children, _ in RARE])
    head = np.append(True, np.diff(home) > 0)
    ids = np.arange(len(RARE))
    tables: dict[str, dict[str, Array]] = {"person": {"person_id": np.arange(len(home))}}
    for entity in ("household", "tax_unit", "spm_unit"):
        tables[entity] = {f"{entity}_id": ids}
        tables["person"][f"person_{entity}_id"] = home
    data = Dataset(YEAR, tables)
    for name, variable in INPUTS.items():
        kind = bool if variable.kind == "bool" else float
        column = np.full(data.size(variable.entity), name.startswith("takes_up"), dtype=kind)
        tables[variable.entity][name] = column
    for place, (_, _, has) in zip(np.flatnonzero(head), RARE, strict=True):
        for name, value in has.items():
            entity = INPUTS[name].entity
            tables[entity][name][place if entity == "person" else home[place]] = value
    tables["person"]["age"] = np.where(head, 40.0, 4.0)
    tables["person"]["is_tax_unit_head"], tables["person"]["is_tax_unit_dependent"] = head, ~head
    county = np.array([county for county, _, _ in RARE])
    state = county.astype("U2").astype(np.int64)
    zip_code = np.full(len(RARE), ZIP_CODES[0])
    tables["household"] |= {"county_fips": county, "zip_code": zip_code, "state_fips": state}
    return data.check()


@cache
def many(seed: int) -> tuple[Dataset, dict[str, Array]]:
    """Give a large population, or the rare households for seed 0, and everything about them."""
    data = population(seed, 8000) if seed else rare()
    return data, ENGINE.simulate(data, outputs, YEAR)


PLACED = {output for output in outputs if "county_fips" in ENGINE.outputs[output].inputs}


@pytest.mark.parametrize("name", sorted(set().union(*(v.inputs for v in ENGINE.outputs.values()))))
def test_every_declared_input_matters(name):
    """Changing an input changes every output that declares it, of somebody.

    Two large populations and a few rare households are looked at. A state alone cannot
    change where the county counts: that it is refused shows that it is read.
    """
    waiting = [output for output in outputs if name in ENGINE.outputs[output].inputs]
    waiting = [output for output in waiting if (name, output) not in NEVER]
    if name == "state_fips":
        for output in PLACED:
            with pytest.raises(EngineError, match="not in state"):
                ENGINE.simulate(perturbed(many(1)[0], name, 2), [output], YEAR)
        waiting = [output for output in waiting if output not in PLACED]
    for seed in (0, 1, 2, 3):
        data, before = many(seed)
        after = ENGINE.simulate(perturbed(data, name, seed + 1), waiting, YEAR)
        waiting = [o for o in waiting if np.array_equal(before[o], after[o])]
    assert waiting == []


def test_few_inputs_are_read_by_no_rule():
    """Anchors of takeup, sex and the head's flag are the only inputs without a reader."""
    read = set().union(*(variable.inputs for variable in ENGINE.outputs.values()))
    assert set(INPUTS) - read == {
        "is_male",
        "is_tax_unit_head",
        "has_medicaid_health_coverage_at_interview",
        "has_subsidized_marketplace_coverage_at_interview",
        "snap_reported",
        "ssi_reported",
        "tanf_reported",
    }


# -- locality and order ------------------------------------------------------------------


def by_id(data: Dataset, values: dict[str, Array], name: str) -> dict[int, object]:
    """Give an output by the id of its unit."""
    ids = data[f"{ENGINE.outputs[name].entity}_id"]
    return dict(zip(ids.tolist(), values[name].tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(seeds, sizes, st.data())
def test_values_follow_households_not_rows(seed, count, data):
    """Any households, in any order, have bitwise the values they have among all others."""
    everybody = population(seed, count)
    order = data.draw(st.permutations(range(count)))
    kept = np.array(order[: data.draw(st.integers(1, count))])
    some = everybody.take_households(kept)
    of_all = ENGINE.simulate(everybody, outputs, YEAR)
    of_some = ENGINE.simulate(some, outputs, YEAR)
    for name in outputs:
        whole, part = by_id(everybody, of_all, name), by_id(some, of_some, name)
        assert part == {unit: whole[unit] for unit in part}, name


@settings(max_examples=20, deadline=None)
@given(seeds, sizes, st.lists(st.sampled_from(outputs), min_size=1, unique=True))
def test_what_is_asked_for_does_not_matter(seed, count, names):
    """An output is bitwise the same whichever other outputs are asked for with it."""
    data = population(seed, count)
    everything = ENGINE.simulate(data, outputs, YEAR)
    some = ENGINE.simulate(data, names, YEAR)
    assert list(some) == names
    for name in names:
        np.testing.assert_array_equal(some[name], everything[name], err_msg=name)


# -- what the law promises ---------------------------------------------------------------


def number(name: str) -> float:
    """Give a parameter that is one number."""
    return float(ENGINE.parameters.array(name))


@settings(max_examples=40, deadline=None)
@given(seeds, sizes)
def test_amounts_stay_within_the_law(seed, count):
    """No benefit is negative, none exceeds its maximum, and credits need their condition."""
    data = population(seed, count)
    v = ENGINE.simulate(data, outputs, YEAR)
    for name in ("eitc", "ctc", "ssi", "tanf", "snap", "head_start", "early_head_start",
                 "medicaid", "assigned_aca_ptc", "dc_ptc", "state_income_tax"):  # fmt: skip
        assert (v[name] >= 0).all(), name
    assert (v["eitc"] <= ENGINE.parameters.array("eitc_maximum").max()).all()
    limit = number("ctc_refundable_maximum") * v["ctc_qualifying_children"]
    assert (v["refundable_ctc"] <= limit).all()
    assert (v["ctc"] <= v["ctc_before_tax_limit"] + 1e-9).all()
    assert (v["ssi"] <= 12 * number("ssi_individual_rate")).all()
    assert (v["assigned_aca_ptc"] <= v["slcsp"]).all()
    assert (v["dc_ptc"] <= number("dc_credit_maximum")).all()
    assert (v["taxable_income"] <= np.maximum(v["adjusted_gross_income"], 0)).all()
    assert not (v["pays_aca_premium"] & v["medicaid_eligible"]).any()
    assert not ((v["head_start"] > 0) & (v["early_head_start"] > 0)).any()
    assert ((v["medicaid"] > 0) == v["medicaid_enrolled"]).all()
    assert v["medicaid_eligible"][v["ssi"] > 0].all()
    assert (v["medicaid_enrolled"] <= v["medicaid_eligible"]).all()
    assert (v["tax_unit_is_required_to_file"] <= v["tax_unit_is_filer"]).all()


def with_more(data: Dataset, name: str, seed: int) -> Dataset:
    """Raise an income of some people."""
    rng = np.random.default_rng(seed)
    return data.with_columns("person", {name: data[name] + amounts(name, len(data[name]), rng)})


def unclaimed(data: Dataset, *flags: str) -> Dataset:
    """Turn some takeup flags off."""
    for flag in flags:
        entity = INPUTS[flag].entity
        data = data.with_columns(entity, {flag: np.zeros(data.size(entity), dtype=bool)})
    return data


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from(["social_security", "alimony_income", "employment_income"]))
def test_snap_falls_with_income(seed, count, income):
    """More income never means more SNAP, as long as SSI and TANF do not move."""
    flags = ("takes_up_ssi_if_eligible", "takes_up_tanf_if_eligible")
    less = unclaimed(population(seed, count), *flags)
    more = with_more(less, income, seed + 1)
    before, after = (ENGINE.simulate(data, ["snap"], YEAR)["snap"] for data in (less, more))
    assert (after <= before).all()


@settings(max_examples=40, deadline=None)
@given(seeds, sizes)
def test_ssi_falls_with_unearned_income(seed, count):
    """Neither the claimant's nor a relative's pension ever raises SSI."""
    less = population(seed, count)
    more = with_more(less, "social_security", seed + 1)
    before, after = (ENGINE.simulate(data, ["ssi"], YEAR)["ssi"] for data in (less, more))
    assert (after <= before + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seeds, sizes)
def test_tax_rises_with_pensions(seed, count):
    """A larger pension never lowers AGI, tax before credits, or the duty to file."""
    names = ["adjusted_gross_income", "income_tax_before_credits", "tax_unit_is_required_to_file"]
    less = population(seed, count)
    more = with_more(less, "taxable_pension_income", seed + 1)
    before, after = (ENGINE.simulate(data, names, YEAR) for data in (less, more))
    for name in names:
        slack = 0 if ENGINE.outputs[name].kind == "bool" else 1e-6
        assert (after[name] >= before[name] - slack).all(), name


BY_FLAG = {
    "takes_up_snap_if_eligible": "snap",
    "takes_up_tanf_if_eligible": "tanf",
    "takes_up_ssi_if_eligible": "ssi",
    "takes_up_medicaid_if_eligible": "medicaid",
    "takes_up_head_start_if_eligible": "head_start",
    "takes_up_early_head_start_if_eligible": "early_head_start",
    "takes_up_aca_if_eligible": "assigned_aca_ptc",
    "takes_up_dc_ptc": "dc_ptc",
    "takes_up_eitc": "eitc",
}


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from(sorted(BY_FLAG)))
def test_takeup_multiplies_eligibility(seed, count, flag):
    """A benefit is its value with all flags on where the flag is on, and 0 where it is off."""
    data, benefit = population(seed, count), BY_FLAG[flag]
    on = data.with_columns(INPUTS[flag].entity, {flag: np.ones(len(data[flag]), dtype=bool)})
    values = ENGINE.simulate(data, [benefit], YEAR)[benefit]
    possible = ENGINE.simulate(on, [benefit], YEAR)[benefit]
    np.testing.assert_array_equal(values, np.where(data[flag], possible, 0))
