"""Rounds that are interleaved, medians, ratios, one table: what all benchmarks share.

Machines are noisy, so nothing here is compared across runs: each figure stands beside its rival from the same rounds.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

ROUNDS = 7

Key = TypeVar("Key")


@dataclass
class Row:
    """One line of the table: what we measured, beside what, and whether the goal is met."""

    work: str
    ours: str
    rival_name: str
    rival: str
    ratio: float
    goal: str
    met: bool
    spread: str = ""


@dataclass
class Table:
    """Rows, and what could not be measured."""

    title: str
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Keep a row and show it."""
        self.rows.append(row)
        print(_line(row), flush=True)

    def leave_out(self, name: str, reason: str) -> None:
        """Say what was not measured, and why."""
        self.left_out[name] = reason
        print(f"left out: {name}: {reason}", flush=True)

    def markdown(self) -> str:
        """The table for the docs."""
        head = "| work | ours | rival or limit | rival's | ratio | goal | met |\n|---|---|---|---|---|---|---|\n"
        lines = (
            f"| {row.work} | {row.ours} | {row.rival_name} | {row.rival} | {row.ratio:.2f} | {row.goal} | "
            f"{'yes' if row.met else '**no**'} |"
            for row in self.rows
        )
        return head + "\n".join(lines) + "\n"

    def write_json(self, path: str) -> None:
        """Everything for machines."""
        content = {
            "title": self.title,
            "machine": machine(),
            "rows": [asdict(row) for row in self.rows],
            "left_out": self.left_out,
        }
        Path(path).write_text(json.dumps(content, indent=1))


def _line(row: Row) -> str:
    mark = "met" if row.met else "NOT MET"
    return (
        f"{row.work:<46} {row.ours:>12}  {row.rival_name:<34} {row.rival:>12}  "
        f"{row.ratio:6.2f}  goal {row.goal:<8} {mark}  {row.spread}"
    )


def machine() -> dict[str, str]:
    """What it was measured on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    versions = {}
    for package in ("mulletdaq", "numpy", "pyarrow", "h5py"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()}",
        **versions,
    }


def interleaved(work: Mapping[Key, Callable[[], float]], rounds: int = ROUNDS) -> dict[Key, list[float]]:
    """Each measurement once a round, in turn, so that what the machine does meanwhile meets all alike."""
    for measure in work.values():
        measure()
    results: dict[Key, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, measure in work.items():
            results[name].append(measure())
    return results


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def spread(values: list[float]) -> str:
    """Least and most, as a share of the median."""
    middle = median(values)
    return f"(rounds {min(values) / middle:.2f} to {max(values) / middle:.2f} of the median)"


def nanoseconds(value: float) -> str:
    """A duration for people."""
    for unit, scale in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if value < 1000 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e9:.3g} s"


def rate(bytes_per_s: float) -> str:
    """A rate for people."""
    return f"{bytes_per_s / 1e9:.2f} GB/s" if bytes_per_s >= 1e9 else f"{bytes_per_s / 1e6:.0f} MB/s"


def faster(table: Table, work: str, ours: list[float], rival_name: str, rival: list[float], goal: float) -> None:
    """A row for durations: ours must be at least `goal` times faster."""
    ratio = median(rival) / median(ours)
    table.add(
        Row(work, nanoseconds(median(ours)), rival_name, nanoseconds(median(rival)), ratio, f"≥ {goal:g}",
            ratio >= goal, spread(ours))
    )  # fmt: skip


def slower_by(table: Table, work: str, ours: list[float], rival_name: str, rival: list[float], goal: float) -> None:
    """A row for durations: ours may take at most `goal` times as long."""
    ratio = median(ours) / median(rival)
    table.add(
        Row(work, nanoseconds(median(ours)), rival_name, nanoseconds(median(rival)), ratio, f"≤ {goal:g}",
            ratio <= goal, spread(ours))
    )  # fmt: skip


def main(title: str, run: Callable[[Table], Any]) -> None:
    """Print the table; ``--json FILE`` and ``--markdown FILE`` keep it."""
    table = Table(title)
    print(f"{title}: {', '.join(f'{key} {value}' for key, value in machine().items())}", flush=True)
    run(table)
    arguments = sys.argv[1:]
    if "--json" in arguments:
        table.write_json(arguments[arguments.index("--json") + 1])
    if "--markdown" in arguments:
        Path(arguments[arguments.index("--markdown") + 1]).write_text(table.markdown())
