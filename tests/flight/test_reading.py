"""Rows out, by a stock client: back-fill, live, loss, slow and vanished clients, recorded files."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

import mulletdaq as mullet
from mulletdaq.ring import RingBuffer
from tests.waiting import PATIENCE_S

from .conftest import SCHEMA, numbers_of, rows
from .supervisor import Supervisor, eventually


def ticket(**members: Any) -> flight.Ticket:
    return flight.Ticket(json.dumps(members))


def facts_of(chunk: Any) -> dict[str, Any]:
    return json.loads(chunk.app_metadata.to_pybytes())


def test_streams_are_listed_with_their_columns_and_rows(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    ring.write_arrow_batch(rows(0, 100))
    (found,) = eventually(lambda: list(client.list_flights()), "the stream is listed")
    assert found.descriptor.path == [b"scope"]
    assert found.schema.equals(SCHEMA, check_metadata=True)
    assert found.total_records == 100
    facts = json.loads(found.app_metadata)
    assert facts["stream_id"] == f"{ring.stream_id:016x}"
    assert facts["rows_per_s"] == 5.0
    reader = client.do_get(found.endpoints[0].ticket)
    assert numbers_of(reader.read_all()) == list(range(100))
    assert client.get_schema(found.descriptor).schema.equals(SCHEMA)
    assert client.get_flight_info(flight.FlightDescriptor.for_path("scope")).total_records == 100


def test_a_stream_without_rows_has_no_columns_yet(service: Supervisor, client: Any) -> None:
    assert len(client.get_schema(flight.FlightDescriptor.for_path("scope")).schema) == 0
    assert client.do_get(ticket(stream="scope")).read_all().num_rows == 0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, range(1000)),
        ({"start": 250}, range(250, 1000)),
        ({"start": -10}, range(990, 1000)),
        ({"start": 250, "stop": 260}, range(250, 260)),
        ({"start": "latest"}, range(0)),
        ({"start": 999, "stop": 5000}, range(999, 1000)),
        ({"start": 1000}, range(0)),
        ({"start": -5000}, range(1000)),
    ],
)
def test_where_to_start_and_stop(ring: RingBuffer, client: Any, asked: dict[str, Any], expected: range) -> None:
    ring.write_arrow_batch(rows(0, 1000))
    assert numbers_of(client.do_get(ticket(stream="scope", **asked)).read_all()) == list(expected)


def test_back_fill_goes_over_into_live_rows_without_a_seam(ring: RingBuffer, client: Any) -> None:
    """Appended one by one while a client reads from the oldest: each row once, none missing."""
    total = 20_000
    with ring.producer(SCHEMA) as producer:
        for number in range(500):
            producer.append(number * 0.5, timestamp_ns=number)
        reader = client.do_get(ticket(stream="scope", follow=True, stop=total))

        def produce() -> None:
            for number in range(500, total):
                producer.append(number * 0.5, timestamp_ns=number)
                if number % 1000 == 0:
                    time.sleep(0.005)

        thread = threading.Thread(target=produce)
        thread.start()
        next_row, found = 0, []
        for chunk in reader:
            facts = facts_of(chunk)
            assert facts["first_row"] == next_row
            assert facts["lost_rows"] == 0
            next_row += chunk.data.num_rows
            found += numbers_of(chunk.data)
        thread.join()
    assert found == list(range(total))


def test_single_rows_are_sent_together(ring: RingBuffer, client: Any) -> None:
    """While rows come one by one, a message holds what came meanwhile."""
    wait_s = 0.2
    with ring.producer(SCHEMA) as producer:
        began = time.monotonic()
        reader = client.do_get(ticket(stream="scope", follow=True, stop=2000, wait_s=wait_s))
        for number in range(2000):
            producer.append(0.0, timestamp_ns=number)
            time.sleep(0.0001)
        sizes = [chunk.data.num_rows for chunk in reader]
    assert sum(sizes) == 2000
    assert len(sizes) <= (time.monotonic() - began) / wait_s + 2


def test_a_slow_client_is_told_exactly_what_it_lost(ring: RingBuffer, client: Any) -> None:
    """Eight rings' worth of rows while the client does not read: lost and sent rows add up."""
    ring.write_arrow_batch(rows(0, 1000))
    reader = client.do_get(ticket(stream="scope", follow=True, stop=2_100_000))
    next_row = reader.read_chunk().data.num_rows
    for first in range(1000, 2_100_000, 1000):
        ring.write_arrow_batch(rows(first, min(1000, 2_100_000 - first)))
    lost = 0
    for chunk in reader:
        facts = facts_of(chunk)
        assert facts["first_row"] == next_row + facts["lost_rows"]
        if chunk.data.num_rows:
            assert chunk.data.column(0)[0].as_py() == facts["first_row"]
        lost += facts["lost_rows"]
        next_row = facts["first_row"] + chunk.data.num_rows
    assert next_row == 2_100_000
    assert lost > 0


