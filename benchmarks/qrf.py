"""Measure the forest against quantile-forest: CPU seconds, and how good the draws are.

    OMP_NUM_THREADS=1 python -m benchmarks.qrf [--donors 20000] [--seed 4] [--record [NAME]]

Donors and receivers come from `benchmarks.known_law`: 10 predictors, a chain of 70 targets.
Targets 0, 23, 46 and 69 are imputed, each given the predictors and the *true* targets
before it, by

    ours              `QuantileForest` with the options `LARGE`, draws from leaves
    quantile-forest   `RandomForestQuantileRegressor` at its defaults, one of ten quantiles
                      1/11 ... 10/11 chosen at random, as imputation with it is usual
    exact             the generator's own law: what a perfect imputer would draw

in one process and one thread. CPU seconds are those of a fit and one draw for all
receivers; for the whole chain of 70 they are interpolated between the four targets, line
by line (`interpolated`: true). The joint mode is one forest for all 70 targets.

Quality is a distance for each of five draws, 0 at best (truth: the receivers' own values):

    ks          Kolmogorov-Smirnov distance between draws and truth
    zero_share  |share of zeros in the draws - share in truth|
    mean, p99   |log of the ratio of draws to truth|
    rho         |rho(draw, truth) - rho(exact draw, truth)|, Spearman

`quantile_forest_fine` draws from a hundred quantiles of the same fitted forest: the ten cut
the tails, which lowers the noise of a draw and so raises its rho, whatever was learned.
`worse` lists each (target, measure) in which ours is farther from 0 than quantile-forest by
more than two Monte-Carlo standard errors of the difference over the five draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quantile_forest import RandomForestQuantileRegressor
from scipy.stats import ks_2samp, spearmanr

from benchmarks.known_law import Chain
from benchmarks.machine import machine
from calibration.qrf import LARGE, QuantileForest

Floats = NDArray[np.float64]

TARGETS = (0, 23, 46, 69)
DRAWS = 5
GRID = np.linspace(1 / 11, 10 / 11, 10)
FINE = (np.arange(100) + 0.5) / 100  # the same law, hardly cut
RESULTS = Path(__file__).parent / "results"


def ours(X: Floats, y: Floats, R: Floats) -> tuple[list[Floats], float]:
    """Fit, draw five times; give the draws and the CPU seconds of the fit and one draw."""
    start = time.process_time()
    forest = QuantileForest(**asdict(LARGE)).fit(X, y)
    fitted = time.process_time() - start
    start = time.process_time()
    draws = []
    for d in range(DRAWS):
        rng = np.random.default_rng([1, d])
        draws.append(forest.y_[forest.draw(R, rng.random(len(R)), rng.random(len(R)))])
    return draws, fitted + (time.process_time() - start) / DRAWS


def theirs(X: Floats, y: Floats, R: Floats) -> tuple[list[Floats], float, list[Floats]]:
    """Do the same with quantile-forest; its quantiles are asked for once."""
    start = time.process_time()
    forest = RandomForestQuantileRegressor(random_state=0, n_jobs=1).fit(X, y)
    quantiles = forest.predict(R, quantiles=GRID.tolist())
    seconds = time.process_time() - start
    return chosen(quantiles), seconds, chosen(forest.predict(R, quantiles=FINE.tolist()))


def chosen(quantiles: Floats) -> list[Floats]:
    """Choose one of the quantiles for each receiver, five times."""
    m, k = quantiles.shape
    return [
        quantiles[np.arange(m), np.random.default_rng([2, d]).integers(0, k, m)]
        for d in range(DRAWS)
    ]


def distances(draw: Floats, truth: Floats, exact_rho: float) -> dict[str, float]:
    """Measure how far draws are from what they should be."""

    def ratio(statistic: Any) -> float:
        return float(abs(np.log(statistic(draw) / statistic(truth))))

    return {
        "ks": float(ks_2samp(draw, truth, method="asymp").statistic),
        "zero_share": float(abs((draw == 0).mean() - (truth == 0).mean())),
        "mean": ratio(np.mean),
        "p99": ratio(lambda values: np.quantile(values, 0.99)),
        "rho": abs(rho(draw, truth) - exact_rho),
    }


def rho(a: Floats, b: Floats) -> float:
    """Correlate ranks; zeros share theirs."""
    return float(spearmanr(a, b).statistic)


def summary(draws: list[Floats], truth: Floats, exact_rho: float) -> dict[str, Any]:
    """Give mean and standard error of each distance over the draws."""
    each = [distances(draw, truth, exact_rho) for draw in draws]
    table = {}
    for name in each[0]:
        values = np.array([one[name] for one in each])
        table[name] = {
            "mean": float(values.mean()),
            "se": float(values.std(ddof=1) / np.sqrt(len(values))),
        }
    return table


def compare(t: int, chain: Chain, donors: Any, receivers: Any) -> dict[str, Any]:
    """Measure all methods on one target."""
    (X, Y), (R, V) = donors, receivers
    known, asked = np.hstack([X, Y[:, :t]]), np.hstack([R, V[:, :t]])
    truth = V[:, t]
    exact = [chain.target(t, R, V, np.random.default_rng([3, d])) for d in range(DRAWS)]
    exact_rho = float(np.mean([rho(draw, truth) for draw in exact]))
    result: dict[str, Any] = {"target": t, "zeros": float((truth == 0).mean()), "rho": exact_rho}
    result["exact"] = summary(exact, truth, exact_rho)
    mine, my_seconds = ours(known, Y[:, t], asked)
    grid, seconds, fine = theirs(known, Y[:, t], asked)
    for name, draws, used in (
        ("ours", [draw[:, 0] for draw in mine], my_seconds),
        ("quantile_forest", grid, seconds),
        ("quantile_forest_fine", fine, None),
    ):
        result[name] = summary(draws, truth, exact_rho)
        result[name]["rho_signed"] = float(np.mean([rho(d, truth) for d in draws]) - exact_rho)
        result[name]["mean_ratio"] = float(np.mean([d.mean() for d in draws]) / truth.mean())
        result[name]["p99_ratio"] = float(
            np.mean([np.quantile(d, 0.99) for d in draws]) / np.quantile(truth, 0.99)
        )
        result[name]["cpu_seconds"] = used
    result["cpu_ratio"] = result["quantile_forest"]["cpu_seconds"] / result["ours"]["cpu_seconds"]
    result["worse"] = [
        name
        for name, mine in result["ours"].items()
        if isinstance(mine, dict) and _worse(mine, result["quantile_forest"][name])
    ]
    return result


def joint(chain: Chain, donors: Any, receivers: Any) -> dict[str, Any]:
    """Draw all targets from one donor row, given the predictors alone."""
    (X, Y), (R, V) = donors, receivers
    draws, seconds = ours(X, Y, R)
    exact = chain.draw(R, np.random.default_rng(4))
    table = {
        t: summary([draw[:, t] for draw in draws], V[:, t], rho(exact[:, t], V[:, t]))
        for t in TARGETS
    }
    off = ~np.eye(chain.targets, dtype=bool)
    here, there = (spearmanr(values).statistic[off] for values in (draws[0], V))
    return {
        "cpu_seconds": seconds,
        "targets": table,
        "correlation_error": float(np.abs(here - there).mean()),
    }


def _worse(mine: dict[str, float], other: dict[str, float]) -> bool:
    return mine["mean"] - other["mean"] > 2 * np.hypot(mine["se"], other["se"])


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--donors", type=int, default=20_000, help="receivers are twice as many")
    parser.add_argument(
        "--seed", type=int, default=4, help="of the law; options were chosen on 0 to 3"
    )
    parser.add_argument(
        "--record",
        nargs="?",
        const="qrf",
        metavar="NAME",
        help="write the results file, qrf.json or that of another name",
    )
    asked = parser.parse_args()
    chain = Chain(seed=asked.seed)
    donors = chain.sample(asked.donors, np.random.default_rng(10))
    receivers = chain.sample(2 * asked.donors, np.random.default_rng(11))
    for y in (donors[1][:200, 0], donors[1][:200]):  # imports and compiling are not measured
        ours(donors[0][:200], y, receivers[0][:200])
    measured = [compare(t, chain, donors, receivers) for t in TARGETS]
    together = joint(chain, donors, receivers)
    seconds = {
        name: float(
            np.interp(
                np.arange(chain.targets), TARGETS, [one[name]["cpu_seconds"] for one in measured]
            ).sum()
        )
        for name in ("ours", "quantile_forest")
    }
    result = {
        "seed": asked.seed,
        "donors": asked.donors,
        "receivers": 2 * asked.donors,
        "predictors": donors[0].shape[1],
        "chain": {
            "targets": chain.targets,
            "interpolated": True,
            "cpu_seconds": seconds,
            "cpu_ratio_sequential": seconds["quantile_forest"] / seconds["ours"],
            "cpu_ratio_joint": seconds["quantile_forest"] / together["cpu_seconds"],
        },
        "worse": [[one["target"], name] for one in measured for name in one["worse"]],
        "targets": measured,
        "joint": together,
        "options": asdict(LARGE),
        "quantile_forest": version("quantile-forest"),
        "machine": machine(),
    }
    text = json.dumps(_rounded(result), indent=2) + "\n"
    sys.stdout.write(text)
    if asked.record:
        RESULTS.joinpath(f"{asked.record}.json").write_text(text, encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
