"""Columns whose datasets grow with each batch: parts appended, whatever they are parts of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.appender import ChunkedAppender, append_together
from mulletdaq.hdf5.attributes import set_attributes
from mulletdaq.hdf5.chunk_sizes import ChunkSizes
from mulletdaq.hdf5.filters import make_growing
from mulletdaq.hdf5.index_room import IndexRoom, node_bytes, nodes_for
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.parts import List, Node, Part, Ragged, Struct

with needs_extra("hdf5"):
    import h5py
    import numpy as np


class GrowingColumns:
    """The datasets of one group, one entry a row of each column or as many as its lists have.

    Parameters
    ----------
    group
        The ``h5py.Group``; what it has is gone on with.
    rows
        How many rows it has, by the runs that wrote them.
    nodes
        Of the columns.
    sizes
        How many rows a chunk has.
    filters
        How datasets that are not there yet are to be stored.
    entries
        How many entries there are of parts within something that has no node.

    Raises
    ------
    FileFormatError
        If a dataset has another number of entries than it should.
    """

    def __init__(
        self,
        group: Any,
        rows: int,
        nodes: Sequence[Node],
        sizes: ChunkSizes,
        filters: Filters,
        entries: Mapping[str, int] | None = None,
    ) -> None:
        self._group, self._sizes, self._filters = group, sizes, filters
        self._entries = {"": rows, **(entries or {})}
        self._masks: dict[str, str] = {}
        self._owed: dict[str, int] = {}  # ones that a mask which came late is to begin with
        self._appenders: dict[str, ChunkedAppender] = {}
        self._texts: dict[str, Mapping[str, str]] = {}
        for node, within in _walk(nodes):
            if isinstance(node, Ragged) and node.offsets in group:
                self._entries[node.offsets] = int(group[node.offsets][-1])
            if node.mask in group:
                self._masks[node.mask] = within

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._entries[""]

    def make(self, parts: Sequence[Part]) -> None:
        """Make what is missing for parts, and describe it: object headers then lie side by side."""
        for part in parts:
            known = self._texts.get(part.path)
            if known is None or not part.attributes.items() <= known.items():
                target = self._group[part.path] if part.path in self._group else self._make(part)
                set_attributes(target, **part.attributes)
                self._texts[part.path] = {**(known or {}), **part.attributes}

    def append(self, parts: Sequence[Part], rows: int) -> None:
        """Append what ``rows`` rows became.

        Raises
        ------
        OSError, RuntimeError
            Whatever HDF5 raises; all of this is of no use then, and made anew when the file is opened again.
        """
        self.make(parts)
        added = {part.within: len(part.values) for part in parts if part.kind == "values"}
        added |= {"": rows} | {part.path: int(part.values[-1]) for part in parts if part.kind == "offsets"}
        there = {part.path for part in parts}
        appends = [(self._appender(part), self._raised(part)) for part in parts if part.kind != "group"]
        appends += [self._ones(path, added[within]) for path, within in self._masks.items() if path not in there]
        _append_with_room(self._group.file, appends)
        for path, count in added.items():
            self._entries[path] = self._entries.get(path, 0) + count

    def _make(self, part: Part) -> Any:
        if part.kind == "group":
            return self._group.create_group(part.path)
        is_mask = part.kind == "mask"
        filters = replace(self._filters, chunk_rows=self._sizes.rows_for(part))
        dataset = make_growing(
            self._group, part.path, part.values.dtype, part.values.shape[1:], filters, fill=1 if is_mask else None
        )
        if is_mask:
            before, step = self._entries.get(part.within, 0), dataset.chunks[0]
            dataset.resize(before // step * step, axis=0)  # whole chunks that are never written read as ones
            self._owed[part.path] = before % step
            self._masks[part.path] = part.within
        return dataset

    def _appender(self, part: Part) -> ChunkedAppender:
        appender = self._appenders.get(part.path)
        if appender is None:
            dataset = self._group[part.path]
            if part.kind == "offsets":
                expected = self._entries.get(part.within, 0) + 1 if part.path in self._entries else 0
            else:
                expected = self._entries.get(part.within, 0) - self._owed.get(part.path, 0)
            appender = self._appenders[part.path] = self._bound(dataset, expected)
        return appender

    def _bound(self, dataset: Any, expected: int) -> ChunkedAppender:
        if not isinstance(dataset, h5py.Dataset) or len(dataset) != expected:
            found = f"{len(dataset)} rows" if isinstance(dataset, h5py.Dataset) else "become a group"
            raise FileFormatError(f"{dataset.name} has {found}, its runs say {expected}; write to another file")
        return ChunkedAppender(dataset, bare=True)

    def _raised(self, part: Part) -> Any:
        """Values as they are to be stored: offsets begin where the ones before end, a late mask before its part."""
        if owed := self._owed.pop(part.path, 0):
            return np.concatenate([np.ones((owed, *part.values.shape[1:]), part.values.dtype), part.values])
        if part.kind != "offsets" or part.path not in self._entries:
            return part.values
        return part.values[1:] + self._entries[part.path]

    def _ones(self, path: str, count: int) -> tuple[ChunkedAppender, Any]:
        """For a mask of which this batch has none."""
        if path not in self._appenders:
            self._appenders[path] = self._bound(self._group[path], self._entries.get(self._masks[path], 0))
        dataset = self._group[path]
        return self._appenders[path], np.ones((count, *dataset.shape[1:]), dataset.dtype)


def _walk(nodes: Iterable[Node], within: str = "") -> Iterator[tuple[Node, str]]:
    """Every node with the path of the offsets that count its entries."""
    for node in nodes:
        yield node, within
        if isinstance(node, Struct):
            yield from _walk(node.fields, within)
        elif isinstance(node, List):
            yield from _walk([node.item], node.offsets)


def _append_with_room(file: Any, appends: list[tuple[ChunkedAppender, Any]]) -> None:
    """Append together; where indices need new nodes, those of all datasets but the first side by side."""
    wanted = [_index_bytes(appender, len(values)) for appender, values in appends]
    if not any(wanted):
        append_together(appends)
        return
    order = sorted(range(len(appends)), key=lambda index: not wanted[index])
    room = IndexRoom(file, sum(wanted) - wanted[order[0]])
    append_together([appends[order[0]]])
    room.give()
    append_together([appends[index] for index in order[1:]])


def _index_bytes(appender: ChunkedAppender, added: int) -> int:
    before, after = (-(-rows // appender.chunk_rows) for rows in (appender.rows, appender.rows + added))
    return nodes_for(before, after) * node_bytes(appender.axes)


__all__ = ["GrowingColumns"]
