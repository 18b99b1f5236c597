"""All that the command line prints: results on stdout, everything else on stderr.

Every text goes through `prost.printable` here, so that a file name cannot move the cursor, change colours or forge a
line. No other file of the package prints.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from prost.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

# A log file has no width; this is wide enough that no path is broken.
LOG_WIDTH = 200
SECONDS_BETWEEN_LOG_LINES = 5.0
# The speed is measured over this window, so that the remaining time follows the current speed.
SPEED_WINDOW_SECONDS = 60.0
NAME_WIDTH = 40


class ShowProgress(Protocol):
    """Called with the items done (a fraction counts), the items in all, the name of the last one, and a remark."""

    def __call__(self, done: float, total: int, name: str, remark: str = "", /) -> None:
        """Show this state of the work."""


def console() -> Console:
    """A rich console for results that prints text as it is: no markup, no emoji codes, no highlighting."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else LOG_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_line(line: str) -> None:
    """Print one line of a result."""
    print(printable(line), flush=True)


def probability_text(probability: float) -> str:
    """A probability with three decimals; one that is not zero is not printed as zero.

    >>> probability_text(0.9712), probability_text(0.0004), probability_text(0.0)
    ('0.971', '<0.001', '0.000')
    """
    return "<0.001" if 0 < probability < 0.0005 else f"{probability:.3f}"


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print one JSON value; ASCII only, so that any file name survives any pipe.

    Args:
        value: what to print.
        lines: on one line, for programs that read line by line while the work goes on.
    """
    print(json.dumps(value, indent=None if lines else 2, allow_nan=False), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows under a title.

    Args:
        columns: headings; one that starts with `>` is aligned right.
        rows: cells.
        title: one line above the table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    place = console()
    if title:
        place.print(Text(printable(title), style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            Text(printable(column.removeprefix(">"))),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    place.print(table)


def say(line: str) -> None:
    """Print one line that is not a result on stderr."""
    print(printable(line), file=sys.stderr, flush=True)


class _SayingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Context in which the warnings that prost logs are printed as other messages are."""
    log, handler = logging.getLogger("prost"), _SayingHandler(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def progress(label: str, unit: str = "items") -> Iterator[ShowProgress]:
    """Show how far long work is: a bar on a terminal, a line every few seconds in a log.

    Args:
        label: what is being done.
        unit: plural of what is counted, for the speed.

    Yields:
        the function to call after each item.
    """
    speed = _Speed(unit)
    if not sys.stderr.isatty():
        yield _lines(label, speed)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        TextColumn("{task.fields[current]}", style="dim", markup=False),
        console=Console(stderr=True, highlight=False, markup=False, emoji=False),
        transient=True,
    )
    with bar:
        task = bar.add_task(label, total=None, status="", current="")

        def show(done: float, total: int, name: str, remark: str = "", /) -> None:
            status = ", ".join(filter(None, (speed.after(done, total), remark)))
            bar.update(
                task, completed=done, total=total, status=status, current=printable(name)[-NAME_WIDTH:]
            )

        yield show


def _lines(label: str, speed: _Speed) -> ShowProgress:
    next_line = time.monotonic() + SECONDS_BETWEEN_LOG_LINES

    def show(done: float, total: int, name: str, remark: str = "", /) -> None:
        nonlocal next_line
        status = speed.after(done, total)
        if time.monotonic() >= next_line:
            say(", ".join(filter(None, (f"{label}: {int(done)} of {total}", status, remark))))
            next_line = time.monotonic() + SECONDS_BETWEEN_LOG_LINES

    return show


class _Speed:
    """Items a second over the last minute, and the remaining time at that speed."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._seen = deque([(time.monotonic(), 0.0)])

    def after(self, done: float, total: int) -> str:
        """Describe the speed once `done` of `total` items are done; "" where nothing can be said yet."""
        now = time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] < now - SPEED_WINDOW_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        if done <= before or now <= since:
            return ""
        speed = (done - before) / (now - since)
        rounded = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
        left = f", {format_duration((total - done) / speed)} left" if done < total else ""
        return f"{rounded} {self._unit}/s{left}"


def format_duration(seconds: float) -> str:
    """Minutes and seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
