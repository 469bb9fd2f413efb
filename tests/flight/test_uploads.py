"""Rows in, by a stock client: acknowledgements, resumption, refusals; also when the service is killed meanwhile."""

from __future__ import annotations

import json
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from mulletdaq.errors import ProducerLockedError
from mulletdaq.ring import RingBuffer

from .conftest import SCHEMA, rows
from .supervisor import Supervisor, eventually


def descriptor(**command: Any) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(json.dumps({"stream": "scope", **command}))


def first_row(row: int) -> bytes:
    return json.dumps({"first_row": row}).encode()


def heard(reader: Any) -> int:
    """The next acknowledgement."""
    content = reader.read()
    if content is None:
        raise Ended
    return json.loads(content.to_pybytes())["rows"]


class Ended(Exception):
    """The service ended the call; closing the writer tells why."""


def refused(writer: Any, reader: Any, match: str = ".") -> None:
    """The service ends the call, and says why in one line."""
    while reader.read() is not None:
        pass
    with pytest.raises(flight.FlightError, match=match) as refusal:
        writer.close()
    assert "\n" not in json.loads(refusal.value.extra_info)["message"]


def numbers_in(ring: RingBuffer) -> list[int]:
    found: list[int] = []
    with ring.cursor("oldest") as cursor:
        while (batch := cursor.read()) is not None:
            assert isinstance(batch, pa.RecordBatch)
            found += batch.column(0).to_pylist()
        assert cursor.lost_rows == 0
    return found


def test_rows_go_into_the_ring_and_are_acknowledged(ring: RingBuffer, client: Any) -> None:
    writer, reader = client.do_put(flight.FlightDescriptor.for_path("scope"), SCHEMA)
    assert heard(reader) == 0
    writer.write_with_metadata(rows(0, 10), first_row(0))
    assert heard(reader) == 10
    assert numbers_in(ring) == list(range(10))
    writer.write_batch(rows(10, 5))
    writer.done_writing()
    assert heard(reader) == 15
    writer.close()
    assert numbers_in(ring) == list(range(15))
    assert ring.schema.equals(SCHEMA, check_metadata=True)


def test_a_client_that_hears_nothing_is_not_held_up(ring: RingBuffer, client: Any) -> None:
    """Thousands of batches, no acknowledgement read: they would fill the way back."""
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("scope"), SCHEMA)
    for number in range(20_000):
        writer.write_batch(rows(number, 1))
    writer.close()
    assert numbers_in(ring) == list(range(20_000))


def test_what_is_there_already_is_not_written_again(ring: RingBuffer, client: Any) -> None:
    """Batches sent again, whole and in part, after another upload was in between."""
    writer, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    writer.write_with_metadata(rows(0, 100), first_row(0))
    assert [heard(reader), heard(reader)] == [0, 100]
    writer.write_with_metadata(rows(50, 100), first_row(50))
    assert heard(reader) == 150
    writer.close()
    writer, reader = client.do_put(descriptor(upload="other"), SCHEMA)
    writer.write_with_metadata(rows(1000, 7), first_row(0))
    assert [heard(reader), heard(reader)] == [0, 7]
    writer.close()
    writer, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    assert heard(reader) == 150
    writer.write_with_metadata(rows(0, 150), first_row(0))
    writer.write_with_metadata(rows(150, 10), first_row(150))
    assert [heard(reader), heard(reader)] == [150, 160]
    writer.close()
    assert numbers_in(ring) == [*range(150), *range(1000, 1007), *range(150, 160)]


def test_an_upload_goes_on_while_its_old_connection_still_seems_alive(ring: RingBuffer, client: Any) -> None:
    old, old_reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    old.write_with_metadata(rows(0, 10), first_row(0))
    assert [heard(old_reader), heard(old_reader)] == [0, 10]
    new, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    assert heard(reader) == 10
    old.write_with_metadata(rows(10, 10), first_row(10))
    refused(old, old_reader, "another connection")
    new.write_with_metadata(rows(10, 5), first_row(10))
    assert heard(reader) == 15
    new.close()
    assert numbers_in(ring) == list(range(15))


def test_the_service_killed_in_the_middle(service: Supervisor, ring: RingBuffer) -> None:
    """Again and again under load, and the client begins again where it is told: nothing lost, nothing doubled."""
    chance = random.Random(5)
    total, size = 60_000, 300
    kills = 0
    while True:
        with flight.connect(service.address) as client, suppress(Ended, flight.FlightError, pa.ArrowException, OSError):
            writer, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
            known = heard(reader)
            killer = None
            if kills < 12:
                killer = threading.Timer(chance.uniform(0.0, 0.05), service.kill)
                killer.start()
            try:
                for first in range(known, total, size):
                    writer.write_with_metadata(rows(first, min(size, total - first)), first_row(first))
                writer.done_writing()
                while heard(reader) < total:
                    pass
                writer.close()
            finally:
                if killer is not None:
                    killer.join()
                    kills += 1
            if kills >= 12:
                break
            if known >= total:
                total += 20_000
    assert service.starts == 13
    assert numbers_in(ring) == list(range(total))


def test_others_cannot_write_meanwhile(ring: RingBuffer, client: Any) -> None:
    writer, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    heard(reader)
    with pytest.raises(ProducerLockedError):
        ring.producer(SCHEMA)
    other, other_reader = client.do_put(descriptor(upload="other"), SCHEMA)
    refused(other, other_reader, "another upload")
    writer.close()
    eventually(lambda: not ring.producer_alive, "the producer is let go")
    ring.producer(SCHEMA).close()


