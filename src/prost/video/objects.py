"""Finding what lies below an address on an object store, by the rules of a walk over folders."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prost.errors import MissingPath, VideoError
from prost.object_store import SeenObject
from prost.video.exclusion import IGNORE_FILE, Glob, globs_of
from prost.video.remote import ObjectReader, bucket_of, look_at_object, place_of


@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """An object that a walk shows.

    Attributes:
        address: of it.
        seen: what the store tells of it.
    """

    address: str
    seen: SeenObject

    def head(self, size: int) -> bytes | None:
        """Its first bytes; None where there are none to be had.

        Raises:
            StorageError: the store refuses.
        """
        try:
            return ObjectReader(self.address).read(min(size, self.seen.size)) if self.seen.size else b""
        except VideoError:
            return None


class ObjectWalk:
    """The objects below an address, or the one object there.

    Objects and folders whose name starts with a dot are passed over, and so is what globs and ignore files name.

    Args:
        address: of an object, or of a folder.
        exclude: globs that apply to the folder.

    Attributes:
        is_folder: whether it is a folder.
        excluded: what globs left out, once `objects` has come to its end.

    Raises:
        MissingPath: there is neither.
        StorageError: the store refuses.
    """

    def __init__(self, address: str, exclude: Sequence[str] = ()) -> None:
        self._address = address
        self._bucket, name = place_of(address)
        seen = look_at_object(address)
        self.is_folder = seen is None
        self.excluded: set[str] = set()
        self._found = [seen] if seen is not None else list(bucket_of(address).below(name))
        if not self._found and name:
            raise MissingPath(f"{address} is not there", "a video or a folder on the object store")
        self._globs = [*globs_of(exclude, address), *self._ignored()] if self.is_folder else []

    def objects(self) -> Iterator[FoundObject]:
        """Those that are shown, by their names."""
        for seen in sorted(self._found, key=lambda each: each.name):
            address = f"{self._bucket}/{seen.name}"
            if self.is_folder and self._is_left_out(address):
                continue
            yield FoundObject(address=address, seen=seen)

    def _is_left_out(self, address: str) -> bool:
        below = address.removeprefix(f"{self._address}/").split("/")
        if any(part.startswith(".") for part in below):
            return True
        place = self._address
        for depth, part in enumerate(below, 1):
            place = f"{place}/{part}"
            is_folder = depth < len(below)
            if any(
                glob.matches(place, is_folder) for glob in self._globs if place.startswith(f"{glob.folder}/")
            ):
                self.excluded.add(place)
                return True
        return False

    def _ignored(self) -> list[Glob]:
        """The globs of the ignore files in the folder, below it and above it."""
        files = [
            f"{self._bucket}/{seen.name}"
            for seen in self._found
            if posixpath.basename(seen.name) == IGNORE_FILE
        ]
        folder = self._address
        while folder != self._bucket:
            folder = posixpath.dirname(folder)
            if look_at_object(f"{folder}/{IGNORE_FILE}") is not None:
                files.append(f"{folder}/{IGNORE_FILE}")
        globs: list[Glob] = []
        for file in files:
            found = bucket_of(file).read(place_of(file).name)
            lines = os.fsdecode(b"" if found is None else found.data).splitlines()
            globs += globs_of(lines, posixpath.dirname(file))
        return globs
