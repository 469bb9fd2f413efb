"""The daemon's configuration: what is in it, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mulletdaq.config import Config
from mulletdaq.daemon.checks import load_config
from mulletdaq.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "mullet.toml"


def mistakes_of(folder: Path, text: str) -> list[str]:
    """What is wrong with a file, without its folder."""
    path = folder / "mullet.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [mistake.removeprefix(f"{folder}/") for mistake in caught.value.mistakes]


def test_the_example_is_read() -> None:
    config = load_config(EXAMPLE)
    assert list(config.streams) == ["room", "scope"]
    assert config.streams["room"].source is not None and config.streams["room"].source.rate_hz == 2.0
    trigger, trace = config.streams["scope"].channel_list
    assert (trigger.dtype, trace.shape, trace.unit) == ("bool", (1000,), "V")
    assert config.streams["scope"].outputs[0].metadata == {"operator": "Ada", "sample": "B-12"}
    assert config.outputs["overview"].streams == ("room", "scope")
    assert config.folder == str(EXAMPLE.parent)


def test_without_a_file_there_is_one_stream_into_one_file() -> None:
    config = load_config(None)
    [(name, stream)] = config.streams.items()
    assert (name, stream.ring_mb, stream.channels) == ("experiment_data", 100, {})
    assert [(output.path, output.flush_interval_s) for output in stream.outputs] == [("experiment_data.h5", 1.0)]
    assert (config.daemon.host, config.daemon.port) == ("127.0.0.1", 50051)


def test_it_survives_the_way_to_the_daemon() -> None:
    config = load_config(EXAMPLE)
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


def test_every_mistake_at_once_by_line_and_key(tmp_path: Path) -> None:
    found = mistakes_of(
        tmp_path,
        """
[daemon]
port = 70000
colour = "red"
token_file = "not-there"
[streams.a]
ring_mb = "large"
channels = { timestamp = "s" }
[streams.b]
source = { name = "nothing", rate_hz = 0 }
[[streams.b.outputs]]
path = "x.h5"
[[streams.b.outputs]]
path = "{wrong}.h5"
layout = "long"
[streams."bad name"]
""",
    )
    expected = [
        "mullet.toml:3: daemon.port: input should be less than or equal to 65535, got 70000",
        "mullet.toml:4: daemon.colour: is no key here",
        f"mullet.toml:5: daemon.token_file: there is no file {tmp_path}/not-there",
        "mullet.toml:7: streams.a.ring_mb: input should be a valid number, got 'large'",
        "mullet.toml:10: streams.b.source.name: there is no source 'nothing'; there are: system, simulated",
        "mullet.toml:10: streams.b.source.rate_hz: input should be greater than or equal to 0.00001, got 0",
        "mullet.toml:14: streams.b.outputs[2].path: not a usable path: {wrong}.h5: {wrong} is no field; "
        "there are {start:%Y…}, {stream} and {index}",
        "mullet.toml:15: streams.b.outputs[2].layout: input should be 'batches' or 'continuous', got 'long'",
        "mullet.toml:16: streams.bad name: 'bad name' cannot be a name; letters, digits and _ . - can, "
        "at most 128 of them",
    ]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[streams.a\n", "mullet.toml:1: Expected ']'"),
        ("", "mullet.toml: streams: at least one stream is needed"),
        ("streams = 3", "mullet.toml:1: streams: input should be a table"),
        ('file = "x"', "mullet.toml: file: is no key here"),
        ("[streams.a]\n[streams.a.channels]\nv = { unit = 3 }", "mullet.toml:3: streams.a.channels.v.unit: input"),
        ("[streams.a]\n[streams.a.channels]\ntimestamp = 's'", "mullet.toml:1: streams.a: every stream has its own"),
        ("[streams.a]\nsource = {name = 'system'}", "mullet.toml:2: streams.a.source.rate_hz: is missing"),
        ("[streams.a]\nring_mb = nan", "mullet.toml:2: streams.a.ring_mb: input should be a finite number"),
        ("[streams.a]\non_full = 'block'", "mullet.toml:2: streams.a.on_full: 'block' needs an output"),
        (
            "[streams.a]\n[outputs.a]\npath = 'a.h5'\nstreams = ['b']",
            "mullet.toml:4: outputs.a.streams: there is no stream 'b'",
        ),
        (
            "[streams.a]\noutputs = [{path = 'a.h5'}, {path = './a.h5'}]",
            "mullet.toml:2: streams.a.outputs[2].path: a.h5 is written by streams.a.outputs[1] already",
        ),
        ("daemon.host = '0.0.0.0'\n[streams.a]", "mullet.toml:1: daemon.host: 0.0.0.0 can be reached from elsewhere"),
        ("daemon.tls_key_file = 'mullet.toml'\n[streams.a]", "mullet.toml:1: daemon: tls_certificate_file and tls_key"),
        ("daemon.data_folders = ['nowhere']\n[streams.a]", "mullet.toml:1: daemon.data_folders: there is no folder"),
    ],
)
def test_single_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes_of(tmp_path, text)
    assert found[0].startswith(expected), found


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8"):
        load_config(tmp_path / "binary.toml")


def test_insecure_opens_the_door_without_token_and_certificate(tmp_path: Path) -> None:
    path = tmp_path / "mullet.toml"
    path.write_text("daemon = { host = '0.0.0.0', insecure = true }\n[streams.a]\n")
    assert load_config(path).daemon.insecure
