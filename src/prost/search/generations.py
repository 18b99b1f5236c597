"""Generations of a library: after a change of the model its tables lie in a folder below it.

A new library has its tables in its own folder. When the model is changed, a second library is built in a folder below
(`generation-` and the beginning of the model's fingerprint), while searches go on with the first. `generation.txt`
then names it, in one step. Whoever opens the library is led there.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from prost.errors import LibraryDamaged
from prost.search.description import DESCRIPTION, library_top
from prost.search.durable import write_whole
from prost.search.storage_errors import storage_errors
from prost.search.writer_lock import LOCK, writer_lock

POINTER = "generation.txt"
PREFIX = "generation-"
NAME = re.compile(rf"{PREFIX}[0-9a-z]+")


def library_root(path: str | os.PathLike[str]) -> str:
    """Where the tables of a library lie: in its own folder, or after a change of the model in one below.

    Raises:
        LibraryDamaged: the file that names that folder cannot be read.
        UsageError: as for `library_top`.
    """
    top = library_top(path)
    return top if "://" in top else current_generation(top)


def current_generation(top: str) -> str:
    """The folder with the tables that searches read: the library's own, or one below it.

    Raises:
        LibraryDamaged: the pointer cannot be read.
    """
    try:
        name = Path(top, POINTER).read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return top
    if not NAME.fullmatch(name):
        raise LibraryDamaged(
            f"{top}/{POINTER} names {name!r}", "a folder below the library", "remove that file"
        )
    return os.path.join(top, name)


def next_generation(top: str, fingerprint: str) -> str:
    """The folder of the tables that a model makes."""
    return os.path.join(top, f"{PREFIX}{fingerprint[:12]}")


def other_generations(top: str) -> list[str]:
    """Folders with tables that searches do not read: older ones, and one that is being built."""
    current = current_generation(top)
    below = (
        [entry.path for entry in os.scandir(top) if NAME.fullmatch(entry.name)] if os.path.isdir(top) else []
    )
    return [
        place for place in (top, *sorted(below)) if place != current and Path(place, DESCRIPTION).is_file()
    ]


def switch_generation(top: str, generation: str) -> None:
    """Let searches read other tables from now on; a search that is running ends with those that it began with."""
    write_whole(os.path.join(top, POINTER), os.path.basename(generation).encode())


def remove_generation(top: str, generation: str) -> None:
    """Delete tables that searches do not read.

    The description goes first, so that an interrupted removal leaves no library that looks whole.

    Raises:
        LibraryBusy: a process writes to them, such as a change of the model that is not finished.
        StorageError: the disk refuses.
    """
    if generation == current_generation(top):
        raise ValueError(f"{generation} is in use")
    with writer_lock(generation), storage_errors(generation):
        Path(generation, DESCRIPTION).unlink(missing_ok=True)
        for entry in os.scandir(generation):
            if entry.name in (LOCK, POINTER) or NAME.fullmatch(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    with storage_errors(generation):
        Path(generation, LOCK).unlink()
        if generation != top:
            os.rmdir(generation)
