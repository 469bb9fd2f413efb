"""Sources by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mulletdaq.abc import Source
from mulletdaq.errors import SourceError
from mulletdaq.sources.registry import SOURCES, make_source


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_makes_a_source_of_that_name(name: str) -> None:
    source = make_source(name)
    assert isinstance(source, Source)
    assert source.name == name
    assert len(source.channels) > 0


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(SourceError, match=r"'oscilloscope'.*system.*simulated"):
        make_source("oscilloscope")


def test_looking_at_the_list_does_not_import_the_sources() -> None:
    code = "import sys, mulletdaq.sources.registry; print('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_missing_package_is_told_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['psutil'] = None\n"
        "from mulletdaq.errors import MissingExtraError\n"
        "from mulletdaq.sources.registry import make_source\n"
        "try: make_source('system')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mulletdaq[system]" in done.stdout
