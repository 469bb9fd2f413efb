"""Names of files from templates with a fixed set of fields."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from string import Formatter

_FIELDS = ("start", "stream", "name", "index")
_LAST_INDEX = 10_000_000


def fill(template: str, *, start: datetime | None = None, stream: str | None = None, name: str | None = None) -> str:
    """Fill in ``{start:%Y…}`` (UTC), ``{stream}`` and ``{name}``; ``{index}`` and doubled braces stay for :func:`at`.

    Parameters
    ----------
    template
        Text in which ``{start}``, ``{stream}``, ``{name}`` and ``{index}`` may stand, each with a format.
    start
        The present time when None.
    stream
        Name of the stream; the field is refused when None.
    name
        Name of a recording; the field is refused when None.

    Raises
    ------
    ValueError
        If there is another field, a value would add a folder or lead upwards, or the text names no file.
    """
    start = start or datetime.now(UTC)
    given = {"start": start, "stream": stream, "name": name}
    values = {field: value for field, value in given.items() if value is not None}
    done = []
    for literal, field, spec, conversion in _parsed(template):
        done.append(escaped(literal))
        if field is None:
            continue
        if field not in _FIELDS or conversion:
            raise ValueError(f"{template}: {{{field}}} is no field; there are {{start:%Y…}}, {{stream}} and {{index}}")
        if field == "index":
            done.append(f"{{index:{spec}}}" if spec else "{index}")
        elif field in values:
            done.append(escaped(_plain(template, field, _formatted(template, field, values[field], spec))))
        else:
            raise ValueError(f"{template}: {{{field}}} has no value here: there is no {field}, or more than one")
    filled = "".join(done)
    if not os.path.basename(filled) or "\0" in filled:
        raise ValueError(f"{template!r} does not name a file")
    at(filled, 1)
    return filled


def escaped(path: str) -> str:
    """The template of a path without fields."""
    return path.replace("{", "{{").replace("}", "}}")


def at(filled: str, index: int) -> str:
    """The path for an index, of a template that :func:`fill` made.

    Raises
    ------
    ValueError
        If the index's format is none.
    """
    parts = []
    for literal, field, spec, _ in _parsed(filled):
        parts.append(literal)
        if field is not None:
            parts.append(_plain(filled, field, _formatted(filled, field, index, spec)))
    return "".join(parts)


def first_free(filled: str) -> str:
    """The path with the lowest index at which nothing lies; the only path of a template without one."""
    return next((path for path in _paths(filled) if not os.path.lexists(path)), at(filled, 1))


def last_there(filled: str) -> str:
    """The path with the highest index of those that follow one another from the first; the first if none is there."""
    last = at(filled, 1)
    for path in _paths(filled):
        if not os.path.lexists(path):
            break
        last = path
    return last


def following(filled: str, path: str) -> str:
    """A free path for the file that continues the one at ``path``: the next index, or ``NAME_part2`` and on."""
    if at(filled, 1) == at(filled, 2):
        paths = _numbered_parts(path)
    else:
        paths = _paths(filled)
        if path not in paths:  # looking for it leaves the iterator behind it
            paths = _paths(filled)
    return next(one for one in paths if not os.path.lexists(one))


def _paths(filled: str) -> Iterator[str]:
    seen = ""
    for index in range(1, _LAST_INDEX):
        path = at(filled, index)
        if path == seen:
            return
        yield path
        seen = path


def _numbered_parts(path: str) -> Iterator[str]:
    stem, suffix = os.path.splitext(path)
    head, _, tail = stem.rpartition("_part")
    number = 2
    if head and tail.isdecimal():
        stem, number = head, int(tail) + 1
    while True:
        yield f"{stem}_part{number}{suffix}"
        number += 1


def _parsed(template: str) -> Iterator[tuple[str, str | None, str, str | None]]:
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:  # of the braces, without the text they stand in
        raise ValueError(f"{template}: {error}; a brace that is part of the name is doubled") from error
    for literal, field, spec, conversion in fields:
        if spec and ("{" in spec or "}" in spec):
            raise ValueError(f"{template}: a format must not hold another field")
        yield literal, field, spec or "", conversion


def _formatted(template: str, field: str, value: object, spec: str) -> str:
    try:
        return format(value, spec)
    except ValueError as error:
        raise ValueError(f"{template}: {{{field}:{spec}}}: {error}") from error


def _plain(template: str, field: str, value: str) -> str:
    """A field's value, which must stay within the name."""
    if os.sep in value or "\0" in value or value in ("", ".", ".."):
        raise ValueError(f"{template}: {{{field}}} would become {value!r}, which is no part of a name")
    return value


__all__ = ["at", "escaped", "fill", "first_free", "following", "last_there"]
