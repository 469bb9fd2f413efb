"""What every test has: a ring folder of its own, so that nothing of this user's is seen or touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time: whether a commit is green is no matter of luck. New ones are searched for by `make soak`,
# twenty times as many (pytest --hypothesis-profile=thorough).
settings.register_profile("same", derandomize=True)
settings.register_profile("thorough", max_examples=2000)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def ring_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh ring folder, in shared memory where there is some, for this process and its children."""
    shared_memory = Path("/dev/shm")
    usable = shared_memory.is_dir() and os.access(shared_memory, os.W_OK)
    directory = Path(tempfile.mkdtemp(prefix="mulletdaq-test-", dir=shared_memory if usable else None))
    monkeypatch.setenv("MULLET_RING_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)
