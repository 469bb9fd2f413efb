"""The demonstration, called as a function."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from mulletdaq.acquisition import Progress
from mulletdaq.demo import CREATOR, OUTPUT_NAME, RAW_NAME, run_demo
from mulletdaq.errors import FileLockedError, RecordingError


def test_every_sample_is_in_the_file_and_no_ring_stays(tmp_path: Path, ring_directory: Path) -> None:
    seen: list[Progress] = []
    summary = run_demo(tmp_path, duration_s=0.5, rate_hz=200, on_progress=seen.append)
    assert summary.acquisition.samples == 100
    assert summary.lost == summary.raw_lost == 0
    assert seen
    assert (summary.output, summary.raw) == (tmp_path / OUTPUT_NAME, tmp_path / RAW_NAME)
    with h5py.File(summary.output, "r") as file:
        assert file.attrs["creator"].decode() == CREATOR
        assert sum(batch["voltage"].size for batch in file["measurements"].values()) == 100
        assert len(file["measurements"]) == summary.batches
    with h5py.File(summary.raw, "r") as file:
        assert file.attrs["creator"].decode() == CREATOR
        assert len(file["measurements"]) == summary.raw_batches == 3
    assert list(ring_directory.iterdir()) == []


def test_a_stop_keeps_what_was_measured(tmp_path: Path) -> None:
    class AtOnce:
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 50

    summary = run_demo(tmp_path, duration_s=600, stop=AtOnce())
    assert summary.acquisition.stopped
    assert 0 < summary.acquisition.samples < 60_000
    with h5py.File(summary.output, "r") as file:
        written = sum(batch["voltage"].size for batch in file["measurements"].values())
    assert written == summary.acquisition.samples


@pytest.mark.parametrize("name", [OUTPUT_NAME, RAW_NAME])
@pytest.mark.parametrize("kind", ["text", "hdf5", "folder", "link to nothing"])
def test_what_no_demo_made_stays(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "text":
        path.write_text("demo")
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.attrs["creator"] = "mulletdaq 1.0"
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(RecordingError, match=name):
        run_demo(tmp_path, duration_s=0.1)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_in_use_stays(tmp_path: Path) -> None:
    run_demo(tmp_path, duration_s=0.1)
    before = (tmp_path / OUTPUT_NAME).stat().st_ino
    with h5py.File(tmp_path / OUTPUT_NAME, "r"), pytest.raises(FileLockedError, match=OUTPUT_NAME):
        run_demo(tmp_path, duration_s=0.1)
    assert (tmp_path / OUTPUT_NAME).stat().st_ino == before
