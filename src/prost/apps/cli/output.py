"""What the command line says: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prost.progress import Advance

if TYPE_CHECKING:
    from rich.console import Console

# A log is no terminal: wide enough there that no path is broken.
LOG_WIDTH = 200
SECONDS_BETWEEN_LOG_LINES = 5.0


def console() -> Console:
    """The place for results."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)


def print_json(value: Any) -> None:
    """Print one JSON value; ASCII only, so that any name of a file survives any pipe."""
    print(json.dumps(value, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows under a title.

    Args:
        columns: headings; one that starts with `>` is aligned right.
        rows: cells; they are printed as they are, brackets included.
        title: one line above.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    place = console()
    if title:
        place.print(escape(title), style="bold", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    place.print(table)


def say(line: str) -> None:
    """Tell the person at the keyboard something that is no result."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Show how far long work is: a bar on a terminal, a line now and then in a log.

    Yields:
        a function of what is done, how much there is in all, and what is being worked on.
    """
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[current]}", justify="left"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None, current="")
        yield lambda done, total, current: bar.update(
            task, completed=done, total=total, current=escape(current[-40:])
        )


def _lines(label: str) -> Advance:
    next_line = time.monotonic() + SECONDS_BETWEEN_LOG_LINES

    def advance(done: int, total: int, current: str) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            say(f"{label}: {done} of {total}")
            next_line = time.monotonic() + SECONDS_BETWEEN_LOG_LINES

    return advance
