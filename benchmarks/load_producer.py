"""The instrument, in a process of its own: ``python load_producer.py PLAN``, PLAN a JSON object.

It records until its time is over or its standard input ends, and tells on standard output, a JSON object a line, when
the recording has begun, when the last row is written, and when the file has everything.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from signals import converter_volts

import mulletdaq as mullet
from mulletdaq.ring import output_rings, ring_path

CHANNELS = 16
RATE_HZ = 1_000_000
STREAM_HZ = 100
IMAGE = (2048, 2048)
IMAGES = 8
TURN = 50_000
TIMED = 10
MOST_FILL = 0.5
POOL = 4 << 20
STEPS_A_DOUBLING = 64


class Durations:
    """How long calls took, in a histogram of 64 steps a doubling: percentiles to 1 %, whatever their number."""

    def __init__(self) -> None:
        self._counts = np.zeros(64 * STEPS_A_DOUBLING, np.int64)
        self._longest_ns = 0

    def add(self, durations_ns: Any) -> None:
        """Take some more, ns."""
        durations_ns = np.asarray(durations_ns)
        steps = (np.log2(np.maximum(1, durations_ns)) * STEPS_A_DOUBLING).astype(np.int64)
        self._counts += np.bincount(steps, minlength=len(self._counts))
        self._longest_ns = max(self._longest_ns, int(durations_ns.max()))

    def told(self) -> dict[str, float]:
        """The 99.9th percentile and the maximum, ns."""
        seen = np.cumsum(self._counts)
        step = int(np.searchsorted(seen, 0.999 * seen[-1]))
        percentile = 2 ** ((step + 1) / STEPS_A_DOUBLING)
        return {"p999_ns": min(percentile, self._longest_ns), "longest_ns": self._longest_ns}


class Schedule:
    """When each block is due, from a fixed start: whoever is late catches up, and no block is left out."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._began = time.perf_counter()
        self._last = self._began
        self._turns = 0
        self.latest_s = 0.0

    def wait(self) -> None:
        """Until the next block is due."""
        due = self._began + self._turns * self._period_s
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        self._last = time.perf_counter()
        self.latest_s = max(self.latest_s, self._last - due)
        self._turns += 1

    @property
    def kept(self) -> float:
        """Which share of the wanted rate there was."""
        took = self._last - self._began
        return (self._turns - 1) * self._period_s / took if self._turns > 1 else 1.0


@dataclass
class Plan:
    """What the other process asks for."""

    path: str
    work: str
    signal: str
    compression: str | None
    layout: str
    seconds: float
    ring_mb: float
    block_ms: float
    streams: int
    rotate_mb: float
    fsync: str


class Ending:
    """Says when it is time to end, not before one turn: the time is over, or the other process let go."""

    def __init__(self, seconds: float) -> None:
        self._until = time.perf_counter() + seconds
        self._gone = threading.Event()
        self._first = True
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self) -> bool:
        """Whether it is."""
        if self._first:
            self._first = False
            return False
        return self._gone.is_set() or time.perf_counter() >= self._until

    def _listen(self) -> None:
        while os.read(0, 1 << 10):
            pass
        self._gone.set()


def samples(kind: str) -> Any:
    """4 Mi float64: packed in chunks of 1 MiB, none of them comes twice."""
    random = np.random.default_rng(1)
    if kind == "noise":
        return random.normal(size=POOL)
    return converter_volts(POOL, random)


