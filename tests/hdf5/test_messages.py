"""What goes over the pipe comes out the same."""

from __future__ import annotations

import pytest

from mulletdaq import errors
from mulletdaq.hdf5.messages import Note, Request, decode_event, decode_request, encode_event, encode_request
from mulletdaq.hdf5.statistics import StreamStatistics, WriterStatistics


@pytest.mark.parametrize(
    "request_",
    [Request(1, "flush", {"": 5}), Request(2, "stop", {}), Request(0, "annotate", note=Note("a\nb µ", 7, {"s": 1}))],
)
def test_requests(request_: Request) -> None:
    line = encode_request(request_)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode_request(line) == request_


def test_statistics() -> None:
    statistics = WriterStatistics(rows_persisted=3, streams={"a": StreamStatistics(1, 3, 0, 1, 3)})
    assert decode_event(encode_event("answer", statistics, 4)) == ("answer", 4, statistics)


@pytest.mark.parametrize(
    ("sent", "kind", "text"),
    [
        (errors.FileLockedError("held"), errors.FileLockedError, "held"),
        (errors.UnsupportedTypeError("column 'x'"), errors.UnsupportedTypeError, "column 'x'"),
        (MemoryError("none left"), errors.WriterError, "the writer failed: MemoryError: none left"),
        (errors.FileWriteError("disk full"), errors.FileWriteError, "disk full"),
    ],
)
def test_errors_keep_class_and_message(sent: Exception, kind: type[Exception], text: str) -> None:
    _, _, outcome = decode_event(encode_event("failed", sent))
    assert type(outcome) is kind
    assert str(outcome) == text
