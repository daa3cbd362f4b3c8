"""Donor and receiver must speak one language; chains keep what belongs together."""

import numpy as np
import pytest

from calibration import imputer as imputer_module
from calibration.dataset import Dataset
from calibration.errors import ImputationError
from calibration.imputer import SequentialImputer, store
from calibration.predictors import SCALE_TOLERANCE, Predictor, learn
from calibration.qrf import ForestOptions

FEW = ForestOptions(trees=10)
AGE, SEX = Predictor("age", "amount"), Predictor("is_male", "flag")


def people(n, seed=0):
    """Make donors of income, children, region and tenure."""
    rng = np.random.default_rng(seed)
    return {
        "age": rng.integers(18, 90, n).astype(float),
        "is_male": rng.random(n) < 0.5,
        "income": np.round(rng.lognormal(10, 1, n)),
        "children": rng.integers(0, 4, n),
        "region": rng.choice([10, 20, 30], n),
        "tenure": rng.choice(["OWNED", "RENTED"], n),
        "rent": np.round(rng.lognormal(9, 0.5, n)),
        "tax": np.round(rng.lognormal(8, 0.5, n)),
        "name": rng.choice(["x", "y"], n),
    }


def spearman(a, b):
    """Correlate ranks; ties are broken by position, harmless for continuous values."""
    rank = [np.argsort(np.argsort(values)) for values in (a, b)]
    return np.corrcoef(*rank)[0, 1]


# -- predictors ------------------------------------------------------------------------


def test_categories_become_one_column_a_level():
    """A code has no order: each level of the donor is a column of 0 and 1."""
    encoding = learn("d", (Predictor("region", "category"), AGE), people(200))
    encoded = encoding.encode({"region": np.array([20, 30]), "age": np.array([30, 40])})
    assert encoded.matrix.tolist() == [[0, 1, 0, 30], [0, 0, 1, 40]]
    assert encoded.column.tolist() == [0, 0, 0, 1]


def test_whole_numbers_are_one_level_in_any_dtype():
    """A level is a value: 2, 2.0 and an unsigned 2 are the same count and the same code."""
    encoding = learn(
        "d", (Predictor("children", "count"), Predictor("region", "category")), people(99)
    )
    matrices = [
        encoding.encode(
            {"children": np.array([0, 2], dtype=kind), "region": np.array([10, 30], dtype=kind)}
        ).matrix.tolist()
        for kind in (np.int8, np.uint16, np.float32, np.float64)
    ]
    assert all(matrix == [[0, 1, 0, 0], [2, 0, 0, 1]] for matrix in matrices)


@pytest.mark.parametrize(
    ("predictor", "values", "message"),
    [
        (Predictor("region", "category"), np.array([10, 99]), "'region' has 99 in 1 receivers"),
        (Predictor("region", "category"), np.array(["10", "20"]), "'region' is text"),
        (Predictor("region", "category"), np.array([10.5, 20]), "'region' of .* is numbers"),
        (Predictor("tenure", "category"), np.array(["OWNED", "NONE"]), "'tenure' has NONE"),
        (Predictor("children", "count"), np.array([2, 6]), "'children' has 6"),
        (Predictor("children", "count"), np.array([1.5, 2]), "'children' of .* is numbers"),
        (SEX, np.array([0.0, 1.0]), "'is_male' of .* is numbers; a flag is true or false"),
        (AGE, np.array([True, False]), "'age' of .* is true or false"),
        (AGE, np.array([30.0, np.nan]), "'age' of .* is nan in row 1"),
        (AGE, np.ones((2, 3)), r"'age' of .* has shape \(2, 3\)"),
    ],
)
def test_what_the_donor_never_saw_is_an_error(predictor, values, message):
    """Unseen levels, other types and holes are named with column and value."""
    encoding = learn("survey", (predictor,), people(300))
    with pytest.raises(ImputationError, match=message):
        encoding.encode({predictor.name: values})


