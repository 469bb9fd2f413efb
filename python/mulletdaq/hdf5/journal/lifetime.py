"""The ends that nobody calls: interpreter exit, and a forked child."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from contextlib import suppress
from typing import Protocol

from mulletdaq.errors import MulletError


class Closing(Protocol):
    """What is to be closed with the interpreter, and left alone by forked children."""

    def close_at_exit(self) -> None:
        """End in good order; may raise errors of ours."""

    def abandon_in_child(self) -> None:
        """In a forked child: let go of what is the parent's alone."""


_writers: weakref.WeakSet[Closing] = weakref.WeakSet()
_readers: weakref.WeakSet[Closing] = weakref.WeakSet()


def keep_track(file: Closing, *, reads_only: bool = False) -> None:
    """Have a file closed before the interpreter ends: HDF5 would call it when there is no interpreter any more."""
    (_readers if reads_only else _writers).add(file)


@atexit.register
def _close_all() -> None:
    for file in [*_readers, *_writers]:  # a writer waits for readers, perhaps for these
        try:
            file.close_at_exit()
        except MulletError as error:
            with suppress(OSError):
                print(f"mulletdaq: {error}", file=sys.stderr, flush=True)


def _abandon_all() -> None:
    for file in [*_readers, *_writers]:
        file.abandon_in_child()


os.register_at_fork(after_in_child=_abandon_all)

__all__ = ["Closing", "keep_track"]
