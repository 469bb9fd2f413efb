"""Rows of a group as NumPy arrays, whichever layout wrote them: a batch's group, or one of datasets that grew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text
from mulletdaq.hdf5.columns import Column
from mulletdaq.hdf5.ledger import Run
from mulletdaq.hdf5.naming import RAW_DATA, RAW_LENGTHS
from mulletdaq.hdf5.parts import OFFSETS, VALUES, Bytes, List, Node, Numbers, Struct
from mulletdaq.schema import TIMESTAMP

with needs_extra("hdf5"):
    import h5py
    import numpy as np

_SUM_ROWS = 1 << 20
_WINDOW_ROWS = 1 << 16


@dataclass(frozen=True)
class ChannelFacts:
    """One channel as it is read.

    Attributes
    ----------
    name
        The column's name; of a field of a struct its path, as ``position/x``.
    unit, description
        Empty where there is none.
    dtype
        NumPy dtype of the arrays that are read; ``object`` for text, binary and lists.
    shape
        Shape of one row.
    arrow_type
        The Arrow type where the dtype alone does not tell it, else empty.
    """

    name: str
    unit: str
    description: str
    dtype: Any
    shape: tuple[int, ...]
    arrow_type: str


class ColumnReader:
    """Reads rows of the columns that a run's schema has.

    Parameters
    ----------
    columns
        As :func:`~mulletdaq.hdf5.columns.columns_of` gives them.
    names
        Which channels to read; all by default.
    """

    def __init__(self, columns: Sequence[Column], names: Sequence[str] | None = None) -> None:
        leaves = [leaf for column in columns for leaf in _leaves(column.node)]
        self._leaves = [leaf for leaf in leaves if names is None or leaf.path in names]

    @property
    def channels(self) -> tuple[ChannelFacts, ...]:
        """What is read."""
        return tuple(_facts(leaf) for leaf in self._leaves)

    def read(self, group: Any, start: int, stop: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values and masks by channel, rows ``start`` to ``stop`` of a group; masks only where some are missing."""
        values: dict[str, Any] = {}
        valid: dict[str, Any] = {}
        for leaf in self._leaves:
            values[leaf.path], mask = _read(group, leaf, start, stop)
            if mask is not None and not mask.all():
                valid[leaf.path] = mask
        return values, valid

    def stop_within(self, group: Any, start: int, stop: int, max_bytes: int) -> tuple[int, int]:
        """Where to stop so that ``max_bytes`` are read at once, or one row; and how many they are, about."""
        stop = min(stop, start + _WINDOW_ROWS)
        weights = np.zeros(stop - start)
        for leaf in self._leaves:
            weights += _row_bytes(group, leaf, start, stop)
        return _cut(weights, start, max_bytes)


