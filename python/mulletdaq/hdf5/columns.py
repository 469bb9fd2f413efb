"""The one place from Arrow types to HDF5 datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from mulletdaq.errors import SchemaError, UnsupportedTypeError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import MAX_ATTRIBUTE_BYTES, set_attribute
from mulletdaq.hdf5.decoding import Codec, from_bits, from_bool8, from_decimals, from_fixed_binary, raw
from mulletdaq.hdf5.filters import write_dataset
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.parts import OFFSETS, VALUES, Bytes, List, Node, Numbers, Part, Struct
from mulletdaq.schema import field_description, field_unit

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa

_DATE_UNITS = {pa.date32(): "d", pa.date64(): "ms"}
_ARROW_NAMES = {"float16": "halffloat", "float32": "float", "float64": "double"}
_LONGEST_NAME_BYTES = 1000
_MAX_AXES = 31  # HDF5 takes 32, and one counts the rows
_MAX_DECIMAL_DIGITS = 15  # what a float64 keeps of any decimal
_MAX_DECIMAL_SCALE = 22  # the largest power of ten that is a float64


@dataclass(frozen=True)
class Column:
    """How one Arrow field is stored: as a dataset or group of its name, and where something is missing a mask.

    Attributes
    ----------
    name
        Name of field, and of dataset or group.
    node
        What turns Arrow arrays into parts, and tells a check what to expect.
    """

    name: str
    node: Node

    @property
    def plottable(self) -> bool:
        """Whether it is one dataset of numbers that mean something: what a viewer can plot."""
        return isinstance(self.node, Numbers) and self.node.plottable

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row of a dataset of numbers; () for all else."""
        return self.node.shape if isinstance(self.node, Numbers) else ()

    def parts(self, pieces: Sequence[Any]) -> Iterator[Part]:
        """The datasets and groups that rows become, whatever the layout; :class:`Part` says how to store them.

        Parameters
        ----------
        pieces
            Arrow arrays of this column, in the order of their rows.
        """
        return self.node.parts(pieces)

    def write(self, group: Any, pieces: Sequence[Any], compression: Filters | str | None) -> None:
        """Write the column of one batch into its group."""
        for part in self.parts(pieces):
            write_part(group, part, compression)


def write_part(group: Any, part: Part, compression: Filters | str | None) -> None:
    """Store one part of a batch in its group."""
    if part.kind == "group":
        target = group.create_group(part.path)
    else:
        target = write_dataset(group, part.path, part.values, compression)
    for name, text in part.attributes.items():
        set_attribute(target, name, text)


def columns_of(schema: Any, *, growing: bool = False) -> list[Column]:
    """The columns that a ``pyarrow.Schema`` is stored as.

    Parameters
    ----------
    schema
        Any number of fields, of any types that can be stored.
    growing
        Whether batches are appended to the same datasets. Text is then stored as bytes end to end: the width of a
        dataset of fixed-length strings cannot grow, and strings of variable length lie uncompressed in a heap that is
        rewritten with each append.

    Raises
    ------
    UnsupportedTypeError
        If a field's type cannot be stored; the message names the field, by a dotted path where it is nested.
    SchemaError
        If a name cannot be a dataset's or stands twice, a text is too long for an attribute, or there is no field.
    """
    if not len(schema):
        raise SchemaError("a stream without columns cannot be stored; give it at least one")
    nodes = _field_nodes(schema, _Place("", "", growing))
    return [Column(field.name, node) for field, node in zip(schema, nodes, strict=True)]


