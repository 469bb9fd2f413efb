"""The Flight service beside a bare pyarrow Flight server, 64 Ki rows each way; and what clients cost a producer.

python benchmarks/flight.py [--rounds N] [--quick] [--json FILE] [--markdown FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import measure
import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import flight

from mulletdaq.flight.messages import StreamAddress, encode
from mulletdaq.flight.pipe import Answer, FlightOptions, Question, Ready
from mulletdaq.ring import RingBuffer

ROWS = 65_536
CHANNELS = 7
BYTES = measure.sized(128, 16) << 20
BATCHES = BYTES // (ROWS * 8 * (CHANNELS + 1))
APPENDS = measure.sized(20_000, 1_000)
PAUSE_S = 50e-6
NAMES = ["timestamp", *(f"channel_{number}" for number in range(CHANNELS))]
SCHEMA = pa.schema(
    [pa.field(name, pa.float64() if index else pa.int64(), nullable=False) for index, name in enumerate(NAMES)]
)
ONE = pa.schema([SCHEMA.field(0), SCHEMA.field(1)])


def batch() -> Any:
    """64 Ki rows of eight columns: 4 MiB."""
    numbers = np.arange(ROWS)
    return pa.record_batch([pa.array(numbers), *[pa.array(numbers * 0.5)] * CHANNELS], schema=SCHEMA)


class Bare(flight.FlightServerBase):  # type: ignore[misc]
    """The least that a server can do: the same batch again and again, and nothing with what comes."""

    def do_get(self, context: Any, ticket: Any) -> Any:
        return flight.GeneratorStream(SCHEMA, (sent for sent in [batch()] * BATCHES))

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        with suppress(StopIteration):
            while True:
                reader.read_chunk()


def serve_bare() -> None:
    """The rival's process."""
    server = Bare("grpc://127.0.0.1:0")
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)


@contextmanager
def bare() -> Iterator[str]:
    """Its address."""
    command = [sys.executable, __file__, "--bare", *(["--quick"] if measure.QUICK else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"grpc://127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def service(rings: dict[str, RingBuffer]) -> Iterator[str]:
    """The address of a real Flight process for some rings."""
    command = [sys.executable, "-m", "mulletdaq.flight.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = process.stdout
        process.stdin.write(encode(FlightOptions(port=0)) + b"\n")
        ready = msgspec.json.decode(lines.readline(), type=Ready)
        addresses = [
            StreamAddress(name=name, ring_path=ring.path, stream_id=f"{ring.stream_id:016x}")
            for name, ring in rings.items()
        ]

        def answer() -> None:
            assert process.stdin is not None
            for line in lines:
                if b'"event"' not in line:
                    question = msgspec.json.decode(line, type=Question)
                    told = Answer(id=question.id, result=msgspec.Raw(encode(addresses)))
                    process.stdin.write(encode(told) + b"\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"grpc://127.0.0.1:{ready.port}"
        process.stdin.close()


def get(client: Any, ticket: bytes) -> float:
    """Bytes a second of one do_get."""
    begin = time.perf_counter()
    rows = sum(chunk.data.num_rows for chunk in client.do_get(flight.Ticket(ticket)))
    elapsed = time.perf_counter() - begin
    assert rows == BATCHES * ROWS
    return BATCHES * ROWS * 8 * (CHANNELS + 1) / elapsed


def put(client: Any, sent: Any) -> float:
    """Bytes a second of one do_put, to its end."""
    begin = time.perf_counter()
    writer, _ = client.do_put(flight.FlightDescriptor.for_path("in"), SCHEMA)
    for _ in range(BATCHES):
        writer.write_batch(sent)
    writer.close()
    return BATCHES * ROWS * 8 * (CHANNELS + 1) / (time.perf_counter() - begin)


def appends(producer: Any) -> list[int]:
    """What each of many paced appends took, ns, in order of size."""
    took = []
    clock = time.perf_counter_ns
    for _ in range(APPENDS):
        begin = clock()
        producer.append(1.5)
        took.append(clock() - begin)
        due = begin + PAUSE_S * 1e9
        while clock() < due:
            pass
    return sorted(took)


@contextmanager
def followers(address: str, count: int) -> Iterator[None]:
    """So many clients that follow a stream, in a process of their own."""
    script = (
        "import sys, threading\nfrom pyarrow import flight\n"
        "def follow():\n"
        ' ticket = flight.Ticket(b\'{"stream": "live", "start": "latest", "follow": true}\')\n'
        " for _ in flight.connect(sys.argv[1]).do_get(ticket): pass\n"
        "for _ in range(int(sys.argv[2])): threading.Thread(target=follow, daemon=True).start()\n"
        "print(flush=True)\nsys.stdin.read()\nimport os; os._exit(0)"
    )
    command = [sys.executable, "-c", script, address, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)
        yield
        process.stdin.close()


def throughput(table: measure.Table, address: str, rival: str, rounds: int) -> None:
    """do_get and do_put."""
    sent = batch()
    with flight.connect(address) as ours, flight.connect(rival) as theirs:
        work: dict[str, Callable[[], float]] = {
            "get": lambda: get(ours, b'{"stream": "out"}'),
            "bare get": lambda: get(theirs, b""),
            "put": lambda: put(ours, sent),
            "bare put": lambda: put(theirs, sent),
        }
        results = measure.interleaved(work, rounds)
    for verb in ("get", "put"):
        ours_rate, rate = measure.median(results[verb]), measure.median(results[f"bare {verb}"])
        table.add(
            measure.Row(
                f"do_{verb}, 64 Ki rows of 8 columns", measure.rate(ours_rate), "bare pyarrow Flight server",
                measure.rate(rate), ours_rate / rate, "≥ 0.9", ours_rate / rate >= 0.9,
                measure.spread(results[verb], results[f"bare {verb}"]),
                goal_of="flight",
            )
        )  # fmt: skip


def latency(table: measure.Table, address: str, producer: Any, rounds: int) -> None:
    """A paced producer, with none, one and eight clients attached."""
    middle: dict[int, list[float]] = {count: [] for count in (0, 1, 8)}
    tail: dict[int, list[float]] = {count: [] for count in (0, 1, 8)}
    for _ in range(rounds):
        for count in middle:
            with followers(address, count):
                took = appends(producer)
            middle[count].append(took[len(took) // 2])
            tail[count].append(took[len(took) * 99 // 100])
    for count in (1, 8):
        clients = "1 client" if count == 1 else f"{count} clients"
        measure.slower_by(table, f"append, median, {clients} attached", middle[count], "none attached", middle[0], 1.5)
        measure.slower_by(table, f"append, 99th percentile, {clients}", tail[count], "none attached", tail[0], 1.5)


def run(table: measure.Table) -> None:
    """Everything, on rings in shared memory where there is some."""
    rounds = measure.ROUNDS
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=measure.shared_memory()) as folder:
        rings = {
            name: RingBuffer.create(f"{folder}/{name}.ring", capacity_mb=capacity)
            for name, capacity in (("out", 200), ("in", 100), ("live", 16))
        }
        for _ in range(BATCHES):
            rings["out"].write_arrow_batch(batch())
        with rings["live"].producer(ONE) as producer, service(rings) as address:
            with bare() as rival:
                throughput(table, address, rival, rounds)
            latency(table, address, producer, rounds)
        for ring in rings.values():
            ring.close()


if __name__ == "__main__":
    if "--bare" in sys.argv:
        serve_bare()
    else:
        measure.main("Flight", run)
