"""Files that an indexed folder no longer shows: deleted, or on a disk that is not there now?

Nothing tells the two apart for certain. A file counts as deleted where its folder, or the nearest folder above it
that still exists, still shows videos, and where few files are gone. Everything else counts as missing: it is kept
until the user says that it may go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prost.errors import StorageError, UsageError
from prost.object_store import is_remote
from prost.video.remote import bucket_of, look_at_object, place_of

# More files than these are not removed without being told to.
MANY_FILES = 20
MANY_OF_ALL = 0.5


@dataclass(frozen=True)
class GoneFiles:
    """Known files that are gone.

    Attributes:
        deleted: they may be removed from the library.
        missing: they may come back.
    """

    deleted: list[str]
    missing: list[str]


def sort_gone(known: Sequence[str], found: Iterable[str], folders: Sequence[str]) -> GoneFiles:
    """Sort the known files of some folders that are gone.

    Missing are those below a folder that shows no video any more (an unmounted disk leaves its mount point empty) or
    below a link that leads nowhere; and all of them, where they are more than MANY_FILES, or more than MANY_OF_ALL of
    the known files of these folders.

    Args:
        known: absolute paths that the library knows.
        found: absolute paths that the folders show now.
        folders: absolute paths.
    """
    shown = set(found)
    alive = {folder for path in shown for folder in _ancestors(path)}
    inside = [path for path in known if any(is_under(path, folder) for folder in folders)]
    gone = [path for path in inside if path not in shown and is_gone(path)]
    deleted = [path for path in gone if _was_deleted(path, folders, alive)]
    if len(deleted) > MANY_FILES or len(deleted) > MANY_OF_ALL * len(inside):
        deleted = []
    return GoneFiles(deleted, [path for path in gone if path not in set(deleted)])


def is_gone(path: str) -> bool:
    """Whether nothing is at a path or an address; False for a place that cannot be looked at."""
    if is_remote(path):
        try:
            return look_at_object(path) is None
        except (StorageError, UsageError):  # no network, no credentials, or obstore is not installed
            return False
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def exists(path: str) -> bool:
    """Whether something is at a path or an address, behind links too.

    Raises:
        StorageError: an object store refuses.
    """
    return look_at_object(path) is not None if is_remote(path) else os.path.exists(path)


def gone_among(paths: Iterable[str]) -> set[str]:
    """Those of some paths that are gone; the folders of an object store are listed once each."""
    gone: set[str] = set()
    folders: dict[str, set[str] | None] = {}
    for path in paths:
        if not is_remote(path):
            if is_gone(path):
                gone.add(path)
            continue
        folder = os.path.dirname(path)
        if folder not in folders:
            bucket, name = place_of(folder)
            try:
                folders[folder] = {f"{bucket}/{each.name}" for each in bucket_of(folder).directly_in(name)}
            except (StorageError, UsageError):
                folders[folder] = None
        there = folders[folder]
        if there is not None and path not in there:
            gone.add(path)
    return gone


def is_under(path: str, folder: str) -> bool:
    """Whether a path is the folder's or lies in it; both absolute, or both addresses."""
    separator = "/" if is_remote(folder) else os.sep
    return path == folder or path.startswith(folder.rstrip(separator) + separator)


def _was_deleted(path: str, folders: Sequence[str], alive: set[str]) -> bool:
    for folder in _ancestors(path):
        if folder in alive:
            return True
        # A folder that exists without videos, a dangling link, or the end of what was asked for.
        if not is_gone(folder) or folder in folders:
            return False
    return False


def _ancestors(path: str) -> list[str]:
    """The folders that a path lies in, the nearest first."""
    folders = []
    while (parent := os.path.dirname(path)) != path:
        folders.append(parent)
        path = parent
    return folders
