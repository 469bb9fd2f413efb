"""The daemon's configuration: a TOML file as frozen dataclasses.

The dataclasses are the standard library's, so that the daemon need not load what checks them: pydantic is loaded by
:func:`mulletdaq.config_file.read_config` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from mulletdaq.extras import needs_extra
from mulletdaq.pacing import MAX_RATE_HZ, MIN_RATE_HZ
from mulletdaq.ring.options import OnFull
from mulletdaq.schema import Channel

with needs_extra("daemon"):
    from annotated_types import Ge, Gt, Le

DEFAULT_STREAM = "experiment_data"
DEFAULT_OUTPUT = "experiment_data.h5"


class Checked:
    """Marks text that is checked by something of an upper floor: a source's name, a path's template.

    Parameters
    ----------
    what
        Name of the check in the context that the reader of a file gives; without it all is accepted.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __get_pydantic_core_schema__(self, source: Any, make: Callable[[Any], Any]) -> Any:
        """See pydantic; loaded by then."""
        from pydantic_core import core_schema

        return core_schema.with_info_after_validator_function(self._check, make(source))

    def _check(self, value: str, info: Any) -> str:
        check = (info.context or {}).get(self._what)
        if check is not None:
            check(value)
        return value


Template = Annotated[str, Checked("template")]
Interval = Annotated[float, Gt(0), Le(3600)]
Positive = Annotated[float, Gt(0), Le(1e15)]
Megabytes = Annotated[int, Ge(1), Le(1 << 20)]
File = Annotated[str, Checked("file")]

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class ChannelConfig:
    """One channel, as :class:`mulletdaq.Channel`; ``voltage = "V"`` stands for ``voltage = {unit = "V"}``."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    unit: str = ""
    dtype: str = "float64"
    shape: tuple[int, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """What the daemon itself reads into a stream.

    Attributes
    ----------
    name
        As of ``mullet record --source``.
    rate_hz
        Samples a second.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: Annotated[str, Checked("source")]
    rate_hz: Annotated[float, Ge(MIN_RATE_HZ), Le(MAX_RATE_HZ)]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How files are written, as by :class:`mulletdaq.HDF5Writer`.

    Attributes
    ----------
    layout, compression, chunk_rows, fsync, flush_interval_s, rotate_rows, rotate_mb, rotate_s
        As there; no compression is ``"none"``.
    metadata
        Stored with the file, or with the run if the file was there.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    layout: Literal["batches", "continuous"] = "batches"
    compression: Annotated[Literal["gzip", "lzf", "zstd", "none"], Checked("compression")] = "gzip"
    chunk_rows: Annotated[int, Ge(1)] | None = None
    fsync: Literal["commit", "never"] = "commit"
    flush_interval_s: Interval = 1.0
    rotate_rows: Annotated[int, Ge(1)] | None = None
    rotate_mb: Positive | None = None
    rotate_s: Positive | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OutputConfig(FileOptions):
    """A file that a stream is always recorded to.

    Attributes
    ----------
    path
        Relative to the configuration's folder; may hold ``{start:%Y%m%dT%H%M%S}``, ``{stream}`` and ``{index}``.
    """

    path: Template


