"""Every error mulletdaq raises, in one tree.

Each class also derives from the builtin that a Python user would catch::

    MulletError
    ├── MissingExtraError             ImportError
    ├── RingError
    │   ├── RingNotFoundError         FileNotFoundError
    │   ├── RingExistsError           FileExistsError
    │   ├── RingAccessError           PermissionError
    │   ├── RingFormatError           ValueError
    │   │   ├── RingVersionError
    │   │   └── RingTruncatedError
    │   ├── RingCapacityError         ValueError
    │   ├── RingSpaceError            OSError
    │   ├── RingReplacedError         RuntimeError
    │   ├── RingClosedError           ValueError
    │   ├── RingContentError          TypeError
    │   ├── RingPositionError         ValueError
    │   ├── FrameTooLargeError        ValueError
    │   ├── FrameCorruptError         ValueError
    │   ├── RingFullError             BufferError
    │   ├── RingTimeoutError          TimeoutError
    │   ├── SinkDeadError             ConnectionError
    │   ├── ProducerLockedError       BlockingIOError
    │   ├── ProducerBusyError         RuntimeError
    │   ├── ProducerForkedError       RuntimeError
    │   └── SinkLockedError           BlockingIOError
    ├── SchemaError                   ValueError
    │   ├── SchemaMismatchError
    │   └── UnsupportedTypeError      TypeError
    ├── RecordingError                RuntimeError
    ├── SourceError                   RuntimeError
    ├── ConfigError                   ValueError
    ├── DaemonError                   RuntimeError
    ├── RemoteError
    │   ├── ConnectionLostError       ConnectionError
    │   ├── AccessRefusedError        PermissionError
    │   ├── RequestError              ValueError
    │   ├── StreamNotFoundError       LookupError
    │   └── ServiceBusyError          RuntimeError
    └── FileError
        ├── OutputExistsError         FileExistsError
        ├── FileMissingError          FileNotFoundError
        ├── FileFormatError           ValueError
        │   ├── FileVersionError
        │   └── JournalMismatchError
        ├── ChannelNotFoundError      LookupError
        ├── FileLockedError           BlockingIOError
        ├── FileWriteError            OSError
        └── WriterError               RuntimeError
"""

from __future__ import annotations


class MulletError(Exception):
    """Base of every error that mulletdaq raises on purpose."""


class MissingExtraError(MulletError, ImportError):
    """A third-party package is missing; the message names the extra to install."""


class RingError(MulletError):
    """Base of everything that concerns a ring."""


class RingNotFoundError(RingError, FileNotFoundError):
    """No ring of that name or path."""


class RingExistsError(RingError, FileExistsError):
    """A ring is there already, and it was not asked for."""


class RingAccessError(RingError, PermissionError):
    """The path is no regular file, belongs to someone else, or others may write to it."""


class RingFormatError(RingError, ValueError):
    """The file is not a ring, or a header in it contradicts itself."""


class RingVersionError(RingFormatError):
    """The ring was made by another layout version."""


class RingTruncatedError(RingFormatError):
    """The file is shorter than its header says, or was cut while mapped."""


class RingCapacityError(RingError, ValueError):
    """A capacity of zero, below the minimum, not a multiple of 64, or absurdly large."""


class RingSpaceError(RingError, OSError):
    """The file system has no room for the ring."""


class RingReplacedError(RingError, RuntimeError):
    """The ring was made anew at the same path; this handle sees the old one."""


class RingClosedError(RingError, ValueError):
    """The ring, producer or cursor was closed."""


class RingContentError(RingError, TypeError):
    """Opaque bytes were written to an Arrow ring, or the other way round."""


class RingPositionError(RingError, ValueError):
    """A position or row at which no frame starts, or that lies in the future."""


class FrameTooLargeError(RingError, ValueError):
    """A message or row larger than a quarter of the ring; the message names a sufficient capacity."""


class FrameCorruptError(RingError, ValueError):
    """A frame's checksum or header is wrong; the message names the position."""


class RingFullError(RingError, BufferError):
    """``on_full="error"`` and the persisting sink has not caught up."""


class RingTimeoutError(RingError, TimeoutError):
    """``on_full="block"`` and no room within ``timeout_s``."""


class SinkDeadError(RingError, ConnectionError):
    """``on_full="block"`` and the persisting sink, named with its pid, no longer lives."""


class ProducerLockedError(RingError, BlockingIOError):
    """Another producer, named with its pid, holds the ring."""


class ProducerBusyError(RingError, RuntimeError):
    """The producer was re-entered from a signal handler or a conversion in the same thread."""


class ProducerForkedError(RingError, RuntimeError):
    """A forked child tried to write with its parent's producer."""


class SinkLockedError(RingError, BlockingIOError):
    """Another persisting sink, named with its pid, holds the ring."""


class SchemaError(MulletError, ValueError):
    """A channel or schema that contradicts itself."""


class SchemaMismatchError(SchemaError):
    """Data whose schema differs from the ring's."""


class UnsupportedTypeError(SchemaError, TypeError):
    """A type that cannot be stored; the message names the field."""


class RecordingError(MulletError, RuntimeError):
    """A recording could not be started, or could not write everything before it ended."""


class SourceError(MulletError, RuntimeError):
    """A source failed to deliver."""


class ConfigError(MulletError, ValueError):
    """A configuration with mistakes.

    Attributes
    ----------
    mistakes : list of str
        All of them, each by file, line and key.
    """

    def __init__(self, *mistakes: str) -> None:
        self.mistakes = list(mistakes)
        super().__init__("; ".join(mistakes))


class DaemonError(MulletError, RuntimeError):
    """A daemon runs already, none runs, or it cannot start."""


class RemoteError(MulletError):
    """Base of everything that concerns a daemon and its clients."""


class ConnectionLostError(RemoteError, ConnectionError):
    """Nobody answers at that address, or the connection broke."""


class AccessRefusedError(RemoteError, PermissionError):
    """No token, the wrong one, or something that this service does not allow."""


class RequestError(RemoteError, ValueError):
    """A request that is not understood, or asks for what there is not; the message names the field."""


class StreamNotFoundError(RemoteError, LookupError):
    """No stream, recording or file of that name; the message names those there are."""


class ServiceBusyError(RemoteError, RuntimeError):
    """The service has as many clients, or as much in memory, as it may; try again later."""


class FileError(MulletError):
    """Base of everything that concerns an HDF5 file."""


class FileMissingError(FileError, FileNotFoundError):
    """No file at that path."""


class OutputExistsError(FileError, FileExistsError):
    """The output is there already, and appending was not asked for."""


class FileFormatError(FileError, ValueError):
    """Not HDF5, not one of ours, or not consistent."""


class FileVersionError(FileFormatError):
    """The file was written by a newer format version."""


class JournalMismatchError(FileFormatError):
    """The journal beside a file belongs to another one, or another program wrote the file since."""


class ChannelNotFoundError(FileError, LookupError):
    """No channel, stream or run of that name in the file; the message names those that are nearest."""


class FileLockedError(FileError, BlockingIOError):
    """Another process holds the file."""


class FileWriteError(FileError, OSError):
    """Writing failed: disk full, folder gone, file replaced; the message says which and what to do."""


class WriterError(FileError, RuntimeError):
    """The HDF5 writer died, or did not finish in time."""
