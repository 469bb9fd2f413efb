"""A real Flight process, a stream in a small ring, and a stock client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

from mulletdaq.ring import RingBuffer

from .supervisor import Supervisor

SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.int64(), nullable=False, metadata={"unit": "ns"}),
        pa.field("voltage", pa.float64(), nullable=False, metadata={"unit": "V"}),
    ]
)


def rows(first: int, count: int) -> Any:
    """A batch whose values tell their row."""
    numbers = np.arange(first, first + count)
    return pa.record_batch([pa.array(numbers), pa.array(numbers * 0.5)], schema=SCHEMA)


def numbers_of(table: Any) -> list[int]:
    return table.column("timestamp").to_pylist()


@pytest.fixture
def service(tmp_path: Path, ring_directory: Path) -> Iterator[Supervisor]:
    """A Flight process with one empty stream, ``scope``."""
    data = tmp_path / "data"
    data.mkdir()
    with Supervisor(data_folders=[str(data)], memory_limit_mb=256, max_message_mb=16, max_clients=12) as supervisor:
        supervisor.rings["scope"] = RingBuffer.create(ring_directory / "scope.ring", capacity_mb=4)
        yield supervisor


@pytest.fixture
def ring(service: Supervisor) -> RingBuffer:
    return service.rings["scope"]


@pytest.fixture
def client(service: Supervisor) -> Iterator[Any]:
    with flight.connect(service.address) as stock:
        yield stock
