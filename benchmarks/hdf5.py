"""Arrays on their way into HDF5 files, beside os.write and beside other libraries, each figure from the same rounds.

python benchmarks/hdf5.py [--json FILE] [--markdown FILE] [--quick] [--fsync]

Timed is everything from opening a new file to its closing. Nobody calls fsync, or with ``--fsync`` everybody does: then
the disk is measured. Ratios (×) are bytes given by bytes of the file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import file_peers as peers
import h5py
import numpy as np
from measure import Row, Table, first_line, interleaved, main, median, rate, sized, spread
from signals import converter_volts

from mulletdaq.hdf5.appender import ChunkedAppender
from mulletdaq.hdf5.chunks import SHARED, PackingThreads
from mulletdaq.hdf5.filters import make_growing, write_dataset
from mulletdaq.hdf5.options import Filters

SAMPLES = sized(4 << 20, 1 << 18)
COMMITS = 32
LIBVER = ("earliest", "v108")
FSYNC = "--fsync" in sys.argv


def signals() -> dict[str, Any]:
    """Three that differ most: regular, with a few bits of noise, nothing but noise."""
    random = np.random.default_rng(1)
    number = np.arange(SAMPLES)
    return {
        "stamps of 44.1 kHz, int64": 1_700_000_000_000_000_000 + np.round(number * 1e9 / 44_100).astype(np.int64),
        "16-bit ADC's sine, float64": converter_volts(SAMPLES, random),
        "white noise, float64": random.normal(size=SAMPLES),
    }


def ours(compression: str | None, threads: PackingThreads = SHARED) -> peers.Write:
    """One dataset, as a batch's columns are written."""

    def write(path: Path, values: Any) -> None:
        with h5py.File(path, "w", libver=LIBVER) as file:
            write_dataset(file, "x", values, compression, threads=threads)

    return write