class MessageReader:
    """Reads the messages of an opaque run: ``timestamp``, int64, and ``raw_data``, an object array of bytes."""

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._names = names
        self._place = ("", 0, 0)  # of which group, which row, the byte at which it begins

    channels = (
        ChannelFacts(TIMESTAMP, "ns", "", np.dtype(np.int64), (), ""),
        ChannelFacts(RAW_DATA, "", "", np.dtype(object), (), "binary"),
    )

    def read(self, group: Any, start: int, stop: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """As :meth:`ColumnReader.read`."""
        ends = self._byte_of(group, start) + np.cumsum([0, *group[RAW_LENGTHS][start:stop].tolist()])
        content = group[RAW_DATA][ends[0] : ends[-1]].tobytes()
        messages = _objects([content[first - ends[0] : last - ends[0]] for first, last in pairwise(ends)])
        self._place = (group.name, stop, int(ends[-1]))
        values = {TIMESTAMP: group[TIMESTAMP][start:stop], RAW_DATA: messages}
        return {name: values[name] for name in values if self._names is None or name in self._names}, {}

    def stop_within(self, group: Any, start: int, stop: int, max_bytes: int) -> tuple[int, int]:
        """As :meth:`ColumnReader.stop_within`."""
        stop = min(stop, start + _WINDOW_ROWS)
        return _cut(group[RAW_LENGTHS][start:stop].astype(np.float64), start, max_bytes)

    def _byte_of(self, group: Any, row: int) -> int:
        name, known_row, byte = self._place
        if name != group.name or known_row > row:
            known_row = byte = 0
        for first in range(known_row, row, _SUM_ROWS):
            byte += int(group[RAW_LENGTHS][first : min(row, first + _SUM_ROWS)].sum())
        return byte


@dataclass(frozen=True)
class Stretch:
    """Rows of one run that follow one another without a gap, and lie one after the other in one group.

    Attributes
    ----------
    run
        The run.
    first_row, rows
        Absolute index of the first of them in the run, and how many.
    group
        The ``h5py.Group`` of the columns: a batch's, or that of datasets that grew.
    start
        Index of the first of them in the group's datasets.
    """

    run: Run
    first_row: int
    rows: int
    group: Any
    start: int = 0


@dataclass(frozen=True)
class Block:
    """Rows of one run that follow one another without a gap, as arrays.

    Attributes
    ----------
    run
        Number of the run.
    first_row, rows
        Absolute index of the first of them in the run, and how many.
    columns
        For each channel an array of shape (rows, ...). Text, binary and lists are object arrays of ``str``, ``bytes``,
        and NumPy arrays; a list of anything but numbers is a Python list, a struct in it a dict.
    valid
        For each channel in which something is missing, False there: shape (rows, ...). Missing floats are NaN instead.
    """

    run: int
    first_row: int
    rows: int
    columns: Mapping[str, Any]
    valid: Mapping[str, Any]


class BlockBuilder:
    """Reads stretches, and joins what it reads to blocks of about ``max_bytes``: a batch may be small."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._run = self._next_row = -1
        self._read: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._rows = 0

    def add(self, reader: ColumnReader | MessageReader, stretch: Stretch, start: int, stop: int) -> Iterator[Block]:
        """Read rows ``start`` to ``stop`` of a stretch; blocks that are full on the way."""
        if (stretch.run.number, stretch.first_row + start) != (self._run, self._next_row):
            yield from self.finish()
        self._run = stretch.run.number
        end = stretch.start + stop
        row = stretch.start + start
        while row < end:
            until, count = reader.stop_within(stretch.group, row, end, self._room)
            values, valid = reader.read(stretch.group, row, until)
            if not values:
                return
            self._read.append((values, valid))
            self._rows += until - row
            self._next_row = stretch.first_row + until - stretch.start
            self._room -= count
            if self._room <= 0 or until < min(end, row + _WINDOW_ROWS):
                yield from self.finish()
            row = until

    def finish(self) -> Iterator[Block]:
        """What is left."""
        if self._read:
            yield Block(self._run, self._next_row - self._rows, self._rows, *_concatenated(self._read))
        self._read, self._rows, self._room = [], 0, self._max_bytes


def _concatenated(read: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(read) == 1:
        return read[0]
    first = read[0][0]
    columns = {name: np.concatenate([values[name] for values, _ in read]) for name in first}
    masked = {name: mask for _, valid in read for name, mask in valid.items()}
    masks = {
        name: np.concatenate(
            [
                valid[name] if name in valid else np.ones((len(values[name]), *like.shape[1:]), bool)
                for values, valid in read
            ]
        )
        for name, like in masked.items()
    }
    return columns, masks


def _leaves(node: Node) -> Iterator[Node]:
    """What is read as one array: all but structs, whose fields are."""
    if isinstance(node, Struct):
        for field in node.fields:
            yield from _leaves(field)
    else:
        yield node


def _facts(leaf: Node) -> ChannelFacts:
    unit_from = leaf.item if isinstance(leaf, List) else leaf
    dtype, shape = (leaf.dtype, leaf.shape) if isinstance(leaf, Numbers) else (np.dtype(object), ())
    return ChannelFacts(
        leaf.path,
        unit_from.attributes.get("units", ""),
        leaf.attributes.get("description", ""),
        dtype,
        shape,
        leaf.attributes.get("arrow_type", ""),
    )


def _read(group: Any, node: Node, start: int, stop: int) -> tuple[Any, Any]:
    """Values and mask, or None where there is no mask, of some entries of a node."""
    member = group[node.path]
    valid = group[node.mask][start:stop].astype(bool) if get_text(member, "valid") else None
    if isinstance(node, Numbers):
        return member[start:stop], valid
    if isinstance(node, Struct):
        return _objects(_dicts(group, node, start, stop)), valid
    if isinstance(member, h5py.Dataset):
        return _objects([text.decode("utf-8", "replace") for text in member[start:stop].tolist()]), valid
    offsets = member[OFFSETS][start : stop + 1].tolist()
    first = offsets[0]
    spans = [slice(begin - first, end - first) for begin, end in pairwise(offsets)]
    if isinstance(node, List):
        items, mask = _read(group, node.item, first, offsets[-1])
        return _objects([_entry(items, mask, span) for span in spans]), valid
    content = member[VALUES][first : offsets[-1]].tobytes()
    is_text = isinstance(node, Bytes) and bool(node.encoding)
    return _objects([content[span].decode("utf-8", "replace") if is_text else content[span] for span in spans]), valid


def _dicts(group: Any, node: Struct, start: int, stop: int) -> list[dict[str, Any]]:
    fields = {}
    for field in node.fields:
        values, mask = _read(group, field, start, stop)
        fields[field.path.rpartition("/")[2]] = _listed(values, mask)
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def _entry(items: Any, mask: Any, span: slice) -> Any:
    """One list: an array of numbers, masked where some are missing; of anything else a Python list with None."""
    values, valid = items[span], None if mask is None else mask[span]
    if values.dtype == object:
        return _listed(values, valid)
    return values if valid is None or valid.all() else np.ma.masked_array(values, _like(~valid, values))


def _listed(values: Any, mask: Any) -> list[Any]:
    if mask is not None and values.dtype != object:
        return np.ma.masked_array(values, _like(~mask, values)).tolist()  # type: ignore[no-any-return]
    plain = values.tolist()
    return plain if mask is None else [value if there else None for value, there in zip(plain, mask, strict=True)]


def _like(mask: Any, values: Any) -> Any:
    """The mask in the shape of the values: binary of fixed length has an axis more."""
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim)), values.shape)


def _objects(entries: list[Any]) -> Any:
    array = np.empty(len(entries), object)
    for index, entry in enumerate(entries):  # assigned together, lists of equal length would become an axis
        array[index] = entry
    return array


def _row_bytes(group: Any, node: Node, start: int, stop: int) -> Any:
    """Bytes that each of some rows takes in the file, of ragged items their average."""
    member = group[node.path]
    if isinstance(member, h5py.Dataset):
        return member.dtype.itemsize * np.prod(member.shape[1:], dtype=np.float64)
    if isinstance(node, Struct):
        return sum(_row_bytes(group, field, start, stop) for field in node.fields)
    return np.diff(member[OFFSETS][start : stop + 1]) * _item_bytes(member[VALUES]) + 8.0


def _cut(weights: Any, start: int, max_bytes: int) -> tuple[int, int]:
    ends = np.cumsum(weights)
    count = max(1, int(np.searchsorted(ends, max_bytes, side="right")))
    return start + count, int(ends[count - 1])


def _item_bytes(values: Any) -> float:
    """Average bytes of what one item of a list holds."""
    if isinstance(values, h5py.Dataset):
        return float(values.dtype.itemsize * np.prod(values.shape[1:], dtype=np.float64))
    if OFFSETS in values and VALUES in values and get_text(values[VALUES], "offsets") == OFFSETS:
        entries = max(1, len(values[OFFSETS]) - 1)
        return 8.0 + _item_bytes(values[VALUES]) * float(values[OFFSETS][-1]) / entries
    return sum(_item_bytes(member) for member in values.values())


__all__ = ["Block", "BlockBuilder", "ChannelFacts", "ColumnReader", "MessageReader", "Stretch"]
