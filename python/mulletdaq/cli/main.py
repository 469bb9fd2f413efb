"""Entry of the ``mullet`` command: run it, and turn every expected error into one line and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from mulletdaq import __version__
from mulletdaq.errors import MulletError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_OPTIONS = {
    'mode="a"': "--append",
    'layout="continuous"': "--layout continuous",
    "with stream=": "with --stream",
    "with run=": "with --run",
    "with force": "with --force",
    "set parts=False": "give --this-file",
    "start=": "--start ",
    "stop=": "--stop ",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The words after ``mullet``; None for those of this process.

    Returns
    -------
    int
        0, 1 (failed) or 2 (wrong usage); 130 if interrupted where nothing had to be finished.
    """
    _tolerate_narrow_encodings()
    warnings.showwarning = _show_warning
    try:
        return _run(arguments)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except (MulletError, OSError) as error:
        return _fail(_one_line(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)


def _run(arguments: Sequence[str] | None) -> int:
    if (sys.argv[1:] if arguments is None else list(arguments)) == ["--version"]:
        print(f"mulletdaq {__version__}")  # here, since scripts that ask for it need not wait for typer and rich
        return EXIT_OK
    from mulletdaq.cli.app import Abort, UsageError, app

    try:
        result = app(args=None if arguments is None else list(arguments), prog_name="mullet", standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(_usage(error), EXIT_USAGE)
    except Abort:  # what older versions of typer make of Ctrl-C
        raise KeyboardInterrupt from None
    except SystemExit:
        # typer leaves this way for one reason only: standard output has no reader any more.
        raise BrokenPipeError from None
    if result == EXIT_INTERRUPTED:  # what newer ones make of it
        raise KeyboardInterrupt
    return result if isinstance(result, int) else EXIT_OK


def _usage(error: Exception) -> str:
    """A usage error in one line, with the help to look at."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "mullet")
    message = getattr(error, "format_message", error.__str__)()
    return f"{message.rstrip('.')}; see {command} --help"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, MulletError) and error.strerror:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def _fail(message: str, code: int) -> int:
    print(f"mullet: {_for_the_command_line(message)}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"mullet: warning: {_for_the_command_line(str(message))}", file=sys.stderr)


def _for_the_command_line(message: str) -> str:
    """One line, with the option's name where the message names the argument behind it."""
    line = " ".join(message.split())
    for argument, option in _OPTIONS.items():
        line = line.replace(argument, option)
    return line


def _tolerate_narrow_encodings() -> None:
    """A terminal that can't show µ gets a question mark, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