def test_rows_asked_for_that_are_gone_are_told_too(ring: RingBuffer, client: Any) -> None:
    for first in range(0, 600_000, 1000):
        ring.write_arrow_batch(rows(first, 1000))
    (only,) = list(client.do_get(ticket(stream="scope", start=10, stop=20)))
    assert (only.data.num_rows, facts_of(only)["first_row"], facts_of(only)["lost_rows"]) == (0, 20, 10)


def test_clients_do_not_disturb_each_other(ring: RingBuffer, client: Any, service: Supervisor) -> None:
    """Eight at once, one of which never reads: seven see every row."""
    found: dict[int, list[int]] = {}

    def read(index: int) -> None:
        with flight.connect(service.address) as other:
            reader = other.do_get(ticket(stream="scope", follow=True, stop=50_000))
            found[index] = numbers_of(reader.read_all())

    with ring.producer(SCHEMA):
        asleep = client.do_get(ticket(stream="scope", follow=True))
        threads = [threading.Thread(target=read, args=(index,)) for index in range(7)]
        for thread in threads:
            thread.start()
        service.wait_for_streams(8)
        for first in range(0, 50_000, 500):
            ring.write_arrow_batch(rows(first, 500))
        for thread in threads:
            thread.join()
    assert all(found[index] == list(range(50_000)) for index in range(7))
    asleep.cancel()


def test_the_place_of_a_client_that_went_is_free_again(ring: RingBuffer, client: Any, service: Supervisor) -> None:
    """Cancelled, or its connection closed: within a second or so it costs nothing any more."""
    ring.write_arrow_batch(rows(0, 10))
    for _ in range(3):
        readers = [client.do_get(ticket(stream="scope", follow=True)) for _ in range(12)]
        for reader in readers:
            reader.read_chunk()
        with pytest.raises(flight.FlightUnavailableError, match="places"):
            client.do_get(ticket(stream="scope")).read_all()
        assert (
            json.loads(next(iter(client.do_action(flight.Action("health", b"")))).body.to_pybytes())["state"]
            == "warning"
        )
        for reader in readers:
            reader.cancel()
        service.wait_for_streams(0)
    other = flight.connect(service.address)
    reader = other.do_get(ticket(stream="scope", follow=True))
    reader.read_chunk()
    other.close()
    del reader, other
    service.wait_for_streams(0)


def test_a_follower_gets_heartbeats_if_it_wants_them(ring: RingBuffer, client: Any) -> None:
    shaped = pa.schema([SCHEMA.field(0), pa.field("wave", pa.fixed_shape_tensor(pa.float32(), (4,)), nullable=False)])
    with ring.producer(shaped) as producer:
        producer.append(np.zeros(4, np.float32), timestamp_ns=5)
        reader = client.do_get(ticket(stream="scope", follow=True, heartbeat_s=0.1))
        assert reader.read_chunk().data.num_rows == 1
        beat = reader.read_chunk()
        assert beat.data.num_rows == 0
        facts = {"first_row": 1, "lost_rows": 0, "stream_id": f"{ring.stream_id:016x}"}
        assert facts_of(beat) == facts | {"newest_row": 1, "ring_fill": 0.0, "losses": []}
        reader.cancel()


def test_bytes_are_sent_as_messages(ring: RingBuffer, client: Any) -> None:
    for number in range(3000):
        ring.write(b"message %d" % number, timestamp_ns=number)
    table = client.do_get(ticket(stream="scope")).read_all()
    assert table.column("raw_data").to_pylist() == [b"message %d" % number for number in range(3000)]
    assert numbers_of(table) == list(range(3000))


def test_text_is_sent_too(ring: RingBuffer, client: Any) -> None:
    """Columns of varying width, with dictionaries that differ from batch to batch."""
    for number in range(20):
        words = pa.array([f"word {number}", None]).dictionary_encode()
        ring.write_arrow_batch(pa.record_batch({"timestamp": [number, number], "word": words}))
    chunks = list(client.do_get(ticket(stream="scope")))
    words = [word for chunk in chunks for word in chunk.data.column("word").to_pylist()]
    assert words == [word for number in range(20) for word in (f"word {number}", None)]


