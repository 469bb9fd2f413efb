"""Recordings that are over when their test is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .recorded import Recorded


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Start a recording to ``out/out.h5``, or to another path, with a ring beside the folder."""
    made: list[Recorded] = []

    def start(path: Path | None = None, **options: Any) -> Recorded:
        if path is None:
            path = tmp_path / "out" / "out.h5"
            path.parent.mkdir()
        made.append(Recorded(path, tmp_path / f"{len(made)}.ring", **options))
        return made[-1]

    yield start
    for one in made:
        one.abandon()
