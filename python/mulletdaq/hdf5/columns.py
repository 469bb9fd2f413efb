"""The one place from Arrow types to HDF5 datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import MAX_ATTRIBUTE_BYTES, set_attribute
from mulletdaq.hdf5.filters import write_dataset
from mulletdaq.schema import field_description, field_unit

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa

_DATE_UNITS = {pa.date32(): "d", pa.date64(): "ms"}


@dataclass(frozen=True)
class Column:
    """How one Arrow field is stored.

    Attributes
    ----------
    name
        Name of field and dataset.
    dtype
        NumPy dtype of the dataset: bool becomes uint8, times and dates int64 or int32.
    shape
        Shape of one row.
    mask
        Name of the dataset that marks nulls, there only where a batch has some; floats take NaN instead.
    attributes
        Text attributes of the dataset.
    """

    name: str
    dtype: Any
    shape: tuple[int, ...]
    mask: str
    attributes: dict[str, str]

    def arrays(self, pieces: Sequence[Any]) -> tuple[Any, Any]:
        """Join Arrow arrays of this column.

        Returns
        -------
        values : numpy.ndarray
            Shape (rows, *shape); nulls are NaN or 0.
        valid : numpy.ndarray or None
            uint8, of the same shape, 0 where an element is null; None when none is, and for floats.
        """
        decoded = [_decode(piece) for piece in pieces]
        values = decoded[0][0] if len(decoded) == 1 else np.concatenate([value for value, _ in decoded])
        if all(valid is None for _, valid in decoded):
            return values, None
        valid = np.concatenate([np.ones(value.shape, bool) if flags is None else flags for value, flags in decoded])
        if self.dtype.kind == "f":
            return np.where(valid, values, self.dtype.type(np.nan)), None
        return np.where(valid, values, self.dtype.type(0)), valid.astype(np.uint8)

    def write(self, group: Any, pieces: Sequence[Any], compression: str | None) -> None:
        """Write the column of one batch into its group."""
        values, valid = self.arrays(pieces)
        dataset = write_dataset(group, self.name, values, compression)
        for name, text in self.attributes.items():
            set_attribute(dataset, name, text)
        if valid is not None:
            set_attribute(dataset, "valid", self.mask)
            mask = write_dataset(group, self.mask, valid, compression)
            set_attribute(mask, "description", f"1 where {self.name} has a value, 0 where it is missing")


_LONGEST_NAME_BYTES = 1000


def columns_of(schema: Any) -> list[Column]:
    """The columns that a ``pyarrow.Schema`` is stored as.

    Raises
    ------
    UnsupportedTypeError
        If a field's type cannot be stored; the message names the field.
    SchemaError
        If a name cannot be a dataset's, stands twice, or there is no field.
    """
    names = list(schema.names)
    if not names:
        raise SchemaError("a stream without columns cannot be stored; give it at least one")
    for name in names:
        if not name.strip(".") or "/" in name or "\0" in name:
            raise SchemaError(f"column {name!r} cannot be an HDF5 dataset; rename it, without '/' and NUL")
        if names.count(name) > 1:
            raise SchemaError(f"column {name!r} is there {names.count(name)} times; give each its own name")
        if len(name.encode()) > _LONGEST_NAME_BYTES:
            raise SchemaError(
                f"column {name[:40]!r}… has a name of {len(name.encode())} bytes; {_LONGEST_NAME_BYTES} fit"
            )
    for field in schema:
        _check_texts(field)
    return [_column(field, names) for field in schema]


def _check_texts(field: Any) -> None:
    """An attribute over 64 kB would fail in the middle of a recording."""
    for what, text in (("unit", field_unit(field)), ("description", field_description(field))):
        if len(text.encode()) > MAX_ATTRIBUTE_BYTES:
            raise SchemaError(
                f"column {field.name!r} has a {what} of {len(text.encode())} bytes; {MAX_ATTRIBUTE_BYTES} fit, "
                "put longer texts into the metadata"
            )


def _column(field: Any, names: list[str]) -> Column:
    value, shape = _value_type(field.type)
    dtype = _stored_dtype(value)
    if dtype is None:
        raise UnsupportedTypeError(
            f"column {field.name!r}: Arrow type {field.type} cannot be stored; use numbers, bool, times or "
            "fixed-shape tensors of these"
        )
    mask = f"{field.name}_valid"
    while mask in names:
        mask += "_"
    attributes = {"units": _time_unit(value) or field_unit(field), "description": field_description(field)}
    if pa.types.is_timestamp(value) and value.tz:
        attributes["timezone"] = value.tz
    if str(value) != _ARROW_NAMES.get(dtype.name, dtype.name):
        attributes["arrow_type"] = str(value)
    return Column(field.name, dtype, shape, mask, {name: text for name, text in attributes.items() if text})


_ARROW_NAMES = {"float16": "halffloat", "float32": "float", "float64": "double"}


def _value_type(type_: Any) -> tuple[Any, tuple[int, ...]]:
    """The innermost type of tensors and fixed-size lists, and the shape of one row."""
    if isinstance(type_, pa.FixedShapeTensorType):
        return type_.value_type, tuple(_tensor_shape(type_))
    if pa.types.is_fixed_size_list(type_):
        value, shape = _value_type(type_.value_type)
        return value, (type_.list_size, *shape)
    return type_, ()


def _tensor_shape(type_: Any) -> list[int]:
    order = type_.permutation or range(len(type_.shape))
    return [type_.shape[axis] for axis in order]


def _stored_dtype(type_: Any) -> Any:
    if pa.types.is_boolean(type_):
        return np.dtype(np.uint8)
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return np.dtype(type_.to_pandas_dtype())
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return np.dtype(f"int{type_.bit_width}")
    return None


def _time_unit(type_: Any) -> str:
    return str(getattr(type_, "unit", "") or _DATE_UNITS.get(type_, ""))


def _decode(array: Any) -> tuple[Any, Any]:
    """An Arrow array as (values, valid or None), both of shape (rows, ...)."""
    type_ = array.type
    if isinstance(type_, pa.FixedShapeTensorType):
        values, valid = _decode(array.storage)
        return _as_tensor(values, type_), _as_tensor(valid, type_)
    if pa.types.is_fixed_size_list(type_):
        return _decode_list(array)
    valid = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(type_):
        return array.fill_null(False).cast(pa.uint8()).to_numpy(), valid
    return _raw_values(array), valid


def _raw_values(array: Any) -> Any:
    """The values as they lie in memory, bit for bit; under a null stands anything."""
    dtype = _stored_dtype(array.type)
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype, count=len(array), offset=array.offset * dtype.itemsize)


def _decode_list(array: Any) -> tuple[Any, Any]:
    rows, size = len(array), array.type.list_size
    values, valid = _decode(array.values.slice(array.offset * size, rows * size))
    shape = (rows, size, *values.shape[1:])
    values = values.reshape(shape)
    valid = None if valid is None else valid.reshape(shape)
    if array.null_count:
        row_valid = array.is_valid().to_numpy(zero_copy_only=False).reshape(rows, *(1 for _ in shape[1:]))
        valid = np.broadcast_to(row_valid, shape) if valid is None else valid & row_valid
    return values, valid


def _as_tensor(flat: Any, type_: Any) -> Any:
    if flat is None:
        return None
    tensor = flat.reshape(len(flat), *type_.shape)
    if type_.permutation is None:
        return tensor
    return tensor.transpose(0, *(axis + 1 for axis in type_.permutation))


__all__ = ["Column", "columns_of"]
