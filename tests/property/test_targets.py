"""What must hold of targets and their reconciliation for every set, not one example."""

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.geography import STATE_LETTERS, Level, encode
from calibration.level_gaps import level_gaps
from calibration.targets import Constraint, Operation, Target, parse_constraint, sort_targets
from calibration.uprating import Status, factor, read_factors, reconcile, to_year

CASES = settings(max_examples=80, deadline=None, derandomize=True, database=None)

names = st.from_regex(r"[A-Za-z_]\w{0,12}", fullmatch=True)
numbers = st.integers(-(10**9), 10**9).map(str) | st.floats(allow_nan=False).map(repr)
texts = st.text(min_size=1, max_size=8).filter(
    lambda t: not any(c.isspace() or c in ",;[]" for c in t) and t[0] not in "=<>!"
)
constraints = st.builds(Constraint, names, st.sampled_from(Operation), numbers | texts)


@CASES
@given(constraints)
def test_a_written_constraint_is_read_back(constraint):
    """Writing a constraint and reading it gives the same constraint."""
    assert parse_constraint(str(constraint)) == constraint


@CASES
@given(st.lists(constraints, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_a_name_does_not_depend_on_the_order(several, random):
    """However constraints are listed, the target, its name and its row are the same."""
    fields = {"variable": "snap", "level": Level.STATE, "code": 6, "period": 2024, "value": 1.0}
    one = Target(**fields, constraints=tuple(several))
    random.shuffle(several)
    other = Target(**fields, constraints=tuple(several))
    assert (one, one.name, hash(one)) == (other, other.name, hash(other))
    assert sort_targets([one]) == sort_targets([other])


# -- reconciliation --------------------------------------------------------------------

STATES = sorted(STATE_LETTERS)[:4]
BELOW = {Level.STATE: 1, Level.DISTRICT: 100, Level.COUNTY: 1000}
values = st.floats(1.0, 2.0)  # of a state's size: no factor of such a tree exceeds 4


def share(areas, level: Level, code: int) -> float:
    """Give the size of an area where every state has size 1 and equal parts."""
    if level is Level.NATION:
        return float(len(areas[Level.STATE]))
    return 1 / sum(c // BELOW[level] == code // BELOW[level] for c in areas[level])


@st.composite
def trees(draw):
    """Draw a country of up to four states with districts and counties, and some totals."""
    areas = {Level.STATE: STATES[: draw(st.integers(1, 4))]}
    for level, digits in ((Level.DISTRICT, 2), (Level.COUNTY, 3)):
        areas[level] = [
            encode(level, f"{state:02d}{number:0{digits}d}")
            for state in areas[Level.STATE]
            for number in range(1, 1 + draw(st.integers(1, 3)))
        ]
    targets = []
    for signature in draw(st.lists(st.sampled_from(["age<5", "age>=5"]), max_size=2, unique=True)):
        where = [(level, code) for level, codes in areas.items() for code in codes]
        for level, code in [(Level.NATION, 0), *where]:
            if draw(st.integers(0, 9)):  # now and then one is missing
                targets.append(
                    Target(
                        variable="snap",
                        level=level,
                        code=code,
                        period=2024,
                        constraints=(parse_constraint(signature),),
                        value=draw(values) * share(areas, level, code),
                    )
                )
    return areas, targets


def inside(areas, parent: Target, level: Level) -> list[int]:
    """List the areas of a level that lie in a parent's area."""
    return [
        c for c in areas[level] if parent.level is Level.NATION or c // BELOW[level] == parent.code
    ]


@CASES
@given(trees(), st.randoms(use_true_random=False))
def test_reconciled_children_add_up_to_their_parent(tree, random):
    """Whatever the tree and its order: complete children sum to the parent that was dropped."""
    areas, targets = tree
    random.shuffle(targets)
    found, audit = reconcile(targets, areas)
    kept = {t.name: t for t in found}
    given_by_name = {t.name: t for t in targets}
    parents = {}  # value of each parent after its own parent moved it
    for row in sorted(audit, key=lambda row: not row.parent.startswith("national")):
        parent = given_by_name[row.parent]
        parents.setdefault(row.parent, row.total)
        assert parents[row.parent] == row.total
        children = [
            t for t in targets
            if t.signature == parent.signature and t.level is row.children
            and t.code in inside(areas, parent, row.children)
        ]  # fmt: skip
        assert len(children) == row.n_children > 0
        assert (row.status is Status.INCOMPLETE) == (row.n_children < row.n_areas)
        if row.status is Status.RECONCILED:
            assert row.parent not in kept
            after = [c.value * row.hif for c in children]
            assert math.isclose(math.fsum(after), row.total, rel_tol=1e-9)
            for child, value in zip(children, after, strict=True):
                if child.level is Level.STATE:
                    parents[child.name] = value
                else:
                    assert math.isclose(kept[child.name].value, value, rel_tol=1e-12)
    reconciled = {row.parent for row in audit if row.status is Status.RECONCILED}
    assert set(kept) == set(given_by_name) - reconciled


@CASES
@given(trees())
def test_the_audit_is_complete(tree):
    """Every parent with at least one child has one row for each tree, and no other has."""
    areas, targets = tree
    expected = set()
    for parent in targets:
        levels = {Level.NATION: [Level.STATE], Level.STATE: [Level.DISTRICT, Level.COUNTY]}
        for level in levels.get(parent.level, []):
            codes = inside(areas, parent, level)
            if any(t.signature == parent.signature and t.level is level and t.code in codes
                   for t in targets):  # fmt: skip
                expected.add((parent.name, level))
    audit = reconcile(targets, areas)[1]
    assert {(row.parent, row.children) for row in audit} == expected
    assert len(audit) == len(expected)


@CASES
@given(trees())
def test_what_is_reconciled_stays_reconciled(tree):
    """Reconciling again changes no value by more than rounding."""
    areas, targets = tree
    once = reconcile(targets, areas)[0]
    twice = {t.name: t.value for t in reconcile(once, areas)[0]}
    for t in once:
        if t.name in twice:
            assert math.isclose(t.value, twice[t.name], rel_tol=1e-9)


@CASES
@given(trees(), st.randoms(use_true_random=False))
def test_the_order_of_rows_never_matters(tree, random):
    """However the published totals are listed, targets and audit are the same, bit for bit."""
    areas, targets = tree
    shuffled = random.sample(targets, len(targets))
    assert reconcile(shuffled, areas) == reconcile(targets, areas)


FACTORS = read_factors()
years = st.sampled_from([2022, 2023, 2024, 2025])


@CASES
@given(trees(), st.data())
def test_complete_children_add_up_to_their_root_times_its_factor(tree, data):
    """Sum of children = UF * root to 1e-9, whatever years the children were published for."""
    areas, targets = tree
    dated = [replace(t, period=data.draw(years)) for t in targets]
    found, audit = reconcile(to_year(dated, 2024, FACTORS), areas)
    by_name = {t.name: t for t in dated}
    national = {row.parent for row in audit if row.children is Level.STATE}
    for row in audit:
        root = by_name[row.parent]
        is_root = root.level is Level.NATION or not any(
            by_name[name].signature == root.signature for name in national
        )
        if row.status is not Status.RECONCILED or not is_root or row.children is Level.STATE:
            continue
        codes = inside(areas, root, row.children)
        children = [t.value for t in found if t.signature == root.signature
                    and t.level is row.children and t.code in codes]  # fmt: skip
        expected = factor(root, 2024, FACTORS) * root.value
        assert len(children) == len(codes)
        assert math.isclose(math.fsum(children), expected, rel_tol=1e-9)


@CASES
@given(trees(), st.floats(0.5, 2.0))
def test_what_children_added_up_to_before_does_not_matter(tree, scale):
    """Children of a parent that are all twice as large come out the same: their year cancels."""
    areas, targets = tree
    found, audit = reconcile(targets, areas)
    done = {(row.parent, row.children) for row in audit if row.status is Status.RECONCILED}
    districts = {
        t.name for t in targets if t.level is Level.DISTRICT
        and any((p.name, Level.DISTRICT) in done and p.signature == t.signature
                and t.code // 100 == p.code for p in targets)
    }  # fmt: skip
    changed = [replace(t, value=t.value * scale) if t.name in districts else t for t in targets]
    after = {t.name: t.value for t in reconcile(changed, areas)[0]}
    assert after.keys() == {t.name for t in found}
    for t in found:
        assert math.isclose(after[t.name], t.value, rel_tol=1e-9)


@CASES
@given(trees())
def test_districts_and_counties_know_nothing_of_each_other(tree):
    """Without the counties the districts come out the same, and the other way round."""
    areas, targets = tree
    whole = {t.name: t.value for t in reconcile(targets, areas)[0]}
    for gone, left in ((Level.COUNTY, Level.DISTRICT), (Level.DISTRICT, Level.COUNTY)):
        alone = reconcile([t for t in targets if t.level is not gone], areas)[0]
        assert all(whole[t.name] == t.value for t in alone if t.level is left)


@CASES
@given(trees())
def test_reconciliation_loses_and_contradicts_nothing(tree):
    """A check that knows no factors finds no gap, but a nation that its states do not carry."""
    areas, targets = tree
    found, audit = reconcile(targets, areas)
    nations = {t.name for t in targets if t.level is Level.NATION}
    carried = {row.parent for row in audit if row.status is Status.RECONCILED}
    assert {gap.target for gap in level_gaps(targets, found, areas)} <= nations - carried
