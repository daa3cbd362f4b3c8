"""From the columns of this package to those of the model, one visible decision each.

The columns of a survey, of its donors and of the tax file have the names under which
PolicyEngine's data work published them. The model has moved on since: what was an input is
a formula today, another name, or two columns. A formula's column in a dataset is not an
error to the model: it takes it and stops computing, silently. So each such column is renamed,
rewritten or left out here, and a column that is in no table is an error.

    RENAMED    the model's input of the same content
    REWRITTEN  the same fact in the model's form
    ALSO       one answer of the survey to two questions of the model
    LEFT_OUT   what the model computes itself, or cannot use
    KEPT       what matters to this package and not to the model: it stays in files
    ROLES      formulas of the model that a dataset may give, as the model's own datasets do

Axes: tables of names; `native` keeps every shape, by-state columns included.

Source: formulas and documentation of policyengine-us 2.68.0, named by variable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from calibration.dataset import HOUSEHOLD, PERSON, Array, Dataset
from calibration.errors import EngineError
from calibration.materialise import LazyTable

__all__ = [
    "ALSO",
    "ASSUMED",
    "KEPT",
    "LEFT_OUT",
    "RENAMED",
    "REQUIRED",
    "REWRITTEN",
    "ROLES",
    "UNDRAWN",
    "is_kept",
    "native",
]

_SPLIT_OFF = "the model's total adds the response to a reform, which is 0"
_DESIRED = "the model's total applies the limits of the law to this"
_ONE_PART = "the model's total adds parts that are not told apart here; the law is the same"

RENAMED: Mapping[str, tuple[str, str]] = {
    "employment_income": ("employment_income_before_lsr", _SPLIT_OFF),
    "self_employment_income": ("self_employment_income_before_lsr", _SPLIT_OFF),
    "sstb_self_employment_income": ("sstb_self_employment_income_before_lsr", _SPLIT_OFF),
    "weekly_hours_worked": ("weekly_hours_worked_before_lsr", _SPLIT_OFF),
    "long_term_capital_gains": ("long_term_capital_gains_before_response", _SPLIT_OFF),
    "traditional_401k_contributions": ("traditional_401k_contributions_desired", _DESIRED),
    "roth_401k_contributions": ("roth_401k_contributions_desired", _DESIRED),
    "traditional_ira_contributions": ("traditional_ira_contributions_desired", _DESIRED),
    "roth_ira_contributions": ("roth_ira_contributions_desired", _DESIRED),
    "self_employed_pension_contributions": (
        "self_employed_pension_contributions_desired",
        _DESIRED,
    ),
    "foreign_tax_credit": ("foreign_tax_credit_potential", _DESIRED),
    "partnership_s_corp_income": ("partnership_income", _ONE_PART),
    "taxable_pension_income": ("taxable_private_pension_income", _ONE_PART),
    "tax_exempt_pension_income": ("tax_exempt_private_pension_income", _ONE_PART),
    "taxable_unemployment_compensation": (
        "unemployment_compensation",
        "all of it is taxable since 2022; the model works out the taxable part",
    ),
    "deductible_mortgage_interest": (
        "home_mortgage_interest",
        "without a balance the model deducts all of it",
    ),
    "partnership_se_income": ("partnership_self_employment_net_earnings", "another name"),
    "rent": ("pre_subsidy_rent", "the model takes housing assistance off"),
    "race": ("cps_race", "the model adds Hispanic origin to it"),
}
"""Column -> the model's input, and why."""

REWRITTEN: Mapping[str, tuple[str, str]] = {
    "is_male": ("is_female", "the opposite"),
    "tenure_type": (
        "tenure_type",
        "OWNED is with a mortgage where mortgage interest is paid, else outright",
    ),
    "zip_code": ("zip_code", "none is UNKNOWN to the model, not empty"),
}
"""Column -> the model's input, and how it is made."""

ALSO: Mapping[str, tuple[str, str]] = {
    "is_disabled": (
        "meets_ssi_disability_criteria",
        "one question in the survey; the model asks about SSI apart",
    ),
}
"""Column -> another input of the model that it answers as well, and why."""

LEFT_OUT: Mapping[str, str] = {
    "social_security": "the sum of its four parts, which must be there; checked",
    "pre_tax_contributions": "the sum of contributions that are there",
    "interest_deduction": "computed from mortgage interest",
    "american_opportunity_credit": "computed from tuition",
    "savers_credit": "computed from contributions and income",
    "self_employed_pension_contribution_ald": "computed from contributions",
    "self_employed_health_insurance_ald": "computed from premiums of each person, which no "
    "donor has: the deduction is 0 under this engine",
    "cdcc_relevant_expenses": "computed from care expenses of persons and SPM units, which "
    "would also change SNAP: the credit is 0 under this engine",
    "energy_efficient_home_improvement_credit": "computed from expenditures, which no donor "
    "has: the credit is 0 under this engine",
    "is_tipped_occupation": "the model asks for the Treasury's code of the occupation; "
    "tip_income itself is passed",
}
"""Column -> why the model does not get it."""

KEPT: Mapping[str, str] = {
    "snap_reported": "anchor of SNAP takeup",
    "tanf_reported": "reported to the survey",
    "has_subsidized_marketplace_coverage_at_interview": "anchor of takeup of the premium credit",
    "household_weight": "no value may depend on weights",
    "design_weight": "a weight of records",
    "source_household_id": "links the two halves of a household",
    "is_puf_clone": "which half a record is",
    "clone_index": "part of the key of the draws",
}
"""Column -> what it is for. The model would ignore or misuse these."""

