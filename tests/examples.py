"""How many examples a property is tried with."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(count: int) -> int:
    """So many in ``make test``; in proportion more under the profile of ``make soak``."""
    return count * settings().max_examples // _USUAL
