"""`prost remove`: takes videos out of a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prost.apps.cli.options import JsonOption, LibraryOption, WaitOption
from prost.apps.cli.output import print_json, print_line


def remove(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files and folders that the library knows, whether or not they still exist."),
    ],
    library: LibraryOption,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove videos from a library; the files themselves are not touched."""
    from prost.search.library import Library

    with Library(library) as opened:
        removed = opened.remove(paths, wait=wait)
    if as_json:
        print_json({"removed": removed})
    else:
        print_line(f"{len(removed)} removed from the library")
