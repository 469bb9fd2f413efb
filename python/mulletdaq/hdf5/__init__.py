"""Rings into plain HDF5 files, and those files checked (``verify``) and described (``describe``)."""

from mulletdaq.hdf5.statistics import StreamStatistics, WriterStatistics
from mulletdaq.hdf5.writer import HDF5Writer

__all__ = ["HDF5Writer", "StreamStatistics", "WriterStatistics"]
