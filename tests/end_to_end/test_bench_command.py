"""``mullet bench``, as typed, and as interrupted."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from mulletdaq.ring import create_ring

from .command import Mullet, group_is_gone, wait_until


def check_limit(limit: dict[str, Any]) -> None:
    """The best is one that was tried, and whoever was held lost nothing."""
    assert limit["holds"]
    for hold in limit["holds"]:
        assert hold["kept_hz"] <= hold["rate_hz"]
        assert 0 <= hold["peak_fill"] <= 1
    best = limit["best"]
    if best is not None:
        assert best in limit["holds"]
        assert best["lost"] == 0
        assert best["kept_hz"] > 0


def test_it_measures_and_leaves_nothing(mullet: Mullet) -> None:
    process = mullet.start("bench", "--seconds", 3, "--channels", 4, "--rate", 50_000, "--json")
    done = mullet.finish(process)
    assert done.returncode == 0, done.stderr
    answer = done.json
    assert answer["folder"] == str(mullet.folder)
    assert answer["wanted"] == {"rate_hz": 50_000, "channels": 4}
    for limit in (answer["gzip"], answer["plain"]):
        check_limit(limit)
    samples = answer["samples"]
    assert samples["call_ns"] > 0
    assert 0 < samples["readable_s"] <= samples["readable_most_s"]
    assert answer["advice"]["ring_mb"] >= 1
    assert answer["advice"]["interval_s"] >= 1
    assert all(limit["best"] is not None or answer["warnings"] for limit in (answer["gzip"], answer["plain"]))
    assert done.stderr.startswith("recording into ")
    assert list(mullet.folder.iterdir()) == list(mullet.rings.iterdir()) == []
    assert group_is_gone(process)


def test_it_says_it_in_words(mullet: Mullet) -> None:
    (mullet.folder / "data").mkdir()
    done = mullet("bench", "--seconds", 2, "--folder", "data", "--rate", 10, "--ring-mb", 16)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(str(mullet.folder / "data"))
    assert "1 channel of float64" in first
    for words in ("highest rate, gzip", "highest rate, uncompressed", "ns a call", "with a flush"):
        assert words in done.stdout
    assert "1 channel at 10 samples/s: 16 bytes a sample" in done.stdout
    if "none was held" not in done.stdout:
        assert "ring: 100 MB. 104,857,600 bytes at 160 bytes/s last 7.59 days" in done.stdout
        assert done.stdout.splitlines()[-1] == "so: mullet.record(…, ring_capacity_mb=100, flush_interval_s=1)"
    assert list((mullet.folder / "data").iterdir()) == []


def test_what_cannot_be_held_is_said(mullet: Mullet) -> None:
    done = mullet("bench", "--seconds", 2, "--rate", 1e9)
    assert done.returncode == 0, done.stderr
    assert "too much for this machine" in done.stdout
    assert "mullet: warning: the wanted rate of 1,000 million samples/s cannot be held here" in done.stderr
    assert "mullet.record(" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(mullet: Mullet, number: signal.Signals) -> None:
    process = mullet.start("bench", "--seconds", 60)
    wait_until(lambda: list(mullet.rings.iterdir()) and any(mullet.folder.glob(".mullet-bench-*/*.h5")))
    process.send_signal(number)
    done = mullet.finish(process)
    assert done.returncode == 130
    assert done.error == "mullet: interrupted"
    assert list(mullet.folder.iterdir()) == list(mullet.rings.iterdir()) == []
    assert group_is_gone(process)


def test_the_next_one_removes_the_ring_of_one_that_was_killed(mullet: Mullet) -> None:
    killed = mullet.start("bench", "--seconds", 60)
    wait_until(lambda: list(mullet.rings.iterdir()) and any(mullet.folder.glob(".mullet-bench-*/*.h5")))
    killed.kill()
    mullet.finish(killed)
    wait_until(lambda: group_is_gone(killed))
    (left,) = mullet.rings.iterdir()
    with create_ring("mullet-bench-of-somebody", 1) as other:
        done = mullet("bench", "--seconds", 1)
        assert done.returncode == 0, done.stderr
        assert not left.exists()
        assert [path.name for path in mullet.rings.iterdir()] == [f"{other.name}.ring"]


def test_a_folder_that_is_not_there(mullet: Mullet) -> None:
    done = mullet("bench", "--seconds", 2, "--folder", "nowhere")
    assert done.returncode == 1
    assert "nowhere is not a folder" in done.error
