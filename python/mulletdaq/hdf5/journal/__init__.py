"""A crash-atomic file for HDF5: every commit whole, or not at all; usable without the rest of mulletdaq."""

from mulletdaq.hdf5.journal.file import JournaledFile
from mulletdaq.hdf5.journal.guard import undisturbed
from mulletdaq.hdf5.journal.statistics import JournalStatistics

__all__ = ["JournalStatistics", "JournaledFile", "undisturbed"]
