"""`prost duplicates`: files that show the same film."""

from __future__ import annotations

from prost.apps.cli.options import JsonOption, LibraryOption
from prost.apps.cli.output import format_duration, print_json, print_table, say


def duplicates(library: LibraryOption, as_json: JsonOption = False) -> None:
    """List films that lie in several files: equal files, and other sizes, codecs and containers of one film."""
    from prost.search.library import Library

    with Library(library) as opened:
        groups = opened.duplicates()
    if as_json:
        print_json([[row.path for row in group] for group in groups])
        return
    if not groups:
        say("no duplicates")
        return
    print_table(
        [">film", "file", ">duration", ">size", "codec", ">bytes"],
        [
            [
                str(number),
                row.path,
                format_duration(row.duration or 0.0),
                f"{row.width}×{row.height}",
                row.codec or "",
                f"{row.size:,}",
            ]
            for number, group in enumerate(groups, 1)
            for row in group
        ],
    )
