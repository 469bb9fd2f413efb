"""Attributes as old readers take them: fixed-length strings, plain numbers, at most 60 kB."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mulletdaq.extras import needs_extra

with needs_extra("hdf5"):
    import numpy as np

MAX_ATTRIBUTE_BYTES = 60_000
"""HDF5 1.8 refuses or drops attributes over 64 kB; what is larger becomes a dataset."""


def text_array(value: str | list[Any]) -> Any:
    """Text as a fixed-length HDF5 string: ASCII where it is, else UTF-8; of a list, nested or not, in its shape."""
    texts = np.array(value, dtype=object)
    encoded = [entry.encode("utf-8") for entry in texts.reshape(-1)]
    longest = max((len(entry) for entry in encoded), default=0)
    charset = "ascii" if all(entry.isascii() for entry in encoded) else "utf-8"
    # what h5py.string_dtype() makes, without h5py: the hardware loop's process checks schemas and never loads it
    dtype = np.dtype(f"S{max(longest, 1)}", metadata={"h5py_encoding": charset})
    return np.array(encoded, dtype=dtype).reshape(texts.shape)


def set_attribute(target: Any, name: str, value: Any) -> None:
    """Set one attribute in place; text becomes a fixed-length string, numbers keep their type."""
    data = text_array(value) if isinstance(value, (str, list)) else np.asarray(value)
    import h5py  # whoever has a target has it loaded already

    # Not through `target.attrs`, which costs twice as much: two dozen attributes are set in each commit.
    encoded = name.encode()
    kind = _kind(data.dtype.str, (data.dtype.metadata or {}).get("h5py_encoding"))
    if not h5py.h5a.exists(target.id, encoded):
        h5py.h5a.create(target.id, encoded, kind, _space(data.shape)).write(data, kind)
        return
    attribute = h5py.h5a.open(target.id, encoded)
    if attribute.get_type().equal(kind) and attribute.shape == data.shape:
        attribute.write(data, kind)
    else:
        target.attrs.create(name, data, dtype=data.dtype)


@lru_cache(maxsize=256)
def _kind(dtype: str, charset: str | None) -> Any:
    """The HDF5 type of numbers, or of text in a charset."""
    import h5py

    metadata = {} if charset is None else {"h5py_encoding": charset}
    return h5py.h5t.py_create(np.dtype(dtype, metadata=metadata), logical=True)


@lru_cache(maxsize=64)
def _space(shape: tuple[int, ...]) -> Any:
    """The HDF5 dataspace of a shape."""
    import h5py

    return h5py.h5s.create_simple(shape)


def set_attributes(target: Any, **values: Any) -> None:
    """Set several attributes, in the order given."""
    for name, value in values.items():
        set_attribute(target, name, value)


def get_text(target: Any, name: str, default: str = "") -> str:
    """A text attribute as ``str``, however it was stored."""
    value = target.attrs.get(name, default)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def get_integer(target: Any, name: str, default: int = 0) -> int:
    """An integer attribute as ``int``."""
    return int(target.attrs.get(name, default))


__all__ = [
    "MAX_ATTRIBUTE_BYTES",
    "get_integer",
    "get_text",
    "set_attribute",
    "set_attributes",
    "text_array",
]
