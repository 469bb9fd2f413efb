"""A source in a process of its own: ``python -m mulletdaq.daemon.source_process``, kept alive by the daemon.

The first line of standard input says what to do; its end, or SIGTERM, ends the process. What it says on standard output
is JSON, one object a line: ``{"event": "ready"}``, or ``{"event": "failed", …}`` with the reason.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mulletdaq.children import leave_the_terminal_to_the_owner
from mulletdaq.errors import MulletError, ProducerLockedError, RingReplacedError, SchemaMismatchError
from mulletdaq.ring.options import OnFull

_PATIENCE_S = 5.0


@dataclass(frozen=True)
class SourceOptions:
    """What a source process is told.

    Attributes
    ----------
    source, rate_hz
        What to read, and how often.
    ring_path, stream_id
        The ring to write to, and which one it must be.
    on_full
        See :meth:`mulletdaq.RingBuffer.producer`.
    """

    source: str
    rate_hz: float
    ring_path: str
    stream_id: int
    on_full: OnFull

    def line(self) -> bytes:
        """As the first line."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> int:
    """Read a source into a ring until told to end."""
    leave_the_terminal_to_the_owner()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    options = SourceOptions(**json.loads(line))
    threading.Thread(target=_end_with_input, args=(stop,), daemon=True).start()
    try:
        run(options, stop, lambda: _tell(event="ready"))
    except Exception as error:
        _tell(event="failed", type=type(error).__name__, message=str(error))
        return 1
    return 0


def run(options: SourceOptions, stop: threading.Event, tell_ready: Callable[[], None]) -> None:
    """Become the ring's producer, and write each sample to it.

    Raises
    ------
    SourceError
        If the source fails.
    RingError
        If the ring is not the one meant, has another producer, or other columns.
    """
    from mulletdaq.acquisition import opened, pump
    from mulletdaq.daemon.prepare_process import prepare_rings
    from mulletdaq.ring import RingBuffer
    from mulletdaq.sources.registry import make_source

    source = make_source(options.source)
    with RingBuffer.open(options.ring_path) as ring:
        if ring.stream_id != options.stream_id:
            raise RingReplacedError(f"{options.ring_path} is another ring than the daemon's; restart the daemon")
        [problem] = prepare_rings([(options.ring_path, source.channels)])
        if problem is None:
            raise ProducerLockedError(f"ring {options.ring_path}: another process produces; stop it first")
        if problem:
            raise SchemaMismatchError(f"ring {options.ring_path}: {problem}")
        with ring.producer(on_full=options.on_full) as producer, opened(source):
            tell_ready()
            pump(source, producer.append, rate_hz=options.rate_hz, stop=stop)


def _end_with_input(stop: threading.Event) -> None:
    """The end of input is the end of the daemon, or its wish; a source that hangs in a read is left behind."""
    while os.read(0, 1 << 12):  # not through sys.stdin, whose lock would be held at the interpreter's end
        pass
    stop.set()
    threading.Event().wait(_PATIENCE_S)
    os._exit(1)


def _tell(**words: Any) -> None:
    try:
        print(json.dumps(words), flush=True)
    except OSError:
        raise MulletError("the daemon is gone") from None


if __name__ == "__main__":
    sys.exit(main())
