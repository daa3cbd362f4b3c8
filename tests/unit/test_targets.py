"""Targets: constraints, names, and the CSV in which they come."""

import numpy as np
import pytest

from calibration.errors import TargetError
from calibration.geography import Level
from calibration.targets import (
    Constraint,
    Operation,
    Target,
    check_constraints,
    check_spelling,
    parse_constraint,
    read_csv,
    sort_targets,
)


def of_state(*constraints: str, **changes) -> Target:
    """Make a target of North Carolina."""
    parsed = tuple(parse_constraint(c) for c in constraints)
    fields = {"variable": "snap", "level": Level.STATE, "code": 37, "period": 2024, "value": 1.0}
    return Target(**(fields | {"constraints": parsed} | changes))


# -- constraints -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("age>=65", ("age", Operation.GE, "65")),
        (" age >= 65 ", ("age", Operation.GE, "65")),
        ("agi<inf", ("agi", Operation.LT, "inf")),
        ("agi>-1e3", ("agi", Operation.GT, "-1e3")),
        ("card==NONE", ("card", Operation.EQ, "NONE")),
        ("is_filer!=True", ("is_filer", Operation.NE, "True")),
    ],
)
def test_written_constraints_are_read(text, parsed):
    """A variable, a comparison and a value, with or without blanks."""
    assert parse_constraint(text) == Constraint(*parsed)


@pytest.mark.parametrize(
    "text",
    ["", "age", "age>=", ">=65", "age=65", "age=>65", "age===65", "age> =65", "age>>65", "age<>5",
     "age>=6 5", "two words>=1", "a==b,c==d", "a==b;c==d", "a==[b]"],
)  # fmt: skip
def test_what_is_no_constraint_is_refused(text):
    """A slip of the pen is an error, never a text that nothing equals."""
    with pytest.raises(TargetError, match="cannot read constraint"):
        parse_constraint(text)


@pytest.mark.parametrize(
    ("constraint", "values", "expected"),
    [
        ("x==2", [1, 2, 3], [0, 1, 0]),
        ("x!=2", [1, 2, 3], [1, 0, 1]),
        ("x>=2", [1, 2, 3], [0, 1, 1]),
        ("x<=2", [1, 2, 3], [1, 1, 0]),
        ("x>2", [1, 2, 3], [0, 0, 1]),
        ("x<2", [1, 2, 3], [1, 0, 0]),
        ("x==True", [True, False, True], [1, 0, 1]),
        ("x==0", [True, False, True], [0, 1, 0]),
        ("x<inf", [1e300, -1e300, 0.0], [1, 1, 1]),
        ("x==NONE", ["NONE", "none", ""], [1, 0, 0]),
        ("x!=NONE", ["NONE", "none", ""], [0, 1, 1]),
        ("x==27601", ["27601", "7601", ""], [1, 0, 0]),
    ],
)
def test_every_comparison(constraint, values, expected):
    """Numbers, flags and text compare as one reads them."""
    held = parse_constraint(constraint).holds(np.array(values))
    assert held.tolist() == [bool(e) for e in expected]


@pytest.mark.parametrize(
    ("constraint", "values"), [("x==NONE", [1.0]), ("x>=5", ["5"]), ("x>=NONE", ["NONE"])]
)
def test_numbers_and_text_do_not_mix(constraint, values):
    """Comparing numbers with text, or ordering text, is an error that names the constraint."""
    with pytest.raises(TargetError, match=f"constraint {constraint} "):
        parse_constraint(constraint).holds(np.array(values))


@pytest.mark.parametrize(
    "constraints",
    [
        ["age==5", "age==6"],
        ["age==5", "age>=5"],
        ["age!=5", "age>=5"],
        ["age>=5", "age>6"],
        ["age<=5", "age<6"],
        ["age>=5", "age>=6"],
        ["age>=6", "age<=5"],
        ["age>5", "age<5"],
        ["age>=5", "age<5"],
        ["age>5", "age<=5"],
        ["age>=nan"],
    ],
)
def test_contradictory_and_empty_sets_are_refused(constraints):
    """Sets that nobody can meet, or that say one thing twice, name their constraints."""
    with pytest.raises(TargetError, match=" and ".join(constraints)):
        check_constraints(parse_constraint(c) for c in constraints)


