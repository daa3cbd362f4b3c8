"""Impute variables one after the other, each given those before it.

Variables come in groups g = 1 ... G, in order. The forest of group g learns from a donor

    y_g  given  (x, y_1, ..., y_{g-1})

with the donor's own earlier values, and draws with the *imputed* earlier values. Within a
group one donor row gives all variables (a joint draw), so what a donor reports together
stays together. A group of one is a draw of its own; all groups of one is the sequential
chain.

Each group has its own two uniforms for each receiver, keyed on what they are for:

    u_tree, u_donor = uniform(seed, "impute", name, first variable of g, "tree" | "donor", ids)

A receiver's values depend on its own predictors, its own ids and the donors, never on
other receivers or on the order of rows. Streams of different variables are independent:
one shared number for all of them would tie together what is unrelated in the donor.

Axes: receivers (m,), donors (n,); results have the dtype of the donor's columns.

Source: Rubin 1987, doi:10.1002/9780470316696, ch. 5 (chained draws); the forest is
`calibration.qrf`.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.dataset import Array, Dataset, Table
from calibration.errors import ImputationError, near
from calibration.predictors import Encoding, Predictor, learn
from calibration.qrf import ForestOptions, QuantileForest
from calibration.rng import key, uniform

__all__ = ["SequentialImputer", "store"]

Floats = NDArray[np.float64]
Groups = tuple[tuple[str, ...], ...]


class SequentialImputer:
    """A chain of forests, one for each group of variables.

    Parameters
    ----------
    name : str
        What the draws are for; part of every random key, and named in messages.
    predictors : tuple of Predictor
    groups : tuple of tuple of str
        Variables to impute, in order; those of one group are drawn together.
    seed : int
    options : ForestOptions

    Attributes
    ----------
    encoding_ : Encoding
        What the donor taught about the predictors.
    chain_ : list of QuantileForest
        One forest for each group.

    Raises
    ------
    ImputationError
        If a variable stands twice, or is also a predictor.
    """

    def __init__(
        self,
        name: str,
        predictors: tuple[Predictor, ...],
        groups: Groups,
        *,
        seed: int,
        options: ForestOptions | None = None,
    ) -> None:
        self.name = name
        self.predictors = predictors
        self.groups = groups
        self.seed = seed
        self.options = options or ForestOptions()

    def fit(self, donor: Table, weight: ArrayLike) -> SequentialImputer:
        """Learn from donors.

        Parameters
        ----------
        donor : mapping of str to ndarray, each of shape (n,)
            Predictors and variables. Other columns are ignored.
        weight : array-like of float, shape (n,)
            Survey weights, 0 or more; they enter the splits and the draws.

        Returns
        -------
        SequentialImputer
            Itself.

        Raises
        ------
        ImputationError
            If a column is missing or unusable, or there is no donor.
        """
        self._check_names()
        self.encoding_: Encoding = learn(self.name, self.predictors, donor)
        encoded = self.encoding_.encode(donor)
        self._variables = _variables(self.name, self.groups, donor)
        self._outcome = [
            np.hstack([_numeric(self._variables[v], self._variables[v]) for v in group])
            for group in self.groups
        ]
        self._matrix, self._column = encoded.matrix, encoded.column
        self._weight = _weights(self.name, weight, len(encoded.matrix))
        self.chain_ = self._grow(np.zeros(len(self.predictors), dtype=bool))
        return self

    def draw(self, receiver: Table, *ids: ArrayLike) -> dict[str, Array]:
        """Impute all variables for receivers.

        Parameters
        ----------
        receiver : mapping of str to ndarray, each of shape (m,)
            The predictors.
        *ids : array-like of int, shape (m,)
            What identifies a receiver, for example person ids, or person ids and states.
            Receivers of equal ids get equal uniforms.

        Returns
        -------
        dict of str to ndarray, each of shape (m,)
            Donor values by variable.

        Raises
        ------
        ImputationError
            If the imputer is not fitted, ids have another shape, or a predictor does not
            fit the donor's; see `Encoding.encode`.
        """
        if not hasattr(self, "chain_"):
            raise ImputationError(f"imputer {self.name!r} is not fitted; call fit first")
        encoded = self.encoding_.encode(receiver)
        m = len(encoded.matrix)
        keys = [np.asarray(part) for part in ids]
        if wrong := [part.shape for part in keys if part.shape != (m,)]:
            raise ImputationError(
                f"imputer {self.name!r} got ids of shape {wrong[0]} for {m} receivers; give each "
                "receiver its own"
            )
        result = {v: np.zeros(m, dtype=column.dtype) for v, column in self._variables.items()}
        # Receivers with the same unseen predictors share a chain that does without them.
        patterns, which = np.unique(encoded.unseen, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.reshape(-1) == number)
            chain = self._grow(pattern) if pattern.any() else self.chain_
            matrix = encoded.matrix[np.ix_(rows, ~pattern[self._column])]
            mine = [part[rows] for part in keys]
            for group, forest in zip(self.groups, chain, strict=True):
                u = (self.seed, "impute", self.name, group[0])
                donors = forest.draw(
                    matrix if matrix.shape[1] else np.zeros((len(rows), 1)),
                    uniform(*u, "tree", *mine),
                    uniform(*u, "donor", *mine),
                )
                for v in group:
                    result[v][rows] = self._variables[v][donors]
                drawn = [_numeric(self._variables[v], self._variables[v][donors]) for v in group]
                matrix = np.hstack([matrix, *drawn])
        return result

    def _grow(self, without: NDArray[np.bool_]) -> list[QuantileForest]:
        """Fit the chain on the predictors that are not left out."""
        matrix = self._matrix[:, ~without[self._column]]
        chain = []
        for group, outcome in zip(self.groups, self._outcome, strict=True):
            seed = int(key(self.seed, "forest", self.name, group[0]))
            forest = QuantileForest(**asdict(self.options), seed=seed)
            # With no predictor left, one constant column gives the unconditional law.
            X = matrix if matrix.shape[1] else np.zeros((len(matrix), 1))
            chain.append(forest.fit(X, outcome, self._weight))
            matrix = np.hstack([matrix, outcome])
        return chain

    def _check_names(self) -> None:
        names = [v for group in self.groups for v in group]
        twice = sorted({v for v in names if names.count(v) > 1})
        both = sorted({p.name for p in self.predictors} & set(names))
        if twice or both or not names or not all(self.groups):
            found = (
                f"{twice} twice, {both} as predictors too" if twice or both else "an empty group"
            )
            raise ImputationError(f"imputer {self.name!r} has {found}; name each variable once")


def store(dataset: Dataset, entity: str, columns: Table) -> Dataset:
    """Put columns into a table; columns of the same names elsewhere give way.

    Parameters
    ----------
    dataset : Dataset
    entity : str
    columns : mapping of str to ndarray

    Returns
    -------
    Dataset
        In which each name stands in one table, as a dataset's rules demand.
    """
    tables = {
        e: {name: table[name] for name in table if name not in columns}
        for e, table in dataset.tables.items()
    }
    return Dataset(dataset.period, tables, dataset.states).with_columns(entity, columns)


def _variables(name: str, groups: Groups, donor: Table) -> dict[str, Array]:
    """Fetch the variables to impute and refuse what cannot be drawn."""
    found = {}
    for variable in (v for group in groups for v in group):
        if variable not in donor:
            hint = near(variable, donor)
            raise ImputationError(f"donor {name!r} has no variable {variable!r}{hint}")
        values = np.asarray(donor[variable])
        if values.dtype.kind not in "bifU" or values.ndim != 1:
            raise ImputationError(
                f"variable {variable!r} of donor {name!r} is {values.dtype} of shape "
                f"{values.shape}; give one number, text or truth value a row"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ImputationError(
                f"variable {variable!r} of donor {name!r} is {values[bad]} in row {bad}; "
                "leave the donor out or fill it in"
            )
        found[variable] = values
    return found


def _weights(name: str, weight: ArrayLike, rows: int) -> Floats:
    w = np.asarray(weight, dtype=np.float64)
    if rows == 0:
        raise ImputationError(f"donor {name!r} has no rows; there is nobody to learn from")
    if w.shape != (rows,) or not np.isfinite(w).all() or (w < 0).any() or not (w > 0).any():
        raise ImputationError(
            f"donor {name!r} has weights of shape {w.shape} for {rows} rows; give each row a "
            "finite weight, 0 or more, and some above 0"
        )
    return w


def _numeric(donor: Array, values: Array) -> Floats:
    """Give values as columns of numbers, (rows, 1), or one for each text level of the donor."""
    if values.dtype.kind == "U":
        return (values[:, None] == np.unique(donor)).astype(np.float64)
    return values[:, None].astype(np.float64)
