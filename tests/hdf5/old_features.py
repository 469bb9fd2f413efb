"""What in a file HDF5 1.8 would not know, found in its bytes: versions of the superblock, headers and messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

LAST_SUPERBLOCK = 2
LAST_MESSAGE = 0x16
"""Reference count; behind it come messages of 1.10."""

LAST_VERSIONS = {
    0x01: 2, 0x02: 0, 0x03: 3, 0x05: 3, 0x06: 1, 0x08: 3, 0x0A: 0, 0x0B: 2, 0x0C: 3, 0x0F: 0, 0x12: 1, 0x13: 0, 0x14: 0,
    0x15: 0,
}  # fmt: skip
"""Of dataspace, link info, datatype, fill value, link, layout, group info, filters, attribute, … that 1.8 knows."""

DATASPACE, LINK_INFO, DATATYPE, FILTERS, ATTRIBUTE, CONTINUATION, ATTRIBUTE_INFO = 1, 2, 3, 0x0B, 0x0C, 0x10, 0x15
LAST_TYPE_CLASS = 10
LAST_TREE_TYPE = 9
DEFAULT_FILTERS = {1, 2}
"""Deflate and shuffle, which every HDF5 library has."""

UNDEFINED = 0xFFFFFFFFFFFFFFFF


def newer_features(path: Path, filters: set[int] = DEFAULT_FILTERS) -> list[str]:
    """One line for each feature of a file that HDF5 1.8 does not have, or each filter that is not one of some.

    The objects are found with h5py, what they are made of is read here.
    """
    content = path.read_bytes()
    assert content.startswith(b"\x89HDF\r\n\x1a\n")
    found = [f"superblock {content[8]}"] if content[8] > LAST_SUPERBLOCK else []
    for name, address in objects(path):
        for message, version, data in messages(content, address):
            found += [f"{name}: {what}" for what in judged(content, message, version, data, filters)]
    return found


def objects(path: Path) -> Iterator[tuple[str, int]]:
    """Names and addresses of the headers of all objects."""
    addresses: dict[str, int] = {}
    with h5py.File(path, "r") as file:
        addresses["/"] = h5py.h5o.get_info(file.id).addr

        def look(name: str, member: Any) -> None:
            addresses[f"/{name}"] = h5py.h5o.get_info(member.id).addr

        file.visititems(look)
    yield from addresses.items()


def messages(content: bytes, address: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, version and bytes of each message of an object's header; -1 stands for the header itself."""
    if content[address : address + 4] == b"OHDR":
        yield -1, content[address + 4], b""
        yield from _new_messages(content, address)
    else:
        yield -1, content[address], b""
        (size,) = struct.unpack_from("<I", content, address + 8)
        yield from _old_messages(content, address + 16, size)


def _old_messages(content: bytes, start: int, size: int) -> Iterator[tuple[int, int, bytes]]:
    end = start + size
    while start + 8 <= end:
        kind, length, _ = struct.unpack_from("<HHB", content, start)
        data = content[start + 8 : start + 8 + length]
        yield kind, data[0] if data else 0, data
        if kind == CONTINUATION:
            yield from _old_messages(content, *struct.unpack("<QQ", data[:16]))
        start += 8 + length


def _new_messages(content: bytes, address: int) -> Iterator[tuple[int, int, bytes]]:
    flags = content[address + 5]
    start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(content[start : start + width], "little")
    yield from _chunk(content, start + width, size, flags)


def _chunk(content: bytes, start: int, size: int, flags: int) -> Iterator[tuple[int, int, bytes]]:
    end, head = start + size, 6 if flags & 4 else 4
    while start + head <= end:
        kind, length = struct.unpack_from("<BH", content, start)
        data = content[start + head : start + head + length]
        yield kind, data[0] if data else 0, data
        if kind == CONTINUATION:
            place, whole = struct.unpack("<QQ", data[:16])
            assert content[place : place + 4] == b"OCHK"
            yield from _chunk(content, place + 4, whole - 8, flags)
        start += head + length


def judged(content: bytes, message: int, version: int, data: bytes, filters: set[int]) -> Iterator[str]:
    """What 1.8 does not know of a message."""
    if message == -1:
        if version not in (1, 2):
            yield f"object header {version}"
    elif message > LAST_MESSAGE:
        yield f"message {message:#x}"
    elif message == DATATYPE:
        yield from _judged_type(data)
    elif message in LAST_VERSIONS and version > LAST_VERSIONS[message]:
        yield f"message {message:#x} of version {version}"
    elif message == FILTERS:
        yield from (f"filter {one}" for one in sorted(_filters(data) - filters))
    elif message == ATTRIBUTE:
        yield from _judged_attribute(data)
    elif message in (LINK_INFO, ATTRIBUTE_INFO):
        yield from _judged_dense(content, data, 8 if message == LINK_INFO else 2)


def _judged_type(data: bytes) -> Iterator[str]:
    version, class_ = data[0] >> 4, data[0] & 15
    if version > LAST_VERSIONS[DATATYPE] or class_ > LAST_TYPE_CLASS:
        yield f"datatype of class {class_}, version {version}"


def _judged_attribute(data: bytes) -> Iterator[str]:
    version = data[0]
    name, type_, space = struct.unpack_from("<HHH", data, 2)
    step = 8 if version == 1 else 1
    start = (9 if version == 3 else 8) + -(-name // step) * step
    yield from _judged_type(data[start:])
    if type_ and space and (found := data[start + -(-type_ // step) * step]) > LAST_VERSIONS[DATASPACE]:
        yield f"dataspace of version {found}"


def _filters(data: bytes) -> set[int]:
    version, count = data[0], data[1]
    start, found = (8 if version == 1 else 2), set()
    for _ in range(count):
        (number,) = struct.unpack_from("<H", data, start)
        found.add(number)
        named = version == 1 or number >= 256
        (name,) = struct.unpack_from("<H", data, start + 2) if named else (0,)
        place = start + (4 if named else 2)
        (values,) = struct.unpack_from("<H", data, place + 2)
        name = -(-name // 8) * 8 if version == 1 else name
        start = place + 4 + name + 4 * (values + (values % 2 if version == 1 else 0))
    return found


def _judged_dense(content: bytes, data: bytes, index_bytes: int) -> Iterator[str]:
    """The heap and the trees of links or attributes that do not stand in the header."""
    flags = data[1]
    addresses = struct.unpack_from(f"<{2 + (flags >> 1 & 1)}Q", data, 2 + (index_bytes if flags & 1 else 0))
    for signature, address in zip((b"FRHP", b"BTHD", b"BTHD"), addresses, strict=False):
        if address == UNDEFINED:
            continue
        assert content[address : address + 4] == signature
        if content[address + 4] != 0:
            yield f"{signature.decode()} of version {content[address + 4]}"
        if signature == b"BTHD" and content[address + 5] > LAST_TREE_TYPE:
            yield f"tree of type {content[address + 5]}"
