"""Each dataset as dtype and bytes, or as words, with PyTables: read_pytables.py FILE PATH..."""

import sys

import tables

with tables.open_file(sys.argv[1]) as file:
    for path in sys.argv[2:]:
        value = file.get_node("/" + path).read()
        if value.dtype.kind == "S":
            print(path, "text", *(text.decode() for text in value.tolist()))
        else:
            print(path, value.dtype.name, value.tobytes().hex())
