"""Videos that lie on an object store: what the store tells of them, and copies on this machine, which can be decoded.

    ~/.cache/prost/videos/              copies, which may be removed at any time
    ~/.cache/prost/videos/in-use/       one more name of each copy that a process reads

The copies together are bounded: those that were opened longest ago go first. What a process reads keeps its second name
until the process has read it, or is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from prost.errors import StorageError, VideoError
from prost.object_store import TEMPORARY, ObjectStore, SeenObject
from prost.places import cache_folder
from prost.printable import format_bytes
from prost.video.reasons import Reason

# pathlib makes one slash of two.
_ADDRESS = re.compile(r"(s3|gs):/{1,2}(?!/)(.+)", re.IGNORECASE | re.DOTALL)
FOLDER, IN_USE = "videos", "in-use"
# Bytes of copies. A video that takes more alone is kept until the next one is copied.
CACHE_BYTES = 10 << 30
# Each piece is a request of its own, which is repeated where it fails.
PIECE_BYTES = 16 << 20
# A copy that is being written grows. One that has not grown for this long was left by a process that was killed.
UNFINISHED_SECONDS = 3600.0
# Bytes of a name that a copy keeps; file systems know 255.
LONGEST_NAME = 200
CHANGING = "still being written"
NO_ROOM = "no room for a copy on this machine"


class Place(NamedTuple):
    """An object: the URI of its bucket, and its name in there."""

    bucket: str
    name: str


def address_of(path: str | os.PathLike[str]) -> str | None:
    """The address that somebody means who names a path, without a slash at its end; None for this machine.

    >>> address_of(Path("s3://films/holiday/")), address_of("holiday")
    ('s3://films/holiday', None)
    """
    found = _ADDRESS.fullmatch(os.fspath(path))
    return None if found is None else f"{found[1].lower()}://{found[2].rstrip('/')}"


def place_of(address: str) -> Place:
    """The bucket and the name of an address; the name of a bucket's own address is empty."""
    scheme, _, rest = address.partition("://")
    bucket, _, name = rest.partition("/")
    return Place(f"{scheme}://{bucket}", name)


def bucket_of(address: str) -> ObjectStore:
    """The objects of an address's bucket.

    Raises:
        UsageError: obstore is not installed.
        StorageError: there are no credentials.
    """
    environment = tuple(
        sorted(each for each in os.environ.items() if each[0].startswith(("AWS_", "GOOGLE_")))
    )
    return _store(place_of(address).bucket, environment)


def look_at_object(address: str) -> SeenObject | None:
    """What the store tells of a video; None where there is none.

    Raises:
        StorageError: the store refuses.
    """
    name = place_of(address).name
    return bucket_of(address).look(name) if name else None


def modified_ns(found: SeenObject) -> int:
    """When an object was written, in nanoseconds since 1970, as `SeenFile` has it."""
    return int(found.modified.timestamp()) * 1_000_000_000


class ObjectReader:
    """Reads parts of an object, as of a file that is open for reading.

    Args:
        address: of the object.
    """

    def __init__(self, address: str) -> None:
        self._address, self._at = address, 0

    def seek(self, place: int) -> int:
        """Go to a byte."""
        self._at = place
        return place

    def read(self, size: int) -> bytes:
        """So many bytes from there.

        Raises:
            VideoError: it is gone, or may not be read.
            StorageError: the store refuses.
        """
        try:
            data = bucket_of(self._address).read_range(place_of(self._address).name, self._at, size)
        except FileNotFoundError:
            raise VideoError(self._address, Reason.GONE) from None
        except PermissionError as error:
            raise VideoError(self._address, Reason.NO_PERMISSION, str(error)) from None
        self._at += len(data)
        return data


