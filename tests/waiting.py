"""Waiting for what must happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any], what: str, *, patience_s: float, poll_s: float) -> Any:
    """Wait until the condition holds; its value. Patience only ends a hopeless test."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"never happened in {patience_s:g} s: {what}")
        time.sleep(poll_s)
    return value
