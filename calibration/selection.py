"""Which targets to use: rules in YAML, first those that include, then those that exclude.

    include:                        # without it, all targets
      - variable: snap
        geo_level: state
      - domain_variable: age
    exclude:
      - variable: person_count
        geo_level: nation
        optional: true              # need not match anything

A rule matches a target that agrees with all it says. `domain_variable` names the variables
of the constraints, joined by commas in any order, as `target_overview` shows them; `""` is
the totals without constraints. A target is used if a rule of `include` matches it and none
of `exclude` does.

A rule that matches nothing is an error, because it is most often a name that has changed,
unless it says `optional: true`. So is a selection that leaves nothing.

Axes: rules in the order of the file; targets keep the order in which they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import TargetError, near
from calibration.geography import Level
from calibration.targets import Target

__all__ = ["Rule", "Selection", "parse_selection", "read_selection"]

_KEYS = ("variable", "geo_level", "domain_variable", "optional")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition on targets; what is None matches any.

    Parameters
    ----------
    variable : str or None
    geo_level : Level or None
    domain_variable : str or None
        Variables of the constraints, joined by commas; empty for none.
    optional : bool
        Whether it may match nothing.
    """

    variable: str | None = None
    geo_level: Level | None = None
    domain_variable: str | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if self.domain_variable is not None:
            object.__setattr__(self, "domain_variable", _joined(self.domain_variable))
        if not self._said:
            raise TargetError(f"a rule names at least one of {', '.join(_KEYS[:3])}")

    @property
    def _said(self) -> dict[str, str]:
        said = {name: getattr(self, name) for name in _KEYS[:3]}
        return {name: str(value) for name, value in said.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value or repr('')}" for name, value in self._said.items())

    def matches(self, target: Target) -> bool:
        """Tell whether a target agrees with all that the rule says."""
        return self._agreements(_facts(target)) == len(self._said)

    def hint(self, targets: Iterable[Target]) -> str:
        """Word which part of a rule without a match is unknown, or where its parts are met."""
        facts = [_facts(target) for target in targets]
        for name, value in self._said.items():
            if value not in (known := {f[name] for f in facts}):
                return f"no target has the {name} {value!r}{near(value, known)}"
        kinds = {tuple(f.values()): self._agreements(f) for f in facts}
        there = sorted((-n, kind) for kind, n in kinds.items() if n)  # the nearest first
        shown = [f"{v} ({level}, {domain or 'no domain'})" for _, (v, level, domain) in there[:3]]
        return f"there is {', '.join(shown)}{' and more' if len(there) > 3 else ''}"

    def _agreements(self, facts: Mapping[str, str]) -> int:
        return sum(facts[name] == value for name, value in self._said.items())


def _facts(target: Target) -> dict[str, str]:
    return {
        "variable": target.variable,
        "geo_level": str(target.level),
        "domain_variable": target.domain,
    }


def _joined(names: str) -> str:
    return ",".join(sorted({name.strip() for name in names.split(",") if name.strip()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rules that include, and rules that exclude from what those included.

    Parameters
    ----------
    include, exclude : tuple of Rule
        Without any to include, all targets are.
    """

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    def of(self, targets: Iterable[Target]) -> list[Target]:
        """Choose targets, in the order in which they are given.

        Raises
        ------
        TargetError
            If a rule that is not optional matches nothing, or nothing is left.
        """
        every = list(targets)
        included = _matched(every, self.include, "include") if self.include else every
        among = " among those included" if self.include else ""
        out = {id(target) for target in _matched(included, self.exclude, "exclude", among)}
        left = [target for target in included if id(target) not in out]
        if not left:
            raise TargetError(f"the selection leaves none of {len(every)} targets")
        return left


def _matched(
    targets: Sequence[Target], rules: Iterable[Rule], kind: str, among: str = ""
) -> list[Target]:
    """Give the targets that any of the rules matches."""
    taken: set[int] = set()
    for number, rule in enumerate(rules, start=1):
        found = {i for i, target in enumerate(targets) if rule.matches(target)}
        if not found and not rule.optional:
            raise TargetError(
                f"{kind} rule {number} ({rule}) matches no target{among}: {rule.hint(targets)}; "
                "mend it, or say optional: true"
            )
        taken |= found
    return [target for i, target in enumerate(targets) if i in taken]


# -- YAML ------------------------------------------------------------------------------


def read_selection(path: Path) -> Selection:
    """Read a selection from a YAML file.

    Raises
    ------
    TargetError
        If the file cannot be read, is no YAML, says one key twice, or has a key, a level or a
        type that is not known; the file and the rule or line are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"cannot read {path}: {error}") from error
    try:
        return parse_selection(text)
    except TargetError as error:
        raise TargetError(f"{path}: {error}") from error


def parse_selection(text: str) -> Selection:
    """Read a selection from YAML; see `read_selection`, also for the errors."""
    import yaml

    try:
        return _selection(_loaded(text))
    except yaml.YAMLError as error:
        raise TargetError(f"this is no YAML: {' '.join(str(error).split())}") from error


def _loaded(text: str) -> Any:
    """Read YAML in which no key stands twice: of two, YAML keeps the last without a word."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  (its own)
            lines: dict[Any, int] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                line = key.start_mark.line + 1
                if key.value in lines:
                    said = f"{key.value} stands twice, in lines {lines[key.value]} and {line}"
                    raise yaml.MarkedYAMLError(problem=said)
                lines[key.value] = line
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)  # noqa: S506  (a safe one, see above)


def _selection(facts: Any) -> Selection:
    if not isinstance(facts, Mapping) or not facts:
        raise TargetError("a selection has the lists include, exclude or both")
    _refuse_others(facts, ("include", "exclude"), "a selection")
    rules: dict[str, tuple[Rule, ...]] = {}
    for kind, several in facts.items():
        if not isinstance(several, list) or not several:
            raise TargetError(f"{kind} is a list of rules")
        rules[kind] = tuple(
            _rule(rule, f"{kind} rule {number}") for number, rule in enumerate(several, start=1)
        )
    return Selection(**rules)


def _rule(facts: Any, where: str) -> Rule:
    if not isinstance(facts, Mapping):
        raise TargetError(f"{where} is {facts!r}; write name: value, as in variable: snap")
    _refuse_others(facts, _KEYS, where)
    said: dict[str, Any] = dict(facts)
    for name, value in said.items():
        if not isinstance(value, bool if name == "optional" else str):
            kind = "true or false" if name == "optional" else "text"
            raise TargetError(f"{where}: {name} is {value!r}; it takes {kind}")
    if (level := said.get("geo_level")) is not None:
        if level not in set(Level):
            known = [str(one) for one in Level]
            hint = f"{near(level, known)}; there are {', '.join(known)}"
            raise TargetError(f"{where}: no geo_level {level!r}{hint}")
        said["geo_level"] = Level(level)
    try:
        return Rule(**said)
    except TargetError as error:
        raise TargetError(f"{where}: {error}") from error


def _refuse_others(facts: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for name in facts:
        if name not in known:
            raise TargetError(
                f"{where} has no {name!r}{near(str(name), known)}; it takes {', '.join(known)}"
            )
