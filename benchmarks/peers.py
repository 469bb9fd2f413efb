"""The same work in other hands: samples and blocks to another process, latency, and the whole way into HDF5.

python benchmarks/peers.py [--only samples,appends,blocks,latency,files] [--rounds N] [--quick] [--json FILE]
                           [--markdown FILE]

A rival that is not installed is left out with its reason: ``pip install mulletdaq[peers]``. Both ends are processes of
Python, all in shared memory or over the loopback. What a kill and a power cut lose stands behind each figure.
"""

from __future__ import annotations

import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from measure import (
    ROUNDS,
    Row,
    Table,
    argument,
    faster,
    first_line,
    interleaved,
    main,
    median,
    nanoseconds,
    rate,
    shared_memory,
    sized,
    spread,
)
from rivals import appends
from rivals.appends import Way
from rivals.link import Link, block_line, sample_line
from rivals.local import PythonRing, Queue, Ring, SharedSlots, StampedRing, ViewedRing
from rivals.middleware import ExpressZenoh, Iceoryx, LoanedIceoryx, Lsl, SharedZenoh, Zenoh, Zmq

BLOCK_ROWS = sized(1_000_000, 10_000)
BLOCKS = 4
CALLS = sized(20_000, 500)
PACED = sized(1_000, 50)
PAUSE_S = 500e-6
SETTLE_S = sized(0.3, 0.02)
MODULES = {"zmq": "pyzmq", "zenoh": "eclipse-zenoh"}
FEW, MANY = sized(10_000, 200), sized(2_000_000, 2_000)


