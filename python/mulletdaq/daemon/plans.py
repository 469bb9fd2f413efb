"""From the configuration, or a command, to what is to be recorded where; paths stay in the configured folders."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mulletdaq.config import Config, FileOptions, OutputConfig
from mulletdaq.daemon.output import OutputPlan
from mulletdaq.errors import OutputExistsError, RecordingError, RequestError
from mulletdaq.flight.messages import StartRecording
from mulletdaq.hdf5.templates import fill, first_free, last_there

_SUFFIXES = (".h5", ".hdf5")


def permanent_plans(config: Config) -> list[OutputPlan]:
    """The outputs of the configuration; of each stream the first one moves the ring's tail."""
    plans: list[OutputPlan] = []
    taken = {*config.streams, *config.outputs}
    persisted: set[str] = set()
    for stream, one in config.streams.items():
        for number, output in enumerate(one.outputs, 1):
            name = stream if number == 1 else _free_name(f"{stream}.{number}", taken)
            plans.append(_permanent(config, name, [stream], output, persisted))
    for name, shared in config.outputs.items():
        plans.append(_permanent(config, name, list(shared.streams), shared, persisted))
    return plans


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _permanent(config: Config, name: str, streams: list[str], output: OutputConfig, persisted: set[str]) -> OutputPlan:
    only = streams[0] if len(streams) == 1 else None
    template = fill(os.path.join(_escaped(config.folder), output.path), stream=only, name=name)
    persist = [stream for stream in streams if stream not in persisted]
    persisted.update(persist)
    return OutputPlan(
        name=name,
        streams=streams,
        path=last_there(template),
        template=template,
        options=_options(output),
        permanent=True,
        persist=persist,
        started_ns=time.time_ns(),
        origin=output.path,
    )


def _options(given: FileOptions) -> dict[str, Any]:
    return {
        "layout": given.layout,
        "compression": None if given.compression == "none" else given.compression,
        "chunk_rows": given.chunk_rows,
        "fsync": given.fsync,
        "flush_interval_s": given.flush_interval_s,
        "rotate_rows": given.rotate_rows,
        "rotate_mb": given.rotate_mb,
        "rotate_s": given.rotate_s,
        "metadata": dict(given.metadata),
    }


def commanded_plan(config: Config, asked: StartRecording, rows: Mapping[str, int]) -> OutputPlan:
    """What a command asks for.

    Parameters
    ----------
    rows
        Of every stream the rows written so far.

    Raises
    ------
    RequestError
        If there is no such stream, or the path is no usable one, or leads out of the configured folders.
    OutputExistsError
        If the file is there already.
    """
    streams = list(dict.fromkeys(asked.streams if asked.streams is not None else rows))
    if unknown := [name for name in streams if name not in rows]:
        raise RequestError(f"streams: there is no stream {unknown[0]!r}; there are {', '.join(rows)}")
    defaults = config.recordings
    template = _inside(config, asked.path or defaults.path, asked.name, streams)
    path = first_free(template)
    if os.path.lexists(path):
        raise OutputExistsError(f"{path} is there already; choose another path, or one with {{start}} or {{index}}")
    now_ns = time.time_ns()
    options = _options(defaults)
    for option in ("layout", "flush_interval_s", "rotate_rows", "rotate_mb", "rotate_s"):
        if (value := getattr(asked, option)) is not None:
            options[option] = value
    if asked.compression is not None:
        options["compression"] = None if asked.compression == "none" else asked.compression
    options["metadata"] = {**options["metadata"], **asked.metadata, "recording": asked.name}
    return OutputPlan(
        name=asked.name,
        streams=streams,
        path=path,
        template=template,
        options=options,
        start={name: rows[name] for name in streams},
        since_ns=None if asked.since_s is None else now_ns - round(asked.since_s * 1e9),
        started_ns=now_ns,
    )


def _inside(config: Config, path: str, name: str, streams: list[str]) -> str:
    """The template of a path that a client named, within one of the data folders."""
    folders = [os.path.realpath(os.path.join(config.folder, folder)) for folder in config.daemon.data_folders]
    only = streams[0] if len(streams) == 1 else None
    try:
        filled = fill(os.path.join(_escaped(folders[0]), path), stream=only, name=name)
    except (ValueError, IndexError, KeyError) as error:
        raise RequestError(f"path: {error}") from None
    if not filled.endswith(_SUFFIXES):
        raise RequestError(f"path: {path!r} does not end in {' or '.join(_SUFFIXES)}")
    for folder in folders:
        parent = os.path.realpath(os.path.dirname(first_free(filled)))
        if parent == folder or parent.startswith(folder.rstrip(os.sep) + os.sep):
            if not os.path.isdir(parent):
                raise RequestError(f"path: there is no folder {parent}")
            return os.path.join(_escaped(parent), os.path.basename(filled))
    raise RequestError(f"path: {path!r} leads out of the daemon's folders")


def _escaped(folder: str) -> str:
    return folder.replace("{", "{{").replace("}", "}}")


def gone_on_with(plan: OutputPlan, before: Iterable[OutputPlan]) -> OutputPlan:
    """An output, in the files that it had before if its rings are the same: rows that are there are not doubled."""
    for one in before:
        if (one.name, one.streams, one.origin, one.stream_ids) == (
            plan.name,
            plan.streams,
            plan.origin,
            plan.stream_ids,
        ):
            return replace(plan, path=one.path, template=one.template)
    return plan


def check_name(name: str, running: Mapping[str, Any]) -> None:
    """Refuse a name that is taken.

    Raises
    ------
    RecordingError
        The message says what to do.
    """
    if name in running:
        raise RecordingError(f"recording {name} runs already; stop it first, or choose another name")


__all__ = ["check_name", "commanded_plan", "gone_on_with", "permanent_plans"]
