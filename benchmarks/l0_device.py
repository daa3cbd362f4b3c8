"""Time an epoch of the L0 fit on a graphics card, against l0-python on the same card.

    PYTHONPATH=. python3 benchmarks/l0_device.py --out DIR [--device cuda] [--sizes small,large]

Runs from a checkout: NumPy, SciPy, numba and PyTorch are enough. l0-python is measured too if
it can be imported; it is pure Python, so its folder `l0` on PYTHONPATH will do.

First it checks, on the device: noise has the bits of NumPy's; loss and gradient at fixed
parameters agree with NumPy's in float64. Then, for each size: seconds per epoch (median of
several batches of epochs after a warm-up) with PyTorch's own operations (`eager`), with the
work on columns compiled (`fused`), and with an epoch replayed as one CUDA graph (`captured`);
peak memory; and the bytes an epoch cannot avoid moving, per second, as a share of what a copy
on the device moves. l0-python and ours fit the same matrix with the same constants.

Matrices are made on the device from a household table tiled over clones: 40 variables (18
counts of people by age, 9 one-hot income classes, 13 dollar amounts with gaps), random
districts, rows for the nation, 51 states and 436 districts. Targets come from a log-linear
reweighting and 2 % noise. They are synthetic; only shape and sparsity matter for time.

Results are written after every size, so that a run that is cut short loses nothing.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from calibration import rng
from calibration.l0.device_gates import DeviceGates, DeviceProblem, device_objective
from calibration.l0.device_matrix import DeviceMatrix
from calibration.l0.device_noise import device_keys, device_uniforms, epoch_prefixes
from calibration.l0.noise import keyed_noise
from calibration.l0.objective import gate_objective
from calibration.l0.options import L0Options
from calibration.l0.problem import Problem

AGES, CLASSES, DOLLARS = 18, 9, 13
VARIABLES = AGES + CLASSES + DOLLARS
STATES, DISTRICTS = 51, 436
WANTED = {"small": (6_000, 10, 7), "medium": (10_000, 50, 7), "large": (12_000, 430, VARIABLES)}
"""Records, clones, and variables that have rows for districts."""

EPOCHS = {"small": 100, "medium": 50, "large": 20}
BATCHES = 5


class Made(NamedTuple):
    """A problem on the device, and its shape in words."""

    problem: DeviceProblem
    start: torch.Tensor
    records: int
    clones: int


def say(text: str) -> None:
    """Tell how far we are."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# --- problems


def household_table(records: int, seed: int) -> np.ndarray:
    """Make values (records, variables), zeros where a household has nothing."""
    draw = np.random.default_rng(seed)
    people = draw.poisson(0.14, (records, AGES)).astype(np.float32)
    people[people.sum(axis=1) == 0, 6] = 1
    income = np.eye(CLASSES, dtype=np.float32)[draw.integers(0, CLASSES, records)]
    shares = np.linspace(0.9, 0.1, DOLLARS)
    dollars = np.exp(draw.normal(9, 1.2, (records, DOLLARS)))
    dollars *= draw.random((records, DOLLARS)) < shares
    return np.concatenate([people, income, dollars.astype(np.float32)], axis=1)


def make(size: str, device: str, dtype: torch.dtype) -> Made:
    """Make a problem of a size on the device."""
    records, clones, district_variables = WANTED[size]
    table = household_table(records, seed=1)
    owner, variable = (torch.from_numpy(part).to(device) for part in np.nonzero(table))
    value = torch.from_numpy(table[np.nonzero(table)]).to(device=device, dtype=dtype)
    columns = records * clones
    draw = torch.Generator(device).manual_seed(2)
    district = torch.randint(DISTRICTS, (columns,), generator=draw, device=device)
    state_of = torch.arange(DISTRICTS, device=device) * STATES // DISTRICTS

    # Entries of the finest level, column by column; then one row index for each level.
    each = torch.bincount(owner, minlength=records).repeat(clones)
    kind = variable.repeat(clones).to(torch.int32)
    place = torch.repeat_interleave(district, each).to(torch.int32)
    state = state_of[place].to(torch.int32)
    offset = VARIABLES * (1 + STATES)
    rows = torch.stack(
        [kind, VARIABLES * (1 + state) + kind, offset + place * district_variables + kind], dim=1
    )
    inside = torch.ones(rows.shape, dtype=torch.bool, device=device)
    inside[:, 2] = kind < district_variables
    column = torch.repeat_interleave(torch.arange(columns, device=device), each)
    counts = torch.bincount(column, weights=inside.sum(1).double(), minlength=columns).long()
    del state, place, kind, column
    rows = rows[inside]
    values = value.repeat(clones)[:, None].expand(-1, 3)[inside]
    del inside
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    height = offset + DISTRICTS * district_variables
    matrix = DeviceMatrix.from_columns(starts, rows, values, height)
    del rows, values

    bell = torch.randn(columns, generator=draw, device=device, dtype=dtype)
    start = torch.full((columns,), 130e6 / columns, device=device, dtype=dtype)
    wobble = torch.randn(height, generator=draw, device=device, dtype=torch.float64)
    truth = matrix.estimates(start * torch.exp(0.3 * bell))
    targets = truth * (1 + 0.02 * wobble)
    reachable = (truth > 0).double()
    scale = torch.where(truth > 0, targets + 1.0, 1.0)
    keys = device_keys(np.arange(columns, dtype=np.uint64), device)
    return Made(DeviceProblem(matrix, targets, scale, reachable, keys), start, records, clones)


