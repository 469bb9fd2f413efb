"""The writer's own process: ``python -m mulletdaq.hdf5.process``, spoken to over its standard input and output."""

from __future__ import annotations

import base64
import os
import pickle
import select
import signal
import sys
import time

from mulletdaq.children import leave_the_terminal_to_the_owner, take_output
from mulletdaq.hdf5.messages import Outcome, Request, decode_request, encode_event
from mulletdaq.hdf5.options import EngineOptions
from mulletdaq.hdf5.service import print_report
from mulletdaq.hdf5.statistics import WriterStatistics

_LAST_WORDS_S = 5.0


def encode_options(options: EngineOptions) -> bytes:
    """The first line a writer process reads.

    Pickled because metadata holds NumPy values; parent and child are the same interpreter with the same packages.
    """
    return base64.b64encode(pickle.dumps((os.getpid(), options))) + b"\n"


class PipeLink:
    """A :class:`~mulletdaq.hdf5.messages.Link` over two pipes.

    Writing never blocks: an owner that is stopped or busy must not keep rows from the file.
    """

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._input = b""
        self._output = b""
        self._ended = False
        self._owner_pid = os.getppid()
        self.terminated = False
        os.set_blocking(output_fd, False)

    def read_options(self) -> EngineOptions:
        """Read the first line; EOFError if the owner ended before it was there."""
        while b"\n" not in self._input and not self._ended:
            self._read(None)
        if b"\n" not in self._input:
            raise EOFError("the owner is gone")
        line, _, self._input = self._input.partition(b"\n")
        self._owner_pid, options = pickle.loads(base64.b64decode(line))
        if not isinstance(options, EngineOptions):
            raise TypeError("the first line holds no options")
        return options

    def receive(self, timeout_s: float) -> list[Request]:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        self._flush()
        if b"\n" not in self._input:
            self._read(timeout_s)
        *lines, self._input = self._input.split(b"\n")
        return [decode_request(line) for line in lines]

    def answer(self, number: int, outcome: Outcome) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        self._write(encode_event("answer", outcome, number))

    def publish(self, statistics: WriterStatistics) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        if not self._output:
            self._write(encode_event("statistics", statistics))

    def report(self, message: str) -> None:
        """See :class:`~mulletdaq.hdf5.messages.Link`."""
        if self.abandoned:
            print_report(message)
        else:
            self._write(encode_event("report", message))

    def announce(self, event: str, outcome: Outcome) -> None:
        """Tell that the writer is ``ready``, has ``failed``, or has ``ended``."""
        self._write(encode_event(event, outcome))

    def last_words(self) -> None:
        """Give the owner some time to take what was not yet written."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._output and not self.abandoned and time.monotonic() < deadline:
            select.select([], [self._output_fd], [], 0.1)
            self._flush()

    @property
    def abandoned(self) -> bool:
        """End of input, or another parent: a forked sibling of ours may hold the pipe open."""
        return self._ended or os.getppid() != self._owner_pid

    def _read(self, timeout_s: float | None) -> None:
        if self._ended:
            time.sleep(timeout_s or 0.0)  # an ended pipe is always readable
        elif select.select([self._input_fd], [], [], timeout_s)[0]:
            received = os.read(self._input_fd, 1 << 16)
            self._input += received
            self._ended = not received

    def _write(self, line: bytes) -> None:
        self._output += line
        self._flush()

    def _flush(self) -> None:
        try:
            while self._output:
                self._output = self._output[os.write(self._output_fd, self._output) :]
        except BlockingIOError:
            pass
        except OSError:
            self._output, self._ended = b"", True


def main() -> int:
    """Run a writer until it is stopped, terminated, or left alone."""
    leave_the_terminal_to_the_owner()
    output_fd = take_output()
    link = PipeLink(0, output_fd)

    def terminate(*_: object) -> None:
        link.terminated = True  # nothing else: HDF5 may be in the middle of anything

    signal.signal(signal.SIGTERM, terminate)
    code = _serve(link)
    link.last_words()
    return code


def _serve(link: PipeLink) -> int:
    try:
        options = link.read_options()
    except EOFError:
        return 0
    ready = False

    def tell_ready(statistics: WriterStatistics) -> None:
        nonlocal ready
        ready = True
        link.announce("ready", statistics)

    try:
        from mulletdaq.hdf5.loop import run_engine

        final = run_engine(options, link, tell_ready)
        link.announce("ended", final)
        return 0
    except BaseException as error:
        if ready:
            link.report(f"the HDF5 writer failed: {type(error).__name__}: {error}")
        else:
            link.announce("failed", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
