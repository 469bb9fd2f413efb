"""``mullet tail``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from mulletdaq.cli.interrupts import stop_on_signals
from mulletdaq.cli.output import warn
from mulletdaq.cli.remote import TlsRootFile, TokenFile, is_remote, tail_remote
from mulletdaq.cli.rows import batch_lines, heading, message_line
from mulletdaq.errors import FrameCorruptError
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.pacing import StopFlag
    from mulletdaq.ring import Cursor, RingBuffer

_POLL_S = 0.05
_ROWS_AT_ONCE = 4096


def tail(
    ring: Annotated[
        str, typer.Argument(metavar="RING", help="Name or path, see: mullet status; or grpc://HOST:PORT/STREAM.")
    ],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="Start with the last N rows.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with new rows.")] = True,
    token_file: TokenFile = None,
    tls_root_file: TlsRootFile = None,
) -> None:
    """Print a ring's last rows, then each new one as it comes, until its producer ends or Ctrl-C.

    Of a stream on another computer, reached through its daemon, until Ctrl-C.
    """
    from mulletdaq.ring import attach

    if is_remote(ring):
        with stop_on_signals() as stop:
            tail_remote(ring, lines, follow, stop, token_file, tls_root_file)
        return
    with stop_on_signals() as stop, attach(ring) as buffer:
        newest = buffer.newest_row
        with buffer.cursor(start_row=max(0, newest - lines)) as cursor:
            _Printer(buffer, cursor, stop).run(until_row=None if follow else newest)


class _Printer:
    """Prints what a cursor brings, below a heading as soon as there is a schema."""

    def __init__(self, buffer: RingBuffer, cursor: Cursor, stop: StopFlag) -> None:
        self._buffer = buffer
        self._cursor = cursor
        self._stop = stop
        self._has_heading = False

    def run(self, until_row: int | None) -> None:
        """Print to that row, or else until the producer has ended."""
        while not self._stop.is_set():
            ended = not self._buffer.producer_alive  # asked before reading: what came before its end is printed yet
            before = self._cursor.row
            self._print_heading()
            for line in self._lines(until_row):
                print(line, flush=True)
            if until_row is not None or (ended and self._cursor.row == before):
                return
            time.sleep(_POLL_S)

    def _lines(self, until_row: int | None) -> Iterator[str]:
        """A line for each row that is there now."""
        cursor = self._cursor
        while not self._stop.is_set() and (until_row is None or cursor.row < until_row):
            wanted = _ROWS_AT_ONCE if until_row is None else min(_ROWS_AT_ONCE, until_row - cursor.row)
            try:
                data = cursor.read(wanted)
            except FrameCorruptError as error:
                warn(str(error))
                continue
            for loss in cursor.take_losses():
                warn(f"rows {loss.first_row} to {loss.first_row + loss.rows - 1} were lost: {loss.cause}")
            if data is None:
                return
            if isinstance(data, bytes):
                yield message_line(data, cursor.timestamp_ns)
            else:
                yield from batch_lines(data)

    def _print_heading(self) -> None:
        if not self._has_heading and self._buffer.schema is not None:
            print(heading(self._buffer.schema), flush=True)
            self._has_heading = True
