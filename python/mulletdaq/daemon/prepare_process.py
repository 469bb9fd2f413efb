"""Gives new rings their columns: ``python -m mulletdaq.daemon.prepare_process``.

A process of its own and soon over, because pyarrow is large, and neither the daemon nor its sources have another need
of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from mulletdaq.children import module_command, module_environment
from mulletdaq.errors import DaemonError, MulletError, ProducerLockedError, SchemaMismatchError
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel, arrow_schema

_TIMEOUT_S = 60.0

# ---- the side of whoever needs it


def prepare_rings(wanted: Iterable[tuple[str, Sequence[Channel]]]) -> list[str | None]:
    """Have a process give rings, by path, their columns.

    Returns
    -------
    list of str or None
        See :func:`prepare`.

    Raises
    ------
    DaemonError
        If it does not work.
    """
    lines = [json.dumps([path, [asdict(channel) for channel in channels]]) for path, channels in wanted]
    try:
        done = subprocess.run(
            module_command(__name__),
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            env=module_environment(),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DaemonError(f"the rings could not be given their columns within {_TIMEOUT_S:g} s") from None
    answers = done.stdout.splitlines()
    if done.returncode or len(answers) != len(lines):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DaemonError(f"the rings could not be given their columns: {last}")
    return [json.loads(answer) for answer in answers]


# ---- its own side


def prepare(path: str, channels: list[dict[str, Any]]) -> str | None:
    """Fix a ring's columns, if it has none yet.

    Returns
    -------
    str or None
        Empty if it has these columns now; else what keeps it from that. None where another producer is about to say
        which it has.
    """
    schema = arrow_schema([Channel(**{**one, "shape": tuple(one["shape"])}) for one in channels])
    try:
        with RingBuffer.open(path) as ring:
            there = ring.schema
            if there is None:
                ring.producer(schema).close()
            elif not there.equals(schema):
                raise SchemaMismatchError(f"it has the columns {', '.join(there.names)}, of other types or units")
    except ProducerLockedError:
        return None
    except MulletError as error:
        return str(error)
    return ""


def main() -> int:
    """Answer each line of standard input with one of standard output."""
    for line in sys.stdin:
        path, channels = json.loads(line)
        print(json.dumps(prepare(path, channels)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
