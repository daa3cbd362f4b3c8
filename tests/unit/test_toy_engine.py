"""The toy engine: its table, its rules, known answers, refusals.

The known answers come from an independent model of the same law: policyengine-us 2.68.0,
run on 2026-11-22 on the same people. Monthly programs are its January times twelve.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import numpy as np
import pytest

from calibration.dataset import Array, Dataset
from calibration.engines import Engine, load_engine
from calibration.engines.toy import ENGINE, ToyEngine
from calibration.engines.toy.parameters import Parameter, Parameters, state_index
from calibration.engines.toy.rule import Rule, Run, View, rule, rules_in
from calibration.errors import EngineError

INPUTS = ENGINE.inputs
YEAR = 2024
CENT = 0.011  # policyengine-us computes in float32 and these answers are rounded to cents


@dataclass(frozen=True)
class Somebody:
    """One person: part in the tax unit, age, and whatever is not 0 or false."""

    part: str
    age: float
    has: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """One household that is one tax unit and one SPM unit, and what it gets."""

    county: str
    zip_code: str
    people: tuple[Somebody, ...]
    expected: Mapping[str, Any] = field(default_factory=dict)


def dataset(*examples: Example, **flags: bool) -> Dataset:
    """Put households into one dataset; everybody takes everything up unless flagged."""
    home = np.repeat(np.arange(len(examples)), [len(example.people) for example in examples])
    everybody = [person for example in examples for person in example.people]
    ids = np.arange(len(examples))
    tables: dict[str, dict[str, Array]] = {
        "person": {"person_id": np.arange(len(home))},
        "household": {"household_id": ids},
        "tax_unit": {"tax_unit_id": ids},
        "spm_unit": {"spm_unit_id": ids},
    }
    for entity in ("household", "tax_unit", "spm_unit"):
        tables["person"][f"person_{entity}_id"] = home
    for name, variable in INPUTS.items():
        kind = {"bool": bool, "float": float, "int": int, "str": "U5"}[variable.kind]
        size = len(home) if variable.entity == "person" else len(ids)
        column = np.full(size, flags.get(name, name.startswith("takes_up")) if kind is bool else 0)
        tables[variable.entity][name] = column.astype(kind)
    person, household, unit = tables["person"], tables["household"], tables["tax_unit"]
    person["age"] = np.array([somebody.age for somebody in everybody], dtype=float)
    for part in ("head", "spouse", "dependent"):
        person[f"is_tax_unit_{part}"] = np.array([one.part == part for one in everybody])
    for row, somebody in enumerate(everybody):
        for name, value in somebody.has.items():
            if name in person:
                person[name][row] = value
            else:
                unit[name][home[row]] = value
    household["county_fips"] = np.array([example.county for example in examples])
    household["zip_code"] = np.array([example.zip_code for example in examples])
    household["state_fips"] = np.array([int(example.county[:2]) for example in examples])
    return Dataset(YEAR, tables).check()


def simulate(data: Dataset, *names: str) -> dict[str, Array]:
    """Run the engine for the dataset's own year."""
    return ENGINE.simulate(data, names, YEAR)


def one(example: Example, name: str, **flags: bool) -> float:
    """Give one output of one household of one unit or one person."""
    (value,) = simulate(dataset(example, **flags), name)[name]
    return float(value)


def alone(age: float, county: str = "37183", zip_code: str = "27601", **has: float) -> Example:
    """Make a household of one."""
    return Example(county, zip_code, (Somebody("head", age, has),))


# -- the engine as calibration sees it ---------------------------------------------------


def test_it_is_an_engine():
    """`load_engine` finds it, and it has every part of the protocol."""
    engine = load_engine("toy")
    assert isinstance(engine, Engine)
    assert isinstance(engine, ToyEngine)
    assert engine.name == "toy"
    assert engine.version == "toy-2024.1"


def test_outputs_have_the_rows_and_the_type_they_declare():
    """Each output has the rows of its entity and the NumPy type of its kind."""
    data = dataset(*EXAMPLES.values())
    kinds = {"float": np.float64, "int": np.int64, "bool": np.bool_}
    for name, values in simulate(data, *ENGINE.outputs).items():
        variable = ENGINE.outputs[name]
        assert values.shape == (data.size(variable.entity),), name
        assert values.dtype == kinds[variable.kind], name
        assert np.isfinite(values).all(), name


def test_variables_speak_for_themselves():
    """Every output has a label, a source and a note; no name is an input and an output."""
    assert not INPUTS.keys() & ENGINE.outputs.keys()
    for name, variable in (*INPUTS.items(), *ENGINE.outputs.items()):
        assert variable.name == name
        assert variable.label
    for name, found in ENGINE.rules.items():
        assert found.source, name
        assert found.note.strip(), name


def test_dependencies_are_followed_to_the_inputs():
    """SNAP depends on who takes up SSI and TANF; federal income tax knows no county."""
    snap = ENGINE.outputs["snap"].inputs
    assert {"takes_up_ssi_if_eligible", "takes_up_tanf_if_eligible", "rent"} <= snap
    assert "county_fips" not in snap
    assert {"county_fips", "zip_code", "has_esi", "stock_assets"} <= ENGINE.outputs[
        "assigned_aca_ptc"
    ].inputs
    assert "takes_up_eitc" in ENGINE.outputs["income_tax"].inputs
    geography = {"state_fips", "county_fips", "zip_code"}
    for name in ("adjusted_gross_income", "tax_unit_is_filer", "ssi"):
        assert not ENGINE.outputs[name].inputs & geography, name
    assert not INPUTS["rent"].inputs


class Counting(Mapping[str, Array]):
    """A table that counts how often each column is read."""

    def __init__(self, table: Mapping[str, Array]) -> None:
        self.table = table
        self.reads: Counter[str] = Counter()

    def __getitem__(self, name: str) -> Array:
        self.reads[name] += 1
        return self.table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


