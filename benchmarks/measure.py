"""Rounds that are interleaved, medians, ratios, one table: what all benchmarks share.

Machines are noisy, so nothing here is compared across runs: each figure stands beside its rival from the same rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from machine import machine, peer_versions

Value = TypeVar("Value")
QUICK = "--quick" in sys.argv
"""Little work and few rounds, to see that a benchmark runs; its figures mean nothing."""
GOALS = {
    "sample": "`write_measurement`, beside one call of `math.sqrt`",
    "sample, across processes": "the same, beside the best peer that crosses processes",
    "sample, into a file": "the same, beside appends to a file",
    "block": "`write_block` of 1 M float64, beside `numpy.copyto`",
    "batch": "`write_arrow_batch`, beside `batch.serialize()` and a copy",
    "latency": "latency between two processes, native cursor, polling",
    "tail": "an append's 99.9th percentile while the writer flushes, beside none",
    "file": "HDF5 without compression, beside `os.write`",
    "gzip": "HDF5 with gzip and shuffle, beside h5py's",
    "flight": "Flight `do_get` and `do_put`, beside a bare server",
    "sustained": "16 channels × 1 MS/s with nothing lost, ring of 100 MB",
}
"""What the package promises, in the order in which tables show it; a row names its goal by the key."""


def sized(full: Value, quick: Value) -> Value:
    """How much work: all of it, or with ``--quick`` a little."""
    return quick if QUICK else full


def argument(flag: str, default: Value) -> Value:
    """What follows a flag on the command line, of the default's type."""
    if flag not in sys.argv:
        return default
    return type(default)(sys.argv[sys.argv.index(flag) + 1])  # type: ignore[call-arg]


ROUNDS = argument("--rounds", sized(7, 2))

Key = TypeVar("Key")


@dataclass
class Row:
    """One line of the table: what we measured, beside what, and whether the goal is met.

    ``goal_of`` is a key of GOALS where the row decides about that goal; ``note`` says what the figures do not, such as
    what a kill or a power cut would lose.
    """

    work: str
    ours: str
    rival_name: str
    rival: str
    ratio: float
    goal: str
    met: bool
    spread: str = ""
    note: str = ""
    goal_of: str = ""
    part: str = ""


@dataclass
class Table:
    """Rows, and what could not be measured."""

    title: str
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=machine)
    peers: dict[str, str] = field(default_factory=peer_versions)

    def add(self, row: Row) -> None:
        """Keep a row and show it."""
        if row.goal_of and row.goal_of not in GOALS:
            raise ValueError(f"{row.goal_of!r} is none of the goals: {', '.join(GOALS)}")
        row.part = row.part or self.title
        self.rows.append(row)
        print(_line(row), flush=True)

    def leave_out(self, name: str, reason: str) -> None:
        """Say what was not measured, and why."""
        self.left_out[name] = reason
        print(f"left out: {name}: {reason}", flush=True)

    def merge(self, content: Mapping[str, Any]) -> None:
        """Take over what another process wrote with `write_json`."""
        self.rows += [Row(**row) for row in content["rows"]]
        self.left_out |= content["left_out"]

    def ordered(self) -> list[Row]:
        """Rows that decide about a goal first, in the goals' order."""
        order = {goal: place for place, goal in enumerate(GOALS)}
        return sorted(self.rows, key=lambda row: order.get(row.goal_of, len(order)))

    def show(self) -> None:
        """All of it, once more and in order."""
        print(f"\n{self.title}: {described(self.machine)}")
        part = ""
        for row in self.ordered():
            heading = "The goals" if row.goal_of else row.part
            if heading != part:
                print(f"\n{heading}")
                part = heading
            print(_line(row))
        for name, reason in self.not_measured():
            print(f"left out: {name}: {reason}")

    def not_measured(self) -> Iterable[tuple[str, str]]:
        """What was left out, and the goals about which no row decides."""
        yield from self.left_out.items()
        decided = {row.goal_of for row in self.rows}
        yield from ((GOALS[goal], "not measured in this run") for goal in GOALS if goal not in decided)

    def markdown(self) -> str:
        """The table for the docs, with what it was measured on before it and what was left out behind it."""
        head = "| work | ours | rival or limit | rival's | ratio | goal | met | remarks |\n" + "|---" * 8 + "|\n"
        lines = (
            f"| {row.work} | {row.ours} | {row.rival_name} | {row.rival} | {row.ratio:.2f} | {row.goal} | "
            f"{'yes' if row.met else '**no**'} | {_remarks(row)} |\n"
            for row in self.ordered()
        )
        versions = f"{described(self.machine)}.\n\nPeers: {described(self.peers) or 'none installed'}.\n\n"
        missing = "".join(f"- {name}: {reason}\n" for name, reason in self.not_measured())
        return versions + head + "".join(lines) + (f"\nLeft out:\n\n{missing}" if missing else "")

    def write_json(self, path: str) -> None:
        """Everything for machines."""
        Path(path).write_text(json.dumps(asdict(self), indent=1))

    def place(self, page: Path) -> None:
        """Put the Markdown into a page, between its two marks."""
        before, begin, rest = page.read_text().partition("<!-- benchmarks -->\n")
        _, end, after = rest.partition("<!-- end of benchmarks -->")
        if not (begin and end):
            raise ValueError(f"{page} lacks the marks between which the table goes")
        page.write_text(before + begin + self.markdown() + end + after)

    def write(self) -> None:
        """``--json FILE``, ``--markdown FILE``, and ``--page FILE`` for the Markdown within a page of the docs."""
        if path := argument("--json", ""):
            self.write_json(path)
        if path := argument("--markdown", ""):
            Path(path).write_text(self.markdown())
        if path := argument("--page", ""):
            self.place(Path(path))