@pytest.mark.parametrize(
    "constraints",
    [[], ["age>=5", "age<=5"], ["age>5", "age<6"], ["age==5", "sex==M"], ["agi>=0", "agi<inf"]],
)
def test_sets_that_somebody_can_meet_pass(constraints):
    """Closed, half-open and unbounded ranges are fine, and so are different variables."""
    check_constraints(parse_constraint(c) for c in constraints)


# -- names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "code", "name"),
    [
        (Level.NATION, 0, "national/snap/[age<5]"),
        (Level.STATE, 6, "state_06/snap/[age<5]"),
        (Level.COUNTY, 6037, "county_06037/snap/[age<5]"),
        (Level.DISTRICT, 201, "cd_0201/snap/[age<5]"),
        (Level.PLACE, 644000, "place_0644000/snap/[age<5]"),
    ],
)
def test_names_say_area_variable_and_scope(level, code, name):
    """Codes stand with their leading zeros."""
    assert of_state("age<5", level=level, code=code).name == name


def test_a_name_is_the_same_whatever_the_order_of_constraints():
    """Order means nothing: name, signature and equality use the sorted form."""
    one = of_state("sex==M", "age>=5", "age<9")
    other = of_state("age<9", "sex==M", "age>=5")
    assert one == other
    assert one.name == other.name == "state_37/snap/[age<9,age>=5,sex==M]"
    assert one.signature == other.signature


def test_counts_are_told_by_the_end_of_the_name():
    """`_count` at the end counts; anywhere else it is part of a name."""
    assert of_state(variable="person_count").is_count
    assert not of_state(variable="eitc_child_count_x").is_count
    assert of_state().group == "state/snap"


def test_targets_sort_by_level_variable_constraints_and_code():
    """Nation first; codes as numbers, so state 6 stands before state 11."""
    expected = [
        of_state(level=Level.NATION, code=0),
        of_state(code=6),
        of_state(code=11),
        of_state("age<5", code=6),
        of_state(variable="ssi", code=6),
        of_state(level=Level.COUNTY, code=6001),
        of_state(level=Level.DISTRICT, code=201),
    ]
    assert sort_targets(expected[::-1]) == expected


def test_two_targets_of_one_name_cannot_be_sorted():
    """Rows of X are told apart by name, so a name stands once."""
    with pytest.raises(TargetError, match=r"two targets are named state_37/snap$"):
        sort_targets([of_state(), of_state(period=2023)])


@pytest.mark.parametrize(
    ("one", "other"),
    [("age>=65", "age>=65.0"), ("age>=65", "age>=065"), ("x==1", "x==True"), ("x==0", "x==False"),
     ("agi<inf", "agi<Infinity"), ("agi>-1e3", "agi>-1000"), ("x==-0", "x==0")],
)  # fmt: skip
def test_one_measure_has_one_spelling(one, other):
    """A number written in two ways would be two rows of X with the same entries."""
    message = r"one measure in two spellings; write one of them"
    for pair in ((one, other), (other, one)):
        here, there = of_state("sex==M", pair[0], code=6), of_state("sex==M", pair[1])
        with pytest.raises(TargetError, match=message):
            sort_targets([here, there])
        check_spelling([here, here])


def test_other_measures_may_be_spelled_otherwise():
    """Only what says the same is compared; text is compared as text."""
    differ = [
        of_state("age>=65"),
        of_state("age<65.0"),
        of_state("age>=65.0", "sex==M"),
        of_state("age>=65.0", variable="ssi"),
        of_state("card==NONE"),
        of_state("card==none"),
        of_state("age>=64"),
    ]
    assert len(sort_targets(differ)) == len(differ)


