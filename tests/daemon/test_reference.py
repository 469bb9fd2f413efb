"""The reference of the configuration is the configuration."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from mulletdaq import config

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "configuration.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))

MODELS = {
    "`[daemon]`": config.DaemonConfig,
    "`[streams.NAME]`": config.StreamConfig,
    "`[streams.NAME.channels.CHANNEL]`": config.ChannelConfig,
    "`[streams.NAME.source]`": config.SourceConfig,
    "`[[streams.NAME.outputs]]`, `[outputs.NAME]` and `[recordings]`": config.SharedOutputConfig,
}


def documented(section: str) -> dict[str, str]:
    """Keys of a section's table, with their defaults."""
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", SECTIONS[section], re.MULTILINE)
    return {key: default.strip() for key, default in rows}


def default_of(field: dataclasses.Field[Any]) -> str:
    """As the page has it: TOML, nothing for what is left out, ``needed`` for what must be there."""
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return "needed"
    if default is None:
        return ""
    if isinstance(default, tuple):
        return f"`{list(default)}`".replace("'", '"')
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


@pytest.mark.parametrize("section", MODELS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    fields = {field.name: default_of(field) for field in dataclasses.fields(MODELS[section])}
    assert documented(section) == fields


def test_every_model_and_default_is_covered() -> None:
    assert set(SECTIONS) == set(MODELS)
    assert config.RecordingsConfig().path in SECTIONS[list(MODELS)[-1]]
    names = {field.name for field in dataclasses.fields(config.SharedOutputConfig)} - {"streams"}
    assert names == {field.name for field in dataclasses.fields(config.RecordingsConfig)}
    assert names == {field.name for field in dataclasses.fields(config.OutputConfig)}


def test_every_reason_for_bad_health_is_told() -> None:
    package = Path(config.__file__).parent / "daemon" / "look.py"
    codes = set(re.findall(r'Condition\(\s*"(\w+)"', package.read_text()))
    page = (PAGE.parent.parent / "how-to" / "run-the-daemon.md").read_text()
    table = "".join(line.partition(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    assert codes == set(re.findall(r"`(\w+)`", table))
