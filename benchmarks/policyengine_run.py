"""Run the whole toy country under real law, once, and measure it.

    python benchmarks/policyengine_run.py [--record]

Needs the extra `policyengine`. Three things are measured, each in a process of its own:

    run        `pipeline.run` with `RunOptions(engine="policyengine")`: survey, matrix, two
               fits, 20 files, and the X w identity with all checks
    parallel   its matrix again, with two workers that import the model once each
    resumed    its matrix again, from chunks that were kept

Prints seconds of CPU and wall, peak memory, and what the identity found. `--record` writes
`benchmarks/results/policyengine_run.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import machine

from calibration import toy

RESULTS = Path(__file__).parent / "results" / "policyengine_run.json"

COMMON = """
import json, resource, sys, time
from pathlib import Path
import numpy as np

def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)

def peak(who=resource.RUSAGE_SELF):
    return resource.getrusage(who).ru_maxrss / 1024

data, folder = Path(sys.argv[1]), Path(sys.argv[2])
"""

RUN = """
from calibration.engines import load_engine
from calibration.workers import warm
from calibration.pipeline import RunOptions, run

start, clock = cpu(), time.perf_counter()
warm("policyengine")
imported = {"cpu_seconds": cpu() - start, "seconds": time.perf_counter() - clock, "peak_mb": peak()}
steps, marks = {}, {}

def observe(event):
    if event.kind == "start":
        marks["cpu"] = cpu()
        marks["chunk"] = cpu()
    else:
        steps[event.step] = {"cpu_seconds": cpu() - marks["cpu"], "seconds": event.seconds,
                             "peak_mb": peak()}

chunks, done_before = [], [0]
def tell(done, of, unit):
    if unit == "columns":
        now = cpu()
        chunks.append({"columns": done - done_before[0], "cpu_seconds": now - marks["chunk"]})
        done_before[0], marks["chunk"] = done, now

start, clock = cpu(), time.perf_counter()
state = run(data, folder, RunOptions(engine="policyengine"), observe=observe, tell=tell)
rows = state.table("identity")
print(json.dumps({
    "engine": load_engine("policyengine").version,
    "import": imported,
    "cpu_seconds": cpu() - start, "seconds": time.perf_counter() - clock,
    "peak_mb": peak(),
    "steps": steps,
    "matrix_by_state": [{"state": s} | c for s, c in zip(state.inputs.states, chunks)],
    "columns": int(state.geography.n_columns), "targets": len(state.targets),
    "variables": sorted({t.variable for t in state.targets}),
    "files": len({row["file"] for row in rows}), "rows_compared": len(rows),
    "worst_gap": max(float(row["gap"]) for row in rows),
    "checks": {r["name"]: int(r["compared"]) for r in state.table("checks")},
}))
"""

MATRIX = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from calibration.artifacts import RunState
from calibration.workers import warm
from calibration.keeping import KeepingExecutor
from calibration.matrix_builder import build_matrix

state = RunState(folder, "weights", data, "policyengine")
stored, kept = state.matrix, folder.parent / "kept"
if sys.argv[3] == "parallel":
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=warm, initargs=("policyengine",)) as pool:
        list(pool.map(len, ["a", "b"]))
        clock, start = time.perf_counter(), cpu()
        executor = KeepingExecutor(kept, code="benchmark", inner=pool)
        X = build_matrix(state.clones, state.targets, w0=stored.w0, executor=executor).X
        seconds = time.perf_counter() - clock
    # a child counts what its parent had when it was forked; a worker outgrows that
    more = {"peak_of_a_worker_mb": peak(resource.RUSAGE_CHILDREN)}
else:
    clock = time.perf_counter()
    executor = KeepingExecutor(kept, code="benchmark")
    X = build_matrix(state.clones, state.targets, w0=stored.w0, executor=executor).X
    seconds, more = time.perf_counter() - clock, {}
assert (X != stored.X).nnz == 0
print(json.dumps({
    "seconds": seconds, "cpu_seconds_with_imports": cpu(),
    "kept": executor.kept, "computed": executor.done,
    "peak_mb": peak(), **more,
}))
"""


def measure(code: str, *arguments: str) -> dict:
    """Run code in a new interpreter and read what it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", COMMON + code, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    record = parser.parse_args().record
    with tempfile.TemporaryDirectory() as scratch:
        data, folder = str(toy.folder()), str(Path(scratch) / "run")
        result = {"run": measure(RUN, data, folder)}
        result["parallel"] = measure(MATRIX, data, folder, "parallel")
        result["resumed"] = measure(MATRIX, data, folder, "resumed")
    result["machine"] = machine() | {"load": os.getloadavg()[1]}
    text = json.dumps(_rounded(result), indent=2) + "\n"
    sys.stdout.write(text)
    if record:
        RESULTS.write_text(text, encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