def to_scipy(matrix: DeviceMatrix) -> Any:
    """Give X as a SciPy CSC array on the host (the rows of the transpose)."""
    from scipy.sparse import csc_matrix

    part = matrix.columns
    arrays = (part.values(), part.col_indices(), part.crow_indices())
    return csc_matrix(
        tuple(array.cpu().numpy() for array in arrays), shape=tuple(part.shape)[::-1], copy=False
    )


# --- checks


def check(device: str) -> dict[str, Any]:
    """Compare noise, loss and gradient on the device with NumPy's."""
    keys = np.concatenate(
        [
            np.arange(1000, dtype=np.uint64),
            np.arange(2**63 - 500, 2**63 + 500, dtype=np.uint64),
            rng.key("device", np.arange(1_000_000)),
        ]
    )
    prefixes = torch.from_numpy(epoch_prefixes(7, 600)).to(device)
    equal = all(
        np.array_equal(
            device_uniforms(prefixes[epoch - 1], device_keys(keys, device)).cpu().numpy(),
            rng.uniform(7, "gate", epoch, keys),
        )
        for epoch in (1, 300, 600)
    )
    facts: dict[str, Any] = {"noise_bits_equal": equal, "uniforms_compared": 3 * len(keys)}
    table = household_table(2_000, seed=3)
    owner = rng.uniform(4, "state", np.arange(2_000)) * 5
    X = np.concatenate([table.T, *(table.T * (owner.astype(int) == s) for s in range(5))])
    t = X @ np.exp(rng.uniform(4, "w", np.arange(2_000)) + 3)
    for dtype in ("float64", "float32"):
        options = L0Options.us_data(penalty=1e-4, dtype=dtype)
        here = Problem.build(X, t, w0=np.full(2_000, 30.0), options=options)
        there = DeviceProblem.of(here, device, dtype)
        theta = np.log(here.start) + rng.uniform(5, "theta", here.column_key) - 0.5
        parameters = np.stack([theta, 3 * rng.uniform(5, "alpha", here.column_key) - 1.5])
        noise = keyed_noise(here, options)(1)
        wanted = gate_objective(here, parameters, noise, options)
        tensors = (torch.tensor(a, dtype=there.dtype, device=device) for a in (parameters, noise))
        loss, gradient = device_objective(there, *tensors, options)
        gaps = np.linalg.norm(gradient.cpu().numpy() - wanted.gradient, axis=1)
        facts[dtype] = {
            "loss": abs(float(loss) / wanted.loss - 1),
            "gradient_log_weight": float(gaps[0] / np.linalg.norm(wanted.gradient[0])),
            "gradient_log_alpha": float(gaps[1] / np.linalg.norm(wanted.gradient[1])),
        }
    worst = max(facts["float64"].values())
    facts["passed"] = bool(equal and worst < 1e-6)
    return facts


# --- clocks


def wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(run: Callable[[], None], device: str) -> float:
    """Seconds that something takes on the device: CUDA events there, the clock elsewhere."""
    if not device.startswith("cuda"):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    wait(device)
    begin.record()
    run()
    end.record()
    wait(device)
    return begin.elapsed_time(end) / 1e3


def copy_speed(device: str) -> float:
    """Bytes per second, read and written, of a copy of 1 GiB (64 MiB on a processor)."""
    size = 2**30 if device.startswith("cuda") else 2**26
    one = torch.empty(size, dtype=torch.uint8, device=device).random_(0, 255)
    two = torch.empty_like(one)
    two.copy_(one)
    return 2 * size / statistics.median(timed(lambda: two.copy_(one), device) for _ in range(9))