def test_a_missing_predictor_is_named_with_its_neighbor():
    """A column that is not there is an error that guesses at the one that was meant."""
    with pytest.raises(ImputationError, match=r"donor 'd' has no predictor 'is_mail'; .*'is_male'"):
        learn("d", (Predictor("is_mail", "flag"),), people(20))
    with pytest.raises(ImputationError, match="receiver of 'd' has no predictor 'age'"):
        learn("d", (AGE,), people(20)).encode({"is_male": np.array([True])})


@pytest.mark.parametrize("unit", [1e-3, 1e-2, 1e2, 1e3])
def test_cents_and_thousands_are_not_dollars(unit):
    """Amounts of another order of magnitude are refused, whichever side is wrong."""
    donor = people(300)
    encoding = learn("d", (Predictor("income", "amount"),), donor)
    with pytest.raises(ImputationError, match="'income' has a median size"):
        encoding.encode({"income": donor["income"] * unit})


def test_a_factor_within_the_tolerance_passes():
    """Months for years is not found: the tolerance is wider than surveys differ."""
    donor = people(300)
    encoding = learn("d", (Predictor("income", "amount"),), donor)
    assert SCALE_TOLERANCE > 12
    assert len(encoding.encode({"income": donor["income"] / 12}).matrix) == 300
    # Nine distinct amounts say nothing about a unit.
    assert len(encoding.encode({"income": np.arange(1.0, 10.0)}).matrix) == 9


def test_clip_takes_the_nearest_count():
    """Four dependents and more are read as the three that the donor codes."""
    encoding = learn("d", (Predictor("children", "count", "clip"),), people(300))
    encoded = encoding.encode({"children": np.array([-1, 0, 3, 4, 11])})
    assert encoded.matrix[:, 0].tolist() == [0, 0, 3, 3, 3]
    assert not encoded.unseen.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "number"), "unknown kind 'number'"),
        (("x", "flag", "guess"), "unknown policy 'guess'"),
        (("x", "category", "clip"), "only a count clips"),
    ],
)
def test_declarations_that_cannot_be_carried_out_are_refused(arguments, message):
    """A predictor of no kind or with a senseless policy is an error when declared."""
    with pytest.raises(ImputationError, match=message):
        Predictor(*arguments)


# -- policies --------------------------------------------------------------------------


def test_marginal_draws_as_if_the_predictor_were_not_there():
    """A receiver with an unseen level gets what a forest without that predictor gives."""
    donor, weight = people(400), np.ones(400)
    receiver = people(50, seed=1)
    strange = receiver | {"tenure": np.where(np.arange(50) < 20, "NONE", receiver["tenure"])}
    tenure, ids = Predictor("tenure", "category", "marginal"), np.arange(50)

    def drawn(predictors, table):
        chain = SequentialImputer("d", predictors, (("rent",), ("tax",)), seed=1, options=FEW)
        return chain.fit(donor, weight).draw(table, ids)

    mixed, whole, without = (
        drawn(predictors, table)
        for predictors, table in (
            ((AGE, tenure), strange),
            ((AGE, tenure), receiver),
            ((AGE,), receiver),
        )
    )
    for name in ("rent", "tax"):
        assert np.array_equal(mixed[name][:20], without[name][:20])
        assert np.array_equal(mixed[name][20:], whole[name][20:])


def test_marginal_without_any_predictor_left_is_the_donor_sample():
    """With nothing known of a receiver, draws have the weighted law of all donors."""
    donor = people(60)
    weight = np.where(np.arange(60) < 6, 54.0, 6.0)  # six donors carry half the weight
    chain = SequentialImputer(
        "d", (Predictor("tenure", "category", "marginal"),), (("rent",),), seed=1, options=FEW
    )
    m = 4_000
    drawn = chain.fit(donor, weight).draw({"tenure": np.full(m, "NONE")}, np.arange(m))["rent"]
    heavy = np.isin(drawn, donor["rent"][:6]).mean()
    assert abs(heavy - 0.5) < 4 * np.sqrt(0.25 / m)


def test_each_receiver_has_an_id_of_its_own():
    """One id for all would be one draw for all; ids of another number are refused."""
    chain = SequentialImputer("d", (AGE,), (("rent",),), seed=2, options=FEW)
    chain.fit(people(50), np.ones(50))
    for ids in ([7], np.arange(4)):
        with pytest.raises(ImputationError, match=r"ids of shape \(\d,\) for 5 receivers"):
            chain.draw(people(5, seed=1), ids)


