"""What a reader with nothing but h5py and numpy sees in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def batches(file: h5py.File) -> list[Any]:
    """The batches, in order."""
    measurements = file["measurements"]
    return [measurements[name] for name in sorted(measurements)]


def columns(path: Path) -> dict[str, Any]:
    """Every column of a file as one array."""
    with h5py.File(path, "r") as file:
        parts = batches(file)
        return {name: np.concatenate([part[name][:] for part in parts]) for name in parts[0]}


def rows_by_run(path: Path) -> dict[int, list[tuple[int, int]]]:
    """First row and number of rows of each batch, by run."""
    found: dict[int, list[tuple[int, int]]] = {}
    with h5py.File(path, "r") as file:
        for batch in batches(file):
            found.setdefault(int(batch.attrs["run"]), []).append(
                (int(batch.attrs["first_row"]), int(batch.attrs["rows"]))
            )
    return found


def assert_contiguous(path: Path) -> int:
    """Check that every run's rows follow one another from 0 without a gap; gives the number of rows."""
    total = 0
    for spans in rows_by_run(path).values():
        expected = 0
        for first_row, rows in spans:
            assert first_row == expected
            expected += rows
        total += expected
    return total


def text(value: Any) -> str:
    """A string attribute as str; h5py gives fixed-length ones as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
