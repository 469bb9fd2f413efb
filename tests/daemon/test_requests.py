"""What clients can ask of a daemon, asked without a client between."""

from __future__ import annotations

import asyncio
import io
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mulletdaq import errors
from mulletdaq.daemon import recordings
from mulletdaq.daemon.checks import load_config
from mulletdaq.daemon.log import Log
from mulletdaq.daemon.supervisor import Daemon
from mulletdaq.flight import messages as m
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import attach, ring_directory

from .running import stored

TWO_STREAMS = """
[daemon]
flight = false
data_folders = ["data"]
disk_reserve_mb = 0
[streams.a]
ring_mb = 2
[[streams.a.outputs]]
path = "a.h5"
flush_interval_s = 0.1
[streams.b]
ring_mb = 2
[recordings]
flush_interval_s = 0.1
"""


@asynccontextmanager
async def running(folder: Path, text: str = TWO_STREAMS) -> AsyncIterator[Daemon]:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "mullet.toml").write_text(text)
    daemon = Daemon(load_config(folder / "mullet.toml"), Log(output=io.StringIO()))
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when="FIRST_COMPLETED")
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield daemon
    finally:
        daemon.stop()
        await task


def go(test: Callable[[Daemon], Awaitable[None]], folder: Path, text: str = TWO_STREAMS) -> None:
    async def all_of_it() -> None:
        async with running(folder, text) as daemon:
            await test(daemon)

    asyncio.run(all_of_it())


def produce(name: str, first: int, rows: int) -> None:
    with attach(name) as ring, ring.producer({"value": ""}) as producer:
        producer.append_block(np.arange(first, first + rows, dtype=float))


