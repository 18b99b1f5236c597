"""Immutable files of arrays, read through a memory map, that tell when they were cut short or changed.

    8 bytes   magic
    4 bytes   length of the header, little-endian
    4 bytes   CRC-32 of the header
    header    JSON: the kind of file, what its writer notes, and of each array type, shape, place and CRC-32
    arrays    each at a multiple of 64 bytes

A file is written under another name, flushed to the disk and moved to its place, so that there is either a whole
file or none. Readers that have one mapped keep it when it is removed.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.errors import PackDamaged

MAGIC = b"PROSTMAP"
FRONT = struct.Struct("<8sII")
ALIGNMENT = 64
REBUILT = "it is made again by the next `prost optimize`"


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """A file that was opened.

    Attributes:
        path: of the file.
        notes: what its writer noted.
        arrays: read-only, by name.
        checksums: CRC-32 of each array, by name.
    """

    path: Path
    notes: dict[str, Any]
    arrays: dict[str, NDArray]
    checksums: dict[str, int]

    def verify(self) -> None:
        """Read all arrays and compare them with their checksums.

        Raises:
            PackDamaged: they differ.
        """
        with ThreadPoolExecutor() as threads:
            found = dict(zip(self.arrays, threads.map(_checksum, self.arrays.values()), strict=True))
        for name, checksum in found.items():
            if checksum != self.checksums[name]:
                raise _damaged(self.path, f"the {name} have changed")


def write_mapped(
    folder: Path, pattern: str, kind: str, notes: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> Path:
    """Write a file in one step.

    Args:
        folder: where.
        pattern: its name, with `{hash}` where a hash of its header goes: another content has another name.
        kind: a word that says what it is, asked for when it is opened.
        notes: whatever JSON can hold.
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
    try:
        with open(temporary, "wb") as file:
            file.write(FRONT.pack(MAGIC, len(header), zlib.crc32(header)) + header)
            first = _aligned(file.tell())
            for name, array in arrays.items():
                file.seek(first + described[name]["place"])
                file.write(_bytes(array))
            file.truncate(first + place)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return path


def open_mapped(path: Path, kind: str) -> MappedFile:
    """Open a file; its header and its length are checked at once, its arrays by `MappedFile.verify`.

    Raises:
        FileNotFoundError: it is not there.
        PackDamaged: it is cut short, changed, or something else.
    """
    with open(path, "rb") as file:
        front = file.read(FRONT.size)
        if len(front) < FRONT.size:
            raise _damaged(path, "it is cut short")
        magic, length, checksum = FRONT.unpack(front)
        header = file.read(length) if magic == MAGIC else b""
        if magic != MAGIC or len(header) != length or zlib.crc32(header) != checksum:
            raise _damaged(path, "its header is not what was written")
        described = json.loads(header)
        first, size = _aligned(FRONT.size + length), os.fstat(file.fileno()).st_size
        if described["kind"] != kind:
            raise _damaged(path, f"it holds {described['kind']}, not {kind}")
        if size != first + described["bytes"]:
            raise _damaged(path, f"it has {size} bytes instead of {first + described['bytes']}")
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {
        name: np.ndarray(part["shape"], part["type"], memory, first + part["place"])
        for name, part in described["arrays"].items()
    }
    checksums = {name: part["crc32"] for name, part in described["arrays"].items()}
    return MappedFile(path=path, notes=described["notes"], arrays=arrays, checksums=checksums)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT


def _bytes(array: NDArray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _checksum(array: NDArray) -> int:
    return zlib.crc32(_bytes(array))


def _damaged(path: Path, what: str) -> PackDamaged:
    return PackDamaged(f"{path}: {what}", suggestion=REBUILT)
