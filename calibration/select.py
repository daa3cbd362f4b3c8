"""Choose the penalty by what it is for: a number of records.

    find lambda_0 with | retained(lambda_0) - budget | <= 2 % of budget

How many columns a penalty retains depends on the matrix, its scale and the number of
epochs, so a penalty that was right for one matrix says nothing about the next. A budget
does. `fit_to_budget` runs the gate phase for a few penalties, brackets the budget,
interpolates log(retained) against log10(penalty), and fits the survivors of the best
penalty only. If no penalty comes within 2 %, the result is the nearest count that was
reached, with the counts on both sides of the budget beside it.

A preset is a share of the columns: `local` 0.7, enough for every district to have its
own records; `national` 0.01, a file that fits on a laptop. A preset never settles for fewer
records than there are reachable targets while some penalty keeps more, because as many
equations cannot in general be met by fewer weights; `BudgetFit.bound` says when that
decides the budget.

Trials share the problem and its noise, and each starts from the beginning: a start from
another penalty's end would make the result depend on the search. The chosen fit is
equal to `fit_l0` with that penalty, bit for bit. What a `watch` saw of it is handed out with
it, so nobody has to fit again to have a log.

Axes: rows T, columns C.

Source: bisection on log10(lambda): L0 paper harness (PolicyEngine/l0-paper at 0c97a0d).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.errors import FitError, near
from calibration.l0 import L0Fit, finish
from calibration.l0.options import L0Options
from calibration.l0.phases import run_gates
from calibration.l0.problem import Problem
from calibration.l0.run import EpochStep, Run, Status, start_run

__all__ = ["PRESETS", "BudgetFit", "Trial", "fit_to_budget"]

PRESETS = {"local": 0.7, "national": 0.01}
"""Budgets as shares of the columns."""

_TOLERANCE = 0.02
_TRIALS = 16  # three times what a smooth curve needs
_DIGITS = 3  # a penalty is rounded to so many: readable, and equal on every machine
_FIRST = 1e-4
_LOWEST, _HIGHEST = 1e-12, 1e6  # the latter times the loss, if that exceeds 1


class Trial(NamedTuple):
    """One penalty and how many columns it retained."""

    penalty: float
    retained: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BudgetFit:
    """The fit nearest to a budget, and the search that led to it.

    Parameters
    ----------
    fit : L0Fit
        Of the chosen penalty.
    budget : int
        Records aimed at.
    asked : int
        Records asked for, before the number of reachable targets raised it.
    bound : bool
        Whether the number of reachable targets decided the budget.
    reached : bool
        Whether `fit` retains a number within 2 % of the budget, and under a preset no fewer
        than the reachable targets.
    more, fewer : Trial or None
        The trials next to the budget on both sides, `more` with at least as many records;
        None if no trial lies there.
    trials : tuple of Trial
        All of them, in the order they were made.
    watched : tuple
        What `watch` gave for the chosen fit, gate phase and refit, in that order.
    """

    fit: L0Fit
    budget: int
    asked: int
    bound: bool
    reached: bool
    more: Trial | None
    fewer: Trial | None
    trials: tuple[Trial, ...]
    watched: tuple[Any, ...]


@dataclass(slots=True, eq=False)
class _Watched:
    """A run with what was seen of it; stands as its observer, and never pauses it."""

    run: Run
    watch: Callable[[EpochStep], Any] | None
    status: Status | None = None
    seen: list[Any] = field(default_factory=list)

    def observe(self, step: EpochStep) -> None:
        value = None if self.watch is None else self.watch(step)
        if value is not None:
            self.seen.append(value)


def fit_to_budget(
    X: Any,
    t: ArrayLike,
    *,
    records: int | None = None,
    preset: str | None = None,
    w0: ArrayLike | None = None,
    options: L0Options | None = None,
    column_key: ArrayLike | None = None,
    block: ArrayLike | None = None,
    group: ArrayLike | None = None,
    watch: Callable[[EpochStep], Any] | None = None,
) -> BudgetFit:
    """Fit with the penalty that retains a wanted number of records.

    Parameters
    ----------
    X, t, w0, column_key, block, group
        As for `calibration.l0.fit_l0`.
    records : int, optional
        Budget, from 1 to C. Give this or `preset`.
    preset : {"local", "national"}, optional
        Budget as a share of the columns (`PRESETS`), but at least one record for each
        reachable target.
    options : L0Options, optional
        Everything but `penalty`, which is what is looked for.
    watch : function of an `EpochStep`, optional
        Called after every logged epoch of every trial, and of the refit. What it gives for
        the chosen fit, unless None, is kept in `BudgetFit.watched`; it changes no bit.

    Returns
    -------
    BudgetFit

    Raises
    ------
    FitError
        If not exactly one of `records` and `preset` is given, if it is not valid, or for
        any reason that `fit_l0` has.
    """
    options = L0Options() if options is None else options
    if not isinstance(options, L0Options):
        raise FitError(f"options is {type(options).__name__}; give an L0Options")
    problem = Problem.build(
        X, t, w0=w0, options=options, column_key=column_key, block=block, group=group
    )
    asked = _asked(records, preset, problem.n_columns)
    floor = 0 if preset is None else min(problem.n_reachable, problem.n_columns)
    budget = max(asked, floor)
    best, trials = _search(problem, options, budget, floor, watch)
    fit = finish(best.run, best.status, best.observe)
    chosen = int(np.count_nonzero(best.run.median()[1]))
    more = [trial for trial in trials if trial.retained >= budget]
    fewer = [trial for trial in trials if trial.retained < budget]
    return BudgetFit(
        fit=fit,
        budget=budget,
        asked=asked,
        bound=budget > asked,
        reached=_is_near(chosen, budget, floor),
        more=min(more, key=lambda trial: trial.retained, default=None),
        fewer=max(fewer, key=lambda trial: trial.retained, default=None),
        trials=tuple(trials),
        watched=tuple(best.seen),
    )


def _asked(records: int | None, preset: str | None, columns: int) -> int:
    if (records is None) == (preset is None):
        raise FitError("give either records or preset, not both and not neither")
    if preset is not None:
        if preset not in PRESETS:
            raise FitError(
                f"preset {preset!r} is not known{near(preset, PRESETS)}; "
                f"presets are {', '.join(PRESETS)}"
            )
        return max(1, round(PRESETS[preset] * columns))
    whole = isinstance(records, int | np.integer) and not isinstance(records, bool)
    count = int(records) if whole and records is not None else 0
    if not 1 <= count <= columns:
        raise FitError(f"records is {records!r}; give a whole number from 1 to {columns}")
    return count


def _search(
    problem: Problem,
    options: L0Options,
    budget: int,
    floor: int,
    watch: Callable[[EpochStep], Any] | None,
) -> tuple[_Watched, list[Trial]]:
    """Run gate phases until one is near the budget; give the nearest and all trials.

    A count below `floor` is taken only if no trial reached it.
    """
    trials: list[Trial] = []
    nearest: tuple[tuple[bool, int], _Watched] | None = None
    penalty, noise = _FIRST, None
    highest = _highest(problem)
    while True:
        run = start_run(problem, replace(options, penalty=penalty))
        run.noise = noise = noise or run.noise  # same seed and columns: made once
        trial = _Watched(run, watch)
        trial.status = run_gates(run, trial.observe)
        trials.append(Trial(penalty, int(np.count_nonzero(run.median()[1]))))
        retained = trials[-1].retained
        distance = (retained < floor, abs(retained - budget))
        ended = trial.status is not None
        if nearest is None or distance < nearest[0] or ended:
            nearest = (distance, trial)
        following = _next_penalty(trials, budget, problem.n_columns, highest)
        if ended or _is_near(retained, budget, floor) or following is None:
            return nearest[1], trials
        penalty = following


def _is_near(retained: int, budget: int, floor: int) -> bool:
    return retained >= floor and abs(retained - budget) <= _TOLERANCE * budget


def _highest(problem: Problem) -> float:
    """Give a penalty beyond what a column is worth: far above the loss of none, or of the start.

    The loss may be a sum over many rows, and a start far off leaves large second moments in
    Adam, against which a penalty has to work.
    """
    nothing, _ = problem.misfit(np.zeros(problem.n_columns))
    with np.errstate(over="ignore", invalid="ignore"):  # such a fit diverges, and says so
        start, _ = problem.misfit(problem.start)
    return _rounded(_HIGHEST * min(max(nothing, 1.0, start), 1e12))  # finite if squared in float32


def _next_penalty(
    trials: list[Trial], budget: int, columns: int, highest: float = _HIGHEST
) -> float | None:
    """Where to look next; None if looking further cannot help."""
    if len(trials) >= _TRIALS:
        return None
    tried = {trial.penalty for trial in trials}
    bracket = _bracket(trials, budget)
    if bracket is not None:
        # A chord that lands on one side again and again creeps along a bend: halve instead.
        creeps = len({trial.retained >= budget for trial in trials[-3:]}) == 1
        points = (_point(*bracket, budget, columns, even=even) for even in (creeps, not creeps))
        looks = (_rounded(10**point) for point in points)
        return next((penalty for penalty in looks if penalty not in tried), None)
    step = 10.0**2 ** (len(trials) - 1)  # one decade out, then two, then four
    up = trials[-1].retained >= budget
    penalty = _rounded(trials[-1].penalty * step if up else trials[-1].penalty / step)
    penalty = min(penalty, highest)  # both ends are tried before giving up
    if penalty < _LOWEST:
        penalty = 0.0
    return None if penalty in tried else penalty


def _bracket(trials: list[Trial], budget: int) -> tuple[Trial, Trial] | None:
    """Neighbours in penalty that lie on both sides of the budget; the nearest such pair."""
    ordered = sorted(trials)
    pairs = [
        (one, two)
        for one, two in pairwise(ordered)
        if (one.retained >= budget) != (two.retained >= budget)
    ]
    return min(
        pairs,
        key=lambda pair: sum(abs(trial.retained - budget) for trial in pair),
        default=None,
    )


def _point(one: Trial, two: Trial, budget: int, columns: int, *, even: bool) -> float:
    """Find a log10 penalty between two trials: on their chord at the budget, or halfway."""
    x1, x2 = (math.log10(max(trial.penalty, _LOWEST)) for trial in (one, two))
    y1, y, y2 = (_log_odds(count, columns) for count in (one.retained, budget, two.retained))
    share = 0.5 if even else (y - y1) / (y2 - y1)
    return x1 + (x2 - x1) * min(max(share, 0.1), 0.9)


def _log_odds(count: int, columns: int) -> float:
    """Log odds of a share; none and all count as half a column away from that."""
    return math.log(max(count, 0.5) / max(columns - count, 0.5))


def _rounded(penalty: float) -> float:
    return float(f"{penalty:.{_DIGITS}g}")
