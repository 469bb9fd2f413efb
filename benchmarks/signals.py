"""What instruments give: signals that are recorded, packed and read."""

from __future__ import annotations

import numpy as np


def converter_volts(rows: int, random: np.random.Generator) -> np.ndarray:
    """Volts, float64: a sine of 50 Hz at 44.1 kS/s with some noise, as a 16-bit converter of ±10 V sees it."""
    counts = 29_000 * np.sin(2 * np.pi * 50 * np.arange(rows) / 44_100) + random.normal(size=rows)
    return np.round(counts) * (10 / 32_768)
