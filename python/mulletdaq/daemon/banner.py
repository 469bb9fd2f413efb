"""What the daemon says when it is ready."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mulletdaq import __version__
from mulletdaq.daemon.supervisor import Daemon


def banner(daemon: Daemon) -> Iterator[str]:
    """Ring, output, interval and address of everything, line by line."""
    yield f"mulletdaq {__version__}, process {os.getpid()}"
    for stream in daemon.streams.values():
        size_mb = stream.ring.capacity_bytes / (1 << 20)
        source = stream.config.source
        read = "" if source is None else f", {source.name} at {source.rate_hz:g} Hz"
        yield f"  stream   {stream.name}{read}"
        yield f"  ring     {stream.ring.path} ({size_mb:g} MB)"
    for output in daemon.recordings.running:
        interval_s = output.plan.options["flush_interval_s"]
        streams = "" if len(daemon.streams) == 1 else f" ({', '.join(output.plan.streams)})"
        info = output.info()
        how = f"written every {interval_s:g} s" if info.state != "failed" else f"not written yet: {info.reason}"
        yield f"  output   {info.path}{streams}, {how}"
    yield f"  address  {daemon.address or 'none, Flight is off'}"
    yield "ready for hardware"


__all__ = ["banner"]
