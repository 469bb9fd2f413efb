"""``mullet.connect``: typed results, errors of ours, and connections cut in the middle."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import mulletdaq as mullet
from mulletdaq.errors import (
    AccessRefusedError,
    ConnectionLostError,
    ProducerLockedError,
    RecordingError,
    RemoteError,
    RequestError,
    RingReplacedError,
    SchemaMismatchError,
    ServiceBusyError,
    StreamNotFoundError,
)
from mulletdaq.flight import connection as wire
from mulletdaq.flight import reading
from mulletdaq.flight.connection import tries
from mulletdaq.flight.messages import Health, RecordingInfo, Status
from mulletdaq.flight.reading import RemoteBatch, RemoteRows
from mulletdaq.flight.sending import RemoteUpload
from mulletdaq.ring import RingBuffer
from tests.waiting import PATIENCE_S

from .conftest import SCHEMA, numbers_of, rows
from .proxy import Cable
from .supervisor import Supervisor, eventually
from .test_refusals import TOKEN, certificate, token_file
from .test_uploads import numbers_in

__all__ = ["certificate", "token_file"]


@pytest.fixture
def connection(service: Supervisor) -> Any:
    with mullet.connect(service.address) as made:
        yield made


def test_every_verb(service: Supervisor, ring: RingBuffer, connection: mullet.Connection) -> None:
    ring.write_arrow_batch(rows(0, 100))
    (stream,) = eventually(connection.streams, "the stream is listed")
    assert (stream.name, stream.rows, stream.rows_per_s) == ("scope", 100, 5.0)
    assert stream.schema.equals(SCHEMA)
    status = connection.status()
    assert isinstance(status, Status)
    assert status.streams[0].rows == 100
    assert status.disks[0].free_bytes == 10**12
    health = connection.health()
    assert isinstance(health, Health)
    assert (health.state, health.reasons[0].code) == ("warning", "disk_low")
    started = connection.start_recording("shot", streams=["scope"], metadata={"operator": "Ada"}, since_s=30)
    assert isinstance(started, RecordingInfo)
    assert started.state == "recording"
    assert connection.recordings() == [started]
    assert connection.flush() == {"scope": 100}
    connection.annotate("shutter opened", recording="shot", timestamp_ns=5)
    assert connection.rotate("shot") == ["a_part2.h5"]
    assert connection.stop_recording("shot").state == "stopped"
    asked = {name: arguments for name, arguments in service.asked if name != "streams"}
    assert asked["start_recording"].metadata == {"operator": "Ada"}
    assert asked["start_recording"].since_s == 30
    assert (asked["annotate"].text, asked["annotate"].timestamp_ns) == ("shutter opened", 5)


def test_errors_are_ours(service: Supervisor, ring: RingBuffer, connection: mullet.Connection) -> None:
    connection.start_recording("shot")
    with pytest.raises(RecordingError, match=r"^recording 'shot' is running already; stop it first, or choose another"):
        connection.start_recording("shot")
    with pytest.raises(RequestError, match="name"):
        connection.start_recording("a/b")
    with pytest.raises(StreamNotFoundError, match="there are scope"):
        connection.table("nothing")
    with pytest.raises(RequestError, match="not written yet"):
        connection.table("scope", start=10)
    ring.write_arrow_batch(rows(0, 1))
    with pytest.raises(ProducerLockedError):
        connection.upload("scope", SCHEMA)
    ring._writer.close()  # type: ignore[union-attr]
    with pytest.raises(SchemaMismatchError):
        connection.upload("scope", pa.schema([("timestamp", pa.int64())]))
    with pytest.raises(RequestError, match="no file"):
        connection.read_file("nothing.h5").table()


def test_nobody_there() -> None:
    with mullet.connect("grpc://127.0.0.1:1") as connection:
        for ask in (connection.health, lambda: connection.table("a"), lambda: connection.upload("a", SCHEMA)):
            with pytest.raises(ConnectionLostError, match=r"grpc://127\.0\.0\.1:1 does not answer") as refusal:
                ask()
            assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("address", ["localhost:50051", "http://a", "grpc://", "grpc://a/b", ""])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(RequestError, match="not an address"):
        mullet.connect(address)


def test_token_and_tls(certificate: tuple[str, str], token_file: Path, ring_directory: Path) -> None:
    chain, key = certificate
    with Supervisor(tls_certificate_file=chain, tls_key_file=key, token_file=str(token_file)) as service:
        service.rings["scope"] = RingBuffer.create(ring_directory / "scope.ring", capacity_mb=1)
        address = f"grpc+tls://localhost:{service.port}"
        with mullet.connect(address, token_file=token_file, tls_root_file=chain) as connection:
            assert connection.health().state == "warning"
            with connection.upload("scope", SCHEMA) as upload:
                upload.write(rows(0, 10))
            assert numbers_of(connection.table("scope")) == list(range(10))
        with mullet.connect(address, tls_root_file=chain) as stranger:
            for ask in (stranger.health, stranger.streams, lambda: stranger.table("scope")):
                with pytest.raises(AccessRefusedError, match="token"):
                    ask()
        token_file.write_text(TOKEN + "x")
        with (
            mullet.connect(address, token_file=token_file, tls_root_file=chain) as wrong,
            pytest.raises(AccessRefusedError, match="not the one"),
        ):
            wrong.health()
    with pytest.raises(AccessRefusedError, match="without TLS"):
        mullet.connect("grpc://lab.example:50051", token_file=token_file)


def test_reading_and_loss(ring: RingBuffer, connection: mullet.Connection) -> None:
    for first in range(0, 600_000, 1000):
        ring.write_arrow_batch(rows(first, 1000))
    with connection.read("scope", start=5, follow=False) as batches:
        found = [number for batch in batches for number in numbers_of(batch.batch)]
        assert batches.lost_rows == found[0] - 5
    assert found == list(range(found[0], 600_000))
    assert numbers_of(connection.table("scope", start=-3)) == [599_997, 599_998, 599_999]


def test_a_recorded_file(service: Supervisor, connection: mullet.Connection, tmp_path: Path) -> None:
    path = tmp_path / "data" / "shot.h5"
    with mullet.record(path, channels={"voltage": "V"}) as recording:
        recording.write_block(numbers := list(range(100)), timestamps_ns=numbers)
    assert numbers_of(connection.read_file("shot.h5").table()) == list(range(100))
    service.recordings["shot"] = RecordingInfo(
        name="shot", path=str(path), streams=["scope"], state="stopped", started_ns=1
    )
    assert numbers_of(connection.read_file(recording="shot", start=90).table()) == list(range(90, 100))


def test_reading_over_a_cable_that_is_cut_fifty_times(service: Supervisor, ring: RingBuffer) -> None:
    """In the middle of live rows: none lost, none doubled."""
    total = 100_000
    chance = random.Random(3)
    with Cable(service.port) as cable, mullet.connect(cable.address) as connection, ring.producer(SCHEMA):
        ended = threading.Event()
        cuts = 0

        def produce() -> None:
            first = 0
            while first < total - 500 or cuts < 50:
                ring.write_arrow_batch(rows(first, 10))
                first += 10
                time.sleep(0.0005)
            ring.write_arrow_batch(rows(first, 1))  # the last one
            ended.set()

        thread = threading.Thread(target=produce)
        thread.start()
        found: list[int] = []
        cut_at = 200
        with connection.read("scope", start=0) as batches:
            for batch in batches:
                assert batch.lost_rows == 0
                assert batch.first_row == len(found)
                found += numbers_of(batch.batch)
                if cuts < 50 and len(found) >= cut_at:
                    cuts += 1 if cable.cut() else 0
                    cut_at = len(found) + chance.randrange(1, 2000)
                if ended.is_set() and len(found) == ring.newest_row:
                    break
            assert batches.reconnections >= 50
        thread.join()
    assert found == list(range(len(found)))


def test_an_upload_over_a_cable_that_is_cut_fifty_times(service: Supervisor, ring: RingBuffer) -> None:
    """In the middle of batches: each row once, in order, and the ring has what was acknowledged."""
    chance = random.Random(4)
    found: list[int] = []
    with Cable(service.port) as cable, mullet.connect(cable.address) as connection, ring.cursor("oldest") as cursor:
        cuts = total = 0
        with connection.upload("scope", SCHEMA) as upload:
            while cuts < 50 or upload.reconnections < 50:
                for _ in range(chance.randrange(1, 12)):
                    count = chance.randrange(1, 200)
                    upload.write(rows(total, count))
                    total += count
                if cuts < 50:
                    time.sleep(chance.uniform(0, 0.002))
                    cuts += 1 if cable.cut() else 0
                upload.flush()
                assert upload.rows_acknowledged == total
                while isinstance(batch := cursor.read(), pa.RecordBatch):
                    found += numbers_of(batch)
        assert upload.reconnections >= 50
        assert cursor.lost_rows == 0
    assert found == list(range(total))


def test_an_upload_whose_rows_have_all_arrived_ends_without_its_cable(service: Supervisor, ring: RingBuffer) -> None:
    with Cable(service.port) as cable, mullet.connect(cable.address, patience_s=0.1) as connection:
        upload = connection.upload("scope", SCHEMA)
        upload.write(rows(0, 10))
        upload.flush()
        cable.close()
        upload.flush()
        upload.close()
    assert numbers_in(ring) == list(range(10))


def test_rows_wait_for_a_cable_that_was_away_for_too_long(service: Supervisor, ring: RingBuffer) -> None:
    """The error is raised, and the next flush tries again with the same rows."""
    with Cable(service.port) as cable, mullet.connect(cable.address, patience_s=0.1) as connection:
        upload = connection.upload("scope", SCHEMA)
        cable.close()
        with suppress(ConnectionLostError):
            upload.write(rows(0, 10))
        for end in (upload.flush, upload.close):
            with pytest.raises(ConnectionLostError):
                end()
        with Cable(service.port, cable.port):
            eventually(lambda: arrived(upload), "the cable is back")
            upload.close()
    assert numbers_in(ring) == list(range(10))


def arrived(upload: RemoteUpload) -> bool:
    with suppress(ConnectionLostError):
        upload.flush()
        return True
    return False


def test_a_reader_that_comes_back_waits_for_its_place(
    service: Supervisor, ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has it by then, or still its own broken call."""
    met: list[ServiceBusyError] = []
    come: list[RemoteBatch] = []

    def told(attempt: Callable[[], Any]) -> Any:
        try:
            return attempt()
        except ServiceBusyError as error:
            if threading.current_thread() is not threading.main_thread():
                met.append(error)
            raise

    monkeypatch.setattr(
        reading, "tries", lambda patience_s, attempt, lost: tries(patience_s, lambda: told(attempt), lost)
    )
    ring.write_arrow_batch(rows(0, 10))
    with ExitStack() as open_:
        cable = open_.enter_context(Cable(service.port))
        batches = open_.enter_context(mullet.connect(cable.address).read("scope", stop=15))
        come.append(next(iter(batches)))
        thread = threading.Thread(target=lambda: come.extend(batches))
        thread.start()
        cable.close()
        others = [open_.enter_context(mullet.connect(service.address)).read("scope") for _ in range(12)]
        for other in others:
            eventually(lambda other=other: begins(other), "a place")
        open_.enter_context(Cable(service.port, cable.port))
        eventually(lambda: met or not thread.is_alive(), "there is no place")
        for other in others:
            other.close()
        ring.write_arrow_batch(rows(10, 5))
        thread.join()
    assert [number for batch in come for number in numbers_of(batch.batch)] == list(range(15))
    assert met


