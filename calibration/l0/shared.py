"""A fit that several processes share: each holds some of the 64 blocks of columns.

    y = X w     partial sums of each process's pairs of block and row, gathered, and added in
                block order by every process
    sums        over columns: one partial sum for each block, gathered, added in block order

All else in an epoch belongs to single columns: pull, gates, noise, Adam's step. Processes own
runs of neighbouring blocks, so the gathered partial sums stand in the order in which one process
has them, and the fit has equal bits for any number of processes (of compiled loops: on like
processors). Every process knows every loss, so all take the same decisions. Parameters are
gathered for a result or a checkpoint, which is thus that of the whole fit and can be resumed by
any number of processes.

X is read and laid out whole by every process, which then keeps its part: this is the
largest memory that a process needs, and what it needs from then on is shared out. (Strips that
several blocks have in common are held by each owner.)

Axes: as in `calibration.l0.forms`; C and P are those of this process where nothing else is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FitError
from calibration.files import hash_arrays
from calibration.l0.forms import BLOCKS, Form, share_out
from calibration.l0.noise import keyed_noise
from calibration.l0.run import Run
from calibration.l0.state import Adam
from calibration.l0.team import Team

__all__ = ["SharedForm", "share"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SharedForm:
    """The columns of one process; what it says of rows, it says of all columns.

    Parameters
    ----------
    own : Form
        Of the columns of this process.
    team : Team
    pair_row : array of int64
        Finest row of each pair of all processes, in block order.
    places : (C,) array of int64
        Where the columns of this process stand in the whole.
    all_places : (all C,) array of int64
        The same for all processes, one after the other.
    order : (all C,) array of int64 or None
        Of the whole; see `Form.order`.
    """

    own: Form
    team: Team
    pair_row: Indices
    places: Indices
    all_places: Indices
    order: Indices | None

    @classmethod
    def of(cls, own: Form, team: Team, places: Indices, order: Indices | None = None) -> SharedForm:
        """Tell the other processes of a part, and hear of theirs.

        Parameters
        ----------
        own : Form
        team : Team
        places : (C,) array of int64
            Where the columns of this process stand in the whole.
        order : (all C,) array of int64 or None

        Returns
        -------
        SharedForm
        """
        pair_row = team.gather(own.pair_row, "rows of pairs")
        return cls(own, team, pair_row, places, team.gather(places, "places"), order)

    @property
    def shape(self) -> tuple[int, int]:
        """(T, C)."""
        return self.own.shape

    @property
    def is_compiled(self) -> bool:
        """As its own part."""
        return self.own.is_compiled

    @property
    def n_finest(self) -> int:
        """F, the number of finest rows."""
        return self.own.n_finest

    def pair_sums(self, weights: Floats) -> Floats:
        """Give the partial sums of its own pairs; see `Form.pair_sums`."""
        return self.own.pair_sums(weights)

    def from_pairs(self, partial: Floats) -> Floats:
        """Give X w of all columns, for the partial sums of its own pairs."""
        every = self.team.gather(partial, "partial sums")
        total = np.bincount(self.pair_row, every, minlength=self.n_finest)
        return self.combine(np.asarray(total, dtype=np.float64))

    def combine(self, total: Floats) -> Floats:
        """Give X w for sums over the finest rows; see `Form.combine`."""
        return self.own.combine(total)

    def estimates(self, weights: Floats) -> Floats:
        """Give X w of all columns."""
        return self.from_pairs(self.pair_sums(weights))

    def all_blocks(self, partial: Floats) -> Floats:
        """Give the sums of all blocks; those of others are 0 here."""
        every = self.team.gather(partial, "sums of blocks")
        return every.reshape(self.team.size, BLOCKS).sum(axis=0)

    def all_columns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Give values of all columns, in the order of the whole."""
        rows = np.atleast_2d(values)
        out = np.empty((len(rows), self.all_places.size), values.dtype)
        for row, into in zip(rows, out, strict=True):
            into[self.all_places] = self.team.gather(row, "columns")
        return out.reshape(*values.shape[:-1], -1)

    def pull(self, row_values: Floats) -> Floats:
        """Give the transpose of X times a vector, for its own columns."""
        return self.own.pull(row_values)

    def touched(self, row_values: Floats) -> Floats:
        """Add a vector over the rows of its own columns; see `Form.touched`."""
        return self.own.touched(row_values)

    def largest(self, weights: Floats) -> Floats:
        """Give the largest contribution of any column to each row."""
        every = self.team.gather(self.own.largest(weights), "largest contributions")
        return every.reshape(self.team.size, -1).max(axis=0)

    def signs(self, kept: Bools | None = None) -> tuple[Bools, Bools]:
        """Say which signs each row has in any column; see `Form.signs`."""
        every = self.team.gather(np.concatenate(self.own.signs(kept)), "signs")
        down, up = np.logical_or.reduce(every.reshape(self.team.size, 2, -1))
        return down, up

    def restrict(self, kept: Bools) -> SharedForm:
        """Give the form of fewer columns; every process calls it for its own."""
        number = np.cumsum(self.all_columns(kept)) - 1
        return SharedForm.of(self.own.restrict(kept), self.team, number[self.places[kept]])

    def part(self, lo: int, hi: int) -> tuple[Form, Indices]:
        """Give the form of some of its own blocks; see `Form.part`."""
        return self.own.part(lo, hi)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays of its own part; see `Form.arrays`."""
        return self.own.arrays()


def share(run: Run, team: Team) -> Run:
    """Give a run of the columns of this process's blocks, for a run of all columns.

    Parameters
    ----------
    run : Run
        At its start, or where a checkpoint left it; equal in all processes.
    team : Team

    Returns
    -------
    Run
        The one that was given, if this process is alone.

    Raises
    ------
    FitError
        If there are more processes than blocks, controls, or processes with other arguments.
    """
    if team.size == 1:
        return run
    if team.size > BLOCKS:
        raise FitError(f"{team.size} processes share {BLOCKS} blocks; start at most {BLOCKS}")
    if run.options.controlled:
        raise FitError(
            "controls of weights run in one process: leave out bounds on weights and a price by "
            "norm, or distributed=True"
        )
    whole, signature = run.problem, run.problem.signature()
    team.require_equal(
        {
            "problem": signature,
            "options": json.dumps(run.options.facts(), sort_keys=True),
            "noise": run.noise.name(),
            "checkpoint to resume": hash_arrays(run.checkpoint().arrays()),
        }
    )
    cuts = share_out(whole.block, team.size)
    own, places = whole.form.part(cuts[team.rank], cuts[team.rank + 1])
    problem = whole.of_columns(SharedForm.of(own, team, places, whole.form.order), places)
    keyed = run.noise.keyed
    refit = run.refit
    if refit is not None:
        _, kept = run.median()
        number = np.cumsum(kept) - 1
        refit = _part(refit, number[places[kept[places]]])
    return replace(
        run,
        problem=problem,
        noise=keyed_noise(problem, run.options) if keyed else replace(run.noise, part=places),
        gates=_part(run.gates, places),
        refit=refit,
        team=team,
        signature=signature,
    )


def _part(state: Adam, places: Indices) -> Adam:
    arrays = (state.parameters, state.first, state.second)
    return Adam(*(array[..., places] for array in arrays), epoch=state.epoch)
