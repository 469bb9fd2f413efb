"""What a crash left, and who may put it right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import mulletdaq as mullet
from mulletdaq import errors
from mulletdaq.hdf5.journal import JournaledFile
from mulletdaq.hdf5.journal.layout import SEAL
from mulletdaq.hdf5.journal.recovery import inspect_journal, recover
from tests.waiting import PATIENCE_S

from .journaled import crash, names, read, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def test_crash_is_healed_by_opening_and_by_recover(path: Path) -> None:
    for heal in (lambda: JournaledFile(path).close(), lambda: recover(path)):
        path.unlink(missing_ok=True)
        write(path, x=1)
        crash(path, y=[1, 2], z=3)
        report = inspect_journal(path)
        assert (report.state, report.pending_commits) == ("left", 2) and report.journal_bytes > 1024
        assert read(path) == {"x": 1}, "a stock reader sees the last commit that was applied"
        with mullet.open(path) as newest:
            assert set(newest) == {"x", "y", "z"}
        heal()
        assert read(path) == {"x": 1, "y": [1, 2], "z": 3}
        assert names(path) == ["a.h5"]


def test_dry_run_tells_the_same_and_changes_nothing(path: Path) -> None:
    write(path, x=1)
    crash(path, y=[1, 2])
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    foreseen = recover(path, dry_run=True)
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before
    done = recover(path)
    assert foreseen == done and done.applied_commits == 1


def test_crash_before_the_first_commit_leaves_nothing(path: Path) -> None:
    body = (
        "import sys, os, h5py\n"
        "from mulletdaq.hdf5.journal import JournaledFile\n"
        "journal = JournaledFile(sys.argv[1])\n"
        "h5py.File(journal, 'w')['x'] = 1\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", body, str(path)], check=False, timeout=PATIENCE_S)
    assert names(path) == ["a.h5-journal", "a.h5-journal-first"]
    assert recover(path, dry_run=True).discarded
    assert recover(path).discarded
    assert names(path) == []
    with pytest.raises(errors.FileMissingError):
        recover(path)


def copied(path: Path) -> Path:
    """The file and its journal in another folder."""
    other = path.parent / "other"
    other.mkdir()
    for entry in (path, path.with_name("a.h5-journal")):
        shutil.copy(entry, other)
    return other / "a.h5"


def test_copied_file_is_refused_until_adopted(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2)
    other = copied(path)
    for attempt in (lambda: JournaledFile(other), lambda: recover(other), lambda: mullet.open(other)):
        with pytest.raises(errors.JournalMismatchError, match="--adopt"):
            attempt()
    assert recover(other, adopt=True, dry_run=True).applied_commits == 1
    assert recover(other, adopt=True).applied_commits == 1
    assert read(other) == {"x": 1, "y": 2}


def test_file_moved_with_its_journal_is_the_same(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2)
    os.rename(path, path.with_name("b.h5"))
    os.rename(path.with_name("a.h5-journal"), path.with_name("b.h5-journal"))
    recover(path.with_name("b.h5"))
    assert read(path.with_name("b.h5")) == {"x": 1, "y": 2}


def test_file_written_by_others_after_a_crash_is_refused_until_adopted(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2)
    with h5py.File(path, "r+") as file:
        file["foreign"] = np.arange(100_000)
    with pytest.raises(errors.JournalMismatchError, match="another program wrote"):
        JournaledFile(path)
    recover(path, adopt=True)
    assert read(path) == {"x": 1, "y": 2}


def test_file_cut_by_others_after_a_crash_is_refused(path: Path) -> None:
    write(path, x=np.arange(10_000))
    crash(path, y=2)
    os.truncate(path, 5000)
    with pytest.raises(errors.JournalMismatchError, match="shorter"):
        JournaledFile(path)


def test_file_gone_while_its_journal_has_commits(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2)
    os.rename(path, path.with_name("b.h5"))
    with pytest.raises(errors.FileMissingError, match="1 commits of it"):
        recover(path)
    write(path, z=3)
    assert read(path) == {"z": 3}
    [aside] = path.parent.glob("a.h5-journal.orphan-*")
    path.unlink()
    os.rename(path.with_name("b.h5"), path)
    os.rename(aside, path.with_name("a.h5-journal"))
    recover(path)
    assert read(path) == {"x": 1, "y": 2}


def test_sealed_file_is_mended_with_its_journal_and_refused_without(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2)
    with open(path, "r+b") as file:  # as a kill in the middle of applying leaves it
        file.write(SEAL)
    with pytest.raises(OSError, match="signature"):
        read(path)
    journal = path.with_name("a.h5-journal")
    journal.rename(path.with_name("away"))
    for attempt in (lambda: JournaledFile(path), lambda: mullet.open(path)):
        with pytest.raises(errors.FileFormatError, match="journal .* is gone"):
            attempt()
    assert names(path) == ["a.h5", "away"]
    path.with_name("away").rename(journal)
    with mullet.open(path) as newest:
        assert set(newest) == {"x", "y"}
    recover(path)
    assert read(path) == {"x": 1, "y": 2}


@pytest.mark.parametrize("content", [b"", b"\0" * 3000, os.urandom(3000), b"MULLETJ1" * 500])
def test_journal_of_nonsense_counts_as_none(path: Path, content: bytes) -> None:
    write(path, x=1)
    path.with_name("a.h5-journal").write_bytes(content)
    with mullet.open(path) as file:
        assert set(file) == {"x"}
    assert recover(path).applied_commits == 0
    assert read(path) == {"x": 1} and names(path) == ["a.h5"]


def test_every_damaged_byte_of_a_frame_drops_the_frame_and_what_follows(path: Path) -> None:
    write(path, x=1)
    crash(path, y=2, z=3)
    journal = path.with_name("a.h5-journal")
    content = journal.read_bytes()
    seen = set()
    for offset in range(1024, len(content), 211):
        journal.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with mullet.open(path) as file:
            seen.add(tuple(file))
    assert {("x",), ("x", "y")} <= seen
    assert seen <= {("x",), ("x", "y"), ("x", "y", "z")}, "the last is for a byte between frames"
