"""The Flight process: ``python -m mulletdaq.flight.process``, spoken to over its standard input and output."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from mulletdaq.children import leave_the_terminal_to_the_owner, take_output
from mulletdaq.errors import MulletError, RemoteError
from mulletdaq.flight.access import check_exposure, read_certificate, read_token
from mulletdaq.flight.limits import allow_connections, limit_memory, notice_dead_clients, private_bytes
from mulletdaq.flight.messages import error_message
from mulletdaq.flight.owner import Owner
from mulletdaq.flight.pipe import Alive, Failed, FlightOptions, Ready

_ALIVE_INTERVAL_S = 1.0
_LAST_ROWS_S = 1.0
_ON_THE_WAY_S = 0.5
"""What Flight was given to send is sent by then."""


def main() -> int:
    """Serve until the owner ends, or says so by SIGTERM."""
    leave_the_terminal_to_the_owner()
    # What gRPC logs is for its makers; a client that speaks no TLS would have it talk without end.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    output_fd = take_output()
    owner = Owner(0, output_fd)
    try:
        options = owner.read_options()
        _serve(options, owner)
    except EOFError:
        return 0
    except MulletError as error:
        owner.tell(Failed(error=error_message(error)))
        return 1
    # No thread of Flight's need be waited for: rings and uploads are as they would be after a kill.
    sys.stderr.flush()
    os._exit(0)


def _serve(options: FlightOptions, owner: Owner) -> None:
    from mulletdaq.flight.server import Service

    for warning in check_exposure(options):
        print(f"flight: warning: {warning}", file=sys.stderr, flush=True)
    token = None if options.token_file is None else read_token(options.token_file)
    certificate = read_certificate(options)
    try:
        service = Service(options, owner.ask, token, certificate)
    except Exception as error:
        where = f"{options.host}:{options.port}"
        raise RemoteError(f"cannot listen at {where}: {' '.join(str(error).split())}; is it in use?") from error
    allow_connections()
    notice_dead_clients()
    limit_memory(options.memory_limit_mb << 20, options.max_clients)
    _volunteer()

    def look() -> Alive:
        return Alive(streams=service.places.taken, memory_mb=private_bytes() >> 20)

    owner.tell(Ready(port=service.port))
    for work, arguments in ((owner.watch, (_ALIVE_INTERVAL_S, look)), (service.settle_uploads, ())):
        threading.Thread(target=work, args=arguments, daemon=True).start()
    owner.listen()
    if service.followers.end(_LAST_ROWS_S):
        last = threading.Thread(target=service.shutdown, daemon=True)
        last.start()
        last.join(_ON_THE_WAY_S)


def _volunteer() -> None:
    """Where the whole machine has no memory left, this process goes first: it costs nothing but a moment."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    sys.exit(main())