@pytest.mark.parametrize("name", ["ssi", "snap", "income_tax", "assigned_aca_ptc"])
def test_each_input_column_is_read_once_and_no_other_is_read(name):
    """Of the inputs, a simulation touches exactly those the output declares."""
    data = dataset(*EXAMPLES.values())
    tables = {entity: Counting(table) for entity, table in data.tables.items()}
    ENGINE.simulate(Dataset(YEAR, tables), [name], YEAR)
    reads = Counter[str]()
    for table in tables.values():
        reads += table.reads
    assert {n for n in reads if n in INPUTS} == ENGINE.outputs[name].inputs
    assert {reads[n] for n in ENGINE.outputs[name].inputs} == {1}


def test_nothing_that_it_is_given_is_changed():
    """Columns may be write-protected, and what comes back is."""
    data = dataset(*EXAMPLES.values())
    for table in data.tables.values():
        for column in table.values():
            column.flags.writeable = False
    values = simulate(data, *ENGINE.outputs)
    assert not any(column.flags.writeable for column in values.values())


def test_amounts_may_be_stored_in_single_precision():
    """Float32 columns give what their values give in float64, in float64."""
    data = dataset(*EXAMPLES.values())
    single = {
        name: column.astype(np.float32)
        for name, column in data.person.items()
        if column.dtype == np.float64
    }
    double = {name: column.astype(np.float64) for name, column in single.items()}
    names = tuple(ENGINE.outputs)
    of_single = simulate(data.with_columns("person", single), *names)
    of_double = simulate(data.with_columns("person", double), *names)
    for name in names:
        assert of_single[name].dtype == of_double[name].dtype
        np.testing.assert_array_equal(of_single[name], of_double[name], err_msg=name)


def test_an_empty_dataset_has_empty_answers():
    """No households, no values, no error."""
    data = dataset(alone(40)).take_households(np.zeros(0, dtype=np.int64))
    for name, values in simulate(data, *ENGINE.outputs).items():
        assert len(values) == 0, name


# -- known answers -----------------------------------------------------------------------

