"""What chunks share: sent once, read once, equal to what was written, and not to be changed."""

import pickle
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import sharing, toy
from calibration.errors import FileError
from calibration.keeping import KeepingExecutor, key_of
from calibration.matrix_builder import build_matrix
from calibration.sharing import shared

MAPS = Path("/proc/self/maps")


class Sender(Executor):
    """Runs tasks here as a pool does elsewhere: each is packed, sent and unpacked.

    Parameters
    ----------
    between : callable, optional
        What happens on the way.
    """

    def __init__(self, between=lambda: None):
        self.sent = []
        self._between = between

    def submit(self, fn, /, *args, **kwargs):
        """Do a task at once."""
        packed = pickle.dumps((fn, args, kwargs))
        self.sent.append(len(packed))
        self._between()
        fn, args, kwargs = pickle.loads(packed)  # noqa: S301  (packed above)
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def sent(handle):
    """Give a handle as another process has it, which has read nothing yet."""
    sharing._read.cache_clear()
    return pickle.loads(pickle.dumps(handle))  # noqa: S301  (packed here)


def build(state, clones=None, **options):
    """Build the rows of people and of SNAP: one measure that gathers, others that do not."""
    some = [t for t in state.targets if t.variable in {"person_count", "snap"}]
    return build_matrix(clones or state.clones, some, w0=state.matrix.w0, **options).X


@pytest.fixture(scope="module")
def state():
    """Give the toy run."""
    return toy.after("matrix")


@pytest.mark.parametrize("gather", [True, False])
def test_a_chunk_is_its_columns_and_what_is_wanted(state, gather):
    """No task carries the records: each is less than a hundredth of them, and X is the same."""
    whole = len(pickle.dumps(replace(state.clones, engine=None)))
    executor = Sender()
    X = build(state, executor=executor, gather=gather, chunk=50)
    assert (build(state, gather=gather) != X).nnz == 0
    assert len(executor.sent) > 5
    assert max(executor.sent) < whole / 100


def test_a_process_reads_once(state, tmp_path, monkeypatch):
    """All chunks of a build are simulated on what was read for the first of them."""
    read = []
    mapped = sharing._mapped
    monkeypatch.setattr(sharing, "_mapped", lambda path: read.append(path) or mapped(path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sharing._read.cache_clear()
    for _ in range(2):
        build(state, executor=Sender(), chunk=50)
    assert len(read) == len(set(read)) == 2
    assert not list(tmp_path.iterdir()), "what was shared is gone with the build"


def test_what_is_read_is_what_was_written(state):
    """Every column and code comes back bit for bit, empty arrays and text too."""
    value = {
        "clones": replace(state.clones, engine=None),
        "empty": np.zeros((0, 3)),
        "text": np.array(["Los Angeles", ""]),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "apart": np.arange(9)[::2],
        "none": None,
    }
    with shared(value) as handle:
        assert handle.get() is value
        back = sent(handle).get()
        assert back is not value
        assert key_of(back) == key_of(value) == handle.key


def test_nobody_can_change_what_others_read(state):
    """A write to an array that was read is an error of numpy, not a wrong chunk elsewhere."""
    with shared(replace(state.clones, engine=None)) as handle:
        clones = sent(handle).get()
        arrays = [*clones.dataset.arrays().values(), *clones.geography.codes.values()]
        writable = [a for a in arrays if a.flags.writeable and a.size and a.ndim]
        assert len(writable) == 1, "only the states, made a list anew by `arrays`"
        with pytest.raises(ValueError, match="read-only"):
            clones.dataset["employment_income"][0] = 0


def test_equal_values_have_equal_tasks(tmp_path):
    """A handle is known by what it holds, not by where: a build that was stopped goes on."""
    with shared(np.arange(3), tmp_path) as one, shared(np.arange(3)) as same:
        assert one.path != same.path
        assert one == same
        assert key_of(one) == key_of(same) == key_of(sent(one))
    with shared(np.arange(4)) as other:
        assert key_of(other) != key_of(one)


def test_kept_chunks_are_found_by_another_build(state, tmp_path):
    """The records are hashed once for a build; other records have other chunks."""
    first, again = (KeepingExecutor(tmp_path, code="1", inner=Sender()) for _ in range(2))
    for executor in (first, again):
        assert (build(state, executor=executor, chunk=50) != build(state)).nnz == 0
    assert first.done == again.kept > 5
    assert first.kept == again.done == 0
    wages = state.clones.dataset["employment_income"] + 1
    richer = state.clones.dataset.with_columns("person", {"employment_income": wages})
    executor = KeepingExecutor(tmp_path, code="1")
    build(state, clones=replace(state.clones, dataset=richer), executor=executor, chunk=50)
    assert executor.kept == 0
    assert executor.done == first.done


def test_a_worker_that_cannot_read_says_what_to_do(state, tmp_path, monkeypatch):
    """On a machine that does not have the folder, the build ends with one clear error."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sharing._read.cache_clear()

    def elsewhere():
        for path in tmp_path.rglob("shared"):
            path.unlink()

    with pytest.raises(FileError, match="let TMPDIR be a folder that all workers see"):
        build(state, executor=Sender(elsewhere))


def test_a_folder_that_cannot_be_written_to_is_one_clear_error(tmp_path):
    """Where nothing can be written, the error names the place."""
    with pytest.raises(FileError, match="gone"), shared(1, tmp_path / "gone"):
        pass


@pytest.mark.parametrize("cut", [0, 5, 200, -4000, -1])
def test_a_damaged_file_is_noticed(tmp_path, cut):
    """A file that lacks its end, wherever, is an error and never another value."""
    with shared({"a": np.arange(1000), "b": np.ones(10)}, tmp_path) as handle:
        handle.path.write_bytes(handle.path.read_bytes()[:cut])
        with pytest.raises(FileError, match="damaged"):
            sent(handle).get()


def test_a_damaged_pickle_is_noticed(tmp_path):
    """Whatever bit of its head is turned over: the same value, or an error that names the file."""
    values = {"a": np.arange(1000), "b": np.ones(10)}
    with shared(values, tmp_path) as handle:
        whole = handle.path.read_bytes()
        refused = 0
        for place in range(0, 300, 3):
            found = bytearray(whole)
            found[place] ^= 1 << place % 8
            handle.path.write_bytes(found)
            try:
                value = sent(handle).get()
            except FileError as error:
                assert str(handle.path) in str(error)  # noqa: PT017  (either is right)
                refused += 1
            else:
                assert key_of(value) == handle.key
        assert refused > 50


def test_a_changed_value_is_noticed(tmp_path):
    """One bit of an array that is not as it was written: an error that names the file."""
    with shared({"a": np.arange(1000)}, tmp_path) as handle:
        found = bytearray(handle.path.read_bytes())
        found[-9] ^= 1
        handle.path.write_bytes(found)
        with pytest.raises(FileError, match="something else than was written"):
            sent(handle).get()


@pytest.mark.skipif(not MAPS.exists(), reason="asks Linux for the memory map of this process")
def test_arrays_are_pages_of_the_file(tmp_path):
    """Who reads does not copy: the file itself is in memory, shared and readable only."""
    with shared(np.arange(10**5), tmp_path) as handle:
        values = sent(handle).get()
        (line,) = [a for a in MAPS.read_text().splitlines() if str(handle.path) in a]
        assert line.split()[1] == "r--s"
        start, end = (int(address, 16) for address in line.split()[0].split("-"))
        assert start <= values.ctypes.data < end
        assert values.ctypes.data % 64 == 0