@contextmanager
def at_hand(path: str | os.PathLike[str]) -> Iterator[str]:
    """Context with a file of this machine that holds a video: the video itself, or a copy of the same name.

    Args:
        path: a path, or an address on an object store.

    Raises:
        VideoError: there is no such object, it changes, or the disk has no room for it.
        StorageError: the store or the disk refuses.
    """
    name = address_of(path)
    if name is None:
        yield os.fspath(path)
        return
    folder = videos_cache() / IN_USE / f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex}"
    used = folder / os.path.basename(name)[-LONGEST_NAME:]
    try:
        _name_again(name, used)
        yield os.fspath(used)
    finally:
        # Where the system refuses, as for a file that is open on Windows, the next process removes it.
        shutil.rmtree(folder, ignore_errors=True)


def copy_of(address: str) -> Path:
    """A copy of a video, which stays until others need its room.

    Raises:
        VideoError: there is no such object, it changes, or the disk has no room for it.
        StorageError: the store or the disk refuses.
    """
    seen = look_at_object(address)
    if seen is None:
        raise VideoError(address, Reason.GONE)
    key = blake2b(f"{address} {seen.size} {modified_ns(seen)}".encode("utf-8", "replace"), digest_size=16)
    path = videos_cache() / f"{key.hexdigest()}{os.path.splitext(address)[1][-16:]}"
    with suppress(FileNotFoundError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers()
        _make_room(seen.size)
        if seen.size > shutil.disk_usage(path.parent).free:
            raise VideoError(address, NO_ROOM, f"{format_bytes(seen.size)} are needed in {path.parent}")
        _download(address, seen, path)
    except OSError as error:
        raise StorageError(
            f"{path.parent}: the copy of {address} cannot be written ({error.strerror or error})",
            suggestion="free some space, or PROST_HOME on another disk",
        ) from None
    return path


def videos_cache() -> Path:
    """The folder of the copies."""
    return cache_folder() / FOLDER


def _name_again(address: str, used: Path) -> None:
    """Give a copy one more name, so that it stays while it is read, whoever makes room meanwhile."""
    for _ in range(3):
        copy = copy_of(address)
        try:
            used.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy, used)
            return
        except FileNotFoundError:  # somebody made room in this instant
            continue
        except OSError as error:
            raise StorageError(
                f"{used.parent}: a copy cannot be named ({error.strerror or error})",
                suggestion="PROST_HOME on another disk",
            ) from None
    raise VideoError(address, NO_ROOM, "other processes need it")


def _download(address: str, seen: SeenObject, path: Path) -> None:
    temporary = path.with_name(f"{path.name}.{uuid4().hex}{TEMPORARY}")
    reader = ObjectReader(address)
    try:
        with temporary.open("wb") as file:
            for start in range(0, seen.size, PIECE_BYTES):
                file.write(reader.read(min(PIECE_BYTES, seen.size - start)))
            written = file.tell()
        if written != seen.size or look_at_object(address) != seen:
            raise VideoError(address, CHANGING)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_room(size: int) -> None:
    """Remove the copies that were opened longest ago, so that one more of so many bytes can be added."""
    copies = []
    for path in videos_cache().iterdir():
        with suppress(FileNotFoundError):
            status = path.stat()
            unfinished = path.name.endswith(TEMPORARY) and status.st_mtime > time.time() - UNFINISHED_SECONDS
            if path.is_file() and not unfinished:
                copies.append((status.st_atime_ns, path, status.st_size))
    total = size + sum(bytes for _, _, bytes in copies)
    for _, path, bytes in sorted(copies):
        if total <= CACHE_BYTES:
            return
        with suppress(OSError):
            path.unlink()
            total -= bytes


def _remove_leftovers() -> None:
    """Remove the second names that processes of this machine left behind which were killed."""
    here = f"{socket.gethostname()}-"
    for folder in (videos_cache() / IN_USE).glob(f"{here}*"):
        process = folder.name.removeprefix(here).split("-")[0]
        if process.isdigit() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    if os.name != "posix":
        return process == os.getpid()  # a file that another process reads cannot be removed there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


@lru_cache(maxsize=16)
def _store(bucket: str, environment: tuple[tuple[str, str], ...]) -> ObjectStore:
    """The objects of a bucket, for one state of the variables that tell how it is reached."""
    return ObjectStore(bucket)
