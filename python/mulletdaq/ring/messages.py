"""Record batches as IPC messages, for what does not fit a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mulletdaq.errors import RingFormatError, SchemaMismatchError
from mulletdaq.extras import needs_extra
from mulletdaq.ring.reading import END_OF_STREAM

if TYPE_CHECKING:
    import pyarrow as pa

    from mulletdaq._core import Ring


def summary_of(schema: pa.Schema) -> str:
    """Columns in few words, for messages."""
    shown = [f"{field.name}: {field.type}" for field in schema][:8]
    return ", ".join(shown) + (f" and {len(schema) - 8} more" if len(schema) > 8 else "")


def messages_of(batch: pa.RecordBatch) -> bytes:
    """The IPC messages of a batch, dictionaries first, without the schema's."""
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = stream.getvalue().to_pybytes()
    return content[len(batch.schema.serialize()) : -len(END_OF_STREAM)]


def schema_of(ring: Ring) -> pa.Schema | None:
    """The schema of a ring, if it has one; RingFormatError as :func:`read_schema`."""
    message = ring.schema_message()
    return None if message is None else read_schema(ring.path, message)


def read_schema(path: str, message: bytes) -> pa.Schema:
    """The schema in a ring's schema message.

    Raises
    ------
    RingFormatError
        If pyarrow cannot read it.
    """
    with needs_extra("arrow"):
        import pyarrow as pa
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(message))
        str(schema.names)  # decodes them
    except (pa.ArrowException, KeyError, EOFError, UnicodeDecodeError) as error:
        raise RingFormatError(f"ring {path}: its schema is not readable: {' '.join(str(error).split())}") from error
    else:
        return schema


def as_batch(data: Any) -> pa.RecordBatch:
    """A record batch from anything with ``__arrow_c_array__`` or, like a frame of polars, ``__arrow_c_stream__``."""
    with needs_extra("arrow"):
        import pyarrow as pa

    if isinstance(data, pa.RecordBatch):
        return data
    if hasattr(data, "__arrow_c_array__") or not hasattr(data, "__arrow_c_stream__"):
        return pa.record_batch(data)
    table = pa.table(data).combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def check_batch(path: str, batch: pa.RecordBatch, schema: pa.Schema) -> None:
    """Refuse a batch whose columns are not the ring's; nullability is checked by value, later."""
    if batch.schema.names != schema.names or batch.schema.types != schema.types:
        raise SchemaMismatchError(
            f"ring {path} has the columns {summary_of(schema)}, the batch has {summary_of(batch.schema)}"
        )


def check_nulls(path: str, batch: pa.RecordBatch, schema: pa.Schema) -> None:
    """Refuse nulls where the schema says there are none."""
    for field, column in zip(schema, batch.columns, strict=True):
        if column.null_count and not field.nullable:
            raise SchemaMismatchError(f"ring {path}: column {field.name!r} takes no nulls")
