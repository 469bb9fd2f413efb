"""Channels, and the way from channels to an Arrow schema and a ring's row template."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.extras import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

TIMESTAMP = "timestamp"
"""Name of every stream's first column: int64 nanoseconds since the Unix epoch, UTC."""

_NUMPY_TO_ARROW = {
    "float16": "halffloat", "float32": "float", "float64": "double",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "bool": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Channel:
    """One column of a stream.

    Parameters
    ----------
    name
        Name of the column and of the dataset in the file; no ``/``, not ``.`` or ``timestamp``.
    unit
        Unit as text, e.g. ``"V"``; empty when there is none.
    dtype
        A NumPy dtype name: any fixed-width integer or float, or ``"bool"``.
    shape
        ``()`` for one number a sample, ``(n,)`` for a waveform, ``(h, w)`` for an image.
    description
        Free text, stored beside the data.

    Raises
    ------
    SchemaError
        If name or shape cannot be stored.
    UnsupportedTypeError
        If the dtype is not a fixed-width number or bool.
    """

    name: str
    unit: str = ""
    dtype: str = "float64"
    shape: tuple[int, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SchemaError(f"a channel needs a name, got {self.name!r}")
        if self.name in {".", ".."} or "/" in self.name or "\0" in self.name:
            raise SchemaError(f"channel name {self.name!r} cannot be an HDF5 dataset name; leave out '/', '.' and NUL")
        if self.name == TIMESTAMP:
            raise SchemaError("every stream has its own 'timestamp' column; leave it out or name yours differently")
        object.__setattr__(self, "dtype", _dtype_name(self.name, self.dtype))
        try:
            shape = tuple(operator.index(extent) for extent in self.shape)
        except TypeError:
            raise SchemaError(
                f"channel {self.name!r}: shape takes a tuple such as (100,), got {self.shape!r}"
            ) from None
        if len(shape) > 8 or any(extent < 1 for extent in shape):
            raise SchemaError(f"channel {self.name!r}: shape {self.shape!r} needs extents of at least 1")
        object.__setattr__(self, "shape", shape)


ChannelsLike: TypeAlias = Mapping[str, "str | Channel"] | Iterable["Channel"]
"""What ``channels=`` takes: name to unit or channel, or channels in order."""

SchemaLike: TypeAlias = "pa.Schema | ChannelsLike"
"""What ``schema=`` takes: an Arrow schema or anything ``channels=`` takes."""


def _dtype_name(channel: str, dtype: object) -> str:
    name = str(getattr(dtype, "__name__", None) or dtype)
    name = {"float": "float64", "int": "int64"}.get(name, name)
    if name not in _NUMPY_TO_ARROW:
        supported = ", ".join(_NUMPY_TO_ARROW)
        raise UnsupportedTypeError(f"channel {channel!r}: dtype {dtype!r} is not one of {supported}")
    return name


def normalize_channels(channels: ChannelsLike) -> list[Channel]:
    """Bring every accepted form of ``channels=`` into a list of channels.

    Raises
    ------
    SchemaError
        If a name appears twice, or a dict key differs from its channel's name.
    """
    if isinstance(channels, Mapping):
        listed = []
        for name, given in channels.items():
            channel = Channel(name, unit=given) if isinstance(given, str) else given
            if not isinstance(channel, Channel):
                raise SchemaError(f"channel {name!r}: expected a unit or a Channel, got {given!r}")
            if channel.name != name:
                raise SchemaError(f"channel {channel.name!r} stands under the name {name!r}")
            listed.append(channel)
    else:
        listed = list(channels)
        for entry in listed:
            if not isinstance(entry, Channel):
                raise SchemaError(f"expected Channels, got {entry!r}; a dict of name to unit works too")
    names = [channel.name for channel in listed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaError(f"channel names must differ; given twice: {', '.join(twice)}")
    if not listed:
        raise SchemaError("a stream needs at least one channel")
    return listed


def arrow_schema(schema: SchemaLike) -> pa.Schema:
    """The Arrow schema of a stream, its first column ``timestamp`` (int64, ns).

    Parameters
    ----------
    schema
        A ``pyarrow.Schema`` or channels; ``timestamp`` is added where it is missing.

    Raises
    ------
    SchemaError
        If ``timestamp`` is there but not the first column, or not int64.
    MissingExtraError
        If pyarrow is not installed.
    """
    with needs_extra("arrow"):
        import pyarrow as pa
    if not isinstance(schema, pa.Schema):
        fields = [_arrow_field(channel) for channel in normalize_channels(schema)]
        return pa.schema([_timestamp_field(), *fields])
    names = schema.names
    if TIMESTAMP not in names:
        return pa.schema([_timestamp_field(), *schema], metadata=schema.metadata)
    if names[0] != TIMESTAMP or names.count(TIMESTAMP) > 1 or schema.field(0).type != pa.int64():
        raise SchemaError("'timestamp' must be the first column, once, of type int64 (ns since the Unix epoch)")
    return schema


def channels_of(schema: pa.Schema) -> list[Channel]:
    """The channels of a schema that :func:`arrow_schema` made from channels, ``timestamp`` left out."""
    import pyarrow as pa

    arrow_to_numpy = {arrow: numpy for numpy, arrow in _NUMPY_TO_ARROW.items()}
    channels = []
    for field in schema:
        if field.name == TIMESTAMP:
            continue
        shape: tuple[int, ...] = ()
        value = field.type
        if isinstance(value, pa.FixedShapeTensorType):
            shape, value = tuple(value.shape), value.value_type
        dtype = arrow_to_numpy.get(str(value), "")
        unit, description = field_unit(field), field_description(field)
        channels.append(Channel(field.name, unit, dtype, shape, description))
    return channels


def field_unit(field: pa.Field) -> str:
    """The unit kept in a field's metadata, empty when there is none."""
    return bytes((field.metadata or {}).get(b"unit", b"")).decode("utf-8", "replace")


def field_description(field: pa.Field) -> str:
    """The description kept in a field's metadata, empty when there is none."""
    return bytes((field.metadata or {}).get(b"description", b"")).decode("utf-8", "replace")


def _timestamp_field() -> pa.Field:
    import pyarrow as pa

    return pa.field(TIMESTAMP, pa.int64(), nullable=False, metadata={"unit": "ns"})


def _arrow_field(channel: Channel) -> pa.Field:
    import pyarrow as pa

    value = pa.type_for_alias(_NUMPY_TO_ARROW[channel.dtype])
    type_ = pa.fixed_shape_tensor(value, channel.shape) if channel.shape else value
    metadata = {"unit": channel.unit} if channel.unit else {}
    if channel.description:
        metadata["description"] = channel.description
    return pa.field(channel.name, type_, nullable=False, metadata=metadata or None)


__all__ = [
    "TIMESTAMP",
    "Channel",
    "ChannelsLike",
    "SchemaLike",
    "arrow_schema",
    "channels_of",
    "field_description",
    "field_unit",
    "normalize_channels",
]
