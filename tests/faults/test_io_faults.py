"""A system call that fails, does half or forgets, anywhere in a writer's life: an error is seen, or all is well."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import h5py
import pytest

from tests.faults.io_faults import FaultAttack, Moment, cases
from tests.faults.simulated_disk import Fault
from tests.faults.workload import Layout

READS = (Fault.SHORT_READ, Fault.INTERRUPTED)
"""Those that must pass unnoticed; as each read is like the others, every few of them will do here."""


def layout_of(moment: Moment) -> Layout:
    """Both layouts, in turns."""
    return (Layout.BATCH, Layout.CONTINUOUS)[list(Moment).index(moment) % 2]


@pytest.mark.parametrize("moment", Moment)
def test_a_fault_in_any_system_call(moment: Moment) -> None:
    attack = FaultAttack(layout_of(moment))
    for case in cases(moment, layout_of(moment)):
        if case.fault not in READS or case.call % 4 == 0:
            attack.run(case)
    assert not attack.report.damaged
    assert attack.report.counts["stock opens"]
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0


@pytest.fixture
def collecting_all_the_time() -> Iterator[None]:
    """Garbage collection at every chance."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collecting_all_the_time")
@pytest.mark.parametrize("moment", [Moment.LATER_COMMIT, Moment.CLOSE])
def test_faults_while_garbage_that_holds_hdf5_objects_is_collected(moment: Moment) -> None:
    attack = FaultAttack(Layout.CONTINUOUS, littering=True)
    for case in cases(moment, Layout.CONTINUOUS):
        if case.fault is Fault.IO_ERROR and not case.lasting and case.call % 3 == 0:
            attack.run(case)
    assert not attack.report.damaged
    assert attack.report.counts["stock opens"]
