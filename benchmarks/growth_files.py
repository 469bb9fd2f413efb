"""What a commit costs against the size of the file and the number of commits before it."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from growth_curves import Curve, Point, Series
from growth_settings import Settings

from mulletdaq.hdf5.engine import Engine
from mulletdaq.hdf5.options import EngineOptions, RingAddress
from mulletdaq.ring import RingBuffer

COLUMNS = 8
PROBE_ROWS = 1000
BATCH_ROWS = 10
BATCH_CHANNELS = 1
ROOM_LEFT_MB = 4000
"""On the disk, for others."""


class GrowingFile:
    """A ring, and the file that its rows are committed to, whenever that is asked for."""

    def __init__(self, folder: Path, rings: Path, layout: str, channels: int, **options: Any) -> None:
        self.path = folder / f"{layout}.h5"
        names = ["timestamp", *(f"c{number:03d}" for number in range(channels))]
        types = [pa.int64(), *[pa.float64()] * channels]
        self._schema = pa.schema(list(zip(names, types, strict=True)))
        self._chance = np.random.default_rng(1)
        self._rows = 0
        self._ring = RingBuffer.create(rings / f"{layout}.ring", options.pop("ring_mb"))
        address = RingAddress(self._ring.path, self._ring.stream_id)
        self._engine = Engine(EngineOptions(str(self.path), {"": address}, layout=layout, fsync="never", **options))

    def write(self, rows: int) -> None:
        """Rows into the ring: random walks."""
        stamps = pa.array(np.arange(self._rows, self._rows + rows) * 1_000_000)
        walks = np.cumsum(self._chance.normal(size=(len(self._schema) - 1, rows)), axis=1).round(3)
        self._ring.write_arrow_batch(pa.record_batch([stamps, *map(pa.array, walks)], schema=self._schema))
        self._rows += rows

    def commit(self) -> tuple[float, float, float]:
        """Nanoseconds by the clock, nanoseconds of the processors, and pages that changed."""
        pages = self._engine.journal_statistics().pages
        began, cpu_began = time.perf_counter_ns(), time.process_time_ns()
        self._engine.commit()
        took, cpu_took = time.perf_counter_ns() - began, time.process_time_ns() - cpu_began
        return float(took), float(cpu_took), float(self._engine.journal_statistics().pages - pages)

    @property
    def size_mb(self) -> float:
        """As of the last commit, in 1,000,000 bytes."""
        return self._engine.statistics().file_bytes / 1e6

    def __enter__(self) -> GrowingFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.close()
        self._ring.close()
        self._ring.unlink()
        self.path.unlink(missing_ok=True)


def file_size(settings: Settings, rings: Path, folder: Path) -> Curve:
    """Commits of the same small size into a file that large ones make grow.

    Raises
    ------
    OSError
        Without room for the largest file.
    """
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < max(settings.file_mb) + ROOM_LEFT_MB:
        raise OSError(f"{folder} has {free_mb:.0f} MB free: too little for a file of {max(settings.file_mb):g} MB")
    clock, processors = Series("by the clock"), Series("processor time")
    large_rows = int(settings.commit_mb * 1e6 / COLUMNS / 8)
    ring_mb = 8 + 4 * settings.commit_mb
    with GrowingFile(folder, rings, "continuous", COLUMNS - 1, compression=None, ring_mb=ring_mb) as file:
        file.commit()
        for size in settings.file_mb:
            while (missing_mb := size - file.size_mb) > 0.1:
                file.write(min(large_rows, max(PROBE_ROWS, int(missing_mb * 1e6 / COLUMNS / 8))))
                file.commit()
            probes = []
            for _ in range(settings.window):
                file.write(PROBE_ROWS)
                probes.append(file.commit())
            clock.points.append(Point(size, [probe[0] for probe in probes]))
            processors.points.append(Point(size, [probe[1] for probe in probes]))
    return Curve(
        "file-size", "A commit, by size of the file", "MB of file", "time of a commit", "ns", [clock, processors],
        f"Median of {settings.window} commits of {PROBE_ROWS * COLUMNS * 8 / 1000:g} kB at each size, in brackets where"
        f" eight of ten lie; `continuous`, {COLUMNS} columns, uncompressed, `fsync=\"never\"`,"
        f" {settings.commit_mb:g} MB a commit in between.",
    )  # fmt: skip


def batches(settings: Settings, rings: Path, folder: Path) -> list[Curve]:
    """Commits of a few rows, a hundred thousand of them, in both layouts by turns: time and pages."""
    layouts = ("batches", "continuous")
    clock_lines, cpu_lines, page_lines = (
        {layout: Series(f"`{layout}`{what}") for layout in layouts} for what in ("", ", processor time", "")
    )
    with ExitStack() as stack:
        files = {
            layout: stack.enter_context(GrowingFile(folder, rings, layout, BATCH_CHANNELS, ring_mb=16))
            for layout in layouts
        }
        done: dict[str, list[tuple[float, float, float]]] = {layout: [] for layout in layouts}
        for number in range(1, settings.batches[-1] + 1):
            for layout, file in files.items():
                file.write(BATCH_ROWS)
                done[layout].append(file.commit())
            if number in settings.batches:
                print(f"  {number:,} of {settings.batches[-1]:,} batches", flush=True)
                for layout in layouts:
                    last = done[layout][-min(settings.window, (number + 1) // 2) :]
                    for column, lines in enumerate((clock_lines, cpu_lines, page_lines)):
                        lines[layout].points.append(Point(number, [commit[column] for commit in last]))
                done = {layout: commits[-settings.window :] for layout, commits in done.items()}
    note = (
        f"Median of the {settings.window} commits before each number, in brackets where eight of ten lie;"
        f" {BATCH_ROWS} rows of one channel a commit, gzip, `fsync=\"never\"`."
    )  # fmt: skip
    x = "commits before it"
    return [
        Curve(
            "batches", "A commit, by commits before it", x, "time of a commit", "ns",
            [*clock_lines.values(), *cpu_lines.values()], note,
        ),
        Curve(
            "pages", "Pages a commit changes, by commits before it", x, "pages of 4096 bytes", "pages",
            [*page_lines.values()], note,
        ),
    ]  # fmt: skip
