"""Rows of a file as the plain arrays that any layout stores: the way back from parts to entries."""

from __future__ import annotations

from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.parts import OFFSETS, VALUES, Bytes, Entries, List, Node, Numbers, Struct, offsets_of

with needs_extra("hdf5"):
    import h5py
    import numpy as np


def read_entries(group: Any, node: Node, start: int, stop: int) -> Entries:
    """Entries ``start`` to ``stop`` of a node, bit for bit as they were stored.

    Parameters
    ----------
    group
        The ``h5py.Group`` of a batch, or of datasets that grew.
    node
        Of the schema with which they were stored.

    Raises
    ------
    FileFormatError
        If offsets contradict what they count.
    OSError, RuntimeError, KeyError
        What h5py raises where the file is damaged.
    """
    member = group[node.path]
    valid = _read_valid(group, node, member, start, stop)
    if isinstance(node, Numbers):
        return Entries(stop - start, valid, member[start:stop])
    if isinstance(node, Struct):
        fields = tuple(read_entries(group, field, start, stop) for field in node.fields)
        return Entries(stop - start, valid, members=fields)
    if isinstance(member, h5py.Dataset):
        offsets, content = _unpadded(member[start:stop])
        return Entries(stop - start, valid, content, offsets)
    places = member[OFFSETS][start : stop + 1].astype(np.int64)
    first, last = _checked_ends(places, stop - start, member)
    if isinstance(node, List):
        items = read_entries(group, node.item, first, last)
        return Entries(stop - start, valid, offsets=places - first, members=(items,))
    assert isinstance(node, Bytes)
    content = member[VALUES][first:last]
    if len(content) != last - first:
        raise FileFormatError(f"{member.name} has fewer bytes than its offsets say; mullet verify says more")
    return Entries(stop - start, valid, content, places - first)


def _read_valid(group: Any, node: Node, member: Any, start: int, stop: int) -> Any:
    if not get_text(member, "valid"):
        return None
    valid = group[node.mask][start:stop].astype(bool)
    return None if valid.all() else valid


def _unpadded(texts: Any) -> tuple[Any, Any]:
    """Offsets and bytes of fixed-length strings, without the zeros behind each."""
    width = texts.dtype.itemsize
    lengths = np.char.str_len(texts) if len(texts) else np.zeros(0, np.int64)
    grid = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), width)
    return offsets_of(lengths), grid[np.arange(width) < lengths[:, None]]


def _checked_ends(places: Any, count: int, member: Any) -> tuple[int, int]:
    """First and last offset; they are memory addresses to Arrow, so nothing is taken on trust."""
    if len(places) != count + 1 or places[0] < 0 or (np.diff(places) < 0).any():
        raise FileFormatError(f"{member.name}/{OFFSETS} goes back or ends early; mullet verify says more")
    return int(places[0]), int(places[-1])


__all__ = ["read_entries"]
