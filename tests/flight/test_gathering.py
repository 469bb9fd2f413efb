"""Rows put together for sending: in order, each at its place, and never over a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulletdaq.flight.gathering import GaplessReader
from mulletdaq.ring import RingBuffer

from .conftest import rows


@pytest.mark.parametrize("pause", range(1, 40))
def test_a_gap_ends_a_batch(ring_directory: Path, pause: int) -> None:
    """A producer that laps the reader between any two reads, also in the middle of putting frames together."""
    with RingBuffer.create(ring_directory / "a.ring", capacity_mb=1) as ring:
        written = lost = next_row = 0
        reader = GaplessReader(ring, 0)
        native = reader._cursor

        class Lapping:
            """The reader's cursor; before each read as many rows are written as lap it every few times."""

            def __getattr__(self, name: str) -> object:
                return getattr(native, name)

            def read(self, most: int | None, timeout_s: float) -> object:
                nonlocal written
                if written < 400_000:
                    ring.write_arrow_batch(rows(written, 700 * pause))
                    written += 700 * pause
                return native.read(most, timeout_s)

        reader._cursor = Lapping()  # type: ignore[assignment]
        while next_row < written or not written:
            found = reader.read(None, 0.0)
            if found is None:
                continue
            first, batch = found
            assert batch.column(0).to_pylist() == list(range(first, first + batch.num_rows))
            assert first >= next_row
            lost += first - next_row
            next_row = first + batch.num_rows
            assert reader.row >= next_row
        assert lost == native.lost_rows
        reader.close()
