"""What goes wrong is told in one line, with the right exit code, and nothing is overwritten."""

from __future__ import annotations

import os
import shutil

import h5py
import numpy as np
import pytest

from tests.waiting import PATIENCE_S

from .command import Mullet
from .h5 import batches

RECORD = ("record", "-s", "simulated", "-o", "new.h5", "-d", "0.1")


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ((*RECORD, "--rate", "nan"), "--rate"),
        ((*RECORD, "--ring-mb", "0"), "--ring-mb"),
        (("record", "-s", "oscilloscope", "-o", "new.h5"), "system"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(mullet: Mullet, words: tuple[str, ...], fragment: str) -> None:
    done = mullet(*words)
    assert done.returncode == 2, done.stderr
    assert fragment in done.error
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(mullet.folder.iterdir()) == []
    assert list(mullet.rings.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (("verify", "missing.h5"), "missing.h5"),
        (("info", "missing.h5"), "missing.h5"),
        (("verify", "text.txt"), "text.txt"),
        (("info", "text.txt"), "text.txt"),
        (("tail", "text.txt"), "text.txt"),
        (("status", "text.txt"), "text.txt"),
        (("verify", "."), "."),
        (("info", "."), "."),
        (("verify", "foreign.h5"), "foreign.h5"),
        (("info", "foreign.h5"), "foreign.h5"),
        (("verify", "truncated.h5"), "truncated.h5"),
        (("tail", "no_such_ring"), "no_such_ring"),
        (("status", "no_such_ring"), "no_such_ring"),
        (("info", "no_such_ring"), "no_such_ring"),
        (("record", "-s", "simulated", "-o", "nowhere/new.h5", "-d", "0.1"), "nowhere"),
        (("record", "-s", "simulated", "-o", "foreign.h5", "-d", "0.1", "--append"), "foreign.h5"),
        (("record", "-s", "simulated", "-o", "{begin}.h5", "-d", "0.1"), "begin"),
    ],
)
def test_failure_is_one_line_and_exit_code_1(mullet: Mullet, words: tuple[str, ...], fragment: str) -> None:
    (mullet.folder / "text.txt").write_text("just a note\n" * 100)
    with h5py.File(mullet.folder / "foreign.h5", "w") as file:
        file["spectrum"] = np.arange(10_000.0)
    foreign = (mullet.folder / "foreign.h5").read_bytes()
    (mullet.folder / "truncated.h5").write_bytes(foreign[:5000])
    before = sorted(path.name for path in mullet.folder.iterdir())
    done = mullet(*words)
    assert done.returncode == 1, done.stderr
    assert fragment in done.error
    assert sorted(path.name for path in mullet.folder.iterdir()) == before
    assert (mullet.folder / "foreign.h5").read_bytes() == foreign
    assert list(mullet.rings.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
@pytest.mark.parametrize("words", [RECORD, ("demo", "-d", "0.1")])
def test_an_unwritable_folder(mullet: Mullet, words: tuple[str, ...]) -> None:
    mullet.folder.chmod(0o500)
    try:
        done = mullet(*words)
    finally:
        mullet.folder.chmod(0o700)
    assert done.returncode == 1
    assert "permission" in done.error.lower()


def test_a_file_of_a_newer_format_version(mullet: Mullet) -> None:
    assert mullet("demo", "-d", 0.1).returncode == 0
    path = mullet.folder / "newer.h5"
    shutil.copy(mullet.folder / "mullet_demo_output.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = np.int64(99)
    before = path.read_bytes()
    appending = ("record", "-s", "simulated", "-o", "newer.h5", "-d", 0.1, "--append")
    for words in (("verify", "newer.h5"), ("info", "newer.h5"), appending):
        done = mullet(*words)
        assert done.returncode == 1
        assert "version 99" in done.error
    assert path.read_bytes() == before
    assert list(mullet.rings.iterdir()) == []


def test_verify_finds_a_column_that_is_too_short(mullet: Mullet) -> None:
    assert mullet("demo", "-d", 0.2).returncode == 0
    path = mullet.folder / "mullet_demo_output.h5"
    assert mullet("verify", path).returncode == 0
    with h5py.File(path, "r+") as file:
        batch = batches(file)[0]
        values = batch["voltage"][:-1]
        del batch["voltage"]
        batch["voltage"] = values
    done = mullet("verify", path)
    assert done.returncode == 1
    assert "voltage" in done.error
    answer = mullet("verify", path, "--json")
    assert answer.returncode == 1
    assert answer.json["ok"] is False


def test_a_reader_that_stops_reading_is_no_error(mullet: Mullet) -> None:
    assert mullet("demo", "-d", 0.1).returncode == 0
    process = mullet.start("verify", "mullet_demo_output.h5")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.wait(timeout=PATIENCE_S) == 0
    assert process.stderr.read() == ""
