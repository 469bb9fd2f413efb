"""Join the batches of a recording and plot every channel; needs only h5py, numpy and matplotlib.

python read_experiment.py experiment_data.h5 experiment_data.png
"""

import sys

import h5py
import matplotlib
import numpy as np

matplotlib.use("Agg")  # into a file, no window needed
import matplotlib.pyplot as plt


def read(path):
    """Every column of numbers as one array, and the unit of each; text, lists and structs cannot be plotted."""
    with h5py.File(path) as file:
        measurements = file["measurements"]
        batches = [measurements[name] for name in sorted(measurements, key=lambda name: (len(name), name))]
        if not batches:
            sys.exit(f"{path} holds no batches")
        names = [
            name for name, item in batches[0].items() if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf"
        ]
        columns = {name: np.concatenate([batch[name][:] for batch in batches]) for name in names}
        units = {name: text(batches[0][name].attrs.get("units", "")) for name in columns}
    return columns, units


def text(attribute):
    """A string attribute as str; h5py gives fixed-length ones as bytes."""
    return attribute.decode() if isinstance(attribute, bytes) else attribute


def plot(seconds, columns, units, picture):
    """Each channel over time, one below the other."""
    figure, axes = plt.subplots(len(columns), sharex=True, squeeze=False, figsize=(9, 2 + 1.5 * len(columns)))
    for axis, (name, values) in zip(axes[:, 0], columns.items(), strict=True):
        axis.plot(seconds, values)
        axis.set_ylabel(f"{name} ({units[name]})" if units[name] else name)
    axes[-1, 0].set_xlabel("time (s)")
    figure.savefig(picture)


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "experiment_data.h5"
    picture = sys.argv[2] if len(sys.argv) > 2 else "experiment_data.png"
    columns, units = read(source)
    timestamp = columns.pop("timestamp")  # int64 nanoseconds since 1970, UTC
    print(f"{source}: {timestamp.size} samples of {', '.join(columns)}")
    plot((timestamp - timestamp[0]) / 1e9, columns, units, picture)
    print(f"plotted into {picture}")
