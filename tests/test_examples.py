"""The examples, run as their reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from tests.waiting import PATIENCE_S

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, name: str, *words: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def column(path: Path, name: str) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return np.concatenate([batch[name][:] for batch in file["measurements"].values()])


def test_from_the_hardware_loop_to_the_plot(tmp_path: Path, ring_directory: Path) -> None:
    said = run(tmp_path, "hardware_loop.py", "experiment_data.h5", "0.5")
    samples = column(tmp_path / "experiment_data.h5", "voltage").size
    assert f"{samples} samples, 0 lost" in said
    assert samples > 0
    said = run(tmp_path, "read_experiment.py", "experiment_data.h5", "plot.png")
    assert f"{samples} samples of voltage" in said
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert list(ring_directory.iterdir()) == []


def test_reading_joins_all_batches_and_decodes_units(tmp_path: Path) -> None:
    run(tmp_path, "custom_writer.py", "custom.h5", "500")
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "import read_experiment\n"
        "columns, units = read_experiment.read('custom.h5')\n"
        "print({name: len(values) for name, values in columns.items()}, units['voltage'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "{'shutter': 500, 'timestamp': 500, 'voltage': 500} V\n"


def test_the_custom_writer_saves_every_sample(tmp_path: Path, ring_directory: Path) -> None:
    said = run(tmp_path, "custom_writer.py", "custom.h5", "1234")
    assert "1234 samples" in said
    assert "0 lost" in said
    np.testing.assert_array_equal(column(tmp_path / "custom.h5", "voltage"), np.sin(np.arange(1234) / 50))
    np.testing.assert_array_equal(column(tmp_path / "custom.h5", "shutter"), np.arange(1234) % 100 < 50)
    assert list(ring_directory.iterdir()) == []


def test_the_matlab_script_names_only_what_is_in_a_file(tmp_path: Path) -> None:
    """MATLAB itself is not here; that each name in the script exists can be tested without it."""
    run(tmp_path, "hardware_loop.py", "experiment_data.h5", "0.3")
    lines = (EXAMPLES / "read_experiment.m").read_text(encoding="utf-8").splitlines()
    script = "\n".join(line.partition("%")[0] for line in lines)
    strings = dict(re.findall(r"^(\w+) = '([^']*)';", script, re.MULTILINE))
    assert strings["filename"] == "experiment_data.h5"

    with h5py.File(tmp_path / strings["filename"], "r") as file:
        (root,) = re.findall(r"h5info\(filename, '([^']+)'\)", script)
        batches = list(file[root].values())
        assert batches
        assert all(isinstance(batch, h5py.Group) for batch in batches)

        read = re.findall(r"h5read\(filename, \[batches\{k\} ([^\]]+)\]\)", script)
        assert len(read) == 2
        for expression in read:
            for batch in batches:
                assert isinstance(batch[evaluate(expression, strings)], h5py.Dataset)

        attributes = re.findall(r"h5readatt\(filename, (\[batches\{1\} [^\]]+\]|'/'), '(\w+)'\)", script)
        assert len(attributes) == 2
        for where, attribute in attributes:
            target = file if where == "'/'" else batches[0][evaluate(where[len("[batches{1} ") : -1], strings)]
            assert attribute in target.attrs


def evaluate(expression: str, variables: dict[str, str]) -> str:
    """A MATLAB concatenation of texts and variables, as a path below a batch."""
    words = (word[1:-1] if word.startswith("'") else variables[word] for word in expression.split())
    return "".join(words).removeprefix("/")
