"""zlib streams: plain for every reader, and about as small as zlib's own, whatever the signal."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulletdaq.hdf5 import deflate as deflate_module
from mulletdaq.hdf5.compressors import shuffled
from mulletdaq.hdf5.deflate import Deflater

COUNT = 131_072
NUMBERS = np.arange(COUNT)
RANDOM = np.random.default_rng(1)
SINE = np.sin(2 * np.pi * 50 * NUMBERS / 44_100)

SIGNALS = {
    "stamps at 1 MHz": 1_700_000_000_000_000_000 + 1000 * NUMBERS,
    "stamps at 44.1 kHz": 1_700_000_000_000_000_000 + np.round(NUMBERS * 1e9 / 44_100).astype(np.int64),
    "stamps with jitter": 1_700_000_000_000_000_000 + 1000 * NUMBERS + RANDOM.integers(-40, 40, COUNT),
    "ADC counts": np.round(29_000 * SINE + RANDOM.normal(size=COUNT)).astype(np.int16),
    "volts of an ADC": np.round(29_000 * SINE + RANDOM.normal(size=COUNT)) * (10 / 32_768),
    "volts without noise": np.round(29_000 * SINE) * (10 / 32_768),
    "sine": SINE,
    "repeated waveform": np.resize(RANDOM.normal(size=1000), COUNT),
    "long waveform": np.resize(RANDOM.normal(size=20_000), COUNT),
    "white noise": RANDOM.normal(size=COUNT),
    "single precision": RANDOM.normal(size=COUNT).astype(np.float32),
    "camera": RANDOM.poisson(20, COUNT).astype(np.uint8),
    "constant": np.full(COUNT, 3.3),
    "square": np.where(NUMBERS % 1000 < 500, 1.5, -1.5),
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_nine_tenths_of_zlibs_ratio(signal: str) -> None:
    plain = shuffled(SIGNALS[signal])
    packed = Deflater(4)(plain)
    assert zlib.decompress(packed) == plain.tobytes()
    assert len(packed) * 0.9 <= len(zlib.compress(plain, 4))


@pytest.mark.parametrize("signal", ["white noise", "volts of an ADC", "stamps with jitter", "camera"])
def test_slow_engine_is_kept_from_noise(signal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be several times slower there, and gain nothing."""
    monkeypatch.setattr(deflate_module, "zlib_ng", None)
    plain = shuffled(SIGNALS[signal])
    assert zlib.decompress(Deflater(4)(plain)) == plain.tobytes()


def test_signals_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dataset's chunks were like is remembered, and unlearned with the first that is different."""
    deflater = Deflater(4)
    tried = []
    isal = deflate_module._isal
    monkeypatch.setattr(deflate_module, "_isal", lambda plain: (tried.append(True), isal(plain))[1])
    for signal, engines_tried in [
        ("stamps at 44.1 kHz", 1),
        ("stamps at 44.1 kHz", 0),
        ("volts of an ADC", 1),
        ("volts of an ADC", 1),
        ("long waveform", 1),
        ("long waveform", 1),
        ("stamps at 44.1 kHz", 1),
    ]:
        plain = shuffled(SIGNALS[signal])
        tried.clear()
        packed = deflater(plain)
        assert zlib.decompress(packed) == plain.tobytes()
        assert len(packed) * 0.9 <= len(zlib.compress(plain, 4))
        assert len(tried) == engines_tried, signal


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 100), st.binary(max_size=100))
def test_any_bytes_come_back(data: bytes, repeats: int, end: bytes) -> None:
    plain: Any = np.frombuffer(data * repeats + end, np.uint8)
    assert zlib.decompress(Deflater(4)(plain)) == plain.tobytes()


def test_without_the_engines_zlib_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deflate_module.igzip_lib is not None
    monkeypatch.setattr(deflate_module, "igzip_lib", None)
    plain = shuffled(SIGNALS["stamps with jitter"])
    assert Deflater(4)(plain) == zlib.compress(plain, 4)
    assert Deflater(9)(plain) == zlib.compress(plain, 9)
