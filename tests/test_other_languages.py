"""Readers that have only the layout's page: the C header, and a reader in plain Python and NumPy."""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mulletdaq import _core
from mulletdaq.ring import RingBuffer
from mulletdaq.schema import Channel
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/read_ring.py"
HEADER = ROOT / "include/mulletdaq_ring.h"
CHANNELS = [
    Channel("value"),
    Channel("small", dtype="int16"),
    Channel("flag", dtype="bool"),
    Channel("last", dtype="uint32"),
]


@pytest.fixture(scope="module")
def read_ring() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_ring", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def columns(rows: Any) -> tuple[Any, ...]:
    return rows / 8, (rows % 30_000).astype(np.int16), rows % 3 == 0, rows.astype(np.uint32)


def both_read(reader: Any, cursor: Any) -> None:
    """Everything there is, through both; they must agree."""
    theirs: dict[str, list[Any]] = {}
    while (arrays := reader.read()) is not None:
        for name, values in arrays.items():
            theirs.setdefault(name, []).append(values)
    ours = []
    while (batch := cursor.read()) is not None:
        ours.append(batch)
    assert reader.row == cursor.row
    assert reader.lost == cursor.lost_rows
    for name in ("timestamp", "value", "small", "last"):
        expected = np.concatenate([batch[name].to_numpy() for batch in ours])
        assert np.array_equal(np.concatenate(theirs[name]), expected)


def test_the_example_is_short_and_needs_only_numpy() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 80
    imports = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imports - sys.stdlib_module_names == {"numpy"}


def test_it_agrees_with_the_native_cursor(ring_directory: Path, read_ring: ModuleType) -> None:
    path = ring_directory / "live.ring"
    with RingBuffer.create(path, capacity_bytes=1 << 18) as ring:
        producer = ring.producer(CHANNELS)
        reader, cursor = read_ring.Ring(str(path)), ring.cursor()
        for row in range(100):
            producer.append(row / 8, row, row % 3 == 0, row)
            if row % 7 == 0:
                both_read(reader, cursor)
        for first, last in ((100, 5_000), (5_000, 5_001), (5_001, 9_000)):
            producer.append_block(*columns(np.arange(first, last)))
            both_read(reader, cursor)
        assert reader.lost == 0
        producer.append_block(*columns(np.arange(9_000, 60_000)))
        # Overtaken by several rings: where each goes on is its own affair, what it counts is not.
        while (arrays := reader.read()) is not None:
            last = int(arrays["last"][-1])
            assert np.array_equal(arrays["last"], np.arange(last + 1 - len(arrays["last"]), last + 1))
        assert reader.row == 60_000
        assert reader.lost > 0


def test_it_reads_another_process(ring_directory: Path) -> None:
    path = ring_directory / "live.ring"
    with RingBuffer.create(path, capacity_bytes=1 << 18) as ring:
        producer = ring.producer(CHANNELS)
        producer.append(0.125, 1, True, 1)
        done = subprocess.run(
            [sys.executable, EXAMPLE, str(path), "0.5"], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
    row, rest = done.stdout.strip().split(" ", 1)
    assert row == "1"
    assert "'value': 0.125" in rest
    assert rest.endswith("lost 0")


def test_the_c_header_is_the_layout(ring_directory: Path, tmp_path: Path) -> None:
    """Compiled as C11, and C++ where there is a compiler, it reads the header of a real ring."""
    program = tmp_path / "read.c"
    program.write_text(
        """
        #include "mulletdaq_ring.h"
        #include <assert.h>
        #include <stdio.h>
        static_assert(sizeof(struct mulletdaq_header) == 128, "header");
        static_assert(sizeof(struct mulletdaq_frame) == 64, "frame");
        int main(int count, char **words)
        {
            FILE *file = fopen(words[count - 1], "rb");
            struct mulletdaq_header header;
            struct mulletdaq_frame frame;
            if (!file || fread(&header, sizeof header, 1, file) != 1) return 1;
            fseek(file, (long)mulletdaq_file_offset(header.oldest, header.capacity), SEEK_SET);
            if (fread(&frame, sizeof frame, 1, file) != 1) return 1;
            printf("%d %llu %llu %u %u %llu %llu\\n", header.magic == MULLETDAQ_MAGIC,
                (unsigned long long)header.capacity, (unsigned long long)header.stream_id, header.version,
                frame.kind, (unsigned long long)frame.length,
                (unsigned long long)mulletdaq_frame_span(frame.length));
            return 0;
        }
        """
    )
    path = ring_directory / "c.ring"
    with RingBuffer.create(path, capacity_bytes=4096) as ring:
        ring.write(b"x" * 100)
        expected = f"1 4096 {ring.stream_id} {_core.LAYOUT_VERSION} {_core.KIND_OPAQUE} 100 192\n"
        compilers = [("cc", ["-std=c11"]), ("c++", ["-x", "c++", "-std=c++11"])]
        for compiler, options in compilers:
            if shutil.which(compiler) is None:
                assert compiler != "cc", "the build needed a C compiler's linker"
                continue
            built = tmp_path / compiler.replace("+", "x")
            warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
            command = [compiler, *options, *warnings, f"-I{HEADER.parent}", str(program), "-o", str(built)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            assert subprocess.run([built, path], capture_output=True, text=True, check=True).stdout == expected


def test_the_page_and_the_header_name_the_same_offsets() -> None:
    """Each row of the page's header tables is where the code has it."""
    page = (ROOT / "docs/reference/ring-layout.md").read_text()
    offsets = [int(match) for match in re.findall(r"^\| (\d+) \| u(?:32|64) \|", page, re.MULTILINE)]
    header = struct.calcsize("<4Q2I5Q2I4Q2I")
    assert (header, struct.calcsize("<6Q4I")) == (_core.HEADER_BYTES, _core.FRAME_HEADER_BYTES)
    of_header = [0, 8, 16, 24, 32, 36, 40, 48, 56, 64, 72, 80, 84, 88, 96, 104, 112, 120, 124]
    of_frame = [0, 8, 16, 24, 32, 40, 48, 52, 56, 60]
    assert offsets == [*of_header, *of_frame]
