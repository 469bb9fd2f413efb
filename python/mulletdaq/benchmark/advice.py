"""From what a machine holds to what a recording at a wanted rate should be given: nothing but arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mulletdaq.hdf5.many_objects import many_objects

MEGABYTE = 1_048_576
STALL_S = 10.0
"""How long a disk may do nothing, without a row lost: what drives that spin up, and busy systems, take."""

DEFAULT_RING_MB = 100
DEFAULT_INTERVAL_S = 1.0

_SAFE = 0.9
_EASY = 0.5
_COMMIT_SHARE = 0.1
_MEMORY_SHARE = 0.25

Verdict = Literal["easily", "barely", "uncompressed", "no"]


@dataclass(frozen=True)
class Wanted:
    """What is to be recorded: float64 channels, sampled together.

    Attributes
    ----------
    rate_hz
        Samples a second of each channel.
    channels
        How many.
    """

    rate_hz: float
    channels: int = 1

    @property
    def row_bytes(self) -> int:
        """Bytes a sample of all channels takes in the ring, with its time stamp."""
        return 8 * (self.channels + 1)

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second."""
        return self.rate_hz * self.row_bytes


@dataclass(frozen=True)
class Measured:
    """What a machine holds with that many channels.

    Attributes
    ----------
    gzip_hz, plain_hz
        The highest rates with nothing lost, in samples/s, compressed as by default and not at all; 0 if none was held.
    commit_s
        What a commit takes that has hardly anything to write.
    call_ns
        A call of ``write_measurement``.
    memory_bytes
        Of the machine.
    """

    gzip_hz: float
    plain_hz: float
    commit_s: float
    call_ns: float
    memory_bytes: int


@dataclass(frozen=True)
class Advice:
    """What to record with.

    Attributes
    ----------
    verdict
        ``"easily"``: at most half of the highest rate; ``"barely"``: at most nine tenths; ``"uncompressed"``: only
        without compression; ``"no"``.
    share
        The wanted rate by the highest one, with the compression that is recommended; infinite if none was held.
    compression, layout, interval_s, ring_mb
        Arguments of :func:`mulletdaq.record`.
    bridged_s
        How long the disk may stand still with that ring before a row is lost; 0 if the rate is too high anyway.
    catch_up_s
        How long the writer then takes to have written what waited; infinite if never.
    call_share
        Share of the time that a loop spends in ``write_measurement`` at this rate; above one half blocks are due.
    """

    verdict: Verdict
    share: float
    compression: str | None
    layout: str
    interval_s: float
    ring_mb: int
    bridged_s: float
    catch_up_s: float
    call_share: float

    @property
    def needs_blocks(self) -> bool:
        """Whether the rate is more than a loop over samples should be asked for."""
        return self.call_share > 0.5


def advise(wanted: Wanted, measured: Measured) -> Advice:
    """What to record with at a wanted rate, on a machine that was measured."""
    compression = (
        "gzip" if _share(wanted, measured.gzip_hz) <= _SAFE or _share(wanted, measured.plain_hz) > _SAFE else None
    )
    highest_hz = measured.gzip_hz if compression else measured.plain_hz
    share = _share(wanted, highest_hz)
    interval_s = max(DEFAULT_INTERVAL_S, nice(measured.commit_s / _COMMIT_SHARE))
    ring_mb = _ring_mb(wanted, interval_s + measured.commit_s, measured.memory_bytes)
    bridged_s = bridged(ring_mb, wanted.bytes_per_s, interval_s + measured.commit_s) if share <= 1 else 0.0
    return Advice(
        verdict=_verdict(share, compression),
        share=share,
        compression=compression,
        layout="continuous" if many_objects(interval_s, [wanted.channels + 1]) else "batches",
        interval_s=interval_s,
        ring_mb=ring_mb,
        bridged_s=bridged_s,
        catch_up_s=bridged_s * wanted.rate_hz / (highest_hz - wanted.rate_hz) if share < 1 else math.inf,
        call_share=wanted.rate_hz * measured.call_ns / 1e9,
    )


def bridged(ring_mb: float, bytes_per_s: float, waiting_s: float) -> float:
    """How long a ring takes what the disk does not: until it is full, less what waits in it anyway."""
    return max(0.0, ring_mb * MEGABYTE / bytes_per_s - waiting_s)


def nice(number: float) -> float:
    """The next of … 1, 2, 5, 10, 20, 50 … that is no smaller."""
    if number <= 0:
        return 0.0
    scale = 10.0 ** math.floor(math.log10(number))
    return next(step * scale for step in (1, 2, 5, 10, 20) if step * scale >= number)


def _share(wanted: Wanted, highest_hz: float) -> float:
    return wanted.rate_hz / highest_hz if highest_hz else math.inf


def _verdict(share: float, compression: str | None) -> Verdict:
    if share > _SAFE:
        return "no"
    if compression is None:
        return "uncompressed"
    return "easily" if share <= _EASY else "barely"


def _ring_mb(wanted: Wanted, waiting_s: float, memory_bytes: int) -> int:
    """Enough for what waits between commits and for a stall, unless that is too much of the memory."""
    needed = nice(wanted.bytes_per_s * (waiting_s + STALL_S) / MEGABYTE)
    most = max(1.0, memory_bytes * _MEMORY_SHARE // MEGABYTE)
    return int(min(max(needed, DEFAULT_RING_MB), most))


__all__ = ["STALL_S", "Advice", "Measured", "Wanted", "advise", "bridged", "nice"]
