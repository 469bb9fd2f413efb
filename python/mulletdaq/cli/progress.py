"""How far an acquisition is: a bar at a terminal, one line at the start for a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mulletdaq.acquisition import Progress
from mulletdaq.cli.output import note, waiting
from mulletdaq.cli.summary import shortest
from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text


# Drawing the bar takes 1.5 ms, ten times a second: a faster loop would miss ticks over it.
_FASTEST_WITH_BAR_HZ = 200


@contextmanager
def show_progress(
    start_line: str, rate_hz: float, duration_s: float | None
) -> Iterator[Callable[[Progress], None] | None]:
    """Print the start line, and within the block give what shows progress, or None where nobody looks.

    Parameters
    ----------
    start_line
        What begins.
    rate_hz
        Samples a second; for a fast loop only a number is shown.
    duration_s
        How long it will take; None if nobody knows.
    """
    note(start_line)
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
    elif rate_hz > _FASTEST_WITH_BAR_HZ:
        yield _show_number
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    else:
        # No refreshing thread: it would compete with the measuring loop for the interpreter.
        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Bars(*columns, console=console, auto_refresh=False, transient=True) as bars:
            task = bars.add_task("0 samples", total=duration_s)

            def show_bar(progress: Progress) -> None:
                bars.update(task, completed=progress.elapsed_s, description=_samples(progress))
                bars.refresh()

            yield show_bar


@contextmanager
def show_text(start_line: str) -> Iterator[Callable[[str], None] | None]:
    """Print the start line, and within the block give what shows a line that changes, or None where nobody looks."""
    note(start_line)
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    with console.status(Text("")) as status:
        yield lambda line: status.update(Text(line))


@contextmanager
def show_rows(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Within the block give what shows rows done of rows to do, or None where nobody looks.

    Parameters
    ----------
    what
        What is being done.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(escape(what), total=None)

        def show(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield show


@contextmanager
def show_share(start_line: str) -> Iterator[Callable[[str, float], None] | None]:
    """Print the start line, and within the block give what shows what is done and the share of it, or None."""
    note(start_line)
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    # No refreshing thread: it would compete with what is measured.
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bars(*columns, console=console, auto_refresh=False, transient=True) as bars:
        task = bars.add_task("", total=1.0)

        def show(what: str, share: float) -> None:
            bars.update(task, completed=share, description=escape(what))
            bars.refresh()

        yield show


@contextmanager
def saved(path: str, finish: Callable[[], object]) -> Iterator[None]:
    """After the block, however it ends, bring what is left into a file, and let someone at a terminal see it."""
    try:
        yield
    finally:
        with waiting(
            f"bringing the rest into {shortest(Path(path))}; press Ctrl-C repeatedly to leave that to the writer"
        ):
            finish()


def _show_number(progress: Progress) -> None:
    print(f"\r{_samples(progress)} in {progress.elapsed_s:.1f} s", end="", file=sys.stderr, flush=True)


def _samples(progress: Progress) -> str:
    missed = f", {progress.missed_ticks} ticks missed" if progress.missed_ticks else ""
    return f"{progress.samples} samples{missed}"


__all__ = ["saved", "show_progress", "show_rows", "show_share", "show_text"]
