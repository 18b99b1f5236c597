"""Pictures and previews that were made already, on the disk; it may be deleted at any time."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO
from uuid import uuid4

logger = logging.getLogger("prost.server")

# Beyond the bound the oldest entries go until this fraction of it is left.
KEPT_FRACTION = 0.8


class DiskCache:
    """A folder of files, bounded. Where the disk refuses, nothing is stored, and `problem` says why.

    Args:
        folder: made when the first entry is stored.
        most: bytes.

    Attributes:
        problem: why the last entry could not be stored; None if it could.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._nbytes = sum(size for _, size, _ in self._entries())
        self.problem: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return self._nbytes

    def open(self, key: str) -> IO[bytes] | None:
        """An entry, open for reading; None where there is none."""
        path = self._path(key)
        try:
            file = path.open("rb")
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)  # used just now
        return file

    def get(self, key: str) -> bytes | None:
        """The bytes of an entry; None where there is none."""
        file = self.open(key)
        if file is None:
            return None
        with file, suppress(OSError):
            return file.read()
        return None

    def put(self, key: str, content: bytes) -> None:
        """Store an entry in one step, if the disk allows it."""
        if len(content) > self._most:
            return
        path = self._path(key)
        temporary = path.with_name(f".{uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                temporary.write_bytes(content)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            reason = error.strerror or str(error)
            if self.problem != reason:
                logger.warning("nothing is stored in %s: %s", self._folder, reason)
            self.problem = reason
            return
        self.problem = None
        with self._lock:
            self._nbytes += len(content)
            if self._nbytes > self._most:
                self._shrink()

    def name(self, key: str) -> str:
        """Name of an entry's file."""
        return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()

    def _path(self, key: str) -> Path:
        name = self.name(key)
        return self._folder / name[:2] / name

    def _shrink(self) -> None:
        entries = sorted(self._entries())
        self._nbytes = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._nbytes <= KEPT_FRACTION * self._most:
                return
            with suppress(OSError):
                path.unlink()
                self._nbytes -= size

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each entry was last used, its bytes, and where it is."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found
