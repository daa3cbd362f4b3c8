"""A random population of a few households in a country of thirteen blocks.

For tests that need a run's worth of inputs: records, geography, thresholds, targets.
Everything is a function of a seed. Rows are shuffled, ids have gaps, members of a unit
are not neighbors in their table: nothing may rely on positions.

Axes: households H = R records; columns C = N * R, clone-major.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from stub_engine import ENGINE

from calibration.clones import Clones
from calibration.crosswalk import Crosswalk, GeographyAssignment
from calibration.dataset import Dataset
from calibration.engines import load_engine
from calibration.geography import Area, Level
from calibration.materialise import GEOGRAPHY_COLUMNS
from calibration.takeup import Threshold, Thresholds
from calibration.targets import Target, parse_constraint, sort_targets

__all__ = [
    "AREAS",
    "CROSSWALK",
    "World",
    "assignment",
    "dataset",
    "target",
    "targets_everywhere",
    "thresholds",
    "toy_world",
    "world",
]

STATES = (6, 11, 37)

# county, tract, population, district, place, ZIP
_BLOCKS = [
    (6001, 100, 900, 612, 0, 94601),
    (6001, 100, 300, 612, 0, 94601),
    (6037, 200, 800, 630, 644000, 90012),
    (6037, 200, 500, 634, 644000, 90012),
    (6037, 201, 700, 634, 0, 91107),
    (11001, 300, 600, 1101, 1150000, 20001),
    (11001, 301, 600, 1101, 1150000, 0),
    (37063, 400, 350, 3704, 0, 27701),
    (37063, 401, 250, 3704, 0, 27701),
    (37183, 500, 400, 3704, 3755000, 27601),
    (37183, 501, 500, 3702, 3755000, 27601),
    (37183, 501, 450, 3702, 0, 27601),
    (37183, 502, 50, 3702, 0, 27601),
]

CROSSWALK = Crosswalk(
    block=np.array([c * 10**10 + t * 10**4 + 1 + i for i, (c, t, *_) in enumerate(_BLOCKS)]),
    population=np.array([float(row[2]) for row in _BLOCKS]),
    district=np.array([row[3] for row in _BLOCKS]),
    place=np.array([row[4] for row in _BLOCKS]),
    zip_code=np.array([row[5] for row in _BLOCKS]),
)

AREAS = [
    Area.nation(),
    *(Area.state(code) for code in STATES),
    *(Area.district(code) for code in sorted(set(CROSSWALK.district.tolist()))),
    Area.city("Wake", ["37183"]),
    Area.city("Raleigh-Durham", ["37183", "37063"]),
    Area.place("Los-Angeles", "0644000"),
]

_TOWNS = np.array(["Doña Ana", "Łódź", "東京", "", "plain"])


def dataset(households: int, seed: int) -> Dataset:
    """Make records with one to four people, one or two tax units and SPM units each."""
    rng = np.random.default_rng(seed)
    people: list[tuple[int, int, int]] = []  # row of household, tax unit, SPM unit
    taxes = spms = 0
    for home in range(households):
        size = int(rng.integers(1, 5))
        split = int(rng.integers(0, size))  # people from here on form a second tax unit
        apart = bool(rng.integers(0, 2)) and split > 0
        people += [
            (home, taxes + (split > 0 and i >= split), spms + (apart and i >= split))
            for i in range(size)
        ]
        taxes, spms = taxes + 1 + (split > 0), spms + 1 + apart
    ids = {
        "household": rng.permutation(np.arange(households) * 3 + 11),
        "tax_unit": rng.permutation(np.arange(taxes) * 2 + 500),
        "spm_unit": rng.permutation(np.arange(spms) * 5 + 7),
        "person": rng.permutation(np.arange(len(people)) + 1_000),
    }
    links = np.array(people)[rng.permutation(len(people))].T
    tables = {
        "person": _people(rng, ids["person"])
        | {
            f"person_{e}_id": ids[e][link]
            for e, link in zip(("household", "tax_unit", "spm_unit"), links, strict=True)
        },
        "household": _homes(rng, ids["household"]),
        "tax_unit": {
            "tax_unit_id": ids["tax_unit"],
            "has_subsidized_marketplace_coverage_at_interview": rng.random(taxes) < 0.2,
        },
        "spm_unit": {
            "spm_unit_id": ids["spm_unit"],
            "snap_reported": np.where(rng.random(spms) < 0.3, 1_800.0, 0.0),
        },
    }
    return Dataset(2024, tables, STATES).check()


def _people(rng, ids):
    n = len(ids)
    return {
        "person_id": ids,
        "age": rng.integers(0, 95, n).astype(np.float32),
        "employment_income": rng.integers(0, 2, n) * rng.integers(0, 140, n) * 500.0,
        "is_tax_unit_dependent": rng.random(n) < 0.3,
        "card": np.array(["NONE", "CITIZEN"])[rng.integers(0, 2, n)],
        "ssi_reported": np.where(rng.random(n) < 0.1, 900.0, 0.0),
        "has_medicaid_health_coverage_at_interview": rng.random(n) < 0.2,
    }


def _homes(rng, ids):
    n = len(ids)
    return {
        "household_id": ids,
        "household_weight": rng.integers(1, 900, n).astype(np.float64),
        "design_weight": rng.integers(1, 900, n).astype(np.float64),
        "rent": rng.integers(1, 40, (n, len(STATES))) * 16.0,
        "town": _TOWNS[rng.integers(0, len(_TOWNS), n)],
    }


def thresholds(seed: int = 0) -> Thresholds:
    """Make a threshold for each programme and each group."""
    value = {
        ("snap", "US"): 0.7,
        ("tanf", "US"): 0.3,
        ("ssi", "US"): 0.5,
        ("medicaid", "CA"): 0.8,
        ("medicaid", "DC"): 0.95,
        ("medicaid", "NC"): 0.6,
        ("aca", "US"): 0.65,
        ("eitc", "0"): 0.6,
        ("eitc", "1"): 0.85,
        ("eitc", "2"): 0.8,
        ("eitc", "3"): 0.8,
        ("voluntary_filing", "US"): 0.25,
        ("dc_property_tax_credit", "US"): 0.5,
        ("head_start", "US"): 0.5,
        ("early_head_start", "US"): 0.4,
    }
    rows = (Threshold(p, g, t, 100.0, 0.0, t) for (p, g), t in value.items())
    return Thresholds(seed, tuple(rows))


def target(variable: str, level: Level, code: int, *constraints: str, value: float = 1e6) -> Target:
    """Make a target of 2024 from written constraints."""
    parsed = tuple(sorted(parse_constraint(c) for c in constraints))
    return Target(
        variable=variable, level=level, code=code, constraints=parsed, period=2024, value=value
    )


_WHAT = [
    ("person_count",),
    ("person_count", "age>=65", "tax_unit_is_filer==1"),
    ("person_count", "card==NONE"),
    ("tax_unit_count", "eitc>0"),
    ("spm_unit_count", "snap>0"),
    ("household_count", "town!=plain", "age<18"),
    ("adjusted_gross_income", "tax_unit_is_filer==1"),
    ("income_tax",),
    ("snap",),
    ("ssi", "age<80"),
    ("household_count", "all(household.age)<65"),
    ("spm_unit_count", "all(spm_unit.tax_unit_is_filer)==1", "any(tax_unit.card)==NONE"),
    ("rent", "medicaid_enrolled==True"),
    ("assigned_aca_ptc", "adjusted_gross_income>=16000", "adjusted_gross_income<48000"),
]


@dataclass(frozen=True)
class World:
    """Records, their clones, and what their weights should reproduce."""

    clones: Clones
    targets: list[Target]

    @property
    def n_columns(self) -> int:
        """C, the number of columns of X."""
        return self.clones.geography.n_columns

    def weights(self, seed: int = 0) -> np.ndarray:
        """Draw weights, shape (C,); about a third of them are 0."""
        rng = np.random.default_rng([seed, 1])
        w = rng.gamma(1.0, 200.0, self.n_columns)
        return np.where(rng.random(self.n_columns) < 0.35, 0.0, w)


_WHAT_OF_TOY = [
    ("person_count", "age<18"),
    ("tax_unit_count", "tax_unit_is_filer==1", "adjusted_gross_income>=20000"),
    ("income_tax", "tax_unit_is_filer==1"),
    ("snap",),
    ("ssi",),
    ("assigned_aca_ptc",),
    ("person_count", "medicaid_enrolled==True"),
    ("household_count", "age>=65"),
]


def targets_everywhere(sums: list[tuple[str, ...]] | None = None) -> list[Target]:
    """Ask for every kind of sum in the nation and in every area of every level."""
    areas = [(Level.NATION, 0)]
    for level in (Level.STATE, Level.COUNTY, Level.DISTRICT, Level.PLACE):
        codes = sorted(set(CROSSWALK.codes(level).tolist()) - {0})
        areas += [(level, code) for code in codes]
    return sort_targets(
        target(variable, level, code, *constraints)
        for variable, *constraints in sums or _WHAT
        for level, code in areas
    )


def assignment(households: int, n_clones: int, seed: int) -> GeographyAssignment:
    """Draw a block for every column."""
    rng = np.random.default_rng([seed, 2])
    block = CROSSWALK.block[rng.integers(0, len(CROSSWALK.block), households * n_clones)]
    return GeographyAssignment.from_blocks(CROSSWALK, block, households, n_clones)


def world(households: int = 8, n_clones: int = 3, seed: int = 0) -> World:
    """Place N clones of H random households in random blocks, under the stub engine."""
    home = assignment(households, n_clones, seed)
    clones = Clones(dataset(households, seed), home, thresholds(seed), ENGINE)
    return World(clones, targets_everywhere())


def toy_world(households: int = 8, n_clones: int = 3, seed: int = 0) -> World:
    """Make the same under the toy engine; inputs that `dataset` lacks are 0 or false."""
    engine = load_engine("toy")
    records = dataset(households, seed)
    tables = {entity: dict(table) for entity, table in records.tables.items()}
    rent = tables["household"].pop("rent")  # the toy engine's rent is a person's
    tables["person"]["rent"] = rent[records.unit_of_person("household")]
    for name, variable in engine.inputs.items():
        if name not in GEOGRAPHY_COLUMNS and name not in tables[variable.entity]:
            kind = bool if variable.kind == "bool" else np.float64
            tables[variable.entity][name] = np.zeros(records.size(variable.entity), kind)
    tables["person"]["is_tax_unit_head"] = ~tables["person"]["is_tax_unit_dependent"]
    home = assignment(households, n_clones, seed)
    clones = Clones(Dataset(2024, tables, STATES).check(), home, thresholds(seed), engine)
    return World(clones, targets_everywhere(_WHAT_OF_TOY))