# fmt: off
EXAMPLES = {
    "nc_mother_of_two": Example("37183", "27601", (
        Somebody("head", 31, {
            "employment_income": 24000, "rent": 11400, "bank_account_assets": 800}),
        Somebody("dependent", 8),
        Somebody("dependent", 3),
    ), {
        "adjusted_gross_income": 24000, "taxable_income": 2100, "eitc": 6690.43, "ctc": 3435,
        "refundable_ctc": 3225, "income_tax": -9915.43, "assigned_aca_ptc": 0, "snap": 6564,
        "medicaid_eligible": [True, True, True],
    }),
    "ut_couple_with_three": Example("49035", "84101", (
        Somebody("head", 38, {
            "employment_income": 39000, "deductible_mortgage_interest": 9000,
            "real_estate_taxes": 2100}),
        Somebody("spouse", 36, {"employment_income": 8000}),
        Somebody("dependent", 14),
        Somebody("dependent", 10),
        Somebody("dependent", 5),
    ), {
        "adjusted_gross_income": 47000, "taxable_income": 17800, "eitc": 4173.98, "ctc": 6000,
        "refundable_ctc": 4220, "income_tax": -8393.98, "assigned_aca_ptc": 0, "snap": 0,
        "medicaid_eligible": [True, True, True, True, True],
    }),
    "ca_self_employed": Example("06001", "94601", (
        Somebody("head", 40, {
            "self_employment_income": 65000, "taxable_interest_income": 1200,
            "self_employed_health_insurance_ald": 4000, "health_savings_account_ald": 2000,
            "rent": 24000}),
    ), {
        "adjusted_gross_income": 55607.9, "qualified_business_income_deduction": 8201.58,
        "taxable_income": 32806.32, "eitc": 0, "income_tax": 3704.76, "assigned_aca_ptc": 2513.89,
        "snap": 0, "medicaid_eligible": [False],
    }),
    "nc_retired_couple": Example("37119", "28202", (
        Somebody("head", 70, {
            "social_security": 22000, "taxable_pension_income": 25000,
            "long_term_capital_gains": 8000, "qualified_dividend_income": 3000}),
        Somebody("spouse", 67, {
            "social_security": 12000, "tax_exempt_interest_income": 1500,
            "taxable_ira_distributions": 6000}),
    ), {
        "adjusted_gross_income": 62025, "tax_unit_taxable_social_security": 20025,
        "taxable_income": 29725, "eitc": 0, "income_tax": 1872.5, "state_income_tax": 742.5,
        "assigned_aca_ptc": 0, "snap": 0, "medicaid_eligible": [False, False],
    }),
    "ut_investors": Example("49011", "84010", (
        Somebody("head", 50, {
            "employment_income": 310000, "qualified_dividend_income": 30000,
            "long_term_capital_gains": 120000, "short_term_capital_gains": -20000,
            "taxable_interest_income": 9000}),
        Somebody("spouse", 49, {"employment_income": 95000, "rental_income": 14000}),
        Somebody("dependent", 16),
        Somebody("dependent", 19),
    ), {
        "adjusted_gross_income": 558000, "taxable_income": 528800,
        "net_investment_income_tax": 5814, "eitc": 0, "income_tax": 108303, "assigned_aca_ptc": 0,
        "snap": 0, "medicaid_eligible": [False, False, False, False],
    }),
    "nc_itemizer": Example("37135", "27514", (
        Somebody("head", 45, {
            "employment_income": 160000, "deductible_mortgage_interest": 21000,
            "real_estate_taxes": 12000, "charitable_cash_donations": 9000,
            "charitable_non_cash_donations": 2500}),
        Somebody("dependent", 12),
    ), {
        "adjusted_gross_income": 160000, "taxable_income": 117500, "eitc": 0, "ctc": 2000,
        "income_tax": 17549, "state_income_tax": 5782.5, "assigned_aca_ptc": 0, "snap": 0,
        "medicaid_eligible": [False, False],
    }),
    "ut_teacher_with_losses": Example("49057", "84401", (
        Somebody("head", 29, {
            "employment_income": 86500, "educator_expense": 450, "student_loan_interest": 3100,
            "long_term_capital_gains": -9000, "rental_income": -4000}),
    ), {
        "adjusted_gross_income": 76700, "taxable_income": 62100, "eitc": 0, "income_tax": 8715,
        "assigned_aca_ptc": 0, "snap": 0, "medicaid_eligible": [False],
    }),
    "nc_four_children": Example("37063", "27701", (
        Somebody("head", 40, {"employment_income": 16000}),
        Somebody("spouse", 41, {"self_employment_income": 14000}),
        Somebody("dependent", 16),
        Somebody("dependent", 12),
        Somebody("dependent", 9),
        Somebody("dependent", 1),
    ), {
        "adjusted_gross_income": 29010.93, "eitc": 7830, "ctc": 3976.64,
        "refundable_ctc": 3976.64, "income_tax": -11806.64, "assigned_aca_ptc": 0, "snap": 10428,
        "medicaid_eligible": [True, True, True, True, True, True],
    }),
    "ca_owner_over_threshold": Example("06029", "93301", (
        Somebody("head", 55, {
            "partnership_s_corp_income": 90000, "employment_income": 120000, "farm_income": 20000}),
    ), {
        "adjusted_gross_income": 228587.05, "qualified_business_income_deduction": 12145.66,
        "taxable_income": 201841.39, "eitc": 0, "income_tax": 42275.75, "assigned_aca_ptc": 0,
        "snap": 0,
        "medicaid_eligible": [False],
    }),
    "nc_pensioner_with_three": Example("37119", "28202", (
        Somebody("head", 61, {
            "employment_income": 4000, "taxable_pension_income": 60000, "has_esi": True}),
        Somebody("dependent", 16),
        Somebody("dependent", 15),
        Somebody("dependent", 13),
    ), {
        "adjusted_gross_income": 64000, "taxable_income": 42100, "eitc": 0, "ctc": 5027,
        "refundable_ctc": 306, "income_tax": -306, "state_income_tax": 1816.88,
        "assigned_aca_ptc": 0,
        "snap": 0, "medicaid_eligible": [False, True, True, True],
    }),
    "dc_aged_alone": Example("11001", "20001", (
        Somebody("head", 72, {"social_security": 7200, "rent": 9600, "bank_account_assets": 900}),
    ), {
        "eitc": 0, "income_tax": 0, "dc_ptc": 1375, "assigned_aca_ptc": 0, "snap": 3492,
        "ssi": [4356.0], "medicaid_eligible": [True],
    }),
    "nc_aged_couple": Example("37119", "28202", (
        Somebody("head", 74, {"social_security": 6000, "rent": 12000}),
        Somebody("spouse", 69, {
            "social_security": 3000, "employment_income": 2400, "bank_account_assets": 1500}),
    ), {
        "adjusted_gross_income": 2400, "eitc": 0, "income_tax": 0, "assigned_aca_ptc": 0,
        "snap": 5148,
        "ssi": [3705.0, 3705.0], "medicaid_eligible": [True, True],
    }),
    "ut_disabled_worker": Example("49049", "84601", (
        Somebody("head", 45, {"is_disabled": True, "employment_income": 9000, "rent": 7200}),
    ), {
        "adjusted_gross_income": 9000, "eitc": 632, "income_tax": -632, "assigned_aca_ptc": 0,
        "snap": 1992, "ssi": [7326.0], "medicaid_eligible": [True],
    }),
    "nc_disabled_child": Example("37183", "27601", (
        Somebody("head", 39, {"employment_income": 27000, "rent": 10800}),
        Somebody("spouse", 37, {"employment_income": 9000}),
        Somebody("dependent", 9, {"is_disabled": True}),
        Somebody("dependent", 6),
    ), {
        "adjusted_gross_income": 36000, "taxable_income": 6800, "eitc": 5620.58, "ctc": 4000,
        "refundable_ctc": 3320, "income_tax": -8940.58, "state_income_tax": 202.5,
        "assigned_aca_ptc": 0,
        "snap": 756, "ssi": [0.0, 0.0, 11316.0, 0.0],
        "medicaid_eligible": [True, True, True, True],
    }),
    "ca_disabled_husband": Example("06037", "90012", (
        Somebody("head", 50, {"is_disabled": True, "rent": 13200}),
        Somebody("spouse", 48, {"employment_income": 14000}),
    ), {
        "adjusted_gross_income": 14000, "eitc": 632, "income_tax": -632, "assigned_aca_ptc": 0,
        "snap": 3828, "ssi": [10490.0, 0.0], "medicaid_eligible": [True, True],
    }),
    "ak_mother": Example("02020", "99501", (
        Somebody("head", 27, {"employment_income": 6000, "rent": 9600}),
        Somebody("dependent", 2),
    ), {
        "adjusted_gross_income": 6000, "eitc": 2040, "ctc": 525, "refundable_ctc": 525,
        "income_tax": -2565, "assigned_aca_ptc": 0, "snap": 8232, "tanf": 8577,
        "medicaid_eligible": [True, True],
    }),
    "nc_mother_without_work": Example("37063", "27701", (
        Somebody("head", 24, {"rent": 6000}),
        Somebody("dependent", 4),
        Somebody("dependent", 1),
    ), {
        "eitc": 0, "income_tax": 0, "assigned_aca_ptc": 0, "snap": 9192, "tanf": 3264,
        "medicaid_eligible": [True, True, True],
    }),
    "dc_renter": Example("11001", "20001", (
        Somebody("head", 35, {"employment_income": 48000, "rent": 21600}),
    ), {
        "adjusted_gross_income": 48000, "taxable_income": 33400, "eitc": 0, "income_tax": 3776,
        "dc_ptc": 1375, "assigned_aca_ptc": 2509.99, "snap": 0,
        "medicaid_eligible": [False],
    }),
    "nc_uninsured": Example("37183", "27601", (
        Somebody("head", 40, {"employment_income": 30000}),
    ), {
        "adjusted_gross_income": 30000, "taxable_income": 15400, "eitc": 0, "income_tax": 1616,
        "state_income_tax": 776.25, "assigned_aca_ptc": 4772.79, "snap": 0,
        "medicaid_eligible": [False],
    }),
    "la_family_east": Example("06037", "91101", (
        Somebody("head", 47, {"employment_income": 95000}),
        Somebody("spouse", 45),
        Somebody("dependent", 17),
        Somebody("dependent", 16),
    ), {
        "adjusted_gross_income": 95000, "taxable_income": 65800, "eitc": 0, "ctc": 2500,
        "income_tax": 4932, "assigned_aca_ptc": 10613.83, "snap": 0,
        "medicaid_eligible": [False, False, False, False],
    }),
    "la_family_west": Example("06037", "90012", (
        Somebody("head", 47, {"employment_income": 95000}),
        Somebody("spouse", 45),
        Somebody("dependent", 17),
        Somebody("dependent", 16),
    ), {
        "adjusted_gross_income": 95000, "taxable_income": 65800, "eitc": 0, "ctc": 2500,
        "income_tax": 4932, "assigned_aca_ptc": 13371.29, "snap": 0,
        "medicaid_eligible": [False, False, False, False],
    }),
    "dc_near_retirement": Example("11001", "20001", (
        Somebody("head", 62, {
            "taxable_pension_income": 41000, "taxable_unemployment_compensation": 3000}),
    ), {
        "adjusted_gross_income": 44000, "taxable_income": 29400, "eitc": 0, "income_tax": 3296,
        "assigned_aca_ptc": 11635.71, "snap": 0, "medicaid_eligible": [False],
    }),
}
# fmt: on


