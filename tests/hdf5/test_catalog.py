"""The way to the measurements: what went in comes out, in bounded blocks, never over a gap."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.catalog import stream_rows
from mulletdaq.hdf5.options import LAYOUTS
from mulletdaq.ring import RingBuffer
from tests.examples import examples

from .arrays import as_read, build
from .conftest import SCHEMA, rows
from .reading import is_binary, is_grid, is_text, plain_type, same
from .test_any_schema import recordings

MakeRing = Callable[..., RingBuffer]

with_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def channel(block: Any, path: str, type_: Any) -> list[Any]:
    """A channel's rows as :func:`tests.hdf5.arrays.as_read` tells them."""
    type_ = plain_type(type_)
    if pa.types.is_struct(type_):
        fields = {field.name: channel(block, f"{path}/{field.name}", field.type) for field in type_}
        return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    values, valid = block.columns[path], block.valid.get(path)
    assert len(values) == block.rows
    listed = [plain(value, type_) for value in values]
    return listed if valid is None else [masked(*pair) for pair in zip(listed, valid.tolist(), strict=True)]


def plain(value: Any, type_: Any) -> Any:
    """One row, or one item of a list, without NumPy."""
    type_ = plain_type(type_)
    if value is None or is_text(type_) or is_binary(type_):
        return value
    if is_grid(type_):
        return grid(value, type_)
    if pa.types.is_struct(type_):
        return {field.name: plain(value[field.name], field.type) for field in type_}
    item = pa.struct([type_.key_field, type_.item_field]) if pa.types.is_map(type_) else type_.value_type
    return [plain(entry, item) for entry in value]