def test_a_local_producer_is_not_disturbed(ring: RingBuffer, client: Any) -> None:
    with ring.producer(SCHEMA) as producer:
        producer.append(1.0)
        refused(*client.do_put(descriptor(), SCHEMA), "producer")
        producer.append(2.0)
    assert ring.newest_row == 2


def test_an_upload_whose_end_cannot_be_known_is_refused(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    """Killed with a batch announced, and then more rows came than it can have written: from someone else."""
    from mulletdaq.flight.uploads import _Ledger, _Open

    writer, reader = client.do_put(descriptor(upload="mine"), SCHEMA)
    writer.write_with_metadata(rows(0, 10), first_row(0))
    assert [heard(reader), heard(reader)] == [0, 10]
    writer.close()
    ledger = _Ledger(ring.path + ".uploads", ring.stream_id)
    ledger.progress.open = _Open("mine", 10, 10, 5)
    ledger.save()
    ledger.close()
    ring.write_arrow_batch(rows(0, 6))
    ring.close()
    service.rings["scope"] = ring = RingBuffer.open(ring.path)
    refused(*client.do_put(descriptor(upload="mine"), SCHEMA), "start a new upload")
    writer, reader = client.do_put(descriptor(upload="new"), SCHEMA)
    assert heard(reader) == 0
    writer.close()


def test_a_full_ring_blocks_the_upload_that_wants_it(ring: RingBuffer, client: Any) -> None:
    """As long as the persisting sink has not committed; then it goes on, and no row is overwritten."""
    total = 600_000
    sink = ring.sink()
    found: list[int] = []

    def upload() -> None:
        writer, reader = client.do_put(descriptor(upload="mine", on_full="block"), SCHEMA)
        for first in range(0, total, 5000):
            writer.write_with_metadata(rows(first, 5000), first_row(first))
        while heard(reader) < total:
            pass
        writer.close()

    thread = threading.Thread(target=upload)
    thread.start()
    with ring.cursor("oldest") as cursor:
        while len(found) < total:
            batch = cursor.read(timeout_s=0.1)
            if isinstance(batch, pa.RecordBatch):
                found += batch.column(0).to_pylist()
                sink.advance(cursor.position)
        assert cursor.lost_rows == 0
    thread.join()
    sink.close()
    assert found == list(range(total))


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        (pa.schema([("timestamp", pa.int64()), ("current", pa.float64())]), "columns"),
        (pa.schema([("timestamp", pa.int64()), ("voltage", pa.float32())]), "columns"),
        (pa.schema([]), "columns"),
    ],
)
def test_other_columns_are_refused(ring: RingBuffer, client: Any, schema: Any, match: str) -> None:
    ring.write_arrow_batch(rows(0, 1))
    ring._writer.close()  # type: ignore[union-attr]
    refused(*client.do_put(descriptor(), schema), match)
    assert ring.newest_row == 1


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("voltage", pa.float64())]),
        pa.schema([("voltage", pa.float64()), ("timestamp", pa.int64())]),
        pa.schema([("timestamp", pa.float64())]),
        pa.schema([("timestamp", pa.int64()), ("a/b", pa.float64())]),
        pa.schema([("timestamp", pa.int64()), ("nothing", pa.null())]),
        pa.schema([("timestamp", pa.int64()), ("twice", pa.int8()), ("twice", pa.int8())]),
        pa.schema([]),
    ],
)
def test_columns_that_no_file_can_hold_do_not_become_the_streams(ring: RingBuffer, client: Any, schema: Any) -> None:
    refused(*client.do_put(descriptor(), schema))
    assert ring.schema is None
    writer, reader = client.do_put(descriptor(), SCHEMA)
    assert heard(reader) == 0
    writer.close()


def test_a_gap_in_an_upload_is_refused(ring: RingBuffer, client: Any) -> None:
    writer, reader = client.do_put(descriptor(), SCHEMA)
    heard(reader)
    writer.write_with_metadata(rows(5, 1), first_row(5))
    refused(writer, reader, "only 0 have come")
    assert ring.newest_row == 0


def test_uploads_can_be_switched_off(ring_directory: Any) -> None:
    with Supervisor(allow_upload=False) as service, flight.connect(service.address) as client:
        service.rings["scope"] = RingBuffer.create(ring_directory / "scope.ring", capacity_mb=1)
        refused(*client.do_put(descriptor(), SCHEMA), "takes no uploads")


def test_a_client_without_power_is_noticed(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    """The kernel asks each client that is silent: on both sides of such a connection a keepalive timer would run."""
    writer, reader = client.do_put(flight.FlightDescriptor.for_path("scope"), SCHEMA)
    reader.read()

    def timers() -> list[str]:
        return [timer for port, timer in tcp_connections() if port == service.port]

    eventually(lambda: timers() == [KEEPALIVE_TIMER], "nothing is on its way, and the kernel waits to ask")
    writer.close()


KEEPALIVE_TIMER = "02"


def tcp_connections() -> list[tuple[int, str]]:
    """Local port and running timer of each that stands, see proc(5)."""
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return [(int(words[1].rpartition(":")[2], 16), words[5].partition(":")[0]) for words in lines if words[3] == "01"]
