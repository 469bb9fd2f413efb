"""The folder that is measured: what kind of disk it is on, whether there is room, and a place in it that vanishes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mulletdaq.errors import FileWriteError

RESERVE_MB = 512.0
"""Room on the disk, in 1,048,576 bytes, that a benchmark leaves to others."""

NEEDED_MB = 512.0
"""What must be free beyond that to begin."""

_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "smb3", "smbfs", "sshfs", "rclone", "s3fs", "gcsfuse", "vboxsf"),
}
_IN_MEMORY = {"tmpfs", "ramfs"}
_ESCAPED = re.compile(r"\\([0-7]{3})")


def filesystem_of(folder: str | os.PathLike[str]) -> str:
    """The kind of file system a folder is on, such as ``ext4`` or ``nfs4``; empty where the system does not tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return ""
    return filesystem_in(mounts, os.path.realpath(folder))


def filesystem_in(mounts: str, path: str) -> str:
    """The same, from the text of ``/proc/self/mountinfo``, for an absolute path without links."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if len(before.split(" ")) < 5 or not after:
            continue
        mount = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), before.split(" ")[4])
        below = path == mount or path.startswith(mount.rstrip("/") + "/")
        if below and len(mount) >= longest:  # of several on one folder the last hides the others
            found, longest = after.split(" ")[0], len(mount)
    return found


def is_network(filesystem: str) -> bool:
    """Whether its disk is in another computer."""
    return filesystem.removeprefix("fuse.") in _NETWORK


def is_in_memory(filesystem: str) -> bool:
    """Whether there is no disk behind it at all."""
    return filesystem in _IN_MEMORY


def check_room(folder: str | os.PathLike[str], reserve_mb: float = RESERVE_MB) -> None:
    """Check that a benchmark can be made here without using the disk's last room.

    Raises
    ------
    FileWriteError
        If there is no such folder, or too little room.
    """
    if not os.path.isdir(folder):
        raise FileWriteError(f"{folder} is not a folder; name the one that recordings go to")
    free_mb = shutil.disk_usage(folder).free / (1 << 20)
    if free_mb < reserve_mb + NEEDED_MB:
        raise FileWriteError(
            f"only {free_mb:.0f} MB are free in {folder}; a benchmark writes up to {NEEDED_MB:.0f} MB or more, "
            f"and leaves {reserve_mb:.0f} MB free: make room, or choose another folder"
        )


@contextmanager
def scratch(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder in a folder, for the block only.

    Raises
    ------
    FileWriteError
        If it cannot be made.
    """
    try:
        path = Path(tempfile.mkdtemp(prefix=".mullet-bench-", dir=folder))
    except OSError as error:
        raise FileWriteError(f"cannot write in {folder}: {error.strerror}; choose another folder") from error
    try:
        yield path
    finally:
        shutil.rmtree(path)


__all__ = [
    "NEEDED_MB",
    "RESERVE_MB",
    "check_room",
    "filesystem_in",
    "filesystem_of",
    "is_in_memory",
    "is_network",
    "scratch",
]
