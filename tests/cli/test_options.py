"""Values of options."""

from __future__ import annotations

import pytest
import typer

from mulletdaq.cli.options import parse_metadata


def test_metadata() -> None:
    assert parse_metadata([]) == {}
    assert parse_metadata(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], [" =1"], ["a=1", "a=1"]])
def test_metadata_that_is_none(pairs: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parse_metadata(pairs)
