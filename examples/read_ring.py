"""Read a live ring with nothing but NumPy, from docs/reference/ring-layout.md alone.

python read_ring.py PATH [SECONDS]     prints each column's newest value, and what was lost

Loads stay in order on x86-64, so copying first and checking afterwards is enough; elsewhere a reader needs the page's
acquire fence, which Python cannot issue.
"""

import mmap
import struct
import sys
import time

import numpy as np

DTYPES = {"g": "f8", "f": "f4", "e": "f2", "c": "i1", "s": "i2", "i": "i4", "l": "i8"}
DTYPES |= {"C": "u1", "S": "u2", "I": "u4", "L": "u8"}


class Ring:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.capacity = self.number("<Q", 8)
        if self.number("<Q", 0) != 0xDADADADA00000001 or self.number("<I", 36) != 1:
            raise ValueError(f"{path} is not a ring of layout version 1")
        self.position, self.row, self.before, self.lost = self.number("<Q", 48), None, 0, 0

    def number(self, format_, offset):
        return struct.unpack_from(format_, self.memory, offset)[0]

    def columns(self):
        """Name, format and width in bits of each column, from the plain table behind the schema message."""
        at = 128 + self.capacity + -(-self.number("<I", 32) // 8) * 8
        count, at = self.number("<I", at + 4), at + 8
        for _ in range(count):
            width, name, format_ = struct.unpack_from("<QII", self.memory, at)
            text = self.memory[at + 16 : at + 16 + name + format_].decode()
            yield text[:name], text[name:], width
            at += -(-(16 + name + format_) // 8) * 8

    def read(self):
        """The next rows as {name: array}; None when there is nothing new."""
        while self.position < self.number("<Q", 16):
            start, before, payload = 128 + self.position % self.capacity, self.before, None
            header = struct.unpack("<6Q4I", self.memory[start : start + 64])
            position, length, _, first_row, state, _, kind, _, room, body = header
            rows, sealed = state & ~(1 << 63), state >> 63
            if position == self.position and kind == 2 and rows > before:
                payload = self.memory[start + 64 + body : start + 64 + length]
            if self.number("<Q", 40) - self.position > self.capacity:  # write_intent: overtaken meanwhile
                self.position, self.before = max(self.number("<Q", 48), self.number("<Q", 56)), 0
                continue
            if position != self.position:
                raise ValueError(f"no frame starts at {self.position}")
            self.before = rows
            if sealed:  # nothing more will come in this frame
                self.position, self.before = position + 64 + -(-length // 64) * 64, 0
            if payload is not None:
                self.lost += first_row + before - (first_row + before if self.row is None else self.row)
                self.row = first_row + rows
                return self.arrays(payload, room, before, rows)
            if not sealed:
                return None
        return None

    def arrays(self, payload, room, before, rows):
        arrays, offset = {}, 0
        for name, format_, width in self.columns():
            if format_ in DTYPES:
                arrays[name] = np.frombuffer(payload, DTYPES[format_], room, offset)[before:rows]
            offset += -(-room * width // 512) * 64
        return arrays


if __name__ == "__main__":
    ring, end = Ring(sys.argv[1]), time.monotonic() + float(sys.argv[2] if len(sys.argv) > 2 else "inf")
    while time.monotonic() < end:
        if columns := ring.read():
            print(ring.row, {name: values[-1].item() for name, values in columns.items()}, "lost", ring.lost)
