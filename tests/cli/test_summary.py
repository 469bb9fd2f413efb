"""The command to type next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from mulletdaq.cli.summary import next_command


def test_a_command_on_the_path_is_named_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = make_script(tmp_path / "bin" / "mullet")
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    monkeypatch.chdir(tmp_path)
    assert next_command("verify", tmp_path / "out.h5") == "mullet verify out.h5"


def test_one_that_the_shell_would_not_find_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = make_script(tmp_path / ".venv" / "bin" / "mullet")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    monkeypatch.chdir(tmp_path)
    assert next_command("verify", tmp_path / "out.h5") == ".venv/bin/mullet verify out.h5"


def test_one_that_another_program_hides_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = make_script(tmp_path / ".venv" / "bin" / "mullet")
    other = make_script(tmp_path / "bin" / "mullet")
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    monkeypatch.chdir(tmp_path)
    assert next_command("verify", tmp_path / "out.h5") == ".venv/bin/mullet verify out.h5"


def test_a_module_is_run_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/mulletdaq/__main__.py", "demo"])
    monkeypatch.chdir(tmp_path)
    words = shlex.split(next_command("verify", tmp_path / "with space.h5"))
    assert words[1:] == ["-m", "mulletdaq", "verify", "with space.h5"]
    assert (tmp_path / words[0]).samefile(sys.executable)


def make_script(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path