@contextmanager
def linked(kind: type[Link]) -> Iterator[Link]:
    """A link with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=shared_memory()) as folder:
        yield kind(Path(folder), BLOCK_ROWS)


def why(error: Exception) -> str:
    """Why a rival is left out; where it could not be installed, what the installer said as well."""
    told = Path(sys.prefix, "not-installed.txt")
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if module and told.exists():
        for line in told.read_text().splitlines():
            requirement, _, reason = line.partition("\t")
            if MODULES.get(module, module) in requirement:
                return f"{first_line(error)}; installing it: {reason}"
    return first_line(error)


def samples(table: Table) -> None:
    """One sample at a time, each rival with a process that takes all that comes."""
    with ExitStack() as stack:
        lines = {}
        for kind in (Ring, PythonRing, Queue, Zmq, Zenoh, Lsl, Iceoryx):
            try:
                with ExitStack() as opening:
                    link = opening.enter_context(linked(kind))
                    lines[kind] = opening.enter_context(sample_line(link, spin=False))
                    stack.push(opening.pop_all())
            except Exception as error:
                table.leave_out(f"{kind.name}, samples", why(error))
        results = interleaved(
            {kind.name: settled(calls(line.push, CALLS)) for kind, line in lines.items()}, sized(5, 2)
        )
        pushed = CALLS * (1 + sized(5, 2))
        for line in lines.values():
            line.finish()
    notes = {
        kind: f"{min(line.received / pushed, 1):.0%} arrived; theirs: {kind.loses}; ours: {Ring.loses}"
        for kind, line in lines.items()
    }
    # A ring in Python that lets readers see torn samples is no rival for what crosses processes safely.
    rivals = [kind for kind in lines if kind not in (Ring, PythonRing)]
    best = min(rivals, key=lambda kind: median(results[kind.name]), default=None)
    for kind in lines:
        if kind is Ring:
            continue
        goal, label = (8.0, f"{kind.name} (the best)") if kind is best else (1.0, kind.name)
        faster(table, "a sample to another process", results[Ring.name], label, results[kind.name], goal,
               goal_of="sample, across processes" if kind is best else "", note=notes[kind])  # fmt: skip


def settled(measure: Callable[[], float]) -> Callable[[], float]:
    """The same, and time for what threads and receivers still have to do before another is measured."""

    def and_wait() -> float:
        figure = measure()
        time.sleep(SETTLE_S)
        return figure

    return and_wait


def calls(push: Callable[[float], object], count: int) -> Callable[[], float]:
    """Nanoseconds a call."""
    timer = timeit.Timer("push(1.5)", globals={"push": push})
    return lambda: timer.timeit(count) / count * 1e9


def rows(table: Table) -> None:
    """One sample at a time into a file that this process writes."""
    for name, make, goal, count in (
        ("PyTables row append", appends.pytables_row, 10.0, CALLS),
        ("h5py resize and assign", appends.h5py_row, 1000.0, CALLS // 20),
    ):
        with linked(Ring) as link, link.samples_out() as append, tempfile.TemporaryDirectory() as folder:
            try:
                with make(Path(folder)) as push:
                    work = {"ours": calls(append, CALLS), name: calls(push, count)}
                    results = interleaved(work, sized(5, 2))
            except ImportError as error:
                table.leave_out(f"{name}, samples", why(error))
                continue
        faster(table, "a sample, into a file later", results["ours"], name, results[name], goal,
               goal_of="sample, into a file", note=f"no other process sees theirs, and all is lost with the process "
               f"until a flush; ours: {Ring.loses}")  # fmt: skip


def blocks(table: Table) -> None:
    """A block of float64, until the other process has it."""
    values = np.random.default_rng(1).normal(size=BLOCK_ROWS)

    def measured(kind: type[Link]) -> Callable[[], float]:
        def measure() -> float:
            with linked(kind) as link, block_line(link, values) as send:
                send(BLOCKS)
                return median([BLOCKS * values.nbytes / send(BLOCKS) for _ in range(sized(5, 1))])

        return measure

    kinds = (Ring, StampedRing, PythonRing, SharedSlots, Queue, Zmq, Zenoh, SharedZenoh, Lsl, Iceoryx)
    in_place = (ViewedRing, LoanedIceoryx)
    results = in_turn(table, (*kinds, *in_place), "blocks", measured)
    copied, viewed = results.pop(Ring, []), results.pop(ViewedRing, [])
    for kind, theirs in results.items():
        ours = viewed if kind in in_place else copied
        ratio = median(ours) / median(theirs)
        limits = kind in (StampedRing, PythonRing, SharedSlots)
        how = "read in place" if kind in in_place else "until read"
        note = "no stamps, no check that what was read is whole" if limits else f"theirs: {kind.loses}"
        table.add(
            Row(f"blocks of {values.nbytes / 1e6:g} MB, {how}", rate(median(ours)),
                kind.name.replace("push_sample", "push_chunk"), rate(median(theirs)), ratio,
                "none" if limits else "≥ 1", limits or ratio >= 1, spread(ours, theirs),
                "both are ours: what stamps and columns cost" if kind is StampedRing else note)
        )  # fmt: skip


def latency(table: Table) -> None:
    """From one Python process's push to another's receive, a sample every half millisecond."""
    tails: dict[type[Link], list[float]] = {}

    def measured(kind: type[Link]) -> Callable[[], float]:
        def measure() -> float:
            with linked(kind) as link, sample_line(link, spin=True) as line:
                line.begin()
                for _ in range(PACED):
                    line.push(1.5)
                    time.sleep(PAUSE_S)
                line.finish()
            tails.setdefault(kind, []).append(float(np.percentile(line.ages_ns, 99)))
            return median(line.ages_ns)

        return measure

    kinds = (Ring, PythonRing, Queue, Zmq, ExpressZenoh, Lsl, Iceoryx)
    results = in_turn(table, kinds, "latency", measured)
    polled = (PythonRing, Zmq, Iceoryx, Lsl)
    for kind in results:
        if kind is Ring:
            continue
        limit = kind is PythonRing
        for name, times in (("median", results), ("99 %", tails)):
            ours, theirs = times[Ring], times[kind]
            ratio = median(theirs) / median(ours)
            table.add(
                Row(f"latency between Python processes, {name}", nanoseconds(median(ours)), kind.name,
                    nanoseconds(median(theirs)), ratio, "none" if limit else "≥ 1", limit or ratio >= 1,
                    spread(ours, theirs),
                    f"ours polls, theirs {'polls' if kind in polled else 'waits'}")
            )  # fmt: skip


def in_turn(
    table: Table, kinds: tuple[type[Link], ...], what: str, measured: Callable[[type[Link]], Callable[[], float]]
) -> dict[type[Link], list[float]]:
    """Each link opened, measured and closed once a round; one that fails is left out from then on."""
    results: dict[type[Link], list[float]] = {kind: [] for kind in kinds}
    for number in range(sized(min(ROUNDS, 3), 1)):
        print(f"{what}, round {number + 1}", flush=True)
        for kind in list(results):
            try:
                results[kind].append(measured(kind)())
            except Exception as error:
                del results[kind]
                table.leave_out(f"{kind.name}, {what}", why(error))
    return results


def files(table: Table) -> None:
    """From the first sample until a fresh h5py reader has them all; opening is not in it, closing is."""
    for sync, fsync in ((False, "never"), (True, "commit")):
        quick = {"PyTables": partial(appends.pytables_rows, sync), "h5py, a list": partial(appends.h5py_buffered, sync)}
        slow: dict[str, Callable[[], Way]] = {"h5py append": partial(appends.h5py_rows, sync)}
        if sync:
            slow["QCoDeS"] = appends.qcodes_dataset
        whole_way(table, MANY, fsync, quick)
        whole_way(table, FEW, fsync, slow)


def whole_way(table: Table, count: int, fsync: str, choices: Mapping[str, Callable[[], Way]]) -> None:
    own = appends.ours(fsync)
    ways: dict[str, Way] = {own.name: own}
    for name, choice in choices.items():
        try:
            way = choice()
        except Exception as error:
            table.leave_out(f"{name}, {count:,} samples into HDF5", why(error))
            continue
        ways[way.name] = way
    results = interleaved({name: timed(way, count) for name, way in ways.items()}, sized(3, 1))
    show_ways(table, f"{count:,} samples into HDF5, fsync={fsync!r}", ways, results, own.name)


def timed(way: Way, count: int) -> Callable[[], float]:
    """Nanoseconds a sample."""

    def measure() -> float:
        with tempfile.TemporaryDirectory(prefix="mulletdaq-bench-") as folder:
            began, read = way.write(Path(folder), count)
            found = read()
            elapsed_s = time.perf_counter() - began
        if found != count:
            raise ValueError(f"{way.name}: {found} of {count} samples are in the file")
        return elapsed_s / count * 1e9

    return measure


def show_ways(table: Table, work: str, ways: Mapping[str, Way], results: Mapping[str, list[float]], own: str) -> None:
    for name, way in ways.items():
        if name != own:
            note = f"a sample; theirs: {way.keeps}; ours: {ways[own].keeps}"
            faster(table, work, results[own], name, results[name], 1.0, note=note)


def run(table: Table) -> None:
    parts = {"samples": samples, "appends": rows, "blocks": blocks, "latency": latency, "files": files}
    for name in argument("--only", ",".join(parts)).split(","):
        parts[name](table)


if __name__ == "__main__":
    main("Peers", run)
