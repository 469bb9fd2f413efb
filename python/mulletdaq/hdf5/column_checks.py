"""Whether what lies in a batch is what its columns are stored as: each problem is one line with place and reason."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.columns import Column
from mulletdaq.hdf5.parts import OFFSETS, VALUES, Bytes, List, Node, Numbers, Struct

with needs_extra("hdf5"):
    import h5py
    import numpy as np


def check_columns(batch: Any, rows: int, columns: list[Column]) -> Iterator[str]:
    """Problems of a batch whose run has these columns.

    Parameters
    ----------
    batch
        The ``h5py.Group``.
    rows
        How many each column must have.
    """
    yield from _check_fields(batch, batch, [column.node for column in columns], rows)


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


def _check_fields(batch: Any, group: Any, nodes: list[Node], entries: int) -> Iterator[str]:
    """Nodes that lie side by side in a group."""
    names = {_name(node.path) for node in nodes}
    yield from check_names(group, names, {_name(node.mask) for node in nodes})
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
    places = batch[offsets][:]
    if places[0] != 0 or np.any(places[1:] < places[:-1]):
        yield f"{batch[offsets].name}: offsets must begin with 0 and never decrease"
    elif isinstance(node, List):
        yield from _check_node(batch, node.item, int(places[-1]))
    else:
        yield from check_dataset(batch, f"{node.path}/{VALUES}", "uint8", (int(places[-1]),))


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


__all__ = ["check_columns", "check_dataset", "check_names"]
