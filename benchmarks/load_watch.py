"""One run: an instrument and its writer, watched from a third process, and their files counted and removed."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
from load_cases import Case

import mulletdaq as mullet

PRODUCER = Path(__file__).parent / "load_producer.py"
LOOK_S = 0.02
TIDY_S = 0.2
ROTATE_MB = 512
MOST_BYTES = 8 << 30
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE_S = 120.0


@dataclass
class Result:
    """What one run came to; without an ``error`` its rows add up.

    Attributes
    ----------
    rows_on_disk
        Entries of every dataset of the files, counted.
    ledger_rows
        Rows that the files' own ledger says are lost.
    kept
        Share of the wanted rate that the instrument had; NaN where it has none to keep.
    latest_s
        How late a block came at worst, s.
    cpu
        Time of the processor that the writer took while rows came, in cores.
    peak_kb, own_kb
        Most memory of the writer's process, the part of the ring that it had mapped included; and without it.
    fill
        Time since the beginning, s, and the share of the fullest ring that was not in the file.
    """

    case: str
    work: str
    settings: str
    ring_mb: float
    place: str
    seconds: float = 0.0
    drain_s: float = 0.0
    rows_in: int = 0
    rows_on_disk: int = 0
    rows_lost: int = 0
    ledger_rows: int = 0
    p999_ns: float = 0.0
    longest_ns: float = 0.0
    kept: float = float("nan")
    latest_s: float = float("nan")
    cpu: float = 0.0
    peak_kb: int = 0
    own_kb: int = 0
    file_bytes: int = 0
    files: int = 0
    fill: list[tuple[float, float]] = field(default_factory=list)
    error: str = ""

    @property
    def adds_up(self) -> bool:
        """Whether each row is on the disk or counted as lost."""
        counted = self.rows_lost == self.ledger_rows and self.rows_on_disk + self.rows_lost == self.rows_in
        return counted and not self.error

    @property
    def highest_fill(self) -> float:
        """The most that the ring held."""
        return max((fill for _, fill in self.fill), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {**asdict(self), "adds_up": self.adds_up}


class Watch:
    """Watches one run from start to end.

    Parameters
    ----------
    case
        What is recorded.
    folder, rings
        Where its files and its rings go: folders of our own, which somebody else removes.
    plan
        The rest of what ``load_producer.Plan`` wants.
    show
        Called now and then with the seconds since the beginning and how full the ring is.
    """

    def __init__(
        self, case: Case, folder: Path, rings: Path, plan: dict[str, Any], show: Callable[[float, float], None]
    ) -> None:
        self._plan = {"path": str(folder / "load_{index}.h5"), **case.to_dict(), "rotate_mb": ROTATE_MB, **plan}
        place = "memory" if _in_memory(rings) else "disk"
        self.result = Result(case.name, case.work, f"{case.settings}, {case.signal}", plan["ring_mb"], place)
        self._folder, self._rings, self._show = folder, rings, show
        self._writer: int | None = None
        self._cpu_before = self._cpu_after = 0.0
        self._open: list[mullet.RingBuffer] = []

    def run(self) -> Result:
        """See the run through, also where it is interrupted; its files are gone when this returns or raises."""
        with ExitStack() as stack:
            stack.callback(self._remove_files)
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            with _uninterrupted():
                process = subprocess.Popen(
                    [sys.executable, str(PRODUCER), json.dumps(self._plan)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    env={**os.environ, "MULLET_RING_DIR": str(self._rings)},
                    text=True,
                )
                stack.callback(_end, process)
            self._follow(process)
            if process.wait(PATIENCE_S):
                said.seek(0)
                *_, self.result.error = [f"exit code {process.returncode}", *said.read().split("\n")[-2:-1]]
                return self.result
            self._tidy(all_of_them=True)
        return self.result

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """Take what the instrument tells, and look at rings and writer in between."""
        assert process.stdout is not None and process.stdin is not None
        tidied = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                if selector.select(LOOK_S):
                    line = process.stdout.readline()
                    if not line:
                        break
                    self._hear(json.loads(line))
                self._look()
                if time.monotonic() - tidied > TIDY_S:
                    tidied = time.monotonic()
                    if self._tidy() > MOST_BYTES:
                        process.stdin.close()
                        self.result.error = f"ended early: its files came to more than {MOST_BYTES >> 30} GB"
        for ring in self._open:
            ring.close()

    def _hear(self, told: dict[str, Any]) -> None:
        event = told.pop("event")
        if event == "begun":
            self._open = [mullet.RingBuffer.open(path) for path in told["rings"]]
            self._writer = self._open[0].statistics().sink_pid
            self._began = time.monotonic()
            self._cpu_before = self._cpu_after = self._cpu()
            return
        if event == "written":
            self._cpu_after = self._cpu()
            self.result.cpu = (self._cpu_after - self._cpu_before) / told["seconds"]
            del told["rows"]
        for name, value in told.items():
            setattr(self.result, name, value)

    def _look(self) -> None:
        """How full the fullest ring is, and how much memory the writer has."""
        if self._writer is None:
            return
        fill = max(min(1.0, (ring.write_head - ring.read_tail) / ring.capacity_bytes) for ring in self._open)
        elapsed_s = time.monotonic() - self._began
        self.result.fill.append((elapsed_s, fill))
        self._show(elapsed_s, fill)
        with suppress(OSError, StopIteration):  # it has ended
            status = Path(f"/proc/{self._writer}/status").read_text().splitlines()
            self.result.peak_kb = max(self.result.peak_kb, _kilobytes(status, "VmHWM"))
            self.result.own_kb = max(self.result.own_kb, _kilobytes(status, "RssAnon"))

    def _cpu(self) -> float:
        with suppress(OSError):
            words = Path(f"/proc/{self._writer}/stat").read_bytes().rpartition(b")")[2].split()
            return (int(words[11]) + int(words[12])) * TICK_S
        return self._cpu_after

    def _tidy(self, *, all_of_them: bool = False) -> int:
        """Count files that are finished, and remove them; how many bytes the others have."""
        files = sorted(self._folder.glob("load_*.h5"), key=lambda file: int(file.stem.partition("_")[2]))
        finished = files if all_of_them else files[:-1]
        for file in finished:
            if file.with_name(file.name + "-journal").exists():
                continue
            rows, lost = count(file)
            self.result.rows_on_disk += rows
            self.result.ledger_rows += lost
            self.result.file_bytes += file.stat().st_size
            self.result.files += 1
            file.unlink()
        left = 0
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):
                left += file.stat().st_size
        return left

    def _remove_files(self) -> None:
        for folder in (self._folder, self._rings):
            for file in folder.iterdir():
                file.unlink(missing_ok=True)


def count(path: Path) -> tuple[int, int]:
    """Rows of a file, of all streams, as its datasets have them, and rows that its ledger has as lost.

    Raises
    ------
    ValueError
        If the datasets of a batch or a stream are not equally long.
    """
    with mullet.open(path) as file:
        rows = sum(_rows_of(group) for group in _groups(file["measurements"]))
        lost = int(file["losses/rows"][:].sum()) if "rows" in file["losses"] else 0
    return rows, lost


def _groups(group: Any) -> Iterator[Any]:
    """All groups with datasets; that of a table of batches has none of ours."""
    if any(isinstance(member, h5py.Dataset) for member in group.values()):
        yield group
    for member in group.values():
        if isinstance(member, h5py.Group):
            yield from _groups(member)


def _rows_of(group: Any) -> int:
    lengths = {len(member) for member in group.values() if isinstance(member, h5py.Dataset)}
    if len(lengths) != 1:
        raise ValueError(f"{group.file.filename}: datasets of {group.name} have {sorted(lengths)} rows")
    return int(lengths.pop())


def _kilobytes(status: list[str], name: str) -> int:
    return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


def _in_memory(folder: Path) -> bool:
    return folder.resolve().is_relative_to("/dev/shm")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits meanwhile. It never reaches a process that is started in here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: subprocess.Popen[str]) -> None:
    """Have the instrument end its recording, which takes the writer with it."""
    if process.poll() is None:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
