"""Growing datasets: whatever the commits were, the file holds what one write of everything would have made of it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mulletdaq.errors import FileFormatError, WriterError
from mulletdaq.hdf5 import appender as appender_module
from mulletdaq.hdf5.appender import ChunkedAppender, append_together
from mulletdaq.hdf5.chunks import PackingThreads
from mulletdaq.hdf5.filters import make_growing
from mulletdaq.hdf5.journal import JournaledFile, undisturbed
from mulletdaq.hdf5.options import Filters
from tests.examples import examples

from .conftest import COMPRESSIONS
from .test_filters import LIBVER, any_values

ROWS = any_values("int32", (1000, 3))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    """A new file on the disk."""
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        yield file


def growing(file: h5py.File, name: str = "x", chunk_rows: int = 100, compression: str | None = "gzip") -> h5py.Dataset:
    return make_growing(file, name, "int32", (3,), Filters(compression, chunk_rows))


def stored(file: h5py.File, name: str = "x") -> Any:
    """As a reader finds it, who never met the dataset before."""
    return file[name][:]


@contextmanager
def no_more_room(path: Path, extra_bytes: int = 0) -> Iterator[None]:
    """Files of this process cannot grow beyond that file's size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + extra_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Growth(RuleBasedStateMachine):
    """Appends of any size, reopened files, failures: after each step the file is complete."""

    @initialize(
        compression=st.sampled_from(COMPRESSIONS),
        chunk_rows=st.integers(1, 40),
        dtype=st.sampled_from(["<i2", "<f8", ">i4", "u1", "S5", "c16"]),
        row_shape=st.sampled_from([(), (3,), (2, 2)]),
        threads=st.integers(1, 2),
    )
    def create(
        self, compression: str | None, chunk_rows: int, dtype: str, row_shape: tuple[int, ...], threads: int
    ) -> None:
        self.file = h5py.File("growth", "w", driver="core", backing_store=False, libver=LIBVER)
        filters = Filters(compression, chunk_rows)
        self.threads = PackingThreads(threads)
        self.appenders = [
            ChunkedAppender(make_growing(self.file, name, dtype, row_shape, filters), threads=self.threads)
            for name in ("x", "y")
        ]
        self.expected = [any_values(dtype, (0, *row_shape)) for _ in self.appenders]

    def expect(self, which: int, values: Any) -> None:
        dtype = self.expected[which].dtype  # which joining does not keep
        self.expected[which] = np.concatenate([self.expected[which], values]).astype(dtype)

    def new_values(self, which: int, count: int, seed: int, noisy: bool) -> Any:
        values = any_values(self.expected[which].dtype, (count, *self.expected[which].shape[1:]), seed)
        if noisy:
            values = np.frombuffer(np.random.default_rng(seed).bytes(values.nbytes), values.dtype).reshape(values.shape)
        return values

    @rule(which=st.integers(0, 1), count=st.integers(0, 150), seed=st.integers(0, 1 << 30), noisy=st.booleans())
    def append(self, which: int, count: int, seed: int, noisy: bool) -> None:
        values = self.new_values(which, count, seed, noisy)
        self.appenders[which].append(values)
        self.expect(which, values)

    @rule(counts=st.tuples(st.integers(0, 150), st.integers(0, 150)), seed=st.integers(0, 1 << 30))
    def append_together(self, counts: tuple[int, int], seed: int) -> None:
        values = [self.new_values(which, count, seed + which, False) for which, count in enumerate(counts)]
        append_together(zip(self.appenders, values, strict=True), threads=self.threads)
        for which in range(2):
            self.expect(which, values[which])

    @rule(which=st.integers(0, 1))
    def rebind(self, which: int) -> None:
        self.appenders[which].rebind(self.file["xy"[which]])

    @rule(which=st.integers(0, 1), share=st.floats(0, 1))
    def forget_the_last_rows(self, which: int, share: float) -> None:
        """As after a commit that never was: the next append takes their place."""
        rows = int(len(self.expected[which]) * share)
        self.appenders[which] = ChunkedAppender(self.file["xy"[which]], rows, threads=self.threads)
        self.expected[which] = self.expected[which][:rows]
        self.append(which, 1, rows, False)

    @precondition(lambda self: hasattr(self, "file"))
    @invariant()
    def everything_is_there(self) -> None:
        for name, appender, expected in zip("xy", self.appenders, self.expected, strict=True):
            values = stored(self.file, name)
            assert appender.rows == len(values) == len(expected)
            assert values.dtype == expected.dtype and values.tobytes() == expected.tobytes()

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            self.threads.close()