@pytest.mark.parametrize("name", EXAMPLES)
def test_known_answers(name):
    """The engine pays and taxes as policyengine-us does.

    Premiums differ by cents: that model rounds the factors of the age curve to four digits
    over the factor of a child.
    """
    example = EXAMPLES[name]
    values = simulate(dataset(example), *example.expected)
    for variable, expected in example.expected.items():
        tolerance = 0.3 if variable == "assigned_aca_ptc" else CENT
        found = values[variable]
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=variable)


def test_expected_households_do_not_influence_each_other():
    """All examples in one dataset give what each gives alone, bit for bit."""
    names = tuple(ENGINE.outputs)
    together = dataset(*EXAMPLES.values())
    values = simulate(together, *names)
    for row, example in enumerate(EXAMPLES.values()):
        own = simulate(dataset(example), *names)
        for name in names:
            of_row = together.household_of(ENGINE.outputs[name].entity) == row
            np.testing.assert_array_equal(values[name][of_row], own[name], err_msg=name)


def test_sums_do_not_depend_on_how_many_people_there_are():
    """A person with every income has bitwise the same alone and among others.

    NumPy adds a column of many numbers pairwise and a table of them row by row; a sum over
    incomes must not go the one way for one person and the other for two.
    """
    rng = np.random.default_rng(0)
    incomes = [name for name, v in INPUTS.items() if v.unit == "USD/year" and v.entity == "person"]
    crowd = [
        alone(40, **dict(zip(incomes, np.exp(rng.uniform(0, 12, len(incomes))), strict=True)))
        for _ in range(30)
    ]
    together = simulate(dataset(*crowd), *ENGINE.outputs)
    for row, someone in enumerate(crowd):
        own = simulate(dataset(someone), *ENGINE.outputs)
        for name, values in own.items():
            assert values[0] == together[name][row], name


def test_a_deeming_spouse_never_raises_ssi():
    """A disabled man with wages gets no more because his wife earns (POMS SI 01320.400).

    policyengine-us 2.68.0 pays him 11,316, the full rate, as if he earned nothing.
    """
    him = Somebody("head", 40, {"is_disabled": True, "employment_income": 3000})
    her = Somebody("spouse", 40, {"employment_income": 7500})
    pair = Example("06037", "90012", (him, her))
    bachelor = Example("06037", "90012", (him,))
    with_her = simulate(dataset(pair), "ssi", "is_ssi_spousal_deeming")
    assert with_her["is_ssi_spousal_deeming"].tolist() == [True, False]
    assert with_her["ssi"][0] == one(bachelor, "ssi") == 12 * 943 - (3000 - 12 * 85) / 2


def test_alaska_has_its_own_poverty_line_for_the_credit():
    """The guideline of 2023 for Alaska, 18,210, decides the contribution there.

    policyengine-us 2.68.0 takes the line of the lower 48 when the file gives the state for
    2024 only, because it asks for the line of the year before.
    """
    level = 40_000 / 18_210
    share = 0.02 + (np.floor(100 * level) / 100 - 2) / 0.5 * 0.02
    someone = alone(40, "02020", "99501", employment_income=40_000)
    benchmark = 12 * 514 * 1.278 / 0.765
    assert one(someone, "assigned_aca_ptc") == pytest.approx(benchmark - share * 40_000, abs=1e-9)


@pytest.mark.parametrize(
    ("income", "credit"),
    [(0, 0), (8259, 8259 * 0.0765), (10_330, 632), (14_000, 632 - 0.0765 * 3670), (18_592, 0)],
)
def test_the_eitc_without_children(income, credit):
    """26 U.S.C. 32(b) and Rev. Proc. 2023-34: 632 at most, gone at 18,591."""
    assert one(alone(40, employment_income=income), "eitc") == pytest.approx(credit, abs=0.01)


