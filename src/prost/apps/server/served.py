"""The library that is served: always the one that is at its path now, also when it was replaced meanwhile."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from prost.apps.server.problems import Problem, TooBusy
from prost.errors import LibraryError, MissingPath, ModelMismatch, ProstError, StorageError, VideoError
from prost.object_store import is_remote
from prost.search.description import DESCRIPTION, read_description
from prost.search.encode import PrototypeModel
from prost.search.generations import library_root
from prost.search.library import Library
from prost.search.store import CLIPS, VIDEOS

logger = logging.getLogger("prost.server")

Result = TypeVar("Result")
ATTEMPTS = 3
# Seconds for which a library on an object store counts as the same after a look, which is two requests there.
LOOK_LASTS = 1.0


class ServedLibrary:
    """Hands out the library to one piece of work after another. Threads may share it.

    Versions of one library are the business of `Library`, which reads the latest one. Here it is found out whether
    there is another library in its place: one that was copied there, or the tables of another model.

    Args:
        library: open, with its model.
        load_model: loads the model of the library at a path; None where only the present model can be used.
    """

    def __init__(self, library: Library, load_model: Callable[[str], PrototypeModel] | None) -> None:
        self._load_model = load_model
        self._lock = threading.Lock()
        self._looked: tuple[float, object] | None = None
        self._library, self._identity = library, _identity(library)

    def use(self, work: Callable[[Library], Result]) -> Result:
        """Do a piece of work with the library that is there now; again if it was replaced meanwhile.

        Raises:
            Problem: 503 where there is no library, or none that can be served.
        """
        for _ in range(ATTEMPTS):
            library, identity = self._current()
            try:
                result = work(library)
            except (LibraryError, StorageError, MissingPath, VideoError, Problem):
                if _identity(library) == identity:
                    raise
                self._looked = None
            else:
                if self._look(library) == identity:
                    return result
        raise TooBusy("the library is being replaced", status=503)

    def _current(self) -> tuple[Library, object]:
        with self._lock:
            identity = self._look(self._library)
            if identity is None:
                raise TooBusy("the library is not there now", status=503)
            if identity != self._identity:
                self._library = self._reopened()
                self._identity = identity
                logger.warning("the library was replaced; the new one is served")
            return self._library, identity

    def _look(self, library: Library) -> object:
        """The identity of what is at the library's path, which on an object store may be a second old."""
        if not is_remote(library.path):
            return _identity(library)
        known, now = self._looked, time.monotonic()
        if known is None or now - known[0] > LOOK_LASTS:
            known = self._looked = now, _identity(library)
        return known[1]

    def _reopened(self) -> Library:
        self._library.close()
        try:
            try:
                return self._library.reopen(self._library.model)
            except ModelMismatch:
                if self._load_model is None:
                    raise
                return self._library.reopen(self._load_model(self._library.path))
        except ProstError as error:
            raise TooBusy(f"the library was replaced and cannot be opened: {error}", status=503) from None


def _identity(library: Library) -> object:
    """What is another one when another library is at the same path; None where there is none."""
    try:
        root = library_root(library.path, library.storage_options)
        if is_remote(root):
            description = read_description(root, library.storage_options)
            return None if description is None else (root, description.id)
        seen = [os.stat(os.path.join(root, name)) for name in (DESCRIPTION, VIDEOS, CLIPS)]
    except (OSError, LibraryError, StorageError):
        return None
    return root, seen[0].st_mtime_ns, *((status.st_dev, status.st_ino) for status in seen)
