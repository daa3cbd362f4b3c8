"""What a dataset must give the engine, by entity.

Names are those of PolicyEngine's US model, so that one dataset serves both engines. Amounts
are dollars a year. Some inputs are declared although no rule reads them, because every
dataset has them: anchors of takeup (`*_reported`, coverage at interview), sex, and who is
the head of a tax unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from calibration.dataset import HOUSEHOLD, PERSON
from calibration.engines import Kind, Variable

__all__ = ["INPUTS"]

_AMOUNTS = {
    "employment_income": "wages and salaries, tips included",
    "self_employment_income": "net profit of a nonfarm business",
    "taxable_interest_income": "taxable interest",
    "tax_exempt_interest_income": "tax-exempt interest",
    "qualified_dividend_income": "dividends taxed as gains",
    "non_qualified_dividend_income": "dividends taxed as ordinary income",
    "long_term_capital_gains": "net gain on assets held over a year",
    "short_term_capital_gains": "net gain on assets held up to a year",
    "rental_income": "net rents and royalties",
    "partnership_s_corp_income": "net income of partnerships and S corporations",
    "farm_income": "net profit of a farm",
    "taxable_pension_income": "taxable pensions and annuities",
    "taxable_ira_distributions": "taxable withdrawals from retirement accounts",
    "alimony_income": "alimony received under a decree of before 2019",
    "miscellaneous_income": "other taxable income",
    "taxable_unemployment_compensation": "unemployment compensation",
    "social_security": "Social Security benefits, all kinds",
    "deductible_mortgage_interest": "home mortgage interest within the debt limits",
    "charitable_cash_donations": "gifts of cash to charity",
    "charitable_non_cash_donations": "gifts of property to charity",
    "student_loan_interest": "interest paid on student loans",
    "educator_expense": "classroom expenses of a teacher",
    "alimony_expense": "alimony paid under a decree of before 2019",
    "real_estate_taxes": "property tax on the home",
    "rent": "rent paid for the home",
    "ssi_reported": "SSI reported to the survey",
}

_TAX_UNIT_AMOUNTS = {
    "self_employed_health_insurance_ald": "deductible health premiums of the self-employed",
    "health_savings_account_ald": "deductible contributions to health savings accounts",
}

_ASSETS = {
    "bank_account_assets": "money in bank accounts",
    "stock_assets": "stocks and mutual funds",
    "bond_assets": "bonds",
}

_PERSON_FLAGS = {
    "is_male": "male",
    "is_disabled": "disabled by the standards of SSI",
    "is_tax_unit_head": "files for the tax unit",
    "is_tax_unit_spouse": "files jointly with the head",
    "is_tax_unit_dependent": "a dependent of the tax unit",
    "has_esi": "covered by an employer's health plan at interview",
    "has_medicaid_health_coverage_at_interview": "covered by Medicaid at interview",
    "takes_up_medicaid_if_eligible": "enrolls in Medicaid if eligible",
    "takes_up_ssi_if_eligible": "claims SSI if eligible",
    "takes_up_head_start_if_eligible": "attends Head Start if eligible",
    "takes_up_early_head_start_if_eligible": "attends Early Head Start if eligible",
}

_SPM_UNIT_FLAGS = {
    "takes_up_snap_if_eligible": "claims SNAP if eligible",
    "takes_up_tanf_if_eligible": "claims TANF if eligible",
}

_TAX_UNIT_FLAGS = {
    "has_subsidized_marketplace_coverage_at_interview": "had subsidized Marketplace coverage",
    "takes_up_aca_if_eligible": "claims the premium tax credit if eligible",
    "takes_up_dc_ptc": "claims the DC property tax credit if eligible",
    "takes_up_eitc": "claims refundable federal credits if eligible",
    "would_file_taxes_voluntarily": "files although nothing requires it",
}


def _some(entity: str, kind: Kind, unit: str, labels: dict[str, str]) -> dict[str, Variable]:
    return {
        name: Variable(name=name, entity=entity, kind=kind, label=label, unit=unit)
        for name, label in labels.items()
    }


INPUTS: Mapping[str, Variable] = MappingProxyType(
    {
        **_some(PERSON, "float", "years", {"age": "age"}),
        **_some(PERSON, "float", "USD/year", _AMOUNTS),
        **_some(PERSON, "float", "USD", _ASSETS),
        **_some(PERSON, "bool", "", _PERSON_FLAGS),
        **_some("spm_unit", "float", "USD/year", {"snap_reported": "SNAP reported to the survey"}),
        **_some("spm_unit", "float", "USD/year", {"tanf_reported": "TANF reported to the survey"}),
        **_some("spm_unit", "bool", "", _SPM_UNIT_FLAGS),
        **_some("tax_unit", "float", "USD/year", _TAX_UNIT_AMOUNTS),
        **_some("tax_unit", "bool", "", _TAX_UNIT_FLAGS),
        **_some(HOUSEHOLD, "int", "", {"state_fips": "state, FIPS code"}),
        **_some(HOUSEHOLD, "str", "", {"county_fips": "county, five digits"}),
        **_some(HOUSEHOLD, "str", "", {"zip_code": "ZIP code, five digits"}),
    }
)
"""Every input of the engine by name."""
