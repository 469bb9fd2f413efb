"""What users say of a measurement, as attributes and, where it is large, as datasets."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mulletdaq.errors import UnsupportedTypeError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import MAX_ATTRIBUTE_BYTES, text_array

with needs_extra("hdf5"):
    import numpy as np

_MAX_KEY_BYTES = 1000
_MAX_ENTRIES = 10_000
_MAX_NUMBER_BYTES = 8
_NONE = np.empty(0, "S1")  # a null dataspace would say it better, but R reads garbage there
_TEXTS = (str, datetime.datetime, datetime.date, datetime.time)


def plain_metadata(metadata: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Metadata reduced to nested dicts of text, lists of text, NumPy values and None.

    Parameters
    ----------
    metadata
        Text, numbers, bools, times, paths, bytes, None, arrays, lists of numbers or text, and dicts of these.

    Raises
    ------
    UnsupportedTypeError
        If it is no mapping, or a key or value cannot be stored; the message names it.
    """
    if not isinstance(metadata, Mapping):
        raise UnsupportedTypeError(f"metadata is a {type(metadata).__name__}; give a dict of names and values")
    if len(metadata) > _MAX_ENTRIES:
        name = where.removesuffix(".") or "metadata"
        raise UnsupportedTypeError(f"{name!r} has {len(metadata)} entries, of at most {_MAX_ENTRIES}; use arrays")
    plain: dict[str, Any] = {}
    for key, value in metadata.items():
        _check_key(where, key)
        name = f"{where}{key}"
        plain[key] = plain_metadata(value, f"{name}.") if isinstance(value, Mapping) else _plain_value(name, value)
    return plain


def write_metadata(parent: Any, metadata: Mapping[str, Any]) -> None:
    """Store what :func:`plain_metadata` made in ``parent/metadata``: dicts as subgroups, large values as datasets."""
    if metadata:
        _write_group(parent.create_group("metadata"), metadata)


def read_metadata(parent: Any) -> dict[str, Any]:
    """What :func:`write_metadata` stored; text as ``str``, numbers as NumPy values, and None."""
    return _read_group(parent["metadata"]) if "metadata" in parent else {}


def _check_key(where: str, key: Any) -> None:
    if not isinstance(key, str) or not key.strip(".") or "/" in key or "\0" in key:
        raise UnsupportedTypeError(f"metadata key {where}{key!r} is no HDF5 name; use text without '/' and NUL")
    if len(_text(f"{where}{key}", key).encode()) > _MAX_KEY_BYTES:
        raise UnsupportedTypeError(f"metadata key '{where}{key[:20]}…' is over {_MAX_KEY_BYTES} bytes; shorten it")


def _plain_value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (bytes, bytearray)):
        return np.frombuffer(bytes(value), np.uint8)
    if isinstance(value, _TEXTS):
        return _text(name, value)
    if isinstance(value, (list, tuple)):
        value = _of_one_kind(name, value)
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(0, object)
    if array.dtype.kind == "M":
        array = np.datetime_as_string(array)
    if array.dtype.kind == "U" and array.size:
        texts = array.tolist()
        return _text(name, texts) if isinstance(texts, str) else _texts(name, texts)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "U":
        return np.empty(array.shape)
    if isinstance(value, int) and array.dtype.kind == "O":
        raise UnsupportedTypeError(f"metadata {name!r}: {value} has more than 64 bits; give it as text")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > _MAX_NUMBER_BYTES:
        raise UnsupportedTypeError(
            f"metadata {name!r}: {type(value).__name__} cannot be stored; use text, numbers, bools, times, None, "
            "arrays, lists of one kind, or dicts"
        )
    return array


def _of_one_kind(name: str, values: Any) -> Any:
    """A list, nested or not, with text for times; NumPy would make text of numbers beside text."""
    kinds = {isinstance(entry, _TEXTS) for entry in _flattened(values)}
    if len(kinds) > 1:
        raise UnsupportedTypeError(f"metadata {name!r}: a list of text and other things cannot be stored; use a dict")
    return _texts(name, values) if True in kinds else values


def _flattened(values: Any) -> Iterator[Any]:
    for entry in values:
        if isinstance(entry, (list, tuple)):
            yield from _flattened(entry)
        else:
            yield entry


def _texts(name: str, values: Any) -> list[Any]:
    return [_texts(name, entry) if isinstance(entry, (list, tuple)) else _text(name, entry) for entry in values]


def _text(name: str, value: Any) -> str:
    text = str(value) if isinstance(value, str) else str(value.isoformat())
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedTypeError(f"metadata {name!a}: {text[:20]!a} is no valid Unicode; give it as bytes") from None
    if "\0" in text:
        raise UnsupportedTypeError(f"metadata {name!r}: text with a NUL cannot be stored; give it as bytes")
    return text


def _write_group(group: Any, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            _write_group(group.create_group(key), value)
            continue
        data = text_array(value) if isinstance(value, (str, list)) else _NONE if value is None else np.asarray(value)
        if data.nbytes > MAX_ATTRIBUTE_BYTES:
            group.create_dataset(key, data=data, dtype=data.dtype)
        else:
            group.attrs.create(key, data, dtype=data.dtype)


def _read_group(group: Any) -> dict[str, Any]:
    found: dict[str, Any] = {key: _read_value(value) for key, value in group.attrs.items()}
    for key, member in group.items():
        found[key] = _read_group(member) if hasattr(member, "keys") else _read_value(member[()])
    return found


def _read_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        return np.char.decode(value, "utf-8", "replace").tolist() if value.shape != _NONE.shape else None
    return value


__all__ = ["plain_metadata", "read_metadata", "write_metadata"]
