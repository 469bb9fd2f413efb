"""How many rows a chunk has, and the threads that pack chunks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulletdaq.hdf5.chunks import CHUNK_BYTES, Chunk, PackingThreads, choose_chunk_rows, padded
from mulletdaq.hdf5.compressors import Packer
from tests.ring.support import run_python
from tests.waiting import PATIENCE_S


class Target:
    """A dataset that keeps what is written to it, and where."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.id = self
        self.written: list[tuple[tuple[int, ...], bytes]] = []
        self.threads: set[int] = set()
        self._fails_at = fails_at

    def write_direct_chunk(self, offset: tuple[int, ...], data: Any, without: int) -> None:
        assert not without
        if offset[0] == self._fails_at:
            raise OSError("the disk is full")
        self.written.append((offset, bytes(data)))
        self.threads.add(threading.get_ident())


@pytest.fixture
def threads() -> Iterator[PackingThreads]:
    """Three threads of this test's own."""
    threads = PackingThreads(3)
    yield threads
    threads.close()


def upside_down(plain: Any) -> bytes:
    return bytes(plain[::-1])


def chunks_for(target: Any, count: int, compress: Any = upside_down) -> Iterator[tuple[Chunk, Packer]]:
    for number in range(count):
        yield Chunk(target, number * 10, np.full(10, number, np.uint8)), Packer(False, compress)


@pytest.mark.parametrize("compress", [upside_down, None])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_chunks_are_written_in_order_by_the_caller(threads: PackingThreads, count: int, compress: Any) -> None:
    target = Target()
    threads.write(chunks_for(target, count, compress))
    assert target.written == [((number * 10,), bytes([number] * 10)) for number in range(count)]
    assert target.threads <= {threading.get_ident()}


def test_they_are_packed_side_by_side(threads: PackingThreads) -> None:
    """Each waits for two others, which only threads can bring."""
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def compress(plain: Any) -> bytes:
        together.wait()
        return bytes(plain)

    target = Target()
    threads.write(chunks_for(target, 6, compress))
    assert len(target.written) == 6


def test_few_are_taken_ahead(threads: PackingThreads) -> None:
    """What bounds memory: of a long row of chunks only as many as threads, and two."""
    target = Target()
    ahead = []

    def counted() -> Iterator[tuple[Chunk, Packer]]:
        for number, chunk in enumerate(chunks_for(target, 100)):
            ahead.append(number + 1 - len(target.written))
            yield chunk

    threads.write(counted())
    assert max(ahead) == 5


@pytest.mark.parametrize("count", [1, 3])
def test_a_failing_write_is_told_and_ends_the_packing(count: int) -> None:
    """Afterwards nobody reads the rows any more."""
    threads = PackingThreads(count)
    packing = set()
    packed = []

    def compress(plain: Any) -> bytes:
        packing.add(threading.get_ident())
        packed.append(plain[0])
        packing.discard(threading.get_ident())
        return bytes(plain)

    target = Target(fails_at=20)
    with pytest.raises(OSError, match="disk is full"):
        threads.write(chunks_for(target, 50, compress))
    assert not packing
    done = len(packed)
    assert [offset for (offset,), _ in target.written] == [0, 10]
    threads.write(chunks_for(Target(), 3))
    threads.close()
    assert len(packed) == done < 50


def test_a_failing_compressor_is_told(threads: PackingThreads) -> None:
    def compress(plain: Any) -> bytes:
        if plain[0] == 4:
            raise MemoryError("no room")
        return bytes(plain)

    target = Target()
    with pytest.raises(MemoryError, match="no room"):
        threads.write(chunks_for(target, 50, compress))
    assert len(target.written) == 4


