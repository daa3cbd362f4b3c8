"""The table of 69 variables is what happens: each rule, in each half, and the checks of them."""

import numpy as np
import pytest

from calibration import toy
from calibration.errors import ImputationError
from calibration.puf_checks import answers_kept, check_puf, require_puf
from calibration.puf_impute import PufOptions, impute
from calibration.puf_variables import puf_variables
from calibration.qrf import ForestOptions

MARK = 12_345.5
"""Every amount of the marked tax file; the survey's answers are whole dollars."""

RULES = [(v, half) for v in puf_variables() for half in ("CPS", "PUF")]
OPTIONS = PufOptions(forest=ForestOptions(trees=20))


@pytest.fixture(scope="module")
def given():
    """Read the toy survey and its tax file."""
    state = toy.after("base")
    return state.dataset, state.inputs.donors["puf"]


@pytest.fixture(scope="module")
def marked(given):
    """Impute from a tax file in which every amount is the mark and every flag is true."""
    base, donor = given
    amount = np.full(len(donor["weight"]), MARK)
    marks = {v.name: amount if v.kind == "float" else amount > 0 for v in puf_variables()}
    return impute(base, donor | marks, seed=0, options=OPTIONS)


@pytest.mark.parametrize(("variable", "half"), RULES, ids=[f"{v.name}-{half}" for v, half in RULES])
def test_each_variable_follows_its_rule_in_each_half(given, marked, variable, half):
    """69 variables, two halves, 138 rules: kept is the survey's answer, drawn is the tax file's."""
    base, _ = given
    of_half = marked[f"{variable.entity}_id"] % 2 == (half == "PUF")
    found = marked[variable.name][of_half]
    rule = variable.puf_half if half == "PUF" else variable.cps_half
    if rule == "keep":
        kept = variable.if_absent is None
        assert (found == (base[variable.name] if kept else variable.if_absent)).all()
    else:
        assert rule == ("draw" if half == "PUF" else "override")
        assert (found == (True if variable.kind == "bool" else MARK)).all()


def test_there_are_two_rules_for_each_of_69():
    """The table enumerates: 69 draws, 51 overrides, 18 answers kept."""
    rules = [v.puf_half for v in puf_variables()] + [v.cps_half for v in puf_variables()]
    assert len(RULES) == len(rules) == 138
    assert {rule: rules.count(rule) for rule in rules} == {"draw": 69, "override": 51, "keep": 18}


def test_the_table_tells_recorded_from_assumed():
    """What the makers of the tax file assume is called so, and is no item of a return."""
    item = {v.name: v.item for v in puf_variables()}
    assert {name for name, source in item.items() if source == "simulated"} == {
        "business_is_sstb",
        "w2_wages_from_qualified_business",
        "sstb_w2_wages_from_qualified_business",
        "unadjusted_basis_qualified_property",
        "sstb_unadjusted_basis_qualified_property",
        "qualified_reit_and_ptp_income",
        "qualified_bdc_income",
    }
    flags = {name for name in item if name.endswith("_would_be_qualified")}
    assert {name for name, source in item.items() if source == "not in the file"} == flags
    assert item["pre_tax_contributions"] == "imputed from the CPS"


# -- the checks ------------------------------------------------------------------------


def test_where_nothing_is_wrong_no_check_complains(given):
    """The stored toy run passes each check, and each compared something."""
    results = check_puf(*given, toy.after("puf").dataset)
    assert [result.name for result in results if not result.passed] == []
    assert all(result.compared for result in require_puf(results))


def test_parts_that_miss_their_total_by_less_than_a_cent_are_mended_and_allowed(given):
    """A survey in single precision adds up to the cent only; that is no broken record."""
    base, donor = given
    parts = base["social_security_retirement"].copy()
    parts[np.flatnonzero(parts)[0]] += 0.004
    dusty = base.with_columns("person", {"social_security_retirement": parts})
    records = impute(dusty, donor, seed=0, options=OPTIONS)
    require_puf(check_puf(dusty, donor, records))


def test_checks_hold_for_chains_of_single_variables(given):
    """With the sequential grouping a row of the tax file is asked for one variable at a time."""
    base, donor = given
    options = PufOptions(forest=ForestOptions(trees=1), grouping="sequential")
    chained = impute(base, donor, seed=0, options=options)
    require_puf(check_puf(base, donor, chained, grouping="sequential"))
    with pytest.raises(ImputationError, match=r"check rows_of_donor: .* nobody in the tax file"):
        require_puf(check_puf(base, donor, chained))


def test_somebody_whom_the_survey_never_had_is_no_kept_answer(given):
    """A record of nobody is counted as wrong and named, not compared with the first person."""
    base, records = given[0], toy.after("puf").dataset
    ids = records["person_id"].copy()
    stranger = 2 * int(base["person_id"].max()) + 2
    ids[0] = stranger
    found = answers_kept(base, records.with_columns("person", {"person_id": ids}))
    columns = sum(1 for name in base.person if not name.endswith("_id"))
    assert columns > 20
    assert found.wrong == columns
    assert found.example == f"person {stranger} is nobody of the survey"


def test_a_check_that_compared_nothing_has_failed(given):
    """Records without anybody prove nothing."""
    base, donor = given
    nobody = toy.after("puf").dataset.take_households(np.arange(0))
    failed = [result.name for result in check_puf(base, donor, nobody) if not result.passed]
    assert len(failed) == len(check_puf(base, donor, nobody))
