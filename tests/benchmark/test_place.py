"""Where a benchmark is made, and where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulletdaq.benchmark import Wanted, run_benchmark
from mulletdaq.benchmark.place import check_room, filesystem_in, filesystem_of, is_in_memory, is_network, scratch
from mulletdaq.errors import FileWriteError

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /mnt/lab rw shared:7 - nfs4 server:/lab rw,vers=4.2
31 30 0:41 / /mnt/lab/local rw - xfs /dev/sdb1 rw
32 22 0:42 / /mnt/two\040words rw - cifs //server/share rw
33 22 0:43 / /mnt/over rw - ext4 /dev/sdc1 rw
34 22 0:44 / /mnt/over rw - fuse.sshfs me@there: rw
"""


@pytest.mark.parametrize(
    ("path", "filesystem", "network"),
    [
        ("/", "ext4", False),
        ("/home/me", "ext4", False),
        ("/mnt/lab", "nfs4", True),
        ("/mnt/lab/run/7", "nfs4", True),
        ("/mnt/laboratory", "ext4", False),
        ("/mnt/lab/local/x", "xfs", False),
        ("/mnt/two words/x", "cifs", True),
        ("/mnt/over/x", "fuse.sshfs", True),
    ],
)
def test_the_innermost_mount_tells(path: str, filesystem: str, network: bool) -> None:
    assert filesystem_in(MOUNTS, path) == filesystem
    assert is_network(filesystem) == network


def test_lines_of_another_form_are_left_out() -> None:
    assert filesystem_in("nonsense\n1 2 3 - \n", "/x") == ""


def test_shared_memory_is_no_disk() -> None:
    if not Path("/dev/shm").is_mount():
        pytest.skip("no file system of its own at /dev/shm")
    assert is_in_memory(filesystem_of("/dev/shm"))
    assert filesystem_of("/proc") == "proc"


def test_the_last_room_of_a_disk_is_left_alone(tmp_path: Path, ring_directory: Path) -> None:
    more_than_any_disk_mb = 1e12
    with pytest.raises(FileWriteError, match=r"only \d+ MB are free in .*make room, or choose another folder"):
        run_benchmark(tmp_path, Wanted(1000.0), seconds=1.0, reserve_mb=more_than_any_disk_mb)
    assert list(tmp_path.iterdir()) == list(ring_directory.iterdir()) == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        with pytest.raises(FileWriteError, match="is not a folder"):
            check_room(tmp_path / name)


def test_a_scratch_folder_vanishes_whatever_happens(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch(tmp_path) as path:
            (path / "file").write_text("x")
            assert path.parent == tmp_path
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
