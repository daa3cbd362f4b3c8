"""Every failure of the catalogue is put in and is noticed; a run without one is not."""

import numpy as np
import pytest
from scipy import sparse

from calibration import toy
from calibration.checks import float64_sums
from calibration.errors import IdentityError
from calibration.failures import FAILURES, Experiment, demonstrate, find
from calibration.geography import Area, Level
from calibration.identity import TOLERANCE
from calibration.matrix import CalibrationMatrix
from calibration.targets import Target

SUMS = "float32-sums"  # nothing to notice on 300 columns; shown on five million below
INJECTED = [failure for failure in FAILURES if failure.name != SUMS]
NAMES = [failure.name for failure in INJECTED]


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    """Take the nation, two states and a district of the toy run."""
    state = toy.after("weights")
    areas = [Area.nation(), Area.state(6), Area.state(37), Area.district(3702)]
    return Experiment(
        state.clones, state.targets, state.weights, state.matrix.w0, areas, state.inputs.crosswalk
    )


@pytest.mark.parametrize("side", ["file", "kernel"])
def test_where_nothing_is_wrong_nothing_complains(experiment, side):
    """Without a failure the identity holds on every area and every check passes."""
    outcome = demonstrate(experiment, None, side)
    assert outcome.noticed_by == []
    assert len({c.file for c in outcome.identity.comparisons}) == len(experiment.areas)
    assert all(check.compared for check in outcome.checks)


@pytest.mark.parametrize("failure", INJECTED, ids=NAMES)
def test_a_fault_on_the_files_side_breaks_the_identity(experiment, failure):
    """Files that were written with a fault no longer add up to X w; the kernel is clean."""
    outcome = demonstrate(experiment, failure, "file")
    assert outcome.noticed_by == ["identity"]
    with pytest.raises(IdentityError, match="rows differ between matrix and files"):
        outcome.identity.require()


@pytest.mark.parametrize("failure", INJECTED, ids=NAMES)
def test_a_fault_in_the_kernel_is_seen_by_its_check_alone(experiment, failure):
    """If matrix and files share the fault, the identity holds and the named check complains."""
    outcome = demonstrate(experiment, failure, "kernel")
    outcome.identity.require()
    assert failure.detector in outcome.noticed_by
    assert "identity" not in outcome.noticed_by


@pytest.mark.parametrize("failure", INJECTED, ids=NAMES)
def test_a_fault_ends_with_its_block(experiment, failure):
    """Inside its block a fault acts, after it columns come out as they did before."""
    clones, columns = experiment.clones, np.arange(300)
    before = clones.households(columns)
    with failure.inject():
        inside = failure.spoil(clones).households(columns)
        assert any(not np.array_equal(before[name], inside[name]) for name in before.names())
    after = clones.households(columns)
    for name in before.names():
        assert np.array_equal(before[name], after[name]), name


@pytest.fixture(scope="module")
def long_row() -> tuple[CalibrationMatrix, np.ndarray]:
    """One national row of five million columns, with weights like survey weights."""
    rng = np.random.default_rng(5)
    n = 5_000_000
    X = sparse.csr_array(rng.integers(0, 60_000, n).astype(np.float32)[None, :])
    X.eliminate_zeros()
    target = Target(
        variable="snap", level=Level.NATION, code=0, constraints=(), period=2024, value=1e9
    )
    weights = rng.lognormal(3, 1, n)
    return CalibrationMatrix(X, [target], weights, np.arange(n), {}), weights


def test_a_float32_sum_of_five_million_terms_breaks_the_identity(long_row):
    """The single-precision product is off by more than the identity tolerates of sum |x| w."""
    matrix, weights = long_row
    right = matrix.estimates(weights)
    with find(SUMS).inject():
        wrong = matrix.estimates(weights)
    scale = abs(matrix.X).astype(np.float64) @ weights
    assert (np.abs(wrong - right) > TOLERANCE * scale).all()


def test_float32_sums_in_the_kernel_are_seen_by_their_check(long_row):
    """`float64_sums` passes on the package's estimates and fails on single-precision ones."""
    matrix, weights = long_row
    assert float64_sums(matrix, [weights]).passed
    with find(SUMS).inject():
        found = float64_sums(matrix, [weights])
    assert (found.compared, found.wrong) == (1, 1)
    assert found.name == find(SUMS).detector
    assert "national/snap" in found.example


def test_the_catalogue_says_what_each_failure_is():
    """Names differ, each entry tells mistake and symptom, and some check detects it."""
    state = toy.after("weights")
    checks = {check.name for check in demonstrate_nothing(state).checks}
    assert len({failure.name for failure in FAILURES}) == len(FAILURES)
    for failure in FAILURES:
        assert failure.mistake
        assert failure.symptom
        assert failure.detector in checks
        assert find(failure.name) is failure
    assert {failure.detector for failure in FAILURES} == checks  # no check without a failure


def demonstrate_nothing(state):
    """Run the checks on a district."""
    areas = [Area.district(3702)]
    parts = (state.clones, state.targets, state.weights, state.matrix.w0, areas)
    return demonstrate(Experiment(*parts, state.inputs.crosswalk), None, "file")


def test_an_unknown_failure_is_refused_with_a_hint():
    """A misspelt name is an error that names the near one."""
    with pytest.raises(IdentityError, match="did you mean 'wrong-county'"):
        find("wrong-country")
