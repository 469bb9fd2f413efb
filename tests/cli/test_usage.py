"""Wrong usage: one line that names the option, exit code 2, and nothing is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulletdaq.cli.main import main

RECORD = ("record", "-s", "simulated", "-o", "new.h5", "-d", "0.1")


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (("verify",), "FILE"),
        (("record", "-o", "new.h5"), "system"),
        (("record", "-s", "oscilloscope", "-o", "new.h5"), "'oscilloscope'; there are: system"),
        (("record", "-s", "system"), "--output"),
        ((*RECORD, "--rate", "0"), "--rate"),
        ((*RECORD, "--rate", "-1"), "--rate"),
        ((*RECORD, "--rate", "nan"), "--rate"),
        ((*RECORD, "--rate", "inf"), "--rate"),
        ((*RECORD, "--rate", "1e12"), "--rate"),
        ((*RECORD, "--rate", "1e-300"), "--rate"),
        ((*RECORD, "--rate", "fast"), "--rate"),
        ((*RECORD, "--duration", "0"), "--duration"),
        ((*RECORD, "--duration", "-1"), "--duration"),
        ((*RECORD, "--duration", "nan"), "--duration"),
        ((*RECORD, "--duration", "1e300"), "--duration"),
        ((*RECORD, "--ring-mb", "0"), "--ring-mb"),
        ((*RECORD, "--ring-mb", "-5"), "--ring-mb"),
        ((*RECORD, "--ring-mb", "nan"), "--ring-mb"),
        ((*RECORD, "--ring-mb", "99999999999"), "--ring-mb"),
        ((*RECORD, "--interval", "0"), "--interval"),
        ((*RECORD, "--interval", "nan"), "--interval"),
        ((*RECORD, "--interval", "1e9"), "--interval"),
        ((*RECORD, "--layout", "spiral"), "'spiral'; there are: batches, continuous"),
        ((*RECORD, "--metadata", "novalue"), "'novalue' is not key=value"),
        ((*RECORD, "--metadata", "a=1", "--metadata", "a=2"), "'a' is given twice"),
        ((*RECORD, "--metadata-file", "absent.toml"), "absent.toml"),
        ((*RECORD, "--metadata-file", "meta.yaml"), "neither .toml nor .json"),
        ((*RECORD, "--compression", "rar"), "choose from gzip, lzf, zstd, none"),
        ((*RECORD, "--chunk-rows", "0"), "--chunk-rows"),
        ((*RECORD, "--rotate-rows", "0"), "--rotate-rows"),
        ((*RECORD, "--rotate-mb", "-1"), "--rotate-mb"),
        ((*RECORD, "--rotate-every", "nan"), "--rotate-every"),
        (("demo", "--rate", "nan"), "--rate"),
        (("demo", "--duration", "-1"), "--duration"),
        (("tail", "x", "-n", "-1"), "--lines"),
        (("bench", "--seconds", "0"), "--seconds"),
        (("bench", "--seconds", "nan"), "--seconds"),
        (("bench", "--channels", "0"), "--channels"),
        (("bench", "--rate", "-1"), "--rate"),
        (("bench", "--rate", "1e10"), "--rate"),
        (("bench", "--ring-mb", "0"), "--ring-mb"),
        (("plot",), "plot"),
        (("record", "--speed", "3"), "--speed"),
    ],
)
def test_wrong_usage(
    words: tuple[str, ...], fragment: str, folder: Path, ring_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("mullet: ")
    assert said.err.count("\n") == 1
    assert fragment in said.err
    assert "--help" in said.err
    assert list(folder.iterdir()) == list(ring_directory.iterdir()) == []
