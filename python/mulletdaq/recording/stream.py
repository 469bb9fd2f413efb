"""One stream of a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mulletdaq.ring import OnFull, RingBuffer, create_ring
from mulletdaq.schema import ChannelsLike, normalize_channels

if TYPE_CHECKING:
    import numpy.typing as npt


class StreamRecording:
    """One stream: a ring, its producer, and the names a scientist uses for them.

    Attributes
    ----------
    name
        The stream's name; ``""`` for a recording's only stream.
    write_measurement : callable
        ``write_measurement(*values, timestamp_ns=None)`` writes one sample: one value a channel, in
        order, an array for a waveform or image. Stamped with the time now unless `timestamp_ns` is
        given. It is the ring's bound builtin: see :class:`mulletdaq.Producer`.
    """

    write_measurement: Callable[..., None]

    def __init__(
        self, name: str, ring_name: str, channels: ChannelsLike, *, capacity_mb: float, on_full: OnFull, checksum: bool
    ) -> None:
        self.name = name
        self.channels = tuple(normalize_channels(channels))
        self.ring: RingBuffer = create_ring(ring_name, capacity_mb, on_full=on_full, checksum=checksum)
        try:
            self.producer = self.ring.producer(self.channels)
        except BaseException:
            self.discard()
            raise
        self.write_measurement = self.producer.append

    def write_block(
        self,
        *values: Any,
        timestamps_ns: Any = None,
        start_ns: int | None = None,
        rate_hz: float | None = None,
    ) -> None:
        """Write many samples at once: see :meth:`mulletdaq.Producer.append_block`.

        Parameters
        ----------
        *values
            One array a channel, in order, of shape ``(rows, *channel shape)``; or one mapping of
            channel name to array.
        timestamps_ns
            Array ``(rows,)`` of int64 ns since the Unix epoch, or datetime64.
        start_ns, rate_hz
            For sample-clocked data instead: stamp k is ``start_ns + round(k·10⁹/rate_hz)``, k going
            on over the blocks.
        """
        self.producer.append_block(*values, timestamps_ns=timestamps_ns, start_ns=start_ns, rate_hz=rate_hz)

    def latest(self, count: int) -> Mapping[str, npt.NDArray[Any]]:
        """The newest samples as NumPy arrays, one a column, ``timestamp`` among them."""
        return self.ring.latest(count)

    @property
    def rows_written(self) -> int:
        """Samples written so far."""
        return self.ring.newest_row

    def discard(self) -> None:
        """Close and remove the ring: everything in it is in the file, or nothing ever was."""
        self.ring.close()
        self.ring.unlink()
