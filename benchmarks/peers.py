"""What others do for one sample, each as a function of one value; a peer that is not installed says why.

Each pushes one time-stamped float64 towards another process (or into a file), in its own recommended way.
"""

from __future__ import annotations

import multiprocessing
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Push = Callable[[float], object]


@contextmanager
def queue() -> Iterator[Push]:
    """multiprocessing.Queue, drained by a process."""
    channel: multiprocessing.Queue[object] = multiprocessing.get_context("spawn").Queue()
    reader = multiprocessing.get_context("spawn").Process(target=_drain, args=(channel,), daemon=True)
    reader.start()
    time_ns = time.time_ns
    try:
        yield lambda value: channel.put((time_ns(), value))
    finally:
        channel.put(None)
        channel.close()
        reader.join()


def _drain(channel: multiprocessing.Queue[object]) -> None:
    while channel.get() is not None:
        pass


@contextmanager
def zmq_push() -> Iterator[Push]:
    """pyzmq PUB over ipc, 16 bytes a message."""
    import zmq

    context = zmq.Context()
    folder = tempfile.mkdtemp()
    sender = context.socket(zmq.PUB)
    sender.bind(f"ipc://{folder}/peer")
    receiver = context.socket(zmq.SUB)
    receiver.setsockopt(zmq.SUBSCRIBE, b"")
    receiver.connect(f"ipc://{folder}/peer")
    pack, time_ns = struct.Struct("<qd").pack, time.time_ns
    try:
        yield lambda value: sender.send(pack(time_ns(), value))
    finally:
        sender.close(0)
        receiver.close(0)
        context.term()


@contextmanager
def lsl() -> Iterator[Push]:
    """pylsl push_sample of one channel."""
    import pylsl

    info = pylsl.StreamInfo("mulletdaq-peer", "voltage", 1, 0, pylsl.cf_double64, f"peer-{os.getpid()}")
    outlet = pylsl.StreamOutlet(info)
    sample = [0.0]

    def push(value: float) -> None:
        sample[0] = value
        outlet.push_sample(sample)

    yield push


@contextmanager
def zenoh_put() -> Iterator[Push]:
    """zenoh put, 16 bytes a message."""
    import zenoh

    config = zenoh.Config()
    with suppress(Exception):
        config.insert_json5("scouting/multicast/enabled", "false")
    session = zenoh.open(config)
    publisher = session.declare_publisher("mulletdaq/peer")
    pack, time_ns = struct.Struct("<qd").pack, time.time_ns
    try:
        yield lambda value: publisher.put(pack(time_ns(), value))
    finally:
        session.close()


@contextmanager
def iceoryx() -> Iterator[Push]:
    """iceoryx2 publish-subscribe, 16 bytes a sample."""
    import ctypes

    import iceoryx2 as iox2

    class Sample(ctypes.Structure):
        _fields_ = [("timestamp", ctypes.c_int64), ("value", ctypes.c_double)]

    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    name = iox2.ServiceName.new(f"mulletdaq/peer/{os.getpid()}")
    service = node.service_builder(name).publish_subscribe(Sample).open_or_create()
    publisher = service.publisher_builder().create()
    subscriber = service.subscriber_builder().create()
    time_ns = time.time_ns

    def push(value: float) -> None:
        publisher.loan_uninit().write_payload(Sample(time_ns(), value)).send()

    yield push
    del subscriber


@contextmanager
def pytables() -> Iterator[Push]:
    """PyTables row append into a table; nobody else sees it before a flush."""
    import tables

    class Sample(tables.IsDescription):
        timestamp = tables.Int64Col()
        value = tables.Float64Col()

    path = Path(tempfile.mkdtemp()) / "peer.h5"
    time_ns = time.time_ns
    with tables.open_file(path, "w") as file:
        row = file.create_table("/", "samples", Sample).row

        def push(value: float) -> None:
            row["timestamp"] = time_ns()
            row["value"] = value
            row.append()

        yield push
    path.unlink()


@contextmanager
def h5py_append() -> Iterator[Push]:
    """h5py resize and assign, a sample at a time; nobody else sees it before a flush."""
    import h5py

    path = Path(tempfile.mkdtemp()) / "peer.h5"
    time_ns = time.time_ns
    with h5py.File(path, "w") as file:
        samples = file.create_dataset("samples", (0,), [("t", "i8"), ("v", "f8")], maxshape=(None,), chunks=(4096,))
        count = 0

        def push(value: float) -> None:
            nonlocal count
            samples.resize((count + 1,))
            samples[count] = (time_ns(), value)
            count += 1

        yield push
    path.unlink()


CROSS_PROCESS = {
    "multiprocessing.Queue": queue,
    "pyzmq PUB ipc": zmq_push,
    "pylsl push_sample": lsl,
    "zenoh put": zenoh_put,
    "iceoryx2 send": iceoryx,
}
"""Peers whose samples another process gets."""

IN_FILE = {"PyTables row.append": (pytables, 10.0), "h5py resize and assign": (h5py_append, 1000.0)}
"""Peers whose samples are in a file after the next flush, with the goal."""
