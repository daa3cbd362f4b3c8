"""Measure how one random index for all variables ties together what is unrelated.

    OMP_NUM_THREADS=1 python -m benchmarks.shared_index [--record]

Donors have four predictors and six lognormal targets, all independent of one another.
Targets are imputed in a chain, each given the predictors and the targets before it, by

    shared      quantile-forest at its defaults, one of ten quantiles 1/11 ... 10/11; a
                receiver has the same index for every target, as it comes about when each
                target restarts one random stream
    separate    the same with an index drawn anew for each target
    ours        `SequentialImputer`, whose streams are keyed by variable

and the rank correlations of all pairs of imputed targets averaged; their truth is 0. Three
seeds. `--record` writes `benchmarks/results/shared_index.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from quantile_forest import RandomForestQuantileRegressor
from scipy.stats import spearmanr

from benchmarks.machine import machine
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor

Floats = NDArray[np.float64]

DONORS, RECEIVERS, PREDICTORS, TARGETS = 1_000, 1_000, 4, 6
SEEDS = (0, 1, 2)
GRID = np.linspace(1 / 11, 10 / 11, 10).tolist()
RESULTS = Path(__file__).parent / "results" / "shared_index.json"


def by_grid(X: Floats, Y: Floats, R: Floats, index: NDArray[np.int64]) -> Floats:
    """Impute in a chain by quantiles; `index` (receivers, targets) says which."""
    known, asked = X, R
    for y, chosen in zip(Y.T, index.T, strict=True):
        forest = RandomForestQuantileRegressor(random_state=0, n_jobs=1).fit(known, y)
        drawn = forest.predict(asked, quantiles=GRID)[np.arange(len(asked)), chosen]
        known, asked = np.column_stack([known, y]), np.column_stack([asked, drawn])
    return asked[:, R.shape[1] :]


def by_rows(X: Floats, Y: Floats, R: Floats, seed: int) -> Floats:
    """Impute in a chain by donor rows, as the package does."""
    known = [f"x{k}" for k in range(X.shape[1])]
    targets = [f"y{k}" for k in range(Y.shape[1])]
    donor = dict(zip([*known, *targets], [*X.T, *Y.T], strict=True))
    chain = SequentialImputer(
        "unrelated",
        tuple(Predictor(name, "amount") for name in known),
        tuple((name,) for name in targets),
        seed=seed,
    ).fit(donor, np.ones(len(X)))
    drawn = chain.draw(dict(zip(known, R.T, strict=True)), np.arange(len(R)))
    return np.column_stack([drawn[name] for name in targets])


def tie(drawn: Floats) -> float:
    """Average the rank correlations of all pairs."""
    return float(spearmanr(drawn).statistic[np.triu_indices(drawn.shape[1], 1)].mean())


def measure(seed: int) -> dict[str, float]:
    """Impute one sample in the three ways."""
    rng = np.random.default_rng(seed)
    X, R = rng.random((DONORS, PREDICTORS)), rng.random((RECEIVERS, PREDICTORS))
    Y = rng.lognormal(0, 1, (DONORS, TARGETS))
    one = np.repeat(rng.integers(0, 10, (RECEIVERS, 1)), TARGETS, axis=1)
    each = rng.integers(0, 10, (RECEIVERS, TARGETS))
    return {
        "donors": tie(Y),
        "shared": tie(by_grid(X, Y, R, one)),
        "separate": tie(by_grid(X, Y, R, each)),
        "ours": tie(by_rows(X, Y, R, seed)),
    }


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    record = parser.parse_args().record
    measured = [measure(seed) for seed in SEEDS]
    result = {
        name: {
            "mean": float(f"{np.mean([one[name] for one in measured]):.3g}"),
            "seeds": [float(f"{one[name]:.3g}") for one in measured],
        }
        for name in measured[0]
    } | {
        "size": {
            "donors": DONORS,
            "receivers": RECEIVERS,
            "predictors": PREDICTORS,
            "targets": TARGETS,
            "seeds": len(SEEDS),
        },
        "quantile_forest": version("quantile-forest"),
        "machine": machine(),
    }
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if record:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
