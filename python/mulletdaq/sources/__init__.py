"""Sources, one technology a module; what a source is stands in :mod:`mulletdaq.abc`."""
