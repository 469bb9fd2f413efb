"""Fixtures of the daemon's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .running import ONE_STREAM, Running

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a daemon with one stream in one file, and wait until it is ready."""
    running: list[Running] = []

    def begin(*words: str, daemon: str = "", stream: str = "", output: str = "", wait: bool = True) -> Running:
        (tmp_path / "mullet.toml").write_text(ONE_STREAM.format(daemon=daemon, stream=stream, output=output))
        running.append(Running(tmp_path, "--config", "mullet.toml", *words))
        if wait:
            running[-1].wait_for("ready")
        return running[-1]

    yield begin
    for one in running:
        one.clean_up()