@dataclass(frozen=True)
class _Place:
    """Where a node is to lie: its path in the file, its name for people, what it inherits."""

    path: str
    where: str
    growing: bool
    mask: str = ""
    unit: str = ""
    description: str = ""
    is_item: bool = False

    def refused(self, type_: Any, advice: str) -> UnsupportedTypeError:
        return UnsupportedTypeError(f"column {self.where!r}: Arrow type {type_} cannot be stored; {advice}")

    def attributes(self, **more: str) -> dict[str, str]:
        texts = {
            "units": self.unit,
            "description": self.description,
            "offsets": OFFSETS if self.is_item else "",
            **more,
        }
        for name, text in texts.items():
            if len(text.encode()) > MAX_ATTRIBUTE_BYTES:
                raise SchemaError(
                    f"column {self.where!r} has a text of {len(text.encode())} bytes as {name}; "
                    f"{MAX_ATTRIBUTE_BYTES} fit, put longer ones into the metadata"
                )
        return {name: text for name, text in texts.items() if text}


def _field_nodes(fields: Iterable[Any], parent: _Place) -> list[Node]:
    """The nodes of fields that lie side by side, each mask under a name that no field has."""
    fields = list(fields)
    names = Counter(field.name for field in fields)
    _check_names(names, parent.where)
    nodes = []
    for field in fields:
        mask = f"{field.name}_valid"
        while mask in names:
            mask += "_"
        place = _Place(
            f"{parent.path}{field.name}",
            f"{parent.where}{field.name}",
            parent.growing,
            f"{parent.path}{mask}",
            field_unit(field),
            field_description(field),
        )
        nodes.append(_node(field.type, place))
    return nodes


def _check_names(names: Counter[str], where: str) -> None:
    for name, count in names.items():
        if not name.strip(".") or "/" in name or "\0" in name:
            raise SchemaError(f"column {where + name!r} cannot be an HDF5 dataset; rename it, without '/' and NUL")
        if count > 1:
            raise SchemaError(f"column {where + name!r} is there {count} times; give each its own name")
        if len(name.encode()) > _LONGEST_NAME_BYTES:
            raise SchemaError(
                f"column {where + name[:40]!r}… has a name of {len(name.encode())} bytes; {_LONGEST_NAME_BYTES} fit"
            )


def _node(type_: Any, place: _Place) -> Node:
    value = _plain_type(type_, place)
    single, lies, axes = _single_type(value, place)
    codec = _codec(single, place)
    if codec is not None:
        return _numbers(type_ if value is not type_ else single, single, codec, lies, axes, place)
    if isinstance(value, pa.FixedShapeTensorType):
        raise place.refused(type_, "use tensors of numbers, bools or times")
    if pa.types.is_struct(value):
        return _struct(type_, list(value), place)
    if pa.types.is_map(value):
        return _list(type_, pa.field("item", pa.struct([value.key_field, value.item_field])), place)
    if _is_list(value):
        return _list(type_, value.value_field, place)
    return _bytes(type_, value, place)


def _plain_type(type_: Any, place: _Place) -> Any:
    """The type that :func:`mulletdaq.hdf5.decoding.plain` leaves; of bool8 and tensors, which mean more, themselves."""
    if isinstance(type_, (pa.Bool8Type, pa.FixedShapeTensorType)):
        return type_
    if isinstance(type_, pa.BaseExtensionType):
        return _plain_type(type_.storage_type, place)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        value = _plain_type(type_.value_type, place)
        if pa.types.is_nested(value) or isinstance(value, pa.FixedShapeTensorType):
            raise place.refused(
                type_, "dictionaries and runs hold single values; send the lists or structs as they are"
            )
        return value
    return type_


def _single_type(type_: Any, place: _Place) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """The innermost type of tensors and fixed-size lists, the shape in which a row lies, and the order of its axes."""
    if isinstance(type_, pa.FixedShapeTensorType):
        own, order = tuple(type_.shape), tuple(type_.permutation or range(len(type_.shape)))
    elif pa.types.is_fixed_size_list(type_):
        own, order = (type_.list_size,), (0,)
    else:
        return type_, (), ()
    if not prod(own):
        raise place.refused(type_, "a list of no values holds nothing; leave it out")
    value, lies, axes = _single_type(_plain_type(type_.value_type, place), place)
    return value, own + lies, order + tuple(len(own) + axis for axis in axes)


