"""A Flight service that is no mullet daemon: whatever it answers becomes one of our errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import mulletdaq as mullet
from mulletdaq.errors import ConnectionLostError, RemoteError

from .conftest import SCHEMA, rows

GARBAGE = [None, b"", b"garbage", b"{}", b"[1]", b'{"rows": "x"}', b'{"stream_id": "none"}', b"[" * 100_000, b"\xff"]


class Stranger(flight.FlightServerBase):  # type: ignore[misc]
    """Knows every call, and answers none as a daemon does."""

    def __init__(self, says: bytes | None) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._says = says

    def _info(self) -> Any:
        return flight.FlightInfo(
            SCHEMA, flight.FlightDescriptor.for_path("scope"), [], 10, 160, app_metadata=self._says or b""
        )

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        yield self._info()

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        return self._info()

    def do_get(self, context: Any, ticket: Any) -> Any:
        told = [rows(0, 10)] if self._says is None else [(rows(0, 10), self._says)]
        return flight.GeneratorStream(SCHEMA, iter(told))

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        if self._says is not None:
            writer.write(pa.py_buffer(self._says))

    def do_action(self, context: Any, action: Any) -> Iterator[Any]:
        if self._says is not None:
            yield flight.Result(pa.py_buffer(self._says))


@pytest.fixture(params=GARBAGE, ids=lambda said: "nothing" if said is None else f"{said[:20]!r}")
def stranger(request: pytest.FixtureRequest) -> Iterator[Stranger]:
    with Stranger(request.param) as service:
        thread = threading.Thread(target=service.serve)
        thread.start()
        yield service
        service.shutdown()
        thread.join()


QUESTIONS: dict[str, Callable[[mullet.Connection, Path], object]] = {
    "streams": lambda daemon, _: daemon.streams(),
    "health": lambda daemon, _: daemon.health(),
    "status": lambda daemon, _: daemon.status(),
    "recordings": lambda daemon, _: daemon.recordings(),
    "rows": lambda daemon, _: daemon.table("scope"),
    "file": lambda daemon, _: daemon.read_file("shot.h5").table(),
    "upload": lambda daemon, _: daemon.upload("scope", SCHEMA),
    "recording": lambda daemon, folder: mullet.HDF5Writer(folder / "out.h5", daemon.stream("scope")).start(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_is_not_understood(stranger: Stranger, question: str, tmp_path: Path) -> None:
    with (
        mullet.connect(f"grpc://127.0.0.1:{stranger.port}") as daemon,
        pytest.raises((RemoteError, ConnectionLostError)) as told,
    ):
        QUESTIONS[question](daemon, tmp_path)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
