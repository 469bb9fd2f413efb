"""What can be asked of a ring without reading it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mulletdaq.ring.statistics import Content, content_of
from mulletdaq.ring.type_names import type_text

if TYPE_CHECKING:
    from mulletdaq._core import Ring

_CHECKSUMS = 4


class RingFacts:
    """The part of :class:`RingBuffer` that only looks at the header."""

    def __init__(self, native: Ring) -> None:
        self._native = native

    @property
    def path(self) -> str:
        """Path it was created or opened at."""
        return self._native.path

    @property
    def name(self) -> str:
        """The file's name without ``.ring``."""
        return Path(self.path).name.removesuffix(".ring")

    @property
    def content(self) -> Content:
        """What the first write made of it."""
        return content_of(self._native)

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the data region."""
        return self._native.capacity_bytes

    @property
    def checksum(self) -> bool:
        """True if sealed frames carry a CRC32C."""
        return bool(self._native.flags & _CHECKSUMS)

    @property
    def stream_id(self) -> int:
        """Random number (u64), new at each creation."""
        return self._native.stream_id

    @property
    def created_ns(self) -> int:
        """Creation time, ns since the Unix epoch."""
        return self._native.created_ns

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Name and type of each column of an Arrow ring, as text, known without pyarrow; empty while there is none."""
        return [(name, type_text(code)) for name, code, _ in self._native.columns()]

    @property
    def write_head(self) -> int:
        """Position up to which frames are published."""
        return self._native.write_head

    @property
    def read_tail(self) -> int:
        """Start of the first frame that the persisting sink has not wholly committed."""
        return self._native.read_tail

    @property
    def oldest(self) -> int:
        """Start of the oldest frame still there."""
        return self._native.oldest

    @property
    def newest_row(self) -> int:
        """Absolute index of the next row to be written: the rows ever written."""
        return self._native.newest_row()

    @property
    def producer_pid(self) -> int | None:
        """The process that holds the producer's lock, if any."""
        return self._native.producer_pid

    @property
    def sink_pid(self) -> int | None:
        """The process that holds the persisting sink's lock, if any."""
        return self._native.sink_pid

    @property
    def producer_alive(self) -> bool:
        """True if a living process holds the producer's lock."""
        return self.producer_pid is not None

    @property
    def replaced(self) -> bool:
        """True if the path leads to another file by now, or to none."""
        return self._native.replaced
