"""Identifiers for the outside: no path is ever part of an address, and none is an input."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from prost.apps.server.problems import Problem
from prost.search.library import Library
from prost.search.missing_files import is_under
from prost.search.records import VideoRow
from prost.search.schema import path_key

VIDEO_ID = r"[0-9a-f]{32}-[0-9a-f]{16}"
FOLDER_ID = r"[0-9a-f]{24}"
NO_CONTENT = "0" * 16
# Folders below those that may be indexed, at most; deeper ones are left out.
MOST_FOLDERS = 5_000


def video_id(row: VideoRow) -> str:
    """Identifier of a version of a file: hash of its row's key, and of its content. Another content has another one."""
    return f"{path_key(row.path)}-{(row.content or NO_CONTENT)[:16]}"


def find_video(library: Library, identifier: str) -> VideoRow:
    """The row that an identifier stands for.

    Raises:
        Problem: 404 where the library does not have it (any more).
    """
    if not re.fullmatch(VIDEO_ID, identifier):
        raise Problem(404, "no such video")
    for row in library.videos(f"key = '{identifier[:32]}'"):
        if video_id(row) == identifier:
            return row
    raise Problem(404, "no such video: it is not in the library any more, or its content has changed")


def folder_id(path: str) -> str:
    """Identifier of a folder."""
    return blake2b(os.fsencode(path), digest_size=12, person=b"folder").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder with videos of the library, or one that may be indexed.

    Attributes:
        path: absolute.
        videos: of the library, directly in it.
        may_index: whether it lies in a folder that the server was given.
    """

    path: str
    videos: int
    may_index: bool


class Folders:
    """The folders that clients may name, found anew whenever the library has changed.

    Args:
        roots: folders that may be indexed, with all that is below them.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(os.path.abspath(root) for root in roots)
        self._lock = threading.Lock()
        self._videos: tuple[Library, object, dict[str, int]] | None = None

    def all(self, library: Library) -> Mapping[str, Folder]:
        """Folders by their identifiers, each after the folder that it lies in."""
        counts = dict(self._counts(library))
        below = [path for root in self.roots for path in _folders_below(root)]
        paths = sorted({*counts, *below}, key=os.fsencode)
        return {
            folder_id(path): Folder(path=path, videos=counts.get(path, 0), may_index=self.may_index(path))
            for path in paths
        }

    def find(self, library: Library, identifier: str) -> Folder:
        """The folder that an identifier stands for.

        Raises:
            Problem: 404 where there is none.
        """
        folder = self.all(library).get(identifier) if re.fullmatch(FOLDER_ID, identifier) else None
        if folder is None:
            raise Problem(404, "no such folder")
        return folder

    def may_index(self, path: str) -> bool:
        """Whether a folder is one of those that may be indexed, or below one, also once links are followed."""
        return any(is_under(path, root) for root in self.roots) and any(
            is_under(os.path.realpath(path), os.path.realpath(root)) for root in self.roots
        )

    def _counts(self, library: Library) -> dict[str, int]:
        # Another library at the same path can have equal versions, but it is another object.
        state = (library.tables, library.versions())
        with self._lock:
            if self._videos is not None and self._videos[0] is library and self._videos[1] == state:
                return self._videos[2]
        counts: dict[str, int] = {}
        for row in library.videos():
            folder = os.path.dirname(row.path)
            counts[folder] = counts.get(folder, 0) + 1
        with self._lock:
            self._videos = (library, state, counts)
        return counts


def _folders_below(root: str) -> list[str]:
    """A folder and those below it; hidden ones, and what links lead to, are left out."""
    found: list[str] = []
    waiting = [root] if os.path.isdir(root) else []
    while waiting and len(found) < MOST_FOLDERS:
        folder = waiting.pop()
        found.append(folder)
        try:
            with os.scandir(folder) as entries:
                waiting += [
                    entry.path
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                ]
        except OSError:  # may not be listed, or is gone by now
            continue
    return found
