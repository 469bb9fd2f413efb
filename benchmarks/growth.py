"""How cost grows: with channels, rows a block, cursors, the ring's size, the file's size and the number of batches.

python benchmarks/growth.py [--only CURVE …] [--rounds N] [--largest-gb GB] [--largest-batches N] [--folder FOLDER]
                            [--docs [FOLDER]] [--json FILE] [--markdown FILE] [--from FILE] [--quick]

Each curve is a table of medians with their spread and an exponent: the slope where both axes are logarithmic, 0 for
flat and 1 for linear. ``--docs`` draws the curves and puts the tables into docs/explanations/how-cost-grows.md, with
``--from`` those of an earlier run's JSON. Everything takes some ten minutes; a file of 20 GB is measured by
``--only file-size --largest-gb 20``. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import growth_files
import growth_ring
from growth_curves import Curve, curve_of, write_docs
from growth_settings import QUICK, Settings, up_to
from machine import machine

DOCS = Path(__file__).resolve().parent.parent / "docs"

Measure = Callable[[Settings, Path, Path], list[Curve]]

MEASURES: dict[str, Measure] = {
    "channels": lambda settings, rings, _: [growth_ring.channels(settings, rings)],
    "block-rows": lambda settings, rings, _: [growth_ring.block_rows(settings, rings)],
    "cursors": lambda settings, rings, _: [growth_ring.cursors(settings, rings)],
    "ring-size": lambda settings, rings, _: [growth_ring.ring_size(settings, rings)],
    "looks": lambda settings, rings, _: [growth_ring.looks(settings, rings)],
    "file-size": lambda settings, rings, folder: [growth_files.file_size(settings, rings, folder)],
    "batches": growth_files.batches,
}


def measured(settings: Settings, wanted: list[str]) -> list[Curve]:
    """Rings in shared memory where there is some, each curve's files gone before the next."""
    curves: list[Curve] = []
    shared_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for name in wanted:
        print(f"\n{name}", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=shared_memory) as rings,
            tempfile.TemporaryDirectory(prefix="mulletdaq-bench-", dir=settings.folder) as folder,
        ):
            for curve in MEASURES[name](settings, Path(rings), Path(folder)):
                curve.machine = machine()
                curves.append(curve)
                print(f"\n{curve.title}\n\n{curve.markdown()}", flush=True)
    return curves


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), metavar="CURVE")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--largest-gb", type=float, help="of the file, 2 by default")
    parser.add_argument("--largest-batches", type=int, help="100,000 by default")
    parser.add_argument("--folder", type=Path, help="where files are made")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--from", dest="earlier", type=Path, help="measure nothing: show the curves of this JSON")
    parser.add_argument("--docs", nargs="?", type=Path, const=DOCS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> Settings:
    settings = replace(QUICK if options.quick else Settings(), folder=options.folder)
    if options.rounds:
        settings = replace(settings, rounds=options.rounds)
    if options.largest_gb:
        settings = replace(settings, file_mb=up_to(settings.file_mb, options.largest_gb * 1000))
    if most := options.largest_batches:
        settings = replace(settings, batches=(*(number for number in settings.batches if number < most), most))
    return settings


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that files are removed
    options = arguments()
    if options.earlier:
        curves = [curve_of(content) for content in json.loads(options.earlier.read_text())["curves"]]
    else:
        curves = measured(settings_of(options), options.only)
    if options.json:
        options.json.write_text(json.dumps({"curves": [curve.as_json() for curve in curves]}, indent=1))
    if options.markdown:
        options.markdown.write_text("\n".join(f"### {curve.title}\n\n{curve.markdown()}" for curve in curves))
    if options.docs:
        write_docs(curves, options.docs)


if __name__ == "__main__":
    main()
