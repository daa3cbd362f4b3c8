"""How a weight vector is spread, as a whole and over areas.

Weights can meet every target and still be poor ones: a few columns may carry an area.

    effective size   n_eff = (sum w)^2 / sum w^2      what the weights are worth, 1 to n
    design effect    deff  = n / n_eff = 1 + cv(w)^2  variance against equal weights, 1 or more

over the n columns with w > 0. Clones of one record share its answers, so the effective
size is also given over records, each with the sum of its columns' weights; that one does
not grow when clones are added.

Axes: columns j = clone * R + record in [0, C), areas. All sums are float64.

Sources: Kish 1965, Survey Sampling (effective size); Kish 1992, Journal of Official
Statistics 8, 183-200 (1 + cv^2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Array
from calibration.errors import DiagnosticsError
from calibration.geography import Area, Level, decode

__all__ = ["area_table", "check_weights", "design_effect", "effective_size", "top_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def check_weights(weights: ArrayLike, size: int, name: str = "weights") -> Floats:
    """Return weights as float64 if there are `size` of them, all finite and 0 or more.

    Raises
    ------
    DiagnosticsError
        Naming the vector, the column and the value.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (size,):
        raise DiagnosticsError(f"{name} has shape {w.shape}; give {size}, one for each column")
    bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(bad):
        raise DiagnosticsError(f"{name} is {w[bad[0]]} at column {bad[0]}; weights are 0 or more")
    return w


# -- one number for a vector -----------------------------------------------------------


def effective_size(weights: ArrayLike) -> float:
    """Give Kish's effective sample size, (sum w)^2 / sum w^2.

    Parameters
    ----------
    weights : array of float, shape (n,)
        0 or more; zeros do not count.

    Returns
    -------
    float
        Between 1 and the number of positive weights; 0 if there is none.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w[w > 0]
    if not len(w):
        return 0.0
    ratio = w / w.max()  # squares of very large or very small weights would leave the range
    size = float(ratio.sum()) ** 2 / float((ratio * ratio).sum())
    return min(max(size, 1.0), float(len(w)))  # rounding alone can step outside


def design_effect(weights: ArrayLike) -> float:
    """Give n / n_eff over the positive weights, 1 or more; NaN if there is none."""
    w = np.asarray(weights, dtype=np.float64)
    retained = int(np.count_nonzero(w > 0))
    return retained / effective_size(w) if retained else np.nan


def top_share(weights: ArrayLike, share: float = 0.01) -> float:
    """Give the share of the total weight that the heaviest columns hold.

    Parameters
    ----------
    weights : array of float, shape (n,)
    share : float
        Part of the retained columns, rounded up to at least one column.

    Returns
    -------
    float
        In [0, 1]; NaN if no weight is positive.
    """
    w = np.asarray(weights, dtype=np.float64)
    w = w[w > 0]
    if not len(w):
        return np.nan
    heaviest = min(len(w), max(1, int(np.ceil(share * len(w)))))
    return float(np.sort(w)[-heaviest:].sum() / w.sum())


# -- by area ---------------------------------------------------------------------------


def area_table(
    weights: ArrayLike, w0: ArrayLike, geography: GeographyAssignment, areas: Iterable[Area]
) -> dict[str, Array]:
    """Tell for each area how many columns carry it, and how evenly.

    Parameters
    ----------
    weights, w0 : array of float, shape (C,)
        Fitted weights, and those the fit started from.
    geography : GeographyAssignment
        The assignment that the weights were calibrated with.
    areas : iterable of Area

    Returns
    -------
    dict of str to ndarray, shape (areas,)
        area_type, area_id, name; columns and retained (those with w > 0); records, the
        distinct ones among the retained; households (sum of w); effective_size over
        columns and record_effective_size over records; design_effect; max_weight;
        max_ratio (largest w / w0); top_percent_share (share of the weight that the
        heaviest 1 % of the retained columns hold). NaN where nothing is retained.

    Raises
    ------
    DiagnosticsError, GeographyError
        If a weight is not valid, a retained column started at 0, or the run does not go
        down to an area's level.
    """
    w = check_weights(weights, geography.n_columns)
    start = check_weights(w0, geography.n_columns, "w0")
    if len(lost := np.flatnonzero((w > 0) & (start == 0))):
        raise DiagnosticsError(f"column {lost[0]} has weight {w[lost[0]]} but started from w0 = 0")
    sorted_codes: dict[Level, tuple[Ints, Ints]] = {}
    rows = []
    for area in areas:
        if area.level not in sorted_codes:
            code = geography.code(area.level)
            order = np.argsort(code, kind="stable")
            sorted_codes[area.level] = order, code[order]
        columns = _columns(*sorted_codes[area.level], area.codes)
        rows.append(_area_facts(area) | _spread(w, start, columns, geography.n_records))
    if not rows:
        raise DiagnosticsError("there are no areas to describe")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _columns(order: Ints, code: Ints, wanted: Sequence[int]) -> Ints:
    low, high = (np.searchsorted(code, wanted, side=side) for side in ("left", "right"))
    return np.concatenate([order[a:b] for a, b in zip(low, high, strict=True)])


def _area_facts(area: Area) -> dict[str, str]:
    codes = "+".join(decode(area.level, code) for code in area.codes)
    return {"area_type": area.path.parent.name, "area_id": codes, "name": area.name}


def _spread(w: Floats, w0: Floats, columns: Ints, n_records: int) -> dict[str, float]:
    kept = columns[w[columns] > 0]
    by_record = np.bincount(kept % n_records, w[kept])
    return {
        "columns": len(columns),
        "retained": len(kept),
        "records": int(np.count_nonzero(by_record)),
        "households": float(w[kept].sum()),
        "effective_size": effective_size(w[kept]),
        "record_effective_size": effective_size(by_record),
        "design_effect": design_effect(w[kept]),
        "max_weight": float(w[kept].max(initial=0.0)),
        "max_ratio": float((w[kept] / w0[kept]).max(initial=0.0)),
        "top_percent_share": top_share(w[kept]),
    }
