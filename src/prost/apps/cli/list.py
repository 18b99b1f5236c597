"""`prost list`: the videos of a library."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from prost.apps.cli.index import with_detail
from prost.apps.cli.options import JsonOption, LibraryOption
from prost.apps.cli.output import format_duration, print_json, print_table, say


def list_videos(
    library: LibraryOption,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help="Only the videos for which this SQL expression is true, such as \"status = 'failed'\".",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the videos of a library, failed ones included."""
    from prost.search.library import Library

    with Library(library) as opened:
        rows = opened.videos(where)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif not rows:
        say("no videos")
    else:
        print_table(
            ["video", ">duration", ">size", ">clips", "tags", "status"],
            [
                [
                    row.path,
                    "" if row.duration is None else format_duration(row.duration),
                    "" if row.width is None else f"{row.width}×{row.height}",
                    str(row.clips),
                    ", ".join(row.tags),
                    with_detail(row.status, row.detail)
                    if row.indexed
                    else f"failed: {with_detail(row.reason or '', row.detail)}",
                ]
                for row in rows
            ],
        )
