"""Measure the assembly of X at production size, and the exact path on the toy engine.

    python benchmarks/matrix.py [assembly] [exact] [--record]

*assembly*: per-state value arrays are given, records x clones = 12,000 x 430, 15,000 targets
for the nation, 51 states and 436 districts. How long and how much memory to X, to its
factored form, and, with 436 clones in a complete design, to its grid. The same at a
sixteenth of the records; the ratio of CPU seconds per column says whether cost grows faster
than the matrix. It did when every measure and level had arrays for all columns: each was new
memory, which the system clears page by page. `calibration.measures` works on blocks of 2^18
columns, whose arrays the next block has again; a sixteenth is hardly more than one block.
Values are synthetic: half of the measures are counts that a fifth of the records have, the rest
amounts that a third has. Four of the measures count for two thirds of the columns, by draws of
their own, as takeup has it; making those draws is not timed.

*exact*: the toy country's records, repeated under new ids to 2,000, with 50 clones each in
blocks drawn at random, simulated by the toy engine chunk by chunk. A tenth of the records as
well; what full size would take is an extrapolation, and called one.

Every measurement runs in a process of its own, with one thread, the larger and the smaller
size in turn, five times each; medians, and for the ratio the least and the most as well. What
varies is the time in which the system finds pages for a gigabyte of results. `--record` writes
`benchmarks/results/matrix.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import machine
from numpy.typing import NDArray

from calibration import toy
from calibration.artifacts import RunState
from calibration.clones import Clones
from calibration.compact import FactoredMatrix, GridMatrix
from calibration.crosswalk import GeographyAssignment
from calibration.dataset import Dataset
from calibration.geography import STATE_LETTERS, Level
from calibration.matrix_builder import build_matrix
from calibration.measures import Measures, place, scatter
from calibration.targets import Target, sort_targets

Ints = NDArray[np.int64]
ROUNDS = 5

RESULTS = Path(__file__).parent / "results" / "matrix.json"
STATES, DISTRICTS, MEASURES, TARGETS = 51, 436, 31, 15_000


def country() -> tuple[Ints, Ints, Ints]:
    """Place 436 districts in 51 states, as many in each as chance has it, one at least."""
    rng = np.random.default_rng(0)
    state = np.sort(np.concatenate([np.arange(STATES), rng.integers(0, STATES, 385)]))
    fips = np.array(sorted(STATE_LETTERS))
    number = np.arange(DISTRICTS) - np.searchsorted(state, state) + 1
    return fips, state, fips[state] * 100 + number


def geography(records: int, clones: int) -> GeographyAssignment:
    """Send each record to different districts, in an order of its own."""
    fips, state, district = country()
    rng = np.random.default_rng(1)
    order = np.argsort(rng.random((records, DISTRICTS), dtype=np.float32), axis=1)
    place = order[:, :clones].T.reshape(-1)
    codes = {Level.STATE: fips[state[place]], Level.DISTRICT: district[place]}
    return GeographyAssignment(records, clones, codes)


def targets() -> list[Target]:
    """Ask for every measure in the nation, in each state and each district."""
    fips, _, district = country()
    areas = [(Level.NATION, 0), *((Level.STATE, int(c)) for c in fips)]
    areas += [(Level.DISTRICT, int(c)) for c in district]
    every = (
        Target(variable=f"m{m:02d}", level=level, code=code, constraints=(), period=2024, value=1.0)
        for m in range(MEASURES)
        for level, code in areas
    )
    return sort_targets(list(every)[:TARGETS])


def values(records: int) -> NDArray[np.float32]:
    """Make the value of every record in every state, (states, measures, records)."""
    rng = np.random.default_rng(2)
    made = np.zeros((STATES, MEASURES, records), dtype=np.float32)
    for m in range(MEASURES):
        counts = m % 2 == 0
        has = rng.random(records) < (0.2 if counts else 0.33)
        size = rng.integers(1, 4, records) if counts else rng.lognormal(10, 1, records)
        factor = rng.uniform(0.8, 1.2, (STATES, 1)) if m % 6 == 1 else np.ones((STATES, 1))
        made[:, m] = np.where(has, size, 0) * factor
    return made


def used() -> tuple[float, float]:
    """CPU seconds so far, and the peak of memory in GB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def assembly(form: str, records: int, clones: int) -> dict[str, float]:
    """Assemble one form from given per-state arrays."""
    home, rows, given = geography(records, clones), targets(), values(records)
    signatures = sorted({target.signature for target in rows})
    fips = country()[0].tolist()
    begun, _ = used()
    measures = Measures.gather(signatures, given, fips, home)
    gathered, _ = used()
    measures = with_takeup(measures)
    before, _ = used()
    if form == "csr":
        X = scatter(measures, *place(signatures, rows, home), len(rows))
        entries, size = X.nnz, X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    else:
        made = {"factored": FactoredMatrix, "grid": GridMatrix}[form].of(measures, rows, home)
        entries = made.Z.nnz if form == "factored" else made.rest.nnz
        size = made.nbytes
    after, peak = used()
    return {
        "columns": home.n_columns,
        "rows": len(rows),
        "stored_entries": entries,
        "gigabytes": size / 1e9,
        "cpu_seconds": gathered - begun + after - before,
        "peak_gigabytes": peak,
    }


