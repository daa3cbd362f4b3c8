"""Targets that compare two laws: rows of X like any other, simulated and audited as such."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import toy
from calibration.gather import Path, row_paths
from calibration.geography import Area, Level
from calibration.identity import FileClaim, check_identity
from calibration.matrix_builder import build_matrix
from calibration.publish_local_area import build_h5
from calibration.targets import Target

GIFTS, SALT, BUSINESS = (
    f"{name}_tax_expenditure"
    for name in ("charitable_deduction", "salt_deduction", "qualified_business_income_deduction")
)


@pytest.fixture(scope="module")
def state():
    """Give the toy run with its weights."""
    return toy.after("weights")


@pytest.fixture(scope="module")
def matrix(state):
    """Ask for three tax expenditures in every state."""
    rows = [
        Target(variable=variable, level=Level.STATE, code=code, constraints=(), period=2024,
               value=1e6)
        for code in np.unique(state.geography.state).tolist()
        for variable in (GIFTS, SALT, BUSINESS)
    ]  # fmt: skip
    return build_matrix(state.clones, rows, w0=state.matrix.w0)


def test_an_entry_is_the_difference_of_two_simulations(state, matrix):
    """Simulated with their gifts and without, the homes of a column differ by its entry."""
    columns = np.flatnonzero(state.geography.state == 49)  # Utah's own tax is left out
    homes = state.clones.households(columns)
    none = dict.fromkeys(
        ("charitable_cash_donations", "charitable_non_cash_donations"),
        np.zeros(homes.size("person")),
    )
    taxes = [
        state.engine.simulate(data, ["income_tax"], 2024)["income_tax"]
        for data in (homes, homes.with_columns("person", none))
    ]
    saved = np.bincount(homes.household_of("tax_unit"), taxes[1] - taxes[0], len(columns))
    row = matrix.names.index(f"state_49/{GIFTS}")
    np.testing.assert_allclose(
        matrix.X[row].toarray().ravel()[columns], saved, rtol=1e-6, atol=1e-6
    )
    assert (saved > 0).any()


def test_the_shortcut_is_refused(state, matrix):
    """Income tax reads who takes up the EITC, so its difference does, and no clone is copied."""
    for path in row_paths(state.clones, matrix.targets, gather=True):
        assert path.path is Path.REFUSED, path.target
        assert "takes_up_eitc" in path.because


def test_matrix_and_file_agree(state, matrix, tmp_path):
    """The file of a state, opened in another process, has the totals that X w says."""
    clones = state.clones
    area = Area.state(37)
    file = build_h5(state.weights, clones.geography, clones.dataset, tmp_path / "NC.h5", area,
                    takeup=clones.thresholds, engine=clones.engine)  # fmt: skip
    claim = FileClaim.of(area, file.path, state.weights, clones.geography)
    report = check_identity(matrix, [claim], clones.dataset, clones.engine)
    found = [c for c in report.comparisons if c.target.endswith("_tax_expenditure")]
    assert sum(c.written > 0 for c in found) >= 2
    report.require()
    wrong = replace(matrix, X=1.001 * matrix.X)
    assert check_identity(wrong, [claim], clones.dataset, clones.engine).broken
