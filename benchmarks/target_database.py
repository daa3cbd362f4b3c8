"""Time how a target database is written and read.

    python benchmarks/target_database.py [--record]

Prints CPU seconds, the median of several runs each in a process of its own, imports not
counted: to write the published totals that come with the package, to read and check them,
and to reconcile them. Then the same for sixteen times as many, made of the published ones with
further constraints. `--record` writes `benchmarks/results/target_database.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

RUNS = 5
RESULTS = Path(__file__).parent / "results" / "target_database.json"

MEASURE = """
import json, sys, tempfile, time
from dataclasses import replace
from pathlib import Path
from calibration.geography import STATE_LETTERS, Level
from calibration.published import read_published
from calibration.target_database import TargetDatabase
from calibration.targets import parse_constraint
from calibration.uprating import read_factors, reconcile, to_year

targets = [
    replace(t, constraints=(*t.constraints, *([parse_constraint(f"copy=={i}")] if i else ())))
    for i in range(int(sys.argv[1])) for t in read_published()
]
times = {"targets": len(targets)}
with tempfile.TemporaryDirectory() as folder:
    start = time.process_time()
    database = TargetDatabase.write(Path(folder) / "targets.db", targets)
    times["write_cpu_seconds"] = time.process_time() - start
    start = time.process_time()
    read = database.read(2024)
    times["read_cpu_seconds"] = time.process_time() - start
    start = time.process_time()
    reconcile(to_year(read, 2024, read_factors()), {Level.STATE: sorted(STATE_LETTERS)})
    times["reconcile_cpu_seconds"] = time.process_time() - start
print(json.dumps(times))
"""


def measure(copies: int) -> dict[str, float]:
    """Run several times, each in a new interpreter, and take medians."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, str(copies)]
    found = [
        json.loads(
            subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            ).stdout
        )
        for _ in range(RUNS)
    ]
    return {
        name: float(f"{statistics.median(one[name] for one in found):.3g}")
        if name != "targets"
        else found[0][name]
        for name in found[0]
    }


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    record = parser.parse_args().record
    result = {"published": measure(1), "sixteenfold": measure(16)}
    text = json.dumps(result | {"runs": RUNS, "machine": machine()}, indent=2) + "\n"
    sys.stdout.write(text)
    if record:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
