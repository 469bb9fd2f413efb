"""``mullet status --watch``: streams, recordings and disks, again every second; and a daemon's status once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mulletdaq.cli.interrupts import stop_on_signals
from mulletdaq.cli.output import print_table, size, terminal
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    from rich import box
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

if TYPE_CHECKING:
    from mulletdaq.flight.client import Connection
    from mulletdaq.flight.messages import ChildStatus, Status
    from mulletdaq.ring import RingInfo

_INTERVAL_S = 1.0
_LOOK_INTERVAL_S = 0.1
_WARNING_FILL = 0.75
_CRITICAL_FILL = 0.9

STREAM_HEADINGS = ("stream", "rows", "rate", "fill", "lost", "producer", "newest")
RECORDING_HEADINGS = ("recording", "state", "in file", "lost", "lag", "size", "file")
PROCESS_HEADINGS = ("process", "state", "pid", "restarts", "last death")
DISK_HEADINGS = ("disk", "left", "kept free")


@dataclass
class Picture:
    """What is shown: tables of text, by their headings."""

    title: str
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = field(default_factory=list)

    def add(self, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """A table; none where there is nothing to tell."""
        if rows:
            self.tables.append((headings, list(rows)))


def remote_picture(status: Status) -> Picture:
    """A daemon."""
    picture = Picture(f"mulletdaq {status.version} at {status.address}, pid {status.pid}")
    picture.add(
        STREAM_HEADINGS,
        [
            (
                stream.name,
                str(stream.rows),
                _rate(stream.rows_per_s),
                f"{stream.ring_fill:.1%}",
                str(stream.rows_lost),
                "-" if stream.producer_pid is None else stream.source or f"pid {stream.producer_pid}",
                "-" if stream.last_row_age_s is None else f"{stream.last_row_age_s:.1f} s ago",
            )
            for stream in status.streams
        ],
    )
    picture.add(
        RECORDING_HEADINGS,
        [
            (
                recording.name,
                recording.state if recording.reason is None else f"{recording.state}: {recording.reason}",
                str(recording.rows_persisted),
                str(recording.rows_lost),
                f"{recording.lag_s:.1f} s",
                size(recording.file_bytes),
                recording.path,
            )
            for recording in status.recordings
        ],
    )
    picture.add(
        PROCESS_HEADINGS,
        [
            (_process_name(child), child.state, _or_dash(child.pid), str(child.restarts), child.last_death or "-")
            for child in status.children
        ],
    )
    disks = [(disk.folder, size(disk.free_bytes), size(disk.reserve_bytes)) for disk in status.disks]
    picture.add(DISK_HEADINGS, disks)
    return picture


class LocalRings:
    """The rings of this user, and how fast they grow between two looks."""

    def __init__(self, look: Callable[[], list[RingInfo]]) -> None:
        self._look = look
        self._before: dict[str, tuple[int, float]] = {}

    def picture(self) -> Picture:
        """The rings now."""
        from mulletdaq.ring import ring_directory

        folder = ring_directory()
        picture = Picture(f"rings in {folder}")
        picture.add(STREAM_HEADINGS, [self._row(info) for info in self._look()])
        disk = os.statvfs(folder)
        picture.add(DISK_HEADINGS, [(str(folder), size(disk.f_bavail * disk.f_frsize), "-")])
        return picture

    def _row(self, info: RingInfo) -> tuple[str, ...]:
        facts = info.statistics
        if facts is None:
            return (info.name, f"error: {info.error}", "-", "-", "-", "-", "-")
        now = time.monotonic()
        rows, then = self._before.get(info.path, (facts.rows_written, now))
        self._before[info.path] = (facts.rows_written, now)
        rate = _rate((facts.rows_written - rows) / (now - then)) if now > then else "-"
        lost = "unknown" if facts.rows_lost is None else str(facts.rows_lost)
        producer = "-" if facts.producer_pid is None else f"pid {facts.producer_pid}"
        return (info.name, str(facts.rows_written), rate, f"{facts.fill:.1%}", lost, producer, "-")


def print_status(connection: Connection) -> None:
    """A daemon's status, once."""
    print_picture(remote_picture(connection.status()))


def print_picture(picture: Picture) -> None:
    """Tables below one another."""
    print(picture.title)
    for headings, rows in picture.tables:
        print_table(headings, rows)


def watch(look: Callable[[], Picture]) -> None:
    """Show what ``look`` returns, every second until Ctrl-C: in place at a terminal, else one after the other."""
    console = terminal()
    with stop_on_signals() as stop:
        if console is None:
            for _ in _seconds(stop.is_set):
                print_picture(look())
                print(flush=True)
            return
        with Live(_drawn(look()), console=console, auto_refresh=False, screen=False) as live:
            for _ in _seconds(stop.is_set):
                live.update(_drawn(look()), refresh=True)


def _seconds(is_over: Callable[[], bool]) -> Iterator[None]:
    due = time.monotonic()
    while not is_over():
        if time.monotonic() >= due:
            due = time.monotonic() + _INTERVAL_S
            yield
        time.sleep(_LOOK_INTERVAL_S)


def _drawn(picture: Picture) -> Group:
    tables = []
    for headings, rows in picture.tables:
        table = Table(box=box.ROUNDED, header_style="bold")
        for heading in headings:
            table.add_column(Text(heading), overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, _style(name, cell)) for name, cell in zip(headings, row, strict=True)))
        tables.append(table)
    return Group(Text(picture.title, "bold"), *tables)


def _style(heading: str, cell: str) -> str:
    """Red and yellow for what needs looking at."""
    if heading == "fill" and cell.endswith("%"):
        share = float(cell[:-1]) / 100
        return "bold red" if share >= _CRITICAL_FILL else "yellow" if share >= _WARNING_FILL else "green"
    if heading == "lost":
        return "" if cell == "0" else "bold red"
    if heading == "state":
        return "green" if cell in ("recording", "running") else "" if cell == "stopped" else "bold red"
    return ""


def _rate(rows_per_s: float) -> str:
    return f"{rows_per_s:,.0f}/s" if rows_per_s >= 10 else f"{rows_per_s:.2g}/s"


def _process_name(child: ChildStatus) -> str:
    return child.kind if child.kind == child.name else f"{child.kind} {child.name}"


def _or_dash(number: int | None) -> str:
    return "-" if number is None else str(number)


__all__ = ["LocalRings", "Picture", "print_picture", "print_status", "remote_picture", "watch"]
