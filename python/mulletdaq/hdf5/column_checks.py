"""Whether what lies in a batch is what its columns are stored as: each problem is one line with place and reason."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.columns import Column
from mulletdaq.hdf5.naming import RAW_DATA, RAW_LENGTHS
from mulletdaq.hdf5.parts import OFFSETS, VALUES, Bytes, List, Node, Numbers, Struct
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np


_OPAQUE_DTYPES = {RAW_DATA: "uint8", RAW_LENGTHS: "uint64", TIMESTAMP: "int64"}
_BLOCK_ROWS = 1 << 20


def check_columns(batch: Any, rows: int, columns: list[Column], others: Set[str] = frozenset()) -> Iterator[str]:
    """Problems of a batch, or of datasets that grow, whose run has these columns.

    Parameters
    ----------
    batch
        The ``h5py.Group``.
    rows
        How many each column must have.
    others
        Names in the group that are no columns and belong there.
    """
    yield from _check_fields(batch, batch, [column.node for column in columns], rows, others)


def check_messages(batch: Any, rows: int, others: Set[str] = frozenset()) -> Iterator[str]:
    """The same for opaque messages."""
    shapes = dict.fromkeys(_OPAQUE_DTYPES, (rows,))
    if RAW_LENGTHS in batch:
        lengths = batch[RAW_LENGTHS]
        starts = range(0, len(lengths), _BLOCK_ROWS)
        shapes[RAW_DATA] = (sum(int(lengths[start : start + _BLOCK_ROWS].sum()) for start in starts),)
    yield from check_names(batch, set(_OPAQUE_DTYPES), others)
    for name in batch.keys() & _OPAQUE_DTYPES.keys():
        yield from check_dataset(batch, name, _OPAQUE_DTYPES[name], shapes[name])


def check_names(group: Any, expected: Set[str], allowed: Set[str] = frozenset()) -> Iterator[str]:
    """What is missing in a group, and what should not be there."""
    for name in sorted(expected - group.keys()):
        yield f"{group.name}: column {name} is missing"
    for name in sorted(group.keys() - expected - allowed):
        yield f"{group.name}/{name}: the run's schema has no such column"


def check_dataset(batch: Any, path: str, dtype: str, shape: tuple[int, ...]) -> Iterator[str]:
    """Problems of one dataset's type and shape; ``dtype`` is a NumPy name, or ``"text"``."""
    dataset = batch[path]
    if not isinstance(dataset, h5py.Dataset):
        yield f"{dataset.name}: is a group, the run's schema says {dtype}"
        return
    found = "text" if dataset.dtype.kind == "S" else dataset.dtype.name
    if found != dtype:
        yield f"{dataset.name}: type is {dataset.dtype}, the run's schema says {dtype}"
    if dataset.shape != shape:
        yield f"{dataset.name}: shape is {dataset.shape}, expected {shape}"


def _check_fields(
    batch: Any, group: Any, nodes: list[Node], entries: int, others: Set[str] = frozenset()
) -> Iterator[str]:
    """Nodes that lie side by side in a group."""
    names = {_name(node.path) for node in nodes}
    yield from check_names(group, names, {_name(node.mask) for node in nodes} | others)
    for node in nodes:
        if _name(node.path) in group:
            yield from _check_node(batch, node, entries)


def _check_node(batch: Any, node: Node, entries: int) -> Iterator[str]:
    grid: tuple[int, ...] = ()
    if isinstance(node, Numbers):
        grid = node.grid
        yield from check_dataset(batch, node.path, node.dtype.name, (entries, *node.shape))
    elif isinstance(node, Bytes) and node.padded and isinstance(batch[node.path], h5py.Dataset):
        yield from check_dataset(batch, node.path, "text", (entries,))
    elif not isinstance(batch[node.path], h5py.Group):
        yield f"{batch[node.path].name}: is a dataset, the run's schema says {_kind(node)}"
    elif isinstance(node, Struct):
        yield from _check_fields(batch, batch[node.path], list(node.fields), entries)
    else:
        yield from _check_ragged(batch, node, entries)
    yield from _check_mask(batch, node, (entries, *grid))


def _check_ragged(batch: Any, node: Node, entries: int) -> Iterator[str]:
    group, offsets = batch[node.path], f"{node.path}/{OFFSETS}"
    masks = {_name(node.item.mask)} if isinstance(node, List) else set()
    missing = list(check_names(group, {OFFSETS, VALUES}, masks))
    yield from missing
    if not {OFFSETS, VALUES} <= group.keys():
        return
    wrong = list(check_dataset(batch, offsets, "int64", (entries + 1,)))
    yield from wrong
    if wrong:
        return
    if not _increasing(batch[offsets]):
        yield f"{batch[offsets].name}: offsets must begin with 0 and never decrease"
        return
    count = int(batch[offsets][-1])
    if isinstance(node, List):
        yield from _check_node(batch, node.item, count)
    else:
        yield from check_dataset(batch, f"{node.path}/{VALUES}", "uint8", (count,))


def _increasing(offsets: Any) -> bool:
    last = 0
    for start in range(0, len(offsets), _BLOCK_ROWS):
        places = np.concatenate([[last], offsets[start : start + _BLOCK_ROWS]])
        if (start == 0 and places[1] != 0) or np.any(places[1:] < places[:-1]):
            return False
        last = int(places[-1])
    return True


def _check_mask(batch: Any, node: Node, shape: tuple[int, ...]) -> Iterator[str]:
    named = get_text(batch[node.path], "valid")
    there = _name(node.mask) if node.mask in batch else ""
    if named != there:
        yield f"{batch[node.path].name}: attribute valid is {named!r}, but beside it lies {there or 'no mask'}"
    if node.mask in batch:
        yield from check_dataset(batch, node.mask, "uint8", shape)


def _kind(node: Node) -> str:
    return "a struct" if isinstance(node, Struct) else "a list"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


__all__ = ["check_columns", "check_dataset", "check_messages", "check_names"]
