"""Tests of :mod:`mulletdaq.hdf5`."""
