"""Clients of the installed daemon: a stock one, ours, and such as it must refuse."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

import mulletdaq
from mulletdaq.errors import AccessRefusedError
from mulletdaq.hdf5.verify import verify
from tests.daemon.running import stored
from tests.flight.conftest import SCHEMA, numbers_of, rows
from tests.flight.proxy import Cable
from tests.flight.raw import RawClient, data, parts
from tests.flight.test_refusals import TOKEN, bearer, certificate, token_file
from tests.flight.test_uploads import refused
from tests.waiting import PATIENCE_S

from .command import Mullet, wait_until
from .daemon import child_of, open_files, start

__all__ = ["certificate", "token_file"]

CLIENT = Path(__file__).parent / "stock_client.py"
STREAM = "experiment_data"
CONFIG = """
[daemon]
port = 0
disk_reserve_mb = 0
{daemon}
[streams.experiment_data]
ring_mb = 16
outputs = [{{ path = "out.h5", flush_interval_s = 0.1 }}]
"""


def configured(mullet: Mullet, daemon: str = "") -> tuple[subprocess.Popen[str], str]:
    (mullet.folder / "mullet.toml").write_text(CONFIG.format(daemon=daemon))
    process, address, _ = start(mullet, "--config", "mullet.toml")
    return process, address


def end(mullet: Mullet, process: subprocess.Popen[str]) -> None:
    process.terminate()
    done = mullet.finish(process)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def address(mullet: Mullet) -> Iterator[str]:
    """Of a daemon with little memory for clients; it must be well at the end, and end well."""
    process, address = configured(mullet, "memory_limit_mb = 256\nmax_message_mb = 16")
    yield address
    assert is_well(address)
    end(mullet, process)


def is_well(address: str, **options: Any) -> bool:
    with flight.connect(address, **options) as client:
        (result,) = client.do_action(flight.Action("health", b""))
    return bool(json.loads(result.body.to_pybytes())["state"] == "ok")


def command(**words: Any) -> flight.FlightDescriptor:
    return flight.FlightDescriptor.for_command(json.dumps({"stream": STREAM, **words}))


# ---- what works


def test_a_stock_client_can_do_all_there_is(mullet: Mullet) -> None:
    """In an interpreter that cannot even import this package."""
    process, address, _ = start(mullet, "--port", "0")
    script = shutil.copy(CLIENT, mullet.folder)
    done = subprocess.run(
        [sys.executable, "-I", script, address, "shot.h5"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["before"] == [[STREAM, []]]
    assert {"status", "health", "start_recording", "stop_recording", "flush", "annotate", "rotate"} < {*told["verbs"]}
    assert (told["acknowledged"], told["acknowledged_later"]) == (2500, 2500)
    assert told["live_is_whole"]
    assert told["schema"] == ["timestamp", "volts", "count"]
    assert told["recording"]["state"] == "recording"
    assert told["flushed"] == {"rows_persisted": {STREAM: 5000, "shot": 5000}}
    assert (told["stopped"]["state"], told["stopped"]["rows_persisted"], told["rows_of_file"]) == (
        "stopped",
        5000,
        5000,
    )
    assert told["status"]["streams"][0]["rows"] == 5000
    assert told["health"] == {"state": "ok", "reasons": []}
    assert told["list"] == [["shot", "stopped"], [STREAM, "recording"]]
    end(mullet, process)
    for name in ("experiment_data.h5", "shot.h5"):
        np.testing.assert_array_equal(stored(mullet.folder / name, "count"), np.arange(5000))
        assert verify(mullet.folder / name).ok


def test_our_client_can_do_all_there_is(mullet: Mullet) -> None:
    process, address, _ = start(mullet, "--port", "0")
    with mulletdaq.connect(address) as daemon:
        now = time.time_ns()
        stamped = [rows(first, 100).set_column(0, SCHEMA.field(0), pa.array([now] * 100)) for first in (0, 100, 200)]
        with daemon.upload(STREAM, SCHEMA) as upload:
            upload.write(stamped[0])
            upload.flush()
            daemon.start_recording("now", path="now.h5")
            daemon.start_recording("past", path="past.h5", since_s=30, metadata={"who": "Ada"})
            upload.write(stamped[1])
        assert daemon.flush() == {STREAM: 200, "now": 100, "past": 200}
        daemon.annotate("shutter opened", recording="past")
        assert daemon.stop_recording("now").rows_persisted == 100
        with daemon.upload(STREAM, SCHEMA) as upload:
            upload.write(stamped[2])
        assert daemon.rotate("past") == [str(mullet.folder / "past_part2.h5")]
        assert daemon.stop_recording("past").rows_persisted == 300
        assert {(one.name, one.state) for one in daemon.recordings()} == {
            ("now", "stopped"), ("past", "stopped"), (STREAM, "recording")
        }  # fmt: skip
        assert daemon.table(STREAM).column("voltage").to_pylist() == [number * 0.5 for number in range(300)]
        assert daemon.read_file("now.h5").table().num_rows == 100
        [stream] = daemon.streams()
        assert (stream.name, stream.rows, stream.schema.names) == (STREAM, 300, SCHEMA.names)
        assert daemon.health().state == "ok"
    end(mullet, process)
    np.testing.assert_array_equal(stored(mullet.folder / "experiment_data.h5", "voltage"), np.arange(300) * 0.5)
    assert all(verify(path).ok for path in mullet.folder.glob("*.h5"))


def test_token_and_tls_of_the_configuration(
    mullet: Mullet, certificate: tuple[str, str], token_file: Path, tmp_path: Path
) -> None:
    chain, key = certificate
    process, address = configured(
        mullet,
        f'host = "0.0.0.0"\ntls_certificate_file = "{chain}"\ntls_key_file = "{key}"\ntoken_file = "{token_file}"',
    )
    assert address.startswith("grpc+tls://0.0.0.0:")
    port = address.rpartition(":")[2]
    there, roots = f"grpc+tls://localhost:{port}", Path(chain).read_bytes()
    with flight.connect(there, tls_root_certs=roots) as client:

        def health(*words: str) -> Any:
            headers = [(b"authorization", word.encode()) for word in words]
            (result,) = client.do_action(flight.Action("health", b""), flight.FlightCallOptions(headers=headers))
            return json.loads(result.body.to_pybytes())

        for words in ((), ("Bearer wrong",), (f"Bearer {TOKEN}x",), (TOKEN,)):
            with pytest.raises(flight.FlightUnauthenticatedError, match="token"):
                health(*words)
        options = flight.FlightCallOptions(**bearer(f"Bearer {TOKEN}"))
        assert health(f"Bearer {TOKEN}") == {"state": "ok", "reasons": []}
        writer, reader = client.do_put(command(), SCHEMA, options)
        writer.write_batch(rows(0, 100))
        writer.done_writing()
        while reader.read() is not None:
            pass
        writer.close()
        assert client.do_get(flight.Ticket(json.dumps({"stream": STREAM})), options).read_all().num_rows == 100
        with pytest.raises(flight.FlightUnauthenticatedError):
            client.do_get(flight.Ticket(json.dumps({"stream": STREAM}))).read_all()
    plain = flight.connect(f"grpc://127.0.0.1:{port}")
    with pytest.raises(flight.FlightUnavailableError):
        list(plain.list_flights(options=flight.FlightCallOptions(timeout=5)))
    plain.close()
    with pytest.raises(AccessRefusedError), mulletdaq.connect(there, tls_root_file=chain) as stranger:
        stranger.health()
    ours = ("--address", there, "--tls-root-file", chain)
    assert mullet("health", *ours, "--token-file", token_file).stdout == "ok\n"
    assert "needs a token" in mullet("health", *ours).error
    end(mullet, process)
    assert stored(mullet.folder / "out.h5", "voltage").size == 100


# ---- cut connections


def test_reading_and_writing_over_a_cable_that_is_cut_fifty_times(mullet: Mullet, address: str) -> None:
    """Upload and live reading go over it at once; ring, reader and file have each row once."""
    chance = random.Random(6)
    found: list[int] = []
    wanted = 50
    with Cable(int(address.rpartition(":")[2])) as cable, mulletdaq.connect(cable.address) as ours:
        upload = ours.upload(STREAM, SCHEMA)
        cuts = total = heard = 0
        ended = threading.Event()

        batches = ours.read(STREAM, start=0, heartbeat_s=0.2)

        def read() -> None:
            nonlocal heard
            with batches:
                for batch in batches:
                    heard += 1
                    assert batch.lost_rows == 0
                    assert batch.first_row == len(found)
                    found.extend(numbers_of(batch.batch))
                    if ended.is_set() and len(found) == total:
                        break

        reader = threading.Thread(target=read)
        reader.start()
        upload.write(rows(0, total := 1))
        wait_until(lambda: found)  # a reader that has not begun yet does not try again
        while min(cuts, upload.reconnections, batches.reconnections) < wanted and reader.is_alive():
            for _ in range(chance.randrange(1, 8)):
                count = chance.randrange(1, 200)
                upload.write(rows(total, count))
                total += count
            time.sleep(chance.uniform(0, 0.004))
            if chance.random() < 0.5:  # cut always before it is back, the reader would rightly give up
                before = heard
                wait_until(lambda before=before: heard > before or not reader.is_alive())
            cuts += 1 if cable.cut() else 0
            upload.flush()
        upload.close()
        ended.set()
        reader.join()
    assert found == list(range(total))
    assert min(cuts, upload.reconnections, batches.reconnections) >= wanted
    with mulletdaq.connect(address) as direct:
        assert direct.flush() == {STREAM: total}
    np.testing.assert_array_equal(stored(mullet.folder / "out.h5", "voltage"), np.arange(total) * 0.5)


def test_a_recording_whose_writer_is_slow_is_stopped_whole(mullet: Mullet, address: str) -> None:
    """Its end takes longer than a question may: it is waited for, and all rows are in the file."""
    with mulletdaq.connect(address, timeout_s=5) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        daemon.start_recording("slow")
        upload.write(rows(0, 5000))
        upload.flush()
        (writer,) = [one.pid for one in daemon.status().children if (one.kind, one.name) == ("writer", "slow")]
        assert writer is not None
        os.kill(writer, signal.SIGSTOP)
        threading.Timer(7, os.kill, (writer, signal.SIGCONT)).start()
        stopped = daemon.stop_recording("slow")
    assert (stopped.state, stopped.rows_persisted) == ("stopped", 5000)
    assert stored(mullet.folder / stopped.path, "voltage").size == 5000
    wait_until(lambda: is_well(address))


# ---- refusals, the daemon being well after each


def test_messages_that_are_too_large(mullet: Mullet, address: str) -> None:
    """A gigabyte, as it is or compressed to almost nothing, costs at most the Flight process."""
    schema, _ = parts(SCHEMA.serialize())
    header, _ = parts(rows(0, 10).serialize())
    raw = RawClient(int(address.rpartition(":")[2]))
    assert raw.put([data(schema, stream=STREAM), data(header, bytes(1 << 30))]) != grpc.StatusCode.OK
    raw.close()
    wait_until(lambda: answers(address))
    zeros = memoryview(bytes(1 << 29))
    batch = pa.record_batch([pa.array(zeros.cast("q")), pa.array(zeros.cast("d"))], schema=SCHEMA)
    options = flight.FlightCallOptions(write_options=pa.ipc.IpcWriteOptions(compression="zstd"))
    with flight.connect(address) as client:
        writer, reader = client.do_put(command(), SCHEMA, options)
        with suppress(flight.FlightError, OSError):
            writer.write_batch(batch)
        while reader.read() is not None:
            pass
        with pytest.raises(flight.FlightError):
            writer.close()
    wait_until(lambda: answers(address))
    with mulletdaq.connect(address) as daemon:
        assert daemon.status().streams[0].rows == 0
    wait_until(lambda: is_well(address))


def answers(address: str) -> bool:
    with suppress(flight.FlightError):
        is_well(address)
        return True
    return False


def test_wrong_columns_and_broken_messages(address: str) -> None:
    with mulletdaq.connect(address) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        upload.write(rows(0, 10))
    with flight.connect(address) as client:
        for schema in (pa.schema([]), pa.schema([("timestamp", pa.int64()), ("voltage", pa.float32())])):
            refused(*client.do_put(command(), schema), "columns")
    schema, _ = parts(SCHEMA.serialize())
    header, body = parts(rows(0, 10).serialize())
    raw = RawClient(int(address.rpartition(":")[2]))
    chance = random.Random(7)
    for _ in range(200):
        broken = bytearray(header)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        raw.put([data(schema, stream=STREAM), data(bytes(broken), body)])
    raw.close()


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("start_recording", {"name": "../../x"}),
        ("start_recording", {"name": "x", "path": "../x.h5"}),
        ("start_recording", {"name": "x", "path": "/tmp/x.h5"}),
        ("start_recording", {"name": "x", "path": "outside/x.h5"}),
        ("start_recording", {"name": "x", "path": "{start.__class__}.h5"}),
        ("start_recording", {"name": "x", "path": "{name.__class__.__mro__}.h5"}),
        ("start_recording", {"name": "x", "path": "{index:99999999999d}.h5"}),
        ("start_recording", {"name": "x", "path": "out.h5"}),
        ("start_recording", {"name": "x", "path": "x\0.h5"}),
        ("start_recording", {"name": "x", "path": "mullet.toml"}),
        ("start_recording", {"name": "x", "path": "a" * 300 + ".h5"}),
        ("start_recording", {"name": "x", "streams": ["../x"]}),
        ("stop_recording", {"name": STREAM}),
        ("rotate", {"name": "../x"}),
        ("shutdown", {}),
    ],
)
def test_hostile_actions(mullet: Mullet, address: str, verb: str, words: dict[str, Any], tmp_path: Path) -> None:
    (mullet.folder / "outside").symlink_to("/tmp")
    before = sorted(path.name for path in mullet.folder.iterdir() if "journal" not in path.name)
    with flight.connect(address) as client, pytest.raises(flight.FlightError) as refusal:
        list(client.do_action(flight.Action(verb, json.dumps(words).encode())))
    told = json.loads(refusal.value.extra_info)
    assert "\n" not in told["message"] and told["message"]
    assert sorted(path.name for path in mullet.folder.iterdir() if "journal" not in path.name) == before


@pytest.mark.parametrize(
    "ticket", [b"", b"{}", b'{"stream": "../experiment_data"}', b'{"file": "../../etc/passwd"}',
               b'{"file": "/etc/passwd"}', b'{"file": "mullet.toml"}', b'{"file": "outside/x"}', b"\xff" * 100]
)  # fmt: skip
def test_hostile_tickets(address: str, ticket: bytes) -> None:
    with flight.connect(address) as client, pytest.raises(flight.FlightError) as refusal:
        client.do_get(flight.Ticket(ticket)).read_all()
    assert "\n" not in json.loads(refusal.value.extra_info)["message"]


def test_two_hundred_idle_clients(address: str) -> None:
    idle = [flight.connect(address) for _ in range(100)]
    assert [len(list(client.list_flights())) for client in idle] == [1] * 100
    mute = [socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) for _ in range(100)]
    for number, one in enumerate(mute):
        one.sendall(os.urandom(number))
    with mulletdaq.connect(address) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        upload.write(rows(0, 1000))
    assert is_well(address)
    for one in mute:
        one.close()
    for client in idle:
        client.close()


# ---- for months


def test_a_thousand_clients_that_came_and_went_leave_nothing(mullet: Mullet) -> None:
    process, address = configured(mullet)
    flight_process = child_of(process, "mulletdaq.flight.process")
    with mulletdaq.connect(address) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        upload.write(rows(0, 100))

    def come_and_go(times: int) -> None:
        while times:
            with flight.connect(address) as client, suppress(flight.FlightUnavailableError):
                reader = client.do_get(flight.Ticket(json.dumps({"stream": STREAM, "follow": True})))
                reader.read_chunk()  # and then it goes, without a word
                times -= 1
                continue
            time.sleep(0.05)  # those that went a moment ago still have their places

    come_and_go(50)
    wait_until(lambda: all_places_are_free(address))
    before = open_files(flight_process.pid), open_files(process.pid)
    memory = flight_process.memory_info().rss
    come_and_go(1000)
    wait_until(lambda: all_places_are_free(address))
    wait_until(lambda: open_files(flight_process.pid) <= before[0] + 5)
    assert open_files(process.pid) <= before[1] + 2
    assert flight_process.memory_info().rss - memory < 64 << 20
    assert flight_process.is_running()
    end(mullet, process)


def all_places_are_free(address: str) -> bool:
    """Whether as many as may can read at once."""
    with flight.connect(address) as client:
        readers = []
        try:
            for _ in range(64):
                readers.append(client.do_get(flight.Ticket(json.dumps({"stream": STREAM, "follow": True}))))
                readers[-1].read_chunk()
        except flight.FlightUnavailableError:
            return False
        finally:
            for reader in readers:
                reader.cancel()
    return True


def test_recordings_that_came_and_went_leave_nothing_open(mullet: Mullet) -> None:
    process, address = configured(mullet)
    with mulletdaq.connect(address) as daemon:

        def record(first: int, last: int) -> None:
            for number in range(first, last):
                daemon.start_recording("shot", path=f"shot_{number}.h5")
                daemon.stop_recording("shot")

        record(0, 2)
        before = open_files(process.pid)
        record(2, 7)
        assert open_files(process.pid) <= before
    end(mullet, process)


# ---- on this computer


def test_rings_are_the_users_own_and_files_are_as_the_umask_has_it(
    mullet: Mullet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULLET_RING_DIR", str(tmp_path / "new" / "rings"))
    before = os.umask(0o027)
    try:
        process, address = configured(mullet)
    finally:
        os.umask(before)
    with mulletdaq.connect(address) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        upload.write(rows(0, 10))
        daemon.start_recording("shot", path="shot.h5")
        wait_until(lambda: (tmp_path / "new" / "rings" / "daemon.json").exists())
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "rings").iterdir()}
        assert set(modes) >= {f"{STREAM}.ring", f"{STREAM}.ring.uploads", "daemon.lock", "daemon.json"}
        assert set(modes.values()) == {0o600}, modes
        assert (tmp_path / "new" / "rings").stat().st_mode & 0o777 == 0o700
    for name in ("out.h5", "shot.h5"):
        assert (mullet.folder / name).stat().st_mode & 0o777 == 0o640
    end(mullet, process)


def test_commands_that_look_at_a_daemon(mullet: Mullet) -> None:
    process, address = configured(mullet)
    with mulletdaq.connect(address) as daemon, daemon.upload(STREAM, SCHEMA) as upload:
        upload.write(rows(0, 10))
        upload.flush()
        lines = mullet("tail", f"{address}/{STREAM}", "-n", "3", "--no-follow").stdout.splitlines()
        assert [line.split()[-1] for line in lines[1:]] == ["3.5", "4", "4.5"]
        wait_until(lambda: "10" in mullet("status", address).stdout.split())
        watching = mullet.start("status", "--watch", address)
        assert watching.stdout is not None
        seen = ""
        while STREAM not in seen or str(mullet.folder) not in seen:
            line = watching.stdout.readline()
            assert line, mullet.finish(watching).stderr
            seen += line
        watching.terminate()
        mullet.finish(watching)
    end(mullet, process)