@pytest.mark.parametrize(("age", "claims"), [(24.9, False), (25, True), (64.9, True), (65, False)])
def test_the_eitc_without_children_is_for_working_ages(age, claims):
    """From 25 to under 65: 26 U.S.C. 32(c)(1)(A)(ii)(II)."""
    assert (one(alone(age, employment_income=9000), "eitc") > 0) is claims


@pytest.mark.parametrize(
    ("benefits", "other", "taxable"),
    [(20_000, 10_000, 0), (20_000, 20_000, 2500), (20_000, 24_000, 4500), (20_000, 60_000, 17_000)],
)
def test_taxable_social_security(benefits, other, taxable):
    """26 U.S.C. 86 for a single person: half over 25,000, 85 percent over 34,000."""
    someone = alone(70, social_security=benefits, taxable_pension_income=other)
    assert one(someone, "tax_unit_taxable_social_security") == pytest.approx(taxable)


def test_the_brackets_of_a_single_person():
    """Rev. Proc. 2023-34 section 3.01, table 3: tax at the top of each bracket."""
    printed = {11_600: 1160, 47_150: 5426, 100_525: 17_168.5, 191_950: 39_110.5, 243_725: 55_678.5,
               609_350: 183_647.25}  # fmt: skip
    for taxable, tax in printed.items():
        someone = alone(40, employment_income=taxable + 14_600)
        assert one(someone, "taxable_income") == taxable
        assert one(someone, "income_tax_before_credits") == pytest.approx(tax, abs=1e-6)


def test_gains_are_never_taxed_above_ordinary_rates():
    """Between 47,025 and 47,150 the 12 percent bracket is below the 15 percent on gains."""
    someone = alone(40, employment_income=47_000 + 14_600, long_term_capital_gains=150)
    assert one(someone, "income_tax_before_credits") == pytest.approx(5426)


def test_a_disabled_child_counts_at_any_age():
    """26 U.S.C. 152(c)(3)(B): a disabled dependent of 30 is a qualifying child."""
    parent = Somebody("head", 55, {"employment_income": 20_000})
    for disabled in (True, False):
        son = Somebody("dependent", 30, {"is_disabled": disabled})
        home = Example("37183", "27601", (parent, son))
        assert one(home, "eitc_child_count") == disabled


def test_snap_asks_for_assets_where_the_state_has_no_broad_category():
    """7 U.S.C. 2014(g): 2,750 dollars in Alaska and Utah; California does not ask."""
    for county, zip_code, eligible in (("02020", "99501", False), ("49035", "84101", False),
                                       ("06001", "94601", True)):  # fmt: skip
        rich = alone(40, county, zip_code, bank_account_assets=2751)
        assert one(rich, "is_snap_eligible") == eligible
        assert one(alone(40, county, zip_code, bank_account_assets=2750), "is_snap_eligible")


@pytest.mark.parametrize(("earned", "paid"), [(843, 531 - (843 - 100) / 2), (844, 0)])
def test_tanf_of_utah_has_a_gross_income_limit(earned, paid):
    """185 percent of the needs budget of two, 456 dollars: R986-200-239(1)."""
    mother = Somebody("head", 30, {"employment_income": 12 * earned})
    home = Example("49035", "84101", (mother, Somebody("dependent", 5)))
    assert one(home, "tanf") == pytest.approx(12 * paid)


# -- who files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "flags", "files"),
    [
        ({"employment_income": 14_600}, {"takes_up_eitc": False}, False),
        ({"employment_income": 14_601}, {"takes_up_eitc": False}, True),
        ({"self_employment_income": 433}, {"takes_up_eitc": False}, False),
        ({"self_employment_income": 434}, {"takes_up_eitc": False}, True),
        ({"farm_income": 434}, {"takes_up_eitc": False}, True),
        ({"employment_income": 9000}, {}, True),
        ({"employment_income": 9000}, {"takes_up_eitc": False}, False),
        ({"employment_income": 9000}, {"takes_up_eitc": False, "would": True}, True),
        ({"social_security": 60_000}, {}, False),
    ],
)
def test_who_files(has, flags, files):
    """Gross income over the standard deduction, 400 of net earnings, a credit, or a wish.

    400 of net earnings are 433.13 of profit: 26 U.S.C. 1402(a)(12) lets 7.65 percent off.
    """
    data = dataset(alone(40, **has), takes_up_eitc=flags.get("takes_up_eitc", True),
                   would_file_taxes_voluntarily=flags.get("would", False))  # fmt: skip
    assert simulate(data, "tax_unit_is_filer")["tax_unit_is_filer"].tolist() == [files]


def test_tax_is_computed_whether_or_not_a_unit_files():
    """A unit that claims no credit and need not file still has an AGI."""
    data = dataset(alone(40, employment_income=9000), takes_up_eitc=False)
    values = simulate(data, "tax_unit_is_filer", "adjusted_gross_income", "eitc")
    assert [values[name][0] for name in values] == [False, 9000, 0]


# -- takeup ------------------------------------------------------------------------------

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


@pytest.mark.parametrize(("flag", "benefit"), BY_FLAG.items())
def test_a_benefit_is_eligibility_times_its_flag(flag, benefit):
    """With the flag somebody gets something; without it, nobody anything."""
    assert simulate(dataset(*EXAMPLES.values()), benefit)[benefit].any()
    assert not simulate(dataset(*EXAMPLES.values(), **{flag: False}), benefit)[benefit].any()


def test_snap_counts_what_is_really_received():
    """Who does not claim SSI or TANF has less income and more SNAP."""
    aged = EXAMPLES["nc_aged_couple"]
    assert one(aged, "snap", takes_up_ssi_if_eligible=False) > one(aged, "snap")
    mother = EXAMPLES["nc_mother_of_two"]
    poor = Example(mother.county, mother.zip_code,
                   (Somebody("head", 31, {"rent": 20_000, "alimony_income": 3000}),
                    Somebody("dependent", 4)))  # fmt: skip
    unclaimed = one(poor, "snap", takes_up_tanf_if_eligible=False)
    assert one(poor, "tanf") > 0
    assert one(poor, "snap") <= unclaimed


