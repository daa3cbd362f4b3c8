"""The gate phase of a large fit: the compiled pass, and what goes in and out of it.

    begin    y = X w from the partial sums,  loss,  v = dL/dy
    end      one pass: pull of v, Adam's step, gates and sums of the next epoch

It does what `calibration.l0.objective.gate_objective` and `calibration.l0.state.Adam.step` do, in
one walk over X, and agrees with them to 1e-12 in float64. There are two because each does
what the other cannot: theirs has equal bits on every machine and waits for no compiler,
this one is some hundred times faster than automatic differentiation of the same sums, and
has equal bits on one machine, whatever is logged, wherever it is resumed, with any number
of threads.

Parameters are written from one array into another, so that the state before a step is there
if the step was too wide.

Axes: columns j (C), in the order of the form; pairs p of block and finest row (P).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import rng
from calibration.l0.gates import gate_threshold
from calibration.l0.run import Run
from calibration.l0.shared import SharedForm
from calibration.l0.state import DECAYS, Rates
from calibration.l0.strips import Strips

__all__ = ["CompiledGates"]


class CompiledGates:
    """The gate phase of a run whose form is `Strips`, or one process's share of it.

    Parameters
    ----------
    run : Run
        Its Adam state is advanced in place.
    rates : Rates
        Of the whole phase.
    """

    def __init__(self, run: Run, rates: Rates) -> None:
        form = (
            run.problem.form.own if isinstance(run.problem.form, SharedForm) else run.problem.form
        )
        if not isinstance(form, Strips):
            raise TypeError(f"{type(form).__name__} is not a form for compiled loops")
        self._run, self._rates, self._form = run, rates, form
        state, options = run.gates, run.options
        self._dtype = state.parameters.dtype
        self._spare = np.empty_like(state.parameters)
        self._weights = np.empty(run.problem.n_columns, self._dtype)
        self._slopes = np.empty_like(self._weights)
        beta, (gamma, zeta) = options.temperature, options.stretch
        l2 = {options.l2_on: 2.0 * options.l2}
        prices = (options.penalty, gate_threshold(options), l2.get("gated", 0.0))
        self._shape = self._cast((beta, gamma, zeta))
        self._prices = self._cast((*prices, l2.get("ungated", 0.0)))
        self._values = np.empty(0, self._dtype)
        self._partial = self._pass(state.epoch + 1, self._cast((1.0, 1.0, 1.0, *DECAYS)))

    def begin(self) -> float:
        """Begin the next epoch.

        Returns
        -------
        float
            The misfit at its sampled gates.
        """
        loss, slope = self._run.problem.judge(self._run.problem.form.from_pairs(self._partial))
        self._values = self._form.to_pairs(slope).astype(self._dtype)
        return loss

    def end(self) -> None:
        """Make the step of the epoch, and the gates of the one after it."""
        state, e = self._run.gates, self._run.gates.epoch
        rates = (self._rates.step[e], self._rates.root[e], self._run.options.adam_epsilon)
        self._partial = self._pass(e + 2, self._cast((*rates, *DECAYS)))
        state.parameters, self._spare = self._spare, state.parameters
        state.epoch += 1

    def _pass(self, epoch: int, rates: NDArray[Any]) -> NDArray[np.float64]:
        """Walk over X; `epoch` is the one whose gates are made."""
        import calibration.l0.passes as passes  # noqa: PLR0402

        run, state, layout = self._run, self._run.gates, self._form.layout
        moments = (state.parameters, self._spare, state.first, state.second)
        arrays = (*moments, self._weights, self._slopes)
        terms = (self._shape, self._prices, rates)
        noise = (run.problem.column_key, np.uint64(0), self._cast(()))
        if run.noise.keyed:
            key = rng.key(run.options.seed, "gate", epoch)
            noise = (run.problem.column_key, np.uint64(key), self._cast(()))
        elif epoch <= run.options.epochs:  # gates after the last epoch are nobody's
            noise = (run.problem.column_key, np.uint64(0), run.noise(epoch).astype(self._dtype))
        partial = np.zeros(self._form.pair_row.size)
        self._form.share_out(
            lambda lo, hi: passes.advance(
                layout, lo, hi, self._values, arrays, terms, noise, partial
            )
        )
        return partial

    def _cast(self, numbers: tuple[float, ...]) -> NDArray[Any]:
        return np.array(numbers, dtype=self._dtype)
