"""What importing brings, and what works without the packages of an extra."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import mulletdaq
from tests.ring.support import run_python

SOURCES = Path(mulletdaq.__file__).parent
HEAVY = ["numpy", "pyarrow", "h5py", "psutil", "pydantic", "rich", "typer", "matplotlib", "xarray", "pandas"]

BLOCKER = """
import os, sys
class Blocker:
    blocked = os.environ["BLOCKED_PACKAGES"].split(",")
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

Block = Callable[[str], None]


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Block:
    """Hides packages from the processes started after it is called, and from theirs."""

    def hide(packages: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(BLOCKER)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("BLOCKED_PACKAGES", packages)
        for package in packages.split(","):
            script = f"import {package}"
            with pytest.raises(AssertionError, match="ModuleNotFoundError"):
                run_python(script)

    return hide


def test_import_is_light() -> None:
    """Nothing heavy, and nothing native, before it is used."""
    script = "import mulletdaq, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = run_python(script).split()
    assert "mulletdaq" in loaded
    assert not set(loaded) & {*HEAVY, "msgspec"}


def test_import_loads_no_module_of_ours() -> None:
    """Each name brings what it needs when it is first used: the list of names itself costs next to nothing."""
    script = "import mulletdaq, sys; print(*(name for name in sys.modules if name.startswith('mulletdaq')))"
    assert run_python(script).split() == ["mulletdaq"]


def test_ring_is_light() -> None:
    """The ring itself needs nothing either, until Arrow data come."""
    script = """
        import sys
        import mulletdaq as mullet
        from mulletdaq.ring import create_ring
        with create_ring("x", 1) as ring:
            ring.write(b"x")
            assert ring.cursor().read() == b"x"
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """
    assert not set(run_python(script).split()) & set(HEAVY)


def test_the_daemon_is_light() -> None:
    """What runs for months has neither what checks its configuration nor what reads and writes files."""
    script = "import mulletdaq.daemon.process, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = run_python(script).split()
    assert "msgspec" in loaded
    assert not set(loaded) & set(HEAVY)


def test_the_writer_has_no_network() -> None:
    """What reads a ring and writes a file has no use for asyncio, which comes with all of TLS."""
    script = "import mulletdaq.hdf5.process, mulletdaq.hdf5.loop, sys; print(*sys.modules)"
    assert not set(run_python(script).split()) & {"asyncio", "ssl", "email", "importlib.metadata"}


def test_rows_of_a_prepared_ring_need_no_package() -> None:
    """A producer that goes on with the columns there are writes rows as they are, and knows them when asked."""
    run_python("""
        from mulletdaq.ring import create_ring
        with create_ring("x", 1) as ring:
            ring.producer({"voltage": "V"}).close()
    """)
    script = """
        import sys
        import mulletdaq as mullet
        with mullet.attach("x") as ring:
            with ring.producer() as producer:
                producer.append(1.5)
                assert not {"numpy", "pyarrow"} & set(sys.modules)
                assert producer.schema.names == ["timestamp", "voltage"]
            print(*ring.latest(9)["voltage"])
    """
    assert run_python(script) == "1.5\n"


def test_public_names() -> None:
    """Each is where it says, dir() knows them, and others are an AttributeError."""
    script = """
        import mulletdaq as mullet
        assert set(mullet.__all__) <= set(dir(mullet))
        for name in mullet.__all__:
            getattr(mullet, name)
        try:
            mullet.nothing
        except AttributeError as error:
            assert "nothing" in str(error)
        else:
            raise AssertionError
        from mulletdaq import *
        print(RingBuffer.__name__, __version__)
    """
    assert run_python(script) == f"RingBuffer {mulletdaq.__version__}\n"


@pytest.mark.parametrize("blocked", ["h5py,pyarrow,numpy", "h5py", "pyarrow", "numpy"])
def test_bytes_without_any_package(block: Block, blocked: str) -> None:
    """The bytes API needs none of them: create, write, read, look, attach."""
    block(blocked)
    script = """
        import mulletdaq as mullet
        from mulletdaq.ring import create_ring, list_rings, ring_path
        with mullet.RingBuffer.create(ring_path("x"), capacity_bytes=4096, checksum=True) as ring:
            ring.write(b"one")
            ring.write(b"two", timestamp_ns=5)
            cursor = ring.cursor(verify=True)
            assert [cursor.read(), cursor.read(), cursor.read()] == [b"one", b"two", None]
            assert cursor.timestamp_ns == 5
            for _ in range(100):
                ring.write(b"more")
            assert cursor.read() == b"more"
            assert cursor.take_losses()[0].rows == cursor.lost_rows > 0
            assert ring.read_snapshot().endswith(b"moremore")
            assert ring.statistics().rows_written == 102
            assert ring.schema is None
            with ring.view() as view:
                assert bytes(view) == b"more"
            with mullet.attach("x") as other:
                assert other.cursor(start_row=101).read() == b"more"
                assert other.data_address()
            assert [info.name for info in list_rings()] == ["x"]
            assert ring.content == "opaque"
        print("done")
    """
    assert run_python(script) == "done\n"


@pytest.mark.parametrize(
    ("blocked", "use", "extra"),
    [
        ("pyarrow", "ring.producer([mullet.Channel('x')])", "arrow"),
        ("pyarrow", "ring.write_arrow_batch(None)", "arrow"),
        ("h5py,pyarrow,numpy", "ring.producer([mullet.Channel('x')])", "arrow"),
        ("numpy", "ring.latest(1)", "arrow"),
        ("h5py", "mullet.HDF5Writer('x.h5', ring).start()", "hdf5"),
        ("h5py", "mullet.record('x.h5', {'x': 'V'}).start()", "hdf5"),
        ("pyarrow", "mullet.record('x.h5', {'x': 'V'}).start()", "arrow|hdf5"),
        ("h5py,pyarrow,numpy", "mullet.record('x.h5', {'x': 'V'}).start()", "arrow|hdf5"),
        ("h5py,pyarrow,numpy", "mullet.HDF5Writer('x.h5', ring).start()", "arrow|hdf5"),
        ("h5py", "mullet.load('x.h5')", "hdf5"),
        ("xarray", "mullet.load('x.h5')", "xarray"),
        ("matplotlib", "from mulletdaq.export import plotting", "plot"),
    ],
)
def test_missing_package_names_its_extra(tmp_path: Path, block: Block, blocked: str, use: str, extra: str) -> None:
    """One line with the command that brings it, an ImportError, and nothing left behind."""
    block(blocked)
    folder = tmp_path / "work"
    folder.mkdir()
    script = f"""
        import os, sys
        import mulletdaq as mullet
        from mulletdaq.errors import MissingExtraError
        from mulletdaq.ring import create_ring
        os.chdir(sys.argv[1])
        with create_ring("x", 1) as ring:
            ring.write(b"x")
            try:
                {use}
            except MissingExtraError as error:
                assert isinstance(error, ImportError)
                print(error)
            assert os.listdir() == [], os.listdir()
    """
    printed = run_python(script, folder).splitlines()
    assert len(printed) == 1
    assert any(name in printed[0] for name in blocked.split(","))
    assert any(f"pip install 'mulletdaq[{name}]'" in printed[0] for name in extra.split("|"))


def imports_of(path: Path) -> set[str]:
    """Every module that a source imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_only_the_ring_knows_the_native_module() -> None:
    """Everybody else goes through mulletdaq.ring; the wait between ticks is no part of it."""
    importers = {
        path.relative_to(SOURCES).parts[0] for path in SOURCES.rglob("*.py") if "mulletdaq._core" in imports_of(path)
    }
    assert importers == {"ring", "pacing.py"}


def test_no_relative_imports() -> None:
    """The scan above sees absolute ones only."""
    for path in SOURCES.rglob("*.py"):
        relative = [node for node in ast.walk(ast.parse(path.read_text())) if getattr(node, "level", 0)]
        assert not relative, path
