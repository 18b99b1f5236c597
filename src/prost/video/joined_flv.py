"""FLV files that were joined end to end: FFmpeg stops at the second file's header, so it is left out for it."""

from __future__ import annotations

import mmap

HEADER = b"FLV\x01"
# A header of nine bytes, and the size of the tag before the first one, which is 0.
HEADER_BYTES = 13
TAG_HEADER_BYTES, TAG_END_BYTES = 11, 4


def inner_headers(path: str) -> list[tuple[int, int]]:
    """Spans of the headers of all files but the first in an FLV file, `(start, end)`; empty for an ordinary one.

    The tags are followed one by one. Where they end without another header, the rest is not looked at.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(len(HEADER)) != HEADER or file.seek(0, 2) <= HEADER_BYTES:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _follow(data)


def _follow(data: mmap.mmap) -> list[tuple[int, int]]:
    spans, place, end = [], HEADER_BYTES, len(data)
    while place + TAG_HEADER_BYTES <= end:
        if data[place : place + len(HEADER)] == HEADER:
            spans.append((place, place + HEADER_BYTES))
            place += HEADER_BYTES
            continue
        size = int.from_bytes(data[place + 1 : place + 4], "big")
        after = place + TAG_HEADER_BYTES + size
        # Each tag is followed by its own size: without it this is no tag.
        if int.from_bytes(data[after : after + TAG_END_BYTES], "big") != TAG_HEADER_BYTES + size:
            break
        place = after + TAG_END_BYTES
    return spans
