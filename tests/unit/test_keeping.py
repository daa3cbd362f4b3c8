"""An executor that keeps results: nothing twice, nothing stale, nothing half."""

from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from small_world import world

from calibration.errors import FileError, PipelineError
from calibration.keeping import KeepingExecutor, key_of
from calibration.matrix_builder import build_matrix


def double(values, *, plus=0.0):
    """Be a task."""
    if values.sum() < 0:
        raise ValueError("a task failed")
    return 2 * values + plus


def test_a_task_is_done_once(tmp_path):
    """The second time, by another executor, the result is read, bit for bit."""
    values = np.linspace(0, 1, 7)
    first = KeepingExecutor(tmp_path / "kept", code="1")
    made = first.submit(double, values).result()
    second = KeepingExecutor(tmp_path / "kept", code="1")
    np.testing.assert_array_equal(second.submit(double, values.copy()).result(), made)
    assert (first.done, first.kept, second.done, second.kept) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("code", "values", "plus"),
    [
        ("2", np.ones(3), 0.0),
        ("1", np.ones(3, dtype=np.float32), 0.0),
        ("1", np.ones((3, 1)), 0.0),
        ("1", np.array([1, 1, 1 + 1e-15]), 0.0),
        ("1", np.ones(3), 1.0),
    ],
)
def test_another_question_is_another_task(tmp_path, code, values, plus):
    """Other code, type, shape, last bit or option: nothing is taken from what was kept."""
    KeepingExecutor(tmp_path, code="1").submit(double, np.ones(3)).result()
    executor = KeepingExecutor(tmp_path, code=code)
    executor.submit(double, values, plus=plus)
    assert executor.done == 1


def test_a_failed_task_leaves_nothing(tmp_path):
    """An error comes through and no result is kept."""
    with pytest.raises(ValueError, match="a task failed"):
        KeepingExecutor(tmp_path, code="1").submit(double, -np.ones(3))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_an_error(tmp_path):
    """A file that was cut short is not taken for a result."""
    KeepingExecutor(tmp_path, code="1").submit(double, np.ones(300)).result()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(FileError):
        KeepingExecutor(tmp_path, code="1").submit(double, np.ones(300))


def test_what_cannot_be_hashed_is_refused(tmp_path):
    """An argument without a content to hash is an error, not a new task every time."""
    with pytest.raises(PipelineError, match="object"):
        KeepingExecutor(tmp_path, code="1").submit(double, object())


def test_like_named_keys_are_not_one():
    """A number and its digits are two names; an array of objects has no hash at all."""
    assert key_of({1: "a"}) != key_of({"1": "a"})
    with pytest.raises(PipelineError, match="array of Python objects"):
        key_of(np.array([{}], dtype=object))


def test_order_of_names_and_caches_do_not_matter():
    """A key depends on what a thing is: not on the order of a mapping, nor on what it remembers."""
    clones = world().clones
    before = key_of(clones.dataset)
    clones.dataset.unit_of_person("household")
    assert key_of(clones.dataset) == before
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of(("ab", "c")) != key_of(("a", "bc"))


class _StoppedError(Exception):
    pass


def test_a_matrix_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """Chunks that were done are read, the others are computed, and X is the same bit for bit."""
    from stub_engine import ENGINE

    import calibration.matrix_builder as builder

    w = world(20, 3)
    monkeypatch.setattr(builder, "load_engine", lambda *_: ENGINE)
    w0 = np.ones(w.n_columns)
    plain = build_matrix(w.clones, w.targets, w0=w0, chunk=7)

    def stop(done, _):
        if done > 20:
            raise _StoppedError

    executor = KeepingExecutor(tmp_path, code="1", inner=None)
    first = _Lazy(executor)
    with pytest.raises(_StoppedError):
        build_matrix(w.clones, w.targets, w0=w0, chunk=7, executor=first, observe=stop)
    kept = len(list(tmp_path.iterdir()))
    again = KeepingExecutor(tmp_path, code="1")
    X = build_matrix(w.clones, w.targets, w0=w0, chunk=7, executor=again).X
    assert 0 < kept == again.kept
    assert again.done > 0
    np.testing.assert_array_equal(X.toarray(), plain.X.toarray())


class _Lazy:
    """Submit a task when its result is asked for, as a pool with one worker would."""

    def __init__(self, inner):
        self._inner = inner

    def submit(self, *task):
        inner = self._inner

        class Later(Future):
            def result(self):
                return inner.submit(*task).result()

        return Later()


def test_workers_keep_what_they_compute(tmp_path):
    """With a pool behind it, results are written by the workers and found by the next run."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        executor = KeepingExecutor(tmp_path, code="1", inner=pool)
        futures = [executor.submit(np.add, np.arange(3), i) for i in range(4)]
        results = [future.result() for future in futures]
    again = KeepingExecutor(tmp_path, code="1")
    for i, result in enumerate(results):
        np.testing.assert_array_equal(again.submit(np.add, np.arange(3), i).result(), result)
    assert again.kept == 4
