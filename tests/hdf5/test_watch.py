"""Each condition is told once when it begins, and once when it ends."""

from __future__ import annotations

from mulletdaq.hdf5.statistics import WriterStatistics
from mulletdaq.hdf5.watch import Watch


def told(*looks: WriterStatistics) -> list[str]:
    lines: list[str] = []
    watch = Watch(lines.append)
    for look in looks:
        watch.look(look)
    return lines


def filled(*fills: float) -> list[str]:
    lines: list[str] = []
    watch = Watch(lines.append)
    for fill in fills:
        watch.look_at_fill("a.h5", fill)
    return lines


def test_ring_fill_is_told_at_three_quarters_and_nine_tenths() -> None:
    assert filled(0.0, 0.5, 0.74) == []
    lines = filled(0.1, 0.76, 0.8, 0.95, 1.0, 0.8, 0.95, 0.49, 0.3, 0.8)
    assert [line.split(" % ")[0].split("%")[0][-3:].strip() for line in lines] == ["76", "95", "49", "80"]
    assert all("a.h5" in line for line in lines)


def test_readers_that_stay_are_told_once() -> None:
    def held(apply_lag_s: float) -> WriterStatistics:
        return WriterStatistics(path="a.h5", pending_commits=int(apply_lag_s > 0), apply_lag_s=apply_lag_s)

    lines = told(held(0), held(3), held(11), held(12), held(0.1), held(0), held(0))
    assert len(lines) == 2
    assert "readers have held a.h5 for 11 s" in lines[0] and "free again" in lines[1]


def test_applying_that_fails_is_told_once() -> None:
    def failing(error: str) -> WriterStatistics:
        return WriterStatistics(path="a.h5", apply_error=error)

    lines = told(failing(""), failing("no"), failing("no"), failing(""), failing(""))
    assert len(lines) == 2
    assert "a.h5: no" in lines[0] and "works again" in lines[1]