Growth.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=25, deadline=None)
TestGrowth = Growth.TestCase


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_many_commits_equal_one_dataset(tmp_path: Path, compression: str | None) -> None:
    """Reopened now and then, read by nothing but h5py at the end."""
    values = any_values("float64", (300_000,))
    with h5py.File(tmp_path / "a.h5", "w", libver=LIBVER) as file:
        make_growing(file, "x", "float64", filters=Filters(compression, 10_000))
    sizes = np.random.default_rng(5).integers(1, 7000, 200)
    bounds = [*np.cumsum(sizes)[np.cumsum(sizes) < len(values)], len(values)]
    appender: ChunkedAppender | None = None
    row = 0
    for session in range(0, len(bounds), 20):
        with h5py.File(tmp_path / "a.h5", "r+", libver=LIBVER) as file:
            if appender is None:
                appender = ChunkedAppender(file["x"])
            else:
                appender.rebind(file["x"])
            for end in bounds[session : session + 20]:
                appender.append(values[row:end])
                row = end
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["x"][:], values)


def test_readers_have_each_append_at_once(file: h5py.File) -> None:
    appender = ChunkedAppender(growing(file))
    for end in (1, 50, 99, 100, 101, 350, 400, 999):
        appender.append(ROWS[appender.rows : end])
        assert np.array_equal(stored(file), ROWS[:end])
        assert appender.rows == end


def test_full_chunks_are_never_written_again(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = appender_module.Chunk.write
    monkeypatch.setattr(
        appender_module.Chunk, "write", lambda chunk, packed: (written.append(chunk.first_row), write(chunk, packed))
    )
    appender = ChunkedAppender(growing(file))
    for end in (250, 260, 300, 300, 320):
        appender.append(ROWS[appender.rows : end])
    assert written == [0, 100, 200, 200, 200, 300]


def test_what_was_given_may_change_afterwards(file: h5py.File) -> None:
    """Nothing is kept but copies."""
    appender = ChunkedAppender(growing(file))
    buffer = np.empty((70, 3), np.int32)
    for row in range(0, 700, 70):
        buffer[:] = ROWS[row : row + 70]
        appender.append(buffer)
        buffer[:] = -1
    assert np.array_equal(stored(file), ROWS[:700])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("before", [0, 130, 200])
def test_full_disk_moves_no_appender_and_writing_resumes(
    file: h5py.File, tmp_path: Path, compression: str | None, before: int
) -> None:
    """The rows that count stay readable; once opened again the same rows, or fewer, go in."""
    noise = np.random.default_rng(1).integers(-(1 << 31), 1 << 31, (3000, 3)).astype(np.int32)
    appenders = [ChunkedAppender(growing(file, name, 100, compression)) for name in "xyz"]
    for appender in appenders:
        appender.append(noise[:before])
    file.flush()
    with no_more_room(tmp_path / "a.h5", 2000), pytest.raises(OSError, match="write"):
        append_together((appender, noise[before:]) for appender in appenders)
    assert [appender.rows for appender in appenders] == [before] * 3
    for name, appender in zip("xyz", appenders, strict=True):
        with pytest.raises(WriterError, match="rebind"):
            appender.append(noise[:1])
        assert np.array_equal(stored(file, name)[:before], noise[:before])
    for name, appender, end in zip("xyz", appenders, (3000, before + 20, before), strict=True):
        appender.rebind(file[name], appender.rows)
        appender.append(noise[before:end])
    file.flush()
    for name, end in zip("xyz", (3000, before + 20, before), strict=True):
        assert np.array_equal(stored(file, name)[:end], noise[:end])
        assert len(file[name]) == end


def test_dataset_says_how_chunks_are_packed(file: h5py.File) -> None:
    """A file made with other options is gone on with as it is."""
    for number, options in enumerate(
        ({}, {"shuffle": True}, {"compression": "gzip", "compression_opts": 9}, {"compression": "lzf"})
    ):
        file.create_dataset(f"{number}", (0, 3), "int32", maxshape=(None, 3), chunks=(100, 3), **options)
        appender = ChunkedAppender(file[f"{number}"])
        appender.append(ROWS[:130])
        appender.append(ROWS[130:])
        assert np.array_equal(stored(file, f"{number}"), ROWS)


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (10, 3)},
        {"shape": (10, 3), "chunks": (5, 3)},
        {"shape": (10, 3), "chunks": (5, 3), "maxshape": (20, 3)},
        {"shape": (10, 3), "chunks": (5, 2), "maxshape": (None, 3)},
        {"shape": (10, 3), "chunks": (5, 3), "maxshape": (None, 3), "fletcher32": True},
    ],
)
def test_datasets_of_others_are_refused(file: h5py.File, options: dict[str, Any]) -> None:
    file.create_dataset("x", dtype="int32", **options)
    with pytest.raises(FileFormatError, match="/x"):
        ChunkedAppender(file["x"])


