"""Imputed values have the laws of their donors: shares, tails, effects, and independence.

Donors are generated, so what holds among them is known. Each law is held against the same
statistic of the donor sample: a small sample in every run of the tests, five of 20,000
donors among the slow ones. Bounds of the small one are wider by the root of the sizes.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr

from calibration import imputer as imputer_module
from calibration.imputer import SequentialImputer
from calibration.predictors import Predictor
from calibration.qrf import ForestOptions, QuantileForest

FULL = 20_000
SAMPLES = [
    pytest.param((3_000, 0), id="small"),
    *[pytest.param((FULL, s), id=f"seed {s}", marks=pytest.mark.slow) for s in range(5)],
]
FEW = ForestOptions(trees=5, min_leaf=10)
AGE, WORK, STATE = (
    Predictor("age", "amount"),
    Predictor("works", "flag"),
    Predictor("state", "category"),
)
EFFECT = {1: 1.0, 2: 1.5, 3: 2.0}  # factors on rent


def people(n, rng):
    """Make people with an event, a heavy tail, two unrelated amounts and a rent by state."""
    state = rng.integers(1, 4, n)
    return {
        "age": rng.integers(18, 86, n).astype(float),
        "works": rng.random(n) < 0.6,
        "state": state,
        "event": rng.random(n) < 0.05,
        "tail": rng.lognormal(8, 1.5, n),
        "one": rng.lognormal(0, 1, n),
        "two": rng.lognormal(0, 1, n),
        "rent": rng.lognormal(9, 0.5, n) * np.vectorize(EFFECT.get)(state),
    }


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request):
    """Draw donors, twice as many receivers, and the factor by which bounds are wider."""
    n, seed = request.param
    rng = np.random.default_rng([seed, 1])
    return people(n, rng), people(2 * n, rng), seed, np.sqrt(FULL / n)


def impute(sample, predictors, *groups):
    """Impute groups of variables."""
    donor, receiver, seed, _ = sample
    chain = SequentialImputer("laws", predictors, groups, seed=seed, options=FEW)
    ids = np.arange(len(receiver["age"]))
    return chain.fit(donor, np.ones(len(donor["age"]))).draw(receiver, ids)


def rho(table, a="one", b="two"):
    """Correlate ranks."""
    return spearmanr(table[a], table[b]).statistic


def test_an_event_of_five_percent_stays_one(sample):
    """The share of a rare truth value is the donors', within half a point."""
    drawn = impute(sample, (AGE, WORK), ("event",))["event"]
    assert drawn.dtype == bool
    assert abs(drawn.mean() - sample[0]["event"].mean()) < 0.005 * sample[3]


def test_a_heavy_tail_keeps_its_length(sample):
    """The top percentile is the donors', within a quarter, and the top is still reached."""
    drawn, donor = impute(sample, (AGE, WORK), ("tail",))["tail"], sample[0]["tail"]
    assert abs(np.quantile(drawn, 0.99) / np.quantile(donor, 0.99) - 1) < 0.25
    assert drawn.max() > np.quantile(donor, 0.999)  # a grid of quantiles ends far below


def test_unrelated_variables_stay_unrelated(sample):
    """Two amounts are as uncorrelated as in the donors, in a chain and drawn apart."""
    chained = impute(sample, (AGE, WORK), ("one",), ("two",))
    apart = impute(sample, (AGE, WORK), ("one",)) | impute(sample, (AGE, WORK), ("two",))
    # A chain also repeats the chance correlation of its donors; draws apart have none.
    assert abs(rho(chained) - rho(sample[0])) < 0.02 * sample[3]
    assert abs(rho(apart)) < 0.02 * sample[3]


def test_what_stands_together_in_the_donors_stays_together(sample):
    """Variables of one group come from one donor row: their correlation is the donors'."""
    donor, receiver, seed, wider = sample
    tied = donor | {"two": donor["one"] * donor["two"] ** 0.5}
    drawn = impute((tied, receiver, seed, wider), (AGE, WORK), ("one", "two"))
    assert abs(rho(drawn) - rho(tied)) < 0.02 * wider


def test_a_state_effect_needs_the_state(sample):
    """With the state as a predictor rents differ by state as among donors; without, not."""
    donor, receiver, _, wider = sample

    def medians(table):
        rent = [np.median(table["rent"][table["state"] == s]) for s in EFFECT]
        return np.array(rent) / np.median(table["rent"])

    aware = impute(sample, (AGE, STATE), ("rent",)) | {"state": receiver["state"]}
    blind = impute(sample, (AGE, WORK), ("rent",)) | {"state": receiver["state"]}
    # SE of the median of a lognormal of spread 0.5 to 0.6 over a third of the donors: 0.9 %.
    assert medians(aware) == pytest.approx(medians(donor), abs=0.04 * wider)
    assert medians(blind) == pytest.approx(1, abs=0.04 * wider)


def test_one_number_for_all_variables_would_tie_them(monkeypatch):
    """With one shared index of ten quantiles, unrelated amounts are imputed in lockstep."""
    donor, receiver = people(1_500, np.random.default_rng(1)), people(500, np.random.default_rng(2))
    X, R = (np.column_stack([t["age"], t["works"]]) for t in (donor, receiver))
    shared = np.random.default_rng(42).integers(0, 10, 500)
    grid = np.linspace(1 / 11, 10 / 11, 10)
    tied = {}
    for name in ("one", "two"):
        forest = QuantileForest(trees=10).fit(X, donor[name])
        tied[name] = forest.quantiles(R, grid)[np.arange(500), shared, 0]
    assert rho(tied) > 0.4
    # So would one stream for all variables of the imputer itself.
    small, real = (donor, receiver, 0, 1.0), imputer_module.uniform
    alike = lambda seed, stage, name, _, *rest: real(seed, stage, name, *rest)  # noqa: E731
    monkeypatch.setattr(imputer_module, "uniform", alike)
    drawn = impute(small, (WORK,), ("one",)) | impute(small, (WORK,), ("two",))
    assert rho(drawn) > 0.4
