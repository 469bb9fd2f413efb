"""Errors as one line and an exit code, in this process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mulletdaq import __version__
from mulletdaq.cli import app as app_module
from mulletdaq.cli.main import main
from mulletdaq.errors import FileFormatError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileFormatError("x.h5 is\n  not HDF5"), "mullet: x.h5 is not HDF5\n"),
        (FileNotFoundError(2, "No such file or directory", "x.h5"), "mullet: x.h5: No such file or directory\n"),
        (PermissionError(13, "Permission denied", b"x.h5"), "mullet: x.h5: Permission denied\n"),
        (OSError("something else"), "mullet: something else\n"),
        (OSError(), "mullet: OSError\n"),
    ],
)
def test_an_expected_error_is_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(app_module, "app", fail)
    assert main([]) == 1
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("made_of_it", [KeyboardInterrupt, app_module.Abort, 130])
def test_an_interrupt_is_one_line(
    made_of_it: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the version of typer makes of it."""

    def interrupted(**_: object) -> object:
        if isinstance(made_of_it, type):
            raise made_of_it
        return made_of_it

    monkeypatch.setattr(app_module, "app", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "mullet: interrupted\n"


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app_module, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_a_warning_is_one_line() -> None:
    code = (
        "import sys, warnings\n"
        "from mulletdaq.cli import app, main\n"
        "app.app = lambda **_: warnings.warn('the ring is\\n smaller')\n"
        "sys.exit(main.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "mullet: warning: the ring is smaller\n")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_extra_it_names_the_extra(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None\nfrom mulletdaq.cli.main import main\nsys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "mulletdaq[cli]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_does_not_load_what_it_does_not_need() -> None:
    code = (
        "import sys\nfrom mulletdaq.cli.main import main\nmain(['--help'])\n"
        "print([name for name in ('h5py', 'pyarrow', 'numpy', 'psutil') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_the_version_does_not_wait_for_what_prints_tables() -> None:
    code = (
        "import sys\nfrom mulletdaq.cli.main import main\nmain(['--version'])\n"
        "print([name for name in ('typer', 'rich', 'numpy') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"mulletdaq {__version__}\n", "[]\n")


def test_the_version_is_the_same_among_other_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "demo"]) == main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize(
    "command", ["demo", "record", "verify", "info", "export", "convert", "plot", "status", "tail", "bench"]
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 5
