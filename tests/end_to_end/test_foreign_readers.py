"""Programs that know nothing of us read our files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from .command import Mullet

EXAMPLE = Path(__file__).parents[2] / "docs/examples/verify_hdf5_output.py"


def test_h5dump_reads_a_recording_of_this_machine(mullet: Mullet, tmp_path: Path) -> None:
    h5dump = shutil.which("h5dump")
    if h5dump is None:
        pytest.skip("h5dump is not installed (Debian: hdf5-tools)")
    mullet("record", "--source", "system", "-o", "machine.h5", "--rate", "50", "--duration", "1")
    dumped = subprocess.run(
        [h5dump, "-H", "machine.h5"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    with h5py.File(tmp_path / "machine.h5") as file:
        batch = file["measurements/batch_000001"]
        for name in batch:
            assert f'DATASET "{name}"' in dumped
        row = int(batch["timestamp"][0])
    values = subprocess.run(
        [h5dump, "-d", "/measurements/batch_000001/timestamp", "machine.h5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(row) in values


def test_the_example_prints_what_verify_prints(mullet: Mullet, tmp_path: Path) -> None:
    mullet("demo", "--duration", "1")
    for name in ("mullet_demo_output.h5", "mullet_demo_raw.h5"):
        verified = mullet("verify", name).stdout
        printed = subprocess.run(
            [sys.executable, EXAMPLE, name], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        assert printed.startswith(verified.rstrip("\n"))
