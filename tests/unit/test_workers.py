"""Chunks of the matrix in other processes, and kept: equal values, and nothing twice."""

import os
from collections import Counter

import numpy as np
import pytest

from calibration import toy, workers
from calibration.artifacts import RunState, read_rows
from calibration.engines import Heavy
from calibration.engines import toy as toy_engine
from calibration.matrix import CalibrationMatrix
from calibration.matrix_builder import build_matrix
from calibration.pipeline import RunOptions, run
from calibration.run_options import Workspace
from calibration.workers import chunk_executor


def test_two_workers_give_the_same_bits(tmp_path):
    """A run with two processes stores the matrix of a run with one."""
    state = run(toy.folder(), tmp_path / "run", workers=2)
    stored = toy.after("matrix").matrix
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(state.matrix.X, name), getattr(stored.X, name))
    assert not (tmp_path / "run" / "chunks").exists()
    said = read_rows(tmp_path / "run" / "artifacts" / "matrix" / "paths.csv")
    assert [row["target"] for row in said] == stored.names
    refused = {row["target"]: row["because"] for row in said if row["path"] == "REFUSED"}
    assert "takes_up_snap_if_eligible" in refused["state_37/snap"]


def test_a_light_engine_with_one_worker_needs_no_executor(tmp_path):
    """The toy run simulates in its own process and keeps nothing."""
    with chunk_executor(Workspace(tmp_path, toy.folder(), RunOptions())) as executor:
        assert executor is None


@pytest.fixture
def heavy(monkeypatch) -> Counter:
    """Let the toy engine be one that takes long, and count what it is asked."""
    asked = Counter()
    kind = type(toy_engine.ENGINE)
    real = kind.simulate

    def simulate(self, dataset, variables, period):
        states = np.unique(dataset["state_fips"]) if "state_fips" in dataset else []
        asked[tuple(int(code) for code in states)] += 1
        if os.environ.get("STOP_AT") in {str(code) for code in states}:
            raise KeyboardInterrupt
        return real(self, dataset, variables, period)

    monkeypatch.setattr(kind, "simulate", simulate)
    monkeypatch.setattr(kind, "warm", lambda _: asked.update(["warm"]), raising=False)
    assert isinstance(toy_engine.ENGINE, Heavy)
    return asked


def build(folder) -> CalibrationMatrix:
    """Build the matrix of the toy run in a folder."""
    state = RunState(toy.folder() / "states", "matrix", toy.folder())
    work = Workspace(folder, toy.folder(), RunOptions())
    with chunk_executor(work) as executor:
        return build_matrix(state.clones, state.targets, w0=state.matrix.w0, executor=executor)


def test_a_stopped_build_goes_on_where_it_was(heavy, tmp_path, monkeypatch):
    """States that were simulated are not simulated again; the matrix is the same."""
    monkeypatch.setenv("STOP_AT", "37")
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    assert len(list((tmp_path / "chunks").iterdir())) >= 1
    first = {states for states in heavy if len(states) == 1} - {(37,)}
    monkeypatch.delenv("STOP_AT")
    heavy.clear()
    matrix = build(tmp_path)
    again = {states for states in heavy if len(states) == 1}
    assert (37,) in again
    assert not again & {(2,), (6,), (11,)} & first
    assert (matrix.X != toy.after("matrix").matrix.X).nnz == 0
    assert not (tmp_path / "chunks").exists()


def test_other_code_computes_again(heavy, tmp_path, monkeypatch):
    """A chunk belongs to the code and the engine that computed it."""
    monkeypatch.setenv("STOP_AT", "49")
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    monkeypatch.delenv("STOP_AT")
    heavy.clear()
    monkeypatch.setattr(workers, "code_hash", lambda *_: "other")
    build(tmp_path)
    assert heavy[(6,)] == 1
