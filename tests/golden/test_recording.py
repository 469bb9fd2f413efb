"""A file of format version 1, made once, reads the same for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

import mulletdaq as mullet
from mulletdaq.hdf5.verify import verify

from .make_recording import CHANNELS, FIRST_STAMP_NS, PATH


def test_bare_h5py_reads_what_was_written() -> None:
    with h5py.File(PATH) as file:
        assert file.attrs["format_version"] == 1
        assert file.attrs["creator"] == b"mulletdaq 0.1.0"
        assert list(file["measurements"]) == ["batch_000001", "batch_000002"]
        first, second = file["measurements"].values()
        losses = {name: column[0] for name, column in file["losses"].items()}
        for batch, rows in ((first, np.arange(10)), (second, np.arange(losses["rows"] + 10, 6010))):
            assert (batch.attrs["first_row"], batch.attrs["rows"]) == (rows[0], len(rows))
            assert np.array_equal(batch["timestamp"][:], FIRST_STAMP_NS + rows * 10_000_000)
            assert np.array_equal(batch["voltage"][:], rows / 4)
            assert np.array_equal(batch["count"][:], rows.astype(np.uint16))
            assert np.array_equal(batch["shutter"][:], (rows % 3 == 0).astype(np.uint8))
            assert np.array_equal(batch["trace"][:], np.repeat(rows, 4).reshape(-1, 4).astype(np.float32))
            assert batch["voltage"].attrs["units"] == b"V"
            assert batch["voltage"].attrs["description"] == b"photodiode"
        assert (losses["run"], losses["first_row"], losses["cause"]) == (1, 10, b"overwritten")
        assert losses["frames"] > 0
        assert file["annotations/text"][0] == b"shutter opened"
        assert file["annotations/row"][0] == 3
        assert file["metadata/sample"].attrs["mass_mg"] == 12.5
        assert file["runs/run_000001"].attrs["next_row"] == 6010


def test_it_verifies_and_is_gone_on_with(tmp_path: Path) -> None:
    report = verify(PATH)
    assert report.ok, report.problems
    path = tmp_path / "copy.h5"
    shutil.copy(PATH, path)
    with mullet.record(path, channels=CHANNELS, mode="a") as rec:
        rec.write_measurement(0.5, 1, True, np.zeros(4, dtype=np.float32))
    assert verify(path).ok
    with h5py.File(path) as file:
        assert file["measurements/batch_000003/voltage"][:].tolist() == [0.5]
        assert list(file["runs"]) == ["run_000001", "run_000002"]