@pytest.mark.parametrize("rows", [-1, 11])
def test_more_rows_than_there_are_cannot_count(file: h5py.File, rows: int) -> None:
    growing(file).resize(10, axis=0)
    with pytest.raises(FileFormatError, match="10 rows"):
        ChunkedAppender(file["x"], rows)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros((4, 2), np.int32), ValueError),
        (np.zeros(4, np.int32), ValueError),
        (np.int32(1), ValueError),
        (np.zeros((4, 3), np.int64), TypeError),
        (np.zeros((4, 3), np.uint32), TypeError),
    ],
)
def test_values_that_do_not_fit_are_refused(file: h5py.File, values: Any, error: type[Exception]) -> None:
    """All or nothing, also beside some that fit."""
    x, y = (ChunkedAppender(growing(file, name)) for name in "xy")
    with pytest.raises(error):
        append_together([(x, ROWS), (y, values)])
    assert (x.rows, y.rows, len(file["x"])) == (0, 0, 0)


def test_an_appender_twice_is_refused(file: h5py.File) -> None:
    appender = ChunkedAppender(growing(file))
    with pytest.raises(ValueError, match="twice"):
        append_together([(appender, ROWS), (appender, ROWS)])


def test_other_byte_order_is_converted(file: h5py.File) -> None:
    appender = ChunkedAppender(growing(file))
    appender.append(ROWS.astype(">i4"))
    assert np.array_equal(stored(file), ROWS)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
@settings(deadline=None, max_examples=examples(30))
def test_sizes_of_commits_do_not_show(sizes: list[int]) -> None:
    """The chunks of the file are byte for byte those of one single append."""
    with h5py.File("commits", "w", driver="core", backing_store=False, libver=LIBVER) as file:
        values = any_values("int32", (sum(sizes), 3))
        many, one = (ChunkedAppender(growing(file, name, compression="lzf")) for name in ("many", "one"))
        one.append(values)
        for size in sizes:
            many.append(values[many.rows : many.rows + size])
        many_chunks, one_chunks = (
            [bytes(file[name].id.read_direct_chunk((row, 0))[1]) for row in range(0, len(values), 100)]
            for name in ("many", "one")
        )
        assert many_chunks == one_chunks


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_through_the_journal(tmp_path: Path, compression: str | None) -> None:
    """Commits, and appends that never were: rolled back, the appender goes on in the file of the last commit."""
    path = tmp_path / "a.h5"
    committed = 0
    with JournaledFile(str(path)) as journal:
        file = h5py.File(journal, "w", libver=LIBVER)
        appender = ChunkedAppender(growing(file, compression=compression))
        for end, kept in [(150, True), (170, False), (230, True), (480, False), (490, True), (500, True), (999, True)]:
            with undisturbed():
                appender.append(ROWS[committed:end])
                if kept:
                    journal.commit()
                    committed = end
                else:
                    journal.rollback()
                    file = h5py.File(journal, "r+", libver=LIBVER)
                    appender.rebind(file["x"])
            assert appender.rows == committed
        file.close()
    with h5py.File(path) as file:
        assert np.array_equal(stored(file), ROWS[:999])
