"""What every test has: a ring folder of its own, so that nothing of this user's is seen or touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# pytest --hypothesis-profile=thorough: twenty times as many examples where a test does not say how many.
settings.register_profile("thorough", max_examples=2000)


@pytest.fixture(autouse=True)
def ring_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh ring folder, in shared memory where there is some, for this process and its children."""
    shared_memory = Path("/dev/shm")
    usable = shared_memory.is_dir() and os.access(shared_memory, os.W_OK)
    directory = Path(tempfile.mkdtemp(prefix="mulletdaq-test-", dir=shared_memory if usable else None))
    monkeypatch.setenv("MULLET_RING_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)
