"""What is true of the toy country, and what its offices publish about it.

The population of `people` has the true value of every input. Here everybody decides
whether to claim, with the published takeup rate of each programme and a stream that the
survey never sees; the toy engine computes taxes and benefits; and the sums are published
as targets, some for an earlier year, in the way that real totals arrive late:

    target(area) = sum over the area of weight * value, rounded to whole units

Targets stand at three levels. Those of districts are complete, so a state or national
total of the same kind is reconciled with them; the others stand alone.
"""

from __future__ import annotations

import numpy as np

from calibration.constraints import engine_outputs, household_values
from calibration.dataset import HOUSEHOLD, PERSON, Dataset
from calibration.engines import load_engine
from calibration.geography import STATE_LETTERS, Level, decode
from calibration.rng import uniform
from calibration.takeup import CHILDREN, PROGRAMMES, STATE, Threshold, Thresholds, with_takeup
from calibration.targets import parse_constraint
from calibration.thresholds import read_rates
from calibration.uprating import read_factors

__all__ = ["TOTALS", "targets"]

YEAR = 2024
FILER = "tax_unit_is_filer==1"

# level, variable, constraints, year of publication
TOTALS: tuple[tuple[Level, str, str, int], ...] = (
    (Level.NATION, "person_count", "", 2024),
    (Level.NATION, "person_count", "age>=65", 2024),
    (Level.NATION, "income_tax", FILER, 2022),
    (Level.NATION, "eitc", FILER, 2022),
    (Level.NATION, "adjusted_gross_income", FILER, 2022),
    (Level.NATION, "ssi", "", 2024),
    (Level.NATION, "assigned_aca_ptc", "", 2024),
    (Level.NATION, "person_count", "head_start>0", 2023),
    (Level.STATE, "adjusted_gross_income", FILER, 2022),
    (Level.STATE, "tax_unit_count", FILER, 2022),
    (Level.STATE, "snap", "", 2024),
    (Level.STATE, "spm_unit_count", "snap>0", 2024),
    (Level.STATE, "person_count", "medicaid_enrolled==1", 2024),
    (Level.DISTRICT, "person_count", "age<18", 2024),
    (Level.DISTRICT, "person_count", "age>=18", 2024),
    (Level.DISTRICT, "adjusted_gross_income", FILER, 2022),
    (Level.DISTRICT, "spm_unit_count", "snap>0", 2022),
)

# only some areas: a state tax and a city credit
LOCAL_TOTALS: tuple[tuple[Level, int, str, str, int], ...] = (
    (Level.STATE, 37, "state_income_tax", FILER, 2022),
    (Level.STATE, 11, "dc_ptc", "", 2023),
)

# A survey-based district count of benefit households misses some, unlike state records.
UNDERCOUNT = {("spm_unit_count", 2022): 0.75}


def targets(population: Dataset, *, seed: int) -> list[dict[str, object]]:
    """Publish the totals of a population.

    Parameters
    ----------
    population : Dataset
        As `people.population` makes it, with weights that add up to the people.
    seed : int
        Of the true takeup.

    Returns
    -------
    list of dict
        Rows of `targets.csv`.
    """
    engine = load_engine("toy")
    truth = _with_true_takeup(population, seed)
    asked = [(level, None, *rest) for level, *rest in TOTALS] + list(LOCAL_TOTALS)
    signatures = {
        (variable, constraints): (
            variable,
            tuple(sorted(parse_constraint(c) for c in constraints.split(";") if c)),
        )
        for _, _, variable, constraints, _ in asked
    }
    values = engine.simulate(truth, engine_outputs(signatures.values(), engine), YEAR)
    weight, factors = truth["household_weight"], read_factors()
    rows: list[dict[str, object]] = []
    for level, only, variable, constraints, year in asked:
        amount = household_values(truth, values, signatures[variable, constraints], engine)
        index = "population" if variable.endswith("_count") else "prices"
        scale = UNDERCOUNT.get((variable, year), 1.0) / factors[index, year]
        codes = _codes(truth, level)
        for code in np.unique(codes) if only is None else [only]:
            here = codes == code
            rows.append(
                {
                    "level": str(level),
                    "code": decode(level, int(code)),
                    "variable": variable,
                    "constraints": constraints,
                    "period": year,
                    "value": round(float((amount * weight)[here].sum()) * scale),
                    "source": f"sum over the toy population, {year}",
                }
            )
    return rows


def _codes(dataset: Dataset, level: Level) -> np.ndarray:
    if level is Level.NATION:
        return np.zeros(dataset.size(HOUSEHOLD), dtype=np.int64)
    name = {Level.STATE: "state_fips", Level.DISTRICT: "congressional_district_geoid"}[level]
    return dataset[name]


def _with_true_takeup(population: Dataset, seed: int) -> Dataset:
    """Draw takeup at the published rates, with keys that no run of the pipeline uses."""
    homes = population.size(HOUSEHOLD)
    named = population.with_columns(HOUSEHOLD, {"clone_index": np.zeros(homes, dtype=np.int64)})
    for entity in (HOUSEHOLD, PERSON, "tax_unit", "spm_unit"):
        ids = population[f"{entity}_id"]
        named = named.with_columns(entity, {f"record_{entity}_id": ids})
    rates = read_rates(YEAR)
    groups = {STATE: STATE_LETTERS.values(), CHILDREN: "0123"}
    rows = [
        Threshold(p.name, group, rates[p.name, group], 0.0, 0.0, rates[p.name, group])
        for p in PROGRAMMES
        for group in groups.get(p.groups, ["US"])
        if (p.name, group) in rates
    ]
    hidden = int(uniform(seed, "true takeup") * 2**31)
    return with_takeup(named, Thresholds(hidden, tuple(rows)), PROGRAMMES)