def epoch_bytes(problem: DeviceProblem) -> int:
    """Bytes that an epoch cannot avoid moving.

    Both products read every entry and its index once; work on columns reads and writes the
    parameters and both moments, and keys, weights, their slope and the pull pass once.
    """
    number = torch.finfo(problem.dtype).bits // 8
    columns = problem.keys.numel()
    products = 2 * problem.matrix.entries * (number + 4) + columns * 4
    state = 2 * 3 * 2 * columns * number  # in and out, three arrays, two rows
    passing = columns * (8 + 2 * 3 * number)
    return products + state + passing


# --- ours


def gates_of(made: Made, epochs: int, *, fused: bool) -> DeviceGates:
    """Set the gate phase to its start, with the established constants."""
    options = L0Options.us_data(penalty=1e-4, epochs=epochs, dtype="float32")
    theta = torch.log(made.start)
    log_alpha = torch.full_like(theta, 6.906754778648554)  # logit(0.999)
    parameters = torch.stack([theta, log_alpha])
    state = (parameters, torch.zeros_like(parameters), torch.zeros_like(parameters))
    return DeviceGates(made.problem, options, state, fused=fused)


def batches(gates: DeviceGates, step: Callable[[int], Any], epochs: int, device: str) -> Any:
    """Median and range of seconds per epoch over several batches."""
    seconds = []
    for batch in range(BATCHES):
        first = epochs * (batch + 1)

        def run(first: int = first) -> None:
            for number in range(first, first + epochs):
                step(number)

        seconds.append(timed(run, device) / epochs)
    if not bool(torch.isfinite(gates.state[0]).all()):
        raise FloatingPointError("the fit diverged")
    return summary(seconds)


def summary(seconds: list[float]) -> dict[str, Any]:
    """Milliseconds: median, least and most."""
    one, two, three = statistics.median(seconds), min(seconds), max(seconds)
    return {"median_ms": one * 1e3, "min_ms": two * 1e3, "max_ms": three * 1e3}


def captured(gates: DeviceGates) -> Callable[[int], Any]:
    """Record an epoch as a CUDA graph, and give the function that replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for number in (1, 2, 3):
            gates.epoch(number)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gates.step()

    def replay(number: int) -> None:
        gates.place.fill_(number - 1)
        graph.replay()

    return replay


def ours(made: Made, size: str, device: str, *, fused: bool, capture: bool) -> dict[str, Any]:
    """Time our epoch in one of its forms."""
    epochs = EPOCHS[size]
    gates = gates_of(made, epochs * (BATCHES + 1), fused=fused)
    begin = time.perf_counter()
    step = captured(gates) if capture else gates.epoch
    for number in range(4, epochs):
        step(number)
    wait(device)
    facts = {"warm_up_seconds": time.perf_counter() - begin}
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    facts |= batches(gates, step, epochs, device)
    if device.startswith("cuda"):
        facts["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return facts


def parts(made: Made, device: str) -> dict[str, float]:
    """Milliseconds of both products alone."""
    weights = made.start
    rows = torch.ones_like(made.problem.targets)
    matrix = made.problem.matrix
    return {
        name: 1e3 * statistics.median(timed(run, device) for _ in range(9))
        for name, run in (
            ("estimates", lambda: matrix.estimates(weights)),
            ("pull", lambda: matrix.pull(rows)),
        )
    }


# --- theirs


def theirs(made: Made, size: str, device: str, left: float) -> dict[str, Any]:
    """Time an epoch of l0-python with the same constants, on the same matrix."""
    try:
        from l0.calibration import SparseCalibrationWeights
    except ImportError as error:
        return {"skipped": f"l0-python cannot be imported: {error}"}
    X = to_scipy(made.problem.matrix)
    reachable = made.problem.row_weight.cpu().numpy() > 0
    y = np.where(reachable, made.problem.targets.cpu().numpy(), 1.0)
    model = SparseCalibrationWeights(
        n_features=X.shape[1],
        beta=0.35,
        init_keep_prob=0.999,
        init_weights=made.start.cpu().numpy(),
        log_weight_jitter_sd=0.0,
        log_alpha_jitter_sd=0.01,
        device=device,
    )
    constants = {"lambda_l0": 1e-4, "lambda_l2": 1e-12, "lr": 0.15, "loss_type": "relative"}
    begin = time.perf_counter()
    model.fit(X, y, epochs=2, **constants)
    wait(device)
    facts: dict[str, Any] = {"warm_up_seconds": time.perf_counter() - begin}
    begin = time.perf_counter()
    model.fit(X, y, epochs=1, **constants)
    wait(device)
    one = time.perf_counter() - begin
    number = max(1, min(EPOCHS[size], int(left / 3 / BATCHES / one)))
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    seconds = [
        timed(lambda: model.fit(X, y, epochs=number, **constants), device) / number
        for _ in range(BATCHES)
    ]
    facts |= summary(seconds) | {"epochs_per_batch": number}
    if device.startswith("cuda"):
        facts["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return facts


# --- the whole


def guarded(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a measurement; a failure is recorded and the rest goes on."""
    begin = time.perf_counter()
    try:
        facts = run()
    except Exception as error:  # noqa: BLE001  (a lost measurement must not lose the others)
        traceback.print_exc()
        facts = {"failed": f"{type(error).__name__}: {error}"}
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    say(f"  {name} ({time.perf_counter() - begin:.1f} s): {json.dumps(facts)}")
    return facts


