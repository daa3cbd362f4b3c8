"""Samples keep the top, a fixed count, both halves, and everybody's weight."""

import numpy as np
import pytest

from calibration.dataset import Dataset
from calibration.errors import ImputationError
from calibration.puf_impute import double
from calibration.stratify import SampleOptions, donor_subsample, stratified_sample


def doubled(households=60, seed=0):
    """Make a doubled dataset of one-person households, and incomes of its halves."""
    rng = np.random.default_rng(seed)
    ids = 10 + 3 * np.arange(households)
    weight = rng.uniform(100, 5_000, households)
    base = Dataset(
        2024,
        {
            "person": {"person_id": ids, "person_household_id": ids},
            "household": {"household_id": ids, "household_weight": weight},
        },
    )
    return double(base), np.round(rng.lognormal(10, 1.5, 2 * households))


def returns(n=400, seed=0):
    """Make rows of a tax file: returns of one to four persons, with income and weight."""
    rng = np.random.default_rng(seed)
    return_id = np.sort(rng.integers(0, n // 2, n))
    agi = rng.lognormal(10, 2, n)[return_id]
    return agi, return_id, rng.uniform(1, 100, n)


# -- the survey ------------------------------------------------------------------------


def test_both_halves_are_kept_or_dropped_together():
    """Fifty of sixty source households stay, each with its two records."""
    dataset, agi = doubled()
    sample = stratified_sample(dataset, agi, households=50, seed=1).check()
    source, count = np.unique(sample["source_household_id"], return_counts=True)
    assert len(source) == 50
    assert (count == 2).all()
    assert (np.diff(sample["household_id"]) > 0).all()


def test_the_larger_half_decides_about_the_top():
    """A household whose clone alone is rich belongs to the top, and the top stays."""
    dataset, agi = doubled()
    agi[7] = 1e9  # the PUF half of the fourth source household
    sources = dataset["source_household_id"]
    for seed in range(20):
        sample = stratified_sample(
            dataset, agi, households=10, seed=seed, options=SampleOptions(top_share=0.05)
        )
        assert sources[7] in sample["source_household_id"]
        top = np.argsort(-np.maximum(agi[::2], agi[1::2]))[:3]  # 5 percent of 60
        assert np.isin(sources[2 * top], sample["source_household_id"]).all()


def test_weights_survive_in_total_and_by_stratum():
    """Both weights keep their sums, overall and within every income group."""
    dataset, agi = doubled()
    options = SampleOptions(top_share=0.1, strata=3)
    sample = stratified_sample(dataset, agi, households=30, seed=4, options=options)
    for name in ("household_weight", "design_weight"):
        assert sample[name].sum() == pytest.approx(dataset[name].sum())
    assert (sample["household_weight"][1::2] == 0).all()
    assert (sample["design_weight"] > 0).all()
    income = np.maximum(agi[::2], agi[1::2])
    order = np.argsort(-income)
    kept = sample["source_household_id"][::2]
    for part in (order[:6], *np.array_split(order[6:], 3)):
        stratum = dataset["source_household_id"][2 * part]
        before = dataset["household_weight"][2 * part].sum()
        after = sample["household_weight"][::2][np.isin(kept, stratum)].sum()
        assert after == pytest.approx(before)
    top = np.isin(sample["source_household_id"], dataset["source_household_id"][2 * order[:6]])
    same = np.isin(dataset["household_id"], sample["household_id"][top])
    assert np.array_equal(sample["design_weight"][top], dataset["design_weight"][same])


def test_everybody_below_the_top_has_the_same_chance():
    """Over many seeds each household of a stratum is kept equally often."""
    dataset, agi = doubled(24)
    options = SampleOptions(top_share=0.0, strata=1)
    kept, runs = np.zeros(24), 400
    for seed in range(runs):
        sample = stratified_sample(dataset, agi, households=6, seed=seed, options=options)
        kept += np.isin(dataset["source_household_id"][::2], sample["source_household_id"])
    # 400 trials with chance 1/4: 4.5 standard errors around 100, for 24 households.
    assert np.abs(kept / runs - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / runs)


def test_one_who_was_not_kept_could_as_well_not_have_been_there():
    """Without a household that was dropped anyway, the same others are kept."""
    dataset, agi = doubled()
    options = SampleOptions(top_share=0.0, strata=1)
    sample = stratified_sample(dataset, agi, households=30, seed=2, options=options)
    dropped = np.setdiff1d(dataset["source_household_id"], sample["source_household_id"])
    others = np.flatnonzero(dataset["source_household_id"] != dropped[0])
    again = stratified_sample(
        dataset.take_households(others), agi[others], households=30, seed=2, options=options
    )
    assert np.array_equal(again["household_id"], sample["household_id"])


def test_the_order_of_households_means_nothing():
    """A shuffled dataset gives the same sample and weights."""
    dataset, agi = doubled()
    order = np.random.default_rng(1).permutation(120)
    one = stratified_sample(dataset, agi, households=20, seed=2)
    two = stratified_sample(dataset.take_households(order), agi[order], households=20, seed=2)
    for name in ("household_id", "design_weight", "household_weight"):
        assert np.array_equal(one[name], two.sorted_by_id()[name])


def test_equal_incomes_still_give_a_fixed_count():
    """Ties at the top are broken by lot, so the count holds."""
    dataset, _ = doubled()
    sample = stratified_sample(dataset, np.zeros(120), households=17, seed=2)
    assert sample.size("household") == 34
    assert sample["design_weight"].sum() == pytest.approx(dataset["design_weight"].sum())


def test_keeping_all_changes_nothing():
    """A sample of all households is the dataset."""
    dataset, agi = doubled(12)
    sample = stratified_sample(dataset, agi, households=12, seed=2)
    for name in dataset.names():
        assert np.array_equal(sample[name], dataset[name])


@pytest.mark.parametrize(
    ("households", "message"), [(0, "0 of 60"), (61, "61 of 60"), (2, "keep more")]
)
def test_impossible_counts_are_refused(households, message):
    """More than there are, none, or fewer than the strata need is an error."""
    dataset, agi = doubled()
    with pytest.raises(ImputationError, match=message):
        stratified_sample(dataset, agi, households=households, seed=1)


def test_a_half_alone_is_refused():
    """A source household with one record, or incomes of another length, is an error."""
    dataset, agi = doubled()
    with pytest.raises(ImputationError, match="source household 10 has 1 records"):
        stratified_sample(dataset.take_households(np.arange(1, 120)), agi[1:], households=9, seed=1)
    with pytest.raises(ImputationError, match="agi has shape"):
        stratified_sample(dataset, agi[::2], households=9, seed=1)


@pytest.mark.parametrize(
    ("options", "message"), [({"top_share": 1.0}, "top_share is 1"), ({"strata": 0}, "strata is 0")]
)
def test_senseless_options_are_refused(options, message):
    """An impossible option is an error when it is made."""
    with pytest.raises(ImputationError, match=message):
        SampleOptions(**options)


# -- the tax file ----------------------------------------------------------------------


def test_the_top_of_the_tax_file_stays_whole():
    """Rows at or above the percentile are all kept, at their own weight."""
    agi, return_id, weight = returns()
    sample = donor_subsample(agi, return_id, weight, rows=100, top_percentile=95, seed=1)
    top = np.flatnonzero(agi >= np.percentile(agi, 95))
    assert np.isin(top, sample.rows).all()
    assert (sample.factor[np.isin(sample.rows, top)] == 1).all()
    assert (np.diff(sample.rows) > 0).all()


def test_returns_stay_whole_and_the_size_is_met():
    """All rows of a return stay or go, and the target is passed by one return at most."""
    agi, return_id, weight = returns()
    sample = donor_subsample(agi, return_id, weight, rows=100, seed=1)
    largest = np.bincount(return_id).max()
    assert 100 <= len(sample.rows) < 100 + largest
    assert np.isin(return_id, return_id[sample.rows]).sum() == len(sample.rows)


def test_every_return_below_the_top_has_its_chance():
    """Over many seeds returns below the top are kept equally often."""
    agi, return_id, weight = returns(120)
    below = np.unique(return_id[agi < np.percentile(agi, 90)])
    kept, runs = np.zeros(len(below)), 300
    for seed in range(runs):
        sample = donor_subsample(agi, return_id, weight, rows=60, top_percentile=90, seed=seed)
        kept += np.isin(below, return_id[sample.rows])
    # 4.5 standard errors for some 50 returns, and 3 points because sizes of returns differ.
    share = kept.mean() / runs
    assert np.abs(kept / runs - share).max() < 4.5 * np.sqrt(0.25 / runs) + 0.03


def test_what_is_dropped_is_carried_by_the_rest():
    """Weights times factors sum to what they were, so the top is not over-weighted."""
    agi, return_id, weight = returns()
    sample = donor_subsample(agi, return_id, weight, rows=80, top_percentile=90, seed=1)
    assert (weight[sample.rows] * sample.factor).sum() == pytest.approx(weight.sum())
    assert sample.factor.max() > 2


def test_the_tax_file_is_kept_when_it_is_small():
    """A file no larger than the target is taken as it is."""
    agi, return_id, weight = returns()
    whole = donor_subsample(agi, return_id, weight, rows=400, seed=1)
    assert np.array_equal(whole.rows, np.arange(400))
    assert (whole.factor == 1).all()


def test_a_top_that_leaves_no_room_is_refused():
    """A top as large as the target would stand for everybody below it; that is an error."""
    agi, return_id, weight = returns()
    with pytest.raises(ImputationError, match="nobody would stand for the rest"):
        donor_subsample(agi, return_id, weight, rows=5, top_percentile=50, seed=1)


def test_the_order_of_returns_means_nothing():
    """A shuffled tax file keeps the same returns."""
    agi, return_id, weight = returns()
    order = np.random.default_rng(1).permutation(400)
    one = donor_subsample(agi, return_id, weight, rows=100, seed=1)
    two = donor_subsample(agi[order], return_id[order], weight[order], rows=100, seed=1)
    assert np.array_equal(np.sort(order[two.rows]), one.rows)


def test_a_tax_file_that_contradicts_itself_is_refused():
    """Two incomes for one return, or a senseless size, is an error."""
    agi, return_id, weight = returns()
    agi[3] += 1
    with pytest.raises(ImputationError, match="persons with different adjusted_gross_income"):
        donor_subsample(agi, return_id, weight, rows=100, seed=1)
    with pytest.raises(ImputationError, match="0 rows"):
        donor_subsample(agi, return_id, weight, rows=0, seed=1)
