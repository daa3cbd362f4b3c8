"""PolicyEngine's model of federal and state law as an engine: policyengine-us.

    dataset -> native columns -> one fresh Microsimulation in memory -> values

The model knows thousands of variables. Names, entities, types and which of them are inputs
are read off the installed version. It answers almost every question, also one that was asked
wrongly: where a column is missing it has a default, where a name is unknown it goes on
without it, where a county is unknown it takes the state's first. Here each of these is an
error, see `calibration.engines.policyengine.checking`.

Each call makes a simulation of its own from arrays and drops it, so no call can see what an
earlier one set. Weights are never handed over: no value can depend on them. Values that are
defined by the weights or by the other households of a file are refused, see
`calibration.engines.policyengine.variables`.

`Variable.inputs` of an output is found in the source code of the formulas, see
`calibration.engines.policyengine.dependencies`. It holds every input that the output
can depend on in some state and year, and more: it is meant to be complete, not minimal.
Watched simulations of a few outputs found nothing that it lacks; not all outputs were
watched. Most inputs are optional: the model has a value of its own for a dataset
without them, which is what nearly every dataset means, no income of that kind and no
such condition. Facts that everybody has are not optional, see
`calibration.engines.policyengine.translation.REQUIRED`. A simulation that reads one of
them from a dataset without it is an error. `ASSUMED`, beside it, lists the takeup that
is left to the model.

Axes: an output has the rows of its entity's table, shape (entity,). The model computes in
float32. Amounts of monthly programs are the sum over the months of the year; states of
monthly programs, such as eligibility, are those of December.

Source: policyengine-us 2.68.0 and policyengine-core 3.33.12, as installed and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import version

from calibration.dataset import Array, Dataset
from calibration.engines import Variable
from calibration.engines.policyengine import model, translation
from calibration.engines.policyengine import variables as _variables
from calibration.engines.policyengine.checking import checked
from calibration.errors import EngineError

__all__ = ["ENGINE", "PolicyEngine"]


class PolicyEngine:
    """The adapter; see `calibration.engines.Engine` for what each part promises."""

    name = "policyengine"

    @cached_property
    def version(self) -> str:
        """Versions of the law and of the machine under it."""
        names = ("policyengine-us", "policyengine-core", "spm-calculator")
        return " ".join(f"{name}-{version(name)}" for name in names)

    def warm(self) -> None:
        """Import the model, which takes half a minute."""
        _variables.inputs()

    @property
    def refused(self) -> Mapping[str, str]:
        """What the model computes and no target may use, with why, and what to use."""
        return _variables.refused()

    @property
    def inputs(self) -> Mapping[str, Variable]:
        """Columns that a dataset can give, by name; the first use imports the model."""
        return _variables.inputs()

    @property
    def outputs(self) -> Mapping[str, Variable]:
        """Variables that can be asked for, by name; the first use imports the model."""
        return _variables.outputs()

    def native(self, dataset: Dataset) -> Dataset:
        """Put a dataset into the model's own columns.

        A file with these columns gives the same values when it is opened by
        `policyengine_us.Microsimulation` directly.

        Parameters
        ----------
        dataset : Dataset
            With the columns of this package, of the model, or both.

        Returns
        -------
        Dataset
            Itself, if it is native already.

        Raises
        ------
        EngineError
            If a column is neither; near matches are named.
        """
        return translation.native(dataset)

    def simulate(self, dataset: Dataset, variables: Iterable[str], period: int) -> dict[str, Array]:
        """Compute outputs for every unit of a dataset.

        Parameters
        ----------
        dataset : Dataset
            With all six entities, and every required input that the model reads on the way.
        variables : iterable of str
            Names of outputs.
        period : int
            Year of the rules; the dataset's own period.

        Returns
        -------
        dict of str to ndarray
            Values by name, in the order asked for, each of shape (entity of the variable,).

        Raises
        ------
        EngineError
            If a variable is unknown or refused, a column is unknown, computed by the model
            or of the wrong kind, a required input is missing, a county is unknown or in
            another state, or the period is not the dataset's own.
        """
        wanted = tuple(dict.fromkeys(variables))
        if dataset.period != period:
            raise EngineError(
                f"the dataset's amounts are of {dataset.period}; the rules asked for are of "
                f"{period}. The model would age amounts and weights without a word: bring the "
                "dataset to the year first"
            )
        if period < (first := model.first_year()):
            raise EngineError(f"the model's rules begin in {first}; {period} was asked for")
        for name in wanted:
            _variables.check_output(name)
        given = checked(translation.native(dataset))  # also if nothing is asked: preflight does
        return model.run(given, wanted, period) if wanted else {}


ENGINE = PolicyEngine()
"""The engine that `load_engine("policyengine")` gives."""
