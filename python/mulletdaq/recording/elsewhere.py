"""Where a stream of another computer is recorded to, so that the same command, given again, goes on with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from mulletdaq.hdf5.chain import first_name, following_name
from mulletdaq.hdf5.ledger import Run, load_run
from mulletdaq.hdf5.reading import open_for_reading
from mulletdaq.recording.output import check_mode, output_path


class Elsewhere(Protocol):
    """A stream of a daemon: :class:`mulletdaq.flight.streams.RemoteStream`."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def origin(self) -> str:
        """Its address."""
        ...

    @property
    def stream_id(self) -> int:
        """Random number of its ring."""
        ...


@dataclass(frozen=True)
class Recorded:
    """What files that continue one another have of one stream.

    Attributes
    ----------
    rows, rows_lost
        Rows in them, and rows that were lost on the way.
    runs
        How many rings they came from.
    """

    rows: int = 0
    rows_lost: int = 0
    runs: int = 0


def output_for(template: str | os.PathLike[str], stream: Elsewhere, *, append: bool = False) -> tuple[str, str]:
    """The file that has the stream already, or a new one.

    Parameters
    ----------
    template
        A path, perhaps with ``{start:%Y%m%dT%H%M%S}``, ``{stream}`` and ``{index}``.
    stream
        What is to be recorded.
    append
        Whether a file without this stream may get it as a new run.

    Returns
    -------
    path
        The first of the files that continue one another.
    filled
        What names those that follow.

    Raises
    ------
    OutputExistsError
        If something else was recorded there.
    FileFormatError
        If what lies there is no file of ours.
    RecordingError
        If the template is not usable.
    """
    now = datetime.now(UTC)
    path, filled = output_path(template, "a", start=now, stream=stream.name)
    if not os.path.lexists(path):
        return path, filled
    first = first_name(path)
    if append or _has(first, stream):
        return first, filled
    path, filled = output_path(template, "x", start=now, stream=stream.name)
    check_mode(path, "x")
    return path, filled


def recorded(path: str, stream: Elsewhere) -> Recorded:
    """What the files from a path on have of a stream; nothing of a file that is not there."""
    if not os.path.lexists(path):
        return Recorded()
    runs = [run for run in _runs_from(path) if _is_of(run, stream)]
    rings = {run.stream_id for run in runs}
    return Recorded(sum(run.rows for run in runs), sum(run.lost_rows for run in runs), len(rings))


def _has(path: str, stream: Elsewhere) -> bool:
    """Whether the stream is recorded there, or nothing yet: a command that was killed at once leaves that."""
    runs = list(_runs_from(path))
    return not runs or any(_is_of(run, stream) for run in runs)


def _is_of(run: Run, stream: Elsewhere) -> bool:
    return run.origin == stream.origin or run.stream_id == stream.stream_id


def _runs_from(path: str) -> Iterator[Run]:
    following: str | None = path
    while following is not None and os.path.lexists(following):
        with open_for_reading(following) as file:
            yield from [load_run(group) for group in file["runs"].values()]
        following = following_name(following)


__all__ = ["Recorded", "output_for", "recorded"]
