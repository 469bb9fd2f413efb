"""Gives new rings their columns: ``python -m mulletdaq.daemon.prepare_process``, run once by the daemon as it starts.

A process of its own, because pyarrow is large, and the daemon itself has no need of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mulletdaq.errors import MulletError, ProducerLockedError, SchemaMismatchError
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel, arrow_schema


def prepare(path: str, channels: list[dict[str, Any]]) -> str:
    """Fix a ring's columns, if it has none yet.

    Returns
    -------
    str
        Empty if it has these columns now; else what keeps it from that.
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
        return ""  # whoever produces is told when its columns differ, and so are we, at the next start
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