def test_an_unclaimed_eitc_leaves_the_tax_alone():
    """Income tax is higher by just the credit that is not taken up."""
    example = EXAMPLES["ut_disabled_worker"]
    assert one(example, "income_tax", takes_up_eitc=False) == 0
    assert one(example, "income_tax") == -one(example, "eitc") == -632


def test_medicaid_costs_are_published_averages():
    """An infant in Utah costs 755 million over 216,000 (MACPAC), whoever else is there."""
    mother, child = Somebody("head", 25, {}), Somebody("dependent", 1)
    home = Example("49035", "84101", (mother, child))
    costs = simulate(dataset(home, *EXAMPLES.values()), "medicaid", "medicaid_group")
    assert costs["medicaid"][1] == pytest.approx(755e6 / 216_000)
    assert costs["medicaid_group"][:2].tolist() == [2, 1]  # a parent and a child


def test_head_start_is_for_three_to_five():
    """Early Head Start ends and Head Start begins on the third birthday."""
    children = tuple(Somebody("dependent", age) for age in (0, 2.9, 3, 5.9, 6))
    home = Example("37183", "27601", (Somebody("head", 30), *children))
    values = simulate(dataset(home), "head_start", "early_head_start")
    assert (values["head_start"] > 0).tolist() == [False, False, False, True, True, False]
    assert (values["early_head_start"] > 0).tolist() == [False, True, True, False, False, False]


# -- premiums and places -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("county", "zip_code", "age", "monthly"),
    [
        ("37183", "27601", 40, 271 * 1.278 / 0.765),
        ("37183", "27601", 14.9, 271),
        ("37183", "27601", 64.9, 271 * 3.000 / 0.765),
        ("11001", "20001", 40, 357 * 0.975 / 0.654),
        ("49035", "84101", 40, 246 * 1.479 / 0.793),
        ("06037", "91101", 40, 224 * 1.278 / 0.765),
        ("06037", "90012", 40, 261 * 1.278 / 0.765),
        ("06107", "93277", 40, 298 * 1.278 / 0.765),
    ],
)
def test_benchmark_premiums(county, zip_code, age, monthly):
    """The child's premium of the rating area along the state's age curve.

    Tulare (06107) is in area 10, as Covered California has it; policyengine-us 2.68.0 has 16.
    """
    someone = alone(age, county, zip_code, employment_income=90_000)
    assert one(someone, "slcsp") == pytest.approx(12 * monthly)


def test_of_children_only_the_three_oldest_are_rated():
    """45 CFR 147.102(c)(1), among those covered, in whatever order they stand."""
    ages = (3, 20, 16, 18, 19)
    parent = Somebody("head", 45, {"employment_income": 200_000, "has_esi": True})
    children = [Somebody("dependent", age) for age in ages]
    home = Example("37183", "27601", (parent, *children))
    oldest = (0.970 + 0.941 + 0.913) / 0.765
    assert one(home, "slcsp") == pytest.approx(12 * 271 * oldest)
    children[1] = Somebody("dependent", 20, {"has_esi": True})
    home = Example("37183", "27601", (parent, *children))
    oldest = (0.941 + 0.913 + 0.859) / 0.765
    assert one(home, "slcsp") == pytest.approx(12 * 271 * oldest)


def test_there_is_no_credit_below_the_poverty_line_or_with_other_coverage():
    """26 U.S.C. 36B(c)(1)(A), (c)(2)(B)."""
    rich = {"employment_income": 40_000}
    assert one(alone(40, **rich), "assigned_aca_ptc") > 0
    assert one(alone(40, **rich, has_esi=True), "assigned_aca_ptc") == 0
    assert one(alone(65, **rich), "assigned_aca_ptc") == 0
    assert one(alone(40, employment_income=14_000), "assigned_aca_ptc") == 0


# -- refusals ----------------------------------------------------------------------------


def message(data: Dataset, *names: str, period: int = YEAR) -> str:
    """Give the words with which the engine refuses."""
    with pytest.raises(EngineError) as refused:
        ENGINE.simulate(data, names, period)
    return str(refused.value)


def test_unknown_names_are_refused_with_a_hint():
    """A misspelt output names its neighbor; an input is said to be one."""
    data = dataset(alone(40))
    assert "'snap'" in message(data, "snapp")
    assert "is an input" in message(data, "rent")


def test_other_years_are_refused():
    """Neither rules nor amounts of another year are used."""
    data = dataset(alone(40))
    assert "2025" in message(data, "snap", period=2025)
    assert "does not age" in message(Dataset(2023, data.tables), "snap")


def test_a_missing_input_is_named():
    """The message says which column of which entity is missing."""
    data = dataset(alone(40))
    person = {name: column for name, column in data.person.items() if name != "rent"}
    assert "'rent' of the person" in message(
        Dataset(YEAR, {**data.tables, "person": person}), "snap"
    )


@pytest.mark.parametrize(
    ("entity", "name", "column"),
    [
        ("person", "is_disabled", np.zeros(1)),
        ("person", "rent", np.zeros(1, dtype=bool)),
        ("household", "state_fips", np.full(1, 37.0)),
        ("household", "county_fips", np.full(1, 37183)),
        ("person", "employment_income", np.zeros((1, 2))),
    ],
)
def test_columns_of_the_wrong_kind_are_refused(entity, name, column):
    """Numbers for flags, whole numbers for text, one value a state: each is named."""
    data = dataset(alone(40)).with_columns(entity, {name: column})
    assert repr(name) in message(data, "assigned_aca_ptc", "snap")


@pytest.mark.parametrize("name", ["snap", "tanf", "state_income_tax", "medicaid", "head_start"])
def test_other_states_are_refused_by_name(name):
    """Texas has no rules here, and the message lists the states that have them."""
    words = message(dataset(alone(40, "48201", "77001")), name)
    assert "TX" in words
    assert "AK, CA, DC, NC, UT" in words


