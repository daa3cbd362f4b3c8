"""Two taxes of states: North Carolina's income tax and the District's property tax credit.

    North Carolina   rate * max(0, AGI - taxable Social Security - deductions)
    District         min(maximum, max(0, property tax + share of rent - share of income))

Axes: both rules return shape (tax_unit,); units of other states have zero, which for
states other than Alaska says that the engine leaves their income tax out.

Source: N.C. Gen. Stat. 105-153; D.C. Code 47-1806.06.
"""

from __future__ import annotations

import numpy as np

from calibration.dataset import Array
from calibration.engines.toy.rule import View, rule, rules_in

__all__ = ["RULES"]


@rule(
    entity="tax_unit",
    needs=(
        "state_fips",
        "filing_status",
        "adjusted_gross_income",
        "tax_unit_taxable_social_security",
        "ctc_qualifying_children",
        "charitable_deduction",
        "deductible_mortgage_interest",
        "real_estate_taxes",
    ),
    label="state income tax (North Carolina only)",
    source="N.C. Gen. Stat. 105-153.5, 105-153.7",
)
def _state_income_tax(view: View) -> Array:
    """Tax federal AGI, less Social Security and North Carolina's deductions, at one rate.

    Simplified: no other additions or deductions of 105-153.5(b) and (c), no medical
    expenses, no tax of other states.
    """
    agi = view["adjusted_gross_income"]
    property_tax = view.sum(view.people("real_estate_taxes"))
    housing = np.minimum(property_tax, view.by_status("salt_cap"))
    housing += view.sum(view.people("deductible_mortgage_interest"))
    itemized = np.minimum(housing, view.number("nc_property_cap")) + view["charitable_deduction"]
    deduction = np.maximum(itemized, view.by_status("nc_standard_deduction"))
    band = np.sum(agi[:, None] > view.by_status("nc_child_deduction_over"), axis=1) - 1
    per_child = np.take_along_axis(view.by_status("nc_child_deduction"), band[:, None], axis=1)
    deduction += per_child[:, 0] * view["ctc_qualifying_children"]
    base = np.maximum(agi - view["tax_unit_taxable_social_security"] - deduction, 0)
    return np.where(view.in_state("NC"), view.number("nc_rate") * base, 0)


@rule(
    entity="tax_unit",
    needs=(
        "state_fips",
        "age",
        "is_tax_unit_dependent",
        "adjusted_gross_income",
        "rent",
        "real_estate_taxes",
        "takes_up_dc_ptc",
    ),
    label="District of Columbia property tax credit, if claimed",
    source="D.C. Code 47-1806.06",
)
def _dc_ptc(view: View) -> Array:
    """Credit property tax, or a share of rent, over a share of income that rises with it.

    Simplified: everybody has lived in the District all year, and the tax unit is the
    household whose income and rent count.
    """
    agi = np.maximum(view["adjusted_gross_income"], 0)
    old = view.people("age") >= view.number("dc_elderly_age")
    elderly = view.any(old & ~view.people("is_tax_unit_dependent"))
    paid = view.sum(view.people("rent")) * view.number("dc_rent_share")
    paid = paid + view.sum(view.people("real_estate_taxes"))
    excess = np.zeros(len(agi))
    for group, name in ((elderly, "over"), (~elderly, "under")):
        limits = view.array(f"dc_income_limit_{name}")
        shares = view.array(f"dc_income_share_{name}")
        band = np.searchsorted(limits, agi)  # income equal to a limit is still below it
        share = shares[np.minimum(band, len(shares) - 1)]
        within = group & (band < len(shares))
        excess = np.where(within, np.maximum(paid - share * agi, 0), excess)
    credit = np.minimum(excess, view.number("dc_credit_maximum"))
    return np.where(view.in_state("DC") & view["takes_up_dc_ptc"], credit, 0)


RULES = rules_in(globals())
"""The rules of this module."""
