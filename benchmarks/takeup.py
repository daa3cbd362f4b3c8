"""Time takeup: five million households, ten programmes.

    OMP_NUM_THREADS=1 python -m benchmarks.takeup [--record]

Prints CPU seconds of one thread, medians of several runs in one process:

    flags      everything that the package does: groups, thresholds, draws, reporters
    draws      the draws and their comparison with a threshold, in NumPy
    compiled   the same, with the compiled loops of `calibration.rng_numba`; equal bits
    generator  a NumPy generator made for each household and programme from a hash of its key,
               as the established pipeline does. Measured on a subset of the pairs and scaled
               to all of them; the hash is one of the standard library, in C.

Every household is one person, one tax unit and one SPM unit, so there is one draw for each
pair of household and programme. `--record` writes `benchmarks/results/takeup.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from calibration.dataset import Dataset
from calibration.rng import key, uniform
from calibration.rng_numba import uniform_fold
from calibration.takeup import PROGRAMMES, Threshold, Thresholds, with_takeup

HOUSEHOLDS, CLONES, SUBSET, RUNS = 5_000_000, 430, 5_000, 5
CHUNK = 25_000  # columns that the matrix and the files simulate at once
RESULTS = Path(__file__).parent / "results" / "takeup.json"

Ints = NDArray[np.int64]


def households(ids: Ints, clone: Ints) -> Dataset:
    """Make materialised households of one person each; every tenth reports everything."""
    rows = np.arange(len(ids))
    entities = ("person", "household", "spm_unit", "tax_unit")
    tables = {e: {f"{e}_id": rows, f"record_{e}_id": ids * 7 + i} for i, e in enumerate(entities)}
    tables["person"] |= {f"person_{e}_id": rows for e in entities[1:]}
    tables["person"]["is_tax_unit_dependent"] = ids < 0
    tables["household"] |= {"clone_index": clone, "state_fips": np.full(len(ids), 37)}
    for p in PROGRAMMES:
        if p.anchor is not None:
            tables[p.entity][p.anchor] = ids % 10 == 0
    return Dataset(2024, tables)


def table() -> Thresholds:
    """Give every programme the threshold of a half, in every group that occurs here."""
    groups = {"nation": "US", "state": "NC", "children": "0"}
    return Thresholds(
        0, tuple(Threshold(p.name, groups[p.groups], 0.5, 0, 0, 0.5) for p in PROGRAMMES)
    )


def chunks() -> list[tuple[Ints, Ints]]:
    """Cut the households into chunks: ids and clones."""
    columns = np.arange(HOUSEHOLDS)
    ids, clone = columns // CLONES, columns % CLONES
    cuts = range(0, HOUSEHOLDS, CHUNK)
    return [(ids[i : i + CHUNK], clone[i : i + CHUNK]) for i in cuts]


def all_flags(parts: list[tuple[Ints, Ints]]) -> Callable[[], int]:
    """Prepare the whole of takeup; the datasets are made before the clock starts."""
    datasets, thresholds = [households(*part) for part in parts], table()

    def work() -> int:
        takers = 0
        for dataset in datasets:
            decided = with_takeup(dataset, thresholds, PROGRAMMES)
            takers += sum(int(decided[p.flag].sum()) for p in PROGRAMMES)
        return takers

    return work


def all_draws(parts: list[tuple[Ints, Ints]], *, compiled: bool) -> Callable[[], int]:
    """Prepare the draws alone, in NumPy or compiled."""

    def work() -> int:
        below = 0
        for p in PROGRAMMES:
            prefix = key(0, "takeup", p.name)[()]
            for ids, clone in parts:
                if compiled:
                    u = uniform_fold(prefix, ids, ids, clone)
                else:
                    u = uniform(0, "takeup", p.name, ids, ids, clone)
                below += int((u < 0.5).sum())
        return below

    return work


def generators() -> int:
    """Make a seeded generator for each of some households, and draw one number from it."""
    below = 0
    for household in range(SUBSET):
        text = f"takes_up_snap_if_eligible:{household}:{household % CLONES}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        seed = int.from_bytes(digest, "little") % 2**63
        below += int(np.random.default_rng(seed).random(1)[0] < 0.5)
    return below


def seconds(work: Callable[[], int]) -> tuple[list[float], int]:
    """Run some work several times; CPU seconds of each run, and what it counted."""
    work()  # compiles, and fills caches
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        counted = work()
        times.append(time.process_time() - start)
    return times, counted


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    record = parser.parse_args().record
    parts = chunks()
    measured = {
        "draws": seconds(all_draws(parts, compiled=False)),
        "compiled": seconds(all_draws(parts, compiled=True)),
        "generator": seconds(generators),
        "flags": seconds(all_flags(parts)),
    }
    if measured["draws"][1] != measured["compiled"][1]:
        raise SystemExit("compiled draws differ from those of NumPy; nothing is recorded")
    pairs = HOUSEHOLDS * len(PROGRAMMES)
    scale = {"generator": pairs / SUBSET}
    result = {
        f"{name}_cpu_seconds": {
            "median": float(f"{statistics.median(times) * scale.get(name, 1):.3g}"),
            "min": float(f"{min(times) * scale.get(name, 1):.3g}"),
            "max": float(f"{max(times) * scale.get(name, 1):.3g}"),
        }
        for name, (times, _) in measured.items()
    }
    typical = {name: result[f"{name}_cpu_seconds"]["median"] for name in measured}
    result["ratio"] = {
        name: float(f"{typical['generator'] / typical[name]:.3g}")
        for name in ("draws", "compiled", "flags")
    }
    result |= {
        "households": HOUSEHOLDS,
        "programmes": len(PROGRAMMES),
        "pairs": pairs,
        "generator_measured_on": SUBSET,
        "chunk": CHUNK,
        "runs": RUNS,
        "threads": 1,
        "machine": machine(),
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    if record:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
