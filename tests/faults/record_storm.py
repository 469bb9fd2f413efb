"""Kill whole sessions of ``mullet.record(mode="a")``, and start the next one on the same file, or recover first."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from mulletdaq.errors import RingError
from mulletdaq.ring import RingBuffer, output_ring_name, ring_path
from tests.waiting import PATIENCE_S

from .judge import Look
from .lane import Lane
from .roles import eventually, group_alive

RING_MB = 0.25


class Recordings(Lane):
    """Every session is a run of its own; what a killed one leaves in its ring belongs to its run."""

    kills_a_file = 6

    def begin(self) -> None:
        self.sessions = 0
        # By stream id: rows in the ring when the session was dead, and of them those that were known to be stored.
        self.written: dict[int, int] = {}
        self.known: dict[int, int] = {}
        del self.options["poll_interval_s"]
        self.options["ring_capacity_mb"] = RING_MB
        self.next_session()

    def next_session(self) -> None:
        self.sessions += 1
        self.session = self.start("record", self.path, self.sessions, json.dumps(self.options))

    def strike(self) -> None:
        if self.chosen.random() < 0.75:
            self.await_progress()
            time.sleep(self.chosen.random() * 0.05)
        else:  # it is killed while it begins, or while it saves what the last one left
            time.sleep(self.chosen.random() * 0.8)
        told = self.session.told
        if self.chosen.random() < 0.3:
            self.session.kill()
            self.note(told)
            eventually(lambda: not group_alive(self.session.pid), "a writer that is left alone ends")
        self.session.kill_group()
        self.note(told)
        self.look_as_it_lies()
        way = self.chosen.random()
        if way < 0.3:
            self.recover()
        elif way < 0.4:
            self.recover_by_command()
        self.next_session()

    def await_progress(self) -> None:
        """Wait until a commit of the present session was told of; then its forerunners must be complete."""
        eventually(lambda: self.session.told.get("rows", 0) > 0, "the session stores rows")
        self.look_healed()
        before = self.session.told["rows"]
        eventually(lambda: self.session.told["rows"] > before, "the session stores more rows")

    def note(self, told: dict[str, int]) -> None:
        """Remember what the dead session's ring holds, as far as there is one."""
        with suppress(RingError), RingBuffer.open(ring_path(output_ring_name(self.path))) as ring:
            self.written[ring.stream_id] = ring.newest_row
            if told.get("rows"):
                self.known[ring.stream_id] = told["rows"]

    def check(self, found: Look) -> None:
        for stream_id, rows in self.written.items():
            run = found.run_of(stream_id)
            if run is None:
                self.expect(not rows, f"a run of {rows} rows is missing")
                continue
            self.expect((run.first_row, run.next_row) == (0, rows), f"{run.next_row} of {rows} rows are accounted for")
        self.check_acknowledged(found)

    def check_acknowledged(self, found: Look) -> None:
        for stream_id, known in self.known.items():
            run = found.run_of(stream_id)
            stored = 0 if run is None else run.rows
            self.expect(stored >= known, f"{stored} rows are stored, {known} were known to be")

    def recover(self) -> None:
        self.start("recover", self.path).await_end()
        self.check_recovered()

    def recover_by_command(self) -> None:
        """As above, by its name."""
        done = subprocess.run(
            [sys.executable, "-m", "mulletdaq", "recover", str(self.path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.expect(done.returncode == 0 or "is not there" in done.stderr, f"mullet recover: {done.stderr}")
        self.check_recovered()

    def check_recovered(self) -> None:
        if self.path.exists():
            self.look_dead()
        else:
            self.expect(not sum(self.written.values()), "recovered, and there is no file")

    def ring_file(self) -> Path:
        return ring_path(output_ring_name(self.path))

    def finish(self) -> None:
        self.await_progress()
        self.session.end()
        found = self.look_dead()
        self.expect(not self.ring_file().exists(), "ended in good order, and the ring is left")
        for run in found.runs.values():
            self.add_rows(run)
        self.tally.acknowledged += sum(self.known.values())


__all__ = ["Recordings"]
