"""What a source and a sink must offer. Structural: nothing to derive from, nothing to register."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mulletdaq.schema import Channel

if TYPE_CHECKING:
    import pyarrow as pa


@runtime_checkable
class Source(Protocol):
    """Puts samples in: an instrument, this machine, a simulation.

    One thread of one process uses it, in the order ``open``, ``read`` …, ``close``. A minimal source::

        class Thermometer:
            name = "thermometer"
            channels = (Channel("temperature", "K"),)

            def open(self) -> None:
                self.port = serial.Serial("/dev/ttyUSB0")

            def read(self) -> tuple[float]:
                return (float(self.port.readline()),)

            def close(self) -> None:
                self.port.close()
    """

    @property
    def name(self) -> str:
        """Short name, used in messages and in a file's metadata."""

    @property
    def channels(self) -> Sequence[Channel]:
        """The channels of every sample, in the order of ``read``'s values; known before ``open``."""

    def open(self) -> None:
        """Connect to the hardware; whatever it raises ends the recording before it starts."""

    def read(self) -> tuple[Any, ...]:
        """One sample, one value a channel (a number, or an array for a channel with a shape).

        Called at the recording's rate. A value that can't be had now is NaN, not an exception: what ``read``
        raises ends the recording, and the samples before it are kept.
        """

    def close(self) -> None:
        """Let go of the hardware. Called once after ``open`` succeeded, also when ``read`` raised."""


@runtime_checkable
class Sink(Protocol):
    """Takes batches out of a ring: to a network, a database, a screen.

    One thread of one process uses it, in the order ``open``, ``write`` …, ``close``.
    """

    @property
    def name(self) -> str:
        """Short name, used in messages."""

    def open(self, schema: pa.Schema) -> None:
        """Get ready for a stream of this schema; units stand in the fields' metadata under ``unit``."""

    def write(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Take one batch, whose first sample has the absolute row index ``first_row``.

        A ``first_row`` beyond the end of the batch before means that exactly the rows between are lost.
        """

    def close(self) -> None:
        """Finish what was taken and let go. Called once after ``open`` succeeded, also when ``write`` raised."""


__all__ = ["Sink", "Source"]
