"""`prost index`: videos into a library."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prost.apps.cli.options import JsonOption, LibraryOption, ModelOption, make_or_open_library
from prost.apps.cli.output import print_json, print_line, progress, say

if TYPE_CHECKING:
    from prost.search.index_run import AddReport
    from prost.search.library import Library


def index(
    paths: Annotated[
        list[Path], typer.Argument(help="Video files, and folders with all that is below them.")
    ],
    library: LibraryOption,
    model: ModelOption = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="A word for these videos; may be repeated.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try files again that failed before and did not change.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put videos into a library. What is in it already and did not change is not decoded again."""
    from prost.video.files import find_videos

    find_videos(paths)  # a mistyped folder must not leave an empty library behind
    with make_or_open_library(library, model) as opened:
        report = add(opened, paths, tags=tag or (), retry_failed=retry_failed)
    if as_json:
        print_json(report_as_dict(report))
        return
    for path, reason in report.failed:
        say(f"failed: {path}: {reason}")
    print_line(str(report))


def add(library: Library, paths: list[Path], **choices: Any) -> AddReport:
    """`Library.add` with a progress bar."""
    with progress("indexing") as advance:
        return library.add(paths, progress=lambda at: advance(at.done, at.total, at.path), **choices)


def report_as_dict(report: AddReport) -> dict[str, Any]:
    """What an indexing did, for programs; paths are absolute."""
    return {**asdict(report), "failed": [{"path": path, "reason": reason} for path, reason in report.failed]}
