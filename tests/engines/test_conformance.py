"""What every engine promises, whatever law it has: one suite for all of them.

A real engine is a library that may not be installed. Its part of the suite has a marker of
its own, `engine_policyengine` or `engine_taxcalc`, and is run in an environment with that
library; where the marker is not deselected, a missing library is a failure, not a skip.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from calibration import toy
from calibration.clones import Clones
from calibration.dataset import Array, Dataset
from calibration.engines import Engine, Variable, load_engine, require
from calibration.errors import DatasetError, EngineError

# The libraries warn of their own affairs, such as a pandas idiom that will change.
REAL = pytest.mark.filterwarnings("default")
ENGINES = [
    "toy",
    pytest.param("policyengine", marks=[pytest.mark.engine_policyengine, REAL]),
    pytest.param("taxcalc", marks=[pytest.mark.engine_taxcalc, REAL]),
]
KINDS = {"float": "f", "int": "i", "bool": "b", "str": "U"}


@dataclass(frozen=True)
class World:
    """An engine, some households, and what to ask.

    `blind` is an output with few inputs; `matters` is an input, not optional, and an output
    that changes with it.
    """

    engine: Engine
    households: Dataset
    asked: tuple[str, ...]
    blind: str
    matters: tuple[str, str]
    typo: tuple[str, str]

    @property
    def year(self) -> int:
        """The year of dataset and law."""
        return self.households.period

    def values(self, households: Dataset | None = None, *names: str) -> dict[str, Array]:
        """Ask for some outputs, or for all of `asked`."""
        data = self.households if households is None else households
        return self.engine.simulate(data, names or self.asked, data.period)


BENEFITS = (
    "adjusted_gross_income", "eitc", "income_tax", "tax_unit_is_filer", "filing_status", "snap",
    "ssi", "medicaid_enrolled", "state_income_tax", "eitc_child_count",
)  # fmt: skip


@cache
def world(name: str) -> World:
    """Make the world of an engine: 24 columns of the toy country, or 60 public records."""
    engine = load_engine(name)
    if name == "taxcalc":
        records = engine.records(2022)
        rows = np.flatnonzero(np.isin(records["state_fips"], (6, 36)))[:: 60_000 // 60]
        asked = ("adjusted_gross_income", "eitc", "income_tax", "tax_unit_is_filer")
        typo = "adjusted_gross_incme", "adjusted_gross_income"
        households = records.take_households(rows)
        return World(engine, households, asked, "eitc", ("e00300", "adjusted_gross_income"), typo)
    state = toy.after("matrix")
    clones = Clones(state.dataset, state.geography, state.thresholds, engine)
    columns = np.concatenate(
        [np.flatnonzero(state.geography.state == code)[:8] for code in (6, 11, 37)]
    )
    matters = ("age", "eitc")
    typo = "adjusted_gross_incme", "adjusted_gross_income"
    return World(engine, clones.households(columns), BENEFITS, "ssi", matters, typo)


@cache
def answers(name: str) -> dict[str, Array]:
    """Simulate a world once."""
    return world(name).values()


@pytest.fixture(params=ENGINES)
def name(request):
    """Give each engine in turn."""
    return request.param


def by_id(world: World, data: Dataset, values: dict[str, Array], name: str) -> dict[int, object]:
    """Give an output by the id of its unit."""
    ids = data[f"{world.engine.outputs[name].entity}_id"]
    return dict(zip(ids.tolist(), values[name].tolist(), strict=True))


def changed(data: Dataset, name: str) -> Dataset:
    """Change a column everywhere: flags turn over, numbers grow, text moves on by one row."""
    old, entity = data[name], data.entity_of(name)
    if old.dtype.kind == "b":
        new = ~old
    elif old.dtype.kind == "U":
        new = np.roll(old, 1)
    else:
        new = old + np.asarray(3, dtype=old.dtype)
    return data.with_columns(entity, {name: new})


def without(data: Dataset, name: str) -> Dataset:
    """Drop a column."""
    tables = {e: {n: t[n] for n in t if n != name} for e, t in data.tables.items()}
    return Dataset(data.period, tables)


# -- what is declared ----------------------------------------------------------------------


def test_it_is_an_engine(name):
    """The engine has every part of the protocol, and its name is the one it is found by."""
    engine = world(name).engine
    assert isinstance(engine, Engine)
    assert engine.name == name
    assert engine.version
    assert not set(engine.inputs) & set(engine.outputs)


def test_variables_describe_themselves(name):
    """Inputs have no inputs; outputs have some, all known; names and entities are right."""
    w = world(name)
    for known, variable in w.engine.inputs.items():
        assert isinstance(variable, Variable)
        assert (variable.name, variable.inputs) == (known, frozenset()), known
    for asked in w.asked:
        variable = w.engine.outputs[asked]
        assert variable.name == asked
        assert variable.entity in w.households.tables
        assert variable.inputs
        assert variable.inputs <= set(w.engine.inputs), asked
        assert not variable.optional


def test_values_have_their_kind_and_shape(name):
    """Values come in the order asked for, one for each unit, of the declared kind, finite."""
    w, values = world(name), answers(name)
    assert tuple(values) == w.asked
    for asked, value in values.items():
        variable = w.engine.outputs[asked]
        assert value.shape == (w.households.size(variable.entity),), asked
        assert value.dtype.kind == KINDS[variable.kind], asked
        assert value.dtype.itemsize == 8 or variable.kind in {"bool", "str"}, asked
        assert value.dtype.kind != "f" or np.isfinite(value).all(), asked
    assert any(len(np.unique(value)) > 5 for value in values.values())


# -- whom a value belongs to ---------------------------------------------------------------


def test_values_follow_households_not_rows(name):
    """Half of the households, in another order, have the values they have among all."""
    w, all_values = world(name), answers(name)
    rows = np.arange(w.households.size("household"))[::-2]
    some = w.households.take_households(rows)
    values = w.values(some)
    for asked in w.asked:
        whole, part = (
            by_id(w, w.households, all_values, asked),
            by_id(w, some, values, asked),
        )
        assert part == {unit: whole[unit] for unit in part}, asked


def test_weights_are_not_looked_at(name):
    """Other weights give bitwise the same values."""
    w, before = world(name), answers(name)
    weight = np.linspace(0, 1e6, w.households.size("household"))
    after = w.values(w.households.with_columns("household", {"household_weight": weight}))
    for asked in w.asked:
        np.testing.assert_array_equal(before[asked], after[asked], err_msg=asked)


def test_what_else_is_asked_for_does_not_matter(name):
    """An output alone, asked for twice and after others, is bitwise what it was among others."""
    w, before = world(name), answers(name)
    for _ in range(2):
        alone = w.values(None, w.blind)
        assert list(alone) == [w.blind]
        np.testing.assert_array_equal(alone[w.blind], before[w.blind])


def test_nothing_asked_is_nothing_answered(name):
    """No outputs give no values, and a wrong year is refused all the same."""
    w = world(name)
    assert w.engine.simulate(w.households, (), w.year) == {}
    with pytest.raises(EngineError):
        w.engine.simulate(w.households, (), w.year + 1)


# -- dependencies --------------------------------------------------------------------------


def test_undeclared_inputs_do_not_matter(name):
    """All inputs that an output does not declare may change at once; it stays bitwise."""
    w, before = world(name), answers(name)
    declared = w.engine.outputs[w.blind].inputs
    data = w.households
    places = {"state_fips", "county_fips", "zip_code"}  # must fit each other
    names = set(data.names()) & set(w.engine.inputs) - declared - places
    levels = {n for n in names if w.engine.inputs[n].kind == "str"}  # one cannot make one up
    for undeclared in sorted(names - levels):
        data = changed(data, undeclared)
    after = w.values(data, w.blind)
    np.testing.assert_array_equal(before[w.blind], after[w.blind])
    assert names or name == "taxcalc"  # whose outputs all declare all inputs


def test_a_declared_input_matters(name):
    """Changing an input that an output declares changes the output of somebody."""
    w, before = world(name), answers(name)
    changing, output = w.matters
    assert changing in w.engine.outputs[output].inputs
    data = w.households
    value = data[changing] + np.asarray(40, dtype=data[changing].dtype)
    after = w.values(data.with_columns(data.entity_of(changing), {changing: value}), output)
    assert not np.array_equal(before[output], after[output])


# -- errors --------------------------------------------------------------------------------


def test_an_unknown_variable_is_refused_with_near_matches(name):
    """A typo is an error that names the variable that was meant."""
    w = world(name)
    wrong, right = w.typo
    with pytest.raises(EngineError, match=f"(?s){wrong}.*{right}"):
        w.values(None, wrong)
    with pytest.raises(EngineError, match=f"(?s){wrong}.*{right}"):
        require(w.engine, wrong)


def test_an_input_is_not_an_output(name):
    """Asking to compute an input is an error that says where to read it."""
    w = world(name)
    with pytest.raises(EngineError, match="input"):
        w.values(None, w.matters[0])


def test_another_year_is_refused(name):
    """The dataset's year and the rules' year must be the same: nothing is aged on the way."""
    w = world(name)
    with pytest.raises(EngineError, match=f"{w.year - 1}"):
        w.engine.simulate(w.households, w.asked, w.year - 1)
    with pytest.raises(EngineError):
        w.engine.simulate(replace(w.households, period=w.year - 1), w.asked, w.year)


def test_a_missing_input_is_an_error(name):
    """Without an input that is not optional there is no value, and the error names it."""
    w = world(name)
    missing, output = w.matters
    assert not w.engine.inputs[missing].optional
    with pytest.raises(EngineError, match=missing):
        w.values(without(w.households, missing), output)


def test_an_input_of_the_wrong_kind_is_an_error(name):
    """Text where a number should stand is an error that names the column."""
    w = world(name)
    wrong, output = w.matters
    entity, size = w.households.entity_of(wrong), len(w.households[wrong])
    with pytest.raises(EngineError, match=wrong):
        w.values(w.households.with_columns(entity, {wrong: np.full(size, "many")}), output)


def test_a_value_that_is_no_number_never_comes_through(name):
    """A NaN in an input is refused by the dataset's own check or by the engine."""
    w = world(name)
    inputs = w.engine.inputs.values()
    variable = next(v for v in inputs if v.kind == "float" and v.name in w.households)
    value = w.households[variable.name].astype(float)
    value[0] = np.nan
    bad = w.households.with_columns(variable.entity, {variable.name: value})
    with pytest.raises((DatasetError, EngineError), match=variable.name):
        w.engine.simulate(bad.check(), w.asked, w.year)
