"""Where a recording goes: the path's template, and what may be there already."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from string import Formatter
from typing import Literal, TypeAlias

from mulletdaq.errors import OutputExistsError, RecordingError

Mode: TypeAlias = Literal["x", "a"]
"""``"x"``: a new file. ``"a"``: a new run in an existing one, or a new file."""


def output_path(template: str | os.PathLike[str], start: datetime | None = None) -> str:
    """Fill in ``{start:%Y%m%dT%H%M%S}`` (UTC); any other field is refused.

    Returns
    -------
    str
        An absolute path.

    Raises
    ------
    RecordingError
        If the template has another field, or does not end in a file's name.
    """
    text = os.fspath(template)
    start = start or datetime.now(UTC)
    try:
        fields = [(field, spec) for _, field, spec, _ in Formatter().parse(text) if field is not None]
        unknown = [field for field, _ in fields if field != "start"]
        if unknown:
            raise RecordingError(f"{text}: the only field a path may hold is {{start:%Y…}}, not {{{unknown[0]}}}")
        path = text.format(start=start) if fields else text
    except (ValueError, IndexError, KeyError) as error:
        raise RecordingError(f"{text}: not a usable path template ({error})") from error
    if any(os.sep in start.strftime(spec or "") for _, spec in fields):
        raise RecordingError(f"{text}: the time's format must not hold a {os.sep}")
    if not os.path.basename(path) or "\0" in path:
        raise RecordingError(f"{text!r} does not name a file")
    return os.path.abspath(path)


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
