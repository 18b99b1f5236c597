"""The files of a local library's tables: flushed to the disk, and known by their checksums.

Lance writes each file once, under a name that is never used again, and does not flush it. Here the files of a commit
are flushed before the commit and its manifest after it, so that a power cut costs at most what was not yet reported
as done. Meanwhile each file is read once, and its size and CRC-32 are kept in `checksums.json`: a changed bit in a
Lance file can otherwise be a wrong answer that nobody notices.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path

from prost.durable import sync_folder, write_whole

CHECKSUMS = "checksums.json"
# The only file of a table that is written again; Lance makes it anew where it is lost.
VERSION_HINT = "latest_version_hint.json"
# What a write that never ended leaves behind: object_store adds `#` and a number to the name.
LEFTOVER = re.compile(r"(#\d+|\.tmp\w*)$|^\.tmp")
VERSIONS = "_versions"
PIECE_BYTES = 4 << 20


class TableFiles:
    """The files of some tables in a folder.

    Args:
        root: the library's folder.
        tables: names of the tables' folders.
    """

    def __init__(self, root: str, tables: tuple[str, ...]) -> None:
        self._root = Path(root)
        self._tables = tables
        self._known: dict[str, tuple[int, int]] | None = None

    def flush(self, table: str) -> None:
        """Flush the new files of a table, and the names in its folders, to the disk.

        Raises:
            OSError: the disk refuses.
        """
        known = self._checksums()
        folders = set()
        for name in self._files(table):
            if name not in known:
                known[name] = _flushed(self._root / name)
                folders.add((self._root / name).parent)
        for folder in sorted(folders):
            sync_folder(folder)
        if folders:
            sync_folder(self._root / table)

    def record(self) -> None:
        """Flush what is new in all tables, and keep the checksums of the files that are there.

        Raises:
            OSError: the disk refuses.
        """
        before = dict(self._checksums())
        there = set()
        for table in self._tables:
            self.flush(table)
            there.update(self._files(table))
        self._known = {name: self._checksums()[name] for name in sorted(there)}
        if self._known != before or not (self._root / CHECKSUMS).exists():
            write_whole(self._root / CHECKSUMS, json.dumps(self._known, indent=0).encode())

    def forget(self) -> None:
        """Read the checksums from the disk when they are asked for next."""
        self._known = None

    def changed(self, name: str) -> str:
        """What is wrong with a file, compared with its checksum; empty where it is as it was written.

        Args:
            name: relative to the library's folder.

        Raises:
            OSError: the system refuses to read it, which says nothing about what it holds.
        """
        try:
            size, checksum = _checksum(self._root / name)
        except (FileNotFoundError, NotADirectoryError):
            return "is gone"
        except IsADirectoryError:
            return "is a folder"
        recorded = self._checksums().get(name)
        if recorded is None or tuple(recorded) == (size, checksum):
            return ""
        return "has changed" if recorded[0] == size else f"has {size} bytes instead of {recorded[0]}"

    def resized(self, name: str) -> str:
        """What is wrong with the size of a file; empty where it is the one that was written.

        Args:
            name: relative to the library's folder.
        """
        try:
            size = (self._root / name).stat().st_size
        except FileNotFoundError:
            return "is gone"
        recorded = self._checksums().get(name)
        return "" if recorded is None or recorded[0] == size else f"has {size} bytes instead of {recorded[0]}"

    def has_checksum(self, name: str) -> bool:
        """Whether a file can be compared with what was written."""
        return name in self._checksums()

    def manifests(self, table: str) -> list[str]:
        """Manifests of a table that are there, and newer ones that were there, relative to the library's folder."""
        folder = f"{table}/{VERSIONS}/"
        there = [name for name in self._files(table) if name.startswith(folder)]
        # Lance counts down in the names, so that the newest version sorts first.
        newest = min(there, default="~")
        lost = (name for name in self._checksums() if name.startswith(folder) and name < newest)
        return sorted({*there, *lost})

    def names(self, table: str) -> list[str]:
        """The files of a table that are there or have a checksum, relative to the library's folder."""
        known = (name for name in self._checksums() if name.startswith(f"{table}/"))
        return sorted({*self._files(table), *known})

    def remove_leftovers(self) -> None:
        """Remove the files of writes that never ended; the writer's lock tells that none is running."""
        for table in self._tables:
            for folder, _, names in os.walk(self._root / table):
                for name in names:
                    if LEFTOVER.search(name):
                        Path(folder, name).unlink(missing_ok=True)

    def _files(self, table: str) -> list[str]:
        return [
            os.path.relpath(os.path.join(folder, name), self._root)
            for folder, _, names in os.walk(self._root / table)
            for name in names
            if name != VERSION_HINT and not LEFTOVER.search(name)
        ]

    def _checksums(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            try:
                stored = json.loads((self._root / CHECKSUMS).read_bytes())
                self._known = {name: (int(size), int(checksum)) for name, (size, checksum) in stored.items()}
            except (FileNotFoundError, ValueError, TypeError, AttributeError):
                # Lost or damaged checksums are taken anew by the next writer.
                self._known = {}
        return self._known


def _flushed(path: Path) -> tuple[int, int]:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return _checksum(path)


def _checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size, checksum = 0, 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            size += len(piece)
            checksum = zlib.crc32(piece, checksum)
    return size, checksum
