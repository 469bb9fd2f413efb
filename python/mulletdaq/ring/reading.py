"""Whole pieces of a ring at once: everything as bytes, the newest rows as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mulletdaq.extras import needs_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pyarrow as pa

    from mulletdaq._core import Ring
    from mulletdaq.ring.buffer import RingBuffer

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def snapshot(ring: Ring) -> bytes:
    """What :meth:`RingBuffer.read_snapshot` returns."""
    message = ring.schema_message() or b""
    return b"".join([message, *_frames_to_now(ring), END_OF_STREAM if message else b""])


def _frames_to_now(ring: Ring) -> Iterator[bytes]:
    stop = ring.newest_row()
    tail = ring.read_tail
    cursor = ring.cursor_position(tail) if tail > ring.oldest else ring.cursor_oldest()
    while (frame := cursor.read(max_rows=stop)) is not None and frame.first_row < stop:
        yield bytes(frame)


def latest_rows(ring: RingBuffer, count: int) -> dict[str, npt.NDArray[Any]]:
    """What :meth:`RingBuffer.latest` returns."""
    with needs_extra("arrow"):
        import numpy as np
    newest = ring.newest_row
    taken: list[Any] = []
    with ring.cursor(start_row=max(0, newest - count)) as cursor:
        while cursor.row < newest and (content := cursor.read(newest - cursor.row)) is not None:
            taken.append(content)
    if ring.content == "opaque":
        messages = np.empty(len(taken), dtype=object)
        messages[:] = taken
        return {"raw_data": messages}
    if ring.schema is None:
        return {}
    import pyarrow as pa

    table = pa.Table.from_batches(taken, schema=ring.schema)
    return {name: _as_numpy(table.column(name)) for name in table.column_names}


def _as_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    import pyarrow as pa

    chunks = column.combine_chunks()
    array = pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks
    if isinstance(array.type, pa.FixedShapeTensorType):
        # to_numpy_ndarray() refuses bools.
        values = array.storage.flatten().to_numpy(zero_copy_only=False)
        tensor: npt.NDArray[Any] = values.reshape(len(array), *array.type.shape)
        return tensor
    plain: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return plain
