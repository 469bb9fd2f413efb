"""Where a recording goes: the path's template, and what may be there already."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Literal, TypeAlias

from mulletdaq.errors import FileError, OutputExistsError, RecordingError
from mulletdaq.hdf5.chain import first_name
from mulletdaq.hdf5.templates import fill, first_free, last_there

Mode: TypeAlias = Literal["x", "a"]
"""``"x"``: a new file. ``"a"``: a new run in an existing one, or a new file."""


def output_path(
    template: str | os.PathLike[str], mode: str = "x", *, start: datetime | None = None, stream: str | None = None
) -> tuple[str, str]:
    """Fill in ``{start:%Y%m%dT%H%M%S}`` (UTC), ``{stream}`` if there is one, and ``{index}``.

    Returns
    -------
    path
        Where the recording begins, absolute. Of several by index: in mode ``"x"`` the first that is free, in mode
        ``"a"`` the one that begins what the last that is there continues.
    filled
        What names the files that follow.

    Raises
    ------
    RecordingError
        If the template has another field, a value would lead elsewhere, or it does not end in a file's name.
    """
    if not os.fspath(template):
        raise RecordingError("the path is empty; name the file to record into, like run.h5")
    try:
        filled = fill(os.path.abspath(os.fspath(template)) + _lost_slash(template), start=start, stream=stream)
    except (ValueError, IndexError, KeyError) as error:
        raise RecordingError(f"not a usable path: {error}") from error
    return (_begun(last_there(filled)) if mode == "a" else first_free(filled)), filled


def _begun(path: str) -> str:
    """Where the recording began that goes on at a path: its rings are named after that file."""
    if not os.path.lexists(path):
        return path
    try:
        return first_name(path)
    except FileError:
        return path  # whoever opens it to write says what is wrong with it, or heals it


def _lost_slash(template: str | os.PathLike[str]) -> str:
    """``abspath`` drops the slash that says that a folder is meant."""
    return os.sep if os.fspath(template).endswith(os.sep) else ""


def check_mode(path: str, mode: str) -> None:
    """Refuse a mode there is not, and a file that mode ``"x"`` would have to make.

    Raises
    ------
    OutputExistsError
        It is there already; the message names mode ``"a"``.
    """
    if mode not in ("x", "a"):
        raise ValueError(f'mode takes "x" (a new file) or "a" (a new run in an existing one), got {mode!r}')
    if mode == "x" and os.path.lexists(path):
        raise OutputExistsError(
            f'{path} is there already; mode="a" adds a new run to it, '
            "{start:%Y%m%dT%H%M%S} in the name makes a new file each time"
        )
