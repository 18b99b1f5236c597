"""Writing files: completely or not at all, and with one error when the disk refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prost.errors import StorageError


@contextmanager
def storage_errors(place: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn an error of the file system into a StorageError; for the calls that write, and nothing else.

    Args:
        place: the file or folder that is written, for the message.
        also: other exceptions by which a library reports such an error.
    """
    refusals: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except refusals as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            f"{place} cannot be written: {reason}", "a writable folder with free space", "another folder"
        ) from None


@contextmanager
def written_whole(path: Path, *also: type[Exception]) -> Iterator[Path]:
    """A temporary path beside a file; it replaces the file at the end, or is removed after an exception.

    The body contains only the calls that write: their OSError becomes a StorageError.

    Args:
        path: the file; its folder is created.
        also: see `storage_errors`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with storage_errors(path, *also):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