def test_a_follower_waits_for_the_first_producer(ring: RingBuffer, client: Any) -> None:
    found: list[Any] = []

    def read() -> None:
        found.append(client.do_get(ticket(stream="scope", follow=True, stop=5)).read_all())

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.3)
    with ring.producer(SCHEMA) as producer:
        for number in range(5):
            producer.append(1.0, timestamp_ns=number)
    thread.join(PATIENCE_S)
    assert numbers_of(found[0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("layout", ["batches", "continuous"])
def test_rows_of_a_file(service: Supervisor, client: Any, tmp_path: Path, layout: Any) -> None:
    channels = {
        "voltage": "V",
        "on": mullet.Channel("on", dtype="bool"),
        "wave": mullet.Channel("wave", dtype="int16", shape=(3,)),
    }
    path = tmp_path / "data" / "shots" / "one.h5"
    path.parent.mkdir()
    with mullet.record(path, channels=channels, layout=layout, flush_interval_s=0.5) as recording:
        for number in range(500):
            wave = np.full(3, number, np.int16)
            recording.write_measurement(number * 0.5, number % 2 == 0, wave, timestamp_ns=number)
            if number % 100 == 0:
                time.sleep(0.3)
        asked = ticket(file="shots/one.h5")
        eventually(lambda: path.exists(), "the file is there")
        while_recording = client.do_get(asked).read_all()
        assert numbers_of(while_recording) == list(range(while_recording.num_rows))
    table = client.do_get(asked).read_all()
    assert numbers_of(table) == list(range(500))
    assert table.column("on").to_pylist() == [number % 2 == 0 for number in range(500)]
    assert table.column("voltage").to_pylist() == [number * 0.5 for number in range(500)]
    wave = table.column("wave").combine_chunks()
    assert (wave.to_numpy_ndarray() == np.arange(500, dtype=np.int16)[:, None]).all()
    assert table.schema.field("voltage").metadata == {b"unit": b"V"}
    part = client.do_get(ticket(file="shots/one.h5", start=123, stop=130))
    chunk = part.read_chunk()
    assert facts_of(chunk)["first_row"] == 123
    assert numbers_of(chunk.data) == list(range(123, 130))


def test_text_and_gaps_of_a_file(service: Supervisor, client: Any, tmp_path: Path, ring_directory: Path) -> None:
    schema = pa.schema([("timestamp", pa.int64()), ("word", pa.string()), ("list", pa.list_(pa.int32()))])
    with RingBuffer.create(ring_directory / "words.ring", capacity_mb=1) as words:
        total = 0
        for _ in range(30):
            columns = [pa.array(range(total, total + 1000)), pa.array(["ä", None] * 500), pa.array([[1, 2], []] * 500)]
            words.write_arrow_batch(pa.record_batch(columns, schema=schema))
            total += 1000
        writer = mullet.HDF5Writer(tmp_path / "data" / "w.h5", words)
        writer.flush()
        writer.stop()
    chunks = list(client.do_get(ticket(file="w.h5")))
    assert sum(chunk.data.num_rows + facts_of(chunk)["lost_rows"] for chunk in chunks) == total
    assert chunks[0].data.column("word")[:2].to_pylist() == ["ä", None]
    assert chunks[0].data.column("list")[:2].to_pylist() == [[1, 2], []]


@pytest.mark.parametrize(
    "asked",
    [
        {"file": "../outside.h5"},
        {"file": "/etc/passwd"},
        {"file": "link.h5"},
        {"file": "a\0b"},
        {"file": "."},
        {"file": "data.txt"},
        {"file": "x" * 5000},
        {"file": "pipe"},
        {"stream": "../scope"},
        {"stream": "scope\n"},
        {"stream": "scope", "strat": 5},
        {"stream": "scope", "start": 1e3},
        {"stream": "scope", "start": 10**30},
        {"stream": "scope", "wait_s": 1e9},
        {"stream": "scope", "stream_id": "0" * 16},
        {"recording": "nobody"},
        {"recording": "a", "file": "b"},
        {"file": "data.txt", "stream": "\ud800"},
        {},
    ],
)
def test_hostile_tickets_are_refused(client: Any, ring: RingBuffer, tmp_path: Path, asked: dict[str, Any]) -> None:
    """In one line, without telling what is outside, and the service is alive after each."""
    import os

    (tmp_path / "outside.h5").write_text("secret")
    data = tmp_path / "data"
    (data / "data.txt").write_text("no HDF5")
    (data / "link.h5").symlink_to(tmp_path / "outside.h5")
    os.mkfifo(data / "pipe")
    with pytest.raises(flight.FlightError) as refusal:
        client.do_get(ticket(**asked)).read_all()
    told = json.loads(refusal.value.extra_info)
    assert "\n" not in told["message"]
    assert "Traceback" not in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert client.do_get(ticket(stream="scope")).read_all().num_rows == 0


def test_readers_end_when_the_service_does(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    ring.write_arrow_batch(rows(0, 10))
    reader = client.do_get(ticket(stream="scope", follow=True, start="latest"))
    service.kill()
    with suppress(StopIteration), pytest.raises(flight.FlightError):
        reader.read_chunk()
