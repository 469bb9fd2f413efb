"""Every code block of README and docs is run, page by page, in a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest

import mulletdaq as mullet
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
DAEMON = "grpc://127.0.0.1:50051"
DAEMON_CONFIG = """
[daemon]
port = 0
data_folders = [".."]
disk_reserve_mb = 0
[streams.experiment_data]
ring_mb = 1
outputs = [{ path = "data.h5" }]
[streams.uploaded]
ring_mb = 1
outputs = [{ path = "uploaded.h5" }]
"""
INTERPRETERS = {"octave": ("octave-cli", "--norc", "octave"), "r": ("Rscript", "--vanilla", "r-bioc-rhdf5")}
"""Program, option, and Debian's package; each runs its blocks where it is."""


@dataclass
class Block:
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*match) for match in FENCE.findall(page.read_text())]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


START_DAEMON = """
import atexit as _atexit, os as _os, signal as _signal
def _start_daemon(command):
    daemon = _subprocess.Popen([*command, "--port", "0"], stdout=_subprocess.PIPE, text=True)
    def stop():
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        daemon.stdout.close()
    _atexit.register(stop)
    for line in daemon.stdout:
        if line.startswith("  address"):
            _os.environ["MULLET_ADDRESS"] = line.split()[1]
        if line == "ready for hardware\\n":
            return
    raise AssertionError("the daemon did not start")
"""


def run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MPLBACKEND": "Agg"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"


@pytest.fixture(scope="module")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` leaves."""
    folder = tmp_path_factory.mktemp("demo")
    run(["mullet", "demo", "--duration", "1"], folder)
    return folder


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """The address of a daemon with a stream that has rows, and one without."""
    config = tmp_path / "daemon" / "mullet.toml"
    config.parent.mkdir()
    config.write_text(DAEMON_CONFIG)
    command = [str(Path(sys.executable).parent / "mullet"), "daemon", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "ready for hardware\n"))
        with mullet.attach("experiment_data") as ring, ring.producer({"voltage": "V"}) as producer:
            for number in range(2000):
                producer.append(number * 0.5)
        yield next(line.split()[1] for line in lines if line.startswith("  address"))
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_code_blocks(page: Path, tmp_path: Path, demo_files: Path, request: pytest.FixtureRequest) -> None:
    """One script a page, commands between, with the demo's files there, and a daemon where one is spoken of.

    A page's TOML is its ``mullet.toml``.
    """
    shutil.copytree(demo_files, tmp_path, dirs_exist_ok=True)
    script = ["import subprocess as _subprocess", START_DAEMON]
    for block in blocks(page):
        if block.language == "python":
            script.append(block.text)
        elif block.language == "console":
            script += [as_python(line) for line in block.text.splitlines()]
        else:
            assert block.language in {"matlab", "toml", *INTERPRETERS}, (
                f"{page}: a block in {block.language!r} is not run"
            )
            if block.language == "toml":
                (tmp_path / "mullet.toml").write_text(block.text)
    text = "\n".join(script)
    if DAEMON in text:
        text = text.replace(DAEMON, request.getfixturevalue("daemon"))
    (tmp_path / "page.py").write_text(text)
    run([sys.executable, "-W", "error", "page.py"], tmp_path)
    for block in blocks(page):
        if block.language == "matlab":
            check_matlab(block.text, tmp_path)


@pytest.mark.parametrize("language", INTERPRETERS)
@pytest.mark.parametrize("page", [ROOT / "docs/how-to/open-elsewhere.md"], ids=name)
def test_blocks_in_other_languages(page: Path, language: str, tmp_path: Path) -> None:
    program, option, package = INTERPRETERS[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    if language == "r" and subprocess.run([program, "-e", "library(rhdf5)"], capture_output=True).returncode:
        pytest.skip(f"R has no rhdf5 (Debian: {package})")
    for kind in ("python", language):
        text = "\n".join(block.text for block in blocks(page) if block.language == kind)
        (tmp_path / f"page.{kind}").write_text(text)
    run([sys.executable, "page.python"], tmp_path)
    run([program, option, f"page.{language}"], tmp_path)


def as_python(line: str) -> str:
    """A command that the page's script runs; of make only the targets are checked, to end somewhere."""
    assert line.startswith("$ "), f"a console block shows commands only: {line}"
    command = shlex.split(line[2:])
    if command[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(command[1:]) <= set(targets), line
        return ""
    assert command[0] == "mullet", line
    if command[1] == "daemon":
        return f"_start_daemon({command!r})"
    return f"_subprocess.run({command!r}, check=True)"


def check_matlab(text: str, folder: Path) -> None:
    """No MATLAB here: check that what it reads is where it looks."""
    reads = re.findall(r"h5(?:read|info)\('([^']+)', (?:'([^']+)'|\[g\.Name '([^']+)'\])", text)
    assert reads
    for file_name, path, in_batch in reads:
        with h5py.File(folder / file_name) as file:
            assert (path or f"/measurements/batch_000001{in_batch}") in file


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"
