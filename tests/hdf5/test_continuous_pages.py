"""What a commit to datasets that grow changes below the end of the file: each page of that goes through the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulletdaq.hdf5.batch_table import BATCH_COLUMNS, BatchTable
from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.journal.layout import PAGE_BYTES
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.ring import RingBuffer

MakeRing = Callable[..., RingBuffer]

MOST_PAGES = 50
BATCHES = 100_000
CHUNK_ROWS = 512  # of sixteen channels
BACKLOG_ROWS = 150_000
FLOATS = [pa.float64()] * 16
MIXED = [pa.float64(), pa.float32(), pa.int16(), pa.uint8(), pa.bool_(), pa.int64(), pa.int32(), pa.uint16()] * 2


class Long:
    """A file of sixteen channels with a long past: 100,000 batches in its table, hundreds of chunks a dataset."""

    def __init__(self, path: Path, ring: RingBuffer, types: list[Any], compression: str | None) -> None:
        self.ring = ring
        self.options = EngineOptions(
            str(path),
            {"": RingAddress(ring.path, ring.stream_id)},
            layout="continuous",
            compression=compression,
            fsync="never",
        )
        self.schema = pa.schema([("timestamp", pa.int64()), *((f"c{n:02d}", type_) for n, type_ in enumerate(types))])
        self.chance = np.random.default_rng(1)
        self.written = 0
        self.engine = Engine(self.options)

    def make_past(self, rows_a_commit: int) -> None:
        self.write(rows_a_commit, noise=0)  # what chooses the chunks
        self.engine.commit()
        while self.written < BACKLOG_ROWS:
            self.write(20_000, noise=0)
            self.engine.drain({})
        table = BatchTable(self.engine._chain.storage.file)
        table.extend(np.zeros((BATCHES, len(BATCH_COLUMNS)), np.int64))
        self.write(1, noise=0)
        self.engine.commit()
        self.restart()

    def restart(self) -> None:
        self.engine.close()
        self.engine = Engine(self.options)

    def write(self, count: int, noise: float = 50) -> None:
        numbers = np.arange(self.written, self.written + count)
        columns = [pa.array(numbers)]
        for field in self.schema.names[1:]:
            values = (self.chance.normal(size=count) * noise).clip(-127, 127).round()
            type_ = self.schema.field(field).type
            columns.append(pa.array(values if pa.types.is_signed_integer(type_) else abs(values)).cast(type_))
        self.ring.write_arrow_batch(pa.record_batch(columns, schema=self.schema))
        self.written += count

    def pages_of_commit(self) -> int:
        before = self.engine.journal_statistics().pages
        assert self.engine.commit()
        return self.engine.journal_statistics().pages - before


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("types", [FLOATS, MIXED], ids=["floats", "mixed"])
def test_a_commit_changes_few_pages_wherever_the_edge_is(
    path: Path, make_ring: MakeRing, types: list[Any], compression: str | None
) -> None:
    """Each edge by single rows; then rates at which several commits fill a chunk, or one fills several."""
    file = Long(path, make_ring(capacity_bytes=32 << 20), types, compression)
    try:
        file.make_past(rows_a_commit=1)
        pages = {}
        for size, commits in ((1, CHUNK_ROWS + 8), (40, 60), (100, 60), (200, 60), (600, 60), (3000, 30)):
            for number in range(commits):
                edge = file.engine.statistics().rows_persisted % CHUNK_ROWS
                file.write(size)
                pages[size, number, edge] = file.pages_of_commit()
            file.restart()
    finally:
        file.engine.close()
    assert {edge for size, _, edge in pages if size == 1} == set(range(CHUNK_ROWS))
    worst = max(pages, key=lambda key: pages[key])
    assert pages[worst] <= MOST_PAGES, f"{pages[worst]} pages at (rows, commit, edge) = {worst}"


@pytest.mark.parametrize("rows", [5000, 50_000])
def test_a_fast_stream_changes_few_pages_too(path: Path, make_ring: MakeRing, rows: int) -> None:
    """Chunks follow the rate, and commits end where they end. An edge is left by a restart or a flush only; its room is
    used again once, by a commit with eight times its data."""
    file = Long(path, make_ring(capacity_bytes=64 << 20), FLOATS, "gzip")
    try:
        file.make_past(rows_a_commit=rows)
        pages = []
        for number in range(20):
            file.write(rows + number * 7 % 100)
            pages.append(file.pages_of_commit())
    finally:
        file.engine.close()
    *others, most = sorted(pages)
    assert max(others) <= MOST_PAGES, pages
    assert most <= MOST_PAGES + rows * 17 * 8 // 8 // PAGE_BYTES, pages
