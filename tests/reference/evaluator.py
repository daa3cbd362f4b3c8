"""What a published file adds up to, in loops and dictionaries: a second opinion.

Shares nothing with the package; h5py alone opens the file. A target is given by its
canonical name, which says everything:

    cd_3702/snap/[age<5,tax_unit_is_filer==1]
    area    what  all of these, for the same person

Slow and plain on purpose. Every person is looked at, every unit is found by its id.
"""

from __future__ import annotations

import math
import operator
from pathlib import Path

import h5py

__all__ = ["evaluate", "household_totals", "read", "units"]

AREA_COLUMN = {
    "state": "state_fips",
    "county": "county_fips",
    "cd": "congressional_district_geoid",
    "place": "place_fips",
}
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def read(path: Path) -> tuple[dict[str, list], dict[str, str]]:
    """Read every variable of a file as a list, and the entity it belongs to."""
    columns, entity_of = {}, {}
    with h5py.File(path, "r") as file:
        for name in file:
            (period,) = file[name]
            stored = file[name][period]
            values = stored[()].tolist()
            columns[name] = [v.decode() if isinstance(v, bytes) else v for v in values]
            entity_of[name] = stored.attrs["entity"]
    return columns, entity_of


def evaluate(
    path: Path, targets: list[str], simulated: dict[str, tuple[str, list]]
) -> dict[str, float]:
    """Add up targets over a file; `simulated` has the entity and values of each output."""
    columns, entity_of = read(path)
    for name, (entity, values) in simulated.items():
        columns[name], entity_of[name] = values, entity
    tables = units(columns, entity_of)
    weight = {home: unit["household_weight"] for home, unit in tables["household"].items()}
    sums = {}
    for target in targets:
        totals = household_totals(tables, entity_of, target)
        sums[target] = math.fsum(weight[home] * total for home, total in totals.items())
    return sums


def units(columns: dict[str, list], entity_of: dict[str, str]) -> dict[str, dict[int, dict]]:
    """Turn columns into units: entity, then id, then name of a variable."""
    tables = {}
    for entity in set(entity_of.values()):
        names = [name for name in columns if entity_of[name] == entity]
        rows = zip(*(columns[name] for name in names), strict=True)
        found = [dict(zip(names, row, strict=True)) for row in rows]
        tables[entity] = {unit[f"{entity}_id"]: unit for unit in found}
    return tables


def household_totals(
    tables: dict[str, dict[int, dict]], entity_of: dict[str, str], target: str
) -> dict[int, float]:
    """Give what each household adds to a target before weighting, by household id."""
    what, conditions = parse(target)
    counted = what.removesuffix("_count") if what.endswith("_count") else None
    entity = counted or entity_of[what]
    totals = dict.fromkeys(tables["household"], 0.0)
    taken = set()
    for person in tables["person"].values():
        if not all(meets(person, c, tables, entity_of) for c in conditions):
            continue
        unit = person["person_id"] if entity == "person" else person[f"person_{entity}_id"]
        if unit not in taken:
            taken.add(unit)
            amount = 1.0 if counted else float(tables[entity][unit][what])
            totals[person["person_household_id"]] += amount
    return totals


def meets(person: dict, condition: tuple[str, str, str], tables: dict, entity_of: dict) -> bool:
    """Tell whether a condition holds for a person or the unit the person belongs to."""
    name, comparison, wanted = condition
    if "(" in name:
        which, unit, inside = name.replace("(", " ").replace(".", " ").rstrip(")").split()
        mine = person[f"person_{unit}_id"]
        members = [p for p in tables["person"].values() if p[f"person_{unit}_id"] == mine]
        held = [meets(p, (inside, comparison, wanted), tables, entity_of) for p in members]
        return all(held) if which == "all" else any(held)
    entity = entity_of[name]
    unit = person if entity == "person" else tables[entity][person[f"person_{entity}_id"]]
    value = unit[name]
    if isinstance(value, str):
        return COMPARE[comparison](value, wanted)
    number = {"True": 1.0, "False": 0.0}.get(wanted)
    return COMPARE[comparison](float(value), float(wanted) if number is None else number)


def parse(target: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Split a name into the variable and its conditions, the area's first."""
    area, what, *scope = target.split("/")
    conditions = []
    if area != "national":
        level, _, code = area.partition("_")
        conditions.append((AREA_COLUMN[level], "==", code))
    for text in scope[0][1:-1].split(",") if scope else []:
        comparison = next(c for c in COMPARE if c in text)
        name, _, wanted = text.partition(comparison)
        conditions.append((name, comparison, wanted))
    return what, conditions
