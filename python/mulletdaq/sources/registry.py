"""From the name of a source to the source. A source's module is imported only when its name is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from mulletdaq.abc import Source
from mulletdaq.errors import SourceError


@dataclass(frozen=True)
class SourceEntry:
    """Where a source is found, and what it measures, for a list of sources."""

    name: str
    module: str
    class_name: str
    summary: str


SOURCES = {
    entry.name: entry
    for entry in (
        SourceEntry(
            "system",
            "mulletdaq.sources.system",
            "SystemSource",
            "this machine: CPU, memory, load, network and disk rates",
        ),
        SourceEntry(
            "simulated",
            "mulletdaq.sources.simulated",
            "SimulatedVoltage",
            "a 1 Hz sine of 1 V with noise; needs no hardware",
        ),
    )
}
"""Every source that ``--source`` knows, by name."""


def make_source(name: str) -> Source:
    """A new, unopened source of this name.

    Raises
    ------
    SourceError
        If there is no such source; the message names those there are.
    MissingExtraError
        If a package that the source needs is not installed.
    """
    entry = SOURCES.get(name)
    if entry is None:
        raise SourceError(f"there is no source {name!r}; there are: {', '.join(SOURCES)}")
    return cast(Source, getattr(import_module(entry.module), entry.class_name)())


__all__ = ["SOURCES", "SourceEntry", "make_source"]
