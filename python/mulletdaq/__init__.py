"""Party in front, business in back: lock-free acquisition, plain HDF5 files.

Names are loaded when first used, so that ``import mulletdaq`` stays as light as the standard library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulletdaq.errors import MulletError as MulletError
    from mulletdaq.export.loading import load as load
    from mulletdaq.flight.client import Connection as Connection
    from mulletdaq.flight.client import connect as connect
    from mulletdaq.hdf5 import HDF5Writer as HDF5Writer
    from mulletdaq.hdf5.reading import open as open
    from mulletdaq.recording import Recording as Recording
    from mulletdaq.recording import record as record
    from mulletdaq.ring import Cursor as Cursor
    from mulletdaq.ring import Producer as Producer
    from mulletdaq.ring import RingBuffer as RingBuffer
    from mulletdaq.ring import attach as attach
    from mulletdaq.schema import Channel as Channel

__version__ = "0.1.0"

_HOMES = {
    "Channel": "mulletdaq.schema",
    "Connection": "mulletdaq.flight.client",
    "Cursor": "mulletdaq.ring",
    "HDF5Writer": "mulletdaq.hdf5",
    "MulletError": "mulletdaq.errors",
    "Producer": "mulletdaq.ring",
    "Recording": "mulletdaq.recording",
    "RingBuffer": "mulletdaq.ring",
    "attach": "mulletdaq.ring",
    "connect": "mulletdaq.flight.client",
    "load": "mulletdaq.export.loading",
    "open": "mulletdaq.hdf5.reading",
    "record": "mulletdaq.recording",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mulletdaq' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
