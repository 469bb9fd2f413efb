"""What a recorder makes of a service that does what ours does not, and how much it holds when nobody takes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

import mulletdaq as mullet
from mulletdaq.flight import receiving
from mulletdaq.flight.receiving import Beginning, Receiver, Rows
from mulletdaq.hdf5.options import RemoteAddress
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import Loss, RingBuffer
from tests.hdf5.conftest import stored_rows

from .conftest import SCHEMA, rows
from .supervisor import Supervisor, eventually

Sent = tuple[Any, dict[str, Any]]
Call = Callable[[int], list[Sent]]

FIRST, SECOND = "00000000000000aa", "00000000000000bb"


class Scripted(flight.FlightServerBase):  # type: ignore[misc]
    """A service whose calls send what a test says, and end; the last one stays."""

    def __init__(self, calls: list[tuple[str, Call]], schema: Any = SCHEMA) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._calls, self._schema = calls, schema
        self.asked: list[dict[str, Any]] = []
        self._over = threading.Event()

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def _now(self) -> tuple[str, Call]:
        return self._calls[min(len(self.asked), len(self._calls) - 1)]

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        stream_id, _ = self._now()
        facts = json.dumps({"stream_id": stream_id, "created_ns": 5}).encode()
        return flight.FlightInfo(self._schema, descriptor, [], 60, -1, app_metadata=facts)

    def do_get(self, context: Any, ticket: Any) -> Any:
        stream_id, call = self._now()
        wanted = json.loads(ticket.ticket)
        self.asked.append(wanted)
        start = 0 if wanted["start"] == "oldest" else wanted["start"]

        def send() -> Iterator[Any]:
            for batch, facts in call(start):
                yield batch, json.dumps({"stream_id": stream_id, **facts}).encode()
            if len(self.asked) >= len(self._calls):
                self._over.wait(30)

        return flight.GeneratorStream(self._schema, send())

    def end(self) -> None:
        self._over.set()
        self.shutdown()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*calls: tuple[str, Call], **options: Any) -> Scripted:
        made.append(Scripted(list(calls), **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def record(service: Scripted, path: Path, last_row: int, told: list[str]) -> None:
    """Record until the run that began last has its last row."""
    with mullet.connect(service.address) as daemon:
        writer = mullet.HDF5Writer(path, daemon.stream("scope"), flush_interval_s=0.05, report=told.append)
    writer.start()
    eventually(lambda: writer.statistics().streams[""].next_row == last_row, f"row {last_row} came")
    writer.stop()


def test_rows_that_were_announced_and_never_came_are_lost(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    """The ring had 50 rows and was made anew after 20 were sent; what it had beyond is nowhere any more."""
    service = scripted(
        (FIRST, lambda start: [(rows(0, 20), {"first_row": 0, "lost_rows": 0, "newest_row": 50})]),
        (SECOND, lambda start: [(rows(0, 60), {"first_row": 0, "lost_rows": 0, "newest_row": 60})]),
    )
    told: list[str] = []
    record(service, tmp_path / "a.h5", 60, told)
    assert stored_rows(tmp_path / "a.h5") == [*range(20), *range(60)]
    assert verify(tmp_path / "a.h5").ok, verify(tmp_path / "a.h5").problems
    with h5py.File(tmp_path / "a.h5") as file:
        losses = {name: column[:].tolist() for name, column in file["losses"].items()}
        assert (losses["run"], losses["first_row"], losses["rows"]) == ([1], [20], [30])
        assert losses["cause"] == [b"replaced"]
        assert [run.attrs["lost_rows"] for run in file["runs"].values()] == [30, 0]
    assert [asked["start"] for asked in service.asked] == ["oldest", 0]


def test_rows_sent_twice_are_not_stored_twice(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    def twice(start: int) -> list[Sent]:
        return [(rows(0, 20), {"first_row": 0, "newest_row": 60}), (rows(10, 20), {"first_row": 10, "newest_row": 60})]

    def on(start: int) -> list[Sent]:
        return [(rows(start, 60 - start), {"first_row": start, "newest_row": 60})]

    service = scripted((FIRST, twice), (FIRST, on))
    record(service, tmp_path / "a.h5", 60, [])
    assert stored_rows(tmp_path / "a.h5") == list(range(60))
    assert [asked["start"] for asked in service.asked] == ["oldest", 20]


@pytest.mark.parametrize(
    "losses",
    [
        [{"first_row": 5, "rows": 10}],
        [{"first_row": 25, "rows": 100}],
        [{"first_row": 25, "rows": -5}],
        [{"first_row": 30, "rows": 5}, {"first_row": 25, "rows": 5}],
    ],
)
def test_losses_that_cannot_be_are_not_believed(
    scripted: Callable[..., Scripted], tmp_path: Path, losses: list[dict[str, int]]
) -> None:
    def lies(start: int) -> list[Sent]:
        first = (rows(0, 20), {"first_row": 0, "newest_row": 60})
        return [first, (rows(40, 20), {"first_row": 40, "lost_rows": 20, "losses": losses, "newest_row": 60})]

    def truth(start: int) -> list[Sent]:
        return [(rows(start, 60 - start), {"first_row": start, "newest_row": 60})]

    record(scripted((FIRST, lies), (FIRST, truth)), tmp_path / "a.h5", 60, [])
    report = verify(tmp_path / "a.h5")
    assert report.ok, report.problems
    found = stored_rows(tmp_path / "a.h5")
    assert sorted(set(found)) == found and found[-1] == 59


def test_offsets_out_of_bounds_end_nobody(scripted: Callable[..., Scripted], tmp_path: Path) -> None:
    schema = pa.schema([("timestamp", pa.int64()), ("word", pa.string())])

    def words(start: int, bad: bool) -> list[Sent]:
        offsets = np.arange(61, dtype=np.int32) * (10_000_000 if bad else 1)
        column = pa.StringArray.from_buffers(60, pa.py_buffer(offsets), pa.py_buffer(b"x" * 60))
        batch = pa.record_batch([pa.array(range(60)), column], schema=schema)
        return [(batch.slice(start), {"first_row": start, "newest_row": 60})]

    calls = [(FIRST, lambda start: words(start, True)), (FIRST, lambda start: words(start, False))]
    record(scripted(*calls, schema=schema), tmp_path / "a.h5", 60, [])
    assert verify(tmp_path / "a.h5").ok


def test_what_nobody_takes_is_held_in_bounds(service: Supervisor, ring: RingBuffer) -> None:
    """The rest waits in the ring over there, and what is overwritten there is told when there is room again."""
    receiver = Receiver(RemoteAddress(service.address, "scope"))
    receiver.start({})

    def full() -> bool:
        for _ in range(100):
            ring.write_arrow_batch(rows(ring.newest_row, 1000))
        return receiver.bytes_here >= receiving.ROOM_BYTES

    eventually(full, "there is no more room")
    total = ring.newest_row + 2 * receiving.ROOM_BYTES // 16
    while ring.newest_row < total:
        ring.write_arrow_batch(rows(ring.newest_row, 1000))
    assert receiver.bytes_here < receiving.ROOM_BYTES + (4 << 20)
    next_row, lost = 0, 0
    while next_row < ring.newest_row:
        item = eventually(receiver.peek, "the rows come")
        receiver.pop()
        if isinstance(item, Beginning):
            next_row = item.row
        elif isinstance(item, Loss):
            assert item.first_row == next_row
            next_row, lost = next_row + item.rows, lost + item.rows
        elif isinstance(item, Rows):
            assert item.first_row == next_row == item.batch.column(0)[0].as_py()
            next_row += item.batch.num_rows
    assert lost > 0
    assert receiver.bytes_here == receiver.rows_here == 0
    receiver.close()
