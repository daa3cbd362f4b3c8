"""Calibrate the public CPS records of Tax-Calculator to the states' income statistics.

    python benchmarks/taxcalc_run.py [--record] [--out FOLDER]

One run of `calibration run --engine taxcalc` in a process of its own, with its CPU seconds by
step and its peak memory. Then, from what it left behind: errors before and after, effective
sample size, totals that no target names, and why the targets that are missed are missed. The
fit is repeated with two more seeds at the same penalty. `--record` writes
`benchmarks/results/taxcalc_run.json`; `--out` keeps the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from calibration.artifacts import RunState
from calibration.audit import prefix_of
from calibration.diagnostics import (
    UNIT_MEASURES,
    explain,
    summary,
    unified_table,
    untargeted_table,
)
from calibration.diagnostics.headlines import scored
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.soi import YEAR, folder

RESULTS = Path(__file__).parent / "results" / "taxcalc_run.json"
SEEDS = (1, 2)
MISSED = 0.01  # relative error above which a target counts as missed

RUN = """
import json, resource, sys
from pathlib import Path
from calibration.pipeline import RunOptions, run
from calibration.soi import folder

def used(who):
    spent = resource.getrusage(who)
    return spent.ru_utime + spent.ru_stime

def cpu():
    return used(resource.RUSAGE_SELF) + used(resource.RUSAGE_CHILDREN)

begun, steps = cpu(), {}
def follow(event):
    global begun
    if event.kind == "done":
        steps[event.step] = round(cpu() - begun, 1)
    if event.kind in ("start", "done"):
        print(event.step, event.kind, round(cpu(), 1), file=sys.stderr, flush=True)
    begun = cpu()

run(folder(), Path(sys.argv[1]), RunOptions(engine="taxcalc"), observe=follow)
peak = max(resource.getrusage(w).ru_maxrss for w in
           (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"cpu_seconds": round(cpu(), 1), "cpu_seconds_by_step": steps,
                  "peak_memory_gb": round(peak / 1e6, 2)}))
"""


def timed_run(out: Path) -> dict[str, Any]:
    """Do the run in a new process, with one thread, and give what it cost."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(out)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def reached(state: RunState, weights: np.ndarray, totals: Any) -> dict[str, Any]:
    """Sum up one weight vector."""
    found = summary(unified_table(state.matrix, weights), weights)
    names = ("mean", "median", "p95", "within_1", "within_5")
    rows = zip(totals["measure"], totals["initial"], totals["fitted"], strict=True)
    return {
        "kept": found.retained,
        "effective_sample_size": round(found.effective_size),
        "max_weight": round(found.max_weight),
        "error_before": {n: round(getattr(found.initial, n), 5) for n in names},
        "error_after": {n: round(getattr(found.fitted, n), 5) for n in names},
        "totals": {
            str(name): {"before": round(float(before)), "after": round(float(after))}
            for name, before, after in rows
        },
    }


def other_seeds(state: RunState, vector: str) -> dict[str, Any]:
    """Fit again with other noise and the same penalty."""
    matrix = state.matrix
    results = {}
    for seed in SEEDS:
        options = L0Options.from_facts({**state.fits[vector]["options"], "seed": seed})
        fit = fit_l0(
            matrix.X,
            matrix.values,
            w0=matrix.w0,
            options=options,
            column_key=matrix.column_key(),
            block=matrix.block(),
            group=matrix.groups,
        )
        totals = untargeted_table(
            state.clones, matrix.w0, fit.weights, state.targets, measures=UNIT_MEASURES
        )
        results[str(seed)] = reached(state, fit.weights, totals)
    return results


def missed(state: RunState, weights: np.ndarray) -> dict[str, Any]:
    """Say which targets are missed by more than 1 %, and why."""
    unified = unified_table(state.matrix, weights)
    far = np.flatnonzero(scored(unified) & (unified["abs_rel_error"] > MISSED))
    targets = state.matrix.targets
    causes = Counter(
        explain(state.matrix, weights, targets[i].name).cause.name for i in far.tolist()
    )
    kinds = Counter(kind_of(targets[i]) for i in far.tolist())
    return {
        "targets": len(far),
        "share_of_loss": round(float(unified["loss_share"][far].sum()), 4),
        "causes": dict(causes.most_common()),
        "kinds": dict(kinds.most_common()),
    }


def kind_of(target: Any) -> str:
    """Name a target without its state: what is measured and the class of income."""
    what = "returns" if target.is_count else target.variable
    limits = [str(c) for c in target.constraints if c.variable != "tax_unit_is_filer"]
    return f"{what} [{', '.join(limits)}]"


def by_class(state: RunState, weights: np.ndarray) -> dict[str, Any]:
    """Add the states up: what is published, what the file says before and after."""
    before = state.matrix.estimates(state.matrix.w0)
    after = state.matrix.estimates(weights)
    sums: dict[str, dict[str, float]] = {}
    for target, start, end in zip(state.matrix.targets, before, after, strict=True):
        row = sums.setdefault(kind_of(target), {"published": 0.0, "before": 0.0, "after": 0.0})
        row["published"] += target.value
        row["before"] += float(start)
        row["after"] += float(end)
    return {kind: {k: round(v) for k, v in row.items()} for kind, row in sums.items()}


def described(out: Path, cost: dict[str, Any]) -> dict[str, Any]:
    """Read the run and put together what is recorded."""
    state = RunState(out, "diagnostics", folder(), "taxcalc", YEAR)
    matrix, vectors = state.matrix, {}
    for name, weights in state.weights_by_preset.items():
        table = state.table(f"{prefix_of(name)}untargeted")
        totals = {
            key: np.array([row[key] for row in table]) for key in ("measure", "initial", "fitted")
        }
        numbers = {key: totals[key].astype(np.float64) for key in ("initial", "fitted")}
        seeds = {"0": reached(state, weights, totals | numbers)} | other_seeds(state, name)
        vectors[name] = {
            "penalty": state.fits[name]["options"]["penalty"],
            "trials": len(state.fits[name]["trials"]),
            "seeds": seeds,
            "missed": missed(state, weights),
            "by_class": by_class(state, weights),
        }
    return {
        "engine": state.engine.version,
        "records": len(matrix.household_id),
        "targets": len(matrix.targets),
        "nonzeros": int(matrix.X.nnz),
        **cost,
        "identity_rows": len(state.table("identity")),
        "identity_worst": max(float(row["gap"]) for row in state.table("identity")),
        "vectors": vectors,
        "machine": machine(),
    }


def main() -> None:
    """Run, describe, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    parser.add_argument("--out", type=Path, help="folder for the run, which is kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch) / "run"
        result = described(out, timed_run(out))
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.record:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
