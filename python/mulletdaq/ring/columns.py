"""From what users pass as values to the contiguous bytes of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mulletdaq.extras import needs_extra

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_FORMAT_DTYPES = {
    "e": "float16", "f": "float32", "g": "float64",
    "c": "int8", "s": "int16", "i": "int32", "l": "int64",
    "C": "uint8", "S": "uint16", "I": "uint32", "L": "uint64",
    "b": "bool",
}  # fmt: skip


def row_bytes(channel: str, format_: str, shape: list[int], value: Any) -> npt.NDArray[np.uint8]:
    """One row of a waveform or image channel as bytes; called for what is not already exactly that.

    Raises
    ------
    TypeError
        If the dtype cannot be cast without changing values.
    ValueError
        If the shape differs.
    """
    if format_ not in _FORMAT_DTYPES:
        raise TypeError(f"channel {channel!r} cannot be written row by row; use write_arrow_batch()")
    with needs_extra("arrow"):
        import numpy as np

    return _packed(_as_array(channel, value, np.dtype(_FORMAT_DTYPES[format_]), tuple(shape)))


@dataclass(frozen=True)
class BlockColumn:
    """What a channel's values in a block must be: found once, for looking at an Arrow type takes longer than a row.

    Attributes
    ----------
    shape
        Of one row's value.
    unit
        Of a time, as NumPy names it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    unit: str

    def column_bytes(self, values: Any) -> tuple[int, npt.NDArray[Any]]:
        """A block's column as contiguous bytes, and its number of rows.

        Raises
        ------
        TypeError
            If the dtype cannot be cast without changing values.
        ValueError
            If the shape differs from ``(rows, *channel shape)``.
        """
        array = self._as_it_is(values)
        if array is None:
            array = _as_array(self.name, values, self.dtype, (None, *self.shape), self.unit)
        return array.shape[0], _packed(array)

    def _as_it_is(self, values: Any) -> npt.NDArray[Any] | None:
        """What is exactly right already, as almost all blocks are."""
        import numpy as np

        if type(values) is np.ndarray and values.dtype == self.dtype and values.flags.c_contiguous:
            fits = values.ndim == len(self.shape) + 1 and values.shape[1:] == self.shape
            return values if fits else None
        return None


def block_column(field: pa.Field) -> BlockColumn:
    """How a channel takes blocks.

    Raises
    ------
    TypeError
        If it takes none.
    """
    import numpy as np
    import pyarrow as pa

    type_ = field.type
    shape: tuple[int, ...] = ()
    if isinstance(type_, pa.FixedShapeTensorType):
        type_, shape = type_.value_type, tuple(type_.shape)
    elif pa.types.is_fixed_size_list(type_):
        type_, shape = type_.value_type, (type_.list_size,)
    unit = getattr(type_, "unit", "ns")
    if pa.types.is_temporal(type_):
        type_ = pa.int64() if type_.bit_width == 64 else pa.int32()
    if not (pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)):
        raise TypeError(f"channel {field.name!r} of type {field.type} takes no blocks; use write_arrow_batch()")
    dtype = "bool" if pa.types.is_boolean(type_) else str(type_.to_pandas_dtype().__name__)
    return BlockColumn(field.name, np.dtype(dtype), shape, unit)


def _packed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import numpy as np

    return np.packbits(array, bitorder="little") if array.dtype == np.bool_ else array


def _as_array(
    channel: str, values: Any, target: np.dtype[Any], shape: tuple[int | None, ...], unit: str = "ns"
) -> npt.NDArray[Any]:
    import numpy as np

    given = values if isinstance(values, np.ndarray) else np.asarray(values)
    if given.dtype.kind in "mM":
        given = _as_integers(given, unit)
    casting = _casting(channel, values, given, target)
    if not np.can_cast(given.dtype, target, casting) or (target.kind == "b" and given.dtype.kind != "b" and given.size):
        raise TypeError(f"channel {channel!r} is {target}; {given.dtype} cannot be cast to it without changing values")
    expected = tuple(extent if extent is not None else size for extent, size in zip(shape, given.shape, strict=False))
    if given.shape != expected or len(shape) != given.ndim:
        wanted = tuple("rows" if extent is None else extent for extent in shape)
        raise ValueError(f"channel {channel!r} takes shape ({', '.join(map(str, wanted))}), got {given.shape}")
    return np.ascontiguousarray(given, dtype=target)


def _casting(
    channel: str, values: Any, given: npt.NDArray[Any], target: np.dtype[Any]
) -> Literal["safe", "same_kind", "unsafe"]:
    """Arrays have a dtype that somebody chose; numbers in a list may become what the channel is."""
    if not hasattr(values, "dtype") and not given.size:
        return "unsafe"  # an empty list is of no type
    if hasattr(values, "dtype") or target.kind not in "iuf":
        return "safe"
    if given.dtype.kind in "biu" and target.kind in "iu":
        _check_range(channel, given, target)
        return "unsafe"
    return "same_kind" if target.kind == "f" and given.dtype.kind in "biuf" else "safe"


def _check_range(channel: str, given: npt.NDArray[Any], target: np.dtype[Any]) -> None:
    import numpy as np

    limits = np.iinfo(target)
    if given.size and (int(given.min()) < limits.min or int(given.max()) > limits.max):
        raise ValueError(f"channel {channel!r} is {target}; values from {given.min()} to {given.max()} do not fit")


def _as_integers(given: npt.NDArray[Any], unit: str) -> npt.NDArray[Any]:
    """datetime64 and timedelta64 as the integers they are in a unit."""
    import numpy as np

    return given.astype(np.dtype(f"{given.dtype.kind}8[{unit}]")).view(np.int64)
