"""Outputs that appear when they are complete, or not at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mulletdaq.children import process_lives
from mulletdaq.errors import FileWriteError, OutputExistsError

_SUFFIX = ".part"
_JOURNAL = "-journal"


@contextmanager
def finished(output: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Give a path to write to; when the block ends well, what lies there becomes the output, at once.

    Parameters
    ----------
    output
        Where it is to be.
    force
        Replace what is there.

    Raises
    ------
    OutputExistsError
        If something is there and was not to be replaced, before the block and after it.
    FileWriteError
        If it cannot be written: no such folder, no rights, no room.

    Notes
    -----
    A kill leaves a hidden file beside the output, named after it and the process; the next one to the same output
    takes it away.
    """
    path = Path(output)
    _check(path, force)
    _sweep(path)
    unfinished = path.with_name(f".{path.name}.{_host()}-{os.getpid()}{_SUFFIX}")
    try:
        try:
            yield unfinished
            _sync(unfinished)
            _publish(unfinished, path, force)
        finally:
            _discard(unfinished)
    except OSError as error:
        if error.errno is None or isinstance(error, (OutputExistsError, FileWriteError)):
            raise
        reason = os.strerror(error.errno)  # pyarrow's own text is longer, and says no more
        raise FileWriteError(f"cannot write {path}: {reason}; nothing is left of it") from error


def _check(path: Path, force: bool) -> None:
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise FileWriteError(f"cannot make {path}: the folder {path.parent} is not there; make it first")
    if not force and os.path.lexists(path):
        raise OutputExistsError(f"{path} is there already; choose another name, or replace it with force")


def _publish(unfinished: Path, path: Path, force: bool) -> None:
    if force:
        os.replace(unfinished, path)
    else:
        try:
            os.link(unfinished, path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            _check(path, force)
            raise
        except OSError:  # a file system without links
            _check(path, force)
            os.rename(unfinished, path)
    with suppress(OSError):  # some file systems have nothing to sync here
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Take away what processes of this machine that are no more left of the same output."""
    prefix = f".{path.name}.{_host()}-"
    with suppress(OSError):
        for name in os.listdir(path.parent):
            process = name.removeprefix(prefix).removesuffix(_JOURNAL).removesuffix(_SUFFIX)
            if name.startswith(prefix) and process.isdecimal() and not _lives(int(process)):
                os.unlink(path.parent / name)


def _lives(process: int) -> bool:
    return process != os.getpid() and process_lives(process)  # nothing of our own is under way yet


def _discard(unfinished: Path) -> None:
    for path in (unfinished, unfinished.with_name(unfinished.name + _JOURNAL)):
        with suppress(OSError):
            path.unlink()


def _host() -> str:
    return socket.gethostname().replace("/", "-")


__all__ = ["finished"]
