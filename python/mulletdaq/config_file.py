"""Reading the daemon's configuration: every mistake at once, by file, line and key."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mulletdaq.config import Config, DaemonConfig, default_streams
from mulletdaq.errors import ConfigError
from mulletdaq.extras import needs_extra

Checks = Mapping[str, Callable[[Any], None]]
"""What upper floors check: ``source``, ``template``, ``compression`` and the like; each raises ValueError."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """One mistake in a file: where, and what is wrong."""

    file: str
    line: int | None
    key: str
    what: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.what) if part)


def read_config(
    path: str | os.PathLike[str] | None, checks: Checks | None = None, daemon: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a file, or the default one.

    Parameters
    ----------
    path
        A TOML file; None for one stream, ``experiment_data``, in one file of that name.
    checks
        See :data:`Checks`.
    daemon
        What is to be taken instead of the file's ``[daemon]``.

    Raises
    ------
    ConfigError
        If there is no such file, it is not TOML, or has mistakes; ``mistakes`` has all of them.
    """
    if path is None:
        default = Config(streams=dict(default_streams()), folder=os.getcwd(), daemon=DaemonConfig(**(daemon or {})))
        return _without_mistakes(default, "the command line", {})
    file = os.fspath(path)
    try:
        with open(file, "rb") as opened:
            text = opened.read().decode()
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise _config_error([Mistake(file, None, "", f"cannot be read: {reason}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise _config_error([Mistake(file, _line_in(str(error)), "", str(error))]) from None
    if daemon and isinstance(document.get("daemon", {}), dict):
        document["daemon"] = {**document.get("daemon", {}), **daemon}
    return _validated(file, text, document, checks or {})


def _validated(file: str, text: str, document: dict[str, Any], checks: Checks) -> Config:
    with needs_extra("daemon"):
        from pydantic import TypeAdapter, ValidationError

    for own in ("file", "folder"):
        if own in document:
            raise _config_error([Mistake(file, None, own, "is no key here")])
    folder = os.path.dirname(os.path.abspath(file))
    plain = json.dumps(_with_channels(document), default=str)
    lines = _lines(text)
    try:
        config = TypeAdapter(Config).validate_json(plain, context={"name": check_name, **_in_folder(checks, folder)})
    except ValidationError as error:
        raise _config_error([_mistake(file, lines, one) for one in error.errors()]) from None
    return replace(_without_mistakes(config, file, lines), file=os.path.abspath(file), folder=folder)


def _without_mistakes(config: Config, file: str, lines: Mapping[Key, int]) -> Config:
    mistakes = [Mistake(file, _line_of(lines, key), _text(key), what) for key, what in _contradictions(config)]
    if mistakes:
        raise _config_error(mistakes)
    return config


def _in_folder(checks: Checks, folder: str) -> dict[str, Callable[[Any], None]]:
    """The checks, with files looked for where the configuration means them."""

    def check_file(name: str) -> None:
        if not os.path.isfile(os.path.join(folder, name)):
            raise ValueError(f"there is no file {os.path.join(folder, name)}")

    def check_folders(names: tuple[str, ...]) -> None:
        for name in names:
            if not os.path.isdir(os.path.join(folder, name)):
                raise ValueError(f"there is no folder {os.path.join(folder, name)}")
        if not names:
            raise ValueError("at least one folder is needed")

    return {"file": check_file, "folders": check_folders, **checks}


def check_name(name: str) -> None:
    """Refuse what cannot name a stream or a recording, with ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a name; letters, digits and _ . - can, at most 128 of them")


def _with_channels(document: dict[str, Any]) -> dict[str, Any]:
    """``voltage = "V"`` as ``voltage = {unit = "V"}``."""
    streams = document.get("streams")
    for stream in streams.values() if isinstance(streams, dict) else ():
        channels = stream.get("channels") if isinstance(stream, dict) else None
        if isinstance(channels, dict):
            stream["channels"] = {
                name: {"unit": one} if isinstance(one, str) else one for name, one in channels.items()
            }
    return document


def _contradictions(config: Config) -> Iterator[tuple[Key, str]]:
    """What no single key can tell."""
    if not config.streams:
        yield ("streams",), "at least one stream is needed, such as [streams.experiment_data]"
    saved = {name for output in config.outputs.values() for name in output.streams}
    for name, output in config.outputs.items():
        for stream in output.streams:
            if stream not in config.streams:
                yield ("outputs", name, "streams"), f"there is no stream {stream!r}"
        if not output.streams or len(set(output.streams)) < len(output.streams):
            yield ("outputs", name, "streams"), "each stream once, and at least one"
    paths: dict[str, str] = {}
    for key, path in _output_paths(config):
        if path in paths:
            yield key, f"{path} is written by {paths[path]} already"
        paths.setdefault(path, _text(key[:-1]))
    for name, one in config.streams.items():
        if name in config.outputs:
            yield ("outputs", name), "has the name of a stream"
        if one.on_full != "overwrite" and not one.outputs and name not in saved:
            yield ("streams", name, "on_full"), f"{one.on_full!r} needs an output that makes room"
    yield from _open_doors(config)


def _output_paths(config: Config) -> Iterator[tuple[Key, str]]:
    for name, stream in config.streams.items():
        for index, output in enumerate(stream.outputs):
            yield ("streams", name, "outputs", index, "path"), os.path.normpath(output.path.replace("{stream}", name))
    for name, shared in config.outputs.items():
        yield ("outputs", name, "path"), os.path.normpath(shared.path)


def _open_doors(config: Config) -> Iterator[tuple[Key, str]]:
    daemon = config.daemon
    if not daemon.flight or daemon.insecure or is_loopback(daemon.host):
        return
    if daemon.token_file is None:
        yield (
            ("daemon", "host"),
            f"{daemon.host} can be reached from elsewhere: token_file is needed, or insecure = true",
        )
    if daemon.tls_certificate_file is None:
        what = "tls_certificate_file and tls_key_file are needed, or insecure = true"
        yield ("daemon", "host"), f"{daemon.host} can be reached from elsewhere: {what}"


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this computer alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---- what is told


def _config_error(mistakes: list[Mistake]) -> ConfigError:
    return ConfigError(*map(str, mistakes))


def _mistake(file: str, lines: Mapping[Key, int], error: Any) -> Mistake:
    key: Key = tuple(part for part in error["loc"] if part != "[key]")
    what = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "unexpected_keyword_argument" or error["type"] == "extra_forbidden":
        what = "is no key here"
    elif error["type"] == "missing" or error["type"] == "missing_keyword_only_argument":
        what = "is missing"
    elif error["type"] != "value_error":
        what = what.replace("an object", "a table")  # TOML's word for it
        what = f"{what[:1].lower()}{what[1:]}, got {_shown(error['input'])}"
    return Mistake(file, _line_of(lines, key), _text(key), what)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _text(key: Key) -> str:
    words = ""
    for part in key:
        words += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def _line_in(message: str) -> int | None:
    found = re.search(r"at line (\d+)", message)
    return None if found is None else int(found[1])


def _line_of(lines: Mapping[Key, int], key: Key) -> int | None:
    """The line of a key, or of the nearest table around it."""
    return next((lines[key[:count]] for count in range(len(key), 0, -1) if key[:count] in lines), None)


def _lines(text: str) -> dict[Key, int]:
    """Where each key stands, as far as that is seen line by line; tables written inside a line have its number."""
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = _parts(key[1])
            for count in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:count]), number)
    return lines


def _parts(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in _KEY_PART.findall(dotted))


__all__ = ["Checks", "Mistake", "check_name", "is_loopback", "read_config"]
