"""What a configuration names, looked up where it is: sources, templates, compressions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from mulletdaq.config import Config
from mulletdaq.config_file import check_name, read_config
from mulletdaq.hdf5.naming import check_stream_name
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.templates import fill
from mulletdaq.sources.registry import SOURCES


def load_config(path: str | os.PathLike[str] | None, **daemon: Any) -> Config:
    """The configuration of a file, checked as far as it can be before anything starts.

    Parameters
    ----------
    path
        A TOML file; None for the default one.
    **daemon
        What the command line says instead of the file's ``[daemon]``.

    Raises
    ------
    ConfigError
        With every mistake in it.
    """
    return read_config(path, CHECKS, daemon)


def _check_source(name: str) -> None:
    if name not in SOURCES:
        raise ValueError(f"there is no source {name!r}; there are: {', '.join(SOURCES)}")


def _check_template(template: str) -> None:
    try:
        fill(template, stream="s", name="n")
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"not a usable path: {error}") from None


def _check_compression(compression: str) -> None:
    try:
        Filters(None if compression == "none" else compression)
    except ImportError as error:
        raise ValueError(str(error)) from None


def _check_stream_name(name: str) -> None:
    check_name(name)
    check_stream_name(name)


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "name": _check_stream_name,
    "source": _check_source,
    "template": _check_template,
    "compression": _check_compression,
}

__all__ = ["CHECKS", "load_config"]
