"""`prost watch`: keeps a library up to date with folders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.options import (
    AddingModelOption,
    DeviceOption,
    ExcludeOption,
    FitOption,
    FormOption,
    LibraryOption,
    TagOption,
    WorkersOption,
    clips_with,
    load_for_adding,
    make_or_open_library,
)
from prost.apps.cli.output import print_json, print_line, say
from prost.errors import UsageError

if TYPE_CHECKING:
    from prost.errors import LibraryBusy
    from prost.search.watching import WatchReport


def watch(
    folders: Annotated[list[Path], typer.Argument(help="Folders with everything below them.")],
    library: LibraryOption,
    model: AddingModelOption = None,
    device: DeviceOption = "auto",
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks at the folders.")
    ] = 10.0,
    exclude: ExcludeOption = None,
    tag: TagOption = None,
    fit: FitOption = None,
    workers: WorkersOption = None,
    form: FormOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each change, with its time.")
    ] = False,
) -> None:
    """Watch folders and keep a library up to date with them, until Ctrl-C or SIGTERM.

    A file is indexed once its size and modification time are the same at two looks, and a file that failed is tried
    again when it changes. Deleted files are removed as `prost index` removes them: those that may come back stay. One
    line is printed for each change. What is finished is kept, and a new start goes on from there. The exit code is 0.
    """
    from prost.search.watching import Watcher
    from prost.video.remote import address_of

    for folder in folders:
        if address_of(folder) is None and not folder.expanduser().is_dir():
            raise UsageError(f"{folder} is not a folder", "folders to watch", "prost index for single files")
    clips = clips_with(library, fit)
    try:
        given, loaded = load_for_adding(library, model, device, ["prost", "watch", *map(str, folders)])
        with make_or_open_library(library, given, loaded, clips=clips) as opened:
            watcher = Watcher(
                opened,
                folders,
                exclude=exclude or (),
                tags=tag or (),
                workers=workers,
                form=form,
                announce=say,
                on_busy=_say_waiting,
            )
            watched = ", ".join(address_of(folder) or str(folder) for folder in folders)
            say(f"watching {watched} every {interval:g} s; Ctrl-C ends it")
            for report in watcher.run(interval):
                for change in _changes(report):
                    _print_change(change, as_json)
    except KeyboardInterrupt:
        say("stopped; what is finished is kept")


def _say_waiting(busy: LibraryBusy) -> None:
    say(f"waiting: {busy.arrived}")


def _changes(report: WatchReport) -> Iterator[dict[str, str]]:
    """What happened to each file: `event`, `path`, and a `detail` where there is one."""
    for event in ("added", "changed", "moved", "removed", "missing", "back", "words"):
        for path in getattr(report, event):
            yield {"event": event, "path": path}
    for path, reason in report.failed:
        yield {"event": "failed", "path": path, "detail": reason}
    for path, detail in report.notes:
        yield {"event": "note", "path": path, "detail": detail}


def _print_change(change: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **change}, lines=True)
    else:
        print_line(
            ": ".join([change["event"], change["path"], *([change["detail"]] if "detail" in change else [])])
        )
