"""The choices of an L0 fit, fixed and checked before the first epoch.

    minimise  sum_i c_i ((Xw - t)_i / d_i)^2  +  lambda_0 sum_j P(z_j > 0)  +  lambda_2 sum_j w_j^2
    with      w_j = exp(theta_j) z_j,  z_j a Hard Concrete gate (see `calibration.l0.gates`)

`L0Options` holds every constant of that problem and of the optimiser: Adam (Kingma & Ba
2015, arXiv:1412.6980) on (theta, log alpha), full batch. Nothing rewrites it later, and
every result carries the options it was made with.

`L0Options.us_data()` gives the values of the established optimiser (PolicyEngine
policyengine-us-data `calibration/unified_calibration.py` at e01a038, which drives
PolicyEngine L0 `l0/calibration.py` at 490f00b).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from calibration.errors import FitError, near
from calibration.l0.portable import log, logit, sigmoid

__all__ = ["L0Options"]

_CHOICES = {
    "scale": ("absolute", "shifted"),
    "row_weights": ("groups", "equal", "ones"),
    "l2_on": ("gated", "ungated"),
    "schedule": ("constant", "cosine"),
    "dtype": ("float64", "float32"),
    "price": ("uniform", "norm"),
}
_NOT_NEGATIVE = ("penalty", "l2", "weight_jitter", "logit_jitter", "adam_epsilon")
_NOT_NEGATIVE += ("refit_tolerance",)
_POSITIVE = ("temperature", "learning_rate", "refit_learning_rate")
_CONTROLS = ("cap", "ess_floor", "mass")
_OFF = {"price": "uniform", "cap": None, "ess_floor": None, "mass": None}
_COUNTS = ("epochs", "refit_epochs", "log_every", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class L0Options:
    """Choices fixed before fitting; validated when made, never rewritten.

    Parameters
    ----------
    penalty : float
        lambda_0, the loss a column must save to stay. The data term is a weighted mean
        of squared relative errors, so 1e-4 means: staying must lower that mean by 1e-4.
        The right value depends on the matrix; `calibration.select.fit_to_budget` finds
        it for a wanted number of records.
    l2 : float
        lambda_2. 0, because squared weights prefer many equal records over few, which
        works against the selection; raise it if single weights grow too large.
    l2_on : {"gated", "ungated"}
        Which weight the l2 term squares. "gated" is exp(theta) z, so that a closed column
        costs nothing; "ungated" is exp(theta), as in the established optimiser.
    temperature : float
        beta of the gate. 0.35 keeps gates soft enough to have a gradient for many epochs
        and hard enough that few end between 0 and 1.
    stretch : tuple of float
        (gamma, zeta) with gamma < 0 < 1 < zeta: how far the gate reaches past 0 and 1
        before it is clipped. Louizos et al. use (-0.1, 1.1).
    keep_probability : float
        P(z > 0) of every column at the start. 0.999 lets the first epochs fit the data with
        all columns before any gate closes; at 0.9 the selection starts from a poor fit.
    weight_jitter, logit_jitter : float
        Standard deviation of noise on theta and log alpha at the start. It separates
        columns that are copies of each other from the first epoch on; without it they move
        as one until gate noise parts them.
    learning_rate : float
        Adam's step, in log-weight and gate logit: 0.1 lets a weight change by 10 % per epoch.
    schedule : {"constant", "cosine"}
        "constant" keeps trying other sets of columns to the last epoch, which finds better
        survivors; the noise that it leaves in the weights goes with the refit. "cosine"
        lets the rate fall to 0, so that gates settle: choose it with `refit=False`.
    epochs : int
        Length of the gate phase. Gates begin to close after some 50 epochs, and the set of
        open columns goes on changing for several hundred more. That matters where few columns
        are kept: then 600 epochs find a far better set than 100. Where most are, 100 do.
    adam_epsilon : float
        Added to the root of Adam's second moment. It must lie below every gradient that
        matters: an idle gate feels lambda_0 P (1 - P), about 1e-12 for lambda_0 = 1e-8,
        and at the customary 1e-8 that gate would never move, whatever the penalty.
    seed : int
        Keys the gate noise and the jitter.
    scale : {"absolute", "shifted"}
        d_i. "absolute" is |t_i|, and for t_i = 0 the largest contribution that one column
        makes at the start, max_j |X_ij| w0_j. "shifted" is t_i + 1, as in the established
        optimiser; it needs t_i != -1 in reachable rows.
    row_weights : {"groups", "equal", "ones"}
        c_i. "groups" gives each group of rows equal total, "equal" gives each row the
        same; both sum to 1. "ones" is a plain sum over rows.
    refit : bool
        Whether to fit the survivors again without gates. The gated weights are made to
        work under noise and miss the targets by far more than the survivors need to.
    refit_epochs : int
        Longest refit. Two hundred are enough when survivors are many times the targets; a
        thousand may be needed when they are as few.
    refit_learning_rate : float
        First rate of the refit, which decays as a half cosine.
    refit_tolerance : float
        Plateau of the refit: it ends when moving every weight by 1 % in its best direction
        would lower the loss by less than this share of itself, to first order.
    log_every : int
        Epochs between rows of the history; 0 keeps the first and last only.
    dtype : {"float64", "float32"}
        Type of the parameters and Adam moments between epochs; "float32" halves the memory.
        In plain loops arithmetic is float64 either way. In compiled loops and on a device
        arithmetic on columns is of this type, and sums over many columns are float64.
    price : {"uniform", "norm"}
        What a column costs: lambda_0, or lambda_0 times its share in the targets; see
        `calibration.l0.controls`, as for the next three.
    cap : float, optional
        Largest w_j / w0_j.
    ess_floor : float, optional
        Least effective sample size (sum w)^2 / sum w^2; needs the refit.
    mass : float, optional
        What the weights have to sum to; needs the refit.

    Raises
    ------
    FitError
        If a value is not valid; the message names field and value.
    """

    penalty: float = 1e-4
    l2: float = 0.0
    l2_on: Literal["gated", "ungated"] = "gated"
    temperature: float = 0.35
    stretch: tuple[float, float] = (-0.1, 1.1)
    keep_probability: float = 0.999
    weight_jitter: float = 0.05
    logit_jitter: float = 0.01
    learning_rate: float = 0.1
    schedule: Literal["constant", "cosine"] = "constant"
    epochs: int = 600
    adam_epsilon: float = 1e-16
    seed: int = 0
    scale: Literal["absolute", "shifted"] = "absolute"
    row_weights: Literal["groups", "equal", "ones"] = "groups"
    refit: bool = True
    refit_epochs: int = 2000
    refit_learning_rate: float = 0.05
    refit_tolerance: float = 5e-4
    log_every: int = 10
    dtype: Literal["float64", "float32"] = "float64"
    price: Literal["uniform", "norm"] = "uniform"
    cap: float | None = None
    ess_floor: float | None = None
    mass: float | None = None

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                self._refuse(name, f"one of {', '.join(known)}")
        for name in _NOT_NEGATIVE + _POSITIVE:
            value = getattr(self, name)
            if not _is_finite(value) or value < 0 or (value == 0 and name in _POSITIVE):
                self._refuse(name, f"a finite number {'>' if name in _POSITIVE else '>='} 0")
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                self._refuse(name, "a whole number >= 0")
        if not isinstance(self.refit, bool):
            self._refuse("refit", "True or False")
        if not _is_finite(self.keep_probability) or not 0 < self.keep_probability < 1:
            self._refuse("keep_probability", "a probability strictly between 0 and 1")
        self._check_stretch()
        self._check_controls()

    @property
    def controlled(self) -> bool:
        """Whether any control of `calibration.l0.controls` is on."""
        return any(getattr(self, name) != off for name, off in _OFF.items())

    @property
    def bounded(self) -> bool:
        """Whether weights are to keep a cap, an effective size or a sum."""
        return any(getattr(self, name) is not None for name in _CONTROLS)

    def _check_controls(self) -> None:
        for name in _CONTROLS:
            value = getattr(self, name)
            if value is not None and not (_is_finite(value) and value > 0):
                self._refuse(name, "a finite number > 0, or None")
            if value is not None and name != "cap" and not self.refit:
                self._refuse(name, "None, or turn refit on: only the refit can hold it")

    def _check_stretch(self) -> None:
        pair = self.stretch
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(_is_finite, pair)):
            self._refuse("stretch", "two finite numbers (gamma, zeta)")
        if pair[0] >= 0 or pair[1] <= 1:
            self._refuse("stretch", "(gamma, zeta) with gamma < 0 < 1 < zeta")

    def _refuse(self, name: str, wanted: str) -> None:
        raise FitError(f"L0Options.{name} is {getattr(self, name)!r}; give {wanted}")

    @classmethod
    def us_data(cls, **changes: Any) -> L0Options:
        """Give the constants of the established optimiser, for comparison.

        Plain sums (c = 1, d = t + 1), constant rate, Adam's customary epsilon, no refit.
        Differs from the source: (1) noise is keyed, so a run can be repeated, and can be
        passed to `fit_l0`; (2) the start is log(w0), not log(w0 + 1e-8); (3) unreachable
        rows, which only add a constant there, are left out; (4) float64 unless `dtype`
        says otherwise.

        Parameters
        ----------
        **changes
            Any field of `L0Options`, to depart from these values. Unless `keep_probability`
            is among them, log alpha starts at logit(0.999) at any temperature and stretch.

        Returns
        -------
        L0Options

        Raises
        ------
        FitError
            If a field is unknown or a value is not valid.
        """
        established: dict[str, Any] = {
            "temperature": 0.35,
            "stretch": (-0.1, 1.1),
            "learning_rate": 0.15,
            "schedule": "constant",
            "weight_jitter": 0.05,
            "logit_jitter": 0.01,
            "l2": 1e-12,
            "l2_on": "ungated",
            "epochs": 100,
            "adam_epsilon": 1e-8,
            "scale": "shifted",
            "row_weights": "ones",
            "refit": False,
        }
        options = cls.from_facts(established | changes)
        if "keep_probability" in changes:
            return options
        # There 0.999 is sigmoid(log_alpha): log alpha starts at logit(0.999) whatever the
        # temperature and the stretch are, and both belong in P(z > 0).
        gamma, zeta = options.stretch
        start = sigmoid(logit(0.999) - options.temperature * log(-gamma / zeta))
        return replace(options, keep_probability=float(start))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> L0Options:
        """Make options from names and values, as a JSON file or a command line holds them.

        Parameters
        ----------
        facts : mapping of str to value
            Fields left out keep their defaults; a list stands for a tuple.

        Returns
        -------
        L0Options

        Raises
        ------
        FitError
            If a name is not an option or a value is not valid.
        """
        known = [field.name for field in fields(cls)]
        for name in facts:
            if name not in known:
                raise FitError(f"{name!r} is not an option of an L0 fit{near(name, known)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in facts.items()
        }
        return cls(**values)

    def facts(self) -> dict[str, Any]:
        """Give all options as plain values, for JSON; the inverse of `from_facts`.

        Returns
        -------
        dict of str to value
            Controls of weights are among them if they are on.
        """
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in _OFF or value != _OFF[name]
        }


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
