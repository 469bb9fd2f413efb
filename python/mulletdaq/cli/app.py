"""The ``mullet`` command and its subcommands."""

from __future__ import annotations

from typing import Annotated

from mulletdaq import __version__
from mulletdaq.cli.bench import bench
from mulletdaq.cli.ctl import ctl, health
from mulletdaq.cli.daemon import config, daemon
from mulletdaq.cli.demo import demo
from mulletdaq.cli.files import info, recover, verify
from mulletdaq.cli.out import convert, export, plot
from mulletdaq.cli.record import record
from mulletdaq.cli.rings import status
from mulletdaq.cli.tail import tail
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

# typer carries click within itself, or depends on it, according to its version; its own name for this is the same.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
Abort: type[Exception] = typer.Abort

app = typer.Typer(
    name="mullet",
    help="Write at memory speed, keep plain HDF5: record, watch and check measurements.",
    epilog="Start with: mullet demo",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    print(f"mulletdaq {__version__}")
    raise typer.Exit


@app.callback(invoke_without_command=True)
def mullet(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Write at memory speed, keep plain HDF5: record, watch and check measurements."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (demo, record, daemon, health, verify, recover, info, export, convert, plot, status, tail, bench):
    app.command()(command)
app.add_typer(ctl)
app.add_typer(config)
