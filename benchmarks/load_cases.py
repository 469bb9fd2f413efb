"""What is recorded under load: the instruments, and the settings they are recorded with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

GOAL = "16 × 1 MS/s"


@dataclass(frozen=True)
class Case:
    """One instrument recorded with one choice of settings.

    Attributes
    ----------
    work
        Name of the instrument: a function of ``load_producer``.
    signal
        ``"noise"``: float64 of which nothing can be packed. ``"adc"``: a sine with some noise from a 16-bit ADC.
    """

    work: str
    signal: str
    compression: str | None
    layout: str

    @property
    def name(self) -> str:
        """For the table, and to choose it by."""
        return f"{self.work} {self.signal} {self.settings}"

    @property
    def settings(self) -> str:
        """How it is stored, in words."""
        return f"{self.compression or 'none'} {self.layout}"

    def to_dict(self) -> dict[str, Any]:
        """Its parts."""
        return asdict(self)


WORK = {
    "digitiser": "16 channels × 1 MS/s float64, in blocks",
    "loop": "1 channel, write_measurement in a Python loop",
    "images": "2048 × 2048 uint16, as fast as the disk takes them",
    "streams": "200 streams × 100 Hz",
}

CASES = [
    Case("digitiser", "noise", None, "batches"),
    Case("digitiser", "noise", None, "continuous"),
    Case("digitiser", "noise", "gzip", "batches"),
    Case("digitiser", "noise", "gzip", "continuous"),
    Case("digitiser", "noise", "lzf", "batches"),
    Case("digitiser", "noise", "zstd", "batches"),
    Case("digitiser", "adc", "gzip", "batches"),
    Case("digitiser", "adc", "gzip", "continuous"),
    Case("loop", "noise", None, "batches"),
    Case("loop", "noise", "gzip", "batches"),
    Case("images", "noise", None, "continuous"),
    Case("images", "adc", "gzip", "batches"),
    Case("streams", "noise", "gzip", "batches"),
    Case("streams", "noise", "gzip", "continuous"),
]

SWEPT = [case for case in CASES if case.work == "digitiser" and case.compression in (None, "gzip")]
SWEEP_MB = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]


def chosen(only: list[str], *, sweep: bool) -> list[Case]:
    """The cases whose names have all the words of one of the choices; all of them without a choice."""
    cases = SWEPT if sweep else CASES
    if not only:
        return cases
    return [case for case in cases if any(set(words.split()) <= set(case.name.split()) for words in only)]
