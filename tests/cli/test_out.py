"""``mullet export``, ``convert`` and ``plot``: what they print, make, refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import mulletdaq as mullet
from mulletdaq.cli.main import main

CONVERT = ("convert", "in.h5", "out.h5", "--layout", "batches")


@pytest.fixture
def recording(folder: Path) -> str:
    """100 rows of a voltage, and of a word."""
    with mullet.record("in.h5", channels={"voltage": "V"}) as rec:
        rec.write_block([n * 0.5 for n in range(100)], start_ns=1_700_000_000_000_000_000, rate_hz=1000)
    return "in.h5"


def test_export(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", recording, "-o", "out.parquet", "--start", "10", "--stop=-10"]) == 0
    assert pq.read_table("out.parquet")["voltage"].to_pylist() == [n * 0.5 for n in range(10, 90)]
    printed = capsys.readouterr()
    assert "out.parquet" in printed.out and "80" in printed.out and printed.err == ""
    words = ["export", recording, "-o", "out.csv", "-c", "voltage", "--start", "2023-11-14T22:13:20.098", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["rows"], found["columns"], found["lost_rows"]) == ("out.csv", 2, 2, 0)


def test_convert(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", recording, "out.h5", "--layout", "continuous", "--compression", "none"]) == 0
    assert "verify out.h5" in capsys.readouterr().out
    assert main(["verify", "out.h5"]) == 0
    assert main(["convert", "out.h5", "back.h5", "--layout", "batches", "--json"]) == 0
    capsys.readouterr()
    assert mullet.load("back.h5", as_="arrow").equals(mullet.load(recording, as_="arrow"))


def test_plot(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", recording, "-o", "out.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["channels"] == ["voltage"]
    assert Path("out.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (("export", "in.h5", "-o", "out.xlsx"), 2, "'.xlsx'; give it one of .parquet, .arrow, .csv; see mullet export"),
        (("export", "in.h5", "-o", "out.csv", "--start", "soon"), 2, "--start 'soon' is no ISO 8601 time"),
        (("export", "in.h5"), 2, "--output"),
        (("export", "in.h5", "-o", "out.csv", "--losses", "zero"), 2, "zero"),
        (("export", "in.h5", "-o", "out.csv", "-c", "volt"), 1, "no channel 'volt'; there are: 'voltage'"),
        (("export", "no.h5", "-o", "out.csv"), 1, "no.h5 is not there"),
        (("export", "in.h5", "-o", "there.csv"), 1, "there already; choose another name, or replace it with --force"),
        (("export", "in.h5", "-o", "no/out.csv"), 1, "the folder no is not there"),
        (("export", "in.h5", "-o", "out.csv", "--run", "7"), 1, "no run 7; there are: 1"),
        (("export", "in.h5", "-o", "out.csv", "--stream", "x"), 1, "no stream 'x'"),
        (("convert", "in.h5", "out.h5"), 2, "--layout"),
        ((*CONVERT[:-1], "rows"), 2, "'rows'; there are: batches, continuous"),
        ((*CONVERT, "--compression", "rar"), 2, "choose from gzip, lzf, zstd, none"),
        ((*CONVERT, "--chunk-rows", "0"), 2, "--chunk-rows"),
        (("convert", "in.h5", "in.h5", "--layout", "batches"), 1, "in.h5 is there already"),
        (("convert", "there.csv", "out.h5", "--layout", "batches"), 1, "there.csv is not an HDF5 file"),
        (("plot", "in.h5", "-o", "out.doc"), 2, "'doc'"),
        (("plot", "in.h5", "-o", "out.png", "--stop", "1.5"), 2, "--stop '1.5' is no ISO 8601 time"),
    ],
)
def test_refusals(
    recording: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, fragment: str
) -> None:
    """One line, and nothing is made or lost."""
    Path("there.csv").write_text("dear")
    assert main(words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("mullet: ") and fragment in line, line
    assert sorted(os.listdir()) == ["in.h5", "there.csv"]
    assert Path("there.csv").read_text() == "dear"
