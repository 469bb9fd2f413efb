"""Printing numbers and tables."""

from __future__ import annotations

import json

import pytest

from mulletdaq.cli import output


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "-"),
        (0, "0 ns"),
        (412, "412 ns"),
        (1_000, "1 µs"),
        (12_340, "12.3 µs"),
        (1_500_000, "1.5 ms"),
        (2_000_000_000, "2 s"),
    ],
)
def test_durations(nanoseconds: int | None, text: str) -> None:
    assert output.duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (100 * 1024**2, "100 MiB"), (3 * 1024**4, "3 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert output.size(count) == text


def test_a_pipe_gets_aligned_lines_without_any_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts("[title]", [("samples", "10"), ("lost", "0")])
    output.print_table(["ring", "state"], [["[bold]a", "live"], ["longer_name", "orphan"]])
    assert capsys.readouterr().out == (
        "[title]\n  samples  10\n  lost     0\nring         state\n[bold]a      live\nlonger_name  orphan\n"
    )


def test_a_terminal_shows_names_with_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.print_facts("[title]", [("[red]name", "[/] value")])
    output.print_table(["[bold]"], [["[blink]"]])
    shown = capsys.readouterr().out
    for text in ("[title]", "[red]name", "[/] value", "[bold]", "[blink]"):
        assert text in shown


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}
