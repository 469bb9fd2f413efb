"""Printing: tables for people at a terminal, plain lines for pipes, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from mulletdaq.extras import needs_extra

with needs_extra("cli"):
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def terminal() -> Console | None:
    """A console on standard output, or None when that is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else None


def note(message: str) -> None:
    """A line about what is going on, beside the output proper."""
    print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """A line about what should not be overlooked, beside the output proper."""
    note(f"mullet: warning: {message}")


def waiting(what: str) -> AbstractContextManager[Any]:
    """While the block takes its time, someone at a terminal sees what is being done."""
    return Console(stderr=True, highlight=False).status(Text(what))


def print_lines(lines: Iterable[str]) -> None:
    """Lines as they are."""
    for line in lines:
        print(line)


def print_json(answer: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on standard output."""
    print(json.dumps(answer, indent=2, default=_plain))


def print_facts(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    console = terminal()
    if console is None:
        width = max(len(name) for name, _ in facts)
        print(title)
        for name, value in facts:
            print(f"  {name:<{width}}  {value}")
        return
    table = Table(box=box.ROUNDED, show_header=False, title=Text(title, "bold"), title_justify="left")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    console.print(table)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with headings."""
    console = terminal()
    if console is None:
        widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(box=box.ROUNDED, header_style="bold")
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def duration(nanoseconds: int | None) -> str:
    """Nanoseconds, in the unit that reads best."""
    if nanoseconds is None:
        return "-"
    if nanoseconds < 1_000:
        return f"{nanoseconds} ns"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1e3:.3g} µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:.3g} ms"
    return f"{nanoseconds / 1e9:.3g} s"


def size(count: int) -> str:
    """Bytes, in the unit that reads best."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


__all__ = [
    "duration",
    "note",
    "print_facts",
    "print_json",
    "print_lines",
    "print_table",
    "size",
    "terminal",
    "waiting",
    "warn",
]
