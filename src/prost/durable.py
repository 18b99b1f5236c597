"""Files that last through a power cut: flushed to the disk, and so are their names in the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_whole(path: Path, temporary: Path) -> Iterator[None]:
    """Context that writes a file under another name, which is flushed and moved to its place at the end.

    After an exception the other name is removed, and what was at the place before is kept.

    Args:
        path: the place.
        temporary: the other name, in the same folder; the body writes there.

    Raises:
        OSError: the disk refuses.
    """
    try:
        yield
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file in one step: under another name first, flushed, then moved to its place.

    Raises:
        OSError: the disk refuses; what was there before is kept.
    """
    temporary = Path(f"{os.fspath(path)}.new")
    with replaced_whole(Path(path), temporary):
        temporary.write_bytes(data)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
