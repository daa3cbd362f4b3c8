"""Federal income tax law by PSL Tax-Calculator, for its public CPS records.

Tax-Calculator (CC0) computes federal income and payroll taxes of tax units. It comes with
280,005 tax units of the Current Population Survey, which are real answers of real households,
so calibration can be tried on real records without asking anybody for a file.

    records(year)      the units, aged to a year                  `units`
    simulate(...)      AGI, EITC, income tax and who files        `variables`

The value of a unit depends on its own inputs alone. Two things in the library would break
that, and are kept out: it draws who claims a credit by the position of a row (here the draw
is an input column), and it ages a file that it is given (here amounts are of the dataset's
year already). State and county play no part in federal law, so a clone has the values of its
record wherever it lives.

Axes: outputs have shape (tax_unit,).

Source: PSL Tax-Calculator 6.8.0, https://github.com/PSLmodels/Tax-Calculator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from calibration.dataset import Array, Dataset
from calibration.engines import Variable
from calibration.engines.taxcalc.units import read_units
from calibration.engines.taxcalc.variables import CLAIM, ENTITY, OUTPUTS, inputs, outputs
from calibration.errors import EngineError, near

__all__ = ["ENGINE", "TaxcalcEngine"]

_KINDS = {"float": "if", "int": "i"}


class TaxcalcEngine:
    """Tax-Calculator as an engine; see `calibration.engines.Engine` for what each part promises.

    It keeps no state between calls but the parameters of the law, which it reads once.
    """

    name = "taxcalc"

    @property
    def version(self) -> str:
        """Version of the installed library."""
        return f"taxcalc-{version('taxcalc')}"

    @property
    def inputs(self) -> Mapping[str, Variable]:
        """Columns of the tax unit that the law reads."""
        return inputs()

    @property
    def outputs(self) -> Mapping[str, Variable]:
        """What can be asked for."""
        return outputs()

    def records(self, period: int) -> Dataset:
        """Give the records that come with the library; see `units.read_units`."""
        return read_units(period)

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> dict[str, Array]:
        """Compute outputs for every tax unit of a dataset.

        Parameters
        ----------
        dataset : Dataset
            Must hold every input, of its own year; other columns are not read.
        variables : iterable of str
            Names of outputs.
        period : int
            Year of the law, the dataset's own period.

        Returns
        -------
        dict of str to ndarray
            Values by name, in the order asked for, each of shape (tax_unit,).

        Raises
        ------
        EngineError
            If a variable is unknown, an input is missing or of the wrong kind, the period is
            not the dataset's or has no law, or the library refuses the values.
        """
        wanted = tuple(dict.fromkeys(variables))
        for name in wanted:
            if name in self.inputs:
                raise EngineError(f"{name!r} is an input of Tax-Calculator; read it directly")
            if name not in OUTPUTS:
                raise EngineError(f"the taxcalc engine has no output {name!r}{near(name, OUTPUTS)}")
        if dataset.period != period:
            raise EngineError(
                f"the dataset's amounts are of {dataset.period}, the law asked for is of {period}"
            )
        _policy(period)  # is there a law of that year?
        if not wanted:
            return {}
        columns = {name: _column(dataset, variable) for name, variable in self.inputs.items()}
        if not len(columns[CLAIM]):  # the library cannot work on nobody
            return {name: np.zeros(0, dtype=OUTPUTS[name].kind) for name in wanted}
        calculator = _calculate(columns, period)
        return {name: np.asarray(OUTPUTS[name].compute(calculator.array)) for name in wanted}


def _column(dataset: Dataset, variable: Variable) -> Array:
    """Read one input; the library would take 0 for a column that is missing."""
    name = variable.name
    try:
        column = dataset.tables[ENTITY][name]
    except KeyError as error:
        raise EngineError(
            f"the dataset lacks input {name!r} of the tax_unit ({variable.label})"
        ) from error
    if column.ndim != 1 or column.dtype.kind not in _KINDS[variable.kind]:
        raise EngineError(
            f"input {name!r} must be one {variable.kind} for each tax unit, not "
            f"{column.dtype} of shape {column.shape}"
        )
    return column


def _calculate(columns: Mapping[str, Array], year: int) -> Any:
    """Compute all taxes; give the library's calculator, from which values are read."""
    library, policy = import_module("taxcalc"), _policy(year)
    read = {name: column for name, column in columns.items() if name != CLAIM}
    table = import_module("pandas").DataFrame(read)
    table["RECID"] = np.arange(len(table))  # a name for each row, required and used for nothing
    try:
        records = library.Records(data=table, start_year=year, gfactors=None, weights=None)
        records.credit_claim_urn[:] = columns[CLAIM]  # in place of draws by position
        calculator = library.Calculator(policy=policy, records=records, verbose=False)
        calculator.calc_all()
    except ValueError as error:
        raise EngineError(f"Tax-Calculator refuses the dataset: {error}") from error
    return calculator


@lru_cache(maxsize=4)
def _policy(year: int) -> Any:
    """Read the law of a year."""
    policy = import_module("taxcalc").Policy()
    first, last = policy.start_year, policy.end_year
    if not first <= year <= last:
        raise EngineError(f"Tax-Calculator has the law of {first} to {last}, not of {year}")
    policy.set_year(year)
    return policy


ENGINE = TaxcalcEngine()
"""The engine that `load_engine("taxcalc")` gives."""
