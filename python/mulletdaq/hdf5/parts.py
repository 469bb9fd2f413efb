"""What the columns of a file are made of: each layout of the file stores the same parts.

A node stands for one field or list item. It is made once a schema, by :func:`mulletdaq.hdf5.columns.columns_of`, and
turns the Arrow arrays of any number of batches into :class:`Part` after :class:`Part`. Between the two lie
:class:`Entries`, plain arrays, which can also be read back from a file and stored in another layout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.decoding import (
    Codec,
    join,
    join_valid,
    lengths_and_bytes,
    list_items,
    pad,
    plain,
    single_values,
    struct_members,
    validity,
)

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa

VALUES = "values"
OFFSETS = "offsets"
"""The two members of a list's group."""

MAX_PADDED_BYTES = 128 << 20
"""Texts that padded to one width would take more than this are stored end to end instead.

More than a batch of equally long texts has, so that only a few among many shorter ones exceed it.
"""


@dataclass(frozen=True)
class Part:
    """One dataset or group that the rows of a column become.

    Attributes
    ----------
    path
        Below the group of the batch or stream; a group comes before what is in it.
    kind
        ``"values"``: an entry for each row, or for each item of a list.
        ``"mask"``: beside values or a group: uint8, 1 where there is a value. A mask that is not there says that
        nothing is missing.
        ``"offsets"``: int64, one more than there are entries: entry k is ``offsets[k]`` to ``offsets[k + 1]`` of all
        the parts within it, and the last offset is their number of entries.
        ``"group"``: no values; its attributes belong to a group that holds the parts below its path.
    within
        Path of the offsets that count the entries; empty where there is one a row.
    values
        Array of shape (entries, ...), or (entries + 1,) for offsets; None for a group.
    attributes
        Text attributes of the dataset or group.

    Notes
    -----
    A layout of one group a batch writes every part as it is. One that lets datasets grow appends values and masks (a
    mask that comes late is 1 up to there, one that stays away is 1 from there), and of offsets all but the first, each
    raised by the last one stored. From batch to batch a part keeps its dtype and the shape of its entries; only texts
    differ in width, and those of columns made for growing datasets have none.
    """

    path: str
    kind: Literal["values", "mask", "offsets", "group"]
    within: str
    values: Any
    attributes: dict[str, str]


@dataclass(frozen=True)
class Entries:
    """Entries of one node as plain arrays, however they are stored.

    Attributes
    ----------
    count
        How many there are.
    valid
        Which of them have a value, in the shape of the mask; None when all have, and for floats.
    values
        Of numbers shape (count, ...); of text and binary all their bytes, uint8; None for lists and structs.
    offsets
        Of whatever is ragged int64, (count + 1,), from 0: where in ``values``, or among the items, each begins.
    members
        A list's items, a struct's fields.
    """

    count: int
    valid: Any
    values: Any = None
    offsets: Any = None
    members: tuple[Entries, ...] = ()


@dataclass(frozen=True)
class Node(ABC):
    """One field or list item.

    Attributes
    ----------
    path
        Of its dataset or group.
    mask
        Path of its mask, which is there only where something is missing.
    attributes
        Of its dataset or group, without ``valid``.
    """

    path: str
    mask: str
    attributes: dict[str, str]

    def parts(self, pieces: Sequence[Any], within: str = "") -> Iterator[Part]:
        """What the Arrow arrays of this node, one after the other, become."""
        return self.parts_of(self.entries(pieces), within)

    @abstractmethod
    def entries(self, pieces: Sequence[Any]) -> Entries:
        """The Arrow arrays of this node, one after the other, as plain arrays."""

    @abstractmethod
    def parts_of(self, entries: Entries, within: str = "") -> Iterator[Part]:
        """What entries become."""

    def _attributes(self, valid: Any) -> dict[str, str]:
        return self.attributes if valid is None else self.attributes | {"valid": self.mask.rpartition("/")[2]}

    def _mask_parts(self, valid: Any, within: str) -> Iterator[Part]:
        if valid is not None:
            name = self.path.rpartition("/")[2]
            text = f"1 where {name} has a value, 0 where it is missing"
            yield Part(self.mask, "mask", within, valid.astype(np.uint8), {"description": text})


@dataclass(frozen=True)
class Numbers(Node):
    """Numbers of one width, alone or in waveforms and images: one dataset.

    Attributes
    ----------
    dtype
        NumPy dtype of the dataset.
    codec
        What decodes single values.
    lies
        Shape of a row in memory.
    axes
        Which of the axes of ``lies`` is stored first, second, …
    tail
        Shape of a single value: (n,) for binary of n bytes, else ().
    plottable
        Whether the numbers are a quantity.
    """

    dtype: Any
    codec: Codec
    lies: tuple[int, ...]
    axes: tuple[int, ...]
    tail: tuple[int, ...]
    plottable: bool

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of a row of the mask."""
        return tuple(self.lies[axis] for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row of the values."""
        return self.grid + self.tail

    def entries(self, pieces: Sequence[Any]) -> Entries:
        """Values of shape (entries, *shape); missing floats are NaN, anything else missing is 0 and not valid."""
        singles = [single_values(piece) for piece in pieces]
        values = join([self.codec(array) for array, _ in singles], self.dtype)
        valid = join_valid([(len(array), flags) for array, flags in singles])
        if valid is not None:
            missing = self.dtype.type(np.nan if self.dtype.kind == "f" else 0)
            values = np.where(valid.reshape(-1, *(1 for _ in self.tail)), values, missing)
        if self.dtype.kind == "f":
            valid = None
        rows = sum(len(piece) for piece in pieces)
        return Entries(rows, None if valid is None else self._in_rows(valid, rows), self._in_rows(values, rows))

    def parts_of(self, entries: Entries, within: str = "") -> Iterator[Part]:
        """One dataset, and its mask where one is needed."""
        yield Part(self.path, "values", within, entries.values, self._attributes(entries.valid))
        yield from self._mask_parts(entries.valid, within)

    def _in_rows(self, singles: Any, rows: int) -> Any:
        tail = singles.shape[1:]
        values = singles.reshape(rows, *self.lies, *tail)
        first = 1 + len(self.axes)
        order = (0, *(axis + 1 for axis in self.axes), *range(first, first + len(tail)))
        return np.ascontiguousarray(values.transpose(order))


