"""What a scientist does with the file: h5py and NumPy, nothing of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


def joined(path: str | Path, stream: str = "", column: str = "voltage") -> npt.NDArray[Any]:
    """A column over all batches."""
    with h5py.File(path) as file:
        group = file[f"measurements/{stream}"]
        batches = [group[name] for name in sorted(group) if name.startswith("batch_")]
        parts = [batch[column][:] for batch in batches]
    return np.concatenate(parts) if parts else np.empty(0)


def lost_rows(path: str | Path) -> int:
    """Rows in the ledger."""
    with h5py.File(path) as file:
        return int(file["losses/rows"][:].sum())
