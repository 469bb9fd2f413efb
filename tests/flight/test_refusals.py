"""What must be refused, and that the service is alive after each."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from pyarrow import flight

from mulletdaq.errors import AccessRefusedError
from mulletdaq.flight.access import check_exposure, is_loopback, read_token
from mulletdaq.flight.pipe import FlightOptions
from mulletdaq.ring import RingBuffer

from .conftest import SCHEMA, rows
from .raw import RawClient, data, parts
from .supervisor import Supervisor
from .test_uploads import descriptor, first_row, heard, refused

TOKEN = "a-token-of-some-length"


def answers(client: Any, **options: Any) -> bool:
    (result,) = client.do_action(flight.Action("health", b""), flight.FlightCallOptions(**options))
    return bool(json.loads(result.body.to_pybytes())["state"] == "warning")


def bearer(word: str) -> dict[str, Any]:
    return {"headers": [(b"authorization", word.encode())]}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {chain}"
    subprocess.run(
        [*words.split(), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True
    )
    key.chmod(0o600)
    return str(chain), str(key)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def raw(service: Supervisor) -> Iterator[RawClient]:
    client = RawClient(service.port)
    yield client
    client.close()


# ---- who may come in


def test_a_token_is_needed(token_file: Path) -> None:
    with Supervisor(token_file=str(token_file)) as service, flight.connect(service.address) as client:
        wrong = [
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN} x",
        ]
        for options in ({}, *map(bearer, wrong), {"headers": bearer(f"Bearer {TOKEN}")["headers"] * 2}):
            for call in (
                lambda given: answers(client, **given),
                lambda given: list(client.list_flights(options=flight.FlightCallOptions(**given))),
                lambda given: list(client.list_actions(flight.FlightCallOptions(**given))),
                lambda given: client.do_get(flight.Ticket(b"{}"), flight.FlightCallOptions(**given)).read_all(),
            ):
                with pytest.raises(flight.FlightUnauthenticatedError, match="token"):
                    call(options)
        assert answers(client, **bearer(f"Bearer {TOKEN}"))


def test_plain_text_to_tls_is_refused(certificate: tuple[str, str], token_file: Path) -> None:
    chain, key = certificate
    options = {"tls_certificate_file": chain, "tls_key_file": key, "token_file": str(token_file)}
    with Supervisor(host="0.0.0.0", **options) as service:
        plain = flight.connect(f"grpc://127.0.0.1:{service.port}")
        with pytest.raises(flight.FlightUnavailableError):
            answers(plain, timeout=5)
        plain.close()
        stranger = flight.connect(f"grpc+tls://localhost:{service.port}")
        with pytest.raises(flight.FlightUnavailableError):
            answers(stranger, timeout=5)
        stranger.close()
        with flight.connect(f"grpc+tls://localhost:{service.port}", tls_root_certs=Path(chain).read_bytes()) as friend:
            assert answers(friend, **bearer(f"Bearer {TOKEN}"))


def test_no_service_for_all_without_token_and_tls() -> None:
    with Supervisor(host="0.0.0.0") as service:
        assert service.failure is not None
        assert service.failure.error.type == "AccessRefusedError"
        assert "tls_certificate_file" in service.failure.error.message
    assert check_exposure(FlightOptions(host="0.0.0.0", insecure=True)) == [
        "address 0.0.0.0 can be reached from other computers, and there is no token and no TLS: "
        "anyone there may read, write and stop recordings"
    ]
    assert check_exposure(FlightOptions()) == []


def test_an_address_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, Supervisor(port=other.getsockname()[1]) as service:
        assert service.failure is not None
        assert "in use" in service.failure.error.message


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("lab.example", False), ("10.0.0.1", False), ("", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_token_that_others_can_read_is_refused(token_file: Path, mode: int) -> None:
    assert read_token(str(token_file)) == TOKEN.encode()
    token_file.chmod(mode)
    with pytest.raises(AccessRefusedError, match="chmod 600"):
        read_token(str(token_file))


@pytest.mark.parametrize("content", ["", "short", "two words of some length", "äöüäöüäöüäöüäöüäöü"])
def test_a_poor_token_is_refused(token_file: Path, content: str) -> None:
    token_file.write_text(content)
    with pytest.raises(AccessRefusedError, match="16 ASCII"):
        read_token(str(token_file))


# ---- too much


def test_a_batch_over_the_limits_is_refused(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    writer, reader = client.do_put(descriptor(), SCHEMA)
    writer.write_batch(rows(0, 1_200_000))
    refused(writer, reader, "over the limit of 16 MB")
    narrow = pa.schema([("timestamp", pa.int64())])
    assert ring.newest_row == 0
    assert len(narrow) == 1
    assert service.starts == 1
    assert answers(client)


def test_too_many_rows_are_refused(ring_directory: Path) -> None:
    with Supervisor(max_batch_rows=100) as service, flight.connect(service.address) as client:
        service.rings["scope"] = RingBuffer.create(ring_directory / "scope.ring", capacity_mb=1)
        writer, reader = client.do_put(descriptor(), SCHEMA)
        writer.write_batch(rows(0, 101))
        refused(writer, reader, "101 rows")
        writer, reader = client.do_put(descriptor(), SCHEMA)
        writer.write_with_metadata(rows(0, 100), first_row(0))
        assert [heard(reader), heard(reader)] == [0, 100]
        writer.close()


def test_a_message_of_a_gigabyte_costs_this_process_only(service: Supervisor, ring: RingBuffer, raw: RawClient) -> None:
    """It ends itself, or refuses the message, and is there again; the ring and other streams do not notice."""
    schema, _ = parts(SCHEMA.serialize())
    header, _ = parts(rows(0, 10).serialize())
    body = bytes(1 << 30)
    assert raw.put([data(schema, stream="scope"), data(header, body)]) != grpc.StatusCode.OK
    del body
    service.wait_ready()
    with flight.connect(service.address) as client:
        assert answers(client)
    assert ring.newest_row == 0


def test_a_compressed_gigabyte_of_zeros_is_refused(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    """33 kB that unfold to a gigabyte: the memory is not given, and the service goes on in the same process."""
    bomb = pa.schema([("timestamp", pa.int64())])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    batch = pa.record_batch([pa.array(memoryview(bytes(1 << 30)).cast("q"))], schema=bomb)
    writer, reader = client.do_put(
        flight.FlightDescriptor.for_path("scope"), bomb, flight.FlightCallOptions(write_options=options)
    )
    with suppress(flight.FlightError, OSError):
        writer.write_batch(batch)
    refused(writer, reader, "memory")
    assert service.starts == 1
    assert answers(client)
    assert ring.newest_row == 0


def test_an_action_with_a_huge_body_is_refused(client: Any) -> None:
    with pytest.raises(flight.FlightError, match="limit"):
        list(client.do_action(flight.Action("annotate", b" " * 100_000)))
    assert answers(client)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("drop_tables", b""),
        ("start_recording", b""),
        ("start_recording", b'{"name": "../../etc/cron.d/x"}'),
        ("start_recording", b'{"name": "a", "unknown": 1}'),
        ("start_recording", b'{"name": "a", "streams": []}'),
        ("start_recording", b'{"name": "a", "since_s": -1}'),
        ("start_recording", b'{"name": "a", "compression": "rot13"}'),
        ("stop_recording", b'{"name": ""}'),
        ("annotate", b'{"text": ""}'),
        ("annotate", b'{"text": "a", "timestamp_ns": 99999999999999999999}'),
        ("status", b"[]"),
        ("status", b"\xff\xfe"),
        ("health", b"{" * 5000),
        ("streams", b""),
    ],
)
def test_hostile_actions_never_reach_the_daemon(service: Supervisor, client: Any, verb: str, body: bytes) -> None:
    before = [name for name, _ in service.asked if name != "streams"]
    with pytest.raises(flight.FlightError) as refusal:
        list(client.do_action(flight.Action(verb, body)))
    assert json.loads(refusal.value.extra_info)["type"] == "RequestError"
    assert [name for name, _ in service.asked if name != "streams"] == before
    assert answers(client)


# ---- malformed


def test_malformed_messages(service: Supervisor, ring: RingBuffer, raw: RawClient) -> None:
    """5,000 uploads with bytes changed, cut, repeated, or swapped: refused or taken, by one and the same process."""
    chance = random.Random(20)
    schema, _ = parts(SCHEMA.serialize())
    ok = 0
    for number in range(5000):
        header, body = parts(rows(number, 20).serialize())
        pieces = [schema, header, body]
        which = chance.choice([0, 1, 1, 1, 2])
        pieces[which] = mutated(chance, pieces[which])
        messages = [data(pieces[0], stream="scope"), data(pieces[1], pieces[2])]
        if chance.random() < 0.05:
            messages = [mutated(chance, message) for message in messages]
        ok += raw.put(messages) == grpc.StatusCode.OK
        if number % 1000 == 999:
            with flight.connect(service.address) as client:
                assert answers(client)
    assert service.starts == 1
    assert 0 < ok < 5000
    with ring.cursor("oldest") as cursor:
        while (batch := cursor.read()) is not None:
            assert isinstance(batch, pa.RecordBatch)
            batch.validate(full=True)


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Changed somewhere."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        if not changed:
            break
        place = chance.randrange(len(changed))
        kind = chance.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place] = chance.randrange(256)
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            changed[place : place + 4] = chance.choice(
                [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"]
            )
        elif kind == 4:
            changed[place:place] = chance.randbytes(chance.randrange(1, 9))
        else:
            other = chance.randrange(len(changed))
            changed[place : place + 8] = changed[other : other + 8]
    return bytes(changed)


# ---- many


def test_two_hundred_idle_clients(service: Supervisor, ring: RingBuffer) -> None:
    """Connections that do nothing, some of which not even speak HTTP, take no place from those that work."""
    ring.write_arrow_batch(rows(0, 1000))
    idle = [flight.connect(service.address) for _ in range(100)]
    for client in idle:
        assert answers(client)
    mute = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(100)]
    for number, end in enumerate(mute):
        end.sendall(os.urandom(number))
    with flight.connect(service.address) as client:
        assert client.do_get(flight.Ticket(b'{"stream": "scope"}')).read_all().num_rows == 1000
        assert answers(client)
    for end in mute:
        end.close()
    for client in idle:
        client.close()
    assert service.starts == 1


def test_actions_are_answered_while_all_places_are_taken(service: Supervisor, ring: RingBuffer, client: Any) -> None:
    """Readers that sleep in the middle of a stream."""
    ring.write_arrow_batch(rows(0, 100_000))
    ring._writer.close()  # type: ignore[union-attr]
    readers = [client.do_get(flight.Ticket(b'{"stream": "scope", "follow": true}')) for _ in range(12)]
    for reader in readers:
        reader.read_chunk()
    answered = []
    threads = [threading.Thread(target=lambda: answered.append(answers(client))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == [True] * 20
    refused(*client.do_put(descriptor(), SCHEMA), "places")
    for reader in readers:
        reader.cancel()
