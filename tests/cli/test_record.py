"""``mullet record`` with sources that fail."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from mulletdaq.cli.main import main
from mulletdaq.schema import Channel
from mulletdaq.sources.registry import SOURCES, SourceEntry


class Breaking:
    """Gives three samples, then its cable is pulled."""

    name = "breaking"
    channels = (Channel("voltage", "V"),)

    def __init__(self) -> None:
        self.samples = 0

    def open(self) -> None:
        pass

    def read(self) -> tuple[float]:
        self.samples += 1
        if self.samples > 3:
            raise OSError("cable pulled")
        return (1.5,)

    def close(self) -> None:
        pass


class Absent(Breaking):
    """Isn't there at all."""

    name = "absent"

    def open(self) -> None:
        raise ConnectionError("no such device")


@pytest.fixture(autouse=True)
def known_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Breaking, Absent):
        monkeypatch.setitem(SOURCES, kind.name, SourceEntry(kind.name, __name__, kind.__name__, "for tests"))


def test_what_was_measured_before_a_source_broke_is_kept(
    folder: Path, ring_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "-s", "breaking", "-o", "kept.h5", "-r", "1000"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "mullet: source 'breaking' failed in read(): OSError: cable pulled"
    with h5py.File(folder / "kept.h5", "r") as file:
        assert sum(batch["voltage"].size for batch in file["measurements"].values()) == 3
    assert list(ring_directory.iterdir()) == []


def test_a_source_that_is_not_there_leaves_no_file(
    folder: Path, ring_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", "-s", "absent", "-o", "never.h5"]) == 1
    assert capsys.readouterr().err == "mullet: source 'absent' failed in open(): ConnectionError: no such device\n"
    assert list(folder.iterdir()) == list(ring_directory.iterdir()) == []
