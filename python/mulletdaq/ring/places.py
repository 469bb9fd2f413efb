"""Where rings live, what they are called, and how to find them again."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from mulletdaq._core import SCHEMA_CAPACITY
from mulletdaq.errors import RingAccessError, RingError, RingNotFoundError, RingSpaceError
from mulletdaq.ring.buffer import RingBuffer
from mulletdaq.ring.options import OnFull
from mulletdaq.ring.statistics import RingStatistics

SUFFIX = ".ring"
_MEGABYTE = 1_048_576
_LONGEST_PART = 100
_HASHED = re.compile(r"(?P<stem>.+)-[0-9a-f]{8}(?:\.(?P<stream>.+))?")


def ring_directory() -> Path:
    """The folder in which rings live: ``$MULLET_RING_DIR``, else a folder of this user (mode 0700).

    Raises
    ------
    RingAccessError
        If the folder is there but belongs to somebody else, or others may write to it.
    """
    chosen = os.environ.get("MULLET_RING_DIR")
    if chosen:
        directory = Path(chosen)
    else:
        shared_memory = Path("/dev/shm")
        usable = shared_memory.is_dir() and os.access(shared_memory, os.W_OK)
        directory = (shared_memory if usable else Path(tempfile.gettempdir())) / f"mulletdaq-{os.getuid()}"
    directory.mkdir(mode=0o700, parents=bool(chosen), exist_ok=True)
    found = directory.stat() if chosen else directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise RingAccessError(
            f"{directory}: rings need a folder of your own that others cannot write to; "
            "chmod 700 it, or name another in MULLET_RING_DIR"
        )
    return directory


def ring_path(name: str) -> Path:
    """The path of the ring with a name."""
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise RingNotFoundError(f"{name!r} is not a ring's name; give a plain name, or a path to a .ring file")
    return ring_directory() / (name + SUFFIX)


def output_ring_name(path: str | os.PathLike[str], stream: str | None = None) -> str:
    """The name of the ring that feeds an output file, the same whenever the script is started again."""
    real = os.path.realpath(path)
    base = f"{_shortened(Path(real).stem)}-{_digest(os.fsencode(real))}"
    return f"{base}.{_shortened(stream)}" if stream else base


def output_rings(path: str | os.PathLike[str]) -> dict[str, str]:
    """Names of the rings there are for an output file, by stream (``""`` for an only stream)."""
    base = output_ring_name(path)
    names = (found.name.removesuffix(SUFFIX) for found in ring_directory().glob(f"*{SUFFIX}"))
    own = (name for name in names if name == base or name.startswith(base + "."))
    return {name.removeprefix(base).removeprefix("."): name for name in own if ".orphan-" not in name}


def _shortened(name: str) -> str:
    """A name that leaves room for others in a file's name; if cut, told apart by a hash."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _LONGEST_PART:
        return name
    return encoded[: _LONGEST_PART - 9].decode("utf-8", "ignore") + "-" + _digest(encoded)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def create_ring(name: str, capacity_mb: float, *, on_full: OnFull = "overwrite", checksum: bool = False) -> RingBuffer:
    """Create a ring in the ring folder; where there is too little room, a smaller one, with a warning.

    Raises
    ------
    RingSpaceError
        If there is no room even for a ring of 1 MB.
    RingExistsError, RingCapacityError, RingAccessError
    """
    path = ring_path(name)
    try:
        return RingBuffer.create(path, capacity_mb, on_full=on_full, checksum=checksum)
    except RingSpaceError:
        disk = os.statvfs(path.parent)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        # Shared memory is memory: a ring must leave enough of it to the machine.
        room = min(disk.f_bavail * disk.f_frsize * 9 // 10, memory // 4)
        room_mb = (room - SCHEMA_CAPACITY) // _MEGABYTE
        if not 1 <= room_mb < capacity_mb or capacity_mb * _MEGABYTE > memory:
            raise
    warnings.warn(
        f"{path.parent} has room for a ring of {room_mb} MB, not {capacity_mb:g}; "
        "name a larger place in MULLET_RING_DIR, or give a container more shared memory (--shm-size)",
        stacklevel=3,
    )
    return RingBuffer.create(path, room_mb, on_full=on_full, checksum=checksum)


@dataclass(frozen=True)
class RingInfo:
    """One ring of this user, as found in the ring folder.

    Attributes
    ----------
    name, path
        How to attach to it.
    statistics
        None when it could not be read; then `error` says why.
    orphan
        True if no producer holds it.
    """

    name: str
    path: str
    statistics: RingStatistics | None
    orphan: bool
    error: str | None = None


def list_rings() -> list[RingInfo]:
    """All rings in the ring folder, in order of name."""
    return [_info(path) for path in sorted(ring_directory().glob(f"*{SUFFIX}"))]


def _info(path: Path) -> RingInfo:
    name = path.name.removesuffix(SUFFIX)
    try:
        with RingBuffer.open(path) as ring:
            statistics = ring.statistics()
    except (RingError, OSError) as error:
        return RingInfo(name, str(path), None, orphan=True, error=str(error))
    return RingInfo(name, str(path), statistics, orphan=statistics.producer_pid is None)


def find_ring(name: str | os.PathLike[str]) -> Path:
    """The path of a ring given by its name, its path, or the unambiguous stem of its output file.

    Raises
    ------
    RingNotFoundError
        If there is none, or several; the message names them.
    """
    text = os.fspath(name)
    path = Path(text)
    if "/" in text or (path.suffix == SUFFIX and path.exists()):
        return path
    exact = ring_path(text)
    if exact.exists():
        return exact
    names = [found.name.removesuffix(SUFFIX) for found in sorted(ring_directory().glob(f"*{SUFFIX}"))]
    matching = [candidate for candidate in names if _is_stem_of(text, candidate)]
    if len(matching) == 1:
        return ring_path(matching[0])
    if matching:
        raise RingNotFoundError(f"{text!r} could be any of {', '.join(matching)}; give one of these names")
    there = f"; there are {', '.join(names)}" if names else ""
    raise RingNotFoundError(f"no ring {text!r} in {ring_directory()}{there}")


def _is_stem_of(text: str, name: str) -> bool:
    match = _HASHED.fullmatch(name)
    if match is None:
        return False
    stem, stream = match["stem"], match["stream"]
    return text in {stem, f"{stem}.{stream}"} if stream else text == stem


def attach(name: str | os.PathLike[str]) -> RingBuffer:
    """Open a running recording's or the daemon's stream, from any process.

    Parameters
    ----------
    name
        A ring's name, a path to it, or the stem of the output file (``"experiment_data"``) when only
        one ring has it; ``"experiment_data.scope"`` for one stream of several.

    Returns
    -------
    RingBuffer
        With ``latest(n)``, ``cursor()`` and, while nobody else produces, ``producer()``.

    Raises
    ------
    RingNotFoundError
        If there is none, or several; the message names them.
    """
    return RingBuffer.open(find_ring(name))
