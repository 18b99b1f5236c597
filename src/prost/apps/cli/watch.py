"""`prost watch`: keeps a library up to date with folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.options import (
    DeviceOption,
    ExcludeOption,
    LibraryOption,
    ModelOption,
    WorkersOption,
    make_or_open_library,
)
from prost.apps.cli.output import print_line, say
from prost.errors import UsageError

if TYPE_CHECKING:
    from prost.errors import LibraryBusy
    from prost.search.index_run import AddReport


def watch(
    folders: Annotated[list[Path], typer.Argument(help="Folders with everything below them.")],
    library: LibraryOption,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks at the folders.")
    ] = 10.0,
    exclude: ExcludeOption = None,
    workers: WorkersOption = None,
) -> None:
    """Watch folders and keep a library up to date with them, until Ctrl-C or SIGTERM.

    A file is indexed once its size and modification time are the same at two looks, and a file that failed is tried
    again when it changes. Deleted files are removed as `prost index` removes them: those that may come back stay. One
    line is printed for each change. What is finished is kept, and a new start goes on from there. The exit code is 0.
    """
    from prost.search.watching import Watcher

    for folder in folders:
        if not folder.expanduser().is_dir():
            raise UsageError(f"{folder} is not a folder", "folders to watch", "prost index for single files")
    try:
        with make_or_open_library(library, model, device, ["prost", "watch", *map(str, folders)]) as opened:
            watcher = Watcher(opened, folders, exclude=exclude or (), workers=workers, on_busy=_say_waiting)
            say(f"watching {', '.join(map(str, folders))} every {interval:g} s; Ctrl-C ends it")
            for report in watcher.run(interval):
                _print_changes(report)
    except KeyboardInterrupt:
        say("stopped; what is finished is kept")


def _say_waiting(busy: LibraryBusy) -> None:
    say(f"waiting: {busy.arrived}")


def _print_changes(report: AddReport) -> None:
    for part in ("added", "moved", "removed"):
        for path in getattr(report, part):
            print_line(f"{part}: {path}")
    for path, reason in report.failed:
        print_line(f"failed: {path}: {reason}")
    for path, detail in report.notes:
        print_line(f"note: {path}: {detail}")
    for path in report.missing:
        print_line(f"missing: {path}")
