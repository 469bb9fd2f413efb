"""Kill the writer, the producer, the owner, all of them, at any instant, over one ring: nothing of it goes astray."""

from __future__ import annotations

import json
import mmap
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulletdaq.errors import FileMissingError
from mulletdaq.hdf5.journal.recovery import recover
from mulletdaq.ring import RingBuffer

from ..ring.support import FRAME
from .judge import SIGNATURE, Look
from .lane import Lane
from .roles import Role, RunIn, eventually, gone, group_alive

RING_BYTES = (64 << 10, 512 << 10)
"""So small that rows are overwritten while no writer lives: always, and now and then."""

_DEATHS_OF_ONE_OWNER = 2
"""From the third quick death on an owner waits before it starts the next writer."""
_SNIPE_S = 1.0
_DATA_OFFSET = 128


@dataclass(frozen=True)
class Acknowledged:
    """What somebody was told before a kill: ``rows`` of the rows below ``next_row`` are stored, the others lost."""

    next_row: int = 0
    rows: int = 0


def row_at_tail(ring: RingBuffer) -> int:
    """The row before which everything is stored, as the ring tells it to anybody; 0 if it cannot tell any more."""
    tail = ring.read_tail
    with open(ring.path, "rb") as file:
        headers = [_header_at(file, _DATA_OFFSET + tail % ring.capacity_bytes) for _ in range(2)]
    position, _, _, first_row = headers[0][:4]
    # Twice the same, and at its own place: nobody has begun to overwrite it.
    return int(first_row) if headers[0] == headers[1] and position == tail else 0


def _header_at(file: Any, offset: int) -> tuple[int, ...]:
    return FRAME.unpack(os.pread(file.fileno(), FRAME.size, offset))


class Ring(Lane):
    """One ring from the first kill of a file to the last."""

    def begin(self) -> None:
        self.ring = RingBuffer.create(self.place / "a.ring", capacity_bytes=RING_BYTES[(self.tally.files - 1) % 2])
        self.stream_id = self.ring.stream_id
        self.known = Acknowledged()
        self.persisted_row = 0

    def note(self, *owners: Role) -> None:
        """Remember what is acknowledged at this moment: by the writer's counts, and by ``read_tail``."""
        for owner in owners:
            told = owner.told
            if told.get("next_row", 0) > self.known.next_row:
                self.known = Acknowledged(told["next_row"], told["rows"])
        self.persisted_row = max(self.persisted_row, row_at_tail(self.ring))

    def check(self, found: Look) -> None:
        self.check_acknowledged(found)

    def check_acknowledged(self, found: Look) -> None:
        run = found.run_of(self.stream_id)
        if run is None:
            self.expect(not self.known.next_row and not self.persisted_row, "acknowledged rows are missing, all")
            return
        self.expect(run.first_row == 0, f"begins with row {run.first_row}")
        self.expect(
            run.next_row >= max(self.known.next_row, self.persisted_row),
            f"ends at {run.next_row}, acknowledged were {self.known} and {self.persisted_row} by read_tail",
        )
        stored = run.stored_below(self.known.next_row)
        self.expect(stored == self.known.rows, f"{stored} rows are stored of {self.known}")

    def recover(self) -> None:
        """Have a dead file put right; there may be nothing of it yet."""
        with suppress(FileMissingError):
            recover(self.path)
            if self.path.exists():
                self.look_dead()

    def check_end(self) -> None:
        """Every row that was ever written is stored, or in the ledger."""
        found = self.look_dead()
        run = found.run_of(self.stream_id)
        newest_row = self.ring.newest_row
        self.ring.close()
        assert run is not None
        self.expect(run.next_row == newest_row, f"the ring had {newest_row} rows, the file goes to {run.next_row}")
        self.add_rows(run)
        self.tally.acknowledged += self.known.next_row


