"""Where a recording goes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mulletdaq.errors import OutputExistsError, RecordingError
from mulletdaq.recording.output import check_mode, output_path

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_start_is_filled_in(tmp_path: Path) -> None:
    path, _ = output_path(tmp_path / "run_{start:%Y%m%dT%H%M%S}.h5", start=START)
    assert path == str(tmp_path / "run_20260304T050607.h5")


def test_a_plain_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_path("a b.h5") == (str(tmp_path / "a b.h5"),) * 2


@pytest.mark.parametrize(
    "template",
    ["{stream}.h5", "{start.__class__}.h5", "{0}.h5", "{}.h5", "{start", "{start:%Y/%m}.h5", "folder/", "a\0b"],
)
def test_other_templates_are_refused(template: str) -> None:
    with pytest.raises(RecordingError):
        output_path(template, start=START)


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "there.h5"
    check_mode(str(path), "x")
    path.touch()
    check_mode(str(path), "a")
    with pytest.raises(OutputExistsError, match='mode="a"') as caught:
        check_mode(str(path), "x")
    assert isinstance(caught.value, FileExistsError)
    with pytest.raises(ValueError, match="mode takes"):
        check_mode(str(path), "w")


def test_index_is_the_first_free_or_the_last_there(tmp_path: Path) -> None:
    template = tmp_path / "run_{index:03d}.h5"
    for number in (1, 2, 4):
        (tmp_path / f"run_{number:03d}.h5").touch()
    assert output_path(template, "x")[0] == str(tmp_path / "run_003.h5")
    assert output_path(template, "a")[0] == str(tmp_path / "run_002.h5")
    assert output_path(tmp_path / "{stream}_{index}.h5", stream="scope")[0] == str(tmp_path / "scope_1.h5")


@pytest.mark.parametrize("stream", ["../up", "a/b", "..", ".", "", "nul\0"])
def test_value_that_leads_elsewhere_is_refused(tmp_path: Path, stream: str) -> None:
    with pytest.raises(RecordingError, match="no part of a name"):
        output_path(tmp_path / "{stream}", stream=stream)


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("", "the path is empty"),
        ("x_{", r"x_\{: .*doubled"),
        ("{index:zz}.h5", r"\{index:zz\}\.h5: \{index:zz\}: "),
        ("{name}.h5", r"\{name\}\.h5: \{name\} has no value here"),
    ],
)
def test_template_that_is_none_is_shown_with_what_is_wrong(template: str, what: str) -> None:
    with pytest.raises(RecordingError, match=what):
        output_path(template)
