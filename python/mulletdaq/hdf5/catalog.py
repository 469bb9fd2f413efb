"""What is where in a file of ours, for those who read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.ledger import Run, load_run
from mulletdaq.hdf5.naming import BATCH_PREFIX, is_batch_name
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class StreamBatches:
    """One stream's group and the names of its batches, in the order of their numbers."""

    name: str
    group: Any
    batches: tuple[str, ...]

    def __iter__(self) -> Iterator[Any]:
        return (self.group[name] for name in self.batches)


def streams_of(file: Any) -> list[StreamBatches]:
    """The streams of a file: the unnamed one if it has batches, then the named ones."""
    measurements = file["measurements"]
    unnamed = _stream("", measurements)
    named = [
        _stream(name, group)
        for name, group in ((name, measurements[name]) for name in measurements if not is_batch_name(name))
        if isinstance(group, h5py.Group)
    ]
    return [unnamed, *named] if unnamed.batches or not named else named


def runs_of(file: Any) -> dict[int, Run]:
    """The runs of a file by number."""
    runs = [load_run(group) for group in file["runs"].values()]
    return {run.number: run for run in runs}


def schema_of(run: Run) -> Any:
    """The ``pyarrow.Schema`` of a run; None for opaque bytes."""
    if "schema" not in run.group:
        return None
    return pa.ipc.read_schema(pa.py_buffer(run.group["schema"][:].tobytes()))


def is_opaque(run: Run) -> bool:
    """Whether the run holds opaque bytes."""
    return get_text(run.group, "content") == "opaque"


def holds_stamps(batch: Any) -> bool:
    """Whether the batch's timestamps are what ours are: int64 nanoseconds, one a row."""
    stamps = batch.get(TIMESTAMP)
    if not isinstance(stamps, h5py.Dataset) or stamps.dtype != np.int64 or stamps.ndim != 1:
        return False
    return get_text(stamps, "units", "ns") == "ns"


def _stream(name: str, group: Any) -> StreamBatches:
    numbers = sorted(int(member.removeprefix(BATCH_PREFIX)) for member in group if is_batch_name(member))
    return StreamBatches(name, group, tuple(f"{BATCH_PREFIX}{number:06d}" for number in numbers))


__all__ = ["StreamBatches", "holds_stamps", "is_opaque", "runs_of", "schema_of", "streams_of"]