def measure(size: str, device: str, speed: float, left: Callable[[], float]) -> dict[str, Any]:
    """Measure one size."""
    begin = time.perf_counter()
    made = make(size, device, torch.float32)
    wait(device)
    problem = made.problem
    facts: dict[str, Any] = {
        "records": made.records,
        "clones": made.clones,
        "columns": problem.keys.numel(),
        "targets": problem.targets.numel(),
        "nonzeros": problem.matrix.entries,
        "epoch_bytes": epoch_bytes(problem),
    }
    say(f"{size}: {json.dumps(facts)}, made in {time.perf_counter() - begin:.1f} s")
    cuda = device.startswith("cuda")
    torch.compiler.reset()  # shapes of another size would make it compile for any shape
    facts["products_ms"] = guarded("products", lambda: parts(made, device))
    facts["eager"] = guarded("eager", lambda: ours(made, size, device, fused=False, capture=False))
    facts["l0_python"] = guarded("l0-python", lambda: theirs(made, size, device, left()))
    if cuda and left() > 60:
        facts["fused"] = guarded(
            "fused", lambda: ours(made, size, device, fused=True, capture=False)
        )
    if cuda and left() > 45:
        facts["captured"] = guarded(
            "captured", lambda: ours(made, size, device, fused=False, capture=True)
        )
        if "median_ms" in facts.get("fused", {}):
            facts["fused_captured"] = guarded(
                "fused and captured", lambda: ours(made, size, device, fused=True, capture=True)
            )
    forms = [name for name in ("eager", "fused", "captured", "fused_captured") if name in facts]
    for name in forms:
        if "median_ms" not in facts[name]:
            continue
        moved = facts["epoch_bytes"] / facts[name]["median_ms"] * 1e3
        facts[name]["share_of_copy_speed"] = moved / speed
        if "median_ms" in facts["l0_python"]:
            ratio = facts["l0_python"]["median_ms"] / facts[name]["median_ms"]
            facts[name]["times_l0_python"] = ratio
            say(f"  {size} {name}: {ratio:.1f} times l0-python, {moved / speed:.0%} of copy speed")
    return facts


def main() -> None:
    """Check, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for l0_device.json")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", default="small,medium,large")
    parser.add_argument("--seconds", type=float, default=340.0, help="time to spend in all")
    given = parser.parse_args()
    begin = time.perf_counter()
    device = given.device
    cuda = device.startswith("cuda")
    facts: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if cuda else "CPU, PyTorch",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    say(json.dumps(facts))
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / "l0_device.json"
    facts["checks"] = guarded("checks", lambda: check(device))
    speed = copy_speed(device)
    facts["copy_gb_per_second"] = speed / 1e9
    say(f"copy on the device: {speed / 1e9:,.0f} GB/s, read and written")
    sizes = given.sizes.split(",")
    facts["sizes"] = {}

    def left() -> float:
        return given.seconds - (time.perf_counter() - begin)

    for place, size in enumerate(sizes):
        share = left() / 2 if place < len(sizes) - 1 else left()
        until = time.perf_counter() + share
        facts["sizes"][size] = guarded(
            size,
            lambda size=size, until=until: measure(
                size, device, speed, lambda: until - time.perf_counter()
            ),
        )
        facts["seconds"] = time.perf_counter() - begin
        target.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    say(f"wrote {target} after {time.perf_counter() - begin:.0f} s")
    if not facts["checks"].get("passed"):
        sys.exit("the checks failed; see above")


if __name__ == "__main__":
    main()
