"""The table of types in ``docs/reference/file-layout.md``: each line of it was read from a file with bare h5py.

python -m tests.hdf5.types_table    writes it anew; a test fails while it is not what this makes
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa

from mulletdaq.errors import UnsupportedTypeError
from mulletdaq.hdf5.columns import columns_of

from .arrays import FLOATS, INTEGERS, build

PAGE = Path(__file__).parents[2] / "docs/reference/file-layout.md"
BEGIN = "<!-- types: made by python -m tests.hdf5.types_table -->\n"
END = "<!-- end of types -->\n"
NUMPY_NAMES = {pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64"}
SHOWN_ATTRIBUTES = ("units", "timezone", "encoding", "valid", "offsets")


@dataclass(frozen=True)
class Case:
    """Arrow types that store the same values in the same way."""

    types: list[Any]
    values: list[Any]


CASES = [
    Case([*INTEGERS, *FLOATS], [1, 2, 3]),
    Case(INTEGERS, [1, None, 3]),
    Case(FLOATS, [1.5, None, 3.0]),
    Case([pa.bool_(), pa.bool8()], [True, None, False]),
    Case([pa.timestamp("ns", "UTC")], [1_700_000_000_000_000_000]),
    Case([pa.timestamp("us")], [1_700_000_000_000_000]),
    Case([pa.duration("ms")], [250]),
    Case([pa.date32()], [19_675]),
    Case([pa.date64()], [1_699_920_000_000]),
    Case([pa.time32("s")], [3600]),
    Case([pa.time64("us")], [3_600_000_000]),
    Case(
        [pa.decimal32(5, 2), pa.decimal64(5, 2), pa.decimal128(5, 2), pa.decimal256(5, 2)],
        [Decimal("1.25"), None],
    ),
    Case([pa.string(), pa.large_string(), pa.string_view(), pa.json_()], ["on", None, "", "über"]),
    Case([pa.string(), pa.large_string(), pa.string_view(), pa.json_()], ["a\0b", "c"]),
    Case([pa.binary(), pa.large_binary(), pa.binary_view()], [b"\1\2", None, b"", b"\3"]),
    Case([pa.binary(2)], [b"\1\2", None]),
    Case([pa.dictionary(pa.int8(), pa.string()), pa.run_end_encoded(pa.int32(), pa.string())], ["on", "on", "off"]),
    Case([pa.dictionary(pa.int8(), pa.float64()), pa.run_end_encoded(pa.int32(), pa.float64())], [1.5, 1.5, None]),
    Case([pa.fixed_shape_tensor(pa.float32(), [3])], [[1, 2, 3], [4, 5, 6]]),
    Case([pa.fixed_shape_tensor(pa.int16(), [2, 3])], [[1, 2, 3, 4, 5, 6]]),
    Case([pa.fixed_shape_tensor(pa.int16(), [2, 3], permutation=[1, 0])], [[1, 2, 3, 4, 5, 6]]),
    Case([pa.list_(pa.int16(), 2)], [[1, 2], None, [3, None]]),
    Case(
        [pa.list_(pa.int16()), pa.large_list(pa.int16()), pa.list_view(pa.int16()), pa.large_list_view(pa.int16())],
        [[1, 2], None, [], [3]],
    ),
    Case([pa.list_(pa.int16())], [[1, None]]),
    Case([pa.list_(pa.list_(pa.int16()))], [[[1, 2], [3]], [[]]]),
    Case([pa.list_(pa.string()), pa.list_(pa.string(), 2)], [["a", "b"], ["ccc", "d"]]),
    Case([pa.struct([("n", pa.int16()), ("v", pa.float64())])], [{"n": 1, "v": 1.5}, None]),
    Case([pa.struct([("s", pa.struct([("n", pa.int16())]))])], [{"s": {"n": 1}}]),
    Case([pa.list_(pa.struct([("n", pa.int16())]))], [[{"n": 1}, {"n": 2}], []]),
    Case([pa.map_(pa.string(), pa.int16())], [[{"key": "a", "value": 1}], []]),
]

REFUSED = [
    pa.null(), pa.struct([]), pa.list_(pa.int8(), 0), pa.binary(0), pa.decimal128(38, 10),
    pa.month_day_nano_interval(), pa.dense_union([pa.field("a", pa.int8())]),
    pa.sparse_union([pa.field("a", pa.int8())]),
    pa.dictionary(pa.int8(), pa.list_(pa.int8())), pa.run_end_encoded(pa.int32(), pa.struct([("a", pa.int8())])),
    pa.fixed_shape_tensor(pa.string(), [2]),
]  # fmt: skip


def table() -> str:
    """The table, by writing and reading every case."""
    lines = [
        "| Arrow type | written | in the batch | stored as | shape | read back | attributes |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        first = f"| {', '.join(map(_type_name, case.types))} | {_value(case.values)[1:-1]} "
        for line in _lines(case):
            lines.append(f"{first}| {line} |")
            first = "| | "
    lines += ["", "| refused | because |", "|---|---|"]
    for type_ in REFUSED:
        lines.append(f"| {_type_name(type_)} | {_refusal(type_)} |")
    return "\n".join(lines) + "\n"


def _lines(case: Case) -> list[str]:
    """What the datasets and groups of a case are; each of its types must give the same."""
    of_each = {tuple(_read(type_, case.values)) for type_ in case.types}
    if len(of_each) != 1:
        raise ValueError(f"these types are stored in different ways: {case.types}")
    return list(of_each.pop())


def _read(type_: Any, values: list[Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        with h5py.File(path, "w", libver=("earliest", "v108")) as file:
            columns_of(pa.schema([("x", type_)]))[0].write(file, [build(type_, values)], "gzip")
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            yield from (_line(name, file[name], type_) for name in names)


def _line(name: str, member: Any, type_: Any) -> str:
    attributes = [f"`{key}` {_text(member.attrs[key])}" for key in SHOWN_ATTRIBUTES if key in member.attrs]
    if isinstance(member, h5py.Group):
        return f"`{name}` | group | | | {', '.join(attributes)}"
    dtype = member.dtype.str[1:] if member.dtype.kind == "S" else member.dtype.name
    same = name == "x" and dtype == NUMPY_NAMES.get(type_, str(type_))
    read = _value(member[:].tolist())[1:-1]
    if same:  # one line for all numbers
        read = read.replace(".0", "")
    return f"`{name}` | {'the same' if same else dtype} | {member.shape} | {read} | {', '.join(attributes)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value(entry)}' for key, entry in value.items())}}}"
    if value is None:
        return "null"
    if isinstance(value, bytes) and (not value or min(value) < 32):
        return f"0x{value.hex()}" if value else '""'
    if isinstance(value, (str, bytes)):
        return f'"{_text(value)}"'.replace("\0", "\\0")
    return str(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _type_name(type_: Any) -> str:
    if isinstance(type_, pa.FixedShapeTensorType):
        order = f", permutation={type_.permutation}" if type_.permutation else ""
        return f"`fixed_shape_tensor({type_.value_type}, {type_.shape}{order})`"
    return f"`{NUMPY_NAMES.get(type_, str(type_))}`"


def _refusal(type_: Any) -> str:
    try:
        columns_of(pa.schema([("x", type_)]))
    except UnsupportedTypeError as error:
        return str(error).partition("cannot be stored; ")[2]
    raise ValueError(f"{type_} is not refused")


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + table() + END + after)


if __name__ == "__main__":
    main()
