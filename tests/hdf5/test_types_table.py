"""The reference says of each type what a file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import types_table
from .types_table import BEGIN, END, PAGE, main, table


def test_the_reference_shows_what_is_read_back() -> None:
    told = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert told == table(), "run: python -m tests.hdf5.types_table"


def test_making_it_anew_leaves_the_rest_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}what was true once\n{END}after\n")
    monkeypatch.setattr(types_table, "PAGE", page)
    main()
    assert page.read_text() == f"before\n{BEGIN}{table()}{END}after\n"
