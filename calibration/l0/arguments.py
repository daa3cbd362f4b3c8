"""Read the arguments of a fit and refuse what it cannot use, before the first epoch.

Nothing passes that would only show later: a value that is not finite, a length that does
not match, a key that stands twice, a start weight that can never leave 0. A row that no
positive weights can bring toward its target is *unreachable*: it has no entry, or none
of the sign of its target. It is not an error; it is listed with its reason.

Entries, targets and start weights are rounded to 32 significant bits, a relative change
of at most 2.4e-10; numbers stored as float32 stay as they are. A fit amplifies what it is
given (see `calibration.l0.portable`), so inputs that differ in the last bit, because another
processor computed them, could retain other columns; after rounding they are equal.

    c_i = 1 / (number of groups * rows in the group of i)      over the reachable rows

so that each group of rows has equal total and c sums to 1; a group without a reachable
row does not count.

Axes: rows i (T targets), columns j (C).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import FitError
from calibration.l0.forms import BLOCKS, Entries, Form, keep_32_bits
from calibration.l0.options import L0Options

__all__ = ["COMPILED_FROM", "EMPTY", "WRONG_SIGN", "Arguments", "UnreachableRow", "read_arguments"]

COMPILED_FROM = 500_000
"""Nonzeros of X from which on a fit is compiled: below, it takes about as long as a compiler."""

EMPTY = "no column has an entry in this row"
"""Reason for leaving out a row without support."""

WRONG_SIGN = "no entry of this row has the sign of its target, and weights are positive"
"""Reason for leaving out a row whose target lies on the other side of 0."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class UnreachableRow(NamedTuple):
    """A row that is left out of the loss, and why."""

    row: int
    reason: str


class Arguments(NamedTuple):
    """Checked arguments: the form of X, vectors over rows (T,) and columns (C, its order)."""

    form: Form
    targets: Floats
    start: Floats | None
    column_key: NDArray[np.uint64]
    block: Indices
    row_weight: Floats
    unreachable: tuple[UnreachableRow, ...]


def read_arguments(
    X: Any,
    t: ArrayLike,
    *,
    w0: ArrayLike | None,
    options: L0Options,
    column_key: ArrayLike | None,
    block: ArrayLike | None,
    group: ArrayLike | None,
    compiled: bool | None = None,
    threads: int | None = None,
) -> Arguments:
    """Check the arguments of `calibration.l0.fit_l0` and give them their types.

    Parameters
    ----------
    X : (T, C) sparse array, 2-D array, factors G (T, F) and Z (F, C) of one, or a grid
        with a `to_factored`
    t : (T,) array of float
    w0 : (C,) array of float or None
    options : L0Options
        Read for `row_weights`.
    column_key, block : (C,) arrays of integers or None
    group : (T,) array of integers or strings, or None
    compiled : bool or None
        Whether to lay X out for compiled loops; by default if it is large or factored.
    threads : int or None
        How many share out the blocks of such a form; by default as many as may run.

    Returns
    -------
    Arguments

    Raises
    ------
    FitError
        If anything is not finite, not positive where it must be, of the wrong length or
        type, or duplicated, or if no row is reachable.
    """
    cells = None
    if hasattr(X, "to_factored"):  # a grid: its strips recur from district to district
        cells, X = X.column, X.to_factored()
    factors = (X.G, X.Z) if hasattr(X, "G") and hasattr(X, "Z") else (None, _matrix(X))
    length, width = (int(size) for size in X.shape)
    blocks = _blocks(block, width)
    form = _form(*factors, blocks, options, cells=cells, compiled=compiled, threads=threads)
    targets = _vector("t", t, length, "one target for each row of X")
    unreachable = _find_unreachable(form, targets)
    reachable = np.ones(length, dtype=bool)
    reachable[[item.row for item in unreachable]] = False
    if not reachable.any():
        raise FitError(
            f"none of the {length} rows can be reached; row 0 because {unreachable[0].reason}"
        )
    start = None if w0 is None else keep_32_bits(_start(w0, width))
    keys = _keys(column_key, width)
    if form.order is not None:
        start = None if start is None else start[form.order]
        keys, blocks = keys[form.order], blocks[form.order]
    return Arguments(
        form=form,
        targets=keep_32_bits(targets),
        start=start,
        column_key=keys,
        block=blocks,
        row_weight=_row_weights(group, reachable, options),
        unreachable=unreachable,
    )


