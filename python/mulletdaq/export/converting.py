"""A recording in another layout, or compressed otherwise: the same rows, bit for bit, and the same books."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mulletdaq.errors import FileFormatError, FileWriteError, MulletError
from mulletdaq.export.finished import finished
from mulletdaq.export.measurements import OnProgress, opened
from mulletdaq.export.stored_batches import StoredBatch, stored_batches
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import get_text, set_attribute, set_attributes
from mulletdaq.hdf5.batch_table import BatchTable
from mulletdaq.hdf5.catalog import runs_of, schema_of
from mulletdaq.hdf5.columns import columns_of
from mulletdaq.hdf5.continuous import CHUNK_ROWS, ContinuousLayout, begin_data
from mulletdaq.hdf5.journal.guard import undisturbed
from mulletdaq.hdf5.layouts import BatchLayout, Layout
from mulletdaq.hdf5.ledger import DATA, Run, Runs, is_opaque, load_run
from mulletdaq.hdf5.naming import BATCH_TABLE, ENTRY
from mulletdaq.hdf5.options import LAYOUTS, Filters
from mulletdaq.hdf5.storage import HDF5_ERRORS, Storage, one_line

with needs_extra("hdf5"):
    import h5py
    import numpy as np

_COMMIT_BYTES = 64 << 20
_COMMIT_BATCHES = 1000
_NOT_COPIED = ("default", "continued_in", "continues")
"""Attributes of a file that hold for it alone."""

_ENDS = ("end", "end_ns", "ended")


@dataclass(frozen=True)
class ConvertSummary:
    """What was written: rows and batches of all streams, size, and the file in which the input goes on, if any."""

    path: str
    rows: int
    batches: int
    size_bytes: int
    continued_in: str


def convert(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    layout: str,
    compression: str | None = "gzip",
    chunk_rows: int | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> ConvertSummary:
    """Write a recording in another layout, or compressed otherwise; the output appears when it is complete.

    All values stay bit for bit, and so do runs, batches with their times, losses, notes and metadata. A batch of more
    than 32 MiB becomes several. A writer can go on in the output where it would have in the input. Memory is bounded.

    Parameters
    ----------
    path
        One file of ours; those that it goes on in are converted one by one.
    output
        The new file.
    layout
        ``"batches"`` or ``"continuous"``.
    compression, chunk_rows
        As for :class:`~mulletdaq.HDF5Writer`.
    force
        Replace the output if it is there.
    on_progress
        Called with rows done and rows to do.

    Raises
    ------
    ValueError, MissingExtraError
        If layout or compression are not known, or need a package that is not installed.
    FileMissingError, FileFormatError, FileLockedError
        If the input cannot be read, or holds fewer rows than it says.
    OutputExistsError, FileWriteError
        If the output is there, or cannot be written.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not known; choose from {', '.join(map(repr, LAYOUTS))}")
    name, filters = os.fspath(path), Filters(compression, chunk_rows)
    with finished(output, force=force) as unfinished, opened(name) as source:
        writing = partial(_writing, unfinished, os.fspath(output))
        with writing():
            storage = Storage(str(unfinished), fsync="never")
        try:
            with writing():
                conversion = _Conversion(source, storage, layout, filters)
            total = sum(run.rows for run in runs_of(source).values())
            for done in conversion.steps(writing):
                if on_progress is not None:
                    on_progress(done, total)
            conversion.check(name)
            with writing():
                conversion.copy_ends()
                storage.commit(ended=None)
        finally:
            storage.close()
        size_bytes = unfinished.stat().st_size
        return ConvertSummary(
            os.fspath(output), conversion.rows, conversion.batches, size_bytes, get_text(source, "continued_in")
        )


@contextmanager
def _writing(unfinished: Path, output: str) -> Iterator[None]:
    """What is written, undisturbed; errors name the output, which is not yet where it will be."""
    with undisturbed():
        try:
            yield
        except FileWriteError as error:
            raise FileWriteError(f"{str(error).replace(str(unfinished), output)}; nothing is left of it") from error
        except MulletError:
            raise
        except HDF5_ERRORS as error:
            raise FileWriteError(f"cannot write {output}: {one_line(error)}; nothing is left of it") from error


