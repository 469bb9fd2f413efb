"""A recording from start to end: rings, producers and the writer process, made and closed for you."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from mulletdaq.errors import MulletError, RecordingError
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.many_objects import many_objects
from mulletdaq.recording.orphans import clear_orphans, remove_if_empty, remove_unused_rings, wait_until_saved
from mulletdaq.recording.output import Mode, check_mode, output_path
from mulletdaq.recording.statistics import RecordingStatistics
from mulletdaq.recording.stream import StreamRecording
from mulletdaq.ring import OnFull, output_ring_name
from mulletdaq.ring.options import check_policy, rounded_capacity
from mulletdaq.schema import ChannelsLike, normalize_channels

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

_open_recordings: dict[str, Recording] = {}
_registry_lock = threading.Lock()


def record(
    path: str | os.PathLike[str],
    channels: ChannelsLike | None = None,
    *,
    streams: Mapping[str, ChannelsLike] | None = None,
    mode: Mode = "x",
    ring_capacity_mb: float = 100,
    flush_interval_s: float = 1.0,
    layout: str = "batches",
    compression: str | None = "gzip",
    chunk_rows: int | None = None,
    fsync: Literal["commit", "never"] = "commit",
    metadata: Mapping[str, Any] | None = None,
    on_full: OnFull = "overwrite",
    checksum: bool = False,
    drain_timeout_s: float | None = None,
    journal_limit_mb: float = 256,
    rotate_rows: int | None = None,
    rotate_mb: float | None = None,
    rotate_s: float | None = None,
    creator: str | None = None,
) -> Recording:
    """Record into an HDF5 file.

    Parameters
    ----------
    path
        The file; may hold ``{start:%Y%m%dT%H%M%S}`` (UTC), ``{index}`` (the first that is free), and ``{stream}`` if
        there is one stream with a name.
    channels
        Name to unit or :class:`Channel`, or a list of channels.
    streams
        Instead of `channels`, for instruments at different rates: stream name to channels. Each
        stream has a ring of its own, ``rec["scope"]`` writes to it.
    mode
        ``"x"``: a new file. ``"a"``: a new run in an existing one; rows that a killed recording left
        in its ring are written first.
    ring_capacity_mb
        Memory between the loop and the disk, for each stream.
    flush_interval_s
        Time between commits to the file; a backlog of a quarter ring is committed at once.
    layout, compression, chunk_rows, fsync
        As for :class:`HDF5Writer`. A warning says when ``"batches"`` would make over a million objects a day.
    metadata
        Stored with the file; text, numbers, arrays, times, nested dicts of these.
    on_full
        What a write does when the file cannot keep up: ``"overwrite"`` the oldest rows and count
        them, ``"block"``, or ``"error"``.
    checksum
        Give the ring's frames a CRC32C, checked before they are written to the file.
    drain_timeout_s
        How long the end may take to bring everything to the file; None waits for it.
    journal_limit_mb, rotate_rows, rotate_mb, rotate_s
        As for :class:`HDF5Writer`.
    creator
        Text of a new file's ``creator`` attribute.

    Returns
    -------
    Recording
        Starts with its ``with`` (or ``async with``) block, or at first use; ends with the block, with
        :meth:`Recording.close`, or with the interpreter.

    Raises
    ------
    OutputExistsError
        Mode ``"x"``, and the file is there.
    SchemaError, RecordingError, ValueError
        Arguments that cannot be.
    """
    if (channels is None) == (streams is None):
        raise TypeError('give channels={"voltage": "V"} for one stream, or streams={"scope": {…}, …} for several')
    by_stream = {"": channels} if channels is not None else dict(streams or {})
    if not by_stream:
        raise TypeError("streams is empty; a recording needs at least one stream")
    check_policy(on_full, None)
    rounded_capacity(ring_capacity_mb, None)
    only_stream = next(iter(by_stream)) if len(by_stream) == 1 and "" not in by_stream else None
    first_path, template = output_path(path, mode, stream=only_stream)
    by_name = {name: tuple(normalize_channels(given or {})) for name, given in by_stream.items()}
    recording = Recording(
        first_path,
        by_name,
        mode=mode,
        ring_options={"capacity_mb": ring_capacity_mb, "on_full": on_full, "checksum": checksum},
        writer_options={
            "path": template,
            "rotate_rows": rotate_rows,
            "rotate_mb": rotate_mb,
            "rotate_s": rotate_s,
            "flush_interval_s": flush_interval_s,
            "layout": layout,
            "compression": compression,
            "chunk_rows": chunk_rows,
            "fsync": fsync,
            "metadata": metadata,
            "drain_timeout_s": drain_timeout_s,
            "journal_limit_mb": journal_limit_mb,
            "creator": creator,
        },
    )
    _close_earlier(recording.path)
    check_mode(recording.path, mode)
    if layout == "batches":
        words = many_objects(flush_interval_s, (1 + len(own) for own in by_name.values()))
        if words:
            warnings.warn(words, stacklevel=2)
    return recording


class Recording:
    """A recording under way; made by :func:`record`.

    Its streams may be written from any thread of this process, not from a forked child.

    Attributes
    ----------
    path
        The file, absolute.
    write_measurement : callable
        Of a recording with one stream: see :class:`StreamRecording`.
    """

    write_measurement: Callable[..., None]

    def __init__(
        self,
        path: str,
        channels: Mapping[str, ChannelsLike],
        *,
        mode: Mode,
        ring_options: Mapping[str, Any],
        writer_options: Mapping[str, Any],
    ) -> None:
        self.path = path
        self._channels = channels
        self._mode = mode
        self._ring_options = ring_options
        self._writer_options = writer_options
        self._streams: dict[str, StreamRecording] = {}
        self._writer: HDF5Writer | None = None
        self._final: RecordingStatistics | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    # ---- start and end

    def start(self) -> Self:
        """Make rings and producers, and start the writer process. The ``with`` block does this.

        Raises
        ------
        OutputExistsError, RecordingError, RingError, FileError
            What keeps the recording from starting; nothing is left behind.
        """
        with self._lock:
            if self._writer is not None or self._final is not None:
                return self
            _close_earlier(self.path)
            check_mode(self.path, self._mode)
            existed = os.path.lexists(self.path)
            names = {name: output_ring_name(self.path, name or None) for name in self._channels}
            clear_orphans(self.path, self._mode, self._writer_options)
            try:
                self._begin(names)
            except BaseException:
                # Ctrl-C may come between any two steps: whatever there is by now goes again.
                self._abandon(names)
                if not existed:
                    remove_if_empty(self.path)
                raise
        return self

    def _begin(self, names: Mapping[str, str]) -> None:
        for name, channels in self._channels.items():
            self._streams[name] = StreamRecording(name, names[name], channels, **self._ring_options)
        rings = {name: stream.ring for name, stream in self._streams.items()}
        self._writer = HDF5Writer(ring=rings.get("", rings), first_path=self.path, **self._writer_options)
        self._writer.start()
        only = self._streams.get("")
        if only is not None:
            # The ring's bound builtin itself: no Python frame between the loop and the ring.
            self.write_measurement = only.write_measurement
        with _registry_lock:
            _open_recordings[self.path] = self

    def _abandon(self, names: Mapping[str, str]) -> None:
        writer = self._writer
        self._forget()
        if writer is not None and writer.alive:
            with suppress(MulletError):
                writer.stop({})
        self._discard()
        remove_unused_rings(names.values())

    def close(self) -> None:
        """Bring everything written so far into the file, close it, and remove the rings. Closing twice is fine.

        Raises
        ------
        RecordingError
            If the file could not take everything; the rings are kept, and the message says how to go on.
        """
        with self._lock:
            if self._writer is None or self._pid != os.getpid():
                return
            rows = {name: stream.rows_written for name, stream in self._streams.items()}
            for stream in self._streams.values():
                stream.producer.close()
            try:
                self._writer.stop(rows)
            except MulletError as error:
                kept = ", ".join(stream.ring.path for stream in self._streams.values())
                raise RecordingError(
                    f"{self.path} does not have everything yet: {error}. What is missing is kept in {kept}; "
                    'record with mode="a" to the same file and it is written first'
                ) from error
            except BaseException:
                # Ctrl-C while it drains: the writer goes on by itself, and the rings go when all is saved.
                if all(wait_until_saved(stream.ring) for stream in self._streams.values()):
                    self._discard()
                raise
            else:
                self._final = self.statistics()
                self._discard()
            finally:
                self._forget()

    def _forget(self) -> None:
        self._writer = None
        with _registry_lock:
            if _open_recordings.get(self.path) is self:
                del _open_recordings[self.path]

    def _discard(self) -> None:
        for stream in self._streams.values():
            stream.discard()
        self._streams = {}

    # ---- writing

    def __getattr__(self, name: str) -> Any:
        # Only reached while the attribute is not there: a recording used without a with block starts here.
        if name != "write_measurement":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._only().write_measurement

    def write_block(
        self,
        *values: Any,
        timestamps_ns: Any = None,
        start_ns: int | None = None,
        rate_hz: float | None = None,
    ) -> None:
        """Write many samples at once: see :meth:`StreamRecording.write_block`."""
        self._only().write_block(*values, timestamps_ns=timestamps_ns, start_ns=start_ns, rate_hz=rate_hz)

    def annotate(self, text: str, *, timestamp_ns: int | None = None) -> None:
        """Store a note with its time and each stream's row at this moment."""
        streams = self._started()
        rows = {name: stream.rows_written for name, stream in streams.items()}
        assert self._writer is not None
        self._writer.annotate(text, time.time_ns() if timestamp_ns is None else timestamp_ns, rows)

    def flush(self) -> None:
        """Bring everything written before this call into the file, now.

        Raises
        ------
        FileWriteError, WriterError
            If the file cannot take it now; the writer goes on trying.
        """
        self._started()
        assert self._writer is not None
        self._writer.flush()

    # ---- reading

    def latest(self, count: int) -> Mapping[str, npt.NDArray[Any]]:
        """The newest samples as NumPy arrays, one a column, ``timestamp`` among them."""
        return self._only().latest(count)

    def statistics(self) -> RecordingStatistics:
        """Counts of all streams; of an ended recording the final ones. Never waits for the writer."""
        if self._final is not None:
            return self._final
        streams = self._started()
        writer = self._writer
        assert writer is not None
        counts = writer.statistics()
        return RecordingStatistics(
            rows_written=sum(stream.rows_written for stream in streams.values()),
            rows_persisted=counts.rows_persisted,
            rows_lost=counts.rows_lost,
            batches=counts.batches,
            lag_s=counts.lag_s,
            ring_fill=max(stream.ring.statistics().fill for stream in streams.values()),
            file_bytes=counts.file_bytes,
            writer_alive=writer.alive,
        )

    def __getitem__(self, stream: str) -> StreamRecording:
        """One of several streams, by name."""
        streams = self._started()
        if stream not in streams:
            raise KeyError(f"no stream {stream!r}; there are {', '.join(map(repr, streams))}")
        return streams[stream]

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def _only(self) -> StreamRecording:
        streams = self._started()
        if "" not in streams:
            raise RecordingError(f"this recording has the streams {', '.join(streams)}: write to rec[name]")
        return streams[""]

    def _started(self) -> Mapping[str, StreamRecording]:
        if self._writer is None:
            if self._final is not None or self._streams:
                raise RecordingError(f"the recording to {self.path} has ended; start a new one")
            self.start()
        return self._streams

    # ---- with

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        state = "ended" if self._final is not None else "recording" if self._writer is not None else "not started"
        return f"<Recording {self.path} ({state})>"


def _close_earlier(path: str) -> None:
    """A notebook cell run again: end what its last run began."""
    with _registry_lock:
        earlier = _open_recordings.get(path)
    if earlier is not None and earlier._pid == os.getpid():
        warnings.warn(f"a recording to {path} was still open in this process and has been closed", stacklevel=3)
        earlier.close()


@atexit.register
def _close_all() -> None:
    """The end of an interpreter that left no with block: nothing may be lost."""
    for recording in list(_open_recordings.values()):
        try:
            recording.close()
        except MulletError as error:
            warnings.warn(str(error), stacklevel=1)
