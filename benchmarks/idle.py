"""What a daemon costs that does almost nothing: one stream at 100 Hz, Flight on, no client.

python benchmarks/idle.py [SECONDS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CONFIG = """
[daemon]
port = 0
[streams.data]
source = { name = "simulated", rate_hz = 100.0 }
outputs = [{ path = "data.h5" }]
"""
SETTLE_S = 5.0


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


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        Path(folder, "mullet.toml").write_text(CONFIG)
        command = [str(Path(sys.executable).parent / "mullet"), "daemon", "--config", "mullet.toml"]
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
    print(f"one stream at 100 Hz over {elapsed_s:.0f} s\n")
    print(f"{'process':<40}{'CPU':>9}{'memory':>12}")
    for pid, one in after.items():
        cpu = (one.cpu_s - before[pid].cpu_s) / elapsed_s
        print(f"{one.name:<40}{cpu:>8.2%} {one.memory_mb:>8.1f} MB")
    cpu = sum(after[pid].cpu_s - before[pid].cpu_s for pid in after) / elapsed_s
    print(f"{'all':<40}{cpu:>8.2%} {sum(one.memory_mb for one in after.values()):>8.1f} MB")
    rest = sum(after[pid].cpu_s - before[pid].cpu_s for pid in after if "source" not in after[pid].name) / elapsed_s
    print(f"{'all but the source, a Python loop':<40}{rest:>8.2%}")
    print(f"{'the ring, shared':<40}{'':>9}{sum(one.ring_mb for one in after.values()):>9.1f} MB")


if __name__ == "__main__":
    main()
