"""Each dataset as dtype and bytes, or as words, with xarray's h5netcdf: read_xarray.py FILE PATH..."""

import sys

import xarray

for path in sys.argv[2:]:
    group, _, name = path.rpartition("/")
    with xarray.open_dataset(sys.argv[1], engine="h5netcdf", group=group, phony_dims="sort") as dataset:
        value = dataset[name].values
    if value.dtype.kind in "SUO":
        print(path, "text", *(text.decode() if isinstance(text, bytes) else text for text in value.tolist()))
    else:
        print(path, value.dtype.name, value.tobytes().hex())
