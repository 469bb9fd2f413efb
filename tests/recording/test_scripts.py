"""record() in scripts of their own: started, interrupted, killed, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import psutil
import pytest

import mulletdaq as mullet
from mulletdaq.hdf5.verify import verify
from mulletdaq.ring import RingBuffer
from tests.waiting import PATIENCE_S

from .files import joined, lost_rows

HEAD = """
import sys, time
import numpy as np
import mulletdaq as mullet
path = "experiment_data.h5"
"""

ENDLESS = """
with mullet.record(path, channels={"voltage": "V"}, mode="a", flush_interval_s=0.3) as rec:
    print("recording", flush=True)
    row = 0
    while True:
        rec.write_measurement(float(row))
        row += 1
        if row % 1000 == 0:
            print(row, flush=True)
            time.sleep(0.001)
"""

ENDLESS_PAIR = ENDLESS.replace(
    'channels={"voltage": "V"}', 'streams=dict.fromkeys(["left", "right"], {"voltage": "V"})'
).replace(
    "rec.write_measurement(float(row))", "[rec[name].write_measurement(float(row)) for name in ('left', 'right')]"
)


class Script:
    """A script under way in a folder of its own."""

    def __init__(self, folder: Path, body: str, *, from_stdin: bool = False) -> None:
        text = HEAD + textwrap.dedent(body)
        (folder / "experiment.py").write_text(text)
        arguments = [sys.executable, "-X", "faulthandler", "-" if from_stdin else "experiment.py"]
        self.process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.PIPE if from_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if from_stdin:
            assert self.process.stdin is not None
            self.process.stdin.write(text)
            self.process.stdin.close()
            self.process.stdin = None

    def until(self, wanted: Callable[[str], bool]) -> str:
        """Read its output up to a line that is wanted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if wanted(line.strip()):
                return line.strip()
        raise AssertionError(f"ended before: {self.process.stderr and self.process.stderr.read()}")

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; exit code, the rest of its output, its errors."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Script]]:
    scripts: list[Script] = []

    def start(body: str, **options: Any) -> Script:
        scripts.append(Script(tmp_path, body, **options))
        return scripts[-1]

    yield start
    for script in scripts:
        if script.process.poll() is None:
            os.killpg(script.process.pid, signal.SIGKILL)
        script.process.communicate()


