"""Rings in the test's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mulletdaq.ring import RingBuffer

MakeRing = Callable[..., RingBuffer]


@pytest.fixture
def ring_file(ring_directory: Path) -> Path:
    """A path at which no ring is yet."""
    return ring_directory / "test.ring"


@pytest.fixture
def make_ring(ring_directory: Path) -> Iterator[MakeRing]:
    """Create rings that are closed at the end: ``make_ring(capacity_bytes, **options)``."""
    made: list[RingBuffer] = []

    def make(capacity_bytes: int = 1 << 20, **options: object) -> RingBuffer:
        path = ring_directory / f"test{len(made)}.ring"
        made.append(RingBuffer.create(path, capacity_bytes=capacity_bytes, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for ring in made:
        ring.close()
