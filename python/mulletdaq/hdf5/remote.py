"""The owner's side of a writer that runs in its own process."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import Future
from contextlib import suppress

from mulletdaq.errors import WriterError
from mulletdaq.hdf5.messages import Request, decode_event, encode_request
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.process import encode_options
from mulletdaq.hdf5.service import Service, print_report
from mulletdaq.hdf5.statistics import WriterStatistics

_EXIT_TIMEOUT_S = 30.0


class ProcessService(Service):
    """A writer in a process of its own, so that neither h5py's lock nor a crash reaches the hardware loop.

    Started afresh, never forked; it stays in this process group and ends by itself, drained, if this process dies.

    Raises
    ------
    MulletError
        What kept the process from opening file or rings, by its own class.
    WriterError
        If the process ended before it was ready.
    """

    def __init__(self, options: EngineOptions) -> None:
        super().__init__()
        self._path = options.path
        self._ready: Future[WriterStatistics] = Future()
        self._ended = self._let_go = False
        self._send_lock = threading.Lock()
        self._process = _spawn()
        # A daemon: it owns no file, and must not keep the interpreter from ending.
        self._reader = threading.Thread(target=self._read_events, name="mulletdaq-hdf5-events", daemon=True)
        self._reader.start()
        try:
            self._write(encode_options(options))
            self.statistics = self._ready.result()
        except BaseException:
            # Our producers still live, so that it would not end by itself.
            with suppress(ProcessLookupError):
                self._process.terminate()
            self.join()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def join(self) -> None:
        """Close the pipe to the process, and wait for its end unless it still drains."""
        self._let_go = True
        stdin = self._process.stdin
        with self._send_lock:
            if stdin is not None:
                stdin.close()
        if not self._waiting:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_TIMEOUT_S)

    def _send(self, request: Request) -> None:
        self._write(encode_request(request))

    def _write(self, line: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with self._send_lock:
            try:
                while line:
                    line = line[stdin.write(line) :]
            except (OSError, ValueError):
                return  # the reader sees the process's end and says so to whoever waits

    def _ended_well(self) -> bool:
        return self._ended

    def _read_events(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        received = b""
        while chunk := os.read(stdout.fileno(), 1 << 16):
            *lines, received = (received + chunk).split(b"\n")
            for line in lines:
                self._take(line)
        stdout.close()
        end = WriterError(self._end_message(self._process.wait()))
        if not self._ready.done():
            self._ready.set_exception(end)
        if not self._let_go and self._ready.exception() is None:
            print_report(str(end))  # nobody may ask for hours, and the ring fills meanwhile
        self._finish(end)

    def _take(self, line: bytes) -> None:
        event, number, outcome = decode_event(line)
        if event == "report":
            print_report(str(outcome))
        elif event == "answer" and not isinstance(outcome, str):
            self._resolve(number, outcome)
        elif event == "failed" and isinstance(outcome, BaseException):
            self._ready.set_exception(outcome)
        elif isinstance(outcome, WriterStatistics):
            self.statistics = outcome
            if event == "ready":
                self._ready.set_result(outcome)
            self._ended = event == "ended"

    def _end_message(self, code: int) -> str:
        if self._ended:
            how = "ended by itself"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return (
            f"the HDF5 writer of {self._path} (process {self._process.pid}) {how}; "
            "the ring still holds the rows that are not in the file: start a new writer on both"
        )


def _spawn() -> subprocess.Popen[bytes]:
    # Ctrl-C reaches the child too, even before it can ignore it: it begins with the signal blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            # -P: what lies in the working directory is imported only where it is here
            [sys.executable, "-P", "-m", "mulletdaq.hdf5.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_extra_paths())},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _extra_paths() -> list[str]:
    """What this process searches for modules beyond an interpreter's own places, so that the child finds the same."""
    own = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    own.add(os.path.join(sysconfig.get_path("stdlib"), "lib-dynload"))
    return [os.path.abspath(path) for path in sys.path if path not in own and not path.endswith(".zip")]


__all__ = ["ProcessService"]
