"""AVI files whose index does not fit: it is hidden from FFmpeg, which then finds the frames by reading.

FFmpeg believes the list of chunks at the end of an AVI file (the chunk idx1). Where its offsets are wrong, as in files
that were cut or joined by simple tools, FFmpeg shows frames of other times without a word.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

# Entries that are compared with the chunks they point to, spread over the index.
COMPARED = 64
# Fewer right ones than this fraction: the index is wrong. A damaged chunk here and there leaves it right.
FEWEST_RIGHT = 0.9
ENTRY = struct.Struct("<4sIII")  # chunk, flags, offset, size
LARGEST_INDEX = 1 << 30
# A chunk that FFmpeg passes over.
HIDDEN = b"JUNK"


def misleading_index(path: str) -> int | None:
    """Where the index of an AVI file begins, if its entries do not point to the chunks that they name.

    Returns:
        byte offset of the chunk idx1; None where the index fits, or where there is none.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        found = _find(file)
        if found is None:
            return None
        movi, index, size = found
        count = size // ENTRY.size
        file.seek(index + 8)
        entries = file.read(count * ENTRY.size)
        count = len(entries) // ENTRY.size
        if not count:
            return None
        chosen = sorted({number * count // COMPARED for number in range(COMPARED)})
        compared = [ENTRY.unpack_from(entries, number * ENTRY.size) for number in chosen]
        # Offsets count from the list of chunks, or from the start of the file.
        right = max(_count_right(file, compared, base) for base in (movi, 0))
    return index if right < FEWEST_RIGHT * len(compared) else None


def _find(file: BinaryIO) -> tuple[int, int, int] | None:
    """Offsets of the chunks movi and idx1, and the size of the index; None for a file that is built otherwise."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"AVI ":
        return None
    movi, place = None, 12
    while True:
        file.seek(place)
        chunk = file.read(12)
        if len(chunk) < 8:
            return None
        size = int.from_bytes(chunk[4:8], "little")
        if chunk[:4] == b"LIST" and chunk[8:12] == b"movi":
            movi = place + 8
        if chunk[:4] == b"idx1":
            return None if movi is None or size > LARGEST_INDEX else (movi, place, size)
        place += 8 + size + size % 2


def _count_right(file: BinaryIO, entries: list[tuple[bytes, int, int, int]], base: int) -> int:
    right = 0
    for chunk, _, offset, size in entries:
        file.seek(base + offset)
        right += file.read(8) == chunk + size.to_bytes(4, "little")
    return right
