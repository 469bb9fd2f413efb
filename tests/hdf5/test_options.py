"""Options and names that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from mulletdaq.errors import SchemaError
from mulletdaq.hdf5.naming import batch_name, check_stream_name, is_batch_name
from mulletdaq.hdf5.options import EngineOptions, RingAddress


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "continuous?"},
        {"compression": "zip"},
        {"chunk_rows": 0},
        {"fsync": "always"},
        {"flush_interval_s": 0},
        {"flush_interval_s": float("nan")},
        {"poll_interval_s": -1},
        {"rings": {}},
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).rstrip("s")):
        EngineOptions(**{"path": "/x.h5", "rings": {"": RingAddress("/r", 1)}, **wrong})


@pytest.mark.parametrize("name", ["", ".", "a/b", "batch_x", "a\0b"])
def test_impossible_stream_names(name: str) -> None:
    with pytest.raises(SchemaError):
        check_stream_name(name)


def test_batch_names() -> None:
    check_stream_name("scope")
    assert batch_name(7) == "batch_000007"
    assert is_batch_name(batch_name(1_234_567))
    assert not is_batch_name("batch_x") and not is_batch_name("scope")
