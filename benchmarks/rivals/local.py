"""Links of one machine: our ring, the same idea in plain Python, and what multiprocessing has."""

from __future__ import annotations

import mmap
import queue
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import shared_memory
from typing import Any

import numpy as np

import mulletdaq as mullet
from mulletdaq._core import FRAME_HEADER_BYTES
from rivals.link import NOTHING, SPAWN, WAIT_S, Link, Push, Receive, a_block

SLOTS = 8
KIND_PADDING = 0


class Ring(Link):
    """Ours: one producer, a cursor in the other process."""

    name = "ours"
    loses = "a kill loses nothing, a power cut what no writer has committed"
    capacity_mb = 200

    def prepare(self) -> None:
        self.path = str(self.folder / "ours.ring")

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        with mullet.RingBuffer.create(self.path, self.capacity_mb) as ring:
            yield ring.producer({"voltage": "V"}).append
            ring.unlink()

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        wait_s = 0.0 if spin else WAIT_S
        time_ns = time.time_ns
        with mullet.RingBuffer.open(self.path) as ring:
            read = ring.cursor("oldest").read

            def receive() -> tuple[int, int]:
                batch = read(None, wait_s)
                if batch is None:
                    return NOTHING
                return batch.num_rows, time_ns() - batch.column(0)[-1].as_py()

            yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        with mullet.RingBuffer.create(self.path, self.capacity_mb) as ring:
            yield lambda: ring.write(values)
            ring.unlink()

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        with mullet.RingBuffer.open(self.path) as ring:
            read = ring.cursor("oldest").read

            def receive() -> tuple[int, int]:
                message = read()
                if message is None:
                    return NOTHING
                return a_block(np.frombuffer(message)[-1])

            yield receive


