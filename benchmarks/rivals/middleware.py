"""Links that need a package each: pyzmq, zenoh, pylsl, iceoryx2. A missing one raises ImportError."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rivals.link import NOTHING, WAIT_S, Link, Push, Receive, a_block

SAMPLE = struct.Struct("<qd")
MANY = 1 << 16


class Zmq(Link):
    """PUB and SUB over ipc, with no high-water mark: nothing is dropped."""

    name = "pyzmq PUB ipc"

    def prepare(self) -> None:
        import zmq  # noqa: F401

        self.address = f"ipc://{self.folder}/zmq"

    @contextmanager
    def sender(self) -> Iterator[Any]:
        import zmq

        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            socket.set_hwm(0)
            socket.linger = 0
            socket.bind(self.address)
            yield socket

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        import zmq

        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.set_hwm(0)
            socket.subscribe(b"")
            socket.rcvtimeo = int(WAIT_S * 1000)
            socket.connect(self.address)
            yield socket

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        pack, time_ns = SAMPLE.pack, time.time_ns
        with self.sender() as socket:
            send = socket.send
            yield lambda value: send(pack(time_ns(), value))

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        import zmq

        unpack, time_ns, flags = SAMPLE.unpack, time.time_ns, zmq.NOBLOCK if spin else 0
        with self.receiver() as socket:
            recv = socket.recv

            def receive() -> tuple[int, int]:
                try:
                    message = recv(flags)
                except zmq.Again:
                    return NOTHING
                return 1, time_ns() - unpack(message)[0]

            yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        with self.sender() as socket:
            yield lambda: socket.send(values, copy=False)

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        import zmq

        with self.receiver() as socket:

            def receive() -> tuple[int, int]:
                try:
                    return a_block(np.frombuffer(socket.recv(copy=False).buffer)[-1])
                except zmq.Again:
                    return NOTHING

            yield receive


class Zenoh(Link):
    """A session each, connected by a Unix socket; puts wait when the link is full."""

    name = "zenoh put"
    express = False
    shared = False

    def prepare(self) -> None:
        import zenoh  # noqa: F401

        self.endpoint = f"unixsock-stream/{self.folder}/zenoh"

    @contextmanager
    def session(self, role: str) -> Iterator[Any]:
        import zenoh

        config = zenoh.Config()
        config.insert_json5("mode", '"peer"')
        config.insert_json5("scouting/multicast/enabled", "false")
        config.insert_json5("listen/endpoints", "[]")
        config.insert_json5(f"{role}/endpoints", f'["{self.endpoint}"]')
        config.insert_json5("transport/shared_memory/enabled", str(self.shared).lower())
        with zenoh.open(config) as session:
            yield session

    def publisher(self, session: Any) -> Any:
        import zenoh

        return session.declare_publisher(
            "mulletdaq/rival", congestion_control=zenoh.CongestionControl.BLOCK, express=self.express
        )

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        pack, time_ns = SAMPLE.pack, time.time_ns
        with self.session("listen") as session:
            put = self.publisher(session).put
            yield lambda value: put(pack(time_ns(), value))

    @contextmanager
    def received(self, take: Callable[[bytes], tuple[int, int]]) -> Iterator[Receive]:
        """A queue of its own holds what comes."""
        import zenoh

        with self.session("connect") as session:
            subscriber = session.declare_subscriber("mulletdaq/rival", zenoh.handlers.FifoChannel(MANY))

            def receive() -> tuple[int, int]:
                sample = subscriber.try_recv()
                if sample is None:
                    # It has no receive with a time limit; without a wait its own threads get no processor.
                    time.sleep(0.0 if self.express else 0.001)
                    return NOTHING
                return take(sample.payload.to_bytes())

            yield receive

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        unpack, time_ns = SAMPLE.unpack, time.time_ns
        with self.received(lambda message: (1, time_ns() - unpack(message)[0])) as receive:
            yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        with self.session("listen") as session:
            publisher = self.publisher(session)
            yield lambda: publisher.put(values.tobytes())

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        with self.received(lambda message: a_block(np.frombuffer(message)[-1])) as receive:
            yield receive


class ExpressZenoh(Zenoh):
    """No batching: for latency."""

    name = "zenoh put, express"
    express = True


class SharedZenoh(Zenoh):
    """Its shared memory: a buffer takes bytes, and travels by name."""

    name = "zenoh put, shared memory"
    express = True
    shared = True

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        import zenoh

        provider = zenoh.shm.ShmProvider.default_backend(12 * values.nbytes)
        policy = zenoh.shm.BlockOn(zenoh.shm.GarbageCollect())
        with self.session("listen") as session:
            publisher = self.publisher(session)

            def push() -> None:
                buffer = provider.alloc(values.nbytes, policy=policy)
                buffer[:] = values.tobytes()
                publisher.put(buffer)

            yield push


class Lsl(Link):
    """A stream of one channel over loopback; stamps are its own clock's."""

    name = "pylsl push_sample"

    def prepare(self) -> None:
        config = self.folder / "lsl.cfg"
        config.write_text(
            "[ports]\nIPv6 = disable\n[multicast]\nResolveScope = machine\nMachineAddresses = {127.0.0.1}\n"
            "[lab]\nKnownPeers = {127.0.0.1}\n[log]\nlevel = -3\n"
        )
        # Read when the library is loaded, by the other process too.
        os.environ["LSLAPICFG"] = str(config)
        import pylsl  # noqa: F401

        self.identity = f"mulletdaq-{os.getpid()}-{self.folder.name}"

    def outlet(self) -> Any:
        import pylsl

        info = pylsl.StreamInfo("mulletdaq", "voltage", 1, 0, pylsl.cf_double64, self.identity)
        # Samples wait for the other end instead of being dropped: the buffer holds ten million.
        return pylsl.StreamOutlet(info, max_buffered=100_000)

    def inlet(self) -> Any:
        import pylsl

        (info,) = pylsl.resolve_byprop("source_id", self.identity, timeout=10.0) or [None]
        if info is None:
            raise TimeoutError("the stream was not found within 10 s")
        inlet = pylsl.StreamInlet(info, max_buflen=100_000, as_numpy=True)
        inlet.open_stream(10.0)
        return inlet

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        outlet = self.outlet()
        push_sample, sample = outlet.push_sample, [0.0]

        def push(value: float) -> None:
            sample[0] = value
            push_sample(sample)

        yield push

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        import pylsl

        pull, clock, wait_s = self.inlet().pull_sample, pylsl.local_clock, 0.0 if spin else WAIT_S

        def receive() -> tuple[int, int]:
            stamp_s = pull(wait_s)[1]
            return NOTHING if stamp_s is None else (1, int((clock() - stamp_s) * 1e9))

        yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        outlet, column = self.outlet(), values.reshape(-1, 1)
        yield lambda: outlet.push_chunk(column)

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        inlet = self.inlet()
        mine = np.zeros((self.block_rows, 1))
        rows = 0

        def receive() -> tuple[int, int]:
            nonlocal rows
            _, stamps = inlet.pull_chunk(WAIT_S, len(mine), dest_obj=mine, min_samples=1)
            if not len(stamps):
                return NOTHING
            before, rows = rows // self.block_rows, rows + len(stamps)
            return a_block(mine[len(stamps) - 1, 0], rows // self.block_rows - before)

        yield receive


class Sample(ctypes.Structure):
    """What iceoryx2 puts into shared memory."""

    _fields_ = (("timestamp", ctypes.c_int64), ("value", ctypes.c_double))


class Iceoryx(Link):
    """Publish-subscribe in shared memory, without copies on the receiving side."""

    name = "iceoryx2 send"

    def prepare(self) -> None:
        import iceoryx2  # noqa: F401

        self.service = f"mulletdaq/{os.getpid()}/{self.folder.name}"

    @contextmanager
    def port(self, kind: Any, buffered: int) -> Iterator[Any]:
        import iceoryx2 as iox2

        iox2.set_log_level(iox2.LogLevel.Fatal)
        node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        builder = node.service_builder(iox2.ServiceName.new(self.service)).publish_subscribe(kind)
        yield builder.subscriber_max_buffer_size(buffered).open_or_create()

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        with self.port(Sample, MANY) as service:
            publisher = service.publisher_builder().create()
            send_copy, sample, time_ns = publisher.send_copy, Sample(), time.time_ns

            def push(value: float) -> None:
                sample.timestamp = time_ns()
                sample.value = value
                send_copy(sample)

            yield push

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        time_ns = time.time_ns
        with self.port(Sample, MANY) as service:
            take = service.subscriber_builder().create().receive

            def receive() -> tuple[int, int]:
                sample = take()
                if sample is None:
                    if not spin:
                        time.sleep(0.001)
                    return NOTHING
                stamp_ns = sample.payload().contents.timestamp
                sample.delete()
                return 1, time_ns() - stamp_ns

            yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        import iceoryx2 as iox2

        with self.port(iox2.Slice[ctypes.c_double], 8) as service:
            publisher = service.publisher_builder().initial_max_slice_len(len(values)).create()
            address, size = values.ctypes.data, values.nbytes

            def push() -> None:
                loan = publisher.loan_slice_uninit(len(values))
                ctypes.memmove(loan.payload_ptr, address, size)
                loan.assume_init().send()

            yield push

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        mine = np.zeros(self.block_rows)

        def copied(payload: Any) -> float:
            ctypes.memmove(mine.ctypes.data, payload.as_ptr(), mine.nbytes)
            return float(mine[-1])

        yield from self.taken(copied)

    def taken(self, look: Callable[[Any], float]) -> Iterator[Receive]:
        """Blocks at which `look` looks before they are given back."""
        import iceoryx2 as iox2

        with self.port(iox2.Slice[ctypes.c_double], 8) as service:
            take = service.subscriber_builder().create().receive

            def receive() -> tuple[int, int]:
                sample = take()
                if sample is None:
                    return NOTHING
                last = look(sample.payload())
                sample.delete()
                return a_block(last)

            yield receive


class LoanedIceoryx(Iceoryx):
    """The same, read where it lies."""

    name = "iceoryx2 send, read in place"

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        yield from self.taken(lambda payload: payload[self.block_rows - 1])