def grid(value: Any, type_: Any) -> Any:
    while not pa.types.is_fixed_size_binary(type_) and (
        isinstance(type_, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(type_)
    ):
        type_ = plain_type(type_.value_type)
    listed = value if isinstance(value, list) or not hasattr(value, "tolist") else value.tolist()
    if pa.types.is_fixed_size_binary(type_):
        return joined_bytes(listed)
    return listed


def joined_bytes(value: Any) -> Any:
    if isinstance(value, list) and value and not isinstance(value[0], list):
        return None if value[0] is None else bytes(value)
    return [joined_bytes(entry) for entry in value]


def masked(value: Any, valid: Any) -> Any:
    if isinstance(valid, list):
        return [masked(*pair) for pair in zip(value, valid, strict=True)]
    return value if valid else None


def expected(type_: Any, value: Any) -> Any:
    """What a channel gives: a struct that is missing has fields that are."""
    type_ = plain_type(type_)
    if pa.types.is_struct(type_):
        return {field.name: expected(field.type, None if value is None else value[field.name]) for field in type_}
    return as_read(type_, value)


@with_layouts
@settings(max_examples=examples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(recordings(), st.data())
def test_what_went_in_comes_out(
    layout: str, drawn: tuple[Any, list[list[dict[str, Any]]]], data: st.DataObject
) -> None:
    chosen, batches = drawn
    schema = pa.schema([("timestamp", pa.int64()), *chosen.items()])
    everything = [row for batch in batches for row in batch]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.h5"
        with RingBuffer.create(f"{folder}/a.ring", capacity_bytes=1 << 18) as ring:
            writer = HDF5Writer(path, ring, fsync="never", run_in="thread", layout=layout)
            number = 0
            for batch in batches:
                arrays = [build(type_, [row[name] for row in batch]) for name, type_ in chosen.items()]
                stamps = pa.array(range(number, number + len(batch)))
                ring.write_arrow_batch(pa.record_batch([stamps, *arrays], schema=schema))
                number += len(batch)
                if data.draw(st.booleans(), label="flush"):
                    writer.flush()
            writer.stop()
        start = data.draw(st.integers(0, number), label="start")
        stop = data.draw(st.none() | st.integers(0, number), label="stop")
        with h5py.File(path) as file:
            stream = stream_rows(file)[""]
            assert stream.rows == number
            assert {facts.name.partition("/")[0] for facts in stream.channels} == {"timestamp", *chosen}
            blocks = list(stream.blocks(start, stop, max_bytes=data.draw(st.sampled_from([1, 100, 1 << 20]))))
        wanted = everything[start:stop]
        stamps_read = [int(stamp) for block in blocks for stamp in block.columns["timestamp"]]
        assert stamps_read == list(range(number))[start:stop]
        for name, type_ in chosen.items():
            found = [value for block in blocks for value in channel(block, name, type_)]
            told = [expected(type_, row[name]) for row in wanted]
            assert same(found, told), (name, type_, found, told)


@with_layouts
def test_blocks_end_at_gaps_and_runs(path: Path, make_ring: MakeRing, layout: str) -> None:
    """A ring that was overwritten before its first batch, and a second one."""
    for name in ("a", "b"):
        ring = make_ring(name, capacity_bytes=1 << 16)
        writer = HDF5Writer(path, ring, layout=layout)
        ring.write_arrow_batch(rows(0, 10))
        writer.flush()
        for first in range(10, 10_010, 100):
            ring.write_arrow_batch(rows(first, 100))
        writer.stop()
    with h5py.File(path) as file:
        stream = stream_rows(file)[""]
        assert [gap.run for gap in stream.gaps] == [1, 2]
        assert stream.lost_rows == sum(gap.rows for gap in stream.gaps)
        found = [(block.run, block.first_row, block.rows) for block in stream.blocks()]
        for run, gap in zip((1, 2), stream.gaps, strict=True):
            assert [place for place in found if place[0] == run] == [
                (run, 0, 10),
                (run, gap.first_row + gap.rows, 10_010 - gap.first_row - gap.rows),
            ]
        for block in stream.blocks():
            assert block.columns["timestamp"].tolist() == list(range(block.first_row, block.first_row + block.rows))
        only = next(stream.blocks(names=["voltage"]))
        assert list(only.columns) == ["voltage"]
        assert list(stream.blocks(names=["nothing"])) == []


@with_layouts
def test_small_batches_are_joined_and_long_ones_cut(path: Path, make_ring: MakeRing, layout: str) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, layout=layout)
    for first in range(0, 2000, 100):
        ring.write_arrow_batch(rows(first, 100))
        writer.flush()
    writer.stop()
    with h5py.File(path) as file:
        stream = stream_rows(file)[""]
        assert [block.rows for block in stream.blocks()] == [2000]
        sizes = [block.rows for block in stream.blocks(max_bytes=16 * 150)]
        assert sum(sizes) == 2000 and max(sizes) <= 150
        [voltage] = [facts for facts in stream.channels if facts.name == "voltage"]
        assert (voltage.unit, voltage.dtype, voltage.shape) == ("V", np.float64, ())


@with_layouts
def test_messages(path: Path, make_ring: MakeRing, layout: str) -> None:
    ring = make_ring()
    messages = [bytes([number % 256]) * (number % 300) for number in range(500)]
    writer = HDF5Writer(path, {"raw": ring}, layout=layout)
    for number, message in enumerate(messages):
        ring.write(message)
        if number % 60 == 0:
            writer.flush()
    writer.stop()
    with h5py.File(path) as file:
        stream = stream_rows(file)["raw"]
        for start, stop in ((0, 500), (137, 444), (499, 500), (0, 0)):
            found = [
                message for block in stream.blocks(start, stop, max_bytes=5000) for message in block.columns["raw_data"]
            ]
            assert found == messages[start:stop]


@pytest.fixture
def several(path: Path, make_ring: MakeRing) -> Iterator[Any]:
    """Two streams at different rates."""
    fast, slow = make_ring("fast"), make_ring("slow")
    writer = HDF5Writer(path, {"fast": fast, "slow": slow})
    fast.write_arrow_batch(rows(0, 100))
    slow.write_arrow_batch(rows(0, 3))
    writer.stop()
    with h5py.File(path) as file:
        yield file


def test_streams_are_apart(several: Any) -> None:
    assert {name: stream.rows for name, stream in stream_rows(several).items()} == {"fast": 100, "slow": 3}
    assert all(
        stream.channels_of(stream.runs[0])[0].name == SCHEMA.names[0] for stream in stream_rows(several).values()
    )
