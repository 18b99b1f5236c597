"""Output files: written whole or not at all, and never over another file unless that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prost.durable import replaced_whole
from prost.errors import UsageError, one_of


def suffix_of(path: Path, known: tuple[str, ...], arrived: str = "") -> str:
    """The suffix of an output file, in lower case.

    Args:
        path: of the output.
        known: the suffixes that it may have.
        arrived: what the error says was given; by default the path.

    Raises:
        UsageError: it is none of `known`.
    """
    suffix = path.suffix.lower()
    if suffix not in known:
        raise UsageError(arrived or f"output {path}", f"a name that ends in {one_of(known)}")
    return suffix


def expect_figure_name(path: Path, known: tuple[str, ...]) -> None:
    """Check that the name of a figure says its form.

    Raises:
        UsageError: its suffix is none of `known`.
    """
    suffix_of(path, known, f"{path.name} is no figure")


def expect_free(path: Path, force: bool) -> None:
    """Check that an output can be written.

    Raises:
        UsageError: something is there and `force` is False, or it is a folder, or the folder for it is missing.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "the name of a file to write")
    if not force and os.path.lexists(path):
        raise UsageError(f"{path} exists", "a new file", "another name, or --force to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist", "an existing folder for the output")


@contextmanager
def new_output(path: Path, force: bool) -> Iterator[Path]:
    """Context that writes a file in one step.

    Yields:
        where to write it: a name beside it with the same suffix. At the end it is flushed and moved to its place; after
        an exception it is removed, and what was there before is kept.

    Raises:
        UsageError: see `expect_free`.
        OSError: the disk refuses.
    """
    expect_free(path, force)
    temporary = path.with_name(f".prost-{os.getpid()}-{path.name[-80:]}")
    with replaced_whole(path, temporary):
        yield temporary
        expect_free(path, force)
