"""Files are whole or not there, say the same with the same bytes, and fail in one line."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from calibration.errors import FileError
from calibration.files import (
    atomic_path,
    hash_arrays,
    hash_file,
    read_json,
    read_npz,
    write_json,
    write_npz,
    write_text,
)

ARRAYS = {
    "person/age": np.array([3, 40, 71]),
    "person/name": np.array(["Ana", "", "Zoë"]),
    "flag": np.array([True, False]),
    "rate": np.linspace(0, 1, 6).reshape(2, 3),
    "none": np.zeros((0, 4), dtype=np.float32),
    "year": np.array(2024),
}


def assert_one_line(error, path):
    """Require the message of an error to be one line that names the file."""
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


# -- whole or not there ----------------------------------------------------------------


def test_a_written_file_is_there_readable_and_alone(tmp_path):
    """The text arrives in UTF-8 with plain newlines; no temporary file stays behind."""
    write_text(tmp_path / "new" / "folder" / "a.txt", "é\nb\n")
    (written,) = (tmp_path / "new" / "folder").iterdir()
    assert written.read_bytes() == b"\xc3\xa9\nb\n"
    assert written.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("before", [None, "old"])
def test_an_exception_while_writing_changes_nothing(tmp_path, before):
    """If the body raises, an old file keeps its content and a new one does not appear."""
    path = tmp_path / "a.txt"
    if before:
        path.write_text(before)
    with pytest.raises(KeyError, match="in the body"):  # noqa: PT012, SIM117
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyError("in the body")
    assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_the_final_name_does_not_exist_while_writing(tmp_path):
    """Until the body ends, a reader finds the old content, and the new file in its folder."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    """A process killed in the middle of writing leaves the old content under the name."""
    path = tmp_path / "a.npz"
    write_npz(path, ARRAYS)
    old = path.read_bytes()
    code = """
import pathlib, sys, time
from calibration.files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("half", flush=True)
    time.sleep(600)
