"""The daemon as its user meets it: its banner, its commands, its words to systemd, its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import mulletdaq
from mulletdaq.errors import ConnectionLostError
from mulletdaq.hdf5.verify import verify
from tests.daemon.running import stored
from tests.waiting import PATIENCE_S

from .command import Mullet, wait_until
from .daemon import start

HARDWARE = """
import mulletdaq as mullet
with mullet.attach("experiment_data").producer({"value": ""}) as producer:
    for row in range(%d, %d):
        producer.append(float(row))
"""


def produce(first: int, last: int) -> None:
    subprocess.run([sys.executable, "-c", HARDWARE % (first, last)], check=True, timeout=PATIENCE_S)


def test_from_the_banner_to_the_file(mullet: Mullet) -> None:
    process, address, lines = start(mullet, "--port", "0")
    assert lines[0].startswith("mulletdaq 0.")
    assert lines[1:5] == [
        "  stream   experiment_data",
        f"  ring     {mullet.rings}/experiment_data.ring (100 MB)",
        f"  output   {mullet.folder}/experiment_data.h5, written every 1 s",
        f"  address  {address}",
    ]
    assert re.fullmatch(r"grpc://127\.0\.0\.1:\d+", address)
    produce(0, 1000)
    there = ("--address", address)
    started = mullet("ctl", "start", "shutter", "--since", "1h", "-m", "who=Ada", "--json", *there)
    assert started.json["state"] == "recording" and started.json["path"].startswith(f"{mullet.folder}/shutter_2")
    produce(1000, 1500)
    assert "experiment_data: 1500 rows" in mullet("ctl", "flush", *there).stdout
    assert mullet("ctl", "annotate", "it opened", "-r", "shutter", *there).returncode == 0
    assert "1500 rows, 0 lost" in mullet("ctl", "stop", "shutter", *there).stdout
    assert mullet("ctl", "stop", "shutter", *there).error.startswith("mullet: no recording 'shutter' runs")
    listed = {info["name"]: info["state"] for info in mullet("ctl", "list", "--json", *there).json}
    assert listed == {"shutter": "stopped", "experiment_data": "recording"}
    health = mullet("health", *there)
    assert (health.stdout, health.returncode) == ("ok\n", 0)
    assert "goes on in" in mullet("ctl", "rotate", *there).stdout
    process.send_signal(signal.SIGINT)
    assert mullet.finish(process).returncode == 0
    assert mullet("health", *there).returncode == 1
    for path in (mullet.folder / "experiment_data.h5", Path(started.json["path"])):
        np.testing.assert_array_equal(stored(path), np.arange(1500))
        assert verify(path).ok
    assert [path.name for path in mullet.rings.iterdir()] == ["daemon.lock"]


def test_an_address_that_is_taken_is_refused_and_its_owner_goes_on(
    mullet: Mullet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    process, address, _ = start(mullet, "--port", "0")
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    with monkeypatch.context() as patch:
        patch.setenv("MULLET_RING_DIR", str(other))
        done = mullet("daemon", "--port", address.rpartition(":")[2])
    assert done.returncode == 1
    where = address.removeprefix("grpc://")
    assert done.stderr == (
        f"mullet: cannot listen at {where}: somebody listens there already; "
        "stop that program, or choose another port with --port\n"
    )
    assert [path.name for path in other.iterdir()] == ["daemon.lock"], "nothing was begun"
    assert mullet("health", "--address", address).returncode == 0
    process.terminate()
    assert mullet.finish(process).returncode == 0


def test_mistakes_are_told_before_anything_starts(mullet: Mullet) -> None:
    (mullet.folder / "mullet.toml").write_text("[daemon]\nport = -1\n[streams.a]\nring_mb = 0\n")
    for words in (("daemon", "--config"), ("config", "check")):
        done = mullet(*words, "mullet.toml")
        assert done.returncode == 1 and done.error
        assert "mullet.toml:2: daemon.port: " in done.stdout + done.stderr
        assert "mullet.toml:4: streams.a.ring_mb: " in done.stdout + done.stderr
    assert not list(mullet.rings.iterdir())
    example = Path(__file__).parent.parent.parent / "examples" / "mullet.toml"
    assert mullet("config", "check", example).stdout == f"{example}: 2 streams, 3 outputs, no mistakes\n"
    assert "can be reached from elsewhere" in mullet("daemon", "--host", "0.0.0.0").error
    assert "is no time" in mullet("ctl", "start", "x", "--since", "soon").error


def test_systemd_is_told(mullet: Mullet, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = str(mullet.folder / "notify")
        listener.bind(address)
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        process, _, _ = start(mullet, "--port", "0")
        words = [listener.recv(4096).decode() for _ in range(3)]
        assert sum(word.startswith("READY=1\n") for word in words) == 1
        assert words.count("WATCHDOG=1") == 2
        process.terminate()
        while not words[-1].startswith("STOPPING=1"):
            words.append(listener.recv(4096).decode())
        assert mullet.finish(process).returncode == 0
        os.unlink(address)


def test_a_writer_that_hangs_is_in_status_and_health(mullet: Mullet) -> None:
    (mullet.folder / "mullet.toml").write_text(
        "[daemon]\nport = 0\nstall_timeout_s = 600\n[streams.experiment_data]\nring_mb = 10\n"
        "outputs = [{ path = 'out.h5', flush_interval_s = 0.1 }]\n"
    )
    process, address, _ = start(mullet, "--config", "mullet.toml")

    with mulletdaq.connect(address) as daemon:
        [writer] = [child for child in daemon.status().children if child.kind == "writer"]
        assert writer.pid is not None and writer.state == "running"
        os.kill(writer.pid, signal.SIGSTOP)
        produce(0, 100)
        wait_until(lambda: [child.state for child in daemon.status().children] == ["stalled", "running"])
        done = mullet("health", "--address", address)
        assert done.returncode == 1
        assert done.stdout.startswith("failing\n  the writer of recording experiment_data")
        os.kill(writer.pid, signal.SIGKILL)
        wait_until(lambda: daemon.health().state == "ok")
        [writer] = [child for child in daemon.status().children if child.kind == "writer"]
        assert (writer.state, writer.restarts, writer.last_death) == ("running", 1, "was killed by SIGKILL")
        assert daemon.flush() == {"experiment_data": 100}
    process.terminate()
    assert mullet.finish(process).returncode == 0
    np.testing.assert_array_equal(stored(mullet.folder / "out.h5"), np.arange(100))


def test_recordings_by_command_go_on_after_the_daemon_was_killed(mullet: Mullet) -> None:
    process, address, _ = start(mullet, "--port", "0")
    produce(0, 100)
    started = mullet("ctl", "start", "shutter", "--since", "1h", "--path", "shutter.h5", "--address", address)
    assert started.returncode == 0
    produce(100, 200)
    process.kill()
    process.wait()
    produce(200, 300)
    process, address, _ = start(mullet, "--port", "0")
    produce(300, 400)
    listed = {info["name"]: info["state"] for info in mullet("ctl", "list", "--json", "--address", address).json}
    assert listed == {"experiment_data": "recording", "shutter": "recording"}
    assert "400 rows, 0 lost" in mullet("ctl", "stop", "shutter", "--address", address).stdout
    process.terminate()
    assert mullet.finish(process).returncode == 0
    for name in ("experiment_data.h5", "shutter.h5"):
        np.testing.assert_array_equal(stored(mullet.folder / name), np.arange(400))
        assert verify(mullet.folder / name).ok


def test_the_flight_service_that_is_killed_listens_again_at_the_same_address(mullet: Mullet) -> None:
    process, address, _ = start(mullet, "--port", "0")
    produce(0, 100)
    with mulletdaq.connect(address) as daemon:
        [flight] = [child for child in daemon.status().children if child.kind == "flight"]
        assert flight.pid is not None
        os.kill(flight.pid, signal.SIGKILL)

        def replaced() -> bool:
            with suppress(ConnectionLostError):
                [now] = [child for child in daemon.status().children if child.kind == "flight"]
                return now.pid != flight.pid and now.restarts == 1 and now.last_death == "was killed by SIGKILL"
            return False

        wait_until(replaced)
        assert daemon.flush() == {"experiment_data": 100}
    process.terminate()
    assert mullet.finish(process).returncode == 0
