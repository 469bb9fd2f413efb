"""Look into a recording with nothing but h5py and NumPy.

    python verify_hdf5_output.py [FILE]

No mulletdaq is needed to read what it wrote: this prints what is in the file, the lines that
``mullet verify`` prints, and shows how to get at the numbers from Python and from MATLAB.
"""

import sys

import h5py
import numpy as np

LISTED_FIRST = 20  # of a stream with more batches, the first so many and the last are listed


def main(path):
    """Print what is in the file at ``path``."""
    with h5py.File(path, "r") as file:
        print(f"File opened: {path}")
        print(f"Top-level structure: {', '.join(sorted(file))}")
        print(f"  attributes: {attributes(file)}")
        groups = stream_groups(file["measurements"])
        for group in groups:
            print_stream(group)
        print("Readable with h5py, MATLAB (h5read) and Igor Pro")
        for group in groups:
            if batch_names(group):
                show_access(path, group)


def batch_names(group):
    """Names of a stream's batches, in the order in which they were written."""
    return sorted((name for name in group if name.startswith("batch_")), key=lambda name: int(name[6:]))


def stream_groups(measurements):
    """``measurements`` itself if it holds batches, and the group of each named stream."""
    named = [measurements[name] for name in measurements if not name.startswith("batch_")]
    return [measurements, *named] if batch_names(measurements) or not named else named


def print_stream(group):
    """Print the batches of one stream."""
    batches = batch_names(group)
    print(f"{len(batches)} {'batch' if len(batches) == 1 else 'batches'} in {group.name}")
    for index, name in enumerate(batches):
        if LISTED_FIRST <= index < len(batches) - 1:
            if index == LISTED_FIRST:
                print(f"  ... {len(batches) - 1 - LISTED_FIRST} more, not listed ...")
            continue
        batch = group[name]
        print(f"  {batch.name}")
        for column, dataset in datasets(batch):
            print(f"    {column}: shape {dataset.shape}, {dataset.dtype}, first values {first_values(dataset)}")
        print(f"    attributes: {attributes(batch)}")


def datasets(group):
    """Every dataset in a group and its subgroups, with its path: structs and lists are groups."""
    for name, member in group.items():
        if isinstance(member, h5py.Group):
            yield from ((f"{name}/{path}", dataset) for path, dataset in datasets(member))
        else:
            yield name, member


def first_values(dataset, count=3):
    """The first values of a dataset as text."""
    rows = dataset[:count] if dataset.ndim == 1 else dataset[:1]
    values = [text(value) for value in rows.reshape(-1)[:count].tolist()]
    return ", ".join(values + ["..."] * (dataset.size > len(values)))


def attributes(item):
    """The attributes of a file, group or dataset as text."""
    texts = []
    for name, value in item.attrs.items():
        entries = value.tolist() if hasattr(value, "tolist") else value
        entries = entries if isinstance(entries, list) else [entries]
        texts.append(f"{name} = {' '.join(text(entry) for entry in entries)}")
    return ", ".join(texts)


def text(value):
    """A value as text; h5py gives fixed-length strings as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def show_access(path, group):
    """Join the batches of a stream with NumPy, and print the same for MATLAB."""
    batches = batch_names(group)
    first = group[batches[0]]
    if "signal" in first.attrs:
        column = first.attrs["signal"].decode()  # the one that viewers plot
    else:
        column = next((path for path, dataset in datasets(first) if dataset.dtype.kind in "iuf"), "")
    if not column:
        return  # nothing but text
    joined = np.concatenate([group[name][column][:] for name in batches])
    print()
    print("# Python")
    print(f'with h5py.File("{path}") as file:')
    print(f'    stream = file["{group.name}"]')
    print('    batches = [name for name in stream if name.startswith("batch_")]')
    print("    batches.sort(key=lambda name: int(name[6:]))")
    print(f'    values = np.concatenate([stream[name]["{column}"][:] for name in batches])')
    print(f"# -> {column}: shape {joined.shape}, {joined.dtype}, min {joined.min()}, max {joined.max()}")
    print()
    print("% MATLAB")
    print(f"info = h5info('{path}', '{group.name}');")
    print("values = [];")
    print("for k = 1:numel(info.Groups)  % the last dimension counts samples: MATLAB turns the order round")
    print("    if contains(info.Groups(k).Name, '/batch_')")
    print(f"        part = h5read('{path}', [info.Groups(k).Name '/{column}']);")
    print(f"        values = cat({joined.ndim}, values, part);")
    print("    end")
    print("end")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mullet_demo_output.h5")
