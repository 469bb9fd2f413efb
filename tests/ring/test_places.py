"""Where rings live, what they are called, and what happens where there is no room."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulletdaq.errors import RingAccessError, RingExistsError, RingNotFoundError, RingSpaceError
from mulletdaq.ring import RingBuffer, create_ring, list_rings, output_ring_name, ring_path
from mulletdaq.ring import ring_directory as find_directory
from tests.ring.support import line_from, run_python, running_python

# ---- the folder


def test_chosen_folder(ring_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MULLET_RING_DIR is made with its parents, for this user only."""
    assert find_directory() == ring_directory
    chosen = ring_directory / "deep" / "er"
    monkeypatch.setenv("MULLET_RING_DIR", str(chosen))
    before = os.umask(0)
    try:
        assert find_directory() == chosen
        assert find_directory() == chosen
    finally:
        os.umask(before)
    assert chosen.stat().st_mode & 0o777 == 0o700
    assert ring_path("x") == chosen / "x.ring"


def test_folder_that_others_may_write_to(ring_directory: Path) -> None:
    """Somebody could put a ring of his own there."""
    for mode in (0o770, 0o707, 0o777):
        ring_directory.chmod(mode)
        with pytest.raises(RingAccessError, match=re.escape(str(ring_directory))):
            find_directory()
    ring_directory.chmod(0o755)
    assert find_directory() == ring_directory


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_folder_of_somebody_else(ring_directory: Path) -> None:
    """Not ours to trust."""
    os.chown(ring_directory, 54_321, 54_321)
    with pytest.raises(RingAccessError):
        find_directory()


def test_folder_that_is_a_file(ring_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError that names it."""
    file = ring_directory / "file"
    file.write_text("x")
    monkeypatch.setenv("MULLET_RING_DIR", str(file))
    with pytest.raises(OSError, match=re.escape(str(file))):
        find_directory()


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """One per user, in shared memory where there is some."""
    monkeypatch.delenv("MULLET_RING_DIR")
    parent = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
    expected = parent / f"mulletdaq-{os.getuid()}"
    was_there = expected.exists()
    try:
        assert find_directory() == expected
        assert expected.stat().st_mode & 0o777 == 0o700
    finally:
        if not was_there:
            expected.rmdir()


# ---- names


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "nul\0"])
def test_names_that_are_none(name: str) -> None:
    """No way out of the folder."""
    with pytest.raises(RingNotFoundError):
        ring_path(name)


def test_output_names_are_stable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file has the same ring's name, however it is called and whoever asks."""
    file = tmp_path / "my run.v2.h5"
    name = output_ring_name(file)
    assert re.fullmatch(r"my run\.v2-[0-9a-f]{8}", name)
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "alias.h5").symlink_to(file)
    for same in (str(file), "my run.v2.h5", "./my run.v2.h5", link / file.name, tmp_path / "alias.h5"):
        assert output_ring_name(same) == name
    script = "import sys; from mulletdaq.ring import output_ring_name; print(output_ring_name(sys.argv[1]))"
    assert run_python(script, file).strip() == name
    assert output_ring_name(file, "scope") == f"{name}.scope"


def test_output_name_of_a_known_path() -> None:
    """A restarted script finds its rows only if this never changes."""
    assert output_ring_name("/nowhere/experiment_data.h5") == "experiment_data-f5099939"


def test_output_names_differ(tmp_path: Path) -> None:
    """Equal stems in two folders, and different suffixes."""
    paths = [tmp_path / "a" / "x.h5", tmp_path / "b" / "x.h5", tmp_path / "a" / "x.hdf5", tmp_path / "a" / "x"]
    assert len({output_ring_name(path) for path in paths}) == 4


@pytest.mark.parametrize("stem", ["x" * 250, "ö" * 120, "\udcff\udcfe"])
def test_output_name_of_awkward_stems(tmp_path: Path, stem: str) -> None:
    """Too long, not ASCII, not even text: a file can be made of it."""
    name = output_ring_name(tmp_path / f"{stem}.h5")
    with create_ring(name, 1) as ring:
        assert Path(ring.path).exists()
    assert len(os.fsencode(name + ".ring")) <= 255