def _matrix(X: Any) -> Any:
    """Give X as it is if it is sparse, else as an array, if it is a real matrix."""
    from scipy.sparse import issparse

    if not issparse(X):
        X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "biuf":
        raise FitError(
            f"X has shape {X.shape} and type {X.dtype}; "
            "give a real matrix, one row for each target and one column for each record"
        )
    return X


def _form(
    G: Any,
    Z: Any,
    block: Indices,
    options: L0Options,
    *,
    cells: NDArray[np.integer] | None,
    compiled: bool | None,
    threads: int | None,
) -> Form:
    """Choose how X is held: entry by entry, or for compiled loops."""
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise FitError(f"threads is {threads!r}; give a whole number >= 1")
    size = int(Z.nnz if hasattr(Z, "nnz") else np.count_nonzero(Z))
    if compiled is None:
        # A price by the norm of a column is read from entries.
        compiled = (G is not None or size >= COMPILED_FROM) and options.price != "norm"
    if not compiled:
        return Entries.read(Z if G is None else G @ Z, block)
    from calibration.l0.strips import Strips, usable_threads

    threads = usable_threads() if threads is None else threads
    return Strips.read(Z, block, gather=G, cells=cells, dtype=options.dtype, threads=threads)


def _vector(name: str, given: ArrayLike, length: int, meaning: str) -> Floats:
    try:
        vector = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FitError(f"{name} is not an array of numbers ({error})") from error
    if vector.shape != (length,):
        raise FitError(f"{name} has shape {vector.shape}, not ({length},); give {meaning}")
    if not np.isfinite(vector).all():
        bad = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise FitError(f"{name}[{bad}] is {vector[bad]}; every value must be finite")
    return vector


def _start(w0: ArrayLike, length: int) -> Floats:
    start = _vector("w0", w0, length, "one start weight for each column of X")
    if not (start > 0).all():
        bad = int(np.flatnonzero(~(start > 0))[0])
        raise FitError(
            f"w0[{bad}] is {start[bad]}; start weights must be positive. A weight is "
            "exp(theta) times a gate, so one that starts at 0 can never leave it: pass "
            "design weights, not survey weights with zeros"
        )
    return start


def _whole_numbers(name: str, given: ArrayLike, length: int) -> NDArray[Any]:
    numbers = np.asarray(given)
    if numbers.shape != (length,) or numbers.dtype.kind not in "iu":
        raise FitError(
            f"{name} has shape {numbers.shape} and type {numbers.dtype}; "
            f"give {length} whole numbers, one for each column of X"
        )
    return numbers


def _keys(given: ArrayLike | None, length: int) -> NDArray[np.uint64]:
    if given is None:
        return np.arange(length, dtype=np.uint64)
    keys = _whole_numbers("column_key", given, length).astype(np.uint64)
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise FitError(
            f"column_key {twice[0]} stands more than once; two columns with one key would "
            "get the same random gates: give each column its own"
        )
    return keys


def _blocks(given: ArrayLike | None, length: int) -> Indices:
    if given is None:
        return np.arange(length, dtype=np.int64) * BLOCKS // length
    blocks = _whole_numbers("block", given, length).astype(np.int64)
    if blocks.min() < 0 or blocks.max() >= BLOCKS:
        raise FitError(f"block runs from {blocks.min()} to {blocks.max()}; use 0 to {BLOCKS - 1}")
    return blocks


def _find_unreachable(form: Form, targets: Floats) -> tuple[UnreachableRow, ...]:
    """Rows without an entry, or without one of the sign of their target."""
    down, up = form.signs()
    empty = ~(up | down)
    wrong = ~empty & (((targets > 0) & ~up) | ((targets < 0) & ~down))
    return tuple(
        UnreachableRow(int(row), EMPTY if empty[row] else WRONG_SIGN)
        for row in np.flatnonzero(empty | wrong)
    )


def _row_weights(
    group: ArrayLike | None, reachable: NDArray[np.bool_], options: L0Options
) -> Floats:
    labels = np.zeros(reachable.size, dtype=np.int64) if group is None else np.asarray(group)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)  # a text column of a pandas table
    if labels.shape != reachable.shape or labels.dtype.kind not in "iuUT":
        raise FitError(
            f"group has shape {labels.shape} and type {labels.dtype}; give {reachable.size} "
            "whole numbers or strings, one for each row of X"
        )
    if options.row_weights == "ones":
        return reachable.astype(np.float64)
    if options.row_weights == "equal":
        return reachable / reachable.sum()
    found, member = np.unique(labels, return_inverse=True)
    sizes = np.bincount(member[reachable], minlength=found.size)
    return np.where(reachable, 1.0 / (np.maximum(sizes, 1)[member] * (sizes > 0).sum()), 0.0)