def ours_growing(compression: str | None) -> peers.Write:
    """A dataset that grows with each commit."""

    def write(path: Path, values: Any) -> None:
        step = -(-len(values) // COMMITS)
        with h5py.File(path, "w", libver=LIBVER) as file:
            appender = ChunkedAppender(make_growing(file, "x", values.dtype, filters=Filters(compression)))
            for row in range(0, len(values), step):
                appender.append(values[row : row + step])
                file.flush()

    return write


class Timed:
    """A writer, its rate, and the size of what it made."""

    def __init__(self, folder: Path, write: peers.Write, values: Any) -> None:
        self._path = folder / "measured"
        self._write = write
        self._values = values
        self.ratio = 0.0

    def __call__(self) -> float:
        """Bytes a second."""
        began = time.perf_counter()
        self._write(self._path, self._values)
        if FSYNC:
            sync(self._path)
        seconds = time.perf_counter() - began
        self.ratio = self._values.nbytes / sum(file.stat().st_size for file in files(self._path))
        shutil.rmtree(self._path) if self._path.is_dir() else self._path.unlink()
        return float(self._values.nbytes / seconds)


def files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def sync(path: Path) -> None:
    for file in files(path):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def compare(
    table: Table,
    folder: Path,
    work: str,
    values: Any,
    writers: Mapping[str, peers.Write],
    goals: Mapping[str, float],
    goal_of: str = "",
) -> None:
    """One row for each rival; the first writer is ours. Goals are for the rate, at 0.9 of the rival's ratio or more."""
    timed = {name: Timed(folder, write, values) for name, write in writers.items()}
    rates = interleaved(timed, rounds=5)
    own, *rivals = writers
    for rival in rivals:
        quicker = median(rates[own]) / median(rates[rival])
        smaller = timed[own].ratio / timed[rival].ratio
        goal = goals.get(rival, 1.0)
        table.add(
            Row(work, shown(rates[own], timed[own]), rival, shown(rates[rival], timed[rival]), quicker,
                f"≥ {goal:g}, size ≥ 0.9" if timed[own].ratio > 1.01 else f"≥ {goal:g}",
                quicker >= goal and smaller >= 0.9,
                f"size ratio {smaller:.2f} of the rival's; {spread(rates[own], rates[rival])}",
                goal_of=goal_of if rival in goals else "")
        )  # fmt: skip


def shown(rates: list[float], timed: Timed) -> str:
    return f"{rate(median(rates))} ×{timed.ratio:.3g}"


def without_compression(table: Table, folder: Path, values: Any) -> None:
    """Beside the bytes alone."""
    tiled = np.tile(values, 4)
    limit = "os.write of the same bytes"
    for work, write in (("HDF5, no compression", ours(None)), ("the same, growing", ours_growing(None))):
        compare(table, folder, work, tiled, {"ours": write, limit: peers.os_write}, {limit: 0.8}, "file")


def installed(table: Table, choices: Mapping[str, Callable[[], peers.Write]]) -> dict[str, peers.Write]:
    """Those that can be had; the others are left out, with the reason."""
    found = {}
    for name, choice in choices.items():
        try:
            found[name] = choice()
        except ImportError as error:
            table.leave_out(name, first_line(error))
    return found


def with_compression(table: Table, folder: Path, signal: str, values: Any) -> None:
    """Each of ours beside the same kind of compression in other hands."""
    gzip = {"compression": "gzip", "compression_opts": 4}
    standard = "h5py gzip-4 + shuffle"
    rivals: dict[str, dict[str, Callable[[], peers.Write]]] = {
        "gzip": {
            standard: lambda: peers.h5py_filters(**gzip),
            "PyTables zlib-4 + shuffle": lambda: peers.pytables("zlib", 4),
            "Zarr gzip-4 + shuffle": lambda: peers.zarr_array("gzip", 4),
        },
        "lzf": {"h5py lzf + shuffle": lambda: peers.h5py_filters(compression="lzf")},
        "zstd": {
            "h5py with hdf5plugin zstd-1 + shuffle": lambda: peers.h5py_zstd(1),
            "PyTables blosc2:zstd-1 + shuffle": lambda: peers.pytables("blosc2:zstd", 1),
            "Zarr zstd-1 + shuffle": lambda: peers.zarr_array("zstd", 1),
        },
    }
    for compression, choices in rivals.items():
        writers = {"ours": ours(compression), **installed(table, choices)}
        compare(
            table,
            folder,
            f"{compression}, {signal}",
            values,
            writers,
            {standard: 6.0},
            "gzip" if compression == "gzip" else "",
        )
    growing = {"ours": ours_growing("gzip"), f"{standard}, resized": peers.h5py_growing(COMMITS, **gzip)}
    compare(
        table, folder, f"gzip, growing in {COMMITS} commits, {signal}", values, growing, dict.fromkeys(growing, 6.0)
    )


def threads_help(table: Table, folder: Path, values: Any) -> None:
    """The same work with one thread: what compresses must not hold the GIL."""
    one, several = PackingThreads(1), PackingThreads()
    for compression in ("gzip", "lzf", "zstd"):
        writers = {"ours": ours(compression, several), "one thread": ours(compression, one)}
        compare(table, folder, f"{compression}, {several.count} threads", values, writers, {"one thread": 1.2})
    several.close()


PEAK = """
import sys
import h5py
import numpy as np
from mulletdaq.hdf5.appender import ChunkedAppender
from mulletdaq.hdf5.filters import make_growing

def peak_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

path, commits = sys.argv[1], int(sys.argv[2])
values = np.random.default_rng(1).normal(size=1 << 20)
with h5py.File(path, "w") as file:
    appender = ChunkedAppender(make_growing(file, "x", values.dtype))
    before = peak_kb()
    for _ in range(commits):
        appender.append(values)
        file.flush()
print((peak_kb() - before) * 1024)
"""


def memory(table: Table, folder: Path) -> None:
    """The peak of a process that appends 8 MiB a commit, beyond what it had before the first: bounded by the chunks."""
    if not Path("/proc/self/status").exists():
        table.leave_out("peak memory", "needs /proc")
        return
    peaks = {}
    for commits in (4, sized(64, 8)):
        path = folder / "peak.h5"
        command = [sys.executable, "-c", PEAK, str(path), str(commits)]
        done = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(sized(3, 1))]
        peaks[commits] = median([float(out) for out in done])
        path.unlink()
    few, many = peaks.values()
    ratio = many / few
    table.add(
        Row("peak memory of gzip, growing to 512 MiB", f"{many / 2**20:.1f} MiB", "growing to 32 MiB",
            f"{few / 2**20:.1f} MiB", ratio, "≤ 1.5", ratio <= 1.5, "beyond that before the first commit")
    )  # fmt: skip


def run(table: Table) -> None:
    table.title = f"HDF5, {'everybody' if FSYNC else 'nobody'} calls fsync"
    print("fsync by everybody" if FSYNC else "no fsync by anybody", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="mulletdaq-bench-"))
    given = signals()
    try:
        without_compression(table, folder, given["white noise, float64"])
        for signal, values in given.items():
            with_compression(table, folder, signal, values)
        threads_help(table, folder, given["16-bit ADC's sine, float64"])
        memory(table, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main("HDF5", run)
