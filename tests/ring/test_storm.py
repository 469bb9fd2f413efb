"""A short storm; `make soak` runs 10⁸ rows."""

from __future__ import annotations

from .storm import storm

ROWS = 3_000_000


def test_no_wrong_value_and_every_lost_row_counted() -> None:
    results = storm(ROWS, cursors=4, capacity_bytes=1 << 20)
    assert [result["read"] + result["lost"] for result in results] == [ROWS] * 4
    assert [result["wrong"] for result in results] == [0] * 4
    assert sum(result["lost"] for result in results) > 0, "a storm in which nobody is lapped proves little"
