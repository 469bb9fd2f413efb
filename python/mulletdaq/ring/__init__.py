"""The ring: one producer, any number of readers, any process."""

from mulletdaq.ring.buffer import RingBuffer
from mulletdaq.ring.cursor import Cursor, Loss
from mulletdaq.ring.options import OnFull
from mulletdaq.ring.places import (
    RingInfo,
    attach,
    create_ring,
    list_rings,
    output_ring_name,
    output_rings,
    ring_directory,
    ring_path,
)
from mulletdaq.ring.producer import Producer
from mulletdaq.ring.statistics import RingStatistics

__all__ = [
    "Cursor",
    "Loss",
    "OnFull",
    "Producer",
    "RingBuffer",
    "RingInfo",
    "RingStatistics",
    "attach",
    "create_ring",
    "list_rings",
    "output_ring_name",
    "output_rings",
    "ring_directory",
    "ring_path",
]