"""
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout.readline().strip() == b"half"
        writer.kill()
    assert writer.returncode != 0
    assert path.read_bytes() == old
    write_npz(path, {"a": np.arange(3)})  # and what it left does not hinder the next one
    assert read_npz(path)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_a_file_error(tmp_path, monkeypatch, step):
    """If flushing or renaming fails, the error names the file and nothing is left."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    if step == "replace":
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(FileError, match="No space left on device") as error:
        write_text(tmp_path / "a.txt", "new")
    assert_one_line(error, tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_a_file_error(tmp_path):
    """Where a folder should be and a file is, nothing can be written, and we say so."""
    (tmp_path / "folder").write_text("a file")
    for path in (tmp_path / "folder" / "a.txt", tmp_path / "folder" / "sub" / "a.txt"):
        with pytest.raises(FileError, match="cannot write") as error:
            write_text(path, "x")
        assert_one_line(error, path)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_folder_in_place_of_the_file_is_a_file_error(tmp_path):
    """A folder is not replaced by a file, and no temporary file stays."""
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(FileError, match="cannot write") as error:
        write_text(tmp_path / "a.txt", "x")
    assert_one_line(error, tmp_path / "a.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# -- arrays ----------------------------------------------------------------------------


def test_arrays_come_back_with_values_types_and_shapes(tmp_path):
    """Numbers, flags, text, empty arrays and single values all come back as they were."""
    write_npz(tmp_path / "a.npz", ARRAYS)
    read = read_npz(tmp_path / "a.npz")
    assert list(read) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert np.array_equal(read[name], array)


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    """Neither the hour, the order of insertion nor the layout in memory moves a byte."""
    variants = [
        ARRAYS,
        dict(reversed(ARRAYS.items())),
        ARRAYS | {"rate": np.asfortranarray(ARRAYS["rate"])},
        ARRAYS | {"person/age": np.repeat(ARRAYS["person/age"], 2)[::2]},
    ]
    files = []
    for i, arrays in enumerate(variants):
        write_npz(tmp_path / f"{i}.npz", arrays)
        files.append((tmp_path / f"{i}.npz").read_bytes())
    assert len(set(files)) == 1
    with zipfile.ZipFile(tmp_path / "0.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_array_may_have_any_name(tmp_path):
    """Names that numpy's own writer takes for options are stored like all others."""
    arrays = {
        name: np.array([i]) for i, name in enumerate(["file", "allow_pickle", "a.npy", "x/y"])
    }
    write_npz(tmp_path / "a.npz", arrays)
    assert {k: int(v[0]) for k, v in read_npz(tmp_path / "a.npz").items()} == {
        "file": 0,
        "allow_pickle": 1,
        "a.npy": 2,
        "x/y": 3,
    }


def test_python_objects_are_not_stored(tmp_path):
    """An array of objects is refused by name before anything is written."""
    with pytest.raises(FileError, match="array 'b' for"):
        write_npz(tmp_path / "a.npz", {"a": np.arange(2), "b": np.array(["x", None])})
    assert list(tmp_path.iterdir()) == []


def test_python_objects_are_not_read(tmp_path):
    """A foreign file with a pickle in it is refused, because unpickling runs code."""
    np.savez(tmp_path / "a.npz", a=np.array([None, 1]))
    with pytest.raises(FileError, match="damaged or not an") as error:
        read_npz(tmp_path / "a.npz")
    assert_one_line(error, tmp_path / "a.npz")


def test_a_damaged_archive_is_an_error_or_unharmed(tmp_path):
    """Cut anywhere, or with any one byte changed, a file is refused or read as it was.

    Some bytes of a ZIP archive mean nothing to a reader: dates, versions, attributes.
    """
    path = tmp_path / "a.npz"
    stored = {"x/y": np.arange(30.0) ** 3, "z": np.array(["a", "bc"])}
    write_npz(path, stored)
    whole = path.read_bytes()
    cuts = [whole[:n] for n in range(len(whole))]
    flips = [
        whole[:n] + bytes([whole[n] ^ mask]) + whole[n + 1 :]
        for n in range(len(whole))
        for mask in (0x01, 0xFF)
    ]
    refused = 0
    for damaged in [*cuts, *flips]:
        path.write_bytes(damaged)
        try:
            read = read_npz(path)
        except FileError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert len(damaged) == len(whole)
            assert hash_arrays(read) == hash_arrays(stored)
    assert refused > len(cuts) + len(whole)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY"])
def test_what_is_no_archive_is_a_file_error(tmp_path, content):
    """An empty file, a text, the head of an archive and the head of an array are refused."""
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match="damaged or not an") as error:
        read_npz(tmp_path / "a.npz")
    assert_one_line(error, tmp_path / "a.npz")


def test_a_long_complaint_of_numpy_becomes_one_line(tmp_path):
    """An array whose header is too long to be trusted is refused without its line breaks."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(1, dtype=[(f"column_{i}", "f8") for i in range(1000)]))
    with pytest.raises(FileError, match="header") as error:
        read_npz(path)
    assert_one_line(error, path)


def test_a_single_array_is_no_archive(tmp_path):
    """A whole .npy under an .npz name is refused, though numpy can load it."""
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, np.arange(3))
    with pytest.raises(FileError, match="damaged or not an"):
        read_npz(tmp_path / "a.npz")


def test_a_missing_file_is_a_file_error(tmp_path):
    """Each reader says which file is missing."""
    for read in (read_npz, read_json, hash_file):
        with pytest.raises(FileError) as error:
            read(tmp_path / "gone")
        assert_one_line(error, tmp_path / "gone")


# -- JSON ------------------------------------------------------------------------------


def test_json_has_sorted_keys_and_comes_back(tmp_path):
    """The same facts give the same text, whatever the order they were collected in."""
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, 2.5, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.json").read_text(encoding="utf-8")
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": [1, 2.5, None]}


def test_json_without_a_meaning_is_not_written(tmp_path):
    """NaN is not JSON: nothing is written, and an old file stays."""
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == 1


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe{", b"{'a': 1}"])
def test_damaged_json_is_a_file_error(tmp_path, content):
    """A file that is cut short, not UTF-8 or not JSON is refused in one line."""
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileError, match="is not valid JSON") as error:
        read_json(tmp_path / "a.json")
    assert_one_line(error, tmp_path / "a.json")


# -- hashes ----------------------------------------------------------------------------


def test_the_hash_of_a_file_is_sha256(tmp_path):
    """The example of FIPS 180-2, appendix B.1, and a file longer than one read."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    long = bytes(range(256)) * 10_000
    (tmp_path / "long").write_bytes(long)
    assert hash_file(tmp_path / "long") == hashlib.sha256(long).hexdigest()


def test_hashes_are_equal_when_the_arrays_are():
    """Over all pairs: equal names, types, shapes and values, and only they, hash alike."""
    different = [
        {},
        {"a": np.array([1, 2])},
        {"b": np.array([1, 2])},
        {"a": np.array([2, 1])},
        {"a": np.array([1, 2], dtype=np.int32)},
        {"a": np.array([1.0, 2.0])},
        {"a": np.array([0, 0])},
        {"a": np.array([0.0, 0.0])},
        {"a": np.array([False, False])},
        {"a": np.array([[1, 2]])},
        {"a": np.array([[1], [2]])},
        {"a": np.array(1)},
        {"a": np.array([1])},
        {"a": np.array([1]), "b": np.array([2])},
        {"a": np.array([]), "b": np.array([1, 2])},
        {"a": np.array(["1", "2"])},
        {"a": np.array([True, False])},
        {"a": np.array([[1, 2], [3, 4]])},
        {"a": np.array([[1, 3], [2, 4]])},
    ]
    hashes = [hash_arrays(arrays) for arrays in different]
    assert len(set(hashes)) == len(different)
    copies = [
        {name: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array.copy()
         for name, array in reversed(arrays.items())}
        for arrays in different
    ]  # fmt: skip
    assert [hash_arrays(arrays) for arrays in copies] == hashes
    turned = np.asfortranarray(different[-1]["a"])
    assert hash_arrays({"a": turned}) == hashes[-1]


def test_python_objects_have_no_hash():
    """Objects are refused: their bytes are addresses, which differ in every process."""
    with pytest.raises(FileError, match="array 'a' holds Python objects"):
        hash_arrays({"a": np.array(["x", None])})
