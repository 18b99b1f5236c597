"""Packs of a library on object storage: the objects, and copies of them on this machine, which can be mapped.

    ~/.cache/prost/packs/<library>/     copies; any of them may be removed at any time

A writer makes the files here and uploads them. A reader downloads what `current.json` in the library names. All names
are those of immutable files, so a copy never becomes stale. The copies of all libraries together are bounded: those
that were opened longest ago go first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from prost.object_store import TEMPORARY, ObjectStore
from prost.places import cache_folder
from prost.search.storage_errors import storage_errors

FOLDER = "packs"
# Bytes of copies of all libraries. A library that takes more alone is kept whole while it is in use.
CACHE_BYTES = 20 << 30
# A file that is being downloaded grows. One that has not grown for this long was left by a process that was killed.
UNFINISHED_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """What copies of packs take on this machine.

    Attributes:
        path: the folder of the copies of all libraries.
        nbytes: their bytes.
        limit: bytes that they may take.
    """

    path: str
    nbytes: int
    limit: int


def packs_cache() -> Path:
    """The folder of the copies of all libraries."""
    return cache_folder() / FOLDER


def cache_state() -> CacheState:
    """What copies of packs take on this machine."""
    return CacheState(
        path=str(packs_cache()), nbytes=sum(size for _, size, _ in _copies()), limit=CACHE_BYTES
    )


class RemotePacks:
    """The packs of one library on object storage.

    Args:
        objects: of the library.
        id: of the library.
        expect_held: raises where a writer has lost its lease.

    Attributes:
        folder: of the copies on this machine.
    """

    def __init__(self, objects: ObjectStore, id: str, expect_held: Callable[[], None]) -> None:
        self._objects = objects
        self._expect_held = expect_held
        self._used: frozenset[str] = frozenset()
        self.folder = packs_cache() / blake2b(f"{objects.root} {id}".encode(), digest_size=8).hexdigest()

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none.

        Raises:
            StorageError: the store refuses.
        """
        found = self._objects.read(f"{FOLDER}/{name}")
        return None if found is None else found.data

    def names(self) -> list[str]:
        """Names of all objects."""
        return sorted(name.rsplit("/", 1)[-1] for name in self._objects.sizes(FOLDER))

    def use(self, names: Collection[str]) -> None:
        """Keep the copies of these files when others are removed."""
        self._used = frozenset(names)

    def copy(self, name: str, *, again: bool = False) -> Path:
        """The copy of a file on this machine; it is downloaded if it is not there.

        Args:
            name: of the file.
            again: download it though it is there.

        Raises:
            FileNotFoundError: the library has no such file.
            StorageError: the store or the disk refuses.
        """
        path = self.folder / name
        if not again:
            with suppress(FileNotFoundError):
                modified = path.stat().st_mtime_ns
                os.utime(path, ns=(time.time_ns(), modified))
                return path
        with storage_errors(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._objects.download(f"{FOLDER}/{name}", path)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            self._bound()
        return path

    def publish(
        self, names: Collection[str], fresh: Collection[str] = (), current: tuple[str, bytes] | None = None
    ) -> None:
        """Upload files and then the object that names them, and remove all other objects.

        Args:
            names: of the files in use, that object included. Files that the library lacks are uploaded.
            fresh: names of files that this writer made, which are uploaded in any case. The copy of another file may
                have been cut, so it never replaces an object.
            current: name and new content of the object that names them; None where it stays.

        Raises:
            LibraryBusy: another writer took over.
            StorageError: the store refuses; the files before are still in use.
        """
        there = self.names()
        for name in sorted(names):
            path = self.folder / name
            if name in fresh or (name not in there and path.is_file()):
                self._objects.upload(path, f"{FOLDER}/{name}")
        self._expect_held()
        if current is not None:
            name, content = current
            self._objects.write(f"{FOLDER}/{name}", content)
        self._objects.remove([f"{FOLDER}/{name}" for name in there if name not in names])

    def _bound(self) -> None:
        """Remove the copies that were opened longest ago, down to the limit; those in use here stay."""
        copies = _copies()
        total = sum(size for _, size, _ in copies)
        for path, size, _ in sorted(copies, key=lambda copy: copy[2]):
            if total <= CACHE_BYTES:
                return
            if path.parent == self.folder and path.name in self._used:
                continue
            # Where the system refuses, the file is mapped by a reader.
            with suppress(OSError):
                path.unlink()
                total -= size


def _copies() -> list[tuple[Path, int, int]]:
    """All copies: path, bytes, and when it was opened last. Files that are being downloaded are left out."""
    copies = []
    for path in packs_cache().glob("*/*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            if path.name.endswith(TEMPORARY) and status.st_mtime > time.time() - UNFINISHED_SECONDS:
                continue
            copies.append((path, status.st_size, status.st_atime_ns))
    return copies
