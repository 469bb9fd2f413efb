"""Pictures: no spike is lost to the number of pixels, no gap is drawn over, axes say what they are."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mulletdaq as mullet
from mulletdaq.errors import ChannelNotFoundError, OutputExistsError
from mulletdaq.export import plotting
from mulletdaq.export.envelope import Envelope
from mulletdaq.export.plotting import plot
from mulletdaq.ring import RingBuffer
from tests.examples import examples

from .files import LAYOUTS, SCHEMA, START_NS, fill, record, record_with_loss, rows


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is drawn."""
    drawn: list[Any] = []

    class Kept(plotting.Figure):  # type: ignore[name-defined,misc]
        def savefig(self, *arguments: Any, **options: Any) -> None:
            drawn.append(self)
            super().savefig(*arguments, **options)

    monkeypatch.setattr(plotting, "Figure", Kept)
    return drawn


def lines(figure: Any) -> list[Any]:
    return [panel.get_lines()[0].get_xydata() for panel in figure.get_axes()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_spike_among_a_million_rows(tmp_path: Path, layout: str, figures: list[Any]) -> None:
    count, spike = 1_000_000, 765_432
    values = np.sin(np.arange(count) / 1000)
    values[spike] = 50.0
    schema = pa.schema([SCHEMA.field("timestamp"), SCHEMA.field("voltage")])
    with RingBuffer.create(str(tmp_path / "a.ring"), capacity_mb=64) as ring:
        some = np.array_split(np.arange(count), 10)
        batches = [pa.record_batch([START_NS + n * 1000, values[n]], schema=schema) for n in some]
        fill(tmp_path / "in.h5", ring, batches, layout)
    summary = plot(tmp_path / "in.h5", tmp_path / "out.png")
    assert (summary.rows, summary.channels, summary.left_out) == (count, ("voltage",), ())
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    [points] = lines(figures[0])
    assert len(points) <= 2 * plotting.COLUMNS
    assert points[:, 1].max() == 50.0 and points[:, 1].min() == values.min()
    at = points[points[:, 1].argmax(), 0]
    assert abs(at - spike * 1e-3) <= 1000 / plotting.COLUMNS  # in ms


def test_axes(tmp_path: Path, figures: list[Any]) -> None:
    plot(record(tmp_path / "in.h5", [rows(0, 30)]), tmp_path / "out.svg")
    first, second = figures[0].get_axes()
    assert first.get_ylabel() == "voltage (V)" and second.get_ylabel() == "count"
    assert second.get_xlabel() == "time since 2023-11-14T22:13:20.000000000+00:00 (ms)"
    voltage, counts = lines(figures[0])
    assert voltage[::2, 0].tolist() == pytest.approx(list(range(30)))
    assert voltage[::2, 1].tolist() == [n * 0.5 for n in range(30)]
    assert sorted(set(counts[np.isfinite(counts[:, 1]), 1])) == [n for n in range(30) if n % 5]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gaps_are_not_joined(tmp_path: Path, layout: str, figures: list[Any]) -> None:
    there = record_with_loss(tmp_path / "in.h5", layout)
    plot(tmp_path / "in.h5", tmp_path / "out.png", channels=["voltage"])
    [points] = lines(figures[0])
    breaks = sum(after != before + 1 for before, after in pairwise(there))
    assert np.isnan(points[:, 1]).sum() == breaks > 0
    assert "rows lost" in figures[0].get_suptitle()


def test_what_is_no_number(tmp_path: Path) -> None:
    batch = pa.record_batch({"timestamp": [1, 2], "word": ["a", "b"], "x": [1.0, 2.0], "raw": [b"a", b"b"]})
    path = record(tmp_path / "in.h5", [batch])
    assert plot(path, tmp_path / "out.png").left_out == ("word", "raw")
    with pytest.raises(ChannelNotFoundError, match="no numbers to draw among word"):
        plot(path, tmp_path / "no.png", channels=["word"])
    with pytest.raises(ValueError, match=r"'doc'; give it one of .*png"):
        plot(path, tmp_path / "no.doc")
    with pytest.raises(OutputExistsError):
        plot(path, tmp_path / "out.png")
    assert sorted(os.listdir(tmp_path)) == ["in.h5", "out.png"]


def test_waveforms_runs_and_no_times(tmp_path: Path, figures: list[Any]) -> None:
    with mullet.record(tmp_path / "in.h5", channels=[mullet.Channel("w", shape=(3,))]) as rec:
        rec.write_block(np.array([[1.0, -5.0, 2.0], [0.0, 9.0, 1.0]]), timestamps_ns=np.array([0, 10**9]))
    plot(tmp_path / "in.h5", tmp_path / "out.png")
    [points] = lines(figures[0])
    assert points[:, 1].tolist() == [-5.0, 2.0, 0.0, 9.0]
    path = record(tmp_path / "rows.h5", [pa.record_batch({"x": [1.0, 2.0, 3.0]})])
    plot(path, tmp_path / "rows.png")
    assert figures[1].get_axes()[0].get_xlabel() == "row"
    assert lines(figures[1])[0][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_nothing_to_draw(tmp_path: Path) -> None:
    path = record(tmp_path / "in.h5", [rows(0, 30)])
    assert plot(path, tmp_path / "out.png", start=10, stop=10).rows == 0


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=1, max_size=60), st.integers(1, 20), st.data())
def test_extremes_are_kept(values: list[float], columns: int, data: st.DataObject) -> None:
    """However rows are cut into blocks, and wherever gaps are."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    array, envelope, segment = np.array(values), Envelope(0.0, float(len(values)), columns), 0
    gaps = 0
    for first, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        is_gap = data.draw(st.booleans())
        segment += is_gap
        gaps += is_gap
        envelope.add(np.arange(first, end, dtype=float), array[first:end], array[first:end], segment)
    positions, found = envelope.line()
    finite = array[np.isfinite(array)]
    if len(finite):
        assert np.nanmin(found) == finite.min() and np.nanmax(found) == finite.max()
    else:
        assert not np.isfinite(found).any()
    assert (np.diff(positions) >= 0).all()
    assert len(found) <= 3 * columns
