"""The daemon's process: ``python -m mulletdaq.daemon.process``, which ``mullet daemon`` becomes.

The configuration comes as JSON on standard input: what reads and checks it is much larger than what it is needed for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from mulletdaq.config import Config
from mulletdaq.daemon.banner import banner
from mulletdaq.daemon.log import Log
from mulletdaq.daemon.supervisor import Daemon
from mulletdaq.errors import MulletError
from mulletdaq.extras import needs_extra

with needs_extra("daemon"):
    import msgspec

_PATIENCE = 3
"""So many signals, and it goes at once; the writers then finish by themselves."""


def main() -> int:
    """Run the daemon until it is told to end; 0, or 1 if it could not start or not everything is in the files."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = Log(as_json=config.daemon.log_json)
    try:
        return asyncio.run(_run(config, log))
    except MulletError as error:
        if config.daemon.log_json:
            log.say("error", "start_failed", str(error))
        print(f"mullet: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


async def _run(config: Config, log: Log) -> int:
    daemon = Daemon(config, log)
    signals = 0

    def take_signal(name: str) -> None:
        nonlocal signals
        signals += 1
        if signals >= _PATIENCE:
            os._exit(130)
        log.say("info", "stopping", f"{name}: bringing everything into the files")
        daemon.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ask for that
            loop.add_signal_handler(number, take_signal, number.name)

    def tell_ready() -> None:
        lines = list(banner(daemon))
        if config.daemon.log_json:
            log.say("info", "ready", "; ".join(" ".join(line.split()) for line in lines), address=daemon.address)
        else:
            print("\n".join(lines), flush=True)

    whole = await daemon.run(tell_ready)
    log.say("info", "stopped", "all is in the files" if whole else "not all is in the files, the rings keep the rest")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
