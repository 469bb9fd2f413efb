"""What a daemon costs that does almost nothing: one stream at 100 Hz, Flight on, no client.

python benchmarks/idle.py [--seconds SECONDS] [--quick] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import ROUNDS, Row, Table, argument, main, median, shared_memory, sized, spread

CONFIG = """
[daemon]
port = 0
[streams.data]
source = { name = "simulated", rate_hz = 100.0 }
outputs = [{ path = "data.h5" }]
"""
SETTLE_S = sized(5.0, 0.5)
SECONDS = argument("--seconds", sized(56.0, 1.0))


@dataclass
class Cost:
    """Of one process: CPU time so far, and its share of memory without and within the ring."""

    name: str
    cpu_s: float
    memory_mb: float
    ring_mb: float


def costs(daemon: int) -> dict[int, Cost]:
    """The daemon's processes."""
    children = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    threads = {int(child) for task in Path(f"/proc/{daemon}/task").iterdir() for child in task_children(task)}
    return {pid: cost(pid) for pid in sorted({daemon, *map(int, children), *threads})}


def task_children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def cost(pid: int) -> Cost:
    # Not from stat, which counts whole ticks of 10 ms: a wake-up takes less, and all of a second of idling is one tick.
    cpu_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    memory_kb = ring_kb = 0
    in_ring = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            in_ring = line.endswith(".ring")
        elif name == "Pss:":
            kilobytes = int(rest.split()[0])
            memory_kb, ring_kb = memory_kb + kilobytes * (not in_ring), ring_kb + kilobytes * in_ring
    module = command[command.index(b"-m") + 1].decode() if b"-m" in command else command[0].decode()
    return Cost(module, cpu_ns / 1e9, memory_kb / 1024, ring_kb / 1024)


@contextmanager
def idle_daemon() -> Iterator[int]:
    """A daemon at work, by its process id."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=shared_memory()) as rings:
        Path(folder, "mullet.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "mulletdaq", "daemon", "--config", "mullet.toml"]
        environment = {**os.environ, "MULLET_RING_DIR": rings}
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout is not None
            while daemon.stdout.readline() != "ready for hardware\n":
                assert daemon.poll() is None
            time.sleep(SETTLE_S)
            try:
                yield daemon.pid
            finally:
                daemon.terminate()


def shares_of(daemon: int, seconds: float) -> dict[int, float]:
    """What share of a core each of its processes takes over so many seconds."""
    before, began = costs(daemon), time.monotonic()
    time.sleep(seconds)
    after, elapsed_s = costs(daemon), time.monotonic() - began
    return {pid: (one.cpu_s - before[pid].cpu_s) / elapsed_s for pid, one in after.items()}


BARE = """
import sys, time

def cpu_ns():
    with open("/proc/self/schedstat") as file:
        return int(file.read().split()[0])

seconds = float(sys.argv[1])
began, before = time.monotonic(), cpu_ns()
while (elapsed_s := time.monotonic() - began) < seconds:
    time.sleep(0.01)
print((cpu_ns() - before) / 1e9 / elapsed_s)
"""


def bare_loop(seconds: float) -> float:
    """What a Python loop costs that only sleeps, a hundred times a second: the least that any source can."""
    done = subprocess.run([sys.executable, "-c", BARE, str(seconds)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def run(table: Table) -> None:
    """All processes together, and each on its own."""
    if not Path("/proc/self/smaps").exists():
        table.leave_out("an idle daemon", "needs /proc")
        return
    bare: list[float] = []
    rounds: list[dict[int, float]] = []
    with idle_daemon() as daemon:
        for _ in range(ROUNDS):
            rounds.append(shares_of(daemon, SECONDS / ROUNDS))
            bare.append(bare_loop(SECONDS / ROUNDS / 2))
        processes = costs(daemon)
    shares = {pid: median(one[pid] for one in rounds) for pid in processes}
    print(f"one stream at 100 Hz, {ROUNDS} rounds of {SECONDS / ROUNDS:.0f} s")
    for pid, one in processes.items():
        print(f"{one.name:<40}{shares[pid]:>8.2%} {one.memory_mb:>8.1f} MB")
    ring_mb = sum(one.ring_mb for one in processes.values())
    totals = [sum(one.values()) for one in rounds]
    cpu, memory_mb = median(totals), sum(one.memory_mb for one in processes.values())
    source = sum(share for pid, share in shares.items() if "source" in processes[pid].name)
    note = f"{source:.2%} of it the source; a Python loop that only sleeps 100 times a second costs {median(bare):.2%}"
    table.add(
        Row("a daemon's processor time, a stream at 100 Hz", f"{cpu:.2%}", "limit, of one core", "1 %", cpu / 0.01,
            "≤ 1", cpu <= 0.01, spread=spread(totals, bare), note=note)
    )  # fmt: skip
    table.add(
        Row("its memory, all processes", f"{memory_mb:.0f} MB", "limit", "150 MB", memory_mb / 150, "≤ 1",
            memory_mb <= 150, note=f"shared pages by share, without the ring's {ring_mb:.0f} MB")
    )  # fmt: skip


if __name__ == "__main__":
    main("An idle daemon", run)
