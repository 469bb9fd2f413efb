"""Names of groups in the file."""

from __future__ import annotations

from mulletdaq.errors import SchemaError

BATCH_PREFIX = "batch_"
RAW_DATA = "raw_data"
RAW_LENGTHS = "raw_lengths"


def check_stream_name(name: str) -> None:
    """Raise SchemaError unless ``name`` can be a group beside batches."""
    if not name.strip(".") or "/" in name or "\0" in name or name.startswith(BATCH_PREFIX):
        raise SchemaError(f"stream {name!r} cannot be an HDF5 group; use text without '/', not starting with 'batch_'")


def batch_name(number: int) -> str:
    """Name of a batch's group."""
    return f"{BATCH_PREFIX}{number:06d}"


def is_batch_name(name: str) -> bool:
    """Whether a group of that name is a batch."""
    return name.startswith(BATCH_PREFIX) and name.removeprefix(BATCH_PREFIX).isdecimal()


__all__ = ["BATCH_PREFIX", "RAW_DATA", "RAW_LENGTHS", "batch_name", "check_stream_name", "is_batch_name"]
