"""What it was measured on: processor, system, file system, versions."""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PEERS = ("eclipse-zenoh", "iceoryx2", "numcodecs", "pylsl", "pyzmq", "qcodes", "tables", "zarr")


def machine() -> dict[str, str]:
    """Everything on which a figure depends."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(tempfile.gettempdir()),
        "Python": platform.python_version(),
        **{package: version(package) for package in ("mulletdaq", "numpy", "pyarrow", "h5py")},
        "HDF5": hdf5_version(),
    }


def peer_versions() -> dict[str, str]:
    """Of the rivals that are installed."""
    return {package: found for package in PEERS if (found := version(package)) != "not installed"}


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def hdf5_version() -> str:
    try:
        import h5py
    except ImportError:
        return "not installed"
    return str(h5py.version.hdf5_version)


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def file_system(folder: str) -> str:
    """The kind of the one that temporary files are on, by the longest mount point that holds the folder."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    place = Path(folder).resolve()
    fitting = [words for words in map(str.split, mounts.read_text().splitlines()) if place.is_relative_to(words[1])]
    return max(fitting, key=lambda words: len(words[1]))[2] if fitting else "unknown"
