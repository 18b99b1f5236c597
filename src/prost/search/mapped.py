"""Immutable files of arrays that show when they were cut short or changed.

    8 bytes   magic
    4 bytes   length of the header, little-endian
    4 bytes   CRC-32 of the header
    header    JSON: the kind of file, the writer's notes, and for each array type, shape, place and CRC-32
    arrays    each at a multiple of 64 bytes

A file is written under another name, flushed to the disk and then renamed, so there is either a whole file or none.
Small files are read into memory, large ones are mapped. Both stay usable after the file was removed. A mapped file
must not be cut short or overwritten in place: the system kills a process that reads a page which is no longer there.
`MappedFile.unchanged` shows whether that happened.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.durable import replaced_whole
from prost.errors import PackDamaged

MAGIC = b"PROSTMAP"
FRONT = struct.Struct("<8sII")
ALIGNMENT = 64
# Files up to this size are read into memory: the packs of some 50,000 clips of the bundled model.
READ_WHOLE = 64 << 20
BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """An open file.

    Attributes:
        path: of the file.
        notes: what its writer noted.
        arrays: by name, read-only.
        first: place of the arrays in the file.
        described: type, shape, place and CRC-32 of each array, by name, as in the header.
        file: the open file.
        opened_as: its size and modification time when it was opened; None if it was read into memory.
    """

    path: Path
    notes: dict[str, Any]
    arrays: dict[str, NDArray]
    first: int
    described: dict[str, Any]
    file: FileIO
    opened_as: tuple[int, int] | None

    def verify(self) -> None:
        """Compare all arrays with their checksums.

        Raises:
            FileNotFoundError: the file was removed meanwhile.
            PackDamaged: they differ.
        """
        try:
            with ThreadPoolExecutor() as threads:
                found = dict(zip(self.arrays, threads.map(self._checksum, self.arrays), strict=True))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(self.path, error) from None
        for name, checksum in found.items():
            if checksum != self.described[name]["crc32"]:
                raise _damaged(self.path, f"the {name} have changed")

    def unchanged(self) -> bool:
        """Whether nobody wrote to the file since it was opened; always true if it was read into memory."""
        return self.opened_as is None or self.opened_as == _state(self.file)

    def _checksum(self, name: str) -> int:
        array = self.arrays[name]
        if self.opened_as is None:
            return _checksum(array)
        # Read instead of mapped: a file that is cut short meanwhile gives fewer bytes instead of a signal.
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.first + self.described[name]["place"])
            checksum, left = 0, array.nbytes
            while left and (data := file.read(min(left, BYTES_AT_ONCE))):
                checksum, left = zlib.crc32(data, checksum), left - len(data)
        return checksum


def write_mapped(
    folder: Path, pattern: str, kind: str, notes: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> Path:
    """Write a file in one step. Whatever has its name, even a folder, is replaced.

    Args:
        folder: where.
        pattern: its name, with `{hash}` for a hash of the header, so different contents have different names.
        kind: what the file is; `open_mapped` asks for it.
        notes: anything that JSON can hold.
        arrays: by name.

    Raises:
        OSError: the disk refuses; nothing is left behind.
    """
    described: dict[str, dict[str, Any]] = {}
    place = 0
    for name, array in arrays.items():
        described[name] = {
            "type": array.dtype.str,
            "shape": array.shape,
            "place": place,
            "crc32": _checksum(array),
        }
        place = _aligned(place + array.nbytes)
    header = json.dumps({"kind": kind, "notes": dict(notes), "arrays": described, "bytes": place}).encode()
    path = folder / pattern.format(hash=blake2b(header, digest_size=6).hexdigest())
    temporary = path.with_name(f"{path.name}.new")
    with replaced_whole(path, temporary):
        with open(temporary, "wb") as file:
            file.write(FRONT.pack(MAGIC, len(header), zlib.crc32(header)) + header)
            first = _aligned(file.tell())
            for name, array in arrays.items():
                file.seek(first + described[name]["place"])
                file.write(_bytes(array))
            file.truncate(first + place)
        if path.is_dir():
            remove(path)
    return path


def open_mapped(path: Path, kind: str) -> MappedFile:
    """Open a file. Its header and its length are checked at once, its arrays by `MappedFile.verify`.

    Raises:
        FileNotFoundError: it is not there.
        PackDamaged: it cannot be read, is cut short, changed, or something else.
    """
    try:
        # Open as long as its arrays are in use.
        file = open(path, "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        return _opened(file, path, kind)
    except BaseException:
        file.close()
        raise


def _opened(file: FileIO, path: Path, kind: str) -> MappedFile:
    state = _state(file)
    try:
        front = file.read(FRONT.size)
        if len(front) < FRONT.size:
            raise _damaged(path, "it is cut short")
        magic, length, checksum = FRONT.unpack(front)
        header = file.read(length) if magic == MAGIC else b""
        if magic != MAGIC or len(header) != length or zlib.crc32(header) != checksum:
            raise _damaged(path, "its header is not what was written")
        described = json.loads(header)
        first, (size, _) = _aligned(FRONT.size + length), state
        if described["kind"] != kind:
            raise _damaged(path, f"it holds {described['kind']}, not {kind}")
        if size != first + described["bytes"]:
            raise _damaged(path, f"it has {size} bytes instead of {first + described['bytes']}")
        whole = size <= READ_WHOLE
        memory: mmap.mmap | bytes
        if whole:
            file.seek(0)
            memory = file.readall()
        else:
            memory = _mapped(file, path, size)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(memory) != size:
        raise _damaged(path, "it is cut short")
    arrays = {
        name: np.ndarray(part["shape"], part["type"], memory, first + part["place"])
        for name, part in described["arrays"].items()
    }
    if whole:
        file.close()
    return MappedFile(
        path=path,
        notes=described["notes"],
        arrays=arrays,
        first=first,
        described=described["arrays"],
        file=file,
        opened_as=None if whole else state,
    )


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _mapped(file: FileIO, path: Path, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except ValueError:  # shorter than a moment ago
        raise _damaged(path, "it is cut short") from None


def _state(file: FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT


def _bytes(array: NDArray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _checksum(array: NDArray) -> int:
    return zlib.crc32(_bytes(array))


def _damaged(path: Path, what: str) -> PackDamaged:
    return PackDamaged(f"{path}: {what}", suggestion="prost optimize")


def _unreadable(path: Path, error: OSError) -> PackDamaged:
    return _damaged(path, f"it cannot be read ({error.strerror})")
