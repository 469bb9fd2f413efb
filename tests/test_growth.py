"""The measurement of growth runs, leaves nothing behind, and finds the exponents of costs that are known."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "growth.py"
CURVES = {"channels", "block-rows", "cursors", "ring-size", "looks", "file-size", "batches", "pages"}
MOST_BYTES = 60_000


def run(*arguments: str | Path, **variables: str) -> None:
    command = [sys.executable, "-W", "error", str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


def docs_in(folder: Path) -> Path:
    docs = folder / "docs"
    (docs / "explanations").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "explanations" / "how-cost-grows.md", docs / "explanations")
    return docs


def test_every_curve_comes_with_table_and_image(tmp_path: Path) -> None:
    docs, files, result = docs_in(tmp_path), tmp_path / "files", tmp_path / "growth.json"
    files.mkdir()
    run("--quick", "--folder", files, "--docs", docs, "--json", result, "--markdown", tmp_path / "growth.md")
    curves = {curve["key"]: curve for curve in json.loads(result.read_text())["curves"]}
    assert set(curves) == CURVES
    for curve in curves.values():
        for line in curve["series"]:
            assert len(line["points"]) >= 2
            assert all(point["median"] > 0 for point in line["points"])
            assert math.isfinite(line["exponent"])
            assert math.isfinite(line["end_exponent"])
    page = (docs / "explanations" / "how-cost-grows.md").read_text()
    for key in CURVES:
        image = docs / "images" / f"growth-{key}.svg"
        assert image.stat().st_size < MOST_BYTES
        assert ElementTree.parse(image).getroot().tag.endswith("svg")
        block = re.search(rf"<!-- growth: {key} -->\n(.*?)<!-- end -->", page, re.DOTALL)
        assert block is not None
        assert f"../images/{image.name}" in block[1]
        assert "| exponent |" in block[1]
    assert (tmp_path / "growth.md").read_text().count("| exponent |") == len(CURVES)
    assert list(files.iterdir()) == []

    again = docs_in(tmp_path / "again")
    run("--from", result, "--docs", again)
    assert (again / "explanations" / "how-cost-grows.md").read_text() == page
    for image in (docs / "images").iterdir():
        assert (again / "images" / image.name).read_bytes() == image.read_bytes()


def test_too_large_a_file_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "file-size", "--largest-gb", "1e9"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "too little for a file of" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("power", "expected"),
    [(-1.0, "falls"), (0.0, "flat"), (0.5, "less than linear"), (1.0, "linear"), (1.5, "more than linear")],
)
def test_exponents(power: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from growth_curves import Point, Series

    line = Series("cost", [Point(size, [0.9 * size**power, size**power, 7.0 * size**power]) for size in (1, 10, 100)])
    assert line.exponent == pytest.approx(power, abs=1e-9)
    assert line.shape == expected


def test_what_does_not_grow_is_left_out_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from growth_curves import Point, Series

    line = Series("cost", [Point(size, [1000.0 + size]) for size in (0, 1, 10, 100, 1e5, 1e6, 1e7)])
    assert line.exponent < 0.75
    assert line.shape == "linear"
