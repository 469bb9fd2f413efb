"""Rows as lines."""

from __future__ import annotations

import pyarrow as pa

from mulletdaq.cli.rows import batch_lines, heading, message_line, utc
from mulletdaq.schema import Channel, arrow_schema


def test_heading_and_rows_are_aligned() -> None:
    schema = arrow_schema([Channel("voltage", "V"), Channel("open", dtype="bool")])
    batch = pa.record_batch([[1_700_000_000_123_456_789, 0], [1.5, -0.25], [True, False]], schema=schema)
    lines = [heading(schema), *batch_lines(batch)]
    assert [line.split() for line in lines] == [
        ["timestamp", "voltage", "[V]", "open"],
        ["2023-11-14T22:13:20.123456789Z", "1.5", "True"],
        ["1970-01-01T00:00:00.000000000Z", "-0.25", "False"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_waveforms_are_shortened() -> None:
    schema = arrow_schema([Channel("trace", shape=(6,), dtype="int16"), Channel("pair", shape=(2,), dtype="int16")])
    trace, pair = (
        pa.ExtensionArray.from_storage(schema.field(name).type, pa.array([list(range(n))], pa.list_(pa.int16(), n)))
        for name, n in (("trace", 6), ("pair", 2))
    )
    batch = pa.RecordBatch.from_arrays([pa.array([0], pa.int64()), trace, pair], schema=schema)
    (line,) = batch_lines(batch)
    assert "[0 1 2 3 … 6 values]" in line
    assert line.endswith("[0 1]")


def test_columns_of_any_kind_and_missing_values() -> None:
    batch = pa.record_batch({"word": ["a", None], "blob": [b"\x01\x02", b""], "x": [None, 2.0]})
    assert [line.split() for line in batch_lines(batch)] == [["a", "01", "02", "None"], ["None", "2"]]


def test_messages() -> None:
    assert message_line(b"\x00\xff", 0) == "1970-01-01T00:00:00.000000000Z         2 B  00 ff"
    assert message_line(bytes(20), 1).endswith("20 B  " + "00 " * 16 + "…")


def test_a_time_beyond_the_calendar_is_still_shown() -> None:
    assert utc(2**63 - 1) == "2262-04-11T23:47:16.854775807Z"
    assert utc(-1) == "1969-12-31T23:59:59.999999999Z"
    assert utc(2**80) == f"{2**80} ns"