def described(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _line(row: Row) -> str:
    mark = "met" if row.met else "NOT MET"
    return (
        f"{row.work:<46} {row.ours:>12}  {row.rival_name:<34} {row.rival:>12}  "
        f"{row.ratio:6.2f}  goal {row.goal:<8} {mark}  {_remarks(row)}"
    )


def _remarks(row: Row) -> str:
    return "; ".join(filter(None, (row.spread, row.note)))


def interleaved(work: Mapping[Key, Callable[[], float]], rounds: int = ROUNDS) -> dict[Key, list[float]]:
    """Each measurement once a round, in turn, so that what the machine does meanwhile meets all alike."""
    for measure in work.values():
        measure()
    results: dict[Key, list[float]] = {name: [] for name in work}
    for _ in range(sized(rounds, 2)):
        for name, measure in work.items():
            results[name].append(measure())
    return results


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def spread(values: list[float], rivals: list[float] | None = None) -> str:
    """Least and most of the rounds, as a share of the median."""
    theirs = f", the rival's {_extent(rivals)}" if rivals else ""
    return f"rounds {_extent(values)} of the median{theirs}"


def _extent(values: list[float]) -> str:
    middle = median(values) or 1.0
    return f"{min(values) / middle:.2f}–{max(values) / middle:.2f}"


def nanoseconds(value: float) -> str:
    """A duration for people."""
    for unit, scale in (("ns", 1), ("µs", 1e3), ("ms", 1e6)):
        if value < 1000 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e9:.3g} s"


def rate(bytes_per_s: float) -> str:
    """A rate for people."""
    return f"{bytes_per_s / 1e9:.2f} GB/s" if bytes_per_s >= 1e9 else f"{bytes_per_s / 1e6:.0f} MB/s"


def faster(
    table: Table, work: str, ours: list[float], rival_name: str, rival: list[float], goal: float, **more: str
) -> None:
    """A row for durations: ours must be at least `goal` times faster."""
    ratio = median(rival) / median(ours)
    table.add(
        Row(work, nanoseconds(median(ours)), rival_name, nanoseconds(median(rival)), ratio, f"≥ {goal:g}",
            ratio >= goal, spread(ours, rival), **more)
    )  # fmt: skip


def slower_by(
    table: Table, work: str, ours: list[float], rival_name: str, rival: list[float], goal: float, **more: str
) -> None:
    """A row for durations: ours may take at most `goal` times as long."""
    ratio = median(ours) / median(rival)
    table.add(
        Row(work, nanoseconds(median(ours)), rival_name, nanoseconds(median(rival)), ratio, f"≤ {goal:g}",
            ratio <= goal, spread(ours, rival), **more)
    )  # fmt: skip


def main(title: str, run: Callable[[Table], Any]) -> None:
    """Print the table; ``--json FILE`` and ``--markdown FILE`` keep it, ``--quick`` tries it out."""
    if {"-h", "--help"} & set(sys.argv):
        print(sys.modules["__main__"].__doc__)
        return
    table = Table(title)
    print(f"{title}: {described(table.machine)}", flush=True)
    try:
        run(table)
    finally:
        # What came before a failure was measured all the same.
        table.write()


def first_line(error: BaseException) -> str:
    """Why something could not be measured."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def shared_memory() -> str | None:
    """Where rings of a benchmark go: shared memory where there is some, else the folder for temporary files."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None