async def until(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def test_recordings_start_and_stop_by_name(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        produce("a", 0, 10)
        one = await daemon.answer("", m.StartRecording(name="one", streams=["a"], path="one.h5"))
        assert (one.state, one.permanent, one.streams) == ("recording", False, ["a"])
        produce("a", 10, 10)
        two = await daemon.answer(
            "", m.StartRecording(name="two", streams=["a"], since_s=3600, path="sub_{name}.h5", metadata={"who": "Ada"})
        )
        produce("a", 20, 10)
        flushed = await daemon.answer("", m.Flush())
        assert flushed.rows_persisted == {"a": 30, "one": 20, "two": 30}
        ended = await daemon.answer("", m.StopRecording(name="one"))
        assert (ended.state, ended.rows_persisted) == ("stopped", 20)
        produce("a", 30, 10)
        await daemon.answer("", m.StopRecording(name="two"))
        np.testing.assert_array_equal(stored(Path(one.path)), np.arange(10, 30))
        np.testing.assert_array_equal(stored(Path(two.path)), np.arange(40))
        assert Path(two.path) == tmp_path / "data" / "sub_two.h5"
        listed = await daemon.answer("list_recordings", m.Nothing())
        assert [(info.name, info.state) for info in listed] == [
            ("one", "stopped"),
            ("two", "stopped"),
            ("a", "recording"),
        ]

    go(test, tmp_path)
    np.testing.assert_array_equal(stored(tmp_path / "a.h5"), np.arange(40))
    for path in tmp_path.rglob("*.h5"):
        assert verify(path).ok, verify(path).problems


def test_a_recording_of_several_streams_rotates_and_takes_notes(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        info = await daemon.answer("", m.StartRecording(name="both", path="both_{index}.h5", layout="continuous"))
        assert info.streams == ["a", "b"]
        produce("a", 0, 10)
        produce("b", 100, 10)
        await daemon.answer("", m.Annotate(text="shutter opened", recording="both"))
        rotated = await daemon.answer("", m.Rotate(name="both"))
        assert rotated.paths == [str(tmp_path / "data" / "both_2.h5")]
        produce("b", 110, 10)
        await daemon.answer("", m.StopRecording(name="both"))

    go(test, tmp_path)
    first, second = (verify(tmp_path / "data" / f"both_{index}.h5") for index in (1, 2))
    assert first.ok and second.ok, (first.problems, second.problems)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (m.StartRecording(name="a"), errors.RecordingError, "runs already"),
        (m.StartRecording(name="x", streams=["c"]), errors.RequestError, "there is no stream 'c'; there are a, b"),
        (m.StartRecording(name="x", path="../x.h5"), errors.RequestError, "leads out"),
        (m.StartRecording(name="x", path="/tmp/x.h5"), errors.RequestError, "leads out"),
        (m.StartRecording(name="x", path="link/x.h5"), errors.RequestError, "leads out"),
        (m.StartRecording(name="x", path="x.ring"), errors.RequestError, "does not end in .h5"),
        (m.StartRecording(name="x", path="{start.__class__}.h5"), errors.RequestError, "no field"),
        (m.StartRecording(name="x", path="{start:%Y/%m}.h5"), errors.RequestError, "no part of a name"),
        (m.StartRecording(name="x", path="nowhere/x.h5"), errors.RequestError, "there is no folder"),
        (m.StartRecording(name="x", path="x\0.h5"), errors.RequestError, "does not name a file"),
        (m.StartRecording(name="x", path="there.h5"), errors.OutputExistsError, "is there already"),
        (m.StopRecording(name="a"), errors.RecordingError, "an output of the configuration"),
        (m.StopRecording(name="x"), errors.StreamNotFoundError, "no recording 'x' runs; there are: a"),
        (m.Flush(name="x"), errors.StreamNotFoundError, "no recording 'x' runs"),
        (m.Annotate(text="x", recording="b"), errors.StreamNotFoundError, "no recording 'b' runs"),
    ],
)
def test_what_cannot_be_is_refused_and_the_daemon_goes_on(
    tmp_path: Path, asked: Any, error: type[Exception], message: str
) -> None:
    async def test(daemon: Daemon) -> None:
        (tmp_path / "data" / "link").symlink_to(tmp_path)
        (tmp_path / "data" / "there.h5").write_bytes(b"")
        with pytest.raises(error, match=message):
            await daemon.answer("", asked)
        produce("a", 0, 10)
        assert (await daemon.answer("", m.Flush(name="a"))).rows_persisted == {"a": 10}
        status = await daemon.answer("status", m.Nothing())
        assert [info.name for info in status.recordings] == ["a"]

    go(test, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.h5")) == ["a.h5", "there.h5"]


def test_status_tells_what_there_is(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        produce("a", 0, 1000)
        await daemon.answer("", m.Flush())
        await until(lambda: daemon.status().streams[0].rows_per_s > 0)
        status = await daemon.answer("status", m.Nothing())
        a, b = status.streams
        assert (a.rows, a.rows_lost, a.schema_text) == (1000, 0, "timestamp int64, value float64")
        assert (b.rows, b.schema_text, b.last_row_age_s, b.ring_fill) == (0, "", None, 0.0)
        assert [(child.name, child.kind, child.state, child.restarts) for child in status.children] == [
            ("a", "writer", "running", 0)
        ]
        assert status.disks[0].free_bytes > 0
        assert (await daemon.answer("health", m.Nothing())).state == "ok"
        addresses = await daemon.answer("streams", m.Nothing())
        assert [one.name for one in addresses] == ["a", "b"]
        assert m.encode(status)

    go(test, tmp_path)


def test_a_stream_that_falls_silent_is_a_warning(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        await until(lambda: daemon.health().state == "warning")
        [reason] = daemon.health().reasons
        assert (reason.code, "stream b" in reason.what) == ("stream_silent", True)
        with attach("b") as ring, ring.producer({"value": ""}) as producer:

            def appended() -> bool:
                producer.append(1.0)
                return daemon.health().state == "ok"

            await until(appended)

    go(test, tmp_path, TWO_STREAMS.replace("[streams.b]", "[streams.b]\nsilent_after_s = 2"))


def test_rows_that_are_lost_are_a_warning(tmp_path: Path) -> None:
    text = TWO_STREAMS.replace("ring_mb = 2", "ring_mb = 0.1").replace(
        "flush_interval_s = 0.1", "flush_interval_s = 60"
    )

    async def test(daemon: Daemon) -> None:
        with attach("a") as ring, ring.producer({"value": ""}) as producer:
            for _ in range(100):
                producer.append_block(np.zeros(10_000))
        await daemon.answer("", m.Flush())
        lost = daemon.status().streams[0].rows_lost
        assert lost > 0
        await until(lambda: [reason.code for reason in daemon.health().reasons] == ["rows_lost"])
        assert str(lost) in daemon.health().reasons[0].what

    go(test, tmp_path, text)


def test_a_daemon_that_was_held_judges_nobody_before_it_has_heard_them(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        assert daemon._stall_timeout_s() == 30
        daemon._looked_at -= 60  # as after a suspend of the machine, or a SIGSTOP
        assert daemon._stall_timeout_s() == math.inf
        assert daemon._stall_timeout_s() == math.inf
        daemon._judge_from = daemon._looked_at
        assert daemon._stall_timeout_s() == 30

    go(test, tmp_path)


def test_a_source_that_waits_for_room_is_not_stalled(tmp_path: Path) -> None:
    """The file cannot take rows, the ring fills, the source waits as it was told to."""
    text = """
[daemon]
flight = false
disk_reserve_mb = 1_000_000_000
stall_timeout_s = 1
[streams.a]
ring_mb = 0.07
on_full = "block"
source = { name = "simulated", rate_hz = 5000.0 }
outputs = [{ path = "a.h5" }]
"""

    async def test(daemon: Daemon) -> None:
        await until(lambda: daemon.streams["a"].fill > 0.9)
        rows = daemon.streams["a"].ring.newest_row
        [source] = daemon.children
        for _ in range(60):
            await asyncio.sleep(0.1)
            assert source.status().state == "running"
        assert daemon.streams["a"].ring.newest_row - rows < 5000
        assert source.restarts == 0
        assert {"disk_low", "recording_paused", "ring_fill"} <= {reason.code for reason in daemon.health().reasons}

    go(test, tmp_path, text)
    assert verify(tmp_path / "a.h5").ok


def test_so_many_recordings_at_once_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_MOST_AT_ONCE", 3)

    async def test(daemon: Daemon) -> None:
        for name in ("one", "two"):
            await daemon.answer("", m.StartRecording(name=name, path="{name}.h5"))
        with pytest.raises(errors.RecordingError, match="3 recordings run already"):
            await daemon.answer("", m.StartRecording(name="three", path="{name}.h5"))
        await daemon.answer("", m.StopRecording(name="one"))
        assert (await daemon.answer("", m.StartRecording(name="three", path="{name}.h5"))).state == "recording"

    go(test, tmp_path)


def test_no_room_for_the_note_to_a_successor_keeps_no_client_from_its_answer(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        (ring_directory() / "daemon.new").mkdir()  # where the note is to be written
        info = await daemon.answer("", m.StartRecording(name="one", path="one.h5"))
        assert info.state == "recording"
        produce("a", 0, 10)
        assert (await daemon.answer("", m.StopRecording(name="one"))).rows_persisted == 10
        assert "cannot be noted" in daemon._log._output.getvalue()  # type: ignore[attr-defined]

    go(test, tmp_path)


def test_a_note_to_a_recording_that_is_ending_is_refused_at_once(tmp_path: Path) -> None:
    """Its writer cannot be asked just then, and the daemon must not wait for it."""

    async def test(daemon: Daemon) -> None:
        await daemon.answer("", m.StartRecording(name="one", path="one.h5"))
        ending = asyncio.create_task(daemon.answer("", m.StopRecording(name="one")))
        await asyncio.sleep(0)
        with pytest.raises(errors.RecordingError, match="is ending"):
            await daemon.answer("", m.Annotate(text="too late", recording="one"))
        assert (await ending).state == "stopped"

    go(test, tmp_path)


def test_an_output_that_is_still_to_start_is_started_for_the_last_rows(tmp_path: Path) -> None:
    """A writer was told to end by others, and the daemon before its next could start."""

    async def test(daemon: Daemon) -> None:
        [output] = daemon.recordings.running
        produce("a", 0, 10)
        await asyncio.to_thread(output.writer.stop)
        produce("a", 10, 10)
        output.look()
        await daemon.recordings.end()
        assert (output.stopped_ns is not None, output.writer.alive) == (True, False)

    go(test, tmp_path)
    np.testing.assert_array_equal(stored(tmp_path / "a.h5"), np.arange(20))


def test_a_ring_that_fills_is_told_at_three_quarters_and_is_grave_at_nine_tenths(tmp_path: Path) -> None:
    """Nothing is written for lack of room on the disk."""
    text = """
[daemon]
flight = false
disk_reserve_mb = 1_000_000_000
[streams.a]
ring_mb = 1
outputs = [{ path = "a.h5" }]
"""

    async def test(daemon: Daemon) -> None:
        stream = daemon.streams["a"]

        def levels() -> list[str]:
            lines = daemon._log._output.getvalue().splitlines()  # type: ignore[attr-defined]
            return [line.split()[1] for line in lines if "the ring of stream a is" in line and "over after" not in line]

        with attach("a") as ring, ring.producer({"value": ""}) as producer:
            while stream.fill < 0.65:
                producer.append_block(np.zeros(100))
            looked_at = stream.looked_at
            await until(lambda: stream.looked_at > looked_at)
            assert levels() == []
            while stream.fill < 0.75:
                producer.append_block(np.zeros(100))
            await until(lambda: levels() == ["warning:"])
            assert "ring_fill" in [reason.code for reason in daemon.health().reasons]
            while stream.fill < 0.93:
                producer.append_block(np.zeros(100))
            await until(lambda: levels() == ["warning:", "error:"])

    go(test, tmp_path, text)
    assert verify(tmp_path / "a.h5").ok


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "one of this computer's addresses"),
        ("no-such-computer.invalid", "one of this computer's addresses"),
        ("127.0.0.1", "somebody listens there already; stop that program, or choose another port"),
    ],
)
def test_an_address_that_cannot_be_had_is_told_at_once(tmp_path: Path, host: str, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = f'[daemon]\nhost = "{host}"\nport = {port}\ninsecure = true\n[streams.a]\n'
        with pytest.raises(errors.DaemonError, match=f"cannot listen at {host}:{port}: .*{message}"):
            go(nothing, tmp_path, text)
    assert not list(tmp_path.rglob("*.h5"))
    assert [path.name for path in ring_directory().iterdir()] == ["daemon.lock"]


async def nothing(daemon: Daemon) -> None:
    """It must not come so far."""
    raise AssertionError


def test_a_name_with_an_address_that_can_be_had_is_one_to_listen_at(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        assert daemon.address.startswith("grpc://localhost:")

    go(test, tmp_path, '[daemon]\nhost = "localhost"\nport = 0\n[streams.a]\n')