# ---- listing


def test_list_rings(ring_directory: Path) -> None:
    """In order of name, with orphans marked and broken files explained."""
    assert list_rings() == []
    script = """
        import sys
        from mulletdaq.ring import create_ring
        ring = create_ring("b", 1)
        ring.write(b"x")
        print("ready")
        sys.stdin.read()
    """
    with create_ring("a", 1) as ring:
        ring.write(b"x")
    (ring_directory / "broken.ring").write_bytes(b"nonsense" * 100)
    (ring_directory / "empty.ring").touch()
    (ring_directory / "folder.ring").mkdir()
    (ring_directory / "not a ring.txt").touch()
    with running_python(script) as process:
        line_from(process)
        infos = {info.name: info for info in list_rings()}
        assert list(infos) == ["a", "b", "broken", "empty", "folder"]
        live = infos["b"]
        assert not live.orphan
        assert live.statistics is not None
        assert (live.statistics.producer_pid, live.statistics.rows_written) == (process.pid, 1)
        process.kill()
        process.wait()
        assert {info.name: info.orphan for info in list_rings()}["b"]
    orphan = infos["a"]
    assert orphan.orphan and orphan.error is None
    assert orphan.statistics is not None and orphan.statistics.rows_written == 1
    assert orphan.path == str(ring_directory / "a.ring")
    for name in ("broken", "empty", "folder"):
        info = infos[name]
        assert info.statistics is None
        assert info.error is not None and info.path in info.error


def test_list_rings_with_a_corrupt_frame(ring_directory: Path) -> None:
    """One ring that cannot be read does not hide the others."""
    with create_ring("a", 1) as ring:
        ring.write(b"x")
    with (ring_directory / "a.ring").open("r+b") as file:
        file.seek(128)
        file.write(b"\xff" * 64)
    create_ring("b", 1).close()
    infos = list_rings()
    assert [(info.name, info.statistics is None) for info in infos] == [("a", True), ("b", False)]


# ---- room


def test_create_ring(ring_directory: Path) -> None:
    """By name; an existing one is not replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with create_ring("x", 2, on_full="error", checksum=True) as ring:
            assert ring.path == str(ring_directory / "x.ring")
            assert (ring.capacity_bytes, ring.checksum) == (2 << 20, True)
    with pytest.raises(RingExistsError):
        create_ring("x", 2)


@pytest.fixture
def small_place(ring_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a file system of 8 MB."""
    place = ring_directory / "small"
    place.mkdir(mode=0o700)
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    monkeypatch.setenv("MULLET_RING_DIR", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_too_little_room(small_place: Path) -> None:
    """Containers often have little: a smaller ring, and one line that says so and what to do."""
    with pytest.warns(UserWarning, match="MULLET_RING_DIR") as caught:
        ring = create_ring("x", 100)
    with ring:
        capacity = ring.capacity_bytes
        assert 4 << 20 <= capacity < 8 << 20
        for _ in range(100):
            ring.write(bytes(capacity // 5))
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "\n" not in text
    assert str(small_place) in text and f"{capacity >> 20} MB" in text and "100" in text
    assert [path.name for path in small_place.iterdir()] == ["x.ring"]


def test_no_room_at_all(small_place: Path) -> None:
    """An error, and nothing left behind."""
    with (small_place / "filler").open("wb") as filler:
        filler.write(bytes(7 << 20))
    with pytest.raises(RingSpaceError, match="room"):
        create_ring("x", 100)
    assert [path.name for path in small_place.iterdir()] == ["filler"]


def test_explicit_path_gets_no_smaller_ring(small_place: Path) -> None:
    """Who names a path and a size means both."""
    with pytest.raises(RingSpaceError):
        RingBuffer.create(small_place / "x.ring", 100)
    assert list(small_place.iterdir()) == []
