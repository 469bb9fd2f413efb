"""The daemon's rings, opened once for all clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from mulletdaq.errors import RingError, StreamNotFoundError
from mulletdaq.flight.messages import StreamAddress
from mulletdaq.ring import RingBuffer

_FRESH_S = 1.0


class Rings:
    """Streams by name, and their rings.

    Safe for use by several threads.

    Parameters
    ----------
    ask
        Asks the daemon for its streams.
    """

    def __init__(self, ask: Callable[[], Sequence[StreamAddress]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._addresses: dict[str, StreamAddress] = {}
        self._asked_at = -_FRESH_S
        self._open: dict[str, RingBuffer] = {}

    def addresses(self, *, fresh: bool = False) -> list[StreamAddress]:
        """The streams, as they were a second ago at most."""
        with self._lock:
            if fresh or time.monotonic() - self._asked_at >= _FRESH_S:
                self._addresses = {address.name: address for address in self._ask()}
                self._asked_at = time.monotonic()
                self._forget_replaced()
            return list(self._addresses.values())

    def get(self, name: str) -> RingBuffer:
        """The ring of a stream.

        Raises
        ------
        StreamNotFoundError
            If there is no such stream, or its ring is not there.
        """
        address = self._find(name)
        with self._lock:
            ring = self._open.get(name)
            if ring is not None and not ring.replaced and f"{ring.stream_id:016x}" == address.stream_id:
                return ring
        try:
            ring = RingBuffer.open(address.ring_path)
        except RingError as error:
            raise StreamNotFoundError(f"stream {name!r} has no ring at present: {error}") from None
        if f"{ring.stream_id:016x}" != address.stream_id:
            self.addresses(fresh=True)  # the daemon has made it anew
        with self._lock:
            self._open[name] = ring
        return ring

    def _find(self, name: str) -> StreamAddress:
        for fresh in (False, True):
            streams = self.addresses(fresh=fresh)
            for address in streams:
                if address.name == name:
                    return address
        there = ", ".join(address.name for address in streams)
        raise StreamNotFoundError(f"no stream {name!r}; there {'are ' + there if there else 'is none'}")

    def _forget_replaced(self) -> None:
        ids = {address.name: address.stream_id for address in self._addresses.values()}
        self._open = {
            name: ring for name, ring in self._open.items() if ids.get(name) == f"{ring.stream_id:016x}"
        }  # those that are still read keep their mapping


__all__ = ["Rings"]
