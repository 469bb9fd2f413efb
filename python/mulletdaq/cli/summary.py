"""What both ``record`` and ``demo`` tell about an acquisition at the end."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from mulletdaq.acquisition import AcquisitionSummary
from mulletdaq.cli.output import duration


def acquisition_facts(summary: AcquisitionSummary, batches: int, lost: int) -> list[tuple[str, str]]:
    """Names and values for people."""
    latencies = (summary.write_ns_median, summary.write_ns_p999, summary.write_ns_max)
    return [
        ("samples", f"{summary.samples} in {summary.elapsed_s:.2f} s"),
        ("batches", f"{batches} in the file"),
        ("write latency", " / ".join(duration(latency) for latency in latencies) + "  (median / 99.9 % / max)"),
        ("lost", str(lost)),
        ("ticks missed", str(summary.missed_ticks)),
    ]


def acquisition_json(summary: AcquisitionSummary, batches: int, lost: int) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "samples": summary.samples,
        "batches": batches,
        "lost": lost,
        "missed_ticks": summary.missed_ticks,
        "elapsed_s": round(summary.elapsed_s, 6),
        "stopped": summary.stopped,
        "write_ns": {
            "median": summary.write_ns_median,
            "p99.9": summary.write_ns_p999,
            "max": summary.write_ns_max,
        },
    }


def next_command(words: str, path: Path) -> str:
    """A ``mullet`` command about a file, as it can be typed here and now."""
    return f"{_this_command()} {words} {shlex.quote(shortest(path))}"


def _this_command() -> str:
    """How this command was started, short where the shell finds it by its name."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(shortest(Path(sys.executable), resolve=False))} -m mulletdaq"
    found = shutil.which("mullet")
    if started.name != "mullet" or (found is not None and started.samefile(found)):
        return "mullet"
    return shlex.quote(shortest(started, resolve=False))


def shortest(path: Path, *, resolve: bool = True) -> str:
    """A path as someone in this folder would type it, or whole if that is no longer."""
    absolute = path.resolve() if resolve else path.absolute()
    relative = os.path.relpath(absolute)
    return relative if len(relative) < len(str(absolute)) else str(absolute)


__all__ = ["acquisition_facts", "acquisition_json", "next_command", "shortest"]