# -- chains ----------------------------------------------------------------------------


def test_a_joint_group_draws_one_donor_row():
    """Values drawn together stood together in the donor."""
    donor = people(300)
    chain = SequentialImputer("d", (AGE,), (("rent", "tax", "name"),), seed=2, options=FEW)
    drawn = chain.fit(donor, np.ones(300)).draw(people(200, seed=1), np.arange(200))
    rows = set(zip(donor["rent"], donor["tax"], donor["name"], strict=True))
    assert rows.issuperset(zip(drawn["rent"], drawn["tax"], drawn["name"], strict=True))
    assert len(set(zip(drawn["rent"], drawn["tax"], strict=True))) > 50
    assert [drawn[v].dtype.kind for v in ("rent", "name")] == ["f", "U"]


def test_a_chain_draws_each_variable_given_those_before():
    """A variable that is twice another in the donor is about twice it when imputed."""
    donor = people(1_000)
    donor["twice"] = 2 * donor["rent"]
    chain = SequentialImputer("d", (AGE,), (("rent",), ("twice",)), seed=2, options=FEW)
    drawn = chain.fit(donor, np.ones(1_000)).draw(people(500, seed=1), np.arange(500))
    # Leaves split the rank of rent finely; drawn one by one without it, rho would be 0.
    assert spearman(drawn["rent"], drawn["twice"]) > 0.9


@pytest.fixture(scope="module")
def unrelated():
    """Donors with two unrelated amounts, and receivers like them."""
    rng = np.random.default_rng(3)

    def table(n):
        amounts = {name: rng.lognormal(0, 1, n) for name in ("a", "b")}
        return amounts | {"age": rng.uniform(20, 80, n), "is_male": rng.random(n) < 0.5}

    return table(2_000), table(4_000)


def correlation(donor, receiver, *chains):
    """Draw two unrelated variables and correlate their ranks."""
    drawn = {}
    for predictors, groups in chains:
        chain = SequentialImputer("d", predictors, groups, seed=5, options=FEW)
        drawn |= chain.fit(donor, np.ones(2_000)).draw(receiver, np.arange(4_000))
    return spearman(drawn["a"], drawn["b"])


CHAINED = (((AGE, SEX), (("a",), ("b",))),)
APART = (((SEX,), (("a",),)), ((SEX,), (("b",),)))

# Under independence |rho| < 4 standard errors: 4 (1 / sqrt(m) + 1 / sqrt(n)), donors' own
# chance correlation included, which a chain reproduces.
BOUND = 4 * (1 / np.sqrt(4_000) + 1 / np.sqrt(2_000))


@pytest.mark.parametrize("chains", [CHAINED, APART])
def test_unrelated_variables_stay_unrelated(unrelated, chains):
    """What is independent in the donor is independent when imputed, in a chain or apart."""
    assert abs(correlation(*unrelated, *chains)) < BOUND


def test_one_shared_uniform_would_be_caught(unrelated, monkeypatch):
    """With one uniform for all variables, unrelated ones come out in lockstep."""
    real = imputer_module.uniform
    monkeypatch.setattr(
        imputer_module,
        "uniform",
        lambda seed, stage, name, _, *rest: real(seed, stage, name, *rest),
    )
    assert correlation(*unrelated, *APART) > 0.9


def test_a_later_variable_changes_no_earlier_draw():
    """Streams are keyed by variable, so a chain may grow at its end."""
    donor, receiver = people(200), people(40, seed=1)
    short, long = (
        SequentialImputer("d", (AGE,), groups, seed=1, options=FEW)
        .fit(donor, np.ones(200))
        .draw(receiver, np.arange(40))
        for groups in ((("rent",),), (("rent",), ("tax",)))
    )
    assert np.array_equal(short["rent"], long["rent"])


