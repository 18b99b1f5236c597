"""`prost tag` and `prost untag`: words by which a library's videos can be filtered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prost.apps.cli.options import JsonOption, LibraryOption, WaitOption
from prost.apps.cli.output import print_json, print_line

PathsArgument = Annotated[
    list[Path], typer.Argument(help="Files of the library, and folders with everything below them.")
]
TagOption = Annotated[list[str], typer.Option("--tag", help="The tag; may be repeated.")]


def tag(
    paths: PathsArgument,
    library: LibraryOption,
    tags: TagOption,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give tags to videos of a library, for `prost search --where "array_has(tags, 'holiday')"`."""
    from prost.search.library import Library

    with Library(library) as opened:
        _print_changed(opened.tag(paths, tags, wait=wait), as_json)


def untag(
    paths: PathsArgument,
    library: LibraryOption,
    tags: TagOption,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take tags away from videos of a library."""
    from prost.search.library import Library

    with Library(library) as opened:
        _print_changed(opened.untag(paths, tags, wait=wait), as_json)


def _print_changed(changed: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"changed": changed})
    else:
        print_line(f"{len(changed)} changed")
