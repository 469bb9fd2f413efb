"""Programs that know nothing of us print the values that were written, in both layouts, with gzip."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.waiting import PATIENCE_S

from .files import LAYOUTS, Recorded, record

PROGRAMS = Path(__file__).parent / "programs"
NUMBER = re.compile(r"-?[\d.]+(?:e[-+]?\d+)?|nan", re.IGNORECASE)
INDEX = re.compile(r"\([\d,]+\)")
TEXT = re.compile(r'"(\w+)')


@pytest.fixture(scope="module", params=LAYOUTS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("foreign"), request.param)


def paths(recorded: Recorded) -> list[str]:
    return [f"measurements/{name}" for name in recorded.datasets]


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


def module(name: str) -> str:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install {name})")
    return sys.executable


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and "HDF5-DIAG" not in done.stderr, done.stderr[-3000:]
    return done.stdout


def check(recorded: Recorded, printed: str) -> None:
    """Lines of path, kind and content: bytes by their type, numbers of 17 digits, or words."""
    lines = [line.split(" ") for line in printed.splitlines()]
    assert [line[0] for line in lines] == paths(recorded)
    for (path, kind, *words), expected in zip(lines, recorded.datasets.values(), strict=True):
        if isinstance(expected, list):
            assert (kind, [word for word in words if word]) == ("text", expected), path
        elif kind == "numbers":
            missing = str(np.iinfo(np.int32).min)  # the same number to R
            assert_numbers(path, [word.replace("NA", missing) for word in words if word], expected, relative=0)
        else:
            found = expected.astype(np.float64) if kind == "double" else expected  # Octave makes one of float32
            assert kind in ("double", expected.dtype.name), path
            [content] = words
            assert bytes.fromhex(content) == found.tobytes(), path


def assert_numbers(path: str, words: list[str], expected: Any, *, relative: float) -> None:
    """That words are the numbers, as exactly as the program prints them; integers are compared as such."""
    flat = expected.reshape(-1)
    assert len(words) == flat.size, path
    if expected.dtype.kind == "f" or relative == 0:
        found = np.array([float(word) for word in words])
        np.testing.assert_allclose(found, flat.astype(np.float64), rtol=relative, atol=0, err_msg=path)
    else:
        assert [int(word) for word in words] == flat.tolist(), path


def test_the_files_are_compressed_and_chunked(recorded: Recorded) -> None:
    """Or what others read would say less than it seems."""
    with h5py.File(recorded.path) as file:
        filters = {path: (file[path].compression, file[path].shuffle) for path in paths(recorded)}
    assert all(filters[path] == ("gzip", True) for path in paths(recorded) if path.endswith("float64"))
    assert sum(kind[0] == "gzip" for kind in filters.values()) >= len(filters) / 2


def test_h5dump(recorded: Recorded) -> None:
    words = [word for path in paths(recorded) for word in ("-d", f"/{path}")]
    printed = run(program("h5dump", "hdf5-tools"), "-y", "-w", 0, "-m", "%.17g", *words, recorded.path)
    found = re.findall(r'DATASET "/(.+?)" \{.*?DATA \{\n(.*?)\n   \}', printed, re.DOTALL)
    assert [path for path, _ in found] == paths(recorded)
    for (path, content), expected in zip(found, recorded.datasets.values(), strict=True):
        if isinstance(expected, list):
            assert TEXT.findall(content) == expected, path
        else:
            assert_numbers(path, NUMBER.findall(content), expected, relative=1e-16)


def test_h5ls(recorded: Recorded) -> None:
    h5ls = program("h5ls", "hdf5-tools")
    listed = run(h5ls, "-r", recorded.path)
    for path, expected in recorded.datasets.items():
        place = f"/measurements/{path}"
        assert re.search(rf"^{re.escape(place)} +Dataset \{{{len(expected)}[/,}}]", listed, re.MULTILINE), place
        content = INDEX.sub("", run(h5ls, "-d", "-w", 0, f"{recorded.path}{place}").partition("Data:")[2])
        if isinstance(expected, list):
            assert TEXT.findall(content) == expected, path
        else:
            assert_numbers(path, NUMBER.findall(content), expected, relative=1e-5)


def test_octave(recorded: Recorded) -> None:
    octave = program("octave-cli", "octave")
    check(recorded, run(octave, "--norc", PROGRAMS / "octave.m", recorded.path, *paths(recorded)))


def test_r(recorded: Recorded) -> None:
    rscript = program("Rscript", "r-bioc-rhdf5")
    if subprocess.run([rscript, "-e", "library(rhdf5)"], capture_output=True).returncode:
        pytest.skip("R has no rhdf5 (Debian: r-bioc-rhdf5)")
    check(recorded, run(rscript, PROGRAMS / "rhdf5.R", recorded.path, *paths(recorded)))


@pytest.mark.parametrize(("name", "needs"), [("netcdf4", "netCDF4"), ("pytables", "tables"), ("xarray", "h5netcdf")])
def test_python(recorded: Recorded, name: str, needs: str) -> None:
    python = module(needs)
    module(name if name == "xarray" else needs)
    check(recorded, run(python, PROGRAMS / f"read_{name}.py", recorded.path, *paths(recorded)))
