"""Every failure of the catalogue is put in and is noticed; a run without one is not."""

from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import pytest
from scipy import sparse

from calibration import materialise, publish_local_area, takeup, thresholds, toy
from calibration.checks import float64_sums
from calibration.errors import IdentityError, ImputationError
from calibration.failures import FAILURES, Experiment, Failure, demonstrate, find, puf
from calibration.geography import Area, Level
from calibration.identity import TOLERANCE
from calibration.matrix import CalibrationMatrix
from calibration.pipeline import run
from calibration.puf_checks import check_puf
from calibration.puf_impute import PufOptions, impute
from calibration.qrf import ForestOptions
from calibration.targets import Target

SUMS = "float32-sums"  # nothing to notice on 300 columns; shown on five million below
OF_RECORDS = puf.FAILURES  # before there are columns; see the end
OF_TARGETS = [f for f in FAILURES if f.detector == "level_gaps"]  # see test_level_gaps.py
INJECTED = [f for f in FAILURES if f.name != SUMS and f not in (*OF_RECORDS, *OF_TARGETS)]
ONE_SIDED = [(f, side) for f in INJECTED for side in f.sides if side != "kernel"]
IN_COLUMNS = [failure for failure in INJECTED if failure.detector != "identity"]

NOTICED_BY = {
    "clone-not-in-key": ["takeup_key", "filer_gate"],  # a wrong flag lets others file
    "stale-threshold": ["thresholds_current"],
    "wrong-county": ["geography_of_block"],
    "filer-gate-off": ["takeup_key", "filer_gate"],
    "id-off-by-one": ["entity_links"],
    "next-state": ["columns_copied"],
    "columns-lost": ["identity"],
    "block-in-key": ["takeup_key", "filer_gate"],
    "draws-in-sequence": ["identity", "takeup_key", "filer_gate"],  # rows are not the same
    "threshold-per-file": ["identity", "takeup_key"],  # nor are the pools
    "survey-takeup-kept": ["takeup_key", "filer_gate"],
    "takeup-left-on": ["takeup_key", "filer_gate"],
    "would-file-ignored": ["takeup_key", "filer_gate"],
    "first-clone-wins": ["identity", "geography_of_block"],
    "one-zip": ["geography_of_block"],
    "clones-stacked": ["identity"],
    "geography-drawn-again": ["identity"],
}
"""Everything that complains about each failure in the kernel, and nothing else does."""

OFTEN = list(NOTICED_BY)[:7]  # the others are relatives of these, and wait for `make verify`
IN_KERNEL = [
    pytest.param(find(name), id=name, marks=() if name in OFTEN else pytest.mark.slow)
    for name in NOTICED_BY
]


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


@pytest.mark.parametrize(("failure", "side"), ONE_SIDED, ids=[f.name for f, _ in ONE_SIDED])
def test_a_fault_on_one_side_breaks_the_identity(experiment, failure, side):
    """With a fault in the files or in the matrix alone, they disagree; the kernel is clean."""
    outcome = demonstrate(experiment, failure, side)
    assert outcome.noticed_by == ["identity"]
    with pytest.raises(IdentityError, match="rows differ between matrix and files"):
        outcome.identity.require()


def test_every_failure_of_the_kernel_is_tried():
    """What can sit in the kernel stands in the table above."""
    assert {f.name for f in INJECTED if "kernel" in f.sides} == set(NOTICED_BY)


@pytest.mark.parametrize("failure", IN_KERNEL)
def test_a_fault_in_the_kernel_is_seen_by_its_check(experiment, failure):
    """If thresholds, matrix and files share the fault, exactly the named checks complain."""
    outcome = demonstrate(experiment, failure, "kernel")
    assert outcome.noticed_by == NOTICED_BY[failure.name]
    assert failure.detector in outcome.noticed_by


# -- faults beyond the catalogue ---------------------------------------------------------


def nobody_reports(_original):
    """Forget who reports receipt."""
    return lambda dataset, programme: np.zeros(dataset.size(programme.entity), dtype=bool)


def one_child(original):
    """Count one child at most."""
    return lambda dataset: np.minimum(original(dataset), 1)


def units_swapped(original):
    """Give the members of a home's first tax unit those of its last, and the other way round."""

    def swapped(dataset, entity, rows):
        unit = original(dataset, entity, rows)
        if entity != "tax_unit":
            return unit
        mine, home = rows[entity], rows["person"].column
        last = np.bincount(mine.column, minlength=len(mine.start))[home] - 1
        return 2 * mine.start[home] + last - unit

    return swapped


def wages_halved(original):
    """Copy half of every wage."""

    def halved(dataset, entity, rows, state):
        made = original(dataset, entity, rows, state)
        wage = made.get("employment_income", lambda: 0)
        return made | ({"employment_income": lambda: wage() / 2} if entity == "person" else {})

    return halved


def everywhere(name, value):
    """Write one code for every column."""

    def fault(original):
        def written(geography, columns):
            return original(geography, columns) | {name: lambda: np.full(len(columns), value)}

        return written

    return fault


def first_clone(original):
    """Take every column for one of clone 0."""
    return lambda columns, records: (columns * 0, original(columns, records)[1])


