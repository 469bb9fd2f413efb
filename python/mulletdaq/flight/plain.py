"""Arrow types as they are sent: without dictionaries, which Flight's streams of single batches have no place for."""

from __future__ import annotations

from mulletdaq.extras import needs_extra

with needs_extra("flight"):
    import pyarrow as pa


def plain_type(type_: pa.DataType) -> pa.DataType:
    """A type with the values themselves in place of dictionaries, at any depth."""
    if pa.types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if pa.types.is_struct(type_):
        return pa.struct([plain_field(field) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(plain_type(type_.key_type), plain_type(type_.item_type))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(plain_field(type_.value_field), type_.list_size)
    if pa.types.is_large_list(type_):
        return pa.large_list(plain_field(type_.value_field))
    if pa.types.is_list(type_):
        return pa.list_(plain_field(type_.value_field))
    return type_


def plain_field(field: pa.Field) -> pa.Field:
    """A field without dictionaries."""
    return field.with_type(plain_type(field.type))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without dictionaries; itself if it has none."""
    fields = [plain_field(field) for field in schema]
    return schema if fields == list(schema) else pa.schema(fields, schema.metadata)


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns of :func:`plain_schema`."""
    if batch.schema.types == schema.types:
        return batch
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.record_batch(columns, schema=schema)


__all__ = ["plain_batch", "plain_schema", "plain_type"]
