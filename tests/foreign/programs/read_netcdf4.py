"""Each dataset as dtype and bytes, or as words, with netCDF4-python: read_netcdf4.py FILE PATH..."""

import sys

import netCDF4

with netCDF4.Dataset(sys.argv[1]) as file:
    file.set_auto_maskandscale(False)
    for path in sys.argv[2:]:
        value = file[path][:]
        if value.dtype.kind == "O":
            print(path, "text", *value.tolist())
        else:
            print(path, value.dtype.name, value.tobytes().hex())