def digitiser(recording: Any, plan: Plan, over: Callable[[], bool], pool: Any) -> dict[str, Any]:
    """Blocks of 16 channels on a schedule."""
    rows = max(1, round(RATE_HZ * plan.block_ms / 1e3))
    durations, schedule, now_ns = Durations(), Schedule(rows / RATE_HZ), time.perf_counter_ns
    start_ns, at = time.time_ns(), 0
    starts = [channel * (POOL // CHANNELS) for channel in range(CHANNELS)]
    while not over():
        block = [pool[first : first + rows] for first in ((start + at) % (POOL - rows) for start in starts)]
        schedule.wait()
        before = now_ns()
        recording.write_block(*block, start_ns=start_ns, rate_hz=RATE_HZ)
        durations.add([now_ns() - before])
        at += rows
    return {**durations.told(), "kept": schedule.kept, "latest_s": schedule.latest_s}


def loop(recording: Any, plan: Plan, over: Callable[[], bool], pool: Any) -> dict[str, Any]:
    """One value after the other, as fast as Python goes; every tenth turn with a look at the clock around each call."""
    del plan
    append, now_ns = recording.write_measurement, time.perf_counter_ns
    turns = [pool[first : first + TURN].tolist() for first in range(0, 10 * TURN, TURN)]
    durations, took = Durations(), np.empty(TURN, np.int64)
    turn = 0
    while not over():
        values = turns[turn % len(turns)]
        if turn % TIMED:
            for value in values:
                append(value)
        else:
            for index, value in enumerate(values):
                before = now_ns()
                append(value)
                took[index] = now_ns() - before
            durations.add(took)
        turn += 1
    return durations.told()


def images(recording: Any, plan: Plan, over: Callable[[], bool], pool: Any) -> dict[str, Any]:
    """Images one after the other, the next one when no more than half the ring waits."""
    frames = _frames(plan.signal, pool)
    durations, now_ns, count = Durations(), time.perf_counter_ns, 0
    while not over():
        if recording.statistics().ring_fill > MOST_FILL:
            time.sleep(0.001)
            continue
        before = now_ns()
        recording.write_measurement(frames[count % IMAGES])
        durations.add([now_ns() - before])
        count += 1
    return durations.told()


def _frames(kind: str, pool: Any) -> list[Any]:
    """Of a camera: noise in all 16 bits, or a picture of 12 bits with the noise of photons."""
    random = np.random.default_rng(2)
    if kind == "noise":
        return [random.integers(0, 1 << 16, IMAGE, np.uint16) for _ in range(IMAGES)]
    picture = 400 + 300 * np.sin(np.arange(IMAGE[1]) / 90) * np.cos(np.arange(IMAGE[0]) / 70)[:, None]
    noise = np.abs(pool[: picture.size]).reshape(IMAGE)
    return [(picture + 20 * np.roll(noise, 4321 * number)).astype(np.uint16) for number in range(IMAGES)]


def streams(recording: Any, plan: Plan, over: Callable[[], bool], pool: Any) -> dict[str, Any]:
    """A value to each of many streams, a hundred times a second."""
    del plan
    appends = [recording[name].write_measurement for name in recording]
    values = pool[: 1 << 16].tolist()
    durations, schedule, now_ns = Durations(), Schedule(1 / STREAM_HZ), time.perf_counter_ns
    turn = 0
    while not over():
        schedule.wait()
        took, value = [], values[turn % len(values)]
        for append in appends:
            before = now_ns()
            append(value)
            took.append(now_ns() - before)
        durations.add(took)
        turn += 1
    return {**durations.told(), "kept": schedule.kept, "latest_s": schedule.latest_s}


INSTRUMENTS = {"digitiser": digitiser, "loop": loop, "images": images, "streams": streams}


def described(plan: Plan) -> dict[str, Any]:
    """The channels or streams of an instrument, and the ring for each."""
    if plan.work == "digitiser":
        return {"channels": {f"channel_{number:02d}": "V" for number in range(CHANNELS)}}
    if plan.work == "images":
        return {"channels": [mullet.Channel("camera", dtype="uint16", shape=IMAGE)]}
    if plan.work == "streams":
        return {"streams": {f"stream_{number:03d}": {"voltage": "V"} for number in range(plan.streams)}}
    return {"channels": {"voltage": "V"}}


def record(plan: Plan) -> Any:
    """The recording, not begun; its files are numbered."""
    share = plan.streams if plan.work == "streams" else 1
    warnings.simplefilter("ignore", UserWarning)  # of many objects a day: nobody records for a day here
    return mullet.record(
        plan.path,
        **described(plan),
        layout=plan.layout,
        compression=plan.compression,
        fsync=plan.fsync,  # type: ignore[arg-type]
        ring_capacity_mb=max(1.0, plan.ring_mb / share),
        rotate_mb=plan.rotate_mb,
        on_full="overwrite",
    )


def tell(event: str, **what: Any) -> None:
    print(json.dumps({"event": event, **what}), flush=True)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is at the keyboard ends the other process, and that one this
    plan = Plan(**json.loads(sys.argv[1]))
    pool = samples(plan.signal)
    with record(plan) as recording:
        rings = [str(ring_path(name)) for name in output_rings(recording.path).values()]
        tell("begun", rings=rings)
        gc.disable()
        began = time.perf_counter()
        told = INSTRUMENTS[plan.work](recording, plan, Ending(plan.seconds), pool)
        seconds = time.perf_counter() - began
        gc.enable()
        tell("written", seconds=seconds, rows=recording.statistics().rows_written, **told)
    final = recording.statistics()
    tell("ended", rows_in=final.rows_written, rows_lost=final.rows_lost, drain_s=time.perf_counter() - began - seconds)


if __name__ == "__main__":
    main()
