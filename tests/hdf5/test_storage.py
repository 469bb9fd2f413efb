"""Opening, committing, refusing: with real files and real locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mulletdaq import errors
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import FORMAT_VERSION, Storage, iso_time


def test_new_file_has_the_skeleton_and_old_superblock(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    storage = Storage(path, creator="me", metadata={"a": {"b": "c"}})
    assert storage.created
    storage.close()
    storage.close()
    assert (tmp_path / "a.h5").read_bytes()[8] == 0, "superblock version"
    with h5py.File(path) as file:
        assert set(file) == {"measurements", "runs", "losses", "annotations", "metadata"}
        assert file.attrs["format_version"] == FORMAT_VERSION
        assert file.attrs["creator"] == b"me"
        assert file.attrs["start"].decode() == iso_time(int(file.attrs["start_ns"]))
        assert file["metadata/a"].attrs["b"] == b"c"
        order = file["measurements"].id.get_create_plist().get_link_creation_order()
        assert order == h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED


def test_creator_defaults_to_mulletdaq(tmp_path: Path) -> None:
    Storage(str(tmp_path / "a.h5")).close()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["creator"].startswith(b"mulletdaq ")


def test_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Storage(str(tmp_path / "a.h5")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "a.h5").stat().st_mode & 0o777 == 0o640


def test_own_file_is_gone_on_with(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    Storage(path, creator="first", metadata={"x": 1}).close()
    storage = Storage(path, creator="second", metadata={"x": 2})
    assert not storage.created
    storage.close()
    with h5py.File(path) as file:
        assert file.attrs["creator"] == b"first"
        assert file["metadata"].attrs["x"] == 1


def make_foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


def make_newer(path: Path) -> None:
    Storage(str(path)).close()
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = np.int64(FORMAT_VERSION + 1)


def make_truncated(path: Path) -> None:
    Storage(str(path)).close()
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (make_foreign, errors.FileFormatError, "did not write it"),
        (lambda path: path.write_bytes(b"hello" * 1000), errors.FileFormatError, "not an HDF5 file"),
        (lambda path: path.write_bytes(b""), errors.FileFormatError, "not an HDF5 file"),
        (lambda path: path.mkdir(), errors.FileFormatError, "folder"),
        (make_newer, errors.FileVersionError, "upgrade"),
        (make_truncated, errors.FileFormatError, "damaged"),
    ],
)
def test_others_are_refused_and_left_alone(tmp_path: Path, make, error, text) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.h5"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for attempt in (lambda: Storage(str(path)), lambda: open_for_reading(str(path)).__enter__()):
        with pytest.raises(error, match=text) as caught:
            attempt()
        assert type(caught.value) is error
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_missing_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(errors.FileWriteError, match="folder"):
        Storage(str(tmp_path / "no" / "a.h5"))
    with pytest.raises(FileNotFoundError) as caught:
        open_for_reading(str(tmp_path / "a.h5")).__enter__()
    assert isinstance(caught.value, errors.FileMissingError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(errors.FileWriteError, match="permission"):
        Storage(str(tmp_path / "a.h5"))


def test_second_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from mulletdaq.hdf5.storage import Storage; storage = Storage(sys.argv[1])\n"
            "print('held', flush=True); sys.stdin.read(); storage.close()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(errors.FileLockedError, match=f"being written by process {holder.pid}"):
            Storage(path)
        with open_for_reading(path) as file:  # readers are free to come
            assert len(file["measurements"]) == 0
    finally:
        holder.stdin.close()
        holder.stdout.close()
        holder.wait()
    Storage(path, lock_timeout_s=30.0).close()


def test_failed_skeleton_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Storage(str(tmp_path / "a.h5"), metadata={"x": object()})
    assert not (tmp_path / "a.h5").exists()


def test_commit_is_readable_by_a_copy(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "a.h5"), fsync="never")
    storage.file["x"] = np.arange(3)
    storage.commit()
    storage.file["y"] = 1
    storage.file.flush()
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    storage.close()
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name) as file:
            assert file["x"][:].tolist() == [0, 1, 2]
            assert "y" not in file, "it was never committed"


def test_roll_back_returns_to_the_last_commit(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "a.h5"))
    storage.file["x"] = 1
    storage.commit()
    storage.file["y"] = np.arange(100_000)
    assert not storage.roll_back()
    assert "y" not in storage.file and storage.file["x"][()] == 1
    storage.file["z"] = 2
    storage.commit()
    storage.close()
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) >= {"x", "z"} and "y" not in file
