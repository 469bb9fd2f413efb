"""What turns the rows of one chunk into the bytes in the file: HDF5's filters, done here, in any thread.

Every stream made here is the one that HDF5's own filter of that number reads: plain zlib, LZF as h5py writes it, one
Zstandard frame. Nothing here touches an HDF5 file of ours, and each compressor works without holding the GIL. h5py is
loaded by what needs it only: the hardware loop's process checks schemas, and so comes by here, but writes no files.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.deflate import Deflater

with needs_extra("hdf5"):
    import numpy as np
    import pyarrow as pa

_DEFLATE, _SHUFFLE, _LZF, _ZSTD = 1, 2, 32000, 32015  # as HDF5 numbers them

_DEFLATE_LEVEL = 4
_LZF_RUN = 32
_ZSTD_LEVEL = 1  # on measured signals within 2 % of level 3's size at one to two times its speed

_OPTIONS: Mapping[str | None, Mapping[str, Any]] = {
    None: {},
    "gzip": {"compression": "gzip", "compression_opts": _DEFLATE_LEVEL, "shuffle": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "zstd": {"compression": _ZSTD, "compression_opts": (_ZSTD_LEVEL,), "shuffle": True},
}


def dataset_options(compression: str | None) -> Mapping[str, Any]:
    """What ``create_dataset`` takes for a compression, its filter made known to HDF5.

    Raises
    ------
    MissingExtraError
        If the filter's package is not installed.
    """
    if compression == "zstd":
        load_zstd_filter()
    return _OPTIONS[compression]


def load_zstd_filter() -> None:
    """Make the Zstandard filter known to HDF5.

    Raises
    ------
    MissingExtraError
        If hdf5plugin is not installed.
    """
    with needs_extra("zstd"):
        import hdf5plugin  # noqa: F401  # importing registers


@dataclass(frozen=True)
class Packer:
    """The filters of one dataset.

    Attributes
    ----------
    shuffle
        Whether the bytes are shuffled first.
    compress
        From an array of bytes to, mostly, fewer bytes; None leaves them as they are.
    any_thread
        Whether it works without h5py's lock, which the thread that uses the file may hold.
    """

    shuffle: bool
    compress: Callable[[Any], Any] | None
    any_thread: bool = True

    @property
    def all_filters(self) -> int:
        """A filter mask that leaves them all out."""
        return (1 << (self.shuffle + (self.compress is not None))) - 1

    def __call__(self, rows: Any) -> Any:
        """The rows of one whole chunk as they stand in the file, all filters applied.

        Where nothing is to be done this is a view of ``rows``. Safe for use by several threads at once.
        """
        plain = shuffled(rows) if self.shuffle else _as_bytes(rows)
        return plain if self.compress is None else self.compress(plain)


def packer_of(dataset: Any) -> Packer:
    """The packer for the filters that a dataset was made with.

    Raises
    ------
    FileFormatError
        If they are others than ours.
    MissingExtraError
        If Zstandard is among them and its package is not installed.
    """
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]
    numbers = [number for number, *_ in filters]
    shuffle = numbers[:1] == [_SHUFFLE]
    rest = numbers[1:] if shuffle else numbers
    if not rest:
        return Packer(shuffle, None)
    if rest == [_DEFLATE]:
        return Packer(shuffle, Deflater(filters[-1][2][0]))
    if rest == [_LZF]:
        return Packer(shuffle, _lzf, any_thread=_lzf_function() is not None)
    if rest == [_ZSTD]:
        load_zstd_filter()
        return Packer(shuffle, partial(_zstd, level=filters[-1][2][0]))
    raise FileFormatError(
        f"{dataset.name} has the HDF5 filters {numbers}, which are not written here; use another file"
    )


BARE = Packer(False, None)
"""Leaves rows as they are."""

_WORDS = {2: "<u2", 4: "<u4", 8: "<u8"}


def shuffled(rows: Any) -> Any:
    """The bytes of an array in the order of HDF5's shuffle filter: all first bytes, all second bytes, and so on.

    Returns
    -------
    numpy.ndarray
        uint8, shape (nbytes,).
    """
    size, count = rows.dtype.itemsize, rows.size
    plain = _as_bytes(rows)
    if size == 1 or count == 0:
        return plain
    planes = np.empty((size, count), np.uint8)
    if size not in _WORDS:
        np.copyto(planes, plain.reshape(count, size).T)
        return planes.reshape(-1)
    # NumPy narrows whole words several times as fast as it gathers single bytes. A word that begins at byte k of an
    # item has that byte as its lowest. Behind the last item there is nothing to read, so its bytes go singly.
    np.copyto(planes[0], plain.view(_WORDS[size]), casting="unsafe")
    for k in range(1, size):
        words = np.ndarray(count - 1, _WORDS[size], plain, offset=k)
        np.copyto(planes[k, :-1], words, casting="unsafe")
    planes[1:, -1] = plain[1 - size :]
    return planes.reshape(-1)


def _as_bytes(rows: Any) -> Any:
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8)


def _zstd(plain: Any, level: int) -> bytes:
    # hdf5plugin has only the filter. pyarrow's codec makes what it reads: one frame that declares its length.
    packed: bytes = pa.Codec("zstd", compression_level=level).compress(plain, asbytes=True)
    return packed


def _lzf(plain: Any) -> bytes:
    function = _lzf_function()
    packed = _lzf_through_h5py(plain) if function is None else _lzf_directly(function, plain)
    # Where LZF does not make it smaller HDF5 leaves the filter out and says so in a mask beside the chunk. Not every
    # reader heeds that, and HDF5 2.0 itself, while the dataset is open, may take it for the mask the chunk had before.
    return packed or _lzf_literals(plain)


def _lzf_directly(function: Any, plain: Any) -> bytes:
    packed = np.empty(plain.nbytes, np.uint8)
    used = function(plain.ctypes.data, plain.nbytes, packed.ctypes.data, packed.nbytes)
    return packed[:used].tobytes()


def _lzf_literals(plain: Any) -> bytes:
    """LZF of bytes as they are: runs of up to 32, each behind a byte that is its length less one."""
    whole = plain.nbytes // _LZF_RUN
    runs = np.empty((whole, 1 + _LZF_RUN), np.uint8)
    runs[:, 0] = _LZF_RUN - 1
    runs[:, 1:] = plain[: whole * _LZF_RUN].reshape(whole, _LZF_RUN)
    rest = plain[whole * _LZF_RUN :].tobytes()
    return runs.tobytes() + (bytes([len(rest) - 1]) + rest if rest else b"")


@cache
def _lzf_function() -> Any:
    """h5py's own LZF function, which its extension module exports; None if it is out of reach.

    It keeps a table of 1 MiB on the stack, which threads have room for with glibc and on macOS.
    """
    if platform.libc_ver()[0] != "glibc" and sys.platform != "darwin":
        return None
    import h5py

    try:
        function = ctypes.CDLL(h5py.h5z.__file__).lzf_compress
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
    function.restype = ctypes.c_uint
    return function


def _lzf_through_h5py(plain: Any) -> bytes:
    """The same through h5py's filter, on a file in memory: there no disk can be full. Needs h5py's lock."""
    import h5py

    name = f"lzf-{threading.get_ident()}"  # HDF5 takes two files in memory of one name for one file
    with h5py.File(name, "w", driver="core", backing_store=False) as scratch:
        chunk = scratch.create_dataset("chunk", data=plain, chunks=plain.shape, compression="lzf")
        mask, packed = chunk.id.read_direct_chunk((0,))
        return b"" if mask else bytes(packed)


__all__ = ["BARE", "Packer", "dataset_options", "load_zstd_filter", "packer_of", "shuffled"]
