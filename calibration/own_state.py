"""Stage 1 for records that stay where they are: each in the state it was sampled in.

A run may stop at any level of its geography. Records that come with a state and no block
need no clones: every record has one column, in its own state, with certainty.

    C = R,     pi_h = 1,     w0_h = design_weight_h

The weights of the file are the start, as they are. What they miss, such as a population that
is too large, is left to the targets.

Axes: columns j = records h in [0, R).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import HOUSEHOLD, Dataset
from calibration.errors import GeographyError
from calibration.geography import STATE_LETTERS, Level

__all__ = ["design_weights", "own_states"]


def own_states(dataset: Dataset) -> GeographyAssignment:
    """Leave every record in its own state.

    Parameters
    ----------
    dataset : Dataset
        The R records, with the household column `state_fips`.

    Returns
    -------
    GeographyAssignment
        One clone of each record, with codes of states and no other level.

    Raises
    ------
    GeographyError
        If there is no such column, or a code is not that of a state.
    """
    if "state_fips" not in dataset.household:
        raise GeographyError("the household table has no column 'state_fips' to stay in")
    state = dataset.household["state_fips"]
    unknown = ~np.isin(state, list(STATE_LETTERS))
    if unknown.any():
        who = dataset.household["household_id"][unknown][0]
        raise GeographyError(f"household {who} lives in state {state[unknown][0]}, which is none")
    return GeographyAssignment(dataset.size(HOUSEHOLD), 1, {Level.STATE: state.astype(np.int64)})


def design_weights(dataset: Dataset) -> NDArray[np.float64]:
    """Give every record its own weight to start from, shape (R,).

    Raises
    ------
    GeographyError
        If a design weight is 0 or missing: a weight that starts at 0 never leaves it.
    """
    if "design_weight" not in dataset or not (dataset["design_weight"] > 0).all():
        raise GeographyError("every record needs a design_weight greater than 0")
    return dataset["design_weight"].astype(np.float64)