def writers(folder: Path) -> list[psutil.Process]:
    """Writer processes at work in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if "mulletdaq.hdf5.process" in (process.info["cmdline"] or []) and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def no_writer_left(folder: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while writers(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def whole(path: Path) -> int:
    """Check that rows 0, 1, 2, … of each run are all there; returns how many."""
    report = verify(path)
    assert report.ok, report.problems
    assert lost_rows(path) == 0
    expected: list[float] = []
    with h5py.File(path) as file:
        for run in file["runs"].values():
            expected += [float(row) for row in range(int(run.attrs["next_row"]))]
    assert joined(path).tolist() == expected
    return len(expected)


@pytest.mark.parametrize("from_stdin", [False, True], ids=["file", "stdin"])
def test_an_unguarded_script_run_twice(tmp_path: Path, run: Callable[..., Script], from_stdin: bool) -> None:
    body = """
    with mullet.record(path, channels={"voltage": "V"}, mode="a") as rec:
        for row in range(100):
            rec.write_measurement(float(row))
    """
    for _ in range(2):
        assert run(body, from_stdin=from_stdin).end() == (0, "", "")
    assert whole(tmp_path / "experiment_data.h5") == 200
    assert no_writer_left(tmp_path)


@pytest.mark.parametrize(
    ("ending", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('the laser is off')", 1), ("rec.close()", 0)],
    ids=["nothing", "SystemExit", "exception", "close"],
)
def test_a_script_that_never_leaves_a_with_block(
    tmp_path: Path, run: Callable[..., Script], ending: str, code: int
) -> None:
    body = f"""
    rec = mullet.record(path, channels={{"voltage": "V"}})
    for row in range(100):
        rec.write_measurement(float(row))
    {ending}
    """
    found, _, err = run(body).end()
    assert found == code, err
    assert whole(tmp_path / "experiment_data.h5") == 100
    assert no_writer_left(tmp_path)


def test_ctrl_c_loses_nothing(tmp_path: Path, run: Callable[..., Script]) -> None:
    script = run(ENDLESS)
    script.until(lambda line: line == "5000")
    os.killpg(script.process.pid, signal.SIGINT)  # as a terminal does: to script and writer
    code, _, err = script.end()
    assert code != 0
    assert err.strip().endswith("KeyboardInterrupt"), err
    assert whole(tmp_path / "experiment_data.h5") >= 5000
    assert no_writer_left(tmp_path)


def test_a_killed_script_loses_nothing(tmp_path: Path, run: Callable[..., Script], ring_directory: Path) -> None:
    script = run(ENDLESS)
    acknowledged = int(script.until(lambda line: line.isdigit() and int(line) >= 5000))
    script.process.kill()
    assert no_writer_left(tmp_path), "the writer drains and ends when its producer is dead"
    assert whole(tmp_path / "experiment_data.h5") >= acknowledged
    assert len(list(ring_directory.iterdir())) == 1, "a crash keeps the ring"
    body = """
    with mullet.record(path, channels={"voltage": "V"}, mode="a") as rec:
        rec.write_measurement(0.0)
    """
    assert run(body).end()[0] == 0
    assert whole(tmp_path / "experiment_data.h5") >= acknowledged + 1
    assert list(ring_directory.iterdir()) == []


def kill_both(script: Script, folder: Path) -> int:
    """Kill a script and its writer at once; returns the rows that the script had said it wrote."""
    acknowledged = int(script.until(lambda line: line.isdigit() and int(line) >= 5000))
    for writer in writers(folder):
        writer.suspend()
    rows = int(script.until(lambda line: line.isdigit() and int(line) >= acknowledged + 5000))
    os.killpg(script.process.pid, signal.SIGKILL)
    script.end()
    return rows


def test_script_and_writer_killed_then_mode_a(tmp_path: Path, run: Callable[..., Script], ring_directory: Path) -> None:
    rows = kill_both(run(ENDLESS), tmp_path)
    body = """
    with mullet.record(path, channels={"voltage": "V"}, mode="a") as rec:
        rec.write_measurement(0.0)
    """
    code, _, err = run(body).end()
    assert code == 0, err
    assert "rows that an earlier recording had left in memory" in err
    path = tmp_path / "experiment_data.h5"
    assert whole(path) >= rows + 1
    with h5py.File(path) as file:
        assert [int(run.attrs["next_row"]) >= 1 for run in file["runs"].values()] == [True, True]
    assert list(ring_directory.iterdir()) == []


def test_script_and_writer_killed_then_mode_x(tmp_path: Path, run: Callable[..., Script], ring_directory: Path) -> None:
    rows = kill_both(run(ENDLESS), tmp_path)
    (tmp_path / "experiment_data.h5").rename(tmp_path / "moved.h5")
    body = """
    with mullet.record(path, channels={"voltage": "V"}) as rec:
        rec.write_measurement(0.0)
    """
    code, _, err = run(body).end()
    assert code == 0, err
    assert "it is kept as" in err
    assert joined(tmp_path / "experiment_data.h5").tolist() == [0.0], "never mixed in"
    (aside,) = ring_directory.iterdir()
    with RingBuffer.open(aside) as ring:
        assert ring.newest_row >= rows


def damage(path: Path, offset: int = 0) -> None:
    """Write over a word of the first frame that is not in the file."""
    with RingBuffer.open(path) as ring:
        place = max(ring.read_tail, ring.oldest) % ring.capacity_bytes
    with path.open("r+b") as file:
        file.seek(128 + place + offset)
        file.write(b"\xff" * 8)


@pytest.mark.parametrize("offset", [0, 8], ids=["position", "length"])
def test_damage_in_what_was_left_behind_is_told_and_the_recording_begins(
    tmp_path: Path, run: Callable[..., Script], ring_directory: Path, offset: int
) -> None:
    kill_both(run(ENDLESS), tmp_path)
    (left,) = ring_directory.iterdir()
    damage(left, offset)
    body = """
    with mullet.record(path, channels={"voltage": "V"}, mode="a") as rec:
        rec.write_measurement(0.0)
    """
    code, _, err = run(body).end()
    assert code == 0, err
    assert "Traceback" not in err
    assert "cannot be read" in err or "lost" in err
    assert joined(tmp_path / "experiment_data.h5")[-1] == 0.0
    assert verify(tmp_path / "experiment_data.h5").ok


def test_damage_in_one_stream_keeps_nothing_of_the_others(
    tmp_path: Path, run: Callable[..., Script], ring_directory: Path
) -> None:
    rows = kill_both(run(ENDLESS_PAIR), tmp_path)
    (damaged,) = ring_directory.glob("*left*.ring")
    damage(damaged)
    body = """
    with mullet.record(path, streams={"scope": {"voltage": "V"}}, mode="a") as rec:
        rec["scope"].write_measurement(0.0)
    """
    code, _, err = run(body).end()
    assert code == 0, err
    assert "cannot be read" in err
    assert len(joined(tmp_path / "experiment_data.h5", "right")) >= rows
    (aside,) = ring_directory.iterdir()
    assert "left" in aside.name


def test_rows_of_other_streams_are_saved_too(tmp_path: Path, run: Callable[..., Script], ring_directory: Path) -> None:
    rows = kill_both(run(ENDLESS), tmp_path)
    body = """
    with mullet.record(path, streams={"scope": {"voltage": "V"}}, mode="a") as rec:
        rec["scope"].write_measurement(0.0)
    """
    code, _, err = run(body).end()
    assert code == 0, err
    path = tmp_path / "experiment_data.h5"
    assert len(joined(path)) >= rows
    assert joined(path, "scope").tolist() == [0.0]
    assert list(ring_directory.iterdir()) == []


def test_a_killed_writer_is_told_at_once(tmp_path: Path, run: Callable[..., Script]) -> None:
    script = run(ENDLESS)
    script.until(lambda line: line == "5000")
    (writer,) = writers(tmp_path)
    writer.kill()
    assert script.process.stderr is not None
    line = script.process.stderr.readline()
    assert "the HDF5 writer of" in line
    assert "was killed by SIGKILL" in line


@pytest.mark.parametrize("delay_s", [0.3, 0.45, 0.6])
def test_ctrl_c_while_it_starts_leaves_nothing(
    tmp_path: Path, run: Callable[..., Script], ring_directory: Path, delay_s: float
) -> None:
    """Whenever it comes: no file without a run, no ring, no process, and no half minute of waiting."""
    script = run(ENDLESS)
    time.sleep(delay_s)
    os.killpg(script.process.pid, signal.SIGINT)
    assert script.end()[0] != 0
    assert no_writer_left(tmp_path)
    assert list(ring_directory.iterdir()) == []
    path = tmp_path / "experiment_data.h5"
    if path.exists():
        assert whole(path) >= 0
        with h5py.File(path) as file:
            assert len(file["runs"]) == 1


def test_a_second_script_on_the_same_file_is_refused(tmp_path: Path, run: Callable[..., Script]) -> None:
    first = run(ENDLESS)
    first.until(lambda line: line == "recording")
    code, _, err = run('mullet.record(path, channels={"voltage": "V"}, mode="a").start()').end()
    assert code == 1
    assert f"process {first.process.pid} is recording to" in err
    os.killpg(first.process.pid, signal.SIGINT)
    first.end()
    assert whole(tmp_path / "experiment_data.h5") > 0


def test_the_parent_ends_while_a_forked_child_lives(tmp_path: Path, run: Callable[..., Script]) -> None:
    body = """
    import os
    rec = mullet.record(path, channels={"voltage": "V"})
    rec.write_measurement(0.0)
    if os.fork() == 0:
        try:
            rec.write_measurement(1.0)
        except mullet.MulletError as error:
            print(type(error).__name__, flush=True)
        sys.exit()
    os.wait()
    rec.write_measurement(1.0)
    """
    code, out, err = run(body).end()
    assert (code, out) == (0, "ProducerForkedError\n"), err
    assert whole(tmp_path / "experiment_data.h5") == 2


def test_files_by_index_get_the_rest_where_script_and_writer_were_killed(
    run: Callable[..., Script], tmp_path: Path
) -> None:
    """The ring is named after the first of them, though it is the last that is gone on in."""
    script = run(
        """
        import os, psutil, signal
        with mullet.record("night_{index:03d}.h5", channels={"voltage": "V"}, rotate_rows=10) as rec:
            rec.write_block(np.arange(25.0))
            rec.flush()
            writers = psutil.Process().children(recursive=True)
            for writer in writers:
                writer.suspend()
            rec.write_block(np.arange(25.0, 40.0))
            for writer in writers:
                writer.kill()
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert script.end()[0] == -signal.SIGKILL
    code, _, err = run(
        """
        with mullet.record("night_{index:03d}.h5", channels={"voltage": "V"}, rotate_rows=10, mode="a") as rec:
            rec.write_measurement(100.0)
        """
    ).end()
    assert code == 0 and "saved 15 rows" in err
    files = sorted(tmp_path.glob("night_*.h5"))
    assert all(verify(file).ok for file in files)
    stored = mullet.load(files[0], as_="arrow")["voltage"].to_pylist()
    assert stored == [*map(float, range(40)), 100.0]
