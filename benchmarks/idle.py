"""What a daemon costs that does almost nothing: one stream at 100 Hz, Flight on, no client.

python benchmarks/idle.py [--seconds SECONDS] [--quick] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from measure import Row, Table, argument, main, shared_memory, sized

CONFIG = """
[daemon]
port = 0
[streams.data]
source = { name = "simulated", rate_hz = 100.0 }
outputs = [{ path = "data.h5" }]
"""
SETTLE_S = sized(5.0, 0.5)
SECONDS = argument("--seconds", sized(30.0, 1.0))


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


def measured(seconds: float) -> tuple[dict[int, Cost], dict[int, Cost], float]:
    """What each process had cost before and after so many seconds of it."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=shared_memory()) as rings:
        Path(folder, "mullet.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "mulletdaq", "daemon", "--config", "mullet.toml"]
        environment = {**os.environ, "MULLET_RING_DIR": rings}
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout is not None
            while daemon.stdout.readline() != "ready for hardware\n":
                assert daemon.poll() is None
            time.sleep(SETTLE_S)
            before, began = costs(daemon.pid), time.monotonic()
            time.sleep(seconds)
            after, elapsed_s = costs(daemon.pid), time.monotonic() - began
            daemon.terminate()
    return before, after, elapsed_s


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
    before, after, elapsed_s = measured(SECONDS)
    bare = bare_loop(SECONDS / 3)
    shares = {pid: (one.cpu_s - before[pid].cpu_s) / elapsed_s for pid, one in after.items()}
    print(f"one stream at 100 Hz over {elapsed_s:.0f} s")
    for pid, one in after.items():
        print(f"{one.name:<40}{shares[pid]:>8.2%} {one.memory_mb:>8.1f} MB")
    ring_mb = sum(one.ring_mb for one in after.values())
    cpu, memory_mb = sum(shares.values()), sum(one.memory_mb for one in after.values())
    source = sum(share for pid, share in shares.items() if "source" in after[pid].name)
    note = f"{source:.2%} of it the source; a Python loop that only sleeps 100 times a second costs {bare:.2%}"
    table.add(
        Row("a daemon's processor time, a stream at 100 Hz", f"{cpu:.2%}", "limit, of one core", "1 %", cpu / 0.01,
            "≤ 1", cpu <= 0.01, note=note)
    )  # fmt: skip
    table.add(
        Row("its memory, all processes", f"{memory_mb:.0f} MB", "limit", "150 MB", memory_mb / 150, "≤ 1",
            memory_mb <= 150, note=f"shared pages by share, without the ring's {ring_mb:.0f} MB")
    )  # fmt: skip


if __name__ == "__main__":
    main("An idle daemon", run)
