"""Generations of a library: after a change of the model its tables lie in a folder below it.

A new library has its tables in its own folder. When the model is changed, a second library is built in a folder below
(`generation-` and the beginning of the model's fingerprint), while searches go on with the first. `generation.txt`
then names it, in one step. Whoever opens the library is led there.

On an object store the step is one conditional write: it fails if anybody wrote the pointer since the lease of the
tables in use was taken. Who takes over an expired lease writes the pointer anew, with the same name and another mark.
So a change of the model that slept past its lease cannot hide what the next writer adds.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from prost.errors import LibraryDamaged
from prost.object_store import CLOCK, ObjectStore, is_remote
from prost.search.description import DESCRIPTION, library_top, made_by, read_description
from prost.search.encode import PrototypeModel
from prost.search.lease import hold_lease, lost_lease
from prost.search.small_files import read_small, write_small
from prost.search.storage_errors import storage_errors
from prost.search.writer_lock import LOCK, writer_lock

if TYPE_CHECKING:
    from obstore import UpdateVersion

POINTER = "generation.txt"
PREFIX = "generation-"
NAME = re.compile(rf"{PREFIX}[0-9a-z]+")
# What the pointer names where the tables lie in the library's own folder.
OWN = "."


def library_root(path: str | os.PathLike[str], storage_options: Mapping[str, str] | None = None) -> str:
    """Where the tables of a library lie: in its own folder, or after a change of the model in one below.

    Raises:
        LibraryDamaged: the file that names that folder cannot be read.
        UsageError: as for `library_top`.
        StorageError: the disk or the object store refuses.
    """
    return current_generation(library_top(path), storage_options)


def current_generation(top: str, storage_options: Mapping[str, str] | None = None) -> str:
    """The folder with the tables that searches read: the library's own, or one below it.

    Raises:
        LibraryDamaged: the pointer cannot be read.
        StorageError: the disk or the object store refuses.
    """
    return _named(top, read_small(top, POINTER, storage_options))


def generation_for(top: str, model: PrototypeModel, storage_options: Mapping[str, str] | None = None) -> str:
    """The folder of the tables that a model makes: one that it has begun, or a new one.

    A fingerprint by an earlier rule counts as the model's, so that a change that was begun then goes on.
    """
    usual = _below(top, f"{PREFIX}{model.fingerprint[:12]}")
    begun = [place for place in other_generations(top, storage_options) if place not in (top, usual)]
    for place in [usual, *begun]:
        description = read_description(place, storage_options)
        if description is not None and made_by(description, model):
            return place
    return usual


def other_generations(top: str, storage_options: Mapping[str, str] | None = None) -> list[str]:
    """Folders with tables that searches do not read: older ones, and one that is being built."""
    current = current_generation(top, storage_options)
    below = [_below(top, name) for name in sorted(_names(top, storage_options)) if NAME.fullmatch(name)]
    return [
        place
        for place in (top, *below)
        if place != current and read_small(place, DESCRIPTION, storage_options) is not None
    ]


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Lets searches read other tables, in one step; made while the lock or the lease of those in use is held.

    Attributes:
        top: the library.
        storage_options: what is needed to reach an object store.
        seen: version of the pointer then; None where there was none, and in a folder.
    """

    top: str
    storage_options: Mapping[str, str] | None
    seen: UpdateVersion | None

    @classmethod
    def of(cls, top: str, storage_options: Mapping[str, str] | None = None) -> Switch:
        """Read the pointer, which must stay as it is until the switch."""
        found = ObjectStore(top, storage_options).read(POINTER) if is_remote(top) else None
        return cls(top=top, storage_options=storage_options, seen=None if found is None else found.version)

    def to(self, generation: str) -> None:
        """Let searches read other tables from now on; one that is running ends with those that it began with.

        Raises:
            LibraryBusy: another writer took the lease over meanwhile; nothing was switched.
            StorageError: the disk or the object store refuses.
        """
        name = os.path.basename(generation)
        if not is_remote(self.top):
            write_small(self.top, POINTER, name.encode())
            return
        objects, data = ObjectStore(self.top, self.storage_options), _pointer(name)
        if objects.replace(POINTER, data, self.seen) is None:
            # It may be this write that arrived, though its first answer did not.
            found = objects.read(POINTER)
            if found is None or found.data != data:
                raise lost_lease(self.top)


def refuse_older_switches(root: str, storage_options: Mapping[str, str] | None = None) -> None:
    """Make a change of the model fail that was prepared before now; called by who takes over the lease of tables.

    Args:
        root: where the tables are, on an object store.
        storage_options: what is needed to reach it.
    """
    folder, _, name = root.rpartition("/")
    below = bool(NAME.fullmatch(name)) and current_generation(folder, storage_options) == root
    top, own_name = (folder, name) if below else (root, OWN)
    objects = ObjectStore(top, storage_options)
    while True:
        found = objects.read(POINTER)
        if _named(top, None if found is None else found.data) != root:
            return  # these tables are not in use, so no change of the model can start from them
        data = _pointer(own_name)
        if objects.replace(POINTER, data, None if found is None else found.version) is not None:
            return


def remove_generation(top: str, generation: str, storage_options: Mapping[str, str] | None = None) -> None:
    """Delete tables that searches do not read.

    The description goes first, so that an interrupted removal leaves no library that looks whole.

    Raises:
        LibraryBusy: a process writes to them, such as a change of the model that is not finished.
        StorageError: the disk or the object store refuses.
    """
    if generation == current_generation(top, storage_options):
        raise ValueError(f"{generation} is in use")
    if is_remote(top):
        _remove_objects(top, generation, storage_options)
        return
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


def _remove_objects(top: str, generation: str, storage_options: Mapping[str, str] | None) -> None:
    objects = ObjectStore(generation, storage_options)
    with hold_lease(objects) as lease:
        lease.expect_held()
        objects.remove([DESCRIPTION])
        names = [name for name in objects.sizes() if name not in (LOCK, CLOCK)]
        if generation == top:
            names = [name for name in names if name != POINTER and not NAME.fullmatch(name.split("/")[0])]
        objects.remove(names)
        # A lease whose object is gone is neither renewed nor released.
        objects.remove([LOCK, CLOCK])


def _pointer(name: str) -> bytes:
    """The pointer's content on an object store, which tells one state from another by it."""
    return f"{name}\n{uuid4().hex}\n".encode()


def _named(top: str, pointer: bytes | None) -> str:
    """The folder that a pointer names.

    Raises:
        LibraryDamaged: it names none.
    """
    if pointer is None:
        return top
    name = (pointer.decode("utf-8", "replace").splitlines() or [""])[0].strip()
    if name == OWN:
        return top
    if not NAME.fullmatch(name):
        raise LibraryDamaged(
            f"{top}/{POINTER} names {name!r}", "a folder below the library", "remove that file"
        )
    return _below(top, name)


def _below(top: str, name: str) -> str:
    return f"{top}/{name}" if is_remote(top) else os.path.join(top, name)


def _names(top: str, storage_options: Mapping[str, str] | None) -> set[str]:
    """Names of what lies directly in a library."""
    if is_remote(top):
        return ObjectStore(top, storage_options).names()
    with storage_errors(top):
        return set(os.listdir(top)) if os.path.isdir(top) else set()
