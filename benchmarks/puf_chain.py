"""Run the PUF stage as one long chain: 69 and 51 variables, each given those before it.

    OMP_NUM_THREADS=1 python benchmarks/puf_chain.py [--rows 20000] [--record]

The tax file is one of the toy country's design, drawn from 60,000 of its households and
thinned to 20,000 rows by the stage itself; the survey is 17,500 other households, answers
included. Forests have the options `LARGE`. The stage runs twice, with a forest for each
variable (`sequential`, what the established pipeline does) and with one for each theme
(`joint`, what the toy run does), in one process and one thread. CPU seconds are those of
the whole stage: both halves, parts of Social Security, contributions and weeks.

The country made the survey's people too, so their true tax variables are known, though the
stage does not see them. The tax file has filers alone; so do the comparisons, which are
weighted, over the PUF half:

    some        share of people with an amount, draws and truth, points apart
    mean        mean amount, ratio of draws to truth, where the truth has 500 people or more
    rank        |rank correlation of two variables in the draws - in the truth|, over pairs
                of variables that 500 people or more have

`checks` are those of `calibration.puf_checks`, which hold every record against the rules.
`--record` writes `benchmarks/results/puf_chain.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
from machine import machine
from numpy.typing import NDArray
from scipy.stats import rankdata

from calibration import toy
from calibration.dataset import Dataset, Table
from calibration.puf_checks import check_puf
from calibration.puf_impute import PufOptions, impute
from calibration.puf_variables import PufVariable, puf_variables
from calibration.qrf import LARGE
from calibration.toy_data import country, donor_files, people
from calibration.toy_data.items import adjusted_gross_income
from calibration.toy_data.laws import stream

Floats = NDArray[np.float64]

ENOUGH = 500
GROUPINGS: tuple[Literal["sequential", "joint"], ...] = ("sequential", "joint")
RESULTS = Path(__file__).parent / "results" / "puf_chain.json"


def tax_file(rows: int, seed: int) -> Table:
    """Draw a tax file of about 2.5 times the rows that the stage will keep."""
    population = people.population(country.crosswalk(0), households=3 * rows, seed=seed)
    with mock.patch.object(donor_files, "RETURNS", 5 * rows // 4):
        return donor_files.DESIGNS["donors/puf.csv"](population, stream(seed, "donors/puf.csv"))


def survey(households: int, seed: int) -> tuple[Dataset, Dataset]:
    """Give a survey of whole households, with the columns of the toy survey, and the truth."""
    truth = people.population(country.crosswalk(0), households=households, seed=seed)
    asked = toy.after("base").dataset
    tables = {
        entity: {name: truth.tables[entity][name] for name in table}
        for entity, table in asked.tables.items()
    }
    return Dataset(truth.period, tables).sorted_by_id(), truth.sorted_by_id()


def values(dataset: Dataset, variable: PufVariable) -> Floats:
    """Give a variable by person; that of a tax unit stands on its head."""
    own = np.asarray(dataset[variable.name], dtype=np.float64)
    if variable.entity == "person":
        return own
    return dataset.to_person(own, variable.entity) * dataset["is_tax_unit_head"]


def compare(truth: Dataset, records: Dataset) -> dict[str, Any]:
    """Hold the draws of the PUF half against the truth, people of filing units alone."""
    files = donor_files._filers(truth, adjusted_gross_income(truth))  # noqa: SLF001
    mine = truth.to_person(files, "tax_unit")
    weight = truth.to_person(truth["household_weight"], "household")[mine]
    clone = np.flatnonzero(records["person_id"] % 2 == 1)
    if not np.array_equal(records["person_id"][clone], 2 * truth["person_id"] + 1):
        raise ValueError("records and truth are not the same people in one order")
    pairs = {v.name: (values(records, v)[clone][mine], values(truth, v)[mine])
             for v in puf_variables()}  # fmt: skip
    some, mean, common = {}, {}, []
    for name, (drawn, true) in pairs.items():
        here, there = (100 * np.average(x != 0, weights=weight) for x in (drawn, true))
        some[name] = abs(here - there)
        if np.count_nonzero(true) >= ENOUGH:
            mean[name] = np.average(drawn, weights=weight) / np.average(true, weights=weight)
            common.append(name)
    ranks = [np.corrcoef([rankdata(pairs[name][k]) for name in common]) for k in (0, 1)]
    rank = np.abs(ranks[0] - ranks[1])[np.triu_indices(len(common), 1)]
    ratio = np.array([mean[name] for name in common])
    return {
        "people": int(mine.sum()),
        "variables_compared": len(common),
        "some_points": {"median": float(np.median([*some.values()])), "max": max(some.values())},
        "mean_ratio": {
            "median": float(np.median(ratio)),
            "p10": float(np.quantile(ratio, 0.1)),
            "p90": float(np.quantile(ratio, 0.9)),
        },
        "rank_error": {"mean": float(rank.mean()), "p95": float(np.quantile(rank, 0.95))},
    }


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="of the tax file, when thinned")
    parser.add_argument("--record", action="store_true", help="write the results file")
    asked = parser.parse_args()
    donor = tax_file(asked.rows, seed=7)
    base, truth = survey(7 * asked.rows // 8, seed=8)
    small = {name: column[:400] for name, column in donor.items()}
    toy_survey = toy.after("base").dataset
    impute(toy_survey, small, seed=0, options=PufOptions(forest=LARGE))  # imports, compiling
    result: dict[str, Any] = {
        "rows": {"tax_file": len(donor["weight"]), "kept": asked.rows},
        "receivers": {"per_half": base.size("person"), "households": base.size("household")},
        "variables": {
            "puf_half": len(puf_variables()),
            "cps_half": sum(v.overridden for v in puf_variables()),
        },
    }
    for grouping in GROUPINGS:
        options = PufOptions(forest=LARGE, grouping=grouping, donor_rows=asked.rows)
        start = time.process_time()
        records = impute(base, donor, seed=0, options=options)
        seconds = time.process_time() - start
        checks = check_puf(base, donor, records, grouping=grouping)
        result[grouping] = {
            "cpu_seconds": seconds,
            "checks": {c.name: {"compared": c.compared, "wrong": c.wrong} for c in checks},
            **compare(truth, records),
        }
    result |= {"threads": 1, "machine": machine()}
    text = json.dumps(_rounded(result), indent=2) + "\n"
    sys.stdout.write(text)
    if asked.record:
        RESULTS.write_text(text, encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
