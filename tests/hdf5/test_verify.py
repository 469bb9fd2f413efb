"""Good files pass, each kind of damage is named; the example script says the same with bare h5py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mulletdaq import errors
from mulletdaq.hdf5 import HDF5Writer
from mulletdaq.hdf5.describe import describe
from mulletdaq.hdf5.storage import Storage
from mulletdaq.hdf5.verify import LISTED_FIRST, verify
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel, arrow_schema

from .conftest import rows

MakeRing = Callable[..., RingBuffer]
EXAMPLE = Path(__file__).parents[2] / "docs/examples/verify_hdf5_output.py"


@pytest.fixture
def file_of_four(path: Path, make_ring: MakeRing) -> Path:
    """Four batches of ten rows; between the second and the third 5 rows are lost."""
    ring = make_ring()
    writer = HDF5Writer(path, ring, metadata={"operator": "Zoë"})
    for number in range(4):
        ring.write_arrow_batch(rows(number * 10, 10))
        writer.flush()
    with h5py.File(path, "r+") as file:
        for number in (3, 4):
            batch = file[f"measurements/batch_{number:06d}"]
            batch.attrs["first_row"] += 5
        file["measurements/batch_000003"].attrs["lost_rows"] = np.int64(5)
        run = file["runs/run_000001"]
        run.attrs["next_row"] += 5
        run.attrs["lost_rows"] = np.int64(5)
        add_loss(file, 20, 2)
        add_loss(file, 22, 3)
    assert verify(path).problems == ()
    return path


def add_loss(file: Any, first_row: int, count: int) -> None:
    for name, column in file["losses"].items():
        column.resize((len(column) + 1,))
        column[-1] = {"run": 1, "first_row": first_row, "rows": count}.get(name, 0)


def batch(file: Any, number: int) -> Any:
    return file[f"measurements/batch_{number:06d}"]


def replace_column(file: Any, number: int, name: str, values: Any) -> None:
    del batch(file, number)[name]
    batch(file, number)[name] = values


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "rows 10 to 19 of run 1 are missing": lambda file: file["measurements"].__delitem__("batch_000002"),
    "starts at row 0 of run 1, expected 10": lambda file: batch(file, 2).attrs.modify("first_row", 0),
    "shape is (9,), expected (10,)": lambda file: replace_column(file, 1, "voltage", np.zeros(9)),
    "type is float32, the run's schema says float64": lambda file: replace_column(
        file, 1, "voltage", np.zeros(10, np.float32)
    ),
    "column voltage is missing": lambda file: batch(file, 4).__delitem__("voltage"),
    "no such column": lambda file: batch(file, 1).__setitem__("extra", np.zeros(10)),
    "belongs to run 7": lambda file: batch(file, 1).attrs.modify("run", 7),
    "attribute lost_rows is 0, but 5 are": lambda file: batch(file, 3).attrs.modify("lost_rows", 0),
    "losses: columns are of different lengths": lambda file: file["losses/cause"].resize((1,)),
    "attribute next_row is 99": lambda file: file["runs/run_000001"].attrs.modify("next_row", 99),
    "attribute rows is 39": lambda file: file["runs/run_000001"].attrs.modify("rows", 39),
    "losses: cannot be read": lambda file: file["losses"].__delitem__("rows"),
    "batch_000002: cannot be read": lambda file: file["measurements"].__setitem__(
        "batch_000002", h5py.SoftLink("/nowhere")
    ),
    "attribute rows is 0": lambda file: batch(file, 1).attrs.modify("rows", 0),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_damage_is_named(file_of_four: Path, problem: str) -> None:
    with h5py.File(file_of_four, "r+") as file:
        if "cannot be read" in problem and "batch" in problem:
            del file["measurements/batch_000002"]
        DAMAGES[problem](file)
    report = verify(file_of_four)
    assert not report.ok
    assert any(problem in line for line in report.problems), report.problems
    assert all("\n" not in line for line in report.problems)


def test_loss_that_is_not_accounted_for(file_of_four: Path) -> None:
    with h5py.File(file_of_four, "r+") as file:
        file["losses/rows"][1] = 2
    [missing, *_] = verify(file_of_four).problems
    assert "rows 24 to 24 of run 1 are missing, and losses does not account for them" in missing


def test_backward_time_only_warns(file_of_four: Path) -> None:
    with h5py.File(file_of_four, "r+") as file:
        batch(file, 2)["timestamp"][3] = 0
        batch(file, 4)["timestamp"][0] = 0
    report = verify(file_of_four)
    assert report.ok
    assert report.warnings == ("runs/run_000001: time goes back 2 times, first in /measurements/batch_000002",)


def test_lines_list_the_first_batches_and_the_last(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring)
    count = LISTED_FIRST + 5
    for number in range(count):
        ring.write_arrow_batch(rows(number * 10, 10))
        writer.flush()
    lines = verify(path).lines
    assert lines[0] == f"File opened: {path}"
    assert lines[1] == "Top-level structure: annotations, entry, losses, measurements, runs"
    assert f"{count} batches in /measurements" in lines
    listed = [line.strip() for line in lines if line.startswith("  /measurements/batch_")]
    assert listed == [f"/measurements/batch_{number:06d}" for number in (*range(1, LISTED_FIRST + 1), count)]
    assert "  ... 4 more, not listed ..." in lines
    assert "    voltage: shape (10,), float64, first values 35.0, 35.5, 36.0, ..." in lines
    assert f"first_row = {10 * (count - 1)}" in lines[-2]
    assert all(reader in lines[-1] for reader in ("h5py", "MATLAB", "Igor"))


def example(*arguments: str, **options: Any) -> str:
    code = (
        "import sys, runpy; sys.modules['mulletdaq'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLE), *arguments], capture_output=True, text=True, check=True, **options
    )
    return result.stdout


def test_example_prints_the_same_lines_with_h5py_alone(path: Path, make_ring: MakeRing) -> None:
    wave, raw = make_ring("wave"), make_ring("raw")
    with wave.producer(arrow_schema([Channel("wave", "µV", "int16", (4,)), Channel("on", dtype="bool")])) as producer:
        for row in range(5):
            producer.append(np.arange(row, row + 4, dtype=np.int16), row % 2 == 0)
    raw.write(b"hello")
    HDF5Writer(path, {"wave": wave, "raw": raw, "unused": make_ring("unused")}, metadata={"a": ["x", "ÿ"]}).stop()
    printed = example(str(path)).splitlines()
    lines = verify(path).lines
    assert printed[: len(lines)] == list(lines)
    rest = "\n".join(printed[len(lines) :])
    assert "# -> wave: shape (5, 4), int16, min 0, max 7" in rest
    assert "h5read" in rest and "np.concatenate" in rest


def test_example_snippets_run_and_default_to_the_demos_file(file_of_four: Path) -> None:
    default = file_of_four.rename(file_of_four.with_name("mullet_demo_output.h5"))
    printed = example(cwd=default.parent)
    snippet = printed.split("# Python\n")[1].split("# ->")[0]
    names: dict[str, Any] = {"h5py": h5py, "np": np}
    exec(snippet.replace("mullet_demo_output.h5", str(default)), names)  # what it tells the reader to type
    assert np.array_equal(names["values"], np.arange(40) * 0.5)


def test_describe(file_of_four: Path, make_ring: MakeRing) -> None:
    other = make_ring("other")
    other.write(b"xyz")
    writer = HDF5Writer(file_of_four, {"raw": other})
    writer.annotate("here", 5, {"raw": 1})
    writer.stop()
    found = describe(file_of_four)
    assert found.size_bytes == file_of_four.stat().st_size
    assert (found.format_version, found.metadata, found.annotations) == (1, {"operator": "Zoë"}, 1)
    unnamed, raw = found.streams
    assert (unnamed.name, unnamed.batches, unnamed.rows, unnamed.lost_rows) == ("", 4, 40, 5)
    assert (unnamed.first_ns, unnamed.last_ns) == (0, 39)
    assert [(one.name, one.unit, one.dtype, one.shape) for one in unnamed.channels] == [
        ("timestamp", "ns", "int64", ()),
        ("voltage", "V", "float64", ()),
    ]
    assert (raw.name, raw.batches, raw.rows) == ("raw", 1, 1)
    assert [(run.number, run.stream, run.rows, run.lost_rows) for run in found.runs] == [
        (1, "", 40, 5),
        (2, "raw", 1, 0),
    ]
    text = "\n".join(found.lines())
    for word in ("voltage [V] float64", "operator: Zoë", "40 rows in 4 batches, 5 lost", "run 2: raw"):
        assert word in text


def test_describe_and_verify_an_empty_file(path: Path) -> None:
    Storage(str(path)).close()
    assert verify(path).ok
    assert "0 batches in /measurements" in verify(path).lines
    assert [(stream.batches, stream.first_ns) for stream in describe(path).streams] == [(0, None)]


def test_file_being_written_is_read_and_said_to_be_live(path: Path, make_ring: MakeRing) -> None:
    ring = make_ring()
    writer = HDF5Writer(path, ring, flush_interval_s=3600)
    writer.start()
    ring.write_arrow_batch(rows(0, 10))
    writer.flush()
    report = verify(path)
    assert report.ok and report.journal.state == "live" and report.journal.pid == writer.pid
    assert f"process {writer.pid} is writing" in "\n".join(report.lines)
    assert describe(path).streams[0].rows == 10
    writer.stop()
    report = verify(path)
    assert report.ok and report.journal.state == "none"


def test_file_that_a_stock_writer_has_open_is_said_to_be_held(file_of_four: Path) -> None:
    with h5py.File(file_of_four, "r+"):
        for look in (verify, describe):
            with pytest.raises(errors.FileLockedError, match="another program"):
                look(file_of_four)


def test_torn_file_is_no_surprise(file_of_four: Path) -> None:
    """A file cut or overwritten anywhere gives problems or one of our errors, never anything else."""
    content = bytearray(file_of_four.read_bytes())
    told = []
    for start in range(100, len(content), 1009):
        torn = content.copy()
        torn[start : start + 64] = b"\xff" * 64
        file_of_four.write_bytes(torn)
        for look in (verify, describe):
            try:
                look(file_of_four)
            except errors.FileError as error:
                told.append(str(error))
    assert told
    assert not any("\n" in text for text in told)
