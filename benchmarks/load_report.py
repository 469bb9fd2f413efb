"""What runs under load came to: a line each, a table for the docs, a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from load_cases import GOAL, WORK
from load_watch import Result
from measure import nanoseconds

_WIDTHS = (9, 26, 8, 7, 13, 13, 13, 9, 8, 9, 9, 9, 8, 8)
_TITLES = (
    "case", "stored as", "ring", "in", "rows in", "on disk", "lost", "rate kept", "99.9 %", "longest", "writer",
    "memory", "own", "fullest",
)  # fmt: skip


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.work,
        result.settings,
        f"{result.ring_mb:g} MB",
        result.place,
        f"{result.rows_in:,}",
        f"{result.rows_on_disk:,}",
        _lost(result),
        _kept(result),
        nanoseconds(result.p999_ns),
        nanoseconds(result.longest_ns),
        f"{result.cpu:.2f} core",
        f"{result.peak_kb / 1024:.0f} MiB",
        f"{result.own_kb / 1024:.0f} MiB",
        f"{result.highest_fill:.0%}",
    )


def _lost(result: Result) -> str:
    return f"{result.rows_lost / result.rows_in:.1%}" if result.rows_lost else "0"


def _kept(result: Result) -> str:
    """The wanted rate, where there is one, or the one there was."""
    if not math.isnan(result.kept):
        return f"{result.kept:.1%}"
    each = result.rows_in / result.seconds if result.seconds else 0.0
    return f"{each / 1e6:.2f} M/s" if each >= 1e5 else f"{each:.1f} /s"


def _spaced(cells: tuple[str, ...]) -> str:
    return " ".join(f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
                    for column, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True)))  # fmt: skip


HEAD = _spaced(_TITLES)


def line(result: Result) -> str:
    """A run, for people at a terminal."""
    if result.error:
        return f"{result.case}, {result.ring_mb:g} MB ring in {result.place}: {result.error}"
    return _spaced(_cells(result)) + ("" if result.adds_up else "  DOES NOT ADD UP")


def markdown(results: list[Result], on: Mapping[str, str]) -> str:
    """The table for the docs, with where and when it was measured."""
    head = f"| {' | '.join(_TITLES)} |\n|{'---|' * len(_TITLES)}\n"
    rows = [f"| {' | '.join(_cells(result))} |" for result in results if not result.error]
    notes = [
        ", ".join(f"{key} {value}" for key, value in on.items()),
        "; ".join(f"{name}: {text}" for name, text in WORK.items()),
        "*rate kept*: share of the wanted rate that the instrument itself had, or the rate where it has none; *99.9 %* "
        "and *longest*: the calls that write; *writer*: its process, while rows came; *memory*: its peak, the ring "
        "included as far as it is mapped; *own*: without the ring; *fullest*: the most of the ring that was not in "
        "the file",
    ]
    return head + "\n".join(rows) + "\n\n" + "".join(f"- {note}\n" for note in notes) + f"\n{verdict(results)}\n"


def verdict(results: list[Result]) -> str:
    """Whether the goal was held, and by what."""
    tried = [result for result in results if result.work == "digitiser" and result.ring_mb == 100]
    held = [
        f"{result.settings} (ring in {result.place})"
        for result in tried
        if result.adds_up and not result.rows_lost and result.kept > 0.99
    ]
    return f"{GOAL}, 100 MB ring, nothing lost: {', '.join(held) or 'not held'}" if tried else ""


def plot(results: list[Result], path: str) -> None:
    """How full the rings were: over time, or, where several sizes were tried, by size, with what was lost."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure = (_by_size if len({result.ring_mb for result in results}) > 1 else _over_time)(results, plt)
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def _over_time(results: list[Result], plt: Any) -> Any:
    """A row of panels for each instrument, a column for each place of the ring."""
    works = list(dict.fromkeys(result.work for result in results))
    places = list(dict.fromkeys(result.place for result in results))
    figure, axes = plt.subplots(
        len(works), len(places), figsize=(6.5 * len(places), 3.2 * len(works)), sharey=True, squeeze=False
    )
    for row, work in zip(axes, works, strict=True):
        for panel, place in zip(row, places, strict=True):
            for result in results:
                if (result.work, result.place) == (work, place) and result.fill:
                    lost = f", {_lost(result)} lost" if result.rows_lost else ""
                    times, fills = zip(*result.fill, strict=True)
                    label = result.settings + lost
                    panel.plot(times, [100 * fill for fill in fills], linewidth=0.8, label=label)
            panel.set(title=f"{work}, ring in {place if place == 'memory' else 'a file on disk'}", ylim=(0, 103))
            panel.set(xlabel="time (s)", ylabel="not in the file (% of ring)")
            panel.grid(alpha=0.3)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize="x-small", loc="upper right")
    return figure


def _by_size(results: list[Result], plt: Any) -> Any:
    """The fullest that each ring was, and the share of rows lost: a line for each case and place of the ring."""
    figure, (fullest, lost) = plt.subplots(1, 2, figsize=(13, 3.6))
    cases = list(dict.fromkeys((result.work, result.settings, result.place) for result in results))
    for case in cases:
        runs = [one for one in results if (one.work, one.settings, one.place) == case and one.rows_in]
        sizes = [one.ring_mb for one in runs]
        where = "in memory" if case[2] == "memory" else "on disk"
        how = {"marker": "o", "markersize": 4, "linewidth": 1, "label": f"{case[0]}, {case[1]}, ring {where}"}
        fullest.plot(sizes, [100 * one.highest_fill for one in runs], **how)
        lost.plot(sizes, [100 * one.rows_lost / one.rows_in for one in runs], **how)
    sizes = sorted({result.ring_mb for result in results})
    for panel, what in ((fullest, "fullest (% of ring)"), (lost, "rows lost (%)")):
        panel.set(xscale="log", xlabel="size of the ring (MB)", ylabel=what, ylim=(-2, 103))
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    lost.legend(fontsize="x-small", loc="upper right")
    return figure
