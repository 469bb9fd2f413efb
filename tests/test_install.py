"""The install script says in one line what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parent.parent
TOOLS = ("sh", "env", "uname", "sort", "head", "sed", "cut", "dirname", "printf", "rm", "touch", "cat", "grep")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with a copy of what the script needs, and a folder of programs that is its whole PATH."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/install.sh", "tools/requirements.py", "Cargo.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (programs / tool).symlink_to(found)
    program(programs, "python3", f'exec {sys.executable} "$@"')
    program(programs, "cargo", "echo cargo 1.95.0")
    program(programs, "rustc", "echo rustc 1.95.0 '(x 2026-04-14)'")
    program(programs, "cc", "true")
    return tmp_path


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{shutil.which('sh')}\n{body}\n")
    path.chmod(0o755)


def install(machine: Path) -> str:
    """What it says on standard error; it must have failed, and made nothing."""
    result = subprocess.run(
        ["tools/install.sh", "test"],
        cwd=machine,
        env={"PATH": str(machine / "bin"), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 1, result.stdout
    assert not (machine / ".venv").exists()
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("rustc", "echo rustc 1.63.0", "needs Rust 1.88 or newer, this is 1.63.0; get it from https://rustup.rs"),
        ("cargo", None, "needs cargo 1.88 or newer, and there is none; get it from https://rustup.rs"),
        ("cargo", '[ "$1" != clippy ]', "needs clippy for the checks; get it with: rustup component add clippy"),
        ("cargo", '[ "$1" != fmt ]', "needs rustfmt for the checks; get it with: rustup component add rustfmt"),
        ("cc", None, "needs a C linker; get it with: sudo apt install gcc"),
        ("python3", None, "needs Python 3.11 or newer as python3"),
        ("python3", "exit 1", "needs Python 3.11 or newer as python3"),
        (
            "python3",
            f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"',
            "Python's venv module is missing; get it with: sudo apt install python3-venv",
        ),
    ],
)
def test_missing_and_old_tools(machine: Path, name: str, body: str | None, said: str) -> None:
    (machine / "bin" / name).unlink()
    if body is not None:
        program(machine / "bin", name, body)
    assert said in install(machine)
