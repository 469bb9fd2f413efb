"""The benchmarks run, and tell what they could not measure; no figure is looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(program: Path, *words: str, code: int = 0) -> str:
    """What it prints."""
    command = [sys.executable, str(program), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def own_benchmarks(tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return Path(shutil.copytree(BENCHMARKS, tmp_path / "benchmarks"))


def test_one_table_of_several_parts(tmp_path: Path) -> None:
    """Rows of each part, the goals first, and each goal that no row decides about named as left out."""
    json_path, markdown_path, page = tmp_path / "table.json", tmp_path / "table.md", tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks -->\nold\n<!-- end of benchmarks -->\nbehind\n")
    said = run(BENCHMARKS / "run.py", "--quick", "--only", "journal,sustained", "--json", str(json_path), "--markdown",
               str(markdown_path), "--page", str(page))  # fmt: skip
    told = json.loads(json_path.read_text())
    assert {row["part"] for row in told["rows"]} == {"The journal", "Sustained"}
    table = markdown_path.read_text()
    assert page.read_text() == f"before\n<!-- benchmarks -->\n{table}<!-- end of benchmarks -->\nbehind\n"
    assert {"date", "processor", "kernel", "file system", "Python", "numpy", "pyarrow", "h5py", "HDF5"} <= set(
        told["machine"]
    )
    lines = markdown_path.read_text().splitlines()
    first = lines[next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1]
    assert first.startswith("| 16 channels × 1 MS/s"), "the journal ran first, but the goals come first"
    assert any(line.startswith("- Flight") and "not measured in this run" in line for line in lines)
    assert "[2 of 2" in said


def test_a_part_that_fails_is_left_out_with_its_reason(own_benchmarks: Path, tmp_path: Path) -> None:
    """What it measured before stays, the other parts run, and the exit code tells."""
    layouts = own_benchmarks / "layouts.py"
    layouts.write_text(
        "from measure import Row, main\n"
        "def run(table):\n"
        "    table.add(Row('before', '1', 'rival', '2', 2.0, '≥ 1', True))\n"
        "    raise OSError('no room left')\n"
        "main('Failing', run)\n"
    )
    json_path = tmp_path / "table.json"
    run(own_benchmarks / "run.py", "--quick", "--only", "layouts,journal", "--json", str(json_path), code=1)
    told = json.loads(json_path.read_text())
    assert {row["part"] for row in told["rows"]} == {"Failing", "The journal"}
    assert told["left_out"] == {"the rest of layouts.py": "exit code 1: OSError: no room left"}


def test_an_unknown_part_is_wrong_usage() -> None:
    assert "no benchmark rings" in run(BENCHMARKS / "run.py", "--only", "rings", code=2)


def test_samples_cross_processes(tmp_path: Path) -> None:
    """Rivals that need no package are measured beside ours; those that miss one are left out, and say which."""
    json_path = tmp_path / "table.json"
    run(BENCHMARKS / "peers.py", "--quick", "--only", "samples", "--json", str(json_path))
    told = json.loads(json_path.read_text())
    rivals = {row["rival_name"].removesuffix(" (the best)"): row for row in told["rows"]}
    assert {"multiprocessing.Queue", "struct + mmap ring in Python"} <= set(rivals)
    assert all(row["note"].startswith("100% arrived") for row in told["rows"] if "Queue" in row["rival_name"])
    assert sum(row["goal_of"] == "sample, across processes" for row in told["rows"]) == 1
    assert all(name.endswith(", samples") and reason for name, reason in told["left_out"].items())