def test_every_part_of_the_key_matters():
    """Another seed, name or id gives other draws."""
    donor, receiver = people(200), people(40, seed=1)

    def rents(name="d", seed=1, first=0):
        chain = SequentialImputer(name, (AGE,), (("rent",),), seed=seed, options=FEW)
        return chain.fit(donor, np.ones(200)).draw(receiver, np.arange(40) + first)["rent"]

    for other in (rents(name="e"), rents(seed=2), rents(first=40)):
        assert not np.array_equal(rents(), other)
    assert np.array_equal(rents(), rents())


def test_the_seed_reaches_forests_and_draws():
    """Two seeds grow two forests, and draw differently even from one law."""
    donor = people(200)
    one, two = (
        SequentialImputer("d", (AGE,), (("rent",),), seed=s, options=FEW).fit(donor, np.ones(200))
        for s in (1, 2)
    )
    ages = donor["age"][:9, None]
    assert not np.array_equal(one.chain_[0].law(ages), two.chain_[0].law(ages))
    alike = donor | {"age": np.full(200, 40.0)}
    draws = [
        SequentialImputer("d", (AGE,), (("rent",),), seed=s, options=FEW)
        .fit(alike, np.ones(200))
        .draw({"age": np.full(40, 40.0)}, np.arange(40))["rent"]
        for s in (1, 2)
    ]
    assert not np.array_equal(*draws)


def test_donor_weights_enter_the_draws():
    """A donor group that carries nine tenths of the weight gives nine tenths of the draws."""
    donor = people(400)
    marked = np.arange(400) % 2 == 0
    donor["mark"] = marked
    chain = SequentialImputer("d", (AGE,), (("mark",),), seed=1, options=FEW)
    m = 4_000
    drawn = chain.fit(donor, np.where(marked, 9.0, 1.0)).draw(
        {"age": np.resize(donor["age"], m)}, np.arange(m)
    )
    # Leaves of a few donors: the law's mean wanders by about 0.02 around 0.9.
    assert abs(drawn["mark"].mean() - 0.9) < 0.04


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((("rent",), ("rent",)), r"\['rent'\] twice"),
        ((("age",),), r"\['age'\] as predictors too"),
        ((), "an empty group"),
        ((("rent",), ()), "an empty group"),
        ((("rant",),), "no variable 'rant'; did you mean 'rent'"),
    ],
)
def test_groups_that_cannot_be_drawn_are_refused(groups, message):
    """A variable twice, also a predictor, or not in the donor is an error."""
    with pytest.raises(ImputationError, match=message):
        SequentialImputer("d", (AGE,), groups, seed=1).fit(people(20), np.ones(20))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(19), r"shape \(19,\) for 20 rows"),
        (np.zeros(20), "some above 0"),
        (-np.ones(20), "0 or more"),
        (np.full(20, np.inf), "finite"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weight, message):
    """Donor weights must be finite, 0 or more, one a row, and not all 0."""
    with pytest.raises(ImputationError, match=message):
        SequentialImputer("d", (AGE,), (("rent",),), seed=1).fit(people(20), weight)


def test_donors_with_holes_or_without_rows_are_refused():
    """A value that is not finite, or no donor at all, is an error that names the donor."""
    chain = SequentialImputer("d", (AGE,), (("rent",),), seed=1)
    donor = people(20)
    donor["rent"][3] = np.nan
    with pytest.raises(ImputationError, match="'rent' of donor 'd' is nan in row 3"):
        chain.fit(donor, np.ones(20))
    with pytest.raises(ImputationError, match="'d' has no rows"):
        chain.fit({name: values[:0] for name, values in people(20).items()}, np.ones(0))
    with pytest.raises(ImputationError, match="not fitted"):
        SequentialImputer("d", (AGE,), (("rent",),), seed=1).draw(people(3), np.arange(3))


def test_stored_columns_take_the_place_of_their_namesakes():
    """A name stands in one table only, also when it moves to another entity."""
    dataset = Dataset(
        2024,
        {
            "person": {
                "person_id": np.arange(2),
                "person_household_id": np.arange(2),
                "x": np.ones(2),
            },
            "household": {"household_id": np.arange(2)},
        },
    )
    moved = store(dataset, "household", {"x": np.zeros(2)}).check()
    assert moved.entity_of("x") == "household"
    assert "x" not in moved.person
    assert dataset.entity_of("x") == "person"
