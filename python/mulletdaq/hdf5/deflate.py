"""One zlib stream for the bytes of one chunk, by the engine that suits them.

ISA-L deflates some ten times as fast as zlib, and what instruments deliver nearly as small. But where bytes repeat over
long stretches, as those of a periodic signal or a steady clock do, it loses sight of that and needs up to ten times the
room. There zlib-ng is as good as zlib, and fast: so such chunks are tried with both. Every inflater reads either.
"""

from __future__ import annotations

import zlib
from typing import Any


def _engines() -> tuple[Any, Any]:
    try:
        from isal import igzip_lib
        from zlib_ng import zlib_ng
    except ImportError:  # no wheels for this platform: the standard library makes the same kind of stream, slower
        return None, None
    return igzip_lib, zlib_ng


igzip_lib, zlib_ng = _engines()

# ISA-L's level 2 with the second smallest of its larger tables: on noisy signals 0.93 to 1.0 of zlib level 4's ratio.
# Level 1 gives up to 1 % of that for nothing, level 3 is slower by half and more, larger tables lose some ratio.
_ISAL_LEVEL, _ISAL_TABLES = 2, 3
_ZLIB_NG_LEVEL = 4  # 3 is bigger by half for stamps, 5 a third slower for a tenth

_HIGH_RATIO = 30
_PROBE_BYTES, _PROBE_EVERY_BYTES, _WINDOW_BYTES = 32, 64 << 10, 32 << 10


class Deflater:
    """Compresses the chunks of one dataset; safe for use by several threads, which run side by side.

    Parameters
    ----------
    level
        Of the standard library's zlib, where that has to do it.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._repetitive = False

    def __call__(self, plain: Any) -> bytes:
        """One zlib stream of a contiguous uint8 array."""
        if igzip_lib is None:
            return zlib.compress(plain, self._level)
        if self._repetitive:  # so was the chunk before: then one engine is enough, while it stays so
            packed = _zlib_ng(plain)
            if _is_small(packed, plain):
                return packed
        packed = _isal(plain)
        self._repetitive = False
        if _is_small(packed, plain) or _repeats_throughout(plain):
            other = _zlib_ng(plain)
            self._repetitive = len(other) < len(packed) and _is_small(other, plain)
            packed = min(packed, other, key=len)
        return packed


def _isal(plain: Any) -> bytes:
    packed: bytes = igzip_lib.compress(plain, _ISAL_LEVEL, flag=igzip_lib.COMP_ZLIB, mem_level=_ISAL_TABLES)
    return packed


def _zlib_ng(plain: Any) -> bytes:
    packed: bytes = zlib_ng.compress(plain, _ZLIB_NG_LEVEL)
    return packed


def _is_small(packed: bytes, plain: Any) -> bool:
    return len(packed) * _HIGH_RATIO < len(plain)


def _repeats_throughout(plain: Any) -> bool:
    """Whether every stretch looked at was there before, within the distance that deflate can point back."""
    nbytes = plain.nbytes
    for end in range(min(nbytes, _PROBE_EVERY_BYTES), nbytes + 1, _PROBE_EVERY_BYTES):
        window = plain[max(0, end - _WINDOW_BYTES) : end].tobytes()
        if window.find(window[-_PROBE_BYTES:], 0, -1) < 0:
            return False
    return True


__all__ = ["Deflater"]
