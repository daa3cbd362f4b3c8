"""What a formula can read, found in its code.

A formula asks for other variables by their names, which stand in its code as text:

    direct(v) = names of variables among the texts of v's formulas, of the functions they
                call, of the lists they use, and of the parameters they name
    inputs(v) = the inputs among all that direct() leads to, step by step

A name that is put together from pieces, such as `income + "_would_be_qualified"`, counts as
all names that begin or end so. The answer is too wide: a name in a branch that is never taken
counts too. A narrower one would have to watch a simulation, and would miss what no household
of that simulation needed. The test suite watches one and requires that it reads nothing that
is not found here.

Two kinds of edges are left out. The responses of behavior to reforms are exactly 0 under the
law as it stands, and formally make every income depend on every benefit. Variables that the
dataset gives although the model could compute them lead no further.

Axes: a directed graph, variable -> variables that it can read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["Graph", "is_response", "reach", "read_graph"]

Graph = Mapping[str, frozenset[str]]

_PIECE = 6  # letters from which on a text with an underscore at an end is a piece of a name
_PACKAGES = ("policyengine_us", "spm_calculator")
_RESPONSES = ("behavioral_response", "behavioural_response", "marginal_tax_rate", "cliff_")


def is_response(name: str) -> bool:
    """Tell whether a variable measures or applies a response of behavior to a reform."""
    return any(part in name for part in _RESPONSES)


def read_graph(system: Any, given: Collection[str]) -> Graph:
    """Find what each variable of a tax-benefit system can read.

    Parameters
    ----------
    system : policyengine_core TaxBenefitSystem
    given : collection of str
        Variables that a dataset gives; they read nothing.

    Returns
    -------
    mapping of str to frozenset of str
    """
    reader = _Reader(system)
    return {
        name: frozenset() if name in given or is_response(name) else reader.direct(variable)
        for name, variable in system.variables.items()
    }


def reach(graph: Mapping[str, Iterable[str]], start: Iterable[str]) -> set[str]:
    """List everything that some nodes lead to, themselves not included unless led to."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        for name in graph.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


class _Reader:
    """Reads texts and names off formulas; remembers functions that many formulas share."""

    def __init__(self, system: Any) -> None:
        self._known = frozenset(system.variables)
        self._functions: dict[FunctionType, _Words] = {}
        self._lists = {
            parameter.name: names
            for parameter in system.parameters.get_descendants()
            if (names := self._names(v.value for v in getattr(parameter, "values_list", ())))
        }
        self._by_last: dict[str, list[str]] = defaultdict(list)
        for path in self._lists:
            self._by_last[path.rpartition(".")[2]].append(path)

    def direct(self, variable: Any) -> frozenset[str]:
        """List the variables that one variable can read directly."""
        texts, names = self._said_by(variable.formulas.values())
        found = texts & self._known
        for last in names & self._by_last.keys():
            for path in self._by_last[last]:
                # gov.states[code].x: one step of the path can be an index, not a name
                if len(set(path.split(".")[1:]) - names) <= (len(path.split(".")) > 4):
                    found |= self._lists[path]
        found |= self._put_together(texts)
        for listed in (variable.adds, variable.subtracts):
            found |= self._listed(listed)
        if (gate := variable.defined_for) is not None:
            found |= {gate if isinstance(gate, str) else str(gate.value)} & self._known
        return frozenset(found - {variable.name})

    def _put_together(self, texts: Iterable[str]) -> set[str]:
        """List variables whose names begin or end with a piece of a name among some texts."""
        long = (text for text in texts if len(text) >= _PIECE and text.isidentifier())
        pieces = [text for text in long if text.startswith("_") or text.endswith("_")]
        if not pieces:
            return set()
        ends = tuple(piece for piece in pieces if piece.startswith("_"))
        begins = tuple(piece for piece in pieces if piece.endswith("_"))
        return {n for n in self._known if n.endswith(ends) or n.startswith(begins)}

    def _listed(self, listed: str | Iterable[str] | None) -> set[str]:
        """Resolve `adds` and `subtracts`: names, or the path of a parameter with names."""
        if isinstance(listed, str):
            paths = [p for p in self._lists if f"{p}.".startswith(f"{listed}.")]
            return set[str]().union(*(self._lists[path] for path in paths))
        return set(listed or ()) & self._known

    def _names(self, values: Iterable[Any]) -> set[str]:
        return set(_texts(list(values))) & self._known

    def _said_by(self, formulas: Iterable[FunctionType]) -> tuple[set[str], set[str]]:
        """Collect the texts and the names of functions and of all that they call."""
        texts, names = set[str](), set[str]()
        waiting = list(formulas)
        seen = set(waiting)
        while waiting:
            function = waiting.pop()
            if (words := self._functions.get(function)) is None:
                words = self._functions[function] = _words(function)
            texts |= words.texts
            names |= words.names
            waiting += [called for called in words.calls if called not in seen]
            seen.update(words.calls)
        return texts, names


@dataclass(frozen=True, slots=True)
class _Words:
    """What stands in one function: texts, names, and the functions that it can call."""

    texts: frozenset[str]
    names: frozenset[str]
    calls: tuple[FunctionType, ...]


def _words(function: FunctionType) -> _Words:
    texts, names = set[str](), set[str]()
    for code in _codes(function.__code__):
        texts.update(_texts(code.co_consts))
        names.update(code.co_names)
    things = [function.__globals__.get(name) for name in sorted(names)]
    things += [cell.cell_contents for cell in function.__closure__ or ()]
    for module in (thing for thing in things[:] if isinstance(thing, ModuleType)):
        things += [getattr(module, name, None) for name in sorted(names)]
    calls = [thing for thing in things if isinstance(thing, FunctionType)]
    for thing in things:
        texts.update(_texts(thing))
    ours = tuple(f for f in calls if (f.__module__ or "").startswith(_PACKAGES))
    return _Words(frozenset(texts), frozenset(names), ours)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _texts(thing: Any) -> Iterator[str]:
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        yield from _texts(list(thing))
        yield from _texts(list(thing.values()))
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for part in thing:
            yield from _texts(part)
