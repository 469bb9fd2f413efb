"""A way from this process into another one: what each rival fills in, and the process at its other end."""

from __future__ import annotations

import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Push = Callable[[float], object]
"""Send one sample, stamped now."""
Receive = Callable[[], tuple[int, int]]
"""How many samples or blocks came, and how old the newest is, ns; (0, 0) when nothing came soon."""
SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 20.0
WAIT_S = 0.01
NOTHING = (0, 0)


class Link(ABC):
    """One rival. It is sent to the other process, so that it holds nothing but what can be pickled."""

    name: str
    loses = "nothing is kept: all is lost with the processes"
    """What becomes of what was sent, after a kill or a power cut."""

    def __init__(self, folder: Path, block_rows: int) -> None:
        self.folder = folder
        self.block_rows = block_rows
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make whatever both ends need; ImportError where the rival is not installed."""

    @abstractmethod
    def samples_out(self) -> AbstractContextManager[Push]:
        """The sending end."""

    @abstractmethod
    def samples_in(self, spin: bool) -> AbstractContextManager[Receive]:
        """The receiving end; with ``spin`` in the quickest way, else in a way that leaves the processor to others."""

    @abstractmethod
    def blocks_out(self, values: Any) -> AbstractContextManager[Callable[[], object]]:
        """Send the same float64 block at each call."""

    @abstractmethod
    def blocks_in(self) -> AbstractContextManager[Receive]:
        """Receive blocks; the last value of each is looked at."""


TORN_NS = 10**15
"""A stamp that old was never made: a reader without our care saw the place of a sample before the sample."""


def a_block(last: float, count: int = 1) -> tuple[int, int]:
    """Blocks that came, whose last value was looked at, so that it has been read."""
    if last != last:
        raise ValueError("a block holds what nobody sent")
    return count, 0


def drain_samples(link: Link, pipe: Connection, spin: bool) -> None:
    """The other process: take all, and tell how many and, of those after the word "begin", how old they were."""
    ages: list[int] = []
    total, told_first, stopping = 0, False, False
    quiet_since = looked = time.monotonic()
    with link.samples_in(spin) as receive:
        pipe.send("ready")
        while not (stopping and time.monotonic() - quiet_since > 0.3):
            count, age_ns = receive()
            if count:
                total += count
                if age_ns < TORN_NS:
                    ages.append(age_ns)
                quiet_since = time.monotonic()
                if not told_first:
                    pipe.send("first")
                    told_first = True
                if not stopping and quiet_since - looked < WAIT_S:
                    continue
            # Asking the pipe costs a system call: not at each turn of a spinning loop.
            if (now := time.monotonic()) - looked > WAIT_S:
                looked = now
                while pipe.poll():
                    if pipe.recv() == "begin":
                        ages.clear()
                    else:
                        stopping = True
        pipe.send((total, ages))


def drain_blocks(link: Link, pipe: Connection) -> None:
    """The other process: tell the count after each block, until the pipe is closed."""
    total = 0
    looked = time.monotonic()
    with link.blocks_in() as receive:
        pipe.send("ready")
        while True:
            count, _ = receive()
            if count:
                total += count
                pipe.send(total)
            elif (now := time.monotonic()) - looked > WAIT_S:
                looked = now
                if pipe.poll():
                    return


class SampleLine:
    """A rival's two ends at work."""

    def __init__(self, push: Push, pipe: Connection) -> None:
        self.push = push
        self.received = 0
        self.ages_ns: list[int] = []
        self._pipe = pipe

    def begin(self) -> None:
        """Forget how old samples were so far."""
        time.sleep(5 * WAIT_S)
        self._pipe.send("begin")
        time.sleep(5 * WAIT_S)

    def finish(self) -> None:
        """Let everything arrive."""
        self._pipe.send("stop")
        self.received, self.ages_ns = answer(self._pipe, 3 * PATIENCE_S)


@contextmanager
def sample_line(link: Link, spin: bool) -> Iterator[SampleLine]:
    """Open both ends; the first sample has arrived."""
    with link.samples_out() as push, other_end(drain_samples, link, spin) as pipe:
        deadline = time.monotonic() + PATIENCE_S
        push(0.0)
        while not pipe.poll(0.05):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no sample arrived within {PATIENCE_S:g} s")
            push(0.0)
        answer(pipe, 1.0)
        yield SampleLine(push, pipe)


@contextmanager
def block_line(link: Link, values: Any) -> Iterator[Callable[[int], float]]:
    """Open both ends; what is yielded sends so many blocks, waits until they have arrived, and returns seconds."""
    with link.blocks_out(values) as push, other_end(drain_blocks, link) as pipe:
        arrived = 0

        def send(count: int) -> float:
            nonlocal arrived
            wanted = arrived + count
            began = time.perf_counter()
            for _ in range(count):
                push()
            while arrived < wanted:
                arrived = answer(pipe, PATIENCE_S)
            return time.perf_counter() - began

        # Who publishes does not know whether the other end has subscribed yet: the first blocks may be lost.
        deadline = time.monotonic() + PATIENCE_S
        push()
        while not pipe.poll(1.0):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no block arrived within {PATIENCE_S:g} s")
            push()
        while pipe.poll(0.5):
            arrived = answer(pipe, 1.0)
        yield send


@contextmanager
def other_end(target: Callable[..., None], link: Link, *more: Any) -> Iterator[Connection]:
    """A process at the other end, ready."""
    mine, its = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(link, its, *more), daemon=True)
    process.start()
    its.close()
    try:
        answer(mine, PATIENCE_S)
        yield mine
        with suppress(BrokenPipeError):  # it may have ended already
            mine.send("stop")
        process.join(PATIENCE_S)
    finally:
        mine.close()
        process.kill()
        process.join()


def answer(pipe: Connection, patience_s: float) -> Any:
    """The next thing that the other end says."""
    if not pipe.poll(patience_s):
        raise TimeoutError(f"the receiving process said nothing for {patience_s:g} s")
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError("the receiving process has ended") from None
