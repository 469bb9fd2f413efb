"""What makes NeXus viewers plot a file as it opens: an NXentry that links to what each stream is plotted from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mulletdaq.extras import needs_extra
from mulletdaq.hdf5.attributes import set_attributes
from mulletdaq.hdf5.naming import ENTRY, ENTRY_DATA

with needs_extra("hdf5"):
    import h5py


def plot_by_default(
    file: Any, stream: str, group: Any, plot: Mapping[str, str | list[str]], *, linked: bool = False
) -> None:
    """Make a group of datasets one that viewers plot, and the first of its stream the one they begin with.

    The way is the file's attribute ``default``, that of ``entry``, and a soft link of the stream's name, or ``data``.

    Parameters
    ----------
    plot
        NXdata attributes; nothing is done where there are none.
    linked
        Whether an earlier group of the stream is known to be linked.
    """
    set_attributes(group, **plot)
    if not plot or linked:
        return
    entry = file.require_group(ENTRY)
    name = stream or ENTRY_DATA
    if name not in entry:
        entry[name] = h5py.SoftLink(group.name)
    if "default" not in entry.attrs:
        set_attributes(entry, NX_class="NXentry", default=name)
        set_attributes(file, default=ENTRY)


__all__ = ["plot_by_default"]
