"""Files that continue one another: which is the last, and what the others hold."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mulletdaq.errors import FileError, FileFormatError
from mulletdaq.hdf5.attributes import get_text, set_attribute
from mulletdaq.hdf5.journal import undisturbed
from mulletdaq.hdf5.ledger import Run, newest_runs
from mulletdaq.hdf5.options import Rotation
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.hdf5.storage import Storage
from mulletdaq.hdf5.templates import following

_CONTINUED_IN = "continued_in"
_CONTINUES = "continues"


@dataclass
class Earlier:
    """What earlier files of a chain hold of one ring: counts, and the run of the last of them."""

    rows: int = 0
    lost_rows: int = 0
    run: Run | None = None

    def add(self, run: Run) -> None:
        """Count another file's run."""
        self.rows += run.rows
        self.lost_rows += run.lost_rows
        self.run = run


@dataclass
class Chain:
    """The file to write, and those before it.

    Attributes
    ----------
    storage
        The file to write.
    earlier
        What those before it hold, by stream id.
    held
        Those before it whose last commits still wait for readers to let go.
    """

    storage: Storage
    earlier: dict[int, Earlier] = field(default_factory=dict)
    held: list[Storage] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        """Whether commits wait for readers to let go of a file."""
        return bool(self.pending_paths)

    @property
    def pending_paths(self) -> list[str]:
        """The files for which they wait."""
        return [storage.path for storage in (*self.held, self.storage) if storage.pending]

    def apply(self) -> None:
        """Try again to bring waiting commits into their files.

        Raises
        ------
        FileWriteError
            If another program wrote the file being written.
        """
        if self.storage.pending:
            self.storage.apply()
        for storage in list(self.held):
            with suppress(FileError):
                storage.apply()
            if not storage.pending:
                self.held.remove(storage)
                with suppress(FileError):
                    storage.close()

    def close(self, *, ended: bool = False) -> None:
        """Close every file, saying in the last whether it ended in good order; harmless when closed.

        Raises
        ------
        FileWriteError
            If another program wrote the file being written.
        """
        for storage in self.held:
            with suppress(FileError):
                storage.close()
        if ended:
            self.storage.end()
        self.storage.close()


def open_chain(path: str, open_storage: Callable[[str, str], Storage]) -> Chain:
    """Open the last file of the chain that begins at a path; a file is opened by its path and its predecessor's name.

    Raises
    ------
    FileError
        As :class:`~mulletdaq.hdf5.storage.Storage`.
    """
    chain = Chain(open_storage(path, ""))
    try:
        while (name := _following(chain.storage)) is not None:
            _count(chain)
            before = chain.storage
            chain.storage = open_storage(name, os.path.basename(before.path))
            _let_go(chain, before)
    except BaseException:
        chain.close()
        raise
    return chain


def continue_chain(chain: Chain, template: str, open_storage: Callable[[str, str], Storage]) -> None:
    """End the last file of a chain, and begin the next under the first free name of a template.

    Raises
    ------
    FileWriteError
        If that is not possible; the chain is as it was.
    """
    before = chain.storage
    name = following(template, before.path)
    with undisturbed():
        set_attribute(before.file, _CONTINUED_IN, os.path.basename(name))
        before.commit(ended=True)
    storage = open_storage(name, os.path.basename(before.path))
    _count(chain)
    chain.storage = storage
    _let_go(chain, before)


def rotation_due(storage: Storage, rotation: Rotation, rows: int) -> bool:
    """Whether it is time for another file.

    Parameters
    ----------
    storage
        The file being written.
    rotation
        When to go on in another.
    rows
        How many rows of a stream it has, of the one with the most.
    """
    if storage.full or rows >= (rotation.rows or math.inf):
        return True
    large = storage.size_bytes >= (rotation.megabytes or math.inf) * (1 << 20)
    old = time.time() - storage.begun_s >= (rotation.seconds or math.inf)
    return rows > 0 and (large or old)


def _let_go(chain: Chain, before: Storage) -> None:
    if before.pending:
        chain.held.append(before)
    else:
        before.close()


def following_name(path: str, *, adopt: bool = False) -> str | None:
    """The path of the file that continues one of ours; None if none does.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    with open_for_reading(path, adopt=adopt) as file:
        return _following_of(file, path)


def first_name(path: str) -> str:
    """The path of the file that begins what one of ours continues, as far as it is still there.

    Raises
    ------
    FileError
        If a file cannot be read.
    """
    while True:
        with open_for_reading(path) as file:
            before = os.path.join(os.path.dirname(path), os.path.basename(get_text(file, _CONTINUES)))
        if os.path.isdir(before) or not os.path.lexists(before) or before == path:
            return path
        path = before


def _following(storage: Storage) -> str | None:
    with undisturbed():
        return _following_of(storage.file, storage.path)


def _following_of(file: Any, path: str) -> str | None:
    name = get_text(file, _CONTINUED_IN)
    if not name:
        return None
    if name != os.path.basename(name) or name in (".", ".."):
        raise FileFormatError(f"{path} says it goes on in {name!r}, which is no name of a file beside it")
    return os.path.join(os.path.dirname(path), name)


def _count(chain: Chain) -> None:
    with undisturbed():
        for stream_id, run in newest_runs(chain.storage.file).items():
            chain.earlier.setdefault(stream_id, Earlier()).add(run)


__all__ = ["Chain", "Earlier", "continue_chain", "first_name", "following_name", "open_chain", "rotation_due"]