@pytest.mark.parametrize(
    ("county", "state", "zip_code", "says"),
    [
        ("37001", 37, "27215", "37001"),
        ("6037", 6, "90012", "6037"),
        ("06037", 6, "", "rating area"),
        ("06037", 6, "94601", "946"),
        ("37183", 49, "27601", "not in state 49"),
    ],
)
def test_places_without_a_premium_are_refused(county, state, zip_code, says):
    """An unknown county, Los Angeles without a ZIP code, a county of another state."""
    data = dataset(alone(40)).with_columns(
        "household",
        {
            "county_fips": np.array([county]),
            "state_fips": np.array([state]),
            "zip_code": np.array([zip_code]),
        },
    )
    assert says in message(data, "assigned_aca_ptc")


# -- the table of parameters -------------------------------------------------------------


def test_every_number_has_a_year_a_unit_and_a_source():
    """No row of the table is anonymous, and none is from the future of the rules."""
    rows = ENGINE.parameters.rows
    assert len(rows) > 800
    for row in rows:
        assert 2022 <= row.year <= YEAR, row
        assert row.unit in {"1", "USD", "USD/year", "USD/month", "years", "persons"}, row
        assert any(letter.isdigit() for letter in row.source), row


def test_every_number_is_used_and_none_is_missing(monkeypatch):
    """The names that the rules ask for are exactly the names of the table."""
    asked = set()
    array = Parameters.array

    def recorded(self, name):
        asked.add(name)
        return array(self, name)

    monkeypatch.setattr(Parameters, "array", recorded)
    simulate(dataset(*EXAMPLES.values()), *ENGINE.outputs)
    assert asked == set(ENGINE.parameters.names)


def numbers_in(code: CodeType) -> Iterator[float]:
    """List the numbers in a function and in the functions inside it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from numbers_in(constant)
        elif isinstance(constant, int | float) and not isinstance(constant, bool):
            yield constant


@pytest.mark.parametrize("name", ENGINE.rules)
def test_rules_hold_no_numbers_of_the_law(name):
    """A rule may count to two; everything else comes from the table."""
    assert set(numbers_in(ENGINE.rules[name].compute.__code__)) <= {-1, 0, 1, 2, 0.5}


def rows(**values: float) -> tuple[Parameter, ...]:
    """Make rows of a parameter x, keys written with _ for the colon."""
    return tuple(
        Parameter(name="x", key=key.replace("_", ":"), value=value, unit="1", year=1, source="1")
        for key, value in values.items()
    )


def test_axes_follow_the_labels():
    """Statuses and states in their own order, sizes ascending, short rows filled up."""
    shuffled = Parameters(rows(joint_2=4, single_1=1, head_1=5, single_2=2, joint_1=3))
    assert shuffled.array("x").tolist() == [[1, 2], [3, 4], [5, 5]]
    assert shuffled.labels("x") == ("1", "2")
    assert Parameters(rows(UT=5, AK=1, DC=3, CA=2, NC=4)).array("x").tolist() == [1, 2, 3, 4, 5]
    assert Parameters(rows(b=1, a=2)).labels("x") == ("b", "a")
    assert not ENGINE.parameters.array("bracket_rate").flags.writeable


@pytest.mark.parametrize(
    "values", [{"single": 1, "joint": 2}, {"AK": 1, "AK_2": 2}, {"single_2": 1, "joint_1": 1}]
)
def test_gaps_in_the_table_are_refused(values):
    """A status without a number, keys of two depths, a row that does not begin."""
    with pytest.raises(EngineError):
        Parameters(rows(**values))


def test_a_key_stands_once():
    """Two rows for one key are a contradiction."""
    with pytest.raises(EngineError, match="twice"):
        Parameters(rows(single=1) + rows(single=1))


def test_a_number_that_is_not_there_is_refused():
    """The message names the nearest number that is."""
    with pytest.raises(EngineError, match="ctc_amount"):
        ENGINE.parameters.array("ctc_amonut")


def test_a_published_fraction_keeps_its_digits():
    """Alaska pays 821/1812 of what a family lacks: 7 AAC 45.523 over 45.520."""
    assert ENGINE.parameters.array("tanf_payment_share")[0] == 821 / 1812


def test_states_have_positions_by_their_letters():
    """AK, CA, DC, NC, UT are 0 to 4, in any shape."""
    assert state_index(np.array([[49, 2], [37, 11]])).tolist() == [[4, 0], [3, 2]]


# -- tax expenditures --------------------------------------------------------------------

SUFFIX = "_tax_expenditure"
DEDUCTIONS = [n.removesuffix(SUFFIX) for n in ENGINE.outputs if n.endswith(SUFFIX)]
UTAH = {"county": "49035", "zip_code": "84101"}


@pytest.mark.parametrize(
    ("deduction", "someone", "saved"),
    [
        # 20,000 itemized instead of 14,600 standard, at 22 %
        ("charitable_deduction",
         alone(40, **UTAH, employment_income=100_000, charitable_cash_donations=20_000),
         0.22 * (20_000 - 14_600)),
        # less than the standard deduction anyway
        ("charitable_deduction",
         alone(40, **UTAH, employment_income=100_000, charitable_cash_donations=10_000), 0),
        # North Carolina's tax is 4.5 % of 20,000 - 12,750 higher without the gifts, but then
        # nothing is itemized: 20,000 + 3,600 of state tax against 14,600
        ("charitable_deduction",
         alone(40, employment_income=100_000, charitable_cash_donations=20_000),
         0.22 * (23_600 - 14_600)),
        # 12,000 of property tax, capped; with 8,000 of gifts that is 18,000 against 14,600
        ("salt_deduction",
         alone(40, **UTAH, employment_income=100_000, charitable_cash_donations=8_000,
               real_estate_taxes=12_000),
         0.22 * (18_000 - 14_600)),
        # a fifth of 50,000 less half the self-employment tax and 14,600, at 12 %
        ("qualified_business_income_deduction",
         alone(40, **UTAH, self_employment_income=50_000),
         0.12 * 0.2 * (50_000 * (1 - 0.9235 * 0.153 / 2) - 14_600)),
    ],
)  # fmt: skip
def test_an_expenditure_by_hand(deduction, someone, saved):
    """The rate times what is deducted beyond what would be deducted otherwise."""
    assert one(someone, f"{deduction}{SUFFIX}") == pytest.approx(saved, abs=1e-6)


def crowd() -> Dataset:
    """Make many people with some of every amount, some of them losses."""
    rng = np.random.default_rng(1)
    amounts = [name for name, v in INPUTS.items() if v.unit == "USD/year" and v.entity == "person"]
    places = [("37183", "27601"), ("06037", "90012"), ("49035", "84101"), ("11001", "20001")]
    people = []
    for i in range(400):
        size = np.exp(rng.uniform(5, 13, len(amounts))) * (rng.random(len(amounts)) < 0.4)
        has = dict(zip(amounts, size, strict=True))
        has["self_employment_income"] *= rng.choice([-1, 1, 1])
        county, zip_code = places[i % len(places)]
        people.append(alone(rng.integers(18, 90), county, zip_code, **has))
    return dataset(*people)


@pytest.mark.parametrize("deduction", DEDUCTIONS)
def test_an_expenditure_is_the_difference_of_two_laws(deduction):
    """An engine whose law lacks the deduction takes that much more, bit for bit."""
    other = ToyEngine()
    gone = replace(ENGINE.rules[deduction], compute=lambda view: np.zeros(len(view.size())))
    other.rules = {**ENGINE.rules, deduction: gone}
    data = crowd()
    names = ["income_tax", f"{deduction}{SUFFIX}"]
    law, saved = simulate(data, *names).values()
    (reform,) = other.simulate(data, ["income_tax"], YEAR).values()
    np.testing.assert_array_equal(saved, reform - law)
    assert (saved > 1).sum() > 20
    together = simulate(data, *ENGINE.outputs)
    for name, values in zip(names, (law, saved), strict=True):
        np.testing.assert_array_equal(values, together[name])


@pytest.mark.parametrize("deduction", DEDUCTIONS)
def test_no_deduction_costs_anybody(deduction):
    """Whoever loses a deduction pays as much as before, or more."""
    assert simulate(crowd(), f"{deduction}{SUFFIX}")[f"{deduction}{SUFFIX}"].min() > -1e-8


# -- rules -------------------------------------------------------------------------------


def view_of(*needs: str, entity: str = "tax_unit", data: Dataset | None = None) -> View:
    """Make the view of a rule that needs some inputs."""
    run = Run(data or dataset(alone(40)), ENGINE.parameters, lambda name: INPUTS[name].entity)
    for name in needs:
        run.values[name] = run.dataset[name]
    declared = rule(entity=entity, needs=needs, label="", source="")(lambda _: np.zeros(1))
    return View(run, declared)


def test_a_rule_sees_what_it_declares_only():
    """Reading a variable, or a state's number, without declaring it is an error."""
    with pytest.raises(EngineError, match="'rent'"):
        view_of("age").people("rent")
    with pytest.raises(EngineError, match="state_fips"):
        view_of("age").by_state("poverty_guideline")