def begins(follower: RemoteRows) -> bool:
    with suppress(ServiceBusyError):
        next(iter(follower))
        return True
    return False


def test_an_upload_goes_on_after_the_service_was_killed(service: Supervisor, ring: RingBuffer) -> None:
    with mullet.connect(service.address) as connection, connection.upload("scope", SCHEMA) as upload:
        for number in range(6):
            upload.write(rows(number * 1000, 1000))
            if number % 2:
                service.kill()
    assert service.starts == 4
    assert numbers_in(ring) == list(range(6000))


def test_another_process_can_go_on_with_an_upload(ring: RingBuffer, connection: mullet.Connection) -> None:
    upload = connection.upload("scope", SCHEMA)
    upload.write(rows(0, 100))
    upload.flush()
    upload.abandon()
    eventually(lambda: not ring.producer_alive, "the producer is let go")
    with connection.upload("scope", SCHEMA, resume=upload.id) as again:
        assert again.rows == 100
        again.write(rows(100, 50))
    assert numbers_in(ring) == list(range(150))


def test_a_reader_is_told_that_the_ring_is_another_one(service: Supervisor, ring: RingBuffer) -> None:
    ring.write_arrow_batch(rows(0, 10))
    with Cable(service.port) as cable, mullet.connect(cable.address) as connection:
        batches = connection.read("scope")
        found = iter(batches)
        next(found)
        ring.close()
        service.rings["scope"] = new = RingBuffer.create(ring.path, capacity_mb=1, force=True)
        new.write_arrow_batch(rows(0, 10))
        time.sleep(1.1)  # the service asks for its streams once a second
        cable.cut()
        with pytest.raises(RingReplacedError):
            next(found)
        batches.close()


