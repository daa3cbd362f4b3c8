"""Tasks for several processes that torch.distributed joins, and how a test starts them."""

import multiprocessing
import os
import signal
import tempfile
import time
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch.distributed

from calibration import rng
from calibration.compact import FactoredMatrix
from calibration.l0 import fit_l0
from calibration.l0.options import L0Options
from calibration.l0.portable import exp

PATIENCE = 90.0  # seconds until processes that wait for each other fail their test
SETTLED = L0Options(penalty=1e-4, epochs=200, refit_epochs=60, log_every=25)

_start = multiprocessing.get_context("forkserver")
_start.set_forkserver_preload(
    ["torch.distributed", "scipy.sparse", "calibration.compact", "calibration.l0.laying_out"]
)
_SAFE = "PYTHONSAFEPATH"  # or the processes would import the package from the working folder


def given(**changes):
    """Make a factored problem of 1,200 columns, with a block for each of its districts."""
    columns, districts, variables = 1200, 12, 5
    ids = np.arange(columns)
    district = np.floor(districts * rng.uniform(0, "district", ids)).astype(int)
    has = rng.uniform(0, "has", ids[:, None], np.arange(variables)) < np.linspace(0.1, 1, variables)
    values = has * (1 + np.floor(9 * rng.uniform(0, "value", ids[:, None], np.arange(variables))))
    column, variable = np.nonzero(values)
    rows = variable * districts + district[column]
    Z = sp.csr_array(
        (values[column, variable].astype("f4"), (rows, column)), (variables * districts, columns)
    )
    levels = [sp.identity(districts), sp.csr_array(np.ones((1, districts)))]
    G = sp.vstack([sp.kron(sp.identity(variables), level) for level in levels]).tocsr()
    w0 = exp(1 + rng.uniform(0, "w0", ids))
    t = G @ (Z @ (w0 * exp(rng.uniform(0, "truth", ids) - 0.5)))
    names = {"X": FactoredMatrix(G.astype("f4"), Z), "t": t, "w0": w0, "options": SETTLED}
    return names | {"block": district * 64 // districts, "threads": 1} | changes


def together(size, task, *arguments):
    """Give what a task of this module returns in each process, or the error that it raises."""
    with mock.patch.dict(os.environ, {_SAFE: "1"}):
        forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as folder:
        answers = [_start.Pipe(duplex=False) for _ in range(size)]
        processes = [
            _start.Process(
                target=_work, args=((rank, size), folder, answers[rank][1], task, arguments)
            )
            for rank in range(size)
        ]
        for process, (_, writer) in zip(processes, answers, strict=True):
            process.start()
            writer.close()
        until = time.monotonic() + PATIENCE
        try:
            return [_heard(reader, until) for reader, _ in answers]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _heard(reader, until):
    try:
        return reader.recv() if reader.poll(max(0.0, until - time.monotonic())) else "still waits"
    except EOFError:
        return "is gone"


def _work(place, folder, answer, task, arguments):
    rank, size = place
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rendezvous = (Path(folder) / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
    try:
        answer.send(task(*arguments))
    except BaseException as error:  # noqa: BLE001  # it is the answer
        answer.send(error)


def fits(several):
    """Fit each of several problems."""
    return [fit_l0(**given(**changes), distributed=True) for changes in several]


def stop(step):
    """Observe a fit, and ask to stop in epoch 100, in the second process alone."""
    return step.epoch == 100 and rank() == 1


def interrupt(step):
    """Observe a fit, and press Ctrl-C in epoch 50."""
    if step.epoch == 50:
        signal.raise_signal(signal.SIGINT)


def errors(several):
    """Give the errors of several fits, one after the other, for what the second process does."""
    return [_error(change) for change in several]


def _error(change):
    both = change.pop("both", {})
    arguments = given(options=replace(SETTLED, epochs=60), compiled=False) | both
    if rank() == 1:
        arguments |= change
    try:
        fit_l0(**arguments, distributed=True)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # it is the answer
        return error


def fall(step):
    """Observe a fit, and fail."""
    raise ZeroDivisionError(f"in epoch {step.epoch}")


def ask(step):
    """Observe a fit, and ask for what all processes know together."""
    step.median()


def die(step):
    """Observe a fit, and end without a word."""
    os._exit(step.epoch + 1)


def rank():
    """Give the number of this process."""
    return torch.distributed.get_rank()
