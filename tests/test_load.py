"""The benchmark under load, shortly: what it says adds up, and nothing of it stays. How fast it was is not asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S

pytest.importorskip("matplotlib", reason="the plot is a PNG by matplotlib")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / "load.py"), "--folder", str(folder), *words]


def runs_of(path: Path) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    return runs


def test_rows_in_are_rows_on_disk_and_rows_lost(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    told = {name: tmp_path / name for name in ("png", "json", "markdown")}
    files = [word for name, path in told.items() for word in (f"--{name}", str(path))]
    only = ["digitiser none batches", "loop gzip", "images none", "streams continuous"]
    words = [word for choice in only for word in ("--only", choice)]
    done = subprocess.run(
        command(work, "--minutes", "0.03", "--rings", "disk", "--ring-mb", "40", "--streams", "8", *words, *files),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = runs_of(told["json"])
    assert [run["work"] for run in runs] == ["digitiser", "loop", "images", "streams"]
    for run in runs:
        assert run["rows_in"] > 0
        assert run["rows_on_disk"] + run["rows_lost"] == run["rows_in"]
        assert run["rows_lost"] == run["ledger_rows"]
        assert run["peak_kb"] > run["own_kb"] > 0
        assert run["longest_ns"] >= run["p999_ns"] > 0
        assert run["fill"] and all(0 <= fill <= 1 for _, fill in run["fill"])
    assert "DOES NOT ADD UP" not in done.stdout
    assert told["png"].read_bytes().startswith(b"\x89PNG")
    assert told["markdown"].read_text().count("\n|") == len(runs) + 1
    assert list(work.iterdir()) == []


def test_a_small_ring_loses_rows_and_they_still_add_up(tmp_path: Path) -> None:
    words = ["--minutes", "0.01", "--rings", "disk", "--ring-mb", "1", "--only", "loop gzip", "--json"]
    told = tmp_path / "told.json"
    done = subprocess.run(command(tmp_path, *words, str(told)), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = runs_of(told)
    assert run["rows_lost"] > 0  # some hundred milliseconds of rows, in a ring of six
    assert run["adds_up"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    words = ["--minutes", "5", "--rings", "disk", "--only", "digitiser none batches"]
    with subprocess.Popen(
        command(tmp_path, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stderr is not None
        assert "1 of 1" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--rings", "tape"], ["--only", "oscilloscope"]])
def test_what_cannot_be_is_refused(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(command(tmp_path, *words), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_rows_that_do_not_add_up_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import load_watch

    result = load_watch.Result("a case", "loop", "none batches", 100.0, "disk", rows_in=10, rows_on_disk=7)
    assert not result.adds_up
    result.rows_lost = result.ledger_rows = 3
    assert result.adds_up
    result.ledger_rows = 2
    assert not result.adds_up
