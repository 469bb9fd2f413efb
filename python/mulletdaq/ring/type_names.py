"""Types of columns in words, from the format strings that a ring's table of columns has."""

from __future__ import annotations

_NAMES = {
    "n": "null", "b": "bool", "c": "int8", "C": "uint8", "s": "int16", "S": "uint16", "i": "int32", "I": "uint32",
    "l": "int64", "L": "uint64", "e": "float16", "f": "float32", "g": "float64", "z": "binary", "Z": "binary",
    "vz": "binary", "u": "text", "U": "text", "vu": "text",
}  # fmt: skip
_BEGINNINGS = {
    "w:": "binary", "d:": "decimal", "td": "date", "tt": "time", "ts": "timestamp", "tD": "duration", "ti": "interval",
    "+s": "struct", "+m": "map", "+l": "list", "+L": "list", "+v": "list", "+w": "list", "+r": "run ends",
    "+u": "union",
}  # fmt: skip


def type_text(code: str) -> str:
    """A format string of Arrow's C data interface, perhaps with a shape behind it, in a word."""
    value, bracket, shape = code.partition("[")
    name = _NAMES.get(value) or _BEGINNINGS.get(value[:2]) or value
    return f"{name}{bracket}{shape}"


__all__ = ["type_text"]
