"""Clients of a daemon that is killed again and again: one that uploads, and one that reads live."""

from __future__ import annotations

import threading
import time

import pyarrow as pa

import mulletdaq

SCHEMA = pa.schema([pa.field("timestamp", pa.int64(), False), pa.field("value", pa.float64(), False)])
PATIENCE_S = 120.0
_ROWS = 50


def rows(first: int, count: int) -> pa.RecordBatch:
    """A batch whose values tell their row."""
    numbers = list(range(first, first + count))
    return pa.record_batch([pa.array(numbers, pa.int64()), pa.array(map(float, numbers), pa.float64())], schema=SCHEMA)


class _Client:
    """Something that a thread does until it is to end, and what went wrong."""

    def __init__(self, address: str, stream: str) -> None:
        self.error: BaseException | None = None
        self.begun, self.ended = threading.Event(), threading.Event()
        self._address = address
        self._stream = stream
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with mulletdaq.connect(self._address, patience_s=PATIENCE_S) as connection:
                self._work(connection)
        except BaseException as error:
            self.error = error
        self.begun.set()

    def _work(self, connection: mulletdaq.Connection) -> None:
        raise NotImplementedError

    def join(self) -> None:
        """Wait for its end; raises what it raised."""
        self._thread.join()
        if self.error is not None:
            raise self.error


class Uploader(_Client):
    """Uploads rows until it is to end; then all are acknowledged."""

    rows = 0
    reconnections = 0

    def _work(self, connection: mulletdaq.Connection) -> None:
        with connection.upload(self._stream, SCHEMA, on_full="block") as upload:
            self.begun.set()
            while not self.ended.is_set():
                upload.write(rows(self.rows, _ROWS))
                self.rows += _ROWS
                time.sleep(0.005)
            upload.flush()
            assert upload.rows_acknowledged == self.rows
            self.reconnections = upload.reconnections


class Reader(_Client):
    """Reads a stream from its first row on, and checks that each comes once, in order, with its value."""

    rows = 0
    reconnections = 0

    def _work(self, connection: mulletdaq.Connection) -> None:
        with connection.read(self._stream, start=0, heartbeat_s=0.2) as batches:
            for batch in batches:
                self.begun.set()
                assert (batch.first_row, batch.lost_rows) == (self.rows, 0)
                count = batch.batch.num_rows
                if count:
                    values = batch.batch.column("value").to_pylist()
                    assert values == [float(row) for row in range(self.rows, self.rows + count)]
                self.rows += count
                if self.ended.is_set():
                    break
            self.reconnections = batches.reconnections
