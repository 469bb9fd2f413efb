"""What turns the rows of one chunk into the bytes in the file: HDF5's filters, done here, in any thread.

Every stream made here is the one that HDF5's own filter of that number reads: plain zlib, LZF as h5py writes it, one
Zstandard frame. Nothing here touches an HDF5 file, and each compressor works without holding the GIL.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mulletdaq.errors import FileFormatError
from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.deflate import deflate

with needs_extra("hdf5"):
    import h5py
    import numpy as np
    import pyarrow as pa

_SHUFFLE, _DEFLATE, _LZF, _ZSTD = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF, 32015

_DEFLATE_LEVEL = 4
_ZSTD_LEVEL = 1  # on measured signals within 2 % of level 3's size at one to two times its speed

_OPTIONS: Mapping[str | None, Mapping[str, Any]] = {
    None: {},
    "gzip": {"compression": "gzip", "compression_opts": _DEFLATE_LEVEL, "shuffle": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "zstd": {"compression": _ZSTD, "compression_opts": (_ZSTD_LEVEL,), "shuffle": True},
}

Packed = tuple[Any, int]
"""The bytes of one chunk, and the mask of the filters that were left out."""

_Compressor = Callable[[Any], bytes | None]
"""From bytes to fewer bytes; None where they would not be fewer, which LZF cannot store."""


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
        What makes them fewer; None leaves them.
    """

    shuffle: bool
    compress: _Compressor | None

    def __call__(self, rows: Any) -> Packed:
        """The rows of one whole chunk as they stand in the file.

        Where nothing is to be done this is a view of ``rows``. Safe for use by several threads.
        """
        plain = shuffled(rows) if self.shuffle else _as_bytes(rows)
        if self.compress is None:
            return plain, 0
        packed = self.compress(plain)
        if packed is None:
            return plain, 2 if self.shuffle else 1  # the bit of the last filter: left out for this chunk
        return packed, 0


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
        return Packer(shuffle, partial(deflate, level=filters[-1][2][0]))
    if rest == [_LZF]:
        return Packer(shuffle, _lzf)
    if rest == [_ZSTD]:
        load_zstd_filter()
        return Packer(shuffle, partial(_zstd, level=filters[-1][2][0]))
    raise FileFormatError(
        f"{dataset.name} has the HDF5 filters {numbers}, which are not written here; use another file"
    )


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


def _lzf(plain: Any) -> bytes | None:
    if _lzf_compress is None:
        return _lzf_through_h5py(plain)
    # One byte less: a chunk whose size stays while its mask changes would keep the old mask in HDF5's index.
    packed = np.empty(plain.nbytes - 1, np.uint8)
    used = _lzf_compress(plain.ctypes.data, plain.nbytes, packed.ctypes.data, packed.nbytes)
    return packed[:used].tobytes() if used else None


def _find_lzf() -> Any:
    """h5py's own LZF function, which its extension module exports; None if it is out of reach.

    It keeps a table of 1 MiB on the stack, which threads have room for with glibc and on macOS.
    """
    if platform.libc_ver()[0] != "glibc" and sys.platform != "darwin":
        return None
    try:
        function = ctypes.CDLL(h5py.h5z.__file__).lzf_compress
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
    function.restype = ctypes.c_uint
    return function


_lzf_compress = _find_lzf()


def _lzf_through_h5py(plain: Any) -> bytes | None:
    """The same through h5py's filter, on a file in memory: there no disk can be full. One thread at a time."""
    name = f"lzf-{threading.get_ident()}"  # HDF5 takes two files in memory of one name for one file
    with h5py.File(name, "w", driver="core", backing_store=False) as scratch:
        chunk = scratch.create_dataset("chunk", data=plain, chunks=plain.shape, compression="lzf")
        mask, packed = chunk.id.read_direct_chunk((0,))
        return None if mask or len(packed) >= plain.nbytes else bytes(packed)


__all__ = ["Packed", "Packer", "dataset_options", "load_zstd_filter", "packer_of", "shuffled"]
