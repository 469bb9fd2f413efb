"""What must not happen while HDF5 calls into Python: garbage collection, signal handlers, HDF5 in other threads."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold h5py's lock, with signals put off until the end.

    A signal's handler that raises inside one of HDF5's calls into Python crashes the interpreter. To be put around
    every use of an ``h5py.File`` over a file object of ours, where there are such handlers: Ctrl-C has one.
    """
    with _h5py_lock(), _signals_put_off():
        yield


def _h5py_lock() -> AbstractContextManager[Any]:
    h5py = sys.modules.get("h5py")  # recovery needs no h5py; without it nothing is to be locked
    return nullcontext() if h5py is None else h5py._objects.phil


def forbid_collection_inside_hdf5() -> None:
    """From now on no garbage collection takes place in a thread that is inside h5py.

    A collection inside one of HDF5's calls into Python may let go of an HDF5 object, which calls HDF5 in the middle of
    itself and crashes the interpreter. A collection cannot be refused, but its objects can be taken away.
    """
    if _veto not in gc.callbacks:
        gc.callbacks.append(_veto)


def forbid_collection_in_this_thread() -> None:
    """From now on no garbage collection takes place in the calling thread.

    For threads that one inside :func:`undisturbed` waits for: to let go of an HDF5 object takes the lock that is held.
    """
    _never_here.collect = False
    if _veto not in gc.callbacks:
        gc.callbacks.append(_veto)


_never_here = threading.local()
_thaw = False


def _veto(phase: str, _: Mapping[str, int]) -> None:
    global _thaw
    if phase == "start" and not _may_collect():
        _thaw = not gc.get_freeze_count()  # what the program itself has frozen stays so
        gc.freeze()
    elif phase == "stop" and _thaw:
        _thaw = False
        gc.unfreeze()


def _may_collect() -> bool:
    h5py = sys.modules.get("h5py")
    inside_hdf5 = h5py is not None and h5py._objects.phil._is_owned()
    return not inside_hdf5 and getattr(_never_here, "collect", True)


_SIGNALS = tuple(map(int, signal.valid_signals()))
_plain: Any = sys.modules.get("_signal", signal)  # `signal` makes enums: to look at all of them takes it 27 µs, not 2
_came: list[int] = []
_put_off = False


@contextmanager
def _signals_put_off() -> Iterator[None]:
    """In the main thread, the only one in which Python runs handlers; elsewhere there is nothing to do."""
    global _put_off
    if _put_off or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    try:
        _put_off = True
        for number in _SIGNALS:
            handler = _plain.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                _plain.signal(number, _note_signal)
        yield
    finally:
        for number, handler in handlers.items():
            _plain.signal(number, handler)
        _put_off = False
        came = [(number, handlers[number]) for number in dict.fromkeys(_came)]
        _came.clear()
        _call(came)


def _call(came: list[tuple[int, Any]]) -> None:
    """Not by raising the signals again: asyncio, which was told of them already, would take them for new ones."""
    if came:
        number, handler = came[0]
        try:
            handler(number, None)
        finally:
            _call(came[1:])


def _note_signal(number: int, _: FrameType | None) -> None:
    _came.append(number)


_forsaken: set[int] = set()


def files_over(fileobject: object) -> list[Any]:
    """The ids of the open HDF5 files that read and write through a file object; h5py names them after it."""
    h5py = sys.modules.get("h5py")
    if h5py is None:
        return []
    return _open_files(h5py, repr(fileobject).encode(), h5py.h5f.OBJ_FILE) or [
        # A File that was let go of without closing lives on through what is open in it.
        *{h5py.h5i.get_file_id(id_) for id_ in _open_files(h5py, repr(fileobject).encode(), h5py.h5f.OBJ_ALL)}
    ]


def _open_files(h5py: Any, name: bytes, kinds: int) -> list[Any]:
    """What is open of some kinds in the files of a name over a file object."""
    in_files = {h5py.h5i.FILE, h5py.h5i.GROUP, h5py.h5i.DATASET, h5py.h5i.ATTR}
    ids = [id_ for id_ in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, kinds) if id_.id not in _forsaken]
    ids = [id_ for id_ in ids if h5py.h5i.get_type(id_) in in_files]
    return [id_ for id_ in ids if h5py.h5f.get_name(id_) == name and _is_over_object(h5py, id_)]


def _is_over_object(h5py: Any, id_: Any) -> bool:
    access = h5py.h5i.get_file_id(id_).get_access_plist()
    return bool(access.get_driver() == h5py.h5fd.fileobj_driver)


def flush_files_over(fileobject: object) -> None:
    """Have HDF5 write what it holds for the files over a file object."""
    for id_ in files_over(fileobject):
        sys.modules["h5py"].h5f.flush(id_)


def close_files_over(fileobject: object, *, discard: bool = False) -> None:
    """Close the files over a file object, and every object in them.

    Raises
    ------
    OSError, RuntimeError
        If HDF5 cannot, unless what it had to write was to be discarded. It is of no more use in any case.
    """
    for id_ in files_over(fileobject):
        h5py = sys.modules["h5py"]
        ids = [id_, *h5py.h5f.get_obj_ids(id_, h5py.h5f.OBJ_ALL)]
        try:
            h5py.File(id_).close()
        except BaseException as error:
            _forsake(h5py, ids)
            if not (discard and isinstance(error, (OSError, RuntimeError))):
                raise


def _forsake(h5py: Any, ids: list[Any]) -> None:
    """Never touch these again: HDF5 frees a file that it fails to close, but keeps the ids, and crashes on using them.

    A reference more than anybody has keeps it from closing them with the last object of h5py's.
    """
    for id_ in ids:
        if id_.valid:
            _forsaken.add(id_.id)
            h5py.h5i.inc_ref(id_)


__all__ = [
    "close_files_over",
    "files_over",
    "flush_files_over",
    "forbid_collection_in_this_thread",
    "forbid_collection_inside_hdf5",
    "undisturbed",
]
