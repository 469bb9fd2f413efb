"""Names in the file."""

from __future__ import annotations

from mulletdaq.errors import SchemaError

BATCH_PREFIX = "batch_"
RUN_PREFIX = "run_"
RAW_DATA = "raw_data"
RAW_LENGTHS = "raw_lengths"
BATCH_TABLE = "batches"
ENTRY = "entry"
ENTRY_DATA = "data"


def check_stream_name(name: str) -> None:
    """Raise SchemaError unless ``name`` can be a group beside batches, and beside the runs of an unnamed stream."""
    if not name.strip(".") or "/" in name or "\0" in name or name.startswith(BATCH_PREFIX) or is_run_name(name):
        raise SchemaError(
            f"stream {name!r} cannot be an HDF5 group; use text without '/', not starting with 'batch_', no 'run_1'"
        )


def batch_name(number: int) -> str:
    """Name of a batch's group."""
    return f"{BATCH_PREFIX}{number:06d}"


def is_batch_name(name: str) -> bool:
    """Whether a group of that name is a batch."""
    return name.startswith(BATCH_PREFIX) and name.removeprefix(BATCH_PREFIX).isdecimal()


def run_name(number: int) -> str:
    """Name of a run's group."""
    return f"{RUN_PREFIX}{number:06d}"


def is_run_name(name: str) -> bool:
    """Whether a group of that name is a run."""
    return name.startswith(RUN_PREFIX) and name.removeprefix(RUN_PREFIX).isdecimal()


__all__ = [
    "BATCH_PREFIX",
    "BATCH_TABLE",
    "ENTRY",
    "ENTRY_DATA",
    "RAW_DATA",
    "RAW_LENGTHS",
    "RUN_PREFIX",
    "batch_name",
    "check_stream_name",
    "is_batch_name",
    "is_run_name",
    "run_name",
]