@dataclass(frozen=True, kw_only=True)
class SharedOutputConfig(OutputConfig):
    """A file that several streams are always recorded to.

    Attributes
    ----------
    streams
        Their names.
    """

    streams: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig(FileOptions):
    """What a recording started by command is, unless the command says otherwise.

    Attributes
    ----------
    path
        Relative to the first of ``daemon.data_folders``; may hold ``{name}`` too.
    """

    path: Template = "{name}_{start:%Y%m%dT%H%M%S}.h5"


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One stream: a ring, what fills it, and where it goes.

    Attributes
    ----------
    description
        For people.
    channels
        Its columns after ``timestamp``; without them the first producer decides, or the source.
    ring_mb
        Memory between producer and disk, in 1,048,576 bytes.
    on_full
        What the source does when the ring is full of rows that are in no file yet.
    checksum
        Give the ring's frames a CRC32C.
    silent_after_s
        Warn when no row came for so long; by default only where there is a source, after three periods of it.
    source
        What the daemon itself reads; None: another program produces.
    outputs
        The files it is always recorded to.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    description: str = ""
    channels: dict[str, ChannelConfig] = field(default_factory=dict)
    ring_mb: Annotated[float, Gt(0), Le(1 << 20)] = 100.0
    on_full: OnFull = "overwrite"
    checksum: bool = False
    silent_after_s: Positive | None = None
    source: SourceConfig | None = None
    outputs: tuple[OutputConfig, ...] = ()

    def __post_init__(self) -> None:
        if self.source is not None and self.channels:
            raise ValueError("a stream with a source has the source's channels; leave out channels, or source")
        self.channel_list  # noqa: B018  refuses what cannot be

    @property
    def channel_list(self) -> list[Channel]:
        """Its channels as the ring takes them."""
        return [
            Channel(name, one.unit, one.dtype, tuple(one.shape), one.description) for name, one in self.channels.items()
        ]


@dataclass(frozen=True, kw_only=True)
class DaemonConfig:
    """The daemon itself.

    Attributes
    ----------
    flight
        Whether to offer Arrow Flight.
    host, port
        Where; port 0 takes a free one.
    token_file, tls_certificate_file, tls_key_file
        Needed on any address but this computer's own. The certificate and key are PEM files.
    insecure
        Go without them there.
    allow_upload
        Whether clients may write into streams.
    memory_limit_mb, max_message_mb, max_batch_rows, max_clients
        Bounds of the Flight process.
    data_folders
        Where recordings started by command go (the first), and whose files clients may read.
    disk_reserve_mb
        Room that is kept free on each disk: below it writing pauses, and the rings keep what they can.
    stall_timeout_s
        How long a process may do nothing, though there is work, before it is killed and replaced.
    drain_timeout_s
        How long a stop may take to bring everything into the files.
    group_readable
        Let the user's group read the rings.
    log_json
        Log one JSON object a line.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    flight: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535)] = 50051
    token_file: File | None = None
    tls_certificate_file: File | None = None
    tls_key_file: File | None = None
    insecure: bool = False
    allow_upload: bool = True
    memory_limit_mb: Megabytes = 1024
    max_message_mb: Megabytes = 64
    max_batch_rows: Annotated[int, Ge(1)] = 4_194_304
    max_clients: Annotated[int, Ge(1), Le(10_000)] = 64
    data_folders: Annotated[tuple[str, ...], Checked("folders")] = (".",)
    disk_reserve_mb: Annotated[int, Ge(0)] = 256
    stall_timeout_s: Annotated[float, Ge(1), Le(3600)] = 30.0
    drain_timeout_s: Annotated[float, Ge(1), Le(86_400)] = 60.0
    group_readable: bool = False
    log_json: bool = False

    def __post_init__(self) -> None:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file belong together")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that the daemon is told.

    Attributes
    ----------
    daemon, recordings, streams, outputs
        The tables of the file.
    file
        Where it came from; empty without one.
    folder
        What paths are relative to, absolute.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    daemon: DaemonConfig = field(default_factory=DaemonConfig)
    recordings: RecordingsConfig = field(default_factory=RecordingsConfig)
    streams: dict[Annotated[str, Checked("name")], StreamConfig] = field(default_factory=dict)
    outputs: dict[Annotated[str, Checked("name")], SharedOutputConfig] = field(default_factory=dict)
    file: str = ""
    folder: str = ""


def default_streams() -> Mapping[str, StreamConfig]:
    """The one stream of a daemon without a configuration: its first producer decides what is in it."""
    return {DEFAULT_STREAM: StreamConfig(outputs=(OutputConfig(path=DEFAULT_OUTPUT),))}


__all__ = [
    "DEFAULT_OUTPUT",
    "DEFAULT_STREAM",
    "ChannelConfig",
    "Config",
    "DaemonConfig",
    "FileOptions",
    "OutputConfig",
    "RecordingsConfig",
    "SharedOutputConfig",
    "SourceConfig",
    "StreamConfig",
    "default_streams",
]
