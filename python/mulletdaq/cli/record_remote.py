"""``mullet record grpc://HOST:PORT/STREAM``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulletdaq.cli.interrupts import Interrupt, stop_on_signals
from mulletdaq.cli.output import print_facts, print_json, warn
from mulletdaq.cli.progress import saved, show_text
from mulletdaq.cli.remote import connected, find_stream, split_stream
from mulletdaq.cli.summary import next_command, shortest
from mulletdaq.errors import RecordingError

if TYPE_CHECKING:
    from mulletdaq.flight.streams import RemoteStream
    from mulletdaq.hdf5 import HDF5Writer
    from mulletdaq.recording.elsewhere import Recorded

_LOOK_S = 0.1


def record_remote(
    place: str,
    output: str,
    *,
    start: str,
    duration_s: float | None,
    append: bool,
    token_file: str | None,
    tls_root_file: str | None,
    writer_options: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Record a stream of a daemon into a file on this computer, until Ctrl-C."""
    from mulletdaq.hdf5 import HDF5Writer
    from mulletdaq.recording.elsewhere import output_for, recorded

    with stop_on_signals() as stop:
        address, _ = split_stream(place)
        with connected(address, token_file, tls_root_file) as connection:
            stream = find_stream(connection, place)
            path, template = output_for(output, stream, append=append)
            before = recorded(path, stream)
            first = int(start) if start.isdecimal() else start
            writer = HDF5Writer(template, stream, first_path=path, start=first, **writer_options)  # type: ignore[arg-type]
        writer.start()
        began = time.monotonic()
        with saved(path, writer.stop), show_text(_start_line(stream, path, before, duration_s)) as show:
            _wait(writer, stop, duration_s, show)
    _report(path, stream, before, recorded(path, stream), time.monotonic() - began, as_json, stopped=stop.is_set())


def _start_line(stream: RemoteStream, path: str, before: Recorded, duration_s: float | None) -> str:
    until = "until Ctrl-C" if duration_s is None else f"for {duration_s:g} s; Ctrl-C stops it early"
    after = f" after the {before.rows} rows that it has" if before.rows else ""
    return f"recording {stream.origin} into {shortest(Path(path))}{after} {until}"


def _wait(writer: HDF5Writer, stop: Interrupt, duration_s: float | None, show: Callable[[str], None] | None) -> None:
    end = None if duration_s is None else time.monotonic() + duration_s
    while not stop.is_set() and (end is None or time.monotonic() < end):
        if not writer.alive:
            raise RecordingError(f"the writer of {writer.path} was told to end by others; the same command goes on")
        if show is not None:
            now = writer.statistics()
            line = f"{now.rows_persisted} rows, {now.rows_lost} lost, {now.lag_s:.1f} s behind"
            show(f"{line}; {now.trouble}" if now.trouble else line)
        time.sleep(_LOOK_S)


def _report(
    path: str,
    stream: RemoteStream,
    before: Recorded,
    after: Recorded,
    elapsed_s: float,
    as_json: bool,
    *,
    stopped: bool,
) -> None:
    rows, lost, runs = after.rows - before.rows, after.rows_lost - before.rows_lost, after.runs - before.runs
    if lost:
        warn(f"{lost} rows were gone before they could be received; a larger ring over there keeps them longer")
    if as_json:
        answer = {"path": path, "stream": stream.origin, "rows": rows, "lost": lost, "rows_in_file": after.rows}
        print_json(answer | {"new_runs": runs, "elapsed_s": round(elapsed_s, 6), "stopped": stopped})
        return
    in_file = f", {after.rows} in the file" if before.rows else ""
    facts = [("rows", f"{rows} in {elapsed_s:.2f} s{in_file}"), ("lost", str(lost))]
    print_facts(shortest(Path(path)), facts)
    print(f"next: {next_command('verify', Path(path))}")


__all__ = ["record_remote"]