def test_a_unit_has_no_one_value_of_its_people():
    """A tax unit's rule must say how it gets from persons to the unit."""
    with pytest.raises(EngineError, match="people"):
        view_of("age")["age"]


def test_views_add_count_and_hand_out():
    """From persons to units and back."""
    family = Example("37183", "27601", (Somebody("head", 40), Somebody("dependent", 7)))
    view = view_of("age", "is_tax_unit_dependent", data=dataset(alone(30), family))
    assert view.sum(view.people("age")).tolist() == [30, 47]
    assert view.filers(view.people("age")).tolist() == [30, 40]
    assert view.count(view.people("age") < 18).tolist() == [0, 1]
    assert view.any(view.people("age") < 18).tolist() == [False, True]
    assert view.size().tolist() == [1, 2]
    assert view.within(view.people("age"), "household").tolist() == [30, 47, 47]


def test_rules_name_themselves():
    """A rule bears its function's name without leading underscores."""

    def _a_variable(_view: View) -> Array:
        """Say it."""
        return np.zeros(1)

    made = rule(entity="person", needs=(), label="", source="")(_a_variable)
    assert (made.name, made.note) == ("a_variable", "Say it.")
    assert rules_in({"x": made, "y": 1}) == (made,)


def test_rules_come_after_what_they_read():
    """The order of `rules` is one in which they can be computed."""
    seen = set(INPUTS)
    for name, found in ENGINE.rules.items():
        assert set(found.needs) <= seen, name
        seen.add(name)


def chain(**needs: tuple[str, ...]) -> tuple[Rule, ...]:
    """Make rules by name and needs."""
    return tuple(
        Rule(name=name, entity="person", kind="float", label="", unit="", source="", needs=read,
             compute=lambda _: np.zeros(1))
        for name, read in needs.items()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (chain(a=("b",), b=("a",)), "circle"),
        (chain(a=("nowhere",)), "nowhere"),
        (chain(a=()) + chain(a=()), "two variables"),
        (chain(rent=()), "two variables"),
    ],
)
def test_impossible_sets_of_rules_are_refused(monkeypatch, rules, says):
    """Circles, needs that nothing provides, and names that stand twice."""
    for module in ("income", "deductions", "tax_credits", "tax", "local_tax", "ssi", "benefits",
                   "snap", "medicaid"):  # fmt: skip
        monkeypatch.setattr(f"calibration.engines.toy.{module}.RULES", ())
    monkeypatch.setattr("calibration.engines.toy.marketplace.RULES", rules)
    with pytest.raises(EngineError, match=says):
        ToyEngine()
