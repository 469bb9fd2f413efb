"""Waiting for what must happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 300.0
"""How long a test waits for what must happen, on a machine as busy as it may be; reached only when it does not."""


def eventually(condition: Callable[[], Any], what: str, *, poll_s: float) -> Any:
    """Wait until the condition holds; its value."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"never happened in {PATIENCE_S:g} s: {what}")
        time.sleep(poll_s)
    return value
