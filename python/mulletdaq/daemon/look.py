"""What is not as it should be, found by looking at streams, recordings, children and disks."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping

from mulletdaq.daemon.child import Child
from mulletdaq.daemon.conditions import Condition, Conditions
from mulletdaq.daemon.output import Output
from mulletdaq.daemon.streams import DaemonStream
from mulletdaq.flight.messages import DiskStatus

_FILL_WARNING = 0.75
_FILL_FAILING = 0.9
_FILL_CALM = 0.5
_NEARLY = 2.0
_LOSS_LASTS_S = 600.0
_FLIGHT_SILENT_S = 5.0


class Losses:
    """Remembers which recordings lost rows not long ago."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, outputs: Iterable[Output]) -> Iterator[Condition]:
        """Conditions for those that did."""
        now = time.monotonic()
        outputs = list(outputs)
        names = {output.name for output in outputs}
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        for output in outputs:
            lost = output.statistics().rows_lost
            before, at = self._seen.get(output.name, (0, -_LOSS_LASTS_S))
            if lost != before:
                self._seen[output.name] = (lost, now)
                at = now
            if lost and now - at < _LOSS_LASTS_S:
                yield Condition(
                    "rows_lost",
                    output.name,
                    f"recording {output.name} has lost {lost} rows, overwritten before they were in the file",
                    "a larger ring, or a faster disk, keeps them; the file's ledger says which",
                )


def stream_conditions(streams: Iterable[DaemonStream], known: Conditions) -> Iterator[Condition]:
    """Rings that fill, and streams that fall silent."""
    for stream in streams:
        fill = stream.fill
        if fill >= _FILL_WARNING or (fill >= _FILL_CALM and known.is_present("ring_fill", stream.name)):
            yield Condition(
                "ring_fill",
                stream.name,
                f"the ring of stream {stream.name} is {fill:.0%} full of rows that are in no file yet",
                "when it is full, rows are lost; see to the disk, or make the ring larger",
                "failing" if fill >= _FILL_FAILING else "warning",
            )
        limit_s = stream.silent_after_s
        if limit_s is not None and stream.silent_s() > limit_s:
            yield Condition(
                "stream_silent",
                stream.name,
                f"nothing has come into stream {stream.name} for more than {limit_s:g} s",
                "look at the source: is it connected, does its program run?",
            )


def recording_conditions(outputs: Iterable[Output]) -> Iterator[Condition]:
    """Recordings that do not write, or lag behind."""
    for output in outputs:
        info = output.info()
        if output.stalled_since is not None and info.state == "recording":
            yield Condition(
                "writer_stalled",
                output.name,
                f"the writer of recording {output.name} (process {output.writer.pid}) does nothing, though rows wait",
                "it is replaced before long, the ring keeps the rows; a disk that hangs is the usual reason",
                "failing",
            )
        elif info.state == "paused":
            yield Condition(
                "recording_paused",
                output.name,
                f"recording {output.name} pauses: {info.reason}",
                "make room on the disk; it resumes by itself",
                "failing",
            )
        elif info.state == "failed":
            yield Condition(
                "recording_failed",
                output.name,
                f"recording {output.name} cannot write: {info.reason}",
                "see to the reason; it is tried again, and the ring keeps what it can",
                "failing",
            )
        elif info.lag_s > output.patience_s:
            yield Condition(
                "writer_lag",
                output.name,
                f"recording {output.name} is {info.lag_s:.0f} s behind",
                "a slower flush, less compression or a faster disk helps",
            )


def child_conditions(outputs: Iterable[Output], children: Iterable[Child]) -> Iterator[Condition]:
    """Processes that do not run."""
    statuses = [output.child() for output in outputs if output.running] + [child.status() for child in children]
    for status in statuses:
        if status.state == "restarting" and status.last_death:
            yield Condition(
                "child_restarting",
                f"{status.kind} {status.name}",
                f"the {status.kind} process of {status.name} {status.last_death}, and is being started again",
                "see the log for what it says",
                "failing",
            )
        elif status.state == "stalled" and status.kind != "writer":
            yield Condition(
                "child_stalled",
                f"{status.kind} {status.name}",
                f"the {status.kind} process of {status.name} (process {status.pid}) does nothing any more",
                "it is replaced before long; a device that does not answer is the usual reason",
                "failing",
            )


def look_at_child(child: Child, streams: Mapping[str, DaemonStream], stall_timeout_s: float) -> None:
    """See whether a source or the Flight process still does something; kill it when it has not for too long.

    Parameters
    ----------
    stall_timeout_s
        How long that is; infinite where nobody is to be killed now.
    """
    if child.ready_at is None:
        child.stalled = False
        return
    if child.kind == "flight":
        silent_s, limit_s = time.monotonic() - child.heard_at, _FLIGHT_SILENT_S
    else:
        stream = streams[child.name]
        source = stream.config.source
        assert source is not None
        silent_s, limit_s = stream.silent_s(child.ready_at), max(3 / source.rate_hz, 3.0)
        if stream.config.on_full == "block" and stream.fill > _FILL_FAILING:
            silent_s = 0.0  # it waits for room, as it should
    child.stalled = silent_s > limit_s
    if silent_s > max(stall_timeout_s, limit_s):
        child.kill()


def disk_conditions(disks: Iterable[DiskStatus]) -> Iterator[Condition]:
    """Disks with little room."""
    for disk in disks:
        if disk.free_bytes < _NEARLY * disk.reserve_bytes:
            short = disk.free_bytes < disk.reserve_bytes
            free_mb, reserve_mb = disk.free_bytes >> 20, disk.reserve_bytes >> 20
            yield Condition(
                "disk_low",
                disk.folder,
                f"{disk.folder} has {free_mb} MB left, of which {reserve_mb} MB are kept free",
                "make room; writing pauses and the rings fill" if short else "make room before writing pauses",
                "failing" if short else "warning",
            )


def disks_of(folders: Iterable[str], reserve_mb: int) -> list[DiskStatus]:
    """Room in folders, once a file system."""
    found: dict[int, DiskStatus] = {}
    for folder in folders:
        try:
            device, disk = os.stat(folder).st_dev, os.statvfs(folder)
        except OSError:
            continue  # whoever writes there tells what is wrong
        free_bytes = disk.f_bavail * disk.f_frsize
        found.setdefault(device, DiskStatus(folder=folder, free_bytes=free_bytes, reserve_bytes=reserve_mb << 20))
    return list(found.values())


__all__ = [
    "Losses",
    "child_conditions",
    "disk_conditions",
    "disks_of",
    "look_at_child",
    "recording_conditions",
    "stream_conditions",
]