BEYOND = [
    ("reports forgotten", nobody_reports, [(takeup, "reports"), (thresholds, "reports")],
     "takeup_key"),
    ("children capped at one", one_child, [(takeup, "children")], "takeup_key"),
    ("units of a home swapped", units_swapped, [(materialise, "_unit_of_person")], "entity_links"),
    ("wages halved", wages_halved, [(materialise, "_copied")], "columns_copied"),
    ("one clone", first_clone, [(materialise, "clone_and_record")], "columns_copied"),
    ("one ZIP code", everywhere("zip_code", "90012"), [(materialise, "_geography")],
     "geography_of_block"),
    ("no place", everywhere("place_fips", ""), [(materialise, "_geography")],
     "geography_of_block"),
    ("one tract", everywhere("tract_geoid", "37183050100"), [(materialise, "_geography")],
     "geography_of_block"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "where", "check"), [row[1:] for row in BEYOND], ids=[row[0] for row in BEYOND]
)
def test_a_fault_that_nobody_listed_is_seen(experiment, fault, where, check):
    """Faults that matrix and files share are seen, each by the check of its subject alone."""

    @contextmanager
    def inject():
        with ExitStack() as patches:
            for module, name in where:
                faulty = fault(getattr(module, name))
                patches.enter_context(mock.patch.object(module, name, faulty))
            yield

    outcome = demonstrate(experiment, Failure("", "", "", check, inject), "kernel")
    assert outcome.noticed_by == [check]


# -- what an injection leaves behind -----------------------------------------------------


@pytest.mark.parametrize("failure", IN_COLUMNS, ids=[f.name for f in IN_COLUMNS])
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


def test_columns_are_lost_while_the_fault_lasts(experiment):
    """Inside its block an area has two thirds of its columns, after it all of them."""
    parts = (experiment.weights, experiment.clones.geography, Area.state(37))
    before, _ = publish_local_area.area_columns(*parts)
    with find("columns-lost").inject():
        inside, _ = publish_local_area.area_columns(*parts)
    assert inside.tolist() == before[: 2 * len(before) // 3].tolist()
    assert len(publish_local_area.area_columns(*parts)[0]) == len(before) > len(inside)


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
    """Names differ, each entry tells mistake and symptom, and each check detects one."""
    state = toy.after("weights")
    checks = {check.name for check in demonstrate_nothing(state).checks}
    base = toy.after("base")
    parts = (base.dataset, base.inputs.donors["puf"], toy.after("puf").dataset)
    checks |= {check.name for check in check_puf(*parts)}
    assert len({failure.name for failure in FAILURES}) == len(FAILURES)
    for failure in FAILURES:
        assert failure.mistake
        assert failure.symptom
        assert find(failure.name) is failure
    assert {failure.detector for failure in FAILURES} == checks | {"identity", "level_gaps"}


def demonstrate_nothing(state):
    """Run the checks on a district."""
    areas = [Area.district(3702)]
    parts = (state.clones, state.targets, state.weights, state.matrix.w0, areas)
    return demonstrate(Experiment(*parts, state.inputs.crosswalk), None, "file")


# -- faults of the records ---------------------------------------------------------------

RECORDS_NOTICED_BY = {
    # the other checks find halves by their ids, and so compare wrong ones
    "ids-behind-the-largest": [
        "halves_paired",
        "answers_kept",
        "rows_of_donor",
        "contributions_allowed",
        "weeks_follow_benefit",
    ],
    "losses-clipped": ["answers_kept", "rows_of_donor"],  # answers are clipped, too
}
OPTIONS = PufOptions(forest=ForestOptions(trees=5))


@pytest.mark.parametrize("failure", OF_RECORDS, ids=[f.name for f in OF_RECORDS])
def test_a_fault_of_the_puf_stage_is_seen_by_its_check(failure):
    """With a fault in the stage exactly the named checks complain; after the block none does."""
    base = toy.after("base")
    survey, donor = base.dataset, base.inputs.donors["puf"]
    with failure.inject():
        wrong = impute(survey, donor, seed=0, options=OPTIONS)
    complaints = [check.name for check in check_puf(survey, donor, wrong) if not check.passed]
    assert complaints == RECORDS_NOTICED_BY.get(failure.name, [failure.detector])
    assert failure.detector in complaints
    right = impute(survey, donor, seed=0, options=OPTIONS)
    assert all(check.passed for check in check_puf(survey, donor, right))


def test_a_run_with_a_fault_in_the_puf_stage_stops_there(tmp_path):
    """The stage stores nothing that its checks do not let through."""
    with (
        find("overrides-lost").inject(),
        pytest.raises(ImputationError, match="check rows_of_donor: "),
    ):
        run(toy.folder(), tmp_path / "run")
    assert not (tmp_path / "run" / "artifacts" / "records.npz").exists()


@pytest.mark.parametrize("failure", [*OF_RECORDS, *OF_TARGETS], ids=lambda f: f.name)
def test_what_acts_before_there_are_columns_has_no_side(experiment, failure):
    """A fault of records or targets is not demonstrated on columns: it would seem unnoticed."""
    assert failure.sides == ()
    for side in ("file", "kernel", "matrix"):
        with pytest.raises(IdentityError, match=f"columns: .* run {failure.detector}"):
            demonstrate(experiment, failure, side)


def test_a_side_where_a_failure_cannot_act_is_refused(experiment):
    """Asking for another side than a failure has is an error that names those it has."""
    with pytest.raises(IdentityError, match="on side 'matrix'; give 'file' or 'kernel'"):
        demonstrate(experiment, find("wrong-county"), "matrix")


def test_an_unknown_failure_is_refused_with_a_hint():
    """A misspelt name is an error that names the near one."""
    with pytest.raises(IdentityError, match="did you mean 'wrong-county'"):
        find("wrong-country")