# -- CSV -------------------------------------------------------------------------------

HEADER = "level,code,variable,constraints,period,value,source"


def csv_of(tmp_path, *lines: str):
    """Write a CSV of targets."""
    path = tmp_path / "targets.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_csv_is_read(tmp_path):
    """Levels, padded codes, constraints in any order, quoted text and large numbers."""
    path = csv_of(
        tmp_path,
        'district,1198,person_count,"age>=5; age<9",2023,1.5e3,"Census, table 1"',
        "nation,US,snap,,2024,93000000000,USDA «FNS»",
    )
    nation, district = read_csv(path)
    assert nation.name == "national/snap"
    assert (nation.value, nation.source) == (93e9, "USDA «FNS»")
    assert district.name == "cd_1101/person_count/[age<9,age>=5]"  # 98 is the delegate's number
    assert (district.period, district.value) == (2023, 1500.0)
    assert district.source == "Census, table 1"


def test_a_csv_is_sorted_and_keeps_one_target_a_period(tmp_path):
    """Rows stand in the order of X; one name may have several periods."""
    path = csv_of(tmp_path, "state,37,snap,,2023,1,x", "nation,US,snap,,2023,1,x",
                  "nation,US,snap,,2022,2,x")  # fmt: skip
    found = [(t.name, t.period) for t in read_csv(path)]
    assert found == [("national/snap", 2022), ("national/snap", 2023), ("state_37/snap", 2023)]


def test_one_period_twice_is_an_error(tmp_path):
    """Two values for one target of one year contradict each other."""
    path = csv_of(tmp_path, "state,37,x,a==1;b==2,2023,1,s", "state,37,x,b==2;a==1,2023,2,s")
    with pytest.raises(TargetError, match=r"two targets state_37/x/\[a==1,b==2\] for 2023"):
        read_csv(path)


def test_a_csv_has_one_spelling_of_a_measure(tmp_path):
    """The file is named, whatever the areas."""
    path = csv_of(tmp_path, "state,37,x,a==1,2023,1,s", "nation,US,x,a==1.0,2023,2,s")
    with pytest.raises(TargetError, match=r"targets\.csv: .* one measure in two spellings"):
        read_csv(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("region,37,snap,,2024,1,x", "'region' is not a valid Level"),
        ("state,99,snap,,2024,1,x", "lies in no state"),
        ("state,North Carolina,snap,,2024,1,x", "not a state code"),
        ("nation,0,snap,,2024,1,x", "write 'US'"),
        ("state,37,,,2024,1,x", "'' is not the name of a variable"),
        ("state,37,snap,age>=,2024,1,x", "cannot read constraint 'age>='"),
        ("state,37,snap,age>9;age<3,2024,1,x", "no value meets both"),
        ("state,37,snap,,soon,1,x", "'soon'"),
        ("state,37,snap,,2024,many,x", "'many'"),
        ("state,37,snap,,2024,nan,x", "nan is not a finite number"),
        ("state,37,snap,,2024,inf,x", "inf is not a finite number"),
        ("state,37,snap,,2024,1", "a line has the 7 cells"),
        ("state,37,snap,,2024,1,USDA, FNS", "a line has the 7 cells"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    """The message gives file and line number, and what is wrong there."""
    path = csv_of(tmp_path, "state,37,snap,,2024,1,x", line)
    with pytest.raises(TargetError, match=rf"targets\.csv, line 3: .*{message}"):
        read_csv(path)


@pytest.mark.parametrize("content", [b"", b"level,code\n", b"\xff\xfe", b'level,"code\n'])
def test_what_is_no_target_csv_is_an_error(tmp_path, content):
    """Wrong columns, wrong encoding and open quotes are told with the file's name."""
    path = tmp_path / "targets.csv"
    path.write_bytes(content)
    with pytest.raises(TargetError, match=r"targets\.csv"):
        read_csv(path)
    with pytest.raises(TargetError, match=r"missing\.csv"):
        read_csv(tmp_path / "missing.csv")