class Apart(Ring):
    """A producer, and an owner with a writer of its own, in three processes."""

    def begin(self) -> None:
        super().begin()
        self.produce()
        self.own()
        self.early = False

    def produce(self) -> None:
        self.producer = self.start("produce", self.ring.path)

    def own(self) -> None:
        self.owner = self.start("own", self.path, self.ring.path, json.dumps(self.options))
        self.deaths = 0

    def strike(self) -> None:
        if self.early:
            self.kill_all()
        else:
            self.await_progress()
            blows: list[Callable[[], None]] = [
                self.kill_producer,
                self.kill_owner_then_writer,
                self.kill_owner_and_producer,
                self.kill_all,
            ]
            if self.deaths < _DEATHS_OF_ONE_OWNER:
                blows += [self.kill_writer] * 3 + [self.kill_writer_and_producer] * 2
            time.sleep(self.chosen.random() * 0.05)
            blows[int(self.chosen.integers(len(blows)))]()
        # Now and then the next blow falls while everything is still being started and healed.
        self.early = self.chosen.random() < 0.15
        if self.early:
            time.sleep(self.chosen.random() * 0.6)

    def finish(self) -> None:
        self.await_progress()
        self.producer.end()
        self.owner.end()
        self.note(self.owner)
        self.check_end()

    def await_progress(self) -> None:
        """Wait until the present writer has committed something new."""
        self.note(self.owner)
        before = self.known.next_row
        eventually(lambda: self.owner.told.get("next_row", 0) > before, "rows are stored again")

    def await_successor(self, writer: int) -> None:
        """Wait until the owner has another writer, and that has healed the file and gone on."""
        eventually(lambda: self.owner.told["pid"] != writer, "the owner starts another writer")
        self.await_progress()
        self.look_healed()

    def kill_writer(self) -> None:
        self._kill_writer(also_producer=False)

    def kill_writer_and_producer(self) -> None:
        self._kill_writer(also_producer=True)

    def _kill_writer(self, *, also_producer: bool) -> None:
        """Its owner, who would heal it at once, is stopped until the file was looked at."""
        self.owner.freeze()
        self.note(self.owner)
        victim = self.owner.told["pid"]
        if also_producer and self.chosen.random() < 0.5:
            self.producer.kill()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: gone(victim), "the writer is gone")
        if also_producer:
            self.producer.kill()
        self.look_as_it_lies()
        self.owner.thaw()
        self.deaths += 1
        if also_producer:
            self.produce()
        self.await_successor(victim)

    def kill_producer(self) -> None:
        """The writer lives on, and the next producer goes on at the row after."""
        self.note(self.owner)
        self.producer.kill()
        self.look_as_it_lies(writer_alive=True)
        self.produce()
        self.await_progress()
        self.look_healed()

    def kill_owner_then_writer(self) -> None:
        """The writer goes on without its owner, as long as somebody produces; then it is killed too."""
        self.note(self.owner)
        self.owner.kill()
        tail = self.ring.read_tail
        eventually(lambda: self.ring.read_tail > tail, "the writer goes on alone")
        self.note()
        time.sleep(self.chosen.random() * 0.02)
        self.owner.kill_group()
        self.look_as_it_lies()
        self.own()

    def kill_owner_and_producer(self) -> None:
        """Left alone, the writer drains and ends; nothing is to be healed."""
        self.note(self.owner)
        writer = self.owner.told["pid"]
        for role in self.in_any_order(self.owner, self.producer):
            role.kill()
        eventually(lambda: gone(writer), "the writer drains and ends")
        self.look_as_it_lies()
        found = self.look_healed()
        run = found.run_of(self.stream_id)
        assert run is not None
        self.expect(run.next_row == self.ring.newest_row, "the writer that was left alone left rows behind")
        self.produce()
        self.own()

    def kill_all(self) -> None:
        self.note(self.owner)
        for role in self.in_any_order(self.owner, self.producer):
            role.kill_group()
        self.look_as_it_lies()
        if self.chosen.random() < 0.5:
            self.recover()
        if self.chosen.random() < 0.5:
            self.produce()
            self.own()
        else:
            self.own()
            self.produce()

    def in_any_order(self, *roles: Role) -> list[Role]:
        return [roles[index] for index in self.chosen.permutation(len(roles))]


class Sniped(Apart):
    """The writer is killed in the very moment in which the file is sealed, as long as one can aim."""

    def strike(self) -> None:
        if self.deaths == _DEATHS_OF_ONE_OWNER:
            self.owner.end()
            self.own()
        self.await_progress()
        self.owner.freeze()
        self.note(self.owner)
        victim = self.owner.told["pid"]
        _kill_when_sealed(self.path, victim)
        eventually(lambda: gone(victim), "the writer is gone")
        self.look_as_it_lies()
        self.owner.thaw()
        self.deaths += 1
        self.await_successor(victim)


def _kill_when_sealed(path: Path, pid: int) -> None:
    deadline = time.monotonic() + _SNIPE_S
    with path.open("rb") as file, mmap.mmap(file.fileno(), len(SIGNATURE), prot=mmap.PROT_READ) as start:
        while start[:] == SIGNATURE and time.monotonic() < deadline:
            pass
        os.kill(pid, signal.SIGKILL)


class Together(Ring):
    """One process produces, and owns the writer."""

    run_in: RunIn = "process"

    def begin(self) -> None:
        super().begin()
        self.options["run_in"] = self.run_in
        self.both()

    def both(self) -> None:
        self.role = self.start("both", self.path, self.ring.path, json.dumps(self.options))

    def strike(self) -> None:
        if self.chosen.random() < 0.85:  # otherwise it is killed while it still heals
            self.await_progress()
            time.sleep(self.chosen.random() * 0.05)
        else:
            time.sleep(self.chosen.random() * 0.6)
        self.note(self.role)
        if self.chosen.random() < 0.3:
            self.role.kill()
            eventually(lambda: not group_alive(self.role.pid), "a writer that is left alone ends")
        self.role.kill_group()
        self.look_as_it_lies()
        if self.chosen.random() < 0.5:
            self.recover()
        self.both()

    def await_progress(self) -> None:
        self.note(self.role)
        before = self.known.next_row
        eventually(lambda: self.role.told.get("next_row", 0) > before, "rows are stored again")

    def finish(self) -> None:
        self.await_progress()
        self.role.end()
        self.note(self.role)
        self.check_end()


class Threaded(Together):
    """With the writer in a thread of it, so that nobody is left to drain."""

    run_in: RunIn = "thread"


__all__ = ["Apart", "Sniped", "Threaded", "Together"]
