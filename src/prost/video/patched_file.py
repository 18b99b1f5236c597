"""A file as FFmpeg should see it: some bytes replaced, some left out. The file itself is not changed."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence


class PatchedFile(io.RawIOBase):
    """Reads a file with changes.

    Args:
        path: the file.
        replaced: bytes that stand in for those at an offset of the file.
        omitted: spans of the file that are left out, `(start, end)`, ascending and apart; none of them holds a
            replaced byte.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        path: str,
        *,
        replaced: Mapping[int, bytes] | None = None,
        omitted: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  # closed by close()
        self._replaced = dict(replaced or {})
        # Places that are shown: where each kept stretch begins here and in the file.
        self._here, self._there = [0], [0]
        for start, end in omitted:
            self._here.append(self._here[-1] + start - self._there[-1])
            self._there.append(end)
        self._size = os.fstat(self._file.fileno()).st_size - sum(end - start for start, end in omitted)
        self._place = 0
        self.name = path

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As files do it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """As files do it."""
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        """As files do it; fewer bytes than asked for may come where a span is left out."""
        stretch = bisect_right(self._here, self._place) - 1
        end = self._here[stretch + 1] if stretch + 1 < len(self._here) else self._size
        room = max(0, end - self._place)
        there = self._there[stretch] + self._place - self._here[stretch]
        self._file.seek(there)
        data = self._file.read(room if size < 0 else min(size, room))
        self._place += len(data)
        for offset, new in self._replaced.items():
            if there - len(new) < offset < there + len(data):
                data = _overlaid(data, new, offset - there)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _overlaid(data: bytes, new: bytes, first: int) -> bytes:
    """Bytes with others laid over them from `first` on, which may be negative or reach beyond the end."""
    start, end = max(0, first), min(len(data), first + len(new))
    return data[:start] + new[start - first : end - first] + data[end:]