def _codec(type_: Any, place: _Place) -> tuple[Any, Codec] | None:
    """NumPy dtype and codec of single values of fixed width; None for any other type."""
    if pa.types.is_boolean(type_):
        return np.dtype(np.uint8), from_bits
    if isinstance(type_, pa.Bool8Type):
        return np.dtype(np.uint8), from_bool8
    if pa.types.is_fixed_size_binary(type_) and type_.byte_width:
        return np.dtype(np.uint8), from_fixed_binary
    if pa.types.is_decimal(type_):
        if type_.precision > _MAX_DECIMAL_DIGITS or abs(type_.scale) > _MAX_DECIMAL_SCALE:
            raise place.refused(
                type_,
                f"a float64 keeps {_MAX_DECIMAL_DIGITS} digits, and scales up to {_MAX_DECIMAL_SCALE}; cast it to "
                f"decimal128({_MAX_DECIMAL_DIGITS}, …), float64 or string",
            )
        return np.dtype(np.float64), from_decimals
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        dtype = np.dtype(type_.to_pandas_dtype())
    elif pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        dtype = np.dtype(f"int{type_.bit_width}")
    else:
        return None
    return dtype, raw(dtype)


def _numbers(
    declared: Any,
    single: Any,
    codec: tuple[Any, Codec],
    lies: tuple[int, ...],
    axes: tuple[int, ...],
    place: _Place,
) -> Node:
    dtype, decode = codec
    is_binary = pa.types.is_fixed_size_binary(single)
    tail = (single.byte_width,) if is_binary else ()
    if len(lies + tail) > _MAX_AXES:
        raise place.refused(declared, f"a dataset has at most {_MAX_AXES} axes beside the rows")
    attributes = replace(place, unit=_time_unit(single) or place.unit).attributes(
        timezone=(single.tz or "") if pa.types.is_timestamp(single) else "",
        arrow_type="" if str(declared) == _ARROW_NAMES.get(dtype.name, dtype.name) else str(declared),
    )
    return Numbers(place.path, place.mask, attributes, dtype, decode, lies, axes, tail, plottable=not is_binary)


def _time_unit(type_: Any) -> str:
    return str(getattr(type_, "unit", "") or _DATE_UNITS.get(type_, ""))


def _bytes(declared: Any, type_: Any, place: _Place) -> Node:
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    is_binary = pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)
    if not is_text and not is_binary:
        is_empty = pa.types.is_null(type_) or pa.types.is_fixed_size_binary(type_)
        raise place.refused(declared, "it holds no values" if is_empty else "use numbers, text, lists or structs")
    padded, encoding = is_text and not place.growing, "UTF-8" if is_text else ""
    return Bytes(place.path, place.mask, place.attributes(arrow_type=str(declared)), padded, encoding)


def _is_list(type_: Any) -> bool:
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_list_view(type_)
        or isinstance(type_, pa.LargeListViewType)
    )


def _list(declared: Any, item: Any, place: _Place) -> Node:
    """A list's units are its items'; its description stays with the group."""
    items = _Place(
        f"{place.path}/{VALUES}",
        f"{place.where}.{item.name}",
        place.growing,
        f"{place.path}/{VALUES}_valid",
        field_unit(item) or place.unit,
        field_description(item),
        is_item=True,
    )
    attributes = replace(place, unit="").attributes(arrow_type=_kind(declared))
    return List(place.path, place.mask, attributes, _node(item.type, items))


def _struct(declared: Any, fields: list[Any], place: _Place) -> Node:
    if not fields:
        raise place.refused(declared, "it holds no values")
    inside = _Place(f"{place.path}/", f"{place.where}.", place.growing)
    return Struct(
        place.path, place.mask, place.attributes(arrow_type=_kind(declared)), tuple(_field_nodes(fields, inside))
    )


def _kind(type_: Any) -> str:
    """Name of a nested type without its members, which say theirs themselves."""
    return str(type_).partition("<")[0]


__all__ = ["Column", "columns_of", "write_part"]
