"""The journaled file as its user sees it: whole commits, refusals that name their reason, nothing left behind."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mulletdaq as mullet
from mulletdaq import errors
from mulletdaq.hdf5.journal import JournaledFile
from mulletdaq.hdf5.journal.layout import SIGNATURE
from mulletdaq.hdf5.journal.recovery import recover

from .journaled import names, opened, read, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def test_file_appears_with_its_first_commit_and_nothing_else_stays(path: Path) -> None:
    journal = JournaledFile(path)
    file = opened(journal)
    file["x"] = np.arange(10)
    assert journal.created and not path.exists()
    journal.commit()
    assert not journal.created and read(path) == {"x": list(range(10))}
    assert names(path) == ["a.h5", "a.h5-journal"]
    file.close()
    journal.close()
    journal.close()
    assert names(path) == ["a.h5"]
    assert path.read_bytes()[8] == 0, "superblock version"


def test_file_without_a_commit_never_was(path: Path) -> None:
    journal = JournaledFile(path)
    file = opened(journal)
    file["x"] = 1
    file.close()
    journal.close(commit=False)
    assert names(path) == []


def test_with_statement_commits_or_drops(path: Path) -> None:
    write(path, x=1)

    def fail() -> None:
        with JournaledFile(path) as journal, opened(journal) as file:
            file["y"] = np.arange(1000)
            del file["x"]
            file.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(path) == {"x": 1}
    write(path, y=2)
    assert read(path) == {"x": 1, "y": 2}


def test_rollback_forgets_and_the_next_commit_counts(path: Path) -> None:
    write(path, x=1)
    with JournaledFile(path) as journal:
        file = opened(journal)
        file["y"] = np.arange(100_000)
        journal.rollback()
        assert not file, "it was closed"
        assert path.stat().st_size - journal.end in range(4096), "nothing of it stays, and no page is cut in two"
        file = opened(journal)
        assert set(file) == {"x"}
        file["z"] = 3
        journal.commit()
        file.close()
    assert read(path) == {"x": 1, "z": 3}


def test_nothing_new_is_no_commit(path: Path) -> None:
    with JournaledFile(path) as journal, opened(journal) as file:
        file["x"] = 1
        journal.commit()
        before = journal.statistics()
        journal.commit()
        file["x"][()] = 1
        journal.commit()
        assert journal.statistics() == before
        assert journal.last_commit == 1


def test_healthy_file_is_not_touched_by_opening_and_closing(path: Path) -> None:
    write(path, x=1)
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    JournaledFile(path).close()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    assert not recover(path).applied_commits
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)


def test_reader_keeps_its_view_and_others_see_the_newest(path: Path) -> None:
    write(path, x=1)
    with JournaledFile(path) as journal, opened(journal) as file:
        with h5py.File(path, "r") as reader:
            for number in range(5):
                file[f"y{number}"] = np.full(1000, number)
                journal.commit()
            assert set(reader) == {"x"}
            with mullet.open(path) as newest:
                assert len(newest) == 6 and newest["y4"][0] == 4
                assert newest.filename == str(path) and newest.mode == "r"
            statistics = journal.statistics()
            assert statistics.pending_commits == 5 and statistics.put_off >= 5 and statistics.apply_lag_s > 0
        assert journal.apply()
        assert len(read(path)) == 6
        assert journal.statistics().pending_commits == 0


def test_newest_view_leaves_out_what_is_not_committed(path: Path) -> None:
    write(path, x=1)
    with JournaledFile(path) as journal, opened(journal) as file:
        file["y"] = np.arange(10_000)
        file.flush()
        with mullet.open(path) as newest:
            assert set(newest) == {"x"}
        file.flush()


def test_second_writer_is_refused_with_the_pid_of_the_first(path: Path) -> None:
    write(path, x=1)
    with JournaledFile(path):
        for _ in range(2):
            with pytest.raises(errors.FileLockedError, match=f"process {os.getpid()}"):
                JournaledFile(path)
            with pytest.raises(errors.FileLockedError, match=f"process {os.getpid()}"):
                recover(path)
    assert read(path) == {"x": 1}


def test_stock_writer_and_ours_keep_each_other_out(path: Path) -> None:
    write(path, x=1)
    with JournaledFile(path), pytest.raises(OSError, match="lock"):
        h5py.File(path, "r+")
    with h5py.File(path, "r+"), pytest.raises(errors.FileLockedError, match="another program"):
        JournaledFile(path)
    assert names(path) == ["a.h5"]


def replaced(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.write_bytes(b"new")


def foreign_superblock(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(40)
        file.write((12345).to_bytes(8, "little"))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda path: path.unlink(), "removed or renamed"),
        (lambda path: path.rename(path.with_name("b.h5")), "removed or renamed"),
        (replaced, "replaced"),
        (lambda path: os.truncate(path, 100), "cut short"),
        (foreign_superblock, "changed by another program"),
        (lambda path: shutil.rmtree(path.parent), "removed or renamed"),
    ],
)
def test_harm_done_by_others_is_named_before_the_commit(tmp_path: Path, harm: Any, text: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "a.h5"
    journal = JournaledFile(path)
    file = opened(journal)
    file["x"] = np.arange(1000)
    journal.commit()
    harm(path)
    file["y"] = 2
    for attempt in (journal.commit, journal.rollback, journal.commit, journal.rollback):
        with pytest.raises(errors.FileWriteError, match=text) as caught:
            attempt()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with suppress(errors.FileWriteError):
        journal.close(commit=False)


def test_file_made_by_others_before_the_first_commit_is_not_overwritten(path: Path) -> None:
    journal = JournaledFile(path)
    file = opened(journal)
    file["x"] = 1
    path.write_text("theirs")
    with pytest.raises(errors.OutputExistsError, match="meanwhile"):
        journal.commit()
    file.close()
    journal.close(commit=False)
    assert path.read_text() == "theirs"
    assert names(path) == ["a.h5"]


def test_readers_that_never_let_go_fill_the_journal_which_is_compacted(path: Path) -> None:
    write(path, x=1)
    journal = JournaledFile(path, limit_bytes=1 << 20)
    file = opened(journal)
    with h5py.File(path, "r"):
        largest = 0
        for number in range(300):
            file.attrs["number"] = number
            journal.commit()
            largest = max(largest, os.path.getsize(journal.journal_path))
        assert journal.statistics().pages >= 300 and journal.statistics().pending_commits == 300
        assert largest < 1 << 20 and not journal.full
        with mullet.open(path) as newest:
            assert newest.attrs["number"] == 299
        number = 0
        while not journal.full:
            file[f"group{number}"] = np.arange(10)
            number += 1
            journal.commit()
    file.close()
    journal.close()
    with h5py.File(path) as done:
        assert done.attrs["number"] == 299 and len(done) == number + 1


def test_permissions_are_those_of_the_file(path: Path) -> None:
    before = os.umask(0o027)
    try:
        with JournaledFile(path) as journal, opened(journal) as file:
            file["x"] = 1
            journal.commit()
            assert path.stat().st_mode & 0o777 == 0o640
            assert os.stat(journal.journal_path).st_mode & 0o777 == 0o640
        path.chmod(0o600)
        with JournaledFile(path) as journal:
            assert os.stat(journal.journal_path).st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_link_is_followed_and_the_journal_lies_beside_the_target(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.h5").symlink_to(tmp_path / "there" / "b.h5")
    with JournaledFile(tmp_path / "a.h5") as journal, opened(journal) as file:
        file["x"] = 1
        assert journal.journal_path == str(tmp_path / "there" / "b.h5-journal")
    assert read(tmp_path / "there" / "b.h5") == {"x": 1}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.mkdir(), errors.FileFormatError),
        (lambda path: path.with_name("a.h5-journal").symlink_to("/etc/passwd"), errors.FileWriteError),
        (lambda path: path.with_name("a.h5-journal").mkdir(), errors.FileWriteError),
        (lambda path: os.mkfifo(path.with_name("a.h5-journal")), errors.FileWriteError),
    ],
)
def test_what_is_in_the_way_is_refused(path: Path, make: Any, error: type[Exception]) -> None:
    make(path)
    before = names(path)
    with pytest.raises(error) as caught:
        JournaledFile(path)
    assert str(path) in str(caught.value)
    assert names(path) == before


def test_names_too_long_for_a_journal(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 241), x=1)
    with pytest.raises(errors.FileWriteError, match="241 fit"):
        JournaledFile(tmp_path / ("n" * 242))
    with h5py.File(tmp_path / ("n" * 255), "w") as file:
        file["x"] = 1
    with mullet.open(tmp_path / ("n" * 255)) as file:
        assert file["x"][()] == 1


def test_journal_without_durability_still_survives_a_kill(path: Path) -> None:
    with JournaledFile(path, fsync="never") as journal, opened(journal) as file:
        file["x"] = 1
        journal.commit()
    assert path.read_bytes()[:8] == SIGNATURE
    with pytest.raises(ValueError, match="fsync"):
        JournaledFile(path, fsync="sometimes")  # type: ignore[arg-type]
