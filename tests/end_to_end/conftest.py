"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import Mullet


@pytest.fixture
def mullet(tmp_path: Path, ring_directory: Path) -> Iterator[Mullet]:
    """The installed command, in a temporary folder with rings of its own."""
    command = Mullet(tmp_path, ring_directory)
    yield command
    command.kill_all()