ROLES = ("is_tax_unit_dependent", "is_tax_unit_head", "is_tax_unit_spouse")
"""Formulas that guess from ages; a dataset knows."""

REQUIRED = (
    "age",
    "county_fips",
    "state_fips",
    "takes_up_aca_if_eligible",
    "takes_up_dc_ptc",
    "takes_up_early_head_start_if_eligible",
    "takes_up_eitc",
    "takes_up_head_start_if_eligible",
    "takes_up_medicaid_if_eligible",
    "takes_up_snap_if_eligible",
    "takes_up_ssi_if_eligible",
    "takes_up_tanf_if_eligible",
    "would_file_taxes_voluntarily",
    *ROLES,
)
"""Facts that everybody has. The model would make everybody 40, Californian and a taker."""

UNDRAWN = (
    "takes_up_basic_health_program_if_eligible",
    "takes_up_ca_premium_subsidy_if_eligible",
    "takes_up_chip_if_eligible",
    "takes_up_co_premium_assistance_if_eligible",
    "takes_up_medicare_part_d_if_eligible",
    "takes_up_nm_premium_assistance_if_eligible",
    "takes_up_wic_if_eligible",
)
"""Takeup that no programme of `calibration.takeup` draws. Nothing else depends on it; a value
that was computed from such a flag is an error unless the dataset gives the flag."""

ASSUMED: Mapping[str, str] = {
    "takes_up_housing_assistance_if_eligible": "all who are eligible live with assistance",
    "takes_up_medicare_if_eligible": "all who are eligible are enrolled",
    "would_file_if_eligible_for_refundable_credit": "all who are owed a credit file for it",
}
"""Takeup that no programme of `calibration.takeup` draws and that other outputs read.

A dataset may give these; without them the model's assumption holds, which is the one said
here. They move SNAP, income tax and who files, so a target on housing assistance or Medicare
is one on eligibility."""

_PARTS = tuple(
    f"social_security_{part}" for part in ("dependents", "disability", "retirement", "survivors")
)

Column = Callable[[], Array]


def is_kept(name: str) -> bool:
    """Tell whether a column is for this package and not for the model."""
    return name in KEPT or name.startswith("record_")


def native(dataset: Dataset) -> Dataset:
    """Rename, rewrite and leave out the columns of this package.

    Parameters
    ----------
    dataset : Dataset
        Its tables may be lazy; so are those of the result.

    Returns
    -------
    Dataset
        Without a column of `RENAMED` and `LEFT_OUT`.

    Raises
    ------
    EngineError
        If a fact stands there twice, under both names, or Social Security lacks its parts
        or is not their sum.
    """
    _check_social_security(dataset)
    tables = {}
    for entity, table in dataset.tables.items():
        made: dict[str, Column] = {}
        for name in table:
            if name in LEFT_OUT:
                continue
            becomes, column = _translated(dataset, entity, name)
            if becomes in made or (becomes != name and becomes in table):
                raise EngineError(
                    f"the dataset has {name!r} and {becomes!r}, which are one fact to the model; "
                    "drop one of them"
                )
            made[becomes] = column
            if name in ALSO and ALSO[name][0] not in table:
                made[ALSO[name][0]] = column
        tables[entity] = LazyTable(made)
    return replace(dataset, tables=tables)  # who belongs to whom is known already


def _translated(dataset: Dataset, entity: str, name: str) -> tuple[str, Column]:
    table = dataset.tables[entity]
    if name in RENAMED:
        return RENAMED[name][0], lambda: table[name]
    if name == "is_male" and entity == PERSON:
        return "is_female", lambda: ~table[name]
    if name == "tenure_type" and entity == HOUSEHOLD:
        return name, lambda: _tenure(dataset)
    if name == "zip_code" and entity == HOUSEHOLD:
        return name, lambda: np.where(table[name] == "", "UNKNOWN", table[name])
    return name, lambda: table[name]


def _tenure(dataset: Dataset) -> Array:
    """Say with or without a mortgage, by whether anybody at home pays interest on one."""
    tenure = dataset["tenure_type"]
    if not (owned := tenure == "OWNED").any():
        return tenure
    paid = np.zeros(dataset.size(PERSON))
    for name in ("deductible_mortgage_interest", "home_mortgage_interest"):
        if name in dataset.person:
            paid = dataset.person[name]
    pays = dataset.any_in(HOUSEHOLD, paid > 0)
    with_or_without = np.where(pays, "OWNED_WITH_MORTGAGE", "OWNED_OUTRIGHT")
    return np.where(owned, with_or_without, tenure)


def _check_social_security(dataset: Dataset) -> None:
    if "social_security" not in dataset:
        return
    if missing := [part for part in _PARTS if part not in dataset]:
        raise EngineError(
            f"the dataset has 'social_security' but not its part {missing[0]!r}; the model "
            "computes the total from the four parts"
        )
    total = dataset["social_security"]
    gap = np.abs(sum(dataset[part] for part in _PARTS) - total)
    if len(bad := np.flatnonzero(gap > 1 + 1e-4 * np.abs(total))):
        who = dataset.person["person_id"][bad[0]]
        raise EngineError(
            f"the parts of person {who}'s Social Security add up to "
            f"{total[bad[0]] + gap[bad[0]]:.6g} or so, not to {total[bad[0]]:.6g} ({len(bad)} such)"
        )