class _Conversion:
    """One file on its way into another."""

    def __init__(self, source: Any, storage: Storage, layout: str, filters: Filters) -> None:
        self._source, self._storage, self._filters = source, storage, filters
        self._continuous = layout == "continuous"
        self._file = storage.file
        self._table = BatchTable(self._file)
        self._layouts: dict[str, tuple[int, Layout]] = {}
        self.rows = self.batches = 0
        _copy_books(source, self._file)
        self._runs = {number: self._begin_run(run) for number, run in runs_of(source).items()}

    def steps(self, writing: Callable[[], AbstractContextManager[None]]) -> Iterator[int]:
        """Convert batch by batch; the rows that are done."""
        batches = stored_batches(self._source)
        uncommitted = uncommitted_bytes = 0
        while True:
            with undisturbed():
                found = next(batches, None)
            if found is None:
                return
            number, batch = found
            with writing():
                self._append(self._runs[number], batch)
                uncommitted += 1
                uncommitted_bytes += sum(_size(entries) for entries in batch.entries)
                if uncommitted >= _COMMIT_BATCHES or uncommitted_bytes >= _COMMIT_BYTES:
                    self._storage.commit()
                    uncommitted = uncommitted_bytes = 0
            yield self.rows

    def check(self, path: str) -> None:
        """Raise FileFormatError unless all rows that the runs of the source say were there."""
        for number, run in runs_of(self._source).items():
            if self._runs[number].rows != run.rows:
                found = self._runs[number].rows
                raise FileFormatError(
                    f"{path} is damaged: run {number} has {found} of {run.rows} rows; mullet verify says more"
                )

    def copy_ends(self) -> None:
        """What was recorded has ended when the source says, not now."""
        copied = [(self._source, self._file)]
        copied += [(run.group, self._runs[number].group) for number, run in runs_of(self._source).items()]
        for source, target in copied:
            for name in _ENDS:
                if name in source.attrs:
                    _copy_attribute(source, target, name)

    def _append(self, run: Run, batch: StoredBatch) -> None:
        self._layout(run).append(run, batch)
        run.rows += batch.rows
        run.store_cursor()
        self.rows += batch.rows
        self.batches += 1

    def _layout(self, run: Run) -> Layout:
        """The layout for a run, made anew for each: it looks up what the ones before have left."""
        number, layout = self._layouts.get(run.stream, (0, None))
        if layout is None or number != run.number:
            schema = schema_of(run)
            columns = None if is_opaque(run) else columns_of(schema, growing=self._continuous)
            if self._continuous:
                layout = ContinuousLayout(self._file, run, columns, self._filters, self._table, Runs(self._file))
            else:
                layout = BatchLayout(self._file, run.stream, columns, self._filters)
            self._layouts[run.stream] = run.number, layout
        return layout

    def _begin_run(self, run: Run) -> Run:
        """A copy of the run, without rows yet."""
        name = run.group.name.rpartition("/")[2]
        self._source.copy(run.group, self._file["runs"], name)
        group = self._file["runs"][name]
        for attribute in (DATA, CHUNK_ROWS):
            if attribute in group.attrs:
                del group.attrs[attribute]
        set_attributes(group, rows=np.int64(0))
        if self._continuous:
            schema = schema_of(run)
            columns = None if is_opaque(run) else columns_of(schema, growing=True)
            set_attributes(group, **begin_data(self._file, run.stream, run.number, schema, columns, Runs(self._file)))
        return load_run(group)


def _size(entries: Any) -> int:
    """Bytes of entries and what is in them."""
    own = sum(array.nbytes for array in (entries.values, entries.offsets, entries.valid) if array is not None)
    return int(own + sum(map(_size, entries.members)))


def _copy_books(source: Any, target: Any) -> None:
    """Everything but runs and measurements."""
    for name in source:
        if name not in ("measurements", "runs", BATCH_TABLE, ENTRY):
            if name in target:
                del target[name]
            source.copy(name, target)
    for name in source.attrs:
        if name not in _NOT_COPIED:
            _copy_attribute(source, target, name)
    set_attribute(target, "converted_from", os.path.basename(source.filename))


def _copy_attribute(source: Any, target: Any, name: str) -> None:
    """As it is stored, type and all."""
    attribute = source.attrs.get_id(name)
    if name in target.attrs:
        del target.attrs[name]
    values = np.empty(attribute.shape, attribute.dtype)
    attribute.read(values)
    copy = h5py.h5a.create(target.id, name.encode(), attribute.get_type(), attribute.get_space())
    copy.write(values)


__all__ = ["ConvertSummary", "convert"]
