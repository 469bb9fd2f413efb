"""``mullet daemon`` and ``mullet config check``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mulletdaq.errors import ConfigError
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    import typer

if TYPE_CHECKING:
    from mulletdaq.config import Config

config = typer.Typer(name="config", help="Look at the daemon's configuration.", no_args_is_help=True)


def daemon(
    file: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="TOML; one stream in one file if not given.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Instead of the file's.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", metavar="N", min=0, max=65535, help="Instead of the file's; 0: any.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Be reachable from elsewhere without token and TLS.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
) -> None:
    """Record streams day and night: rings, sources, files, and Arrow Flight for clients.

    Ctrl-C or SIGTERM ends it, and everything is in the files then.
    """
    from mulletdaq.daemon.checks import load_config

    given = {"host": host, "port": port, "insecure": insecure or None, "log_json": log_json or None}
    config = load_config(file, **{name: value for name, value in given.items() if value is not None})
    _become_the_daemon(config)


def _become_the_daemon(config: Config) -> None:
    """Replace this process, with all that it has loaded to get here, by the daemon."""
    from mulletdaq.children import module_command, module_environment

    with needs_extra("daemon"):
        import msgspec
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(config))
        file.seek(0)
        os.dup2(file.fileno(), 0)
        sys.stdout.flush()
        os.execve(sys.executable, module_command("mulletdaq.daemon.process"), module_environment())


@config.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file.")]) -> None:
    """Say what is wrong with a configuration, all of it at once.

    Exit code 1 when something is.
    """
    from mulletdaq.daemon.checks import load_config

    try:
        found = load_config(file)
    except ConfigError as error:
        if len(error.mistakes) == 1:
            raise
        for mistake in error.mistakes:
            print(mistake)
        raise ConfigError(f"{file} has {len(error.mistakes)} mistakes") from None
    outputs = sum(len(stream.outputs) for stream in found.streams.values()) + len(found.outputs)
    print(f"{file}: {len(found.streams)} streams, {outputs} outputs, no mistakes")
