"""Values of options."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from mulletdaq.cli.options import parse_metadata, read_metadata_file


def test_metadata() -> None:
    assert parse_metadata([]) == {}
    assert parse_metadata(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], [" =1"], ["a=1", "a=1"]])
def test_metadata_that_is_none(pairs: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_metadata(pairs)


def test_a_file_of_metadata(tmp_path: Path) -> None:
    assert read_metadata_file(None) == {}
    (tmp_path / "a.toml").write_text("gain = 2.5\n[laser]\non = true\n", "utf-8")
    assert read_metadata_file(tmp_path / "a.toml") == {"gain": 2.5, "laser": {"on": True}}
    (tmp_path / "a.JSON").write_text('{"sample": "Größe", "none": null}', "utf-8")
    assert read_metadata_file(tmp_path / "a.JSON") == {"sample": "Größe", "none": None}


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.toml", b"gain ="), ("a.json", b"{"), ("a.json", b"[1]"), ("a.json", b"\xff"), ("a.txt", b"")],
)
def test_a_file_that_is_no_metadata(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(typer.BadParameter, match=name):
        read_metadata_file(tmp_path / name)