def with_takeup(measures: Measures) -> Measures:
    """Leave a third of the columns out of every eighth measure."""
    rng = np.random.default_rng(3)
    keep = np.ones(measures.values.nnz, dtype=bool)
    for m in range(1, MEASURES, 8):
        part = slice(*measures.values.indptr[m : m + 2])
        keep[part] = rng.random(part.stop - part.start, dtype=np.float32) < 2 / 3
    return measures.only(keep)


def repeated(copies: int) -> tuple[RunState, Dataset]:
    """Repeat the toy country's records under new ids."""
    state = toy.after("takeup")
    dataset = state.dataset
    tables = {}
    for entity, table in dataset.tables.items():
        columns = {}
        for name in table:
            column = np.concatenate([table[name]] * copies)
            if name.endswith("_id"):
                column = column + np.repeat(np.arange(copies), len(table[name])) * 1_000_000
            columns[name] = column
        tables[entity] = columns
    return state, Dataset(dataset.period, tables, dataset.states).check()


def exact(records: int, clones: int) -> dict[str, float]:
    """Simulate clones on the toy engine and assemble X, end to end."""
    state, dataset = repeated(records // 100)
    crosswalk = state.inputs.crosswalk
    block = np.random.default_rng(4).choice(crosswalk.block, records * clones)
    home = GeographyAssignment.from_blocks(crosswalk, block, records, clones)
    made = Clones(dataset, home, state.thresholds, state.engine)
    rows = toy.after("targets").targets
    before, _ = used()
    started = time.perf_counter()
    X = build_matrix(made, rows, w0=np.ones(home.n_columns)).X
    after, peak = used()
    return {
        "columns": home.n_columns,
        "rows": len(rows),
        "stored_entries": X.nnz,
        "cpu_seconds": after - before,
        "wall_seconds": time.perf_counter() - started,
        "peak_gigabytes": peak,
    }


def once(*call: str) -> dict[str, float]:
    """Run one measurement in a new process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", *call]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(said.stdout)


def in_turn(
    large: tuple[str, ...], small: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Run two measurements in turn: medians of both, and how cost per column grows."""
    rounds = [(once(*large), once(*small)) for _ in range(ROUNDS)]
    full, part = (
        {name: _rounded(statistics.median(run[name] for run in runs)) for name in runs[0]}
        for runs in zip(*rounds, strict=True)
    )
    per_column = [[run["cpu_seconds"] / run["columns"] for run in pair] for pair in rounds]
    ratios = [whole / little for whole, little in per_column]
    return (
        full,
        part,
        {
            "growth_of_cpu_per_column": _rounded(statistics.median(ratios)),
            "least_growth": _rounded(min(ratios)),
            "most_growth": _rounded(max(ratios)),
        },
    )


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.3g}")


def all_assembly() -> dict[str, object]:
    """Full size and a sixteenth, for every form."""
    result: dict[str, object] = {
        "of": f"{MEASURES} measures, {STATES} states, {DISTRICTS} districts"
    }
    for form, clones in (("csr", "430"), ("factored", "430"), ("grid", "436")):
        sizes = ("12000", clones), ("750", clones)
        full, part, growth = in_turn(*(("assembly", form, *size) for size in sizes))
        result[form] = {"full": full, "sixteenth": part} | growth
    return result


def all_exact() -> dict[str, object]:
    """2,000 records with 50 clones, and a tenth of the records."""
    full, part, growth = in_turn(("exact", "2000", "50"), ("exact", "200", "50"))
    per_column = full["cpu_seconds"] / full["columns"]
    return {
        "full": full,
        "tenth": part,
        **growth,
        "extrapolated_cpu_minutes_12000_x_430": float(f"{per_column * 5_160_000 / 60:.2g}"),
    }


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["assembly", "exact"])
    parser.add_argument("--record", action="store_true", help="write the results file")
    parser.add_argument(
        "--one", action="store_true", help="one measurement, for this script itself"
    )
    given = parser.parse_args()
    if given.one:
        name, *rest = given.what
        sizes = [int(text) for text in rest if text.isdecimal()]
        made = assembly(rest[0], *sizes) if name == "assembly" else exact(*sizes)
        sys.stdout.write(json.dumps(made))
        return
    runs = {"assembly": all_assembly, "exact": all_exact}
    result = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in given.what:
        result |= {name: runs[name](), "machine": machine()}
        text = json.dumps(result, indent=2) + "\n"
        sys.stdout.write(text)
        if given.record:
            RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
