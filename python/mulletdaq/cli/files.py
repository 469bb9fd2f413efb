"""``mullet verify`` and ``mullet info``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from mulletdaq.cli.options import Json
from mulletdaq.cli.output import print_json, print_lines, waiting
from mulletdaq.cli.rings import is_ring, print_ring
from mulletdaq.errors import FileFormatError, FileLockedError, RingNotFoundError
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer


def verify(
    path: Annotated[str, typer.Argument(metavar="FILE", help="An HDF5 file that mulletdaq wrote.")],
    as_json: Json = False,
) -> None:
    """Print what is in a file, and check all that a reader relies on.

    Exit code 1, and the reason, when something is wrong.
    """
    from mulletdaq.hdf5.verify import verify as verify_file

    with waiting(f"checking {path}"):
        report = verify_file(path)
    if as_json:
        print_json(asdict(report) | {"ok": report.ok})
    else:
        print_lines(report.lines)
        print_lines([f"warning: {warning}" for warning in report.warnings])
        print_lines([f"problem: {problem}" for problem in report.problems])
    if not report.ok:
        others = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise FileFormatError(f"{path}: {report.problems[0]}{others}")


def recover(
    path: Annotated[str, typer.Argument(metavar="FILE", help="The output of a recording that was killed.")],
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take the journal though FILE was copied here, or changed since.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Finish or discard what a crash left beside FILE, and write out what its rings still hold.

    A healthy file is not touched.
    """
    from mulletdaq.recording import recover_recording

    with waiting(f"recovering {path}"):
        recovery = recover_recording(path, adopt=adopt, dry_run=dry_run)
    if as_json:
        print_json(asdict(recovery) | {"healthy": recovery.healthy})
    else:
        print_lines(recovery.lines())
    if recovery.still_pending:
        raise FileLockedError(f"another program reads {recovery.still_pending}; close it there, and recover again")


def info(
    what: Annotated[str, typer.Argument(metavar="RING|FILE", help="Name or path of a ring, or an HDF5 file.")],
    as_json: Json = False,
) -> None:
    """Show what a ring or a file is: its channels, its runs, how much is in it."""
    if is_ring(what):
        print_ring(what, as_json)
        return
    if not Path(what).exists():
        try:
            print_ring(what, as_json)
        except RingNotFoundError as error:
            raise RingNotFoundError(f"there is no file {what}, and {error}") from None
        return
    from mulletdaq.hdf5.describe import describe

    description = describe(what)
    if as_json:
        print_json({"kind": "file"} | asdict(description))
    else:
        print_lines(description.lines())