def test_no_collection_in_threads_that_others_wait_for() -> None:
    """One that lets go of an HDF5 object would wait for h5py's lock, held by who waits for the thread: for ever."""
    script = """
        import gc
        import h5py
        from tests.hdf5.test_chunks import Target, chunks_for
        from mulletdaq.hdf5.chunks import PackingThreads
        from mulletdaq.hdf5.journal import undisturbed
        class Ring:
            pass
        file = h5py.File("memory", "w", driver="core", backing_store=False)
        file["x"] = 1
        def compress(plain):
            gc.collect()
            return bytes(plain)
        gc.disable()
        for _ in range(3):
            ring = Ring()
            ring.itself, ring.dataset = ring, file["x"].id
        del ring
        target = Target()
        with undisturbed():
            PackingThreads(2).write(chunks_for(target, 10, compress))
        before = len(h5py.h5f.get_obj_ids(file.id, h5py.h5f.OBJ_DATASET))
        gc.collect()
        print(len(target.written), before, len(h5py.h5f.get_obj_ids(file.id, h5py.h5f.OBJ_DATASET)))
    """
    assert run_python(script) == "10 3 0\n"


@pytest.mark.parametrize("count", [1, 5])
def test_what_needs_h5py_is_packed_by_the_caller(threads: PackingThreads, count: int) -> None:
    packed_by = set()

    def compress(plain: Any) -> bytes:
        packed_by.add(threading.get_ident())
        return bytes(plain)

    target = Target()
    threads.write((chunk, Packer(False, compress, any_thread=False)) for chunk, _ in chunks_for(target, count))
    assert packed_by == {threading.get_ident()} and len(target.written) == count


def test_closed_threads_start_again(threads: PackingThreads) -> None:
    for _ in range(2):
        target = Target()
        threads.write(chunks_for(target, 4))
        assert len(target.written) == 4
        threads.close()


def test_a_forked_child_has_its_own() -> None:
    """Its parent's threads are not there, so waiting for them would last for ever."""
    script = """
        import os
        from tests.hdf5.test_chunks import Target, chunks_for
        from mulletdaq.hdf5.chunks import PackingThreads
        threads = PackingThreads(2)
        threads.write(chunks_for(Target(), 10))
        pid = os.fork()
        target = Target()
        threads.write(chunks_for(target, 10))
        if not pid:
            os._exit(len(target.written))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert (
        run_python("import warnings; warnings.simplefilter('ignore')\n" + script.replace("\n        ", "\n")) == "10\n"
    )


def test_at_the_end_of_the_interpreter_the_caller_packs() -> None:
    """No thread can be started there, and a recording left open is closed there."""
    script = """
        import atexit
        from tests.hdf5.test_chunks import Target, chunks_for
        from mulletdaq.hdf5.chunks import PackingThreads
        threads = PackingThreads(2)
        threads.write(chunks_for(Target(), 10))
        def last():
            target = Target()
            threads.write(chunks_for(target, 10))
            print(len(target.written))
        atexit.register(last)
    """
    assert run_python(script) == "10\n"


def test_default_is_as_many_as_processors() -> None:
    assert PackingThreads().count == min(len(os.sched_getaffinity(0)), 4)


@given(st.integers(1, 1 << 24), st.none() | st.integers(0, 1 << 40))
def test_chunks_are_of_about_a_mebibyte(row_bytes: int, rows: int | None) -> None:
    chunk_rows = choose_chunk_rows(row_bytes, rows)
    assert chunk_rows == 1 or chunk_rows * row_bytes <= CHUNK_BYTES
    if rows:
        chunks = -(-rows // chunk_rows)
        assert chunks == 1 or (chunk_rows + 1) * row_bytes > CHUNK_BYTES // 2
        if chunk_rows * row_bytes > 16 << 10:
            assert chunks * chunk_rows - rows < chunks, "the last one is nearly full"
    else:
        assert (chunk_rows + 1) * row_bytes > CHUNK_BYTES


@given(st.integers(1, 1 << 32), st.integers(1, 1 << 40))
def test_a_given_number_is_taken_within_bounds(row_bytes: int, asked: int) -> None:
    chunk_rows = choose_chunk_rows(row_bytes, 100, asked)
    assert 1 <= chunk_rows <= asked
    assert chunk_rows in (1, asked) or (chunk_rows + 1) * row_bytes > 64 << 20 >= chunk_rows * row_bytes


def test_padding_is_zeros() -> None:
    assert padded(np.ones((2, 3), np.int16), 4).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]
