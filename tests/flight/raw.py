"""Flight below Arrow: a ``DoPut`` whose messages hold whatever bytes one likes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import pyarrow as pa

_METHOD = "/arrow.flight.protocol.FlightService/"


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def descriptor(name: str) -> bytes:
    return varint(1 << 3) + varint(1) + field(3, name.encode())


def data(header: bytes, body: bytes = b"", metadata: bytes = b"", stream: str = "") -> bytes:
    """A FlightData message."""
    first = field(1, descriptor(stream)) if stream else b""
    return first + field(2, header) + (field(3, metadata) if metadata else b"") + field(1000, body)


def parts(message: pa.Buffer) -> tuple[bytes, bytes]:
    """Header and body of an encapsulated IPC message."""
    content = message.to_pybytes()
    (length,) = struct.unpack_from("<i", content, 4)
    return content[8 : 8 + length], content[8 + length :]


class RawClient:
    """Calls with ready-made bytes."""

    def __init__(self, port: int) -> None:
        options = [("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._put = self._channel.stream_stream(_METHOD + "DoPut", request_serializer=None, response_deserializer=None)

    def put(self, messages: Sequence[bytes] | Iterable[bytes]) -> Any:
        """The code with which a ``DoPut`` of these messages ended."""
        call = self._put(iter(messages), timeout=30)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return call.code()

    def close(self) -> None:
        self._channel.close()
