"""Whether a file is what a reader relies on, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mulletdaq.hdf5.catalog import StreamBatches, streams_of
from mulletdaq.hdf5.checks import check_file
from mulletdaq.hdf5.journal.recovery import JournalReport, inspect_journal
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import one_line

LISTED_FIRST = 20
"""Of a stream with more batches, the first so many and the last one are listed."""

_VALUES_SHOWN = 3


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found.

    Attributes
    ----------
    path
        The file.
    lines
        What is in it, ready to print.
    problems
        What a reader would stumble over, each with its reason; empty for a good file.
    warnings
        What is odd but can be read, such as timestamps that go back.
    journal
        Whether commits wait beside the file; no problem in itself.
    """

    path: str
    lines: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    journal: JournalReport

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def verify(path: str | os.PathLike[str]) -> Report:
    """Read a file's structure and check it, at its newest commit; prints nothing.

    Checked are: the rows of each run follow one another, or are accounted for in ``losses``; the columns of each
    batch are of one length and of the types that the run's schema says; the counts kept with the runs are right.

    Raises
    ------
    FileMissingError
        If it is not there.
    FileFormatError
        If it is not HDF5, damaged, or not one of ours.
    FileVersionError
        If a newer version of the format wrote it.
    FileLockedError
        If another program than mulletdaq has it open for writing.
    """
    name = os.fspath(path)
    journal = inspect_journal(name)
    with open_for_reading(name) as file:
        problems, warnings = check_file(file)
        try:
            lines = tuple(_lines(name, file))
        except Exception as error:  # a damaged file can make h5py raise anything
            lines = (f"File opened: {name}",)
            problems.append(f"the structure cannot be read: {one_line(error)}")
    if journal.state != "none":
        lines += (journal.line,)
    if not problems:
        lines += ("Readable with h5py, MATLAB (h5read) and Igor Pro",)
    return Report(name, lines, tuple(problems), tuple(warnings), journal)


def _lines(path: str, file: Any) -> Iterator[str]:
    yield f"File opened: {path}"
    yield f"Top-level structure: {', '.join(sorted(file))}"
    yield f"  attributes: {_attributes(file)}"
    for stream in streams_of(file):
        yield from _stream_lines(stream)


def _stream_lines(stream: StreamBatches) -> Iterator[str]:
    count = len(stream.batches)
    yield f"{count} {'batch' if count == 1 else 'batches'} in {stream.group.name}"
    for index, batch in enumerate(stream.batches):
        if LISTED_FIRST <= index < count - 1:
            if index == LISTED_FIRST:
                yield f"  ... {count - 1 - LISTED_FIRST} more, not listed ..."
            continue
        group = stream.group[batch]
        yield f"  {group.name}"
        for name, dataset in group.items():
            yield f"    {name}: shape {dataset.shape}, {dataset.dtype}, first values {_first_values(dataset)}"
        yield f"    attributes: {_attributes(group)}"


def _first_values(dataset: Any) -> str:
    row = dataset[:_VALUES_SHOWN] if dataset.ndim == 1 else dataset[:1]
    values = [str(value) for value in row.reshape(-1)[:_VALUES_SHOWN].tolist()]
    return ", ".join(values + ["..."] * (dataset.size > len(values)))


def _attributes(target: Any) -> str:
    return ", ".join(f"{name} = {_attribute_text(value)}" for name, value in target.attrs.items())


def _attribute_text(value: Any) -> str:
    plain = value.tolist() if hasattr(value, "tolist") else value
    entries = plain if isinstance(plain, list) else [plain]
    return " ".join(entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry) for entry in entries)


__all__ = ["LISTED_FIRST", "Report", "verify"]
