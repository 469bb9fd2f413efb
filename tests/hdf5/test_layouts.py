"""Batches found again, whatever lies beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulletdaq.hdf5.journal import undisturbed
from mulletdaq.hdf5.layouts import BatchLayout
from mulletdaq.hdf5.naming import batch_name, run_name
from mulletdaq.hdf5.options import Filters
from mulletdaq.hdf5.storage import Storage


@pytest.mark.parametrize("beside", [0, 1, 100])
@pytest.mark.parametrize("batches", [0, 1, 7, 8, 9, 63, 64, 65, 1000])
def test_the_newest_batch_is_found(tmp_path: Path, batches: int, beside: int) -> None:
    """However HDF5 stores so many links, and behind others that came later."""
    path = str(tmp_path / "a.h5")
    for _ in range(2):
        storage = Storage(path, fsync="never")
        with undisturbed():
            group = storage.file["measurements"]
            if storage.created:
                for number in range(batches):
                    group.create_group(batch_name(number + 1))
                for number in range(beside):
                    group.create_group(run_name(number + 1))
            assert BatchLayout(storage.file, "", None, Filters(None)).batches == batches
            storage.commit()
        storage.close()


def test_a_flush_has_little_metadata_to_look_at(tmp_path: Path) -> None:
    """HDF5 looks at all of its cache, so what a long past left there must not grow with it; also after a failure."""
    storage = Storage(str(tmp_path / "a.h5"), fsync="never")
    with undisturbed():
        for number in range(3000):
            group = storage.file.create_group(f"{number}")
            group.attrs["number"] = number
            if number % 100 == 99:
                storage.commit()
            if number == 1500:
                storage.roll_back()
        _, _, held, _ = storage.file.id.get_mdc_size()
    storage.close()
    assert held < 512 << 10