@dataclass(frozen=True)
class Ragged(Node):
    """Entries of any length: a group with what they hold, end to end, and the offsets at which each begins."""

    @property
    def offsets(self) -> str:
        """Path of the offsets."""
        return f"{self.path}/{OFFSETS}"

    def _offset_parts(self, entries: Entries, within: str) -> Iterator[Part]:
        """The group, and in it the offsets."""
        yield Part(self.path, "group", within, None, self._attributes(entries.valid))
        text = f"row k, from 0, is {VALUES}[{OFFSETS}[k] : {OFFSETS}[k + 1]]"
        yield Part(self.offsets, "offsets", within, entries.offsets, {"description": text})


@dataclass(frozen=True)
class Bytes(Ragged):
    """Text or binary values of any length.

    Attributes
    ----------
    padded
        Whether a batch may store them as one dataset of equally long texts.
    encoding
        ``"UTF-8"`` for text, empty for binary.
    """

    padded: bool
    encoding: str

    def entries(self, pieces: Sequence[Any]) -> Entries:
        """All bytes end to end; what is missing has none."""
        arrays = [plain(piece).cast(pa.large_binary()) for piece in pieces]
        valid = join_valid([(len(array), validity(array)) for array in arrays])
        lengths, content = lengths_and_bytes([array.fill_null(b"") for array in arrays])
        return Entries(len(lengths), valid, content, offsets_of(lengths))

    def parts_of(self, entries: Entries, within: str = "") -> Iterator[Part]:
        """One dataset of fixed-length strings where that is possible, else a list of bytes.

        Fixed-length strings end with the last byte that is not 0, and many readers stop at the first one that is: a
        text with a 0 in it is not padded either.
        """
        content, lengths = entries.values, np.diff(entries.offsets)
        width = max(int(lengths.max(initial=0)), 1)
        if self.padded and width * len(lengths) <= MAX_PADDED_BYTES and content.all():
            attributes = self._attributes(entries.valid)
            yield Part(self.path, "values", within, pad(lengths, content, width), attributes)
        else:
            yield from self._offset_parts(entries, within)
            attributes = {"offsets": OFFSETS} | ({"encoding": self.encoding} if self.encoding else {})
            yield Part(f"{self.path}/{VALUES}", "values", self.offsets, content, attributes)
        yield from self._mask_parts(entries.valid, within)


@dataclass(frozen=True)
class List(Ragged):
    """Lists of any length: a group of offsets and values, the items' node."""

    item: Node

    def entries(self, pieces: Sequence[Any]) -> Entries:
        """Offsets and items; a missing list is an empty one, and not valid."""
        arrays = [plain(piece) for piece in pieces]
        valid = join_valid([(len(array), validity(array)) for array in arrays])
        found = [list_items(array) for array in arrays]
        lengths = join([lengths for lengths, _ in found], np.int64)
        items = self.item.entries([piece for _, items in found for piece in items])
        return Entries(len(lengths), valid, offsets=offsets_of(lengths), members=(items,))

    def parts_of(self, entries: Entries, within: str = "") -> Iterator[Part]:
        """The group, its offsets and its items."""
        yield from self._offset_parts(entries, within)
        yield from self.item.parts_of(entries.members[0], self.offsets)
        yield from self._mask_parts(entries.valid, within)


@dataclass(frozen=True)
class Struct(Node):
    """Fields side by side: a group with a node each."""

    fields: tuple[Node, ...]

    def entries(self, pieces: Sequence[Any]) -> Entries:
        """The fields; where a struct is missing, so are all its fields."""
        arrays = [plain(piece) for piece in pieces]
        valid = join_valid([(len(array), validity(array)) for array in arrays])
        members = [struct_members(array) for array in arrays]
        fields = [field.entries([member[index] for member in members]) for index, field in enumerate(self.fields)]
        return Entries(sum(map(len, arrays)), valid, members=tuple(fields))

    def parts_of(self, entries: Entries, within: str = "") -> Iterator[Part]:
        """The group and its fields."""
        yield Part(self.path, "group", within, None, self._attributes(entries.valid))
        for field, members in zip(self.fields, entries.members, strict=True):
            yield from field.parts_of(members, within)
        yield from self._mask_parts(entries.valid, within)


def offsets_of(lengths: Any) -> Any:
    """Where entries of these lengths begin and the last one ends: int64, (entries + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


__all__ = [
    "MAX_PADDED_BYTES",
    "OFFSETS",
    "VALUES",
    "Bytes",
    "Entries",
    "List",
    "Node",
    "Numbers",
    "Part",
    "Ragged",
    "Struct",
    "offsets_of",
]