class ViewedRing(Ring):
    """Ours, read where it lies: known to be whole only after the reading, and gone when the ring has come round."""

    name = "ours, read in place"

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        with mullet.RingBuffer.open(self.path) as ring:
            position = 0

            def receive() -> tuple[int, int]:
                nonlocal position
                if ring.write_head == position:
                    return NOTHING
                with ring.view(position) as view:
                    position += FRAME_HEADER_BYTES + -(-len(view) // 64) * 64
                    if view.kind == KIND_PADDING:
                        return NOTHING
                    with memoryview(view) as payload:
                        last = np.frombuffer(payload)[-1]
                    if not view.intact:
                        raise ValueError("a block was overwritten while it was read")
                return a_block(last)

            yield receive


class StampedRing(Ring):
    """Ours with columns: a stamp for each sample is made and moved too."""

    name = "ours, write_block with a stamp each"

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        with mullet.RingBuffer.create(self.path, self.capacity_mb) as ring:
            producer = ring.producer({"voltage": "V"})
            began_ns = time.time_ns()
            yield lambda: producer.append_block(values, start_ns=began_ns, rate_hz=1e6)
            ring.unlink()

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        rows = 0
        with mullet.RingBuffer.open(self.path) as ring:
            read = ring.cursor("oldest").read

            def receive() -> tuple[int, int]:
                nonlocal rows
                batch = read()
                if batch is None:
                    return NOTHING
                before, rows = rows // self.block_rows, rows + batch.num_rows
                return a_block(batch.column(1).to_numpy()[-1], rows // self.block_rows - before)

            yield receive


class PythonRing(Link):
    """What one writes oneself: a head and slots in a mapped file; nothing keeps a reader from torn samples."""

    name = "struct + mmap ring in Python"
    loses = "a kill loses nothing, a power cut all; a lapped reader reads torn samples and does not know"
    sample_slots = 1 << 20

    def prepare(self) -> None:
        self.path = str(self.folder / "python.ring")

    def map(self, size: int, *, make: bool) -> mmap.mmap:
        with open(self.path, "w+b" if make else "r+b") as file:
            if make:
                file.truncate(size)
            return mmap.mmap(file.fileno(), size)

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        area = self.map(64 + 16 * self.sample_slots, make=True)
        mask, head = self.sample_slots - 1, 0
        pack, pack_head, time_ns = struct.Struct("<qd").pack_into, struct.Struct("<Q").pack_into, time.time_ns

        def push(value: float) -> None:
            nonlocal head
            pack(area, 64 + 16 * (head & mask), time_ns(), value)
            head += 1
            pack_head(area, 0, head)

        yield push
        area.close()

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        area = self.map(64 + 16 * self.sample_slots, make=False)
        mask, seen, time_ns = self.sample_slots - 1, 0, time.time_ns
        unpack, unpack_head = struct.Struct("<qd").unpack_from, struct.Struct("<Q").unpack_from

        def receive() -> tuple[int, int]:
            nonlocal seen
            head = unpack_head(area, 0)[0]
            if head == seen:
                if not spin:
                    time.sleep(0.001)
                return NOTHING
            count, seen = min(head - seen, self.sample_slots), head
            return count, time_ns() - unpack(area, 64 + 16 * ((head - 1) & mask))[0]

        yield receive
        area.close()

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        area = self.map(4096 + SLOTS * values.nbytes, make=True)
        slots = np.frombuffer(area, offset=4096).reshape(SLOTS, -1)
        slots[:] = 0
        head = 0

        def push() -> None:
            nonlocal head
            np.copyto(slots[head % SLOTS], values)
            head += 1
            struct.pack_into("<Q", area, 0, head)

        yield push

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        area = self.map(4096 + SLOTS * 8 * self.block_rows, make=False)
        slots = np.frombuffer(area, offset=4096).reshape(SLOTS, -1)
        mine = np.zeros(self.block_rows)
        seen = 0

        def receive() -> tuple[int, int]:
            nonlocal seen
            if struct.unpack_from("<Q", area, 0)[0] == seen:
                return NOTHING
            np.copyto(mine, slots[seen % SLOTS])
            seen += 1
            return a_block(mine[-1])

        yield receive


class Queue(Link):
    """A feeder thread pickles into a pipe."""

    name = "multiprocessing.Queue"

    def prepare(self) -> None:
        self.queue = SPAWN.Queue()

    @contextmanager
    def samples_out(self) -> Iterator[Push]:
        put, time_ns = self.queue.put, time.time_ns
        yield lambda value: put((time_ns(), value))
        self.queue.cancel_join_thread()

    @contextmanager
    def samples_in(self, spin: bool) -> Iterator[Receive]:
        get, time_ns = self.queue.get, time.time_ns

        def receive() -> tuple[int, int]:
            try:
                stamp_ns, _ = get(True, WAIT_S)
            except queue.Empty:
                return NOTHING
            return 1, time_ns() - stamp_ns

        yield receive

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        yield lambda: self.queue.put(values)
        self.queue.cancel_join_thread()

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        def receive() -> tuple[int, int]:
            try:
                return a_block(self.queue.get(True, WAIT_S)[-1])
            except queue.Empty:
                return NOTHING

        yield receive


class SharedSlots(Link):
    """multiprocessing.shared_memory for the numbers, a pipe for the number of the slot; for blocks only."""

    name = "shared_memory + Pipe"

    def prepare(self) -> None:
        self.receiver, self.sender = SPAWN.Pipe(duplex=False)
        self.bytes = 8 * self.block_rows

    @contextmanager
    def memory(self, **how: Any) -> Iterator[memoryview]:
        memory = shared_memory.SharedMemory(self.folder.name + "-slots", **how)
        yield memory.buf
        memory.close()
        if how:
            memory.unlink()

    @contextmanager
    def blocks_out(self, values: Any) -> Iterator[Callable[[], object]]:
        with self.memory(create=True, size=SLOTS * self.bytes) as memory:
            memory[:] = bytes(SLOTS * self.bytes)
            given, slot = memoryview(values).cast("B"), 0

            def push() -> None:
                nonlocal slot
                slot = (slot + 1) % SLOTS
                memory[slot * self.bytes : (slot + 1) * self.bytes] = given
                self.sender.send(slot)

            yield push

    @contextmanager
    def blocks_in(self) -> Iterator[Receive]:
        mine = np.zeros(self.block_rows)
        own = memoryview(mine).cast("B")
        with self.memory() as memory:

            def receive() -> tuple[int, int]:
                if not self.receiver.poll(WAIT_S):
                    return NOTHING
                slot = self.receiver.recv()
                own[:] = memory[slot * self.bytes : (slot + 1) * self.bytes]
                return a_block(mine[-1])

            yield receive

    def samples_out(self) -> AbstractContextManager[Push]:
        raise NotImplementedError("a pipe alone takes samples: that is multiprocessing.Queue")

    def samples_in(self, spin: bool) -> AbstractContextManager[Receive]:
        raise NotImplementedError("a pipe alone takes samples: that is multiprocessing.Queue")
