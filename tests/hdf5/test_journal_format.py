"""The journal's page, and a reader written from it alone: both say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mulletdaq as mullet
from mulletdaq.hdf5.journal import JournaledFile, layout
from mulletdaq.hdf5.journal.reader import OverlayFile
from mulletdaq.hdf5.journal.recovery import recover
from tests.waiting import PATIENCE_S

from .journaled import crash, opened, write

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/read_journal.py"
PAGE = ROOT / "docs/reference/journal-format.md"


def dump(path: Path) -> tuple[list[str], bytes]:
    """What the example prints, and the image that it writes."""
    newest = path.with_name("newest")
    command = [sys.executable, str(EXAMPLE), str(path), str(newest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines(), newest.read_bytes()


def overlay(path: Path) -> bytes:
    """The newest image as the package lays it over FILE."""
    file = OverlayFile(path)
    try:
        return file.read()
    finally:
        file.close()


def content(file: Any) -> dict[str, Any]:
    """Every dataset and attribute of a file."""
    found = {f"@{name}": value.tolist() for name, value in file.attrs.items()}

    def add(name: str, item: Any) -> None:
        found.update({f"{name}@{key}": value.tolist() for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tolist()

    file.visititems(add)
    return found


def whole_pages(path: Path, image: bytes) -> bytes:
    """A file without what fills its last page."""
    content = path.read_bytes()
    assert len(content) - len(image) < 4096
    return content[: len(image)]


def test_the_example_is_short_and_needs_only_the_standard_library() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 80
    imports = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    assert imports and imports <= sys.stdlib_module_names


def test_a_recording_that_a_reader_keeps_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with mullet.record(path, channels={"voltage": "V"}, flush_interval_s=3600) as recording:
        with h5py.File(path, "r") as reader:
            for number in range(3):
                recording.write_block(np.arange(1000.0) + number, start_ns=0, rate_hz=1e3)
                recording.annotate(f"note {number}")
                recording.flush()
            said, image = dump(path)
            assert not len(reader["measurements"]), "nothing is applied while it reads"
            with mullet.open(path) as newest, h5py.File(tmp_path / "newest", "r") as theirs:
                assert content(theirs) == content(newest)
                assert len(newest["measurements"]) == 3
            assert image == overlay(path)
        frames = [line for line in said if line.startswith("frame")]
        assert len(frames) == 3
    assert dump(path) == ([], path.read_bytes()), "no journal: the file is complete"


def test_generations_and_frames_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, x=1)
    with JournaledFile(path) as journal, opened(journal) as file:
        first = journal.end
        file["y"] = 1
        journal.commit()
        with h5py.File(path, "r"):
            file["z"] = np.arange(5000)
            journal.commit()
            said, image = dump(path)
        assert len(said) == 3, said
        assert re.fullmatch(rf"generation 1: commit 0, end {first}, writer \d+", said[0])
        assert re.fullmatch(r"generation 2: commit 1, end \d+, writer \d+", said[1])
        assert re.fullmatch(rf"frame at 1024: commit 2, end {journal.end}, pages 0( \d+)*", said[2])
        assert journal.apply()
    assert image == whole_pages(path, image), "what was foreseen is what became of it"


def test_a_renewed_journal_has_one_frame_for_several_commits(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, x=1)
    journal = JournaledFile(path, limit_bytes=100_000)
    file = opened(journal)
    with h5py.File(path, "r"):
        for number in range(50):
            file.attrs["number"] = number
            journal.commit()
        said, image = dump(path)
        assert image == overlay(path)
        commits = [int(commit) for commit in re.findall(r"^frame at \d+: commit (\d+),", "\n".join(said), re.MULTILINE)]
        assert commits[0] > 1 and commits == list(range(commits[0], 51))
    file.close()
    journal.close()
    assert image == whole_pages(path, image)


@pytest.mark.parametrize("place", ["table", "image", "digest"])
def test_frames_from_a_damaged_one_on_do_not_count(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.h5"
    write(path, x=1)
    crash(path, y=[1, 2], z=3)
    journal = path.with_name("a.h5-journal")
    said, whole = dump(path)
    second = int(re.findall(r"^frame at (\d+):", "\n".join(said), re.MULTILINE)[1])
    damaged = bytearray(journal.read_bytes())
    damaged[second + {"digest": 48, "table": 64, "image": 600}[place]] ^= 1
    journal.write_bytes(damaged)
    left, image = dump(path)
    assert left == said[:-1] and image != whole
    assert image == overlay(path)
    assert recover(path).applied_commits == 1
    assert image == whole_pages(path, image)


def test_a_sealed_file_is_whole_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, x=1)
    crash(path, y=[1, 2])
    with path.open("r+b") as file:
        file.write(layout.SEAL)
    with pytest.raises(OSError, match="signature"):
        h5py.File(path, "r")
    _, image = dump(path)
    recover(path)
    assert image == whole_pages(path, image) and image.startswith(layout.SIGNATURE)


def test_a_journal_of_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, x=1)
    crash(path, y=[1, 2])
    copy = path.read_bytes()
    path.rename(tmp_path / "former")
    path.write_bytes(copy)
    done = subprocess.run([sys.executable, str(EXAMPLE), str(path)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "of another file" in done.stderr


def test_the_page_and_the_code_name_the_same_offsets() -> None:
    rows = re.findall(r"^\| (\d+) \| (?:u32|u64|\d+ bytes) \|", PAGE.read_text(), re.MULTILINE)
    of_header = [0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 68, 72, 88]
    of_frame = [0, 8, 12, 16, 24, 32, 48]
    assert [int(row) for row in rows] == [*of_header, *of_frame]

    salt = bytes(range(16))
    numbers = {"generation": 16, "base_end": 24, "file_end": 32, "commit": 40, "device": 48, "inode": 56, "pid": 64}
    header = layout.Header(**numbers, unpublished=True, salt=salt).encode()
    assert [header[offset] for offset in numbers.values()] == list(numbers.values()), "each number is its own offset"
    assert (header[68], header[72:88], len(header)) == (1, salt, 104)

    frame, digest = layout.encode_frame(bytes(16), salt, commit=16, end=24, pages={7: bytes(4096)})
    assert (frame[8], frame[16], frame[24], frame[64]) == (1, 16, 24, 7)
    assert (frame[32:48], frame[48:64], len(frame)) == (salt, digest, 512 + 4096)
