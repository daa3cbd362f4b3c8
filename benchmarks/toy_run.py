"""Time the toy run and the bare import.

    python benchmarks/toy_run.py [--record]

Prints the median of several runs, each in a process of its own: seconds that `import
calibration` takes, and CPU seconds of `calibration run` after its imports, the process
that reads the files again included. What that process takes to import is in the run's seconds
and printed beside them.
CPU seconds of importing the libraries alone, between the runs, say how fast the machine was:
runs on two machines compare by their ratio to these.
`--record` writes `benchmarks/results/toy_run.json`.
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

RUNS = 7
RESULTS = Path(__file__).parent / "results" / "toy_run.json"

IMPORT = """
import time
start = time.perf_counter()
import calibration
print(time.perf_counter() - start)
"""

# Everything a run imports is imported first, so that the clock sees the work alone.
RUN = """
import os, resource, sys, tempfile
from pathlib import Path
import sklearn.ensemble, sklearn.tree, scipy.optimize, scipy.sparse, h5py
from calibration.engines import toy
from calibration.pipeline import run
from calibration.toy import folder

def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)

with tempfile.TemporaryDirectory() as scratch:
    start = cpu()
    run(folder(), Path(scratch) / "run")
    print(cpu() - start)
"""

READER = """
import time
import calibration.evaluate
from calibration.engines import load_engine
load_engine("toy")
print(time.process_time())
"""

PACE = """
import time
import h5py, numpy, pandas, scipy, torch
print(time.process_time())
"""


def measure(*codes: str) -> list[list[float]]:
    """Run codes in turn, each time in a new interpreter, and collect what each prints."""
    # the installed package, also when started from its sources
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    rounds = [
        [
            float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=environment,
                ).stdout
            )
            for code in codes
        ]
        for _ in range(RUNS)
    ]
    return [list(values) for values in zip(*rounds, strict=True)]


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the results file")
    record = parser.parse_args().record
    names = (
        "import_seconds",
        "run_cpu_seconds",
        "reader_imports_cpu_seconds",
        "libraries_cpu_seconds",
    )
    measured = dict(zip(names, measure(IMPORT, RUN, READER, PACE), strict=True))
    result = {
        name: {
            "median": float(f"{statistics.median(values):.3g}"),
            "min": float(f"{min(values):.3g}"),
            "max": float(f"{max(values):.3g}"),
        }
        for name, values in measured.items()
    }
    result |= {
        "runs": RUNS,
        "machine": machine(),
    }
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if record:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
