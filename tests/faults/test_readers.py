"""Readers while it records: none sees half a commit, none holds anything up for good."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import pytest

import mulletdaq
from mulletdaq.hdf5.verify import verify
from mulletdaq.recording import recover_recording

from .judge import look
from .nursery import Nursery
from .readers import applied_generations
from .recorded import Recorded
from .roles import Role, all_gone, eventually

COMMITS = 1000
StartReader = Callable[..., Role]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[StartReader]:
    roles: list[Role] = []

    def start(how: str, path: Path, *, hold_s: float = 0, gap_s: float = 0) -> Role:
        role = Role(nursery, tmp_path / "readers.txt", how, path, hold_s, gap_s, module="readers")
        roles.append(role)
        return role

    with Nursery() as nursery, all_gone(roles):
        yield start


def test_readers_hammer_a_thousand_commits_and_none_is_torn(record: Callable[..., Recorded], read: StartReader) -> None:
    recorded = record(fsync="never", compression=None)  # a thousand of them, in little time
    path = recorded.path
    gaps_s = {"h5py": 0.02, "mullet": 0.06, "h5dump": 0.3}
    kinds = ["h5py", "h5py", "mullet", *(["h5dump"] if shutil.which("h5dump") else [])]
    before = applied_generations(path)
    readers = [read(how, path, gap_s=gaps_s[how]) for how in kinds]
    recorded.until(lambda: recorded.writer.statistics().commits >= COMMITS, f"{COMMITS} commits are made")
    recorded.until(lambda: all(reader.told.get("advances", 0) >= 2 for reader in readers), "each saw news")
    applied = applied_generations(path) - before
    for reader in readers:
        reader.end()
    for how, reader in zip(kinds, readers, strict=True):
        assert reader.told["wrong"] == [], how
        assert reader.told["views"] and reader.told["newest"] <= recorded.row
    assert applied >= 2
    assert recorded.check_end().lost_rows == 0


def test_pollers_that_overlap_do_not_keep_commits_from_the_file(
    record: Callable[..., Recorded], read: StartReader
) -> None:
    """At most moments one of the two holds the file; the writer finds the others."""
    recorded = record()
    pollers = [read("h5py", recorded.path, hold_s=hold_s, gap_s=0.01) for hold_s in (0.03, 0.037)]
    recorded.until(lambda: all(one.told.get("views", 0) >= 2 for one in pollers), "both poll")
    before, seen = applied_generations(recorded.path), [one.told["advances"] for one in pollers]
    recorded.until(lambda: applied_generations(recorded.path) >= before + 10, "commits are applied between them")
    recorded.until(
        lambda: all(one.told["advances"] >= saw + 5 for one, saw in zip(pollers, seen, strict=True)),
        "both see newer commits",
    )
    for poller in pollers:
        poller.end()
        assert poller.told["wrong"] == []


def test_a_reader_that_never_lets_go_sends_the_recording_to_another_file(
    record: Callable[..., Recorded], capfd: pytest.CaptureFixture[str]
) -> None:
    limit_bytes = 256 << 10
    recorded = record(journal_limit_mb=limit_bytes / (1 << 20), fsync="never")
    parts = [recorded.path, *(recorded.path.with_name(f"out_part{number}.h5") for number in (2, 3))]
    journals = [0]

    def holds_more(part: Path, batches: int) -> bool:
        return look(part).batches > batches

    def held_until_it_goes_on_in(part: Path) -> bool:
        sizes = (entry.stat().st_size for entry in recorded.path.parent.glob("*-journal"))
        journals.append(max(sizes, default=0))
        return recorded.writer.statistics().path == str(part)

    for held, following in pairwise(parts):
        with h5py.File(held) as reader:
            batches = len(reader["measurements"])
            recorded.until(partial(held_until_it_goes_on_in, following), f"it goes on in {following}")
            recorded.writer.flush()
            assert len(reader["measurements"]) == batches
        eventually(partial(holds_more, held, batches), "what the reader held up is finished when it lets go")
    recorded.until(lambda: recorded.row % 50 == 0, "some more rows")
    recorded.writer.stop()
    # A commit is made whole before the limit is looked at: a frame or two beyond it.
    assert max(journals) < limit_bytes + (256 << 10)
    told = capfd.readouterr().err
    assert [told.count(f"goes on in {part}") for part in parts[1:]] == [1, 1]

    recovery = recover_recording(str(recorded.path))
    assert recovery.healthy and recovery.files.keys() == {str(part) for part in parts}
    row = 0
    for part in parts:
        found = look(part)
        assert found.state == "untouched", found.why
        (run,) = found.runs.values()
        assert (run.first_row, run.lost_rows) == (row, 0)
        row = run.next_row
        assert verify(part).ok, verify(part).problems
    assert row == recorded.row
    assert not list(recorded.path.parent.glob("*-journal*"))


def test_mullet_open_shows_the_newest_commit_while_a_stock_view_is_old(record: Callable[..., Recorded]) -> None:
    recorded = record()
    with h5py.File(recorded.path) as stock:
        before = recorded.row
        for _ in range(3):
            recorded.write(10)
            recorded.writer.flush()
            with mulletdaq.open(recorded.path) as newest:
                assert newest["runs/run_000001"].attrs["next_row"] == recorded.row
                assert newest["measurements/batch_000002/row"][0] == before
            assert stock["runs/run_000001"].attrs["next_row"] == before
            other = look(recorded.path)
            assert other.state == "untouched" and other.runs[1].next_row == before
    eventually(lambda: (now := look(recorded.path)).runs and now.runs[1].next_row == recorded.row, "all is applied")
