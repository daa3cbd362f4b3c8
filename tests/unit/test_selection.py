"""Selections: which targets rules in YAML choose, and what is said of rules that choose none."""

import pytest
from small_world import target

from calibration.errors import TargetError
from calibration.geography import Level
from calibration.selection import Rule, Selection, read_selection

FILER = "tax_unit_is_filer==1"
TARGETS = [
    target("person_count", Level.NATION, 0),
    target("snap", Level.NATION, 0),
    target("eitc", Level.STATE, 6, "age>=25", FILER),
    target("snap", Level.STATE, 6),
    target("snap", Level.STATE, 37),
    target("person_count", Level.DISTRICT, 3702, "age<18"),
    target("person_count", Level.DISTRICT, 3702, "age>=18"),
]


def chosen(tmp_path, text: str) -> list[str]:
    """Give the names that a selection written as YAML leaves."""
    path = tmp_path / "use.yaml"
    path.write_text(text, encoding="utf-8")
    return [t.name for t in read_selection(path).of(TARGETS)]


def test_rules_include_and_then_exclude(tmp_path):
    """All of SNAP and whatever is about ages, but for the nation's: in the order given."""
    found = chosen(
        tmp_path,
        """
        include:
          - variable: snap
          - domain_variable: age
        exclude:
          - variable: snap
            geo_level: nation
        """,
    )
    assert found == [TARGETS[i].name for i in (3, 4, 5, 6)]


def test_without_an_include_all_are_included(tmp_path):
    """A list of exclusions alone starts from everything."""
    found = chosen(tmp_path, "exclude: [{geo_level: state}, {geo_level: district}]")
    assert found == ["national/person_count", "national/snap"]


def test_a_rule_matches_what_agrees_with_all_of_it(tmp_path):
    """Parts of a rule are joined by AND; a domain is a set of variables, not a text."""
    assert chosen(tmp_path, "include: [{variable: snap, geo_level: nation}]") == ["national/snap"]
    for domain in ("age,tax_unit_is_filer", "tax_unit_is_filer, age"):
        (found,) = chosen(tmp_path, f"include: [{{domain_variable: '{domain}'}}]")
        assert found == TARGETS[2].name


def test_filers_and_everybody_are_different_domains(tmp_path):
    """A rule for a domain does not take the targets of filers along, nor those without any."""
    assert len(chosen(tmp_path, "include: [{domain_variable: age}]")) == 2
    assert len(chosen(tmp_path, "include: [{domain_variable: ''}]")) == 4


def test_one_target_under_two_rules_stands_once(tmp_path):
    """Rules that overlap choose a target once."""
    assert len(chosen(tmp_path, "include: [{variable: snap}, {geo_level: state}]")) == 4


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("variable: snapp", "include rule 1 .variable: snapp. .* 'snapp'; did you mean 'snap'"),
        (
            "variable: snap, geo_level: district",
            r"there is person_count \(district, age\), snap \(nation, no domain\), snap \(state",
        ),
        ("domain_variable: agee", "no target has the domain_variable 'agee'; did you mean 'age'"),
        ("geo_level: county", "no target has the geo_level 'county'"),
        (
            "variable: person_count, geo_level: district, domain_variable: ''",
            r"there is person_count \(district, age\), person_count \(nation, no domain\), snap",
        ),
        ("variable: eitc, domain_variable: age", r"eitc \(state, age,tax_unit_is_filer\)"),
        ("variable: snap, domain_variable: ' age'", "variable: snap, domain_variable: age. match"),
    ],
)
def test_a_rule_that_matches_nothing_is_an_error(tmp_path, rule, message):
    """The rule is named, with what is near, unless it says that it is optional.

    policyengine-us-data e01a0384 says nothing and goes on without the targets.
    """
    with pytest.raises(TargetError, match=message):
        chosen(tmp_path, f"include: [{{{rule}}}]")
    optional = f"include: [{{geo_level: nation}}, {{{rule}, optional: true}}]"
    assert len(chosen(tmp_path, optional)) == 2


def test_an_exclusion_of_what_was_not_included_matches_nothing(tmp_path):
    """Excluding is from what was included; a rule without effect is a mistake there, too."""
    rules = "include: [{variable: eitc}]\nexclude: [{variable: snap}]"
    with pytest.raises(
        TargetError,
        match=r"exclude rule 1 .variable: snap. matches no target among those included: ",
    ):
        chosen(tmp_path, rules)


def test_a_selection_of_nothing_is_an_error(tmp_path):
    """Rules that cancel each other leave no targets to fit."""
    with pytest.raises(TargetError, match="leaves none of 7 targets"):
        chosen(tmp_path, "include: [{variable: eitc}]\nexclude: [{variable: eitc}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the lists include, exclude"),
        ("- variable: snap", "has the lists include, exclude"),
        ("includes: [{variable: snap}]", "no 'includes'; did you mean 'include'"),
        ("include: {variable: snap}", "include is a list of rules"),
        ("include: []", "include is a list of rules"),
        ("include: [snap]", "include rule 1 is 'snap'; write name: value"),
        ("include: [{}]", "include rule 1: a rule names at least one of variable"),
        ("include: [{optional: true}]", "include rule 1: a rule names at least one of variable"),
        ("include: [{variable: 1}]", "rule 1: variable is 1; it takes text"),
        ("include: [{variable: null}]", "rule 1: variable is None; it takes text"),
        ("include: [{variable: snap, optional: 1}]", "optional is 1; it takes true or false"),
        ("include: [{variable: snap, level: state}]", "no 'level'; .*it takes variable, geo_level"),
        ("exclude: [{geo_level: states}]", "no geo_level 'states'; did you mean 'state'"),
        ("include: [{variable: snap", "is no YAML: "),
        (
            "include: [{variable: snap}]\nexclude: [{variable: ssi}]\ninclude: [{variable: eitc}]",
            "include stands twice, in lines 1 and 3",
        ),
        ("include:\n- variable: snap\n  variable: eitc", "variable stands twice, in lines 2 and 3"),
        ("include: [{variable: snap, variable: eitc}]", "variable stands twice, in lines 1 and 1"),
        ("include: [{variable: !!python/name:os.system x}]", "is no YAML: "),
    ],
)
def test_what_is_no_selection_is_refused(tmp_path, text, message):
    """A slip in the file names the file and the rule, in one line."""
    with pytest.raises(TargetError, match=message) as caught:
        chosen(tmp_path, text)
    assert "use.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    """A missing file and one that is no text."""
    with pytest.raises(TargetError, match=r"cannot read .*none\.yaml"):
        read_selection(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match=r"cannot read .*bytes\.yaml"):
        read_selection(tmp_path / "bytes.yaml")


def test_rules_can_be_made_in_python():
    """The same, without a file."""
    snap = Selection(include=(Rule(variable="snap"),), exclude=(Rule(geo_level=Level.STATE),))
    assert [t.name for t in snap.of(TARGETS)] == ["national/snap"]
