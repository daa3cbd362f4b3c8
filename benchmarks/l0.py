"""An epoch of the L0 fit against l0-python, in its own settings, on one thread.

    python -m benchmarks.l0 --size small|medium|large|complete [--record] [--peak]

Both sides minimise the same sums (`L0Options.us_data`, beta .35, float32) over one matrix
(`benchmarks.l0_matrix`): ours from its factors, or from the grid of a complete design,
l0-python from their product in CSR. At equal
parameters and noise their losses and gradients are compared first; how far they are apart is
in the result. Then their epochs take turns in one process, and the medians of CPU seconds
are compared; ours include the sums over rows, the loss and the noise. `--peak` fits in a
process without l0-python and gives its largest memory, matrix included. `--processes 2` times
epochs that two processes share against those of one, by the clock, so it needs as many free
cores. `--record` writes `benchmarks/results/l0_SIZE.json`, or `l0_SIZE_processes.json`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.l0_matrix import SIZES, Instance, make
from benchmarks.machine import machine
from calibration import rng
from calibration.l0.compiled import CompiledGates
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem
from calibration.l0.run import Run, start_run
from calibration.l0.shared import share
from calibration.l0.state import Rates
from calibration.l0.team import Team

EPOCHS = {"small": (40, 20), "medium": (20, 7), "large": (10, 1), "complete": (10, 1)}
OPTIONS = L0Options.us_data(penalty=1e-4, epochs=1000, dtype="float32")
RESULTS = Path(__file__).parent / "results"


def our_run(instance: Instance) -> Run:
    """Set up our side; the arrays of the instance are no longer needed then."""
    problem = Problem.build(
        instance.X,
        instance.t,
        w0=instance.w0,
        options=OPTIONS,
        block=instance.block,
        threads=1,
    )
    return start_run(problem, OPTIONS)


def their_model(instance: Instance) -> Any:
    """Set up l0-python as policyengine-us-data does."""
    import torch
    from l0.calibration import SparseCalibrationWeights

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Sparse invariant checks")
    return SparseCalibrationWeights(
        n_features=instance.w0.size,
        beta=OPTIONS.temperature,
        gamma=OPTIONS.stretch[0],
        zeta=OPTIONS.stretch[1],
        init_keep_prob=0.999,
        init_weights=instance.w0,
        log_weight_jitter_sd=0.0,
    )


def apart(run: Run, gates: CompiledGates, model: Any, X: Any, t: Any) -> dict[str, float]:
    """Say how far apart loss and gradients of the first epoch are, at our start and our noise.

    Ours makes the epoch; the first moments of Adam are then a tenth of its gradient.
    """
    import torch

    state, back = run.gates, run.problem.as_given
    for ours, theirs in zip(state.parameters, (model.log_weight, model.log_alpha), strict=True):
        theirs.data = torch.from_numpy(back(ours).astype("f4"))
    keys = back(run.problem.column_key)
    u = torch.from_numpy(rng.uniform(OPTIONS.seed, "gate", 1, keys).astype("f4"))
    drawn, torch.rand_like = torch.rand_like, lambda _: u
    try:
        miss = ((torch.from_numpy(t).float() - model(X)) / (torch.from_numpy(t).float() + 1)) ** 2
        (miss.sum() + OPTIONS.penalty * model.get_l0_penalty()).backward()
    finally:
        torch.rand_like = drawn
    loss = gates.begin()
    gates.end()
    found = {"loss_apart": abs(float(miss.sum().detach()) / loss - 1)}
    for name, ours in zip(("log_weight", "log_alpha"), state.first, strict=True):
        theirs = getattr(model, name).grad.numpy().astype(float)
        gap = np.linalg.norm(theirs - 10 * back(ours).astype(float))
        found[f"{name}_gradient_apart"] = float(gap / np.linalg.norm(theirs))
    return found


def compare(size: str) -> dict[str, Any]:
    """Time both sides in turns."""
    instance = make(SIZES[size])
    nonzeros = int(instance.Z.nnz)
    X = (instance.G @ instance.Z).tocsr()
    model, t = their_model(instance), instance.t
    run = our_run(instance)
    model._convert_sparse_to_torch(X)  # noqa: SLF001  # it keeps the result
    shape = X.shape
    fact = {"columns": shape[1], "targets": shape[0], "nonzeros": X.nnz, "factored": nonzeros}
    instance = None
    gc.collect()
    gates = CompiledGates(run, Rates.of(OPTIONS.learning_rate, OPTIONS.epochs, "constant"))
    options = {"lambda_l0": OPTIONS.penalty, "lambda_l2": OPTIONS.l2, "lr": OPTIONS.learning_rate}

    def ours() -> None:
        gates.begin()
        gates.end()

    def theirs() -> None:
        model.fit(X, t, epochs=1, loss_type="relative", verbose=False, **options)

    fact |= apart(run, gates, model, X, t)  # also their warm-up, and ours
    n_ours, n_theirs = EPOCHS[size]
    seconds: dict[str, list[float]] = {"ours": [], "l0_python": []}
    for _ in range(n_theirs):
        seconds["l0_python"].append(_cpu(theirs))
        seconds["ours"] += [_cpu(ours) for _ in range(max(1, n_ours // n_theirs))]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return fact | {
        "ours_cpu_seconds": medians["ours"],
        "l0_python_cpu_seconds": medians["l0_python"],
        "ratio": medians["l0_python"] / medians["ours"],
        "epochs": {name: len(values) for name, values in seconds.items()},
        "ours_ns_per_nonzero": medians["ours"] / fact["nonzeros"] * 1e9,
    }


def _cpu(epoch: Any) -> float:
    start = time.process_time()
    epoch()
    return time.process_time() - start


def peak(size: str) -> dict[str, float]:
    """Fit a few epochs without l0-python, and give the largest memory of the process."""
    run = our_run(make(SIZES[size]))
    gc.collect()
    gates = CompiledGates(run, Rates.of(OPTIONS.learning_rate, OPTIONS.epochs, "constant"))
    seconds = [_cpu(lambda: (gates.begin(), gates.end())) for _ in range(EPOCHS[size][0])]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"peak_gb": round(most, 2), "alone_cpu_seconds": statistics.median(seconds)}


def shared(size: str, processes: int) -> dict[str, Any]:
    """Give seconds by the clock for an epoch, alone and shared out over processes."""
    seconds = {number: _together(size, number) for number in (1, processes)}
    return {
        "processes": processes,
        "seconds_alone": seconds[1],
        "seconds_shared": seconds[processes],
        "ratio": seconds[1] / seconds[processes],
    }


def _together(size: str, processes: int) -> float:
    """Start the processes, and hear from the first."""
    start = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        reader, writer = start.Pipe(duplex=False)
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        members = [
            start.Process(target=_member, args=((rank, processes), size, rendezvous, writer))
            for rank in range(processes)
        ]
        for member in members:
            member.start()
        writer.close()
        seconds = reader.recv()
        for member in members:
            member.join()
    return seconds


def _member(place: tuple[int, int], size: str, rendezvous: str, answer: Connection) -> None:
    """Work on a share of the columns; the first process tells its median."""
    import torch.distributed as dist

    rank, processes = place
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=processes)
    with Team(distributed=True) as team:
        run = share(our_run(make(SIZES[size])), team)
        gates = CompiledGates(run, Rates.of(OPTIONS.learning_rate, OPTIONS.epochs, "constant"))
        seconds = []
        for _ in range(1 + EPOCHS[size][0]):
            begun = time.perf_counter()
            gates.begin()
            gates.end()
            seconds.append(time.perf_counter() - begun)
    dist.destroy_process_group()
    if rank == 0:
        answer.send(statistics.median(seconds[1:]))  # the first one compiles


def main() -> None:
    """Measure, print, and record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--peak", action="store_true", help="memory alone, without l0-python")
    parser.add_argument("--processes", type=int, help="time epochs that so many share")
    parser.add_argument("--record", action="store_true", help="write the results file")
    asked = parser.parse_args()
    if asked.peak:
        sys.stdout.write(json.dumps(peak(asked.size)) + "\n")
        return None
    if asked.processes:
        found = {"size": asked.size, "threads": 1} | shared(asked.size, asked.processes)
        return _tell(found, f"l0_{asked.size}_processes.json" if asked.record else None)
    alone = subprocess.run(
        [sys.executable, "-m", "benchmarks.l0", "--size", asked.size, "--peak"],
        check=True,
        capture_output=True,
        text=True,
    )
    result = {"size": asked.size, "beta": OPTIONS.temperature, "threads": 1}
    result |= json.loads(alone.stdout) | compare(asked.size)
    return _tell(result, f"l0_{asked.size}.json" if asked.record else None)


def _tell(result: dict[str, Any], file: str | None) -> None:
    """Print a result with what it was measured on, and write it if there is a file."""
    result = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in result.items()}
    result |= {"load": [round(x, 1) for x in os.getloadavg()], "machine": machine()}
    result |= {"date": dt.datetime.now(tz=dt.UTC).date().isoformat()}
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if file:
        (RESULTS / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