def test_a_follower_goes_on_when_a_service_ended_in_good_order(service: Supervisor, ring: RingBuffer) -> None:
    """It gets the newest rows before the end, and the rows after from the next service."""
    ring.write_arrow_batch(rows(0, 10))
    with mullet.connect(service.address) as daemon, daemon.read("scope", stop=20) as found:
        assert next(iter(found)).batch.num_rows == 10
        ring.write_arrow_batch(rows(10, 5))
        service.end_process()
        ring.write_arrow_batch(rows(15, 5))
        numbers = [number for one in found for number in one.batch.column(0).to_pylist()]
    assert numbers == list(range(10, 20))
    assert found.reconnections


def test_a_follower_of_a_service_that_falls_silent_goes_on_with_it(
    service: Supervisor, ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is held breaks no connection: only its heartbeats are missing."""
    monkeypatch.setattr(reading, "_LOOK_S", 0.1)
    ring.write_arrow_batch(rows(0, 10))
    daemon = mullet.connect(service.address, timeout_s=0.5)
    with daemon, daemon.read("scope", stop=20, heartbeat_s=0.1) as found:
        assert next(iter(found)).batch.num_rows == 10
        os.kill(service.pid, signal.SIGSTOP)
        try:
            ring.write_arrow_batch(rows(10, 10))
            follower = threading.Thread(target=lambda: numbers.extend(numbers_of(found.table())))
            numbers: list[int] = []
            follower.start()
            eventually(lambda: found.reconnections, "the silence is noticed")
        finally:
            os.kill(service.pid, signal.SIGCONT)
        follower.join()
    assert numbers == list(range(10, 20))


def test_a_follower_of_a_service_that_stays_silent_says_so(
    service: Supervisor, ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LOOK_S", 0.1)
    ring.write_arrow_batch(rows(0, 10))
    daemon = mullet.connect(service.address, timeout_s=0.2, patience_s=0.5)
    with daemon, daemon.read("scope", heartbeat_s=0.1) as found:
        batches = iter(found)
        assert next(batches).batch.num_rows == 10
        os.kill(service.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionLostError):
                for _ in batches:
                    pass
        finally:
            os.kill(service.pid, signal.SIGCONT)


def test_pings_come_no_more_often_than_any_server_takes_them() -> None:
    """A gRPC server as it comes ends a connection with more than one ping in 300 s of its own silence."""
    assert dict(wire._OPTIONS)["grpc.keepalive_time_ms"] > 300_000


def test_a_stream_is_listed_as_soon_as_it_is_there(
    service: Supervisor, ring_directory: Path, connection: mullet.Connection
) -> None:
    for count in range(2, 6):
        assert len(connection.streams()) == count - 1
        service.rings[f"stream{count}"] = RingBuffer.create(ring_directory / f"{count}.ring", capacity_mb=1)


def test_a_long_drain_is_waited_for(service: Supervisor, ring: RingBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: the time for a question is over several times before the rows are in the file."""
    drained, answer = threading.Event(), service.flush

    def drain(wanted: Any) -> Any:
        drained.wait()
        return answer(wanted)

    monkeypatch.setattr(service, "flush", drain)
    with mullet.connect(service.address, timeout_s=0.1) as daemon:
        threading.Timer(1.5, drained.set).start()
        assert daemon.flush() == {"scope": 0}


def test_a_drain_that_the_daemon_does_not_survive_is_told(
    service: Supervisor, ring: RingBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = threading.Event(), threading.Event()

    def drain(wanted: Any) -> Any:
        asked.set()
        over.wait()
        raise RecordingError("too late")

    monkeypatch.setattr(service, "flush", drain)
    failures: list[BaseException] = []

    def ask() -> None:
        with mullet.connect(service.address) as daemon, pytest.raises((RemoteError, ConnectionLostError)) as failure:
            daemon.flush()
        failures.append(failure.value)

    asker = threading.Thread(target=ask)
    asker.start()
    assert asked.wait(PATIENCE_S)
    ender = threading.Thread(target=service.end_process)
    ender.start()
    asker.join(PATIENCE_S)
    over.set()
    ender.join()
    assert len(failures) == 1
